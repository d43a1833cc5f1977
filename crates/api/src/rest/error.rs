//! Why a request is not answered as was hoped, as HTTP and `GraphQL` say it.
//!
//! Domain errors know no HTTP. Each has one conversion into [`Error`] in the files below, without a wildcard, so a new
//! case of the domain does not compile until it is said here what it is on the wire. What is the client's business is
//! told; the source is written to the log, and the client gets the request's id.
//!
//! - `access`: logins, accounts, tenants, tiers, policies
//! - `commands`: commands, batches and their types
//! - `devices`: devices and their registration
//! - `log`: the log
//! - `projections`: the read models

mod access;
mod commands;
mod devices;
mod log;
mod projections;

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::problem::{FieldError, INTERNAL, Problem};
use crate::resource::Resource;

/// What the answer says in place of what was asked for.
#[derive(Debug)]
pub struct Error {
    status: StatusCode,
    /// For programs. Stable.
    code: &'static str,
    /// For people.
    detail: Cow<'static, str>,
    /// The fields of the request that are wrong.
    fields: Vec<FieldError>,
    /// When to try again.
    retry_after: Option<Duration>,
    /// For the log only.
    source: Option<Box<dyn fmt::Debug + Send + Sync>>,
}

impl Error {
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, detail: detail.into(), fields: vec![], retry_after: None, source: None }
    }

    /// A request that others are in the way of.
    pub(super) fn conflict(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// What is none of the client's business.
    pub(super) fn internal(source: impl fmt::Debug + Send + Sync + 'static) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", INTERNAL).because(source)
    }

    /// Adds when to try again.
    pub(super) fn after(self, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..self }
    }

    /// Adds that a second later it may work.
    pub(super) fn soon(self) -> Self {
        self.after(Duration::from_secs(1))
    }

    /// Adds what the log says about it.
    pub(super) fn because(self, source: impl fmt::Debug + Send + Sync + 'static) -> Self {
        Self { source: Some(Box::new(source)), ..self }
    }

    /// There is no such thing, or it is another tenant's: said with the same words.
    #[must_use]
    pub fn missing<R: Resource>() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", R::MISSING)
    }

    /// Fields that are wrong, unknown or missing.
    #[must_use]
    pub fn fields(fields: Vec<FieldError>) -> Self {
        let error = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "some fields are not valid");
        Self { fields, ..error }
    }

    /// A single field that is wrong.
    pub fn field(field: &'static str, reason: impl fmt::Display) -> Self {
        Self::fields(vec![FieldError::new(field, reason)])
    }

    /// No access token, or not a valid one.
    pub(crate) fn unauthenticated() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", "a valid access token is needed")
    }

    /// A page of another origin tries to begin a session here.
    pub(super) fn foreign_page() -> Self {
        Self::new(StatusCode::FORBIDDEN, "foreign_page", "a page of another origin cannot do this")
    }

    /// The body is not JSON.
    pub(super) fn malformed(why: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", why)
    }

    /// The body is not said to be JSON.
    pub(super) fn unsupported_media_type() -> Self {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Self::new(status, "unsupported_media_type", "the body must be application/json")
    }

    /// The body is over the limit.
    pub(super) fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the body is over 1 MiB")
    }

    /// The position that the client wants to see has not been reached.
    pub(super) fn not_yet() -> Self {
        let detail = "the position in min_position has not been reached yet; try again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "not_yet", detail).soon()
    }

    /// The request took too long.
    pub(super) fn timed_out() -> Self {
        let detail = "this took too long; whether a change was made is not known";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "timed_out", detail).soon()
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// What a person is told in one sentence: the first field that is wrong, or what is wrong as a whole.
    #[must_use]
    pub fn message(&self) -> String {
        let field = self.fields.first().map(|error| format!("{}: {}", error.field, error.reason));
        field.unwrap_or_else(|| self.detail.clone().into_owned())
    }

    /// Writes what the client is not told to the log.
    pub fn log(&self) {
        let (code, source) = (self.code, self.source.as_deref());
        match self.status {
            StatusCode::INTERNAL_SERVER_ERROR => tracing::error!(code, error = ?source, "failed to answer"),
            StatusCode::SERVICE_UNAVAILABLE => {
                tracing::warn!(code, error = ?source, "failed to answer for now");
            }
            _ => {}
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        self.log();
        let mut problem = Problem::new(self.status, self.code, self.detail);
        problem.errors = self.fields;
        problem.into_pending_response(self.retry_after)
    }
}
