//! The read models' errors.

use fleetlog_engine::commands;
use fleetlog_projections::rebuild::Refused;
use fleetlog_projections::status::ProjectionStatus;
use fleetlog_projections::telemetry_windows::{self, Invalid};
use fleetlog_projections::{WaitError, devices};
use http::StatusCode;

use super::Error;

impl From<devices::Error> for Error {
    fn from(error: devices::Error) -> Self {
        match error {
            devices::Error::Cursor(bad) => Self::field("cursor", bad),
            devices::Error::TooManyToSort => Self::field("sort", error),
            devices::Error::TooManyLately | devices::Error::TooManyAnswers => Self::field("status", error),
            devices::Error::TooManyChanges | devices::Error::DeviceSentTooMuch => Self::field("as_of", error),
            devices::Error::Removed { .. } => Self::new(StatusCode::GONE, "removed", error.to_string()),
            devices::Error::Database(error) => error.into(),
        }
    }
}

impl From<fleetlog_projections::commands::Error> for Error {
    fn from(error: fleetlog_projections::commands::Error) -> Self {
        commands::Error::from(error).into()
    }
}

impl From<telemetry_windows::Error> for Error {
    fn from(error: telemetry_windows::Error) -> Self {
        match error {
            telemetry_windows::Error::Database(error) => error.into(),
            telemetry_windows::Error::Invalid(invalid) => {
                let field = match invalid {
                    Invalid::Range => "from",
                    Invalid::Points | Invalid::PointsAndFill => "points",
                    Invalid::Step | Invalid::TooManyBuckets => "step",
                    Invalid::TooManyWindows => "metric",
                };
                Self::field(field, invalid)
            }
        }
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        let detail = refused.to_string();
        match refused {
            Refused::UnknownProjection(_) => Self::missing::<ProjectionStatus>(),
            Refused::NotLive(_) => Self::conflict("not_live", detail),
            Refused::Runs { .. } => Self::conflict("rebuild_runs", detail),
            Refused::UnknownVersion { .. } | Refused::ForeignFormat { .. } => {
                Self::field("from_version", detail)
            }
            Refused::Keep => Self::field("keep_s", detail),
            Refused::NoneRuns(_) => Self::conflict("no_rebuild", detail),
            Refused::TooLate { .. } => Self::conflict("too_late", detail),
            Refused::NothingKept(_) => Self::conflict("nothing_kept", detail),
            Refused::Incomplete { .. } | Refused::MayNotCreate | Refused::DiskFull => {
                Self::conflict("cannot_rebuild", detail)
            }
            Refused::Database(error) => error.into(),
        }
    }
}

impl From<WaitError> for Error {
    fn from(error: WaitError) -> Self {
        match error {
            WaitError::UnknownProjection => Self::internal(error),
            WaitError::TimedOut => Self::not_yet(),
            WaitError::Database(error) => error.into(),
        }
    }
}
