//! The projections: the progress of each, and the streams that it has parked.

use axum::Json;
use fleetlog_access::action::typed::ProjectionsRead;
use fleetlog_access::{Action, Principal, Resource, authorize};
use fleetlog_event_log::TenantLog;
use fleetlog_projections::status::ProjectionStatus;
use utoipa_axum::router::OpenApiRouter;

use super::error::Error;
use super::extract::{NoParameters, Query};
use super::page::List;
use super::wire;
use crate::app::App;
use crate::door::May;
use crate::door::action::guarded;

pub(super) fn router() -> OpenApiRouter<App> {
    guarded!(list_projections)
}

/// Returns the projections as the caller may see them, for REST and GraphQL. Only the platform's own users see the
/// database's error message of a failed projection.
pub async fn of(app: &App, caller: &Principal, log: &TenantLog) -> Result<Vec<ProjectionStatus>, Error> {
    let mut statuses = app.projections.statuses(log).await?;
    if authorize(caller, Action::ProjectionsRead, &Resource::Platform).is_err() {
        for error in statuses.iter_mut().filter_map(|status| status.error.as_mut()) {
            "the service's log has the reason".clone_into(error);
        }
    }
    Ok(statuses)
}

/// Lists every projection, with its progress in the tenant's logs.
#[utoipa::path(
    get, path = "/projections", tag = "projections", operation_id = "list_projections",
    responses((status = 200, description = "All of the projections", body = List<wire::ProjectionStatus>)),
)]
async fn list_projections(
    door: May<ProjectionsRead>,
    _: Query<NoParameters>,
) -> Result<Json<List<wire::ProjectionStatus>>, Error> {
    of(&door.app, &door.caller, door.log()).await.map(List::whole).map(Json)
}
