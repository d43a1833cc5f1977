//! Reading one's own writes: a read waits until its source has reached the position that a write returned.

use std::time::Duration;

use fleetlog_event_log::TenantLog;
use fleetlog_event_log::as_of::NoPrefix;
use fleetlog_projections::WaitError;
use fleetlog_projections::read_model::ReadModel;
use serde::Deserialize;
use utoipa::IntoParams;

use super::error::Error;
use super::logs::Log;
use super::parameters::LogPosition;
use crate::app::App;
use crate::resource::Resource;

/// The position that a read waits for.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct When {
    /// Wait, for at most 2 s, until this write is visible: `<log>:<position>`. A position that the log does not have is refused.
    #[param(value_type = Option<String>, example = "1:42")]
    pub(super) min_position: Option<LogPosition>,
}

/// How long a read waits.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Checks that the log has the position. A write's position is in the database before its answer is on its way, whichever node
/// it was on, so there is nothing to wait for: a position beyond the head is none that a write has returned.
pub async fn of_log(log: &TenantLog, at: Option<LogPosition>) -> Result<(), Error> {
    let Some(at) = at else { return Ok(()) };
    let head = || {
        let known = log.heads().log(at.log_id).filter(|known| known.tenant == log.tenant().as_str());
        known.map(|known| known.head).ok_or_else(|| Error::field("min_position", Log::MISSING))
    };
    if head()? < at.position {
        // Another node may have moved it.
        log.heads().refresh(&mut *log.connection().await?).await?;
    }
    match head()? {
        head if head < at.position => Err(Error::field("min_position", NoPrefix::BeyondHead { head })),
        _ => Ok(()),
    }
}

/// Waits until a projection has reached the position. A projection that does not follow that log is not waited for.
pub async fn of_projection<M: ReadModel>(
    app: &App,
    log: &TenantLog,
    at: Option<LogPosition>,
) -> Result<(), Error> {
    let Some(LogPosition { log_id, position }) = at else { return Ok(()) };
    of_log(log, at).await?;
    match app.projections.wait_for(M::NAME, log_id, position, PATIENCE).await {
        // A projection that does not run stands still, so waiting for it is useless.
        Ok(()) | Err(WaitError::UnknownProjection) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
