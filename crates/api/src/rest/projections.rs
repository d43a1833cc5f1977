//! The projections: how far each has got, and what it could not fold.

use axum::Json;
use axum::extract::State;
use fleetlog_access::{Action, Principal, Resource, authorize};
use fleetlog_projections::status::{self, ProjectionStatus};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::error::Error;
use super::extract::{Caller, NoParameters, Query};
use super::page::List;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(list_projections))
}

/// The projections as the caller sees them; for REST and GraphQL alike. What the database said when one failed is for
/// the platform's own people.
pub async fn of(app: &App, caller: &Principal) -> Result<Vec<ProjectionStatus>, Error> {
    let mut statuses = status::list(&app.tenant_log(caller)).await?;
    if authorize(caller, Action::ProjectionsRead, &Resource::Platform).is_err() {
        for error in statuses.iter_mut().filter_map(|status| status.error.as_mut()) {
            "the service's log has the reason".clone_into(error);
        }
    }
    Ok(statuses)
}

/// Every projection, as far as it concerns the tenant's logs.
#[utoipa::path(
    get, path = "/projections", tag = "projections", operation_id = "list_projections",
    responses((status = 200, description = "The projections", body = List<ProjectionStatus>)),
    extensions(("x-action" = json!("projections.read"))),
)]
async fn list_projections(
    State(app): State<App>,
    Caller(caller): Caller,
    none: Result<Query<NoParameters>, Error>,
) -> Result<Json<List<ProjectionStatus>>, Error> {
    authorize(&caller, Action::ProjectionsRead, &Resource::Tenant(&caller.tenant))?;
    let Query(NoParameters {}) = none?;
    of(&app, &caller).await.map(List::whole).map(Json)
}
