//! The errors of commands, of batches and of command types.

use fleetlog_aggregates::{command, command_batch, command_type, device};
use fleetlog_engine::commands;
use fleetlog_projections::commands::{Batch, Command, CommandType};
use fleetlog_projections::devices::Device;
use http::StatusCode;

use super::Error;

impl Error {
    /// 409: the command or the batch has ended, so it cannot be changed any more.
    fn ended(how: String) -> Self {
        Self::conflict("already_ended", how)
    }

    fn key_reused() -> Self {
        let detail = "the idempotency key was used with another request";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", detail)
    }

    fn key_in_flight() -> Self {
        let detail = "a request with the same idempotency key is being worked on; try again";
        Self::conflict("idempotency_key_in_flight", detail).soon()
    }
}

impl From<commands::Error> for Error {
    fn from(error: commands::Error) -> Self {
        use commands::Error as Refused;
        match error {
            Refused::UnknownDevice => Self::missing::<Device>(),
            Refused::Decommissioned => device::Error::Decommissioned.into(),
            Refused::UnknownType(_) => Self::field("cmd", "not one of the tenant's command types"),
            Refused::BadParams(why) => Self::field("params", why),
            Refused::Command(error) => error.into(),
            Refused::Type(error) => error.into(),
            Refused::Batch(error) => error.into(),
            Refused::Selector(why) => Self::field("selector", why),
            Refused::Forbidden(forbidden) => forbidden.into(),
            Refused::KeyReused => Self::key_reused(),
            Refused::KeyInFlight => Self::key_in_flight(),
            Refused::Conflict => Self::changing(),
            Refused::Log(error) => error.into(),
        }
    }
}

impl From<command::Error> for Error {
    fn from(error: command::Error) -> Self {
        match error {
            command::Error::Unknown => Self::missing::<Command>(),
            command::Error::OtherRequest => Self::key_reused(),
            command::Error::Invalid { field, why } => Self::field(field, why),
            command::Error::Ended(_) => Self::ended(error.to_string()),
            // Acks and timeouts never come over HTTP, and a repeated request is answered before this point.
            command::Error::AlreadyRequested
            | command::Error::NotNext(_)
            | command::Error::NotDue
            | command::Error::OtherDevice
            | command::Error::AlreadyAnswered
            | command::Error::OtherAnswer => Self::changing(),
        }
    }
}

impl From<command_batch::Error> for Error {
    fn from(error: command_batch::Error) -> Self {
        match error {
            command_batch::Error::Unknown => Self::missing::<Batch>(),
            command_batch::Error::AlreadyRequested => Self::changing(),
            command_batch::Error::OtherRequest => Self::key_reused(),
            command_batch::Error::Invalid { field, why } => Self::field(field, why),
            command_batch::Error::Ended(_) => Self::ended(error.to_string()),
            command_batch::Error::Paused => Self::conflict("already_paused", error.to_string()),
            command_batch::Error::NotPaused => Self::conflict("not_paused", error.to_string()),
        }
    }
}

impl From<command_type::Error> for Error {
    fn from(error: command_type::Error) -> Self {
        match error {
            command_type::Error::Unknown => Self::missing::<CommandType>(),
            command_type::Error::BadSchema(why) => Self::field("params", why),
            command_type::Error::BadDescription => {
                Self::field("description", "expected 1 to 500 characters without control characters")
            }
            command_type::Error::BadAttempts => Self::field("max_attempts", "expected 1 to 10"),
        }
    }
}
