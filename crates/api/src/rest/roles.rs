//! The roles, and what each allows.

use axum::Json;
use fleetlog_access::action::typed::PoliciesRead;
use fleetlog_access::{Action, Role};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;

use super::error::Error;
use super::extract::{NoParameters, Query};
use super::page::List;
use super::wire;
use crate::app::App;
use crate::door::May;
use crate::door::action::guarded;

pub(super) fn router() -> OpenApiRouter<App> {
    guarded!(list_roles)
}

/// A role, and what it allows.
#[derive(Serialize, ToSchema)]
#[schema(as = RoleActions)]
struct Allowed {
    /// The name of the role.
    role: wire::Role,
    /// The actions that users with the role may do, as operations name them in `x-action`.
    #[schema(example = json!(["devices.read", "telemetry.read"]))]
    actions: Vec<&'static str>,
}

/// Lists the roles, with what each allows in the caller's tenant before the tenant's own policies extend or restrict it.
#[utoipa::path(
    get, path = "/roles", tag = "policies", operation_id = "list_roles",
    responses((status = 200, description = "All of the roles", body = List<Allowed>)),
)]
async fn list_roles(door: May<PoliciesRead>, _: Query<NoParameters>) -> Result<Json<List<Allowed>>, Error> {
    let tenant = &door.caller.tenant;
    let allowed = |role: Role| Allowed {
        role: role.into(),
        actions: Action::ALL
            .iter()
            .filter(|action| role.may_in(tenant, **action))
            .map(|action| action.as_str())
            .collect(),
    };
    Ok(Json(List::whole(Role::ALL.map(allowed).into())))
}
