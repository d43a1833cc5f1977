//! Alarms as people acknowledge and clear them. REST and GraphQL share this code.

use fleetlog_aggregates::alarm::{self, Alarm, Clearing, Input, Why};
use fleetlog_event_log::TenantLog;
use fleetlog_event_log::control::{Committed, ExecuteError, Metadata};
use uuid::Uuid;

/// Why an alarm was not changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The alarm's aggregate refuses the change.
    #[error(transparent)]
    Alarm(#[from] alarm::Error),
    /// The append kept conflicting with others to the same stream.
    #[error("append to a stream that others keep changing")]
    Conflict,
    /// The database failed.
    #[error(transparent)]
    Log(#[from] fleetlog_event_log::Error),
}

impl From<ExecuteError<alarm::Error>> for Error {
    fn from(error: ExecuteError<alarm::Error>) -> Self {
        match error {
            ExecuteError::Refused(refusal) => refusal.into(),
            ExecuteError::Conflict => Self::Conflict,
            ExecuteError::Log(error) => Self::Log(error),
        }
    }
}

/// Notes that somebody has seen an alarm.
pub async fn acknowledge(
    log: &TenantLog,
    alarm_id: Uuid,
    note: Option<String>,
    metadata: Metadata,
) -> Result<Committed, Error> {
    let input = Input::Acknowledge { by: metadata.actor.to_string(), note };
    change(log, alarm_id, input, metadata).await
}

/// Clears an alarm. It is not raised again until its condition has ended and holds again.
pub async fn clear(
    log: &TenantLog,
    alarm_id: Uuid,
    note: Option<String>,
    metadata: Metadata,
) -> Result<Committed, Error> {
    let by = Some(metadata.actor.to_string());
    let input = Input::Clear(Clearing { why: Why::Person, by, note, value: None, cause: None });
    change(log, alarm_id, input, metadata).await
}

async fn change(
    log: &TenantLog,
    alarm_id: Uuid,
    input: Input,
    metadata: Metadata,
) -> Result<Committed, Error> {
    log.execute::<Alarm>(&log.stream(alarm_id), input, metadata).await?.ok_or(Error::Conflict)
}
