//! The one table from what can go wrong to what HTTP says about it.
//!
//! Domain errors know no HTTP; they come together here. What is the client's business is told; everything else is
//! written to the log, and the client gets the request's id.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use fleetlog_aggregates::{command, command_batch, command_type, device};
use fleetlog_event_log as event_log;
use fleetlog_event_log::control::ExecuteError;
use fleetlog_projections::{devices, telemetry_windows};
use http::StatusCode;

use super::problem::{FieldError, INTERNAL, Problem};
use crate::identity::Action;
use crate::identity::policy::store as policies;
use crate::limits::Exceeded;
use crate::{commands, identity, registration};

/// Why a request is not answered as was hoped.
#[derive(Debug)]
pub enum Error {
    /// No access token, or not a valid one.
    Unauthenticated,
    /// The login was refused.
    Login(identity::login::Refused),
    /// An account is not made or changed.
    Account(identity::accounts::Refused),
    /// Neither the principal's role nor a policy allows it, or a policy forbids it.
    Forbidden(identity::Forbidden),
    /// A page of another origin tries to begin a session here.
    ForeignPage,
    /// A limit of requests is used up.
    TooManyRequests(Exceeded),
    /// The tenant has as many devices as it may have.
    DeviceLimit,
    /// A tenant cannot be made or changed so.
    Tenant(identity::tenants::Refused),
    /// A tier cannot be removed.
    Tier(identity::tiers::Refused),
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
    Identity(identity::Error),
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
            Self::Login(refused) => login_row(refused),
            Self::Account(refused) => account_row(refused),
            Self::Forbidden(forbidden) => Row(S::FORBIDDEN, "forbidden", forbidden.to_string().into(), None),
            Self::ForeignPage => row(S::FORBIDDEN, "foreign_page", "a page of another origin cannot do this"),
            Self::TooManyRequests(exceeded) => {
                let after = Some(Duration::from_secs(exceeded.0.reset));
                Row(S::TOO_MANY_REQUESTS, "too_many_requests", exceeded.to_string().into(), after)
            }
            Self::DeviceLimit => row(S::CONFLICT, "device_limit", DEVICE_LIMIT),
            Self::Tenant(refused) => tenant_row(refused),
            Self::Tier(refused) => tier_row(refused),
            Self::NotFound(what) => row(S::NOT_FOUND, "not_found", what),
            Self::Malformed(why) => Row(S::BAD_REQUEST, "malformed", Cow::Owned(why.clone()), None),
            Self::UnsupportedMediaType => {
                row(S::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "the body must be application/json")
            }
            Self::TooLarge => row(S::PAYLOAD_TOO_LARGE, "too_large", "the body is over 1 MiB"),
            Self::Invalid(_) => row(S::UNPROCESSABLE_ENTITY, "invalid", "some fields are not valid"),
            Self::Device(error) => device_row(error),
            Self::Ended(how) => Row(S::CONFLICT, "already_ended", Cow::Owned(how.clone()), None),
            Self::KeyReused => row(S::UNPROCESSABLE_ENTITY, "idempotency_key_reused", KEY_REUSED),
            Self::KeyInFlight => Row(S::CONFLICT, "idempotency_key_in_flight", KEY_IN_FLIGHT.into(), SOON),
            Self::Conflict => {
                Row(S::CONFLICT, "conflict", "others keep changing this; try again".into(), SOON)
            }
            Self::NotYet => Row(S::SERVICE_UNAVAILABLE, "not_yet", NOT_YET.into(), SOON),
            Self::TimedOut => Row(S::SERVICE_UNAVAILABLE, "timed_out", TIMED_OUT.into(), SOON),
            Self::Log(error) | Self::Identity(identity::Error::Database(error)) => log_row(error),
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

fn login_row(refused: &identity::login::Refused) -> Row {
    use identity::login::Refused;
    match refused {
        Refused::BadCredentials => {
            let detail = "the e-mail address or the password is wrong".into();
            Row(StatusCode::UNAUTHORIZED, "bad_credentials", detail, None)
        }
        Refused::TooMany(limit) => {
            let detail = limit.to_string().into();
            Row(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", detail, Some(limit.retry_after))
        }
        Refused::Failed(identity::Error::Database(error)) => log_row(error),
        Refused::Failed(_) => Row(StatusCode::INTERNAL_SERVER_ERROR, "internal", INTERNAL.into(), None),
    }
}

fn account_row(refused: &identity::accounts::Refused) -> Row {
    use identity::accounts::Refused;
    let (status, code) = match refused {
        // Those of a field say which; they are told as such.
        Refused::BadEmail | Refused::BadName | Refused::Weak(_) | Refused::WrongPassword => {
            (StatusCode::UNPROCESSABLE_ENTITY, "invalid")
        }
        Refused::RegistrationClosed => (StatusCode::FORBIDDEN, "registration_closed"),
        Refused::Taken => (StatusCode::CONFLICT, "already_registered"),
        Refused::Full => (StatusCode::CONFLICT, "limit_reached"),
        Refused::LastAdmin => (StatusCode::CONFLICT, "last_admin"),
        Refused::AlreadyVerified => (StatusCode::CONFLICT, "already_verified"),
        Refused::BadToken => (StatusCode::UNPROCESSABLE_ENTITY, "bad_token"),
        Refused::Unknown | Refused::NoTenant => {
            return Row(StatusCode::NOT_FOUND, "not_found", NO_USER.into(), None);
        }
        Refused::TooMany(limit) => {
            let (status, code) = (StatusCode::TOO_MANY_REQUESTS, "too_many_requests");
            return Row(status, code, limit.to_string().into(), Some(limit.retry_after));
        }
        Refused::Failed(identity::Error::Database(error)) => return log_row(error),
        Refused::Failed(_) => {
            return Row(StatusCode::INTERNAL_SERVER_ERROR, "internal", INTERNAL.into(), None);
        }
    };
    Row(status, code, refused.to_string().into(), None)
}

fn tenant_row(refused: &identity::tenants::Refused) -> Row {
    use identity::tenants::Refused;
    let (status, code) = match refused {
        Refused::Unknown => (StatusCode::NOT_FOUND, "not_found"),
        Refused::Exists => (StatusCode::CONFLICT, "already_exists"),
        Refused::EmailTaken => (StatusCode::CONFLICT, "email_taken"),
        Refused::Platform => (StatusCode::CONFLICT, "platform_tenant"),
        Refused::NoSuchTier | Refused::Weak(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid"),
        Refused::Failed(error) => return identity_row(error),
    };
    Row(status, code, refused.to_string().into(), None)
}

fn tier_row(refused: &identity::tiers::Refused) -> Row {
    use identity::tiers::Refused;
    match refused {
        Refused::Unknown => Row(StatusCode::NOT_FOUND, "not_found", NO_TIER.into(), None),
        Refused::InUse => Row(StatusCode::CONFLICT, "in_use", refused.to_string().into(), None),
        Refused::Failed(error) => identity_row(error),
    }
}

fn identity_row(error: &identity::Error) -> Row {
    match error {
        identity::Error::Database(error) => log_row(error),
        _ => Row(StatusCode::INTERNAL_SERVER_ERROR, "internal", INTERNAL.into(), None),
    }
}

fn device_row(error: &device::Error) -> Row {
    let (status, code) = match error {
        device::Error::AlreadyRegistered => (StatusCode::CONFLICT, "already_registered"),
        device::Error::Decommissioned => (StatusCode::CONFLICT, "decommissioned"),
        device::Error::NotRegistered => {
            return Row(StatusCode::NOT_FOUND, "not_found", NO_DEVICE.into(), None);
        }
        device::Error::TooManyCredentials => (StatusCode::CONFLICT, "too_many_credentials"),
        device::Error::UnknownCredential => {
            return Row(StatusCode::NOT_FOUND, "not_found", NO_CREDENTIAL.into(), None);
        }
        device::Error::Invalid(_) | device::Error::AlreadyExpired => {
            (StatusCode::UNPROCESSABLE_ENTITY, "invalid")
        }
    };
    Row(status, code, error.to_string().into(), None)
}

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

fn log_row(error: &event_log::Error) -> Row {
    match error {
        event_log::Error::Unavailable(_) => {
            Row(StatusCode::SERVICE_UNAVAILABLE, "unavailable", UNAVAILABLE.into(), SOON)
        }
        event_log::Error::NoSuchLog(_) => Row(StatusCode::NOT_FOUND, "not_found", NO_LOG.into(), None),
        // What is sent is checked before it gets this far; this is the net below.
        error if error.is_bad_data() => Row(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid",
            "a value cannot be stored or compared".into(),
            None,
        ),
        event_log::Error::Database(_)
        | event_log::Error::Migrate(_)
        | event_log::Error::NotDurable { .. } => {
            Row(StatusCode::INTERNAL_SERVER_ERROR, "internal", INTERNAL.into(), None)
        }
    }
}

/// What an answer refuses, for the record: [`authentication`](super::authentication) sees it on its way out.
#[derive(Debug, Clone)]
pub(crate) struct Denied(pub(crate) BTreeSet<Action>);

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        self.log();
        let (problem, retry_after) = self.problem();
        let mut response = problem.into_pending_response(retry_after);
        if let Self::Forbidden(identity::Forbidden(action)) = self {
            response.extensions_mut().insert(Denied([action].into()));
        }
        response
    }
}

impl From<identity::Forbidden> for Error {
    fn from(forbidden: identity::Forbidden) -> Self {
        Self::Forbidden(forbidden)
    }
}

impl From<identity::login::Refused> for Error {
    fn from(refused: identity::login::Refused) -> Self {
        Self::Login(refused)
    }
}

impl From<identity::refresh::Refused> for Error {
    fn from(refused: identity::refresh::Refused) -> Self {
        match refused {
            identity::refresh::Refused::Invalid => Self::Unauthenticated,
            identity::refresh::Refused::Failed(error) => Self::Identity(error),
        }
    }
}

impl From<identity::tenants::Refused> for Error {
    fn from(refused: identity::tenants::Refused) -> Self {
        match refused {
            identity::tenants::Refused::NoSuchTier => Self::field("tier", refused),
            identity::tenants::Refused::Weak(_) => Self::field("admin.password", refused),
            refused => Self::Tenant(refused),
        }
    }
}

impl From<identity::accounts::Refused> for Error {
    fn from(refused: identity::accounts::Refused) -> Self {
        use identity::accounts::Refused;
        match refused {
            Refused::BadEmail => Self::field("email", refused),
            Refused::BadName => Self::field("name", refused),
            Refused::Weak(_) => Self::field("password", refused),
            Refused::WrongPassword => Self::field("current", refused),
            other => Self::Account(other),
        }
    }
}

impl From<identity::tiers::Refused> for Error {
    fn from(refused: identity::tiers::Refused) -> Self {
        Self::Tier(refused)
    }
}

impl From<identity::Error> for Error {
    fn from(error: identity::Error) -> Self {
        Self::Identity(error)
    }
}

impl From<policies::Error> for Error {
    fn from(error: policies::Error) -> Self {
        match error {
            policies::Error::Invalid(why) => Self::field("source", why),
            policies::Error::TooMany => Self::field("name", error),
            policies::Error::Unknown => Self::NotFound(NO_POLICY),
            policies::Error::Database(error) => Self::Log(error),
        }
    }
}

impl From<event_log::Error> for Error {
    fn from(error: event_log::Error) -> Self {
        Self::Log(error)
    }
}

impl From<devices::Error> for Error {
    fn from(error: devices::Error) -> Self {
        match error {
            devices::Error::Cursor(bad) => Self::field("cursor", bad),
            devices::Error::Database(error) => Self::Log(error),
        }
    }
}

impl From<telemetry_windows::Error> for Error {
    fn from(error: telemetry_windows::Error) -> Self {
        use telemetry_windows::Invalid;
        match error {
            telemetry_windows::Error::Database(error) => Self::Log(error),
            telemetry_windows::Error::Invalid(invalid) => {
                let field = match invalid {
                    Invalid::Range => "from",
                    Invalid::Points => "points",
                    Invalid::Step | Invalid::TooManyBuckets => "step",
                    Invalid::TooManyWindows => "metric",
                };
                Self::field(field, invalid)
            }
        }
    }
}

impl From<registration::Refused> for Error {
    fn from(refused: registration::Refused) -> Self {
        match refused {
            registration::Refused::Full => Self::DeviceLimit,
            registration::Refused::Execute(error) => error.into(),
        }
    }
}

impl From<ExecuteError<device::Error>> for Error {
    fn from(error: ExecuteError<device::Error>) -> Self {
        match error {
            ExecuteError::Refused(refusal) => Self::Device(refusal),
            ExecuteError::Conflict => Self::Conflict,
            ExecuteError::Log(error) => Self::Log(error),
        }
    }
}

impl From<commands::Error> for Error {
    fn from(error: commands::Error) -> Self {
        use commands::Error as Refused;
        match error {
            Refused::UnknownDevice => Self::NotFound(NO_DEVICE),
            Refused::Decommissioned => Self::Device(device::Error::Decommissioned),
            Refused::UnknownType(_) => Self::field("cmd", "not one of the tenant's command types"),
            Refused::BadParams(why) => Self::field("params", why),
            Refused::Command(error) => error.into(),
            Refused::Type(error) => error.into(),
            Refused::Batch(error) => error.into(),
            Refused::Selector(why) => Self::field("selector", why),
            Refused::Forbidden(forbidden) => Self::Forbidden(forbidden),
            Refused::KeyReused => Self::KeyReused,
            Refused::KeyInFlight => Self::KeyInFlight,
            Refused::Conflict => Self::Conflict,
            Refused::Log(error) => Self::Log(error),
        }
    }
}

impl From<fleetlog_projections::commands::Error> for Error {
    fn from(error: fleetlog_projections::commands::Error) -> Self {
        commands::Error::from(error).into()
    }
}

impl From<command::Error> for Error {
    fn from(error: command::Error) -> Self {
        match error {
            command::Error::Unknown => Self::NotFound(NO_COMMAND),
            command::Error::OtherRequest => Self::KeyReused,
            command::Error::Invalid { field, why } => Self::field(field, why),
            command::Error::Ended(_) => Self::Ended(error.to_string()),
            // What devices and timers say never comes over HTTP, and a repeated request is answered before this.
            command::Error::AlreadyRequested
            | command::Error::NotNext(_)
            | command::Error::NotDue
            | command::Error::OtherDevice
            | command::Error::AlreadyAnswered
            | command::Error::OtherAnswer => Self::Conflict,
        }
    }
}

impl From<command_batch::Error> for Error {
    fn from(error: command_batch::Error) -> Self {
        match error {
            command_batch::Error::Unknown => Self::NotFound(NO_BATCH),
            command_batch::Error::AlreadyRequested => Self::Conflict,
            command_batch::Error::OtherRequest => Self::KeyReused,
            command_batch::Error::Invalid { field, why } => Self::field(field, why),
            command_batch::Error::Ended(_) => Self::Ended(error.to_string()),
        }
    }
}

impl From<command_type::Error> for Error {
    fn from(error: command_type::Error) -> Self {
        match error {
            command_type::Error::Unknown => Self::NotFound(NO_TYPE),
            command_type::Error::BadSchema(why) => Self::field("params", why),
            command_type::Error::BadDescription => {
                Self::field("description", "expected 1 to 500 characters without control characters")
            }
        }
    }
}
