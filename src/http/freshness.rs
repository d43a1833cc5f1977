//! Reading one's own writes: a read waits until the position that a write returned has arrived where it reads.

use std::time::Duration;

use fleetlog_aggregates::identity::Tenant;
use fleetlog_projections::status;

use super::App;
use super::error::{Error, NO_LOG};
use super::parameters::LogPosition;

/// How long a read waits.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// How often the projections are looked at: another node may be running them.
const POLL: Duration = Duration::from_millis(25);

/// Waits until the log itself has got as far.
pub async fn of_log(app: &App, tenant: &Tenant, at: Option<LogPosition>) -> Result<(), Error> {
    let Some(at) = at else { return Ok(()) };
    let known = app.log.heads().log(at.log_id).is_some_and(|log| log.tenant == tenant.as_str());
    if !known {
        return Err(Error::field("min_position", NO_LOG));
    }
    let mut heads = app.log.heads().watch();
    let reached = heads.wait_for(|logs| logs.get(&at.log_id).is_some_and(|log| log.head >= at.position));
    match tokio::time::timeout(PATIENCE, reached).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Error::NotYet),
    }
}

/// Waits until a projection has got as far. One that does not follow that log has nothing to wait for.
pub async fn of_projection(
    app: &App,
    tenant: &Tenant,
    projection: &str,
    at: Option<LogPosition>,
) -> Result<(), Error> {
    let Some(wanted) = at else { return Ok(()) };
    of_log(app, tenant, at).await?;
    let reached = async {
        loop {
            let statuses = status::list(app.log.pool(), Some(tenant)).await?;
            let live = statuses.iter().find(|status| status.live && status.projection == projection);
            let log = live.and_then(|live| live.logs.iter().find(|log| log.log_id == wanted.log_id));
            if log.is_none_or(|log| log.progress.position >= wanted.position) {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(PATIENCE, reached).await.unwrap_or(Err(Error::NotYet))
}
