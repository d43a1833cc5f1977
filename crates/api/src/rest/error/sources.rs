//! The errors of sources, and of messages that are taken in again.

use fleetlog_aggregates::source;
use fleetlog_engine::{quarantine, sources};
use fleetlog_event_log::sources::Known;
use http::StatusCode;

use super::{Error, FieldError};

impl From<sources::Error> for Error {
    fn from(error: sources::Error) -> Self {
        match error {
            sources::Error::Invalid(invalids) => {
                let field = |at: &str| format!("definition{at}");
                Self::fields(invalids.0.iter().map(|one| FieldError::new(field(&one.at), &one.why)).collect())
            }
            overlap @ sources::Error::Overlap { .. } => Self::field("definition", overlap),
            sources::Error::TooMany => {
                let detail =
                    "the tenant has 64 sources, which is the most: retire one, or let one take more topics";
                Self::conflict("too_many_sources", detail)
            }
            sources::Error::Source(error) => error.into(),
            sources::Error::Conflict => Self::changing(),
            sources::Error::Log(error) => error.into(),
        }
    }
}

impl From<source::Error> for Error {
    fn from(error: source::Error) -> Self {
        match error {
            source::Error::Unknown => Self::missing::<Known>(),
            source::Error::OtherVersion(_) => {
                Self::conflict("other_version", format!("{error}: read it again, and decide anew"))
            }
            source::Error::TooLarge(_) => Self::field("definition", error),
        }
    }
}

impl From<quarantine::Error> for Error {
    fn from(error: quarantine::Error) -> Self {
        match error {
            quarantine::Error::Closed => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "the service stops; try again").soon()
            }
            quarantine::Error::Log(error) => error.into(),
        }
    }
}
