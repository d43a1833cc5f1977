//! The errors of logins, accounts, tenants, tiers and policies.

use std::time::Duration;

use fleetlog_access as access;
use fleetlog_access::attempts::TooMany;
use fleetlog_access::directory::Account;
use fleetlog_access::policy::store as policies;
use fleetlog_access::quota::Exceeded;
use fleetlog_access::tiers::Tier;
use fleetlog_access::{accounts, login, refresh, tenants, tiers};
use http::StatusCode;

use super::Error;

impl From<access::Forbidden> for Error {
    fn from(forbidden: access::Forbidden) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", forbidden.to_string())
    }
}

impl From<access::Error> for Error {
    fn from(error: access::Error) -> Self {
        match error {
            access::Error::Database(error) => error.into(),
            access::Error::Crypto { .. } => Self::internal(error),
        }
    }
}

impl From<Exceeded> for Error {
    fn from(exceeded: Exceeded) -> Self {
        let after = Duration::from_secs(exceeded.0.reset);
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", exceeded.to_string()).after(after)
    }
}

impl From<TooMany> for Error {
    fn from(limit: TooMany) -> Self {
        let error = Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", limit.to_string());
        error.after(limit.retry_after)
    }
}

impl From<login::Refused> for Error {
    fn from(refused: login::Refused) -> Self {
        match refused {
            login::Refused::BadCredentials => {
                Self::new(StatusCode::UNAUTHORIZED, "bad_credentials", refused.to_string())
            }
            login::Refused::TooMany(limit) => limit.into(),
            login::Refused::Failed(error) => error.into(),
        }
    }
}

impl From<refresh::Refused> for Error {
    fn from(refused: refresh::Refused) -> Self {
        match refused {
            refresh::Refused::Invalid => Self::no_refresh_token(),
            refresh::Refused::Failed(error) => error.into(),
        }
    }
}

impl From<accounts::Refused> for Error {
    fn from(refused: accounts::Refused) -> Self {
        use accounts::Refused;
        let detail = refused.to_string();
        match refused {
            Refused::BadEmail => Self::field("email", detail),
            Refused::BadName => Self::field("name", detail),
            Refused::Weak(_) => Self::field("password", detail),
            Refused::WrongPassword => Self::field("current", detail),
            Refused::RegistrationClosed => Self::new(StatusCode::FORBIDDEN, "registration_closed", detail),
            Refused::Taken => Self::conflict("already_registered", detail),
            Refused::Full => Self::conflict("limit_reached", detail),
            Refused::LastAdmin => Self::conflict("last_admin", detail),
            Refused::NotInvited => Self::conflict("not_invited", detail),
            Refused::AlreadyVerified => Self::conflict("already_verified", detail),
            Refused::BadToken => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_token", detail),
            Refused::Unknown | Refused::NoTenant => Self::missing::<Account>(),
            Refused::TooMany(limit) => limit.into(),
            Refused::Failed(error) => error.into(),
        }
    }
}

impl From<tenants::Refused> for Error {
    fn from(refused: tenants::Refused) -> Self {
        use tenants::Refused;
        let detail = refused.to_string();
        match refused {
            Refused::NoSuchTier => Self::field("tier", detail),
            Refused::Weak(_) => Self::field("admin.password", detail),
            Refused::Unknown => Self::missing::<tenants::Tenant>(),
            Refused::Exists => Self::conflict("already_exists", detail),
            Refused::EmailTaken => Self::conflict("email_taken", detail),
            Refused::Platform => Self::conflict("platform_tenant", detail),
            Refused::Failed(error) => error.into(),
        }
    }
}

impl From<tiers::Refused> for Error {
    fn from(refused: tiers::Refused) -> Self {
        match refused {
            tiers::Refused::Unknown => Self::missing::<Tier>(),
            tiers::Refused::InUse => Self::conflict("in_use", refused.to_string()),
            tiers::Refused::Failed(error) => error.into(),
        }
    }
}

impl From<policies::Error> for Error {
    fn from(error: policies::Error) -> Self {
        match error {
            policies::Error::Invalid(why) => Self::field("source", why),
            policies::Error::TooLarge => Self::field("source", error),
            policies::Error::TooMany => Self::field("name", error),
            policies::Error::Unknown => Self::missing::<policies::Stored>(),
            policies::Error::Database(error) => error.into(),
        }
    }
}
