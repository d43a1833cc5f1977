//! The one table from what can go wrong to what HTTP says about it.
//!
//! Domain errors know no HTTP; they come together here. What is the client's business is told; everything else is
//! written to the log, and the client gets the request's id.
//!
//! - `from`: which domain error is which of these
//! - `rows`: what is said of those that have cases of their own

mod from;
mod rows;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use fleetlog_access as access;
use fleetlog_access::Action;
use fleetlog_access::quota::Exceeded;
use fleetlog_aggregates::device;
use fleetlog_event_log as event_log;
use http::StatusCode;

use super::problem::{FieldError, INTERNAL, Problem};

/// Why a request is not answered as was hoped.
#[derive(Debug)]
pub enum Error {
    /// No access token, or not a valid one.
    Unauthenticated,
    /// The login was refused.
    Login(access::login::Refused),
    /// An account is not made or changed.
    Account(access::accounts::Refused),
    /// Neither the principal's role nor a policy allows it, or a policy forbids it.
    Forbidden(access::Forbidden),
    /// A page of another origin tries to begin a session here.
    ForeignPage,
    /// A limit of requests is used up.
    TooManyRequests(Exceeded),
    /// The tenant has as many devices as it may have.
    DeviceLimit,
    /// A tenant cannot be made or changed so.
    Tenant(access::tenants::Refused),
    /// A tier cannot be removed.
    Tier(access::tiers::Refused),
    /// There is no such thing, or it is another tenant's: said with the same words.
    NotFound(&'static str),
    /// The body is not JSON.
    Malformed(String),
    /// The body is not said to be JSON.
    UnsupportedMediaType,
    /// The body is over the limit.
    TooLarge,
    /// Fields that are wrong, unknown or missing.
    Invalid(Vec<FieldError>),
    /// The device's record refuses it.
    Device(device::Error),
    /// The command or the batch has ended, and nothing can be done about it any more.
    Ended(String),
    /// The idempotency key was used with another request.
    KeyReused,
    /// Another request with the same idempotency key is being worked on.
    KeyInFlight,
    /// Others keep changing the same thing.
    Conflict,
    /// The position that the client wants to see has not been reached.
    NotYet,
    /// The request took too long.
    TimedOut,
    /// The log or a read model failed.
    Log(event_log::Error),
    /// Users, passwords or keys failed.
    Identity(access::Error),
    /// A handler panicked.
    Panicked,
}

/// A row of the table: status, code, what is said, and when to try again.
struct Row(StatusCode, &'static str, Cow<'static, str>, Option<Duration>);

const SOON: Option<Duration> = Some(Duration::from_secs(1));

impl Error {
    /// A single field that is wrong.
    pub fn field(field: &'static str, reason: impl fmt::Display) -> Self {
        Self::Invalid(vec![FieldError::new(field, reason)])
    }

    fn row(&self) -> Row {
        use StatusCode as S;
        let row = |status, code, detail: &'static str| Row(status, code, Cow::Borrowed(detail), None);
        match self {
            Self::Unauthenticated => {
                row(S::UNAUTHORIZED, "unauthenticated", "a valid access token is needed")
            }
            Self::Login(refused) => rows::login(refused),
            Self::Account(refused) => rows::account(refused),
            Self::Forbidden(forbidden) => Row(S::FORBIDDEN, "forbidden", forbidden.to_string().into(), None),
            Self::ForeignPage => row(S::FORBIDDEN, "foreign_page", "a page of another origin cannot do this"),
            Self::TooManyRequests(exceeded) => {
                let after = Some(Duration::from_secs(exceeded.0.reset));
                Row(S::TOO_MANY_REQUESTS, "too_many_requests", exceeded.to_string().into(), after)
            }
            Self::DeviceLimit => row(S::CONFLICT, "device_limit", DEVICE_LIMIT),
            Self::Tenant(refused) => rows::tenant(refused),
            Self::Tier(refused) => rows::tier(refused),
            Self::NotFound(what) => row(S::NOT_FOUND, "not_found", what),
            Self::Malformed(why) => Row(S::BAD_REQUEST, "malformed", Cow::Owned(why.clone()), None),
            Self::UnsupportedMediaType => {
                row(S::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "the body must be application/json")
            }
            Self::TooLarge => row(S::PAYLOAD_TOO_LARGE, "too_large", "the body is over 1 MiB"),
            Self::Invalid(_) => row(S::UNPROCESSABLE_ENTITY, "invalid", "some fields are not valid"),
            Self::Device(error) => rows::device(error),
            Self::Ended(how) => Row(S::CONFLICT, "already_ended", Cow::Owned(how.clone()), None),
            Self::KeyReused => row(S::UNPROCESSABLE_ENTITY, "idempotency_key_reused", KEY_REUSED),
            Self::KeyInFlight => Row(S::CONFLICT, "idempotency_key_in_flight", KEY_IN_FLIGHT.into(), SOON),
            Self::Conflict => {
                Row(S::CONFLICT, "conflict", "others keep changing this; try again".into(), SOON)
            }
            Self::NotYet => Row(S::SERVICE_UNAVAILABLE, "not_yet", NOT_YET.into(), SOON),
            Self::TimedOut => Row(S::SERVICE_UNAVAILABLE, "timed_out", TIMED_OUT.into(), SOON),
            Self::Log(error) | Self::Identity(access::Error::Database(error)) => rows::log(error),
            Self::Identity(_) | Self::Panicked => row(S::INTERNAL_SERVER_ERROR, "internal", INTERNAL),
        }
    }

    /// The problem document, apart from the request's id, and when to try again.
    #[must_use]
    pub fn problem(&self) -> (Problem, Option<Duration>) {
        let Row(status, code, detail, retry_after) = self.row();
        let mut problem = Problem::new(status, code, detail);
        if let Self::Invalid(errors) = self {
            problem.errors.clone_from(errors);
        }
        (problem, retry_after)
    }

    /// Writes what the client is not told to the log.
    pub fn log(&self) {
        match self.row().0 {
            StatusCode::INTERNAL_SERVER_ERROR => tracing::error!(error = ?self, "failed to answer"),
            StatusCode::SERVICE_UNAVAILABLE => tracing::warn!(error = ?self, "failed to answer for now"),
            _ => {}
        }
    }
}

const NOT_YET: &str = "the position in min_position has not been reached yet; try again";
const TIMED_OUT: &str = "this took too long; whether a change was made is not known";
const KEY_REUSED: &str = "the idempotency key was used with another request";
const KEY_IN_FLIGHT: &str = "a request with the same idempotency key is being worked on; try again";
const DEVICE_LIMIT: &str = "the tenant has as many devices as it may have";
const UNAVAILABLE: &str = "the service cannot do this right now; try again";

/// What is said of a device that is not there, whoever asks in whatever way.
pub(crate) const NO_DEVICE: &str = "there is no such device";
/// The same for a device's credential.
pub(super) const NO_CREDENTIAL: &str = "there is no such credential";
/// The same for a log.
pub(super) const NO_LOG: &str = "there is no such log";
/// The same for a command.
pub(crate) const NO_COMMAND: &str = "there is no such command";
/// The same for a policy.
pub(super) const NO_POLICY: &str = "there is no such policy";
/// The same for a batch.
pub(super) const NO_BATCH: &str = "there is no such batch";
/// The same for a session.
pub(super) const NO_SESSION: &str = "there is no such session";
/// The same for an API key.
pub(super) const NO_KEY: &str = "there is no such API key";
/// The same for a user.
pub(super) const NO_USER: &str = "there is no such user";
/// The same for a tenant.
pub(super) const NO_TENANT: &str = "there is no such tenant";
/// The same for a tier.
pub(super) const NO_TIER: &str = "there is no such tier";
/// The same for a command type.
pub(super) const NO_TYPE: &str = "there is no such command type";

/// What an answer refuses, for the record: [`authentication`](super::authentication) sees it on its way out.
#[derive(Debug, Clone)]
pub(crate) struct Denied(pub(crate) BTreeSet<Action>);

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        self.log();
        let (problem, retry_after) = self.problem();
        let mut response = problem.into_pending_response(retry_after);
        if let Self::Forbidden(access::Forbidden(action)) = self {
            response.extensions_mut().insert(Denied([action].into()));
        }
        response
    }
}
