//! The tenant's logs, and how far each has got.

use axum::Json;
use axum::extract::State;
use fleetlog_access::{Action, Principal, Resource, authorize};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::error::Error;
use super::extract::{Caller, NoParameters, Query};
use super::page::List;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(list_logs))
}

/// A log: one gapless sequence of events.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Log {
    /// Its number.
    pub log_id: i32,
    /// `control`: devices, commands, users' acts. `telemetry`: readings.
    #[schema(example = "control")]
    pub lane: &'static str,
    /// Which part of the lane, for tenants too large for one log.
    pub shard: i32,
    /// The position of its last event; 0 while it is empty.
    pub head: i64,
}

/// The caller's logs; for REST and GraphQL alike.
#[must_use]
pub fn of(app: &App, caller: &Principal) -> Vec<Log> {
    let logs = app.log.heads().logs().into_iter().filter(|log| log.tenant == caller.tenant.as_str());
    logs.map(|log| Log { log_id: log.log_id.0, lane: log.lane.as_str(), shard: log.shard, head: log.head })
        .collect()
}

/// The tenant's logs.
#[utoipa::path(
    get, path = "/logs", tag = "log", operation_id = "list_logs",
    responses((status = 200, description = "The logs", body = List<Log>)),
    extensions(("x-action" = json!("logs.read"))),
)]
async fn list_logs(
    State(app): State<App>,
    Caller(caller): Caller,
    none: Result<Query<NoParameters>, Error>,
) -> Result<Json<List<Log>>, Error> {
    authorize(&caller, Action::LogsRead, &Resource::Tenant(&caller.tenant))?;
    let Query(NoParameters {}) = none?;
    Ok(Json(List::whole(of(&app, &caller))))
}
