//! The errors of the proof of the log.

use fleetlog_event_log as event_log;
use fleetlog_proof as proof;

use super::Error;

impl From<proof::Error> for Error {
    fn from(error: proof::Error) -> Self {
        match error {
            proof::Error::Log(error) => error.into(),
            proof::Error::Database(error) => event_log::Error::from(error).into(),
            // Only who keeps the proof meets the other ones, or the stored proof is damaged.
            proof::Error::Hole { .. }
            | proof::Error::Shrunk { .. }
            | proof::Error::Changed { .. }
            | proof::Error::Foreign(..)
            | proof::Error::Settled(_)
            | proof::Error::Missing { .. }
            | proof::Error::Custody(_)
            | proof::Error::Note(_)
            | proof::Error::Malformed(_) => Self::internal(error),
        }
    }
}
