//! What the caller's tenant may use, and how much of that it uses.

use axum::Json;
use fleetlog_access::action::typed::TenantRead;
use fleetlog_access::tenants::{self, Tenant};
use fleetlog_access::{Action, directory};
use fleetlog_projections::devices;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;

use super::error::Error;
use super::extract::{NoParameters, Query};
use super::wire;
use crate::app::App;
use crate::door::May;
use crate::door::action::guarded;
use crate::door::guard;

pub(super) fn router() -> OpenApiRouter<App> {
    guarded!(read_usage)
}

/// The use of a tenant, and the bounds of it.
#[derive(Serialize, ToSchema)]
#[schema(as = TenantUsage)]
struct Usage {
    /// The devices in service.
    devices: Used,
    /// The users who are let in or invited.
    users: Used,
    /// The tier of the tenant: how many requests its users and keys may make, and how much its devices may send.
    tier: wire::Tier,
}

/// How many there are of something, and how many there may be.
#[derive(Serialize, ToSchema)]
struct Used {
    /// How many there are; null where the caller may not see all of them.
    used: Option<i64>,
    /// How many there may be; null if any number.
    limit: Option<i32>,
}

/// Returns what the caller's own tenant may use, and what it uses.
#[utoipa::path(
    get, path = "/tenant/usage", tag = "tenant", operation_id = "read_usage",
    responses((status = 200, description = "The tenant's use and its bounds, as of now", body = Usage)),
)]
async fn read_usage(door: May<TenantRead>, _: Query<NoParameters>) -> Result<Json<Usage>, Error> {
    let tenant = tenants::get(door.log()).await?.ok_or_else(Error::missing::<Tenant>)?;
    let tier = door.app.access.tiers.get(&tenant.tier).await?.ok_or_else(Error::missing::<Tenant>)?;
    let devices = if sees_all(&door, Action::DevicesRead) {
        Some(devices::count(door.log(), &devices::Query::default(), door.app.online()).await?)
    } else {
        None
    };
    let users =
        if sees_all(&door, Action::UsersRead) { Some(directory::counted(door.log()).await?) } else { None };
    Ok(Json(Usage {
        devices: Used { used: devices, limit: tenant.max_devices },
        users: Used { used: users, limit: tenant.max_users },
        tier: tier.into(),
    }))
}

/// Whether the caller may do `action` to all of the tenant's things, so that a number of them tells nothing else.
fn sees_all(door: &May<TenantRead>, action: Action) -> bool {
    !door.caller.is_ruled(action) && guard::tenant(&door.caller, action, None).is_ok()
}
