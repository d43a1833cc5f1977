//! The errors of requests, as HTTP and `GraphQL` answer them.
//!
//! Domain errors know no HTTP. Each has one conversion into [`Error`] in the files below, without a wildcard, so a new
//! case of a domain error does not compile until its status and code are chosen here. The client is told what it can
//! act on; the source of an internal error is written to the log only, and the client gets the request's id.
//!
//! - `alarms`: alarms and their rules
//! - `access`: logins, accounts, tenants, tiers, policies
//! - `commands`: commands, batches and their types
//! - `devices`: devices and their registration
//! - `log`: the log
//! - `projections`: the read models
//! - `proof`: the proof of the log
//! - `sources`: sources, and messages that are taken in again
//! - `webhooks`: webhooks

mod access;
mod alarms;
mod commands;
mod devices;
mod log;
mod projections;
mod proof;
mod sources;
mod webhooks;

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::problem::{FieldError, INTERNAL, Problem};
use crate::instruments;
use crate::live::seats::{Full, Holder};
use crate::resource::Resource;

/// The code of a read whose `min_position` or `as_of` has not been reached. It says nothing about the service's health: a client may
/// ask for any position.
pub(super) const NOT_YET: &str = "not_yet";

/// What is told of a ticket that opens nothing. It fits into the close of a WebSocket.
pub(crate) const BAD_TICKET: &str =
    "the ticket is used, or over 30 s old, or none: POST /stream/tickets gives another, for one stream";
/// What a WebSocket is told of a cookie that came from a page of another origin. It fits into the close of a WebSocket.
pub(crate) const FOREIGN_COOKIE: &str =
    "the cookie is not used: the page is not of this service's origin (FLEETLOG_PUBLIC_URL); take a ticket";

/// An error as the client is told it.
#[derive(Debug)]
pub struct Error {
    status: StatusCode,
    /// The stable code, for programs.
    code: &'static str,
    /// A sentence for people.
    detail: Cow<'static, str>,
    /// The fields of the request that are wrong.
    fields: Vec<FieldError>,
    /// How long the client should wait before it tries again.
    retry_after: Option<Duration>,
    /// The cause, which is written to the log only.
    source: Option<Box<dyn fmt::Debug + Send + Sync>>,
}

impl Error {
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, detail: detail.into(), fields: vec![], retry_after: None, source: None }
    }

    /// 409: the state of the resource, or another request, stands in the way.
    pub(super) fn conflict(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// 500: an internal failure. The client is not told the source.
    pub(crate) fn internal(source: impl fmt::Debug + Send + Sync + 'static) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", INTERNAL).because(source)
    }

    /// Adds how long the client should wait before it tries again.
    pub(super) fn after(self, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..self }
    }

    /// Adds that the client may try again in a second.
    pub(super) fn soon(self) -> Self {
        self.after(Duration::from_secs(1))
    }

    /// Adds the cause, which is written to the log only.
    pub(super) fn because(self, source: impl fmt::Debug + Send + Sync + 'static) -> Self {
        Self { source: Some(Box::new(source)), ..self }
    }

    /// 404: the resource does not exist, or belongs to another tenant. Both cases give the same text.
    #[must_use]
    pub fn missing<R: Resource>() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", R::MISSING)
    }

    /// 422: some fields are wrong, unknown or missing.
    #[must_use]
    pub fn fields(fields: Vec<FieldError>) -> Self {
        let error = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "some fields are not valid");
        Self { fields, ..error }
    }

    /// 422: one field is wrong.
    pub fn field(field: &'static str, reason: impl fmt::Display) -> Self {
        Self::fields(vec![FieldError::new(field, reason)])
    }

    /// 401: the request has no valid access token, API key or session cookie.
    pub(crate) fn unauthenticated() -> Self {
        let detail = "a valid access token is needed: log in with POST /auth/login, or get the next one with \
             POST /auth/refresh; programs send an API key";
        Self::unauthenticated_because(detail)
    }

    /// 401: the request has no refresh token that is valid.
    pub(super) fn no_refresh_token() -> Self {
        let detail = "a valid refresh token is needed, in the cookie of the login or as refresh_token in the body: log in \
             again with POST /auth/login, with \"refresh\":\"body\" to get the refresh token in the answer";
        Self::unauthenticated_because(detail)
    }

    /// 401: the cookie of a session changes nothing, because the request comes from a page of another origin.
    pub(crate) fn foreign_cookie() -> Self {
        let detail = "the session's cookie is not used: the request does not come from a page of this service. Behind a \
             proxy, FLEETLOG_PUBLIC_URL is the address that browsers use";
        Self::unauthenticated_because(detail)
    }

    /// 401: the ticket that was to open a stream is used, is too old, or is none.
    pub(crate) fn bad_ticket() -> Self {
        Self::unauthenticated_because(BAD_TICKET)
    }

    /// 401: an API key asks for the caller's own account.
    pub(crate) fn needs_user() -> Self {
        Self::unauthenticated_because(
            "an API key has no account of its own: log in as a user with POST /auth/login",
        )
    }

    fn unauthenticated_because(detail: &'static str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail)
    }

    /// 403: a page of another origin tries to begin a session.
    pub(super) fn foreign_page() -> Self {
        Self::new(StatusCode::FORBIDDEN, "foreign_page", "a page of another origin cannot do this")
    }

    /// 429: the caller, its address or its tenant has too many streams open. 503: all together have.
    pub(crate) fn too_many_streams(full: &Full) -> Self {
        let status = match full.holder {
            Holder::Node | Holder::Strangers => StatusCode::SERVICE_UNAVAILABLE,
            Holder::Tenant(_) | Holder::Caller(_) | Holder::Address(_) => StatusCode::TOO_MANY_REQUESTS,
        };
        instruments::STREAMS_REFUSED.with([full.whose().into()]).increment(1);
        Self::new(status, "too_many_streams", full.to_string()).soon()
    }

    /// 429: a WebSocket has too many streams.
    pub(super) fn too_many_topics() -> Self {
        let detail = "a WebSocket has 32 streams at most: unfollow one, or open another WebSocket";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_streams", detail)
    }

    /// 429: a connection has too many subscriptions.
    pub(crate) fn too_many_subscriptions() -> Self {
        let detail = "a connection has 32 subscriptions at most: end one, or open another connection";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_subscriptions", detail)
    }

    /// 426: the request opens no WebSocket, or one of another protocol.
    pub(crate) fn needs_websocket(protocol: &'static str) -> Self {
        let detail = format!("open a WebSocket with the protocol {protocol}");
        Self::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", detail)
    }

    /// 405: a `GraphQL` mutation was sent by GET.
    pub(crate) fn needs_post() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "a mutation needs POST")
    }

    /// 400: the body is not JSON.
    pub(super) fn malformed(why: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", why)
    }

    /// 415: the content type is not JSON.
    pub(super) fn unsupported_media_type() -> Self {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Self::new(status, "unsupported_media_type", "the body must be application/json")
    }

    /// 413: the body is larger than the limit.
    pub(super) fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the body is over 1 MiB")
    }

    /// The read model or the log has not reached the position that the client asked for.
    pub(super) fn not_yet() -> Self {
        let detail = "the position that was asked for has not been reached yet; try again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, NOT_YET, detail).soon()
    }

    /// 410: the reading is still stored, and hidden because its tenant keeps it no longer.
    pub(super) fn over_age() -> Self {
        Self::new(StatusCode::GONE, "removed", "the reading is over age: its tenant keeps it no longer")
    }

    /// The event is not proved yet.
    pub(super) fn not_proved_yet(proved: u64, after: Duration) -> Self {
        let detail = format!(
            "the event is not proved yet: the log's newest checkpoint has its first {proved} events; try again"
        );
        Self::new(StatusCode::SERVICE_UNAVAILABLE, NOT_YET, detail).after(after)
    }

    /// 429: the tenant's other requests, or its unread answers, have used up what it may have at once. The cause is the
    /// caller's side, so this is no error of the server.
    pub(super) fn busy() -> Self {
        let detail =
            "too many requests of this tenant are running, or their answers are not being read; try again";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "busy", detail).soon()
    }

    /// The request took longer than the time limit.
    pub(super) fn timed_out() -> Self {
        let detail = "this took too long; whether a change was made is not known";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "timed_out", detail).soon()
    }

    /// The same error about fields of a part of what the client sent.
    pub(super) fn within(mut self, part: &str) -> Self {
        for wrong in &mut self.fields {
            wrong.field = format!("{part}.{}", wrong.field);
        }
        self
    }

    /// The same error about a field that another interface has by another name.
    pub(crate) fn renamed(mut self, field: &str, name: &str) -> Self {
        for wrong in self.fields.iter_mut().filter(|wrong| wrong.field == field) {
            name.clone_into(&mut wrong.field);
        }
        self
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// One sentence for people: the first wrong field and its reason, or the error as a whole.
    #[must_use]
    pub fn message(&self) -> String {
        self.message_with(str::to_owned)
    }

    /// The same sentence, with the field's name in the words of another interface.
    pub(crate) fn message_with(&self, name: impl Fn(&str) -> String) -> String {
        let field = self.fields.first().map(|error| format!("{}: {}", name(&error.field), error.reason));
        field.unwrap_or_else(|| self.detail.clone().into_owned())
    }

    /// Writes the cause, which the client is not told, to the log.
    pub fn log(&self) {
        let (code, source) = (self.code, self.source.as_deref());
        match self.status {
            StatusCode::INTERNAL_SERVER_ERROR => tracing::error!(code, error = ?source, "failed to answer"),
            // The caller asked for more than the log or the read model has so far.
            StatusCode::SERVICE_UNAVAILABLE if code == NOT_YET => {}
            StatusCode::SERVICE_UNAVAILABLE => {
                tracing::warn!(code, error = ?source, "failed to answer for now");
            }
            _ => {}
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        error.log();
        Self { errors: error.fields, ..Self::new(error.status, error.code, error.detail) }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let retry_after = self.retry_after;
        Problem::from(self).into_pending_response(retry_after)
    }
}
