//! What is said of errors that have cases of their own.

use fleetlog_access as access;
use fleetlog_aggregates::device;
use fleetlog_event_log as event_log;
use http::StatusCode;

use super::{NO_CREDENTIAL, NO_DEVICE, NO_LOG, NO_TIER, NO_USER, Row, SOON, UNAVAILABLE};
use crate::rest::problem::INTERNAL;

pub(super) fn login(refused: &access::login::Refused) -> Row {
    use access::login::Refused;
    match refused {
        Refused::BadCredentials => {
            let detail = "the e-mail address or the password is wrong".into();
            Row(StatusCode::UNAUTHORIZED, "bad_credentials", detail, None)
        }
        Refused::TooMany(limit) => {
            let detail = limit.to_string().into();
            Row(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", detail, Some(limit.retry_after))
        }
        Refused::Failed(access::Error::Database(error)) => log(error),
        Refused::Failed(_) => Row(StatusCode::INTERNAL_SERVER_ERROR, "internal", INTERNAL.into(), None),
    }
}

pub(super) fn account(refused: &access::accounts::Refused) -> Row {
    use access::accounts::Refused;
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
        Refused::Failed(access::Error::Database(error)) => return log(error),
        Refused::Failed(_) => {
            return Row(StatusCode::INTERNAL_SERVER_ERROR, "internal", INTERNAL.into(), None);
        }
    };
    Row(status, code, refused.to_string().into(), None)
}

pub(super) fn tenant(refused: &access::tenants::Refused) -> Row {
    use access::tenants::Refused;
    let (status, code) = match refused {
        Refused::Unknown => (StatusCode::NOT_FOUND, "not_found"),
        Refused::Exists => (StatusCode::CONFLICT, "already_exists"),
        Refused::EmailTaken => (StatusCode::CONFLICT, "email_taken"),
        Refused::Platform => (StatusCode::CONFLICT, "platform_tenant"),
        Refused::NoSuchTier | Refused::Weak(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid"),
        Refused::Failed(error) => return identity(error),
    };
    Row(status, code, refused.to_string().into(), None)
}

pub(super) fn tier(refused: &access::tiers::Refused) -> Row {
    use access::tiers::Refused;
    match refused {
        Refused::Unknown => Row(StatusCode::NOT_FOUND, "not_found", NO_TIER.into(), None),
        Refused::InUse => Row(StatusCode::CONFLICT, "in_use", refused.to_string().into(), None),
        Refused::Failed(error) => identity(error),
    }
}

pub(super) fn identity(error: &access::Error) -> Row {
    match error {
        access::Error::Database(error) => log(error),
        _ => Row(StatusCode::INTERNAL_SERVER_ERROR, "internal", INTERNAL.into(), None),
    }
}

pub(super) fn device(error: &device::Error) -> Row {
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

pub(super) fn log(error: &event_log::Error) -> Row {
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
