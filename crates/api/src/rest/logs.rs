//! The tenant's logs, with the head of each.

use axum::Json;
use fleetlog_access::action::typed::LogsRead;
use fleetlog_access::{Action, Principal, authorize};
use fleetlog_event_log::{Lane, LogId, Position, TenantLog};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;

use super::error::Error;
use super::extract::{NoParameters, Query};
use super::page::List;
use super::parameters::LogPosition;
use crate::app::App;
use crate::door::May;
use crate::door::action::guarded;
use crate::door::guard::Refused;
use crate::resource::Resource;

pub(super) fn router() -> OpenApiRouter<App> {
    guarded!(list_logs)
}

/// A log: one gapless sequence of events.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Log {
    /// The number of the log.
    pub log_id: i32,
    /// `control`: devices, commands, users' acts. `telemetry`: readings.
    #[schema(example = "control")]
    pub lane: &'static str,
    /// The log's shard: its number within the lane, for tenants too large for one log.
    pub shard: i32,
    /// The position of the log's last event; 0 while the log is empty.
    pub head: i64,
    /// The position from which on every event is in the database. 1: no event was removed. Of readings before it, `archived` in
    /// `/events` says which were removed, and where they are.
    #[schema(example = 1)]
    pub begins: i64,
}

impl Resource for Log {
    type Id = LogId;
    const MISSING: &'static str = "there is no such log";

    fn id(name: &str) -> Option<LogId> {
        let id = name.parse().ok().map(LogId);
        id.filter(|id| id.to_string() == name)
    }

    /// Another tenant's log is answered like one that does not exist.
    async fn decide(caller: &Principal, log: &TenantLog, action: Action, id: &LogId) -> Result<(), Refused> {
        authorize(caller, action, &Self::all(caller))?;
        let known = log.heads().log(*id).is_some_and(|known| known.tenant == log.tenant().as_str());
        if known { Ok(()) } else { Err(Refused::Failed(Error::missing::<Self>())) }
    }
}

/// Returns the tenant's logs, for REST and GraphQL.
#[must_use]
pub fn of(tenant: &TenantLog) -> Vec<Log> {
    let logs = tenant.heads().logs().into_iter().filter(|log| log.tenant == tenant.tenant().as_str());
    let shown = |log: fleetlog_event_log::Log| Log {
        log_id: log.log_id.0,
        lane: log.lane.as_str(),
        shard: log.shard,
        head: log.head,
        begins: log.archived_until + 1,
    };
    logs.map(shown).collect()
}

/// Returns the tenant's log in a lane.
pub fn in_lane(tenant: &TenantLog, lane: Lane) -> Result<LogId, Error> {
    tenant.log_in(lane).ok_or_else(Error::missing::<Log>)
}

/// Returns a position in the tenant's log of a lane, if it is known.
#[must_use]
pub fn position_in(tenant: &TenantLog, lane: Lane, position: Option<Position>) -> Option<LogPosition> {
    Some(LogPosition { log_id: tenant.log_in(lane)?, position: position? })
}

/// Lists the tenant's logs.
#[utoipa::path(
    get, path = "/logs", tag = "log", operation_id = "list_logs",
    responses((status = 200, description = "All of the logs", body = List<Log>)),
)]
async fn list_logs(door: May<LogsRead>, _: Query<NoParameters>) -> Result<Json<List<Log>>, Error> {
    Ok(Json(List::whole(of(door.log()))))
}
