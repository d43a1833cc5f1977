//! Which error of the domain is which of HTTP's.

use fleetlog_access as access;
use fleetlog_access::policy::store as policies;
use fleetlog_aggregates::{command, command_batch, command_type, device};
use fleetlog_engine::commands;
use fleetlog_engine::devices::registration;
use fleetlog_event_log as event_log;
use fleetlog_event_log::control::ExecuteError;
use fleetlog_projections::{devices, telemetry_windows};

use super::{Error, NO_BATCH, NO_COMMAND, NO_DEVICE, NO_POLICY, NO_TYPE};

impl From<access::Forbidden> for Error {
    fn from(forbidden: access::Forbidden) -> Self {
        Self::Forbidden(forbidden)
    }
}

impl From<access::login::Refused> for Error {
    fn from(refused: access::login::Refused) -> Self {
        Self::Login(refused)
    }
}

impl From<access::refresh::Refused> for Error {
    fn from(refused: access::refresh::Refused) -> Self {
        match refused {
            access::refresh::Refused::Invalid => Self::Unauthenticated,
            access::refresh::Refused::Failed(error) => Self::Identity(error),
        }
    }
}

impl From<access::tenants::Refused> for Error {
    fn from(refused: access::tenants::Refused) -> Self {
        match refused {
            access::tenants::Refused::NoSuchTier => Self::field("tier", refused),
            access::tenants::Refused::Weak(_) => Self::field("admin.password", refused),
            refused => Self::Tenant(refused),
        }
    }
}

impl From<access::accounts::Refused> for Error {
    fn from(refused: access::accounts::Refused) -> Self {
        use access::accounts::Refused;
        match refused {
            Refused::BadEmail => Self::field("email", refused),
            Refused::BadName => Self::field("name", refused),
            Refused::Weak(_) => Self::field("password", refused),
            Refused::WrongPassword => Self::field("current", refused),
            other => Self::Account(other),
        }
    }
}

impl From<access::tiers::Refused> for Error {
    fn from(refused: access::tiers::Refused) -> Self {
        Self::Tier(refused)
    }
}

impl From<access::Error> for Error {
    fn from(error: access::Error) -> Self {
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
