//! The log's errors.

use fleetlog_event_log as event_log;
use fleetlog_event_log::as_of::NoPrefix;
use http::StatusCode;

use super::Error;
use crate::rest::archived::gone;
use crate::rest::logs::Log;

impl From<NoPrefix> for Error {
    fn from(none: NoPrefix) -> Self {
        match none {
            NoPrefix::NoSuchLog => Self::missing::<Log>(),
            NoPrefix::BeyondHead { .. } | NoPrefix::InFuture => Self::field("as_of", none),
            NoPrefix::Removed(range) => gone(&range),
            NoPrefix::Log(error) => error.into(),
        }
    }
}

impl From<event_log::Error> for Error {
    fn from(error: event_log::Error) -> Self {
        match error {
            event_log::Error::Unavailable(_) => {
                let detail = "the service cannot do this right now; try again";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail).soon().because(error)
            }
            event_log::Error::TooLarge => {
                let detail = "the answer would be larger than 4 MiB; ask for fewer items";
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "answer_too_large", detail)
            }
            event_log::Error::Damaged(ref damage) => {
                let detail =
                    format!("{}; /events goes on behind them with after={}", damage.outline(), damage.to);
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "corrupt", detail).because(error)
            }
            event_log::Error::NoSuchLog(_) => Self::missing::<Log>(),
            // Values are checked before they reach the database. This case catches what the checks missed.
            error if error.is_bad_data() => {
                let detail = "a value cannot be stored or compared";
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail)
            }
            event_log::Error::Archived(range) => gone(&range),
            event_log::Error::Unarchived { .. }
            | event_log::Error::Corrupt(_)
            | event_log::Error::Database(_)
            | event_log::Error::Migrate(_)
            | event_log::Error::NotDurable { .. } => Self::internal(error),
        }
    }
}
