//! Tenants, for the platform's users; and the caller's own tenant, for its admins.

use axum::Json;
use axum::response::IntoResponse;
use fleetlog_access::action::typed::{TenantRead, TenantWrite, TenantsRead, TenantsWrite};
use fleetlog_access::tenants::{self, Change, FirstAdmin, Tenant};
use fleetlog_access::users::Email;
use fleetlog_access::{self as access, Principal};
use fleetlog_aggregates::identity::Tenant as Name;
use fleetlog_event_log::control::Committed;
use fleetlog_projections::paging::{self, BadCursor, Page};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;

use super::error::Error;
use super::extract::{Body, NoParameters, Query, nameable};
use super::json::{Object, clearable};
use super::page::{List, OnPage};
use super::parameters::LogPosition;
use super::{PREFIX, RequestId, wire};
use crate::app::App;
use crate::door::action::guarded;
use crate::door::{May, Platform};
use crate::resource::Resource;

pub(super) fn router() -> OpenApiRouter<App> {
    guarded!(list_tenants, create_tenant, read_tenant, change_tenant, read_own_tenant, change_own_tenant)
}

impl Resource for Tenant {
    type Id = Name;
    const MISSING: &'static str = "there is no such tenant";

    fn id(name: &str) -> Option<Name> {
        name.parse().ok()
    }

    fn all(_: &Principal) -> access::Resource<'_> {
        access::Resource::Platform
    }
}

/// Lists all tenants, by name.
#[utoipa::path(
    get, path = "/tenants", tag = "platform", operation_id = "list_tenants", params(OnPage),
    responses((status = 200, description = "A page of tenants", body = List<wire::Tenant>)),
)]
async fn list_tenants(
    door: May<TenantsRead, Platform>,
    Query(page): Query<OnPage>,
) -> Result<Json<List<wire::Tenant>>, Error> {
    let after = page.cursor.as_deref().map(paging::decode::<Name>).transpose();
    let after = after.map_err(|bad: BadCursor| Error::field("cursor", bad))?;
    let limit = page.limit.0;
    let tenants = door.app.access.tenants.list(after.as_ref().map(Name::as_str), limit as i64 + 1).await?;
    Ok(Json(List::page(Page::cut(tenants, limit), |tenant| paging::encode(&tenant.tenant))))
}

/// Returns one tenant and its settings.
#[utoipa::path(
    get, path = "/tenants/{tenant}", tag = "platform", operation_id = "read_tenant",
    params(("tenant" = String, Path, description = "The tenant's name")),
    responses(
        (status = 200, description = "The tenant and its settings", body = wire::Tenant),
        (status = 404, description = "No such tenant"),
    ),
)]
async fn read_tenant(door: May<TenantsRead, Tenant>) -> Result<Json<wire::Tenant>, Error> {
    let tenant = door.app.access.tenants.get(&door.id).await?;
    tenant.map(|tenant| Json(tenant.into())).ok_or_else(Error::missing::<Tenant>)
}

/// A tenant to create.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewTenant {
    /// The tenant's name: 1 to 64 of `A-Z a-z 0-9 _ . -`, not dots only. It cannot be changed.
    #[schema(value_type = String, example = "acme")]
    tenant: Name,
    /// The tenant's tier, which sets its rate limits. Without it: `free`.
    tier: Option<String>,
    /// Whether the first telemetry of an unknown device registers it; without it: yes.
    self_registration: Option<bool>,
    /// Who may register an account. Without it: nobody.
    registration: Option<wire::RegistrationMode>,
    /// Readings that are older than this many days are not shown: 1 to 36,500. Without it: all are shown.
    retention_days: Option<i32>,
    /// The most devices that may be in service. Without it: any number.
    max_devices: Option<i32>,
    /// The most users that the tenant may have, at least 1. Without it: any number.
    max_users: Option<i32>,
    /// The tenant's first admin.
    #[schema(value_type = Option<NewAdmin>)]
    admin: Option<Object<NewAdmin>>,
}

/// The first admin of a tenant.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewAdmin {
    /// The address to log in with.
    #[schema(example = "boss@acme.example")]
    email: String,
    /// The password to log in with: 12 characters or more, at most 256 bytes, and hard to guess.
    password: String,
}

impl NewAdmin {
    fn check(self) -> Result<FirstAdmin, Error> {
        let bad_email = || Error::field("admin.email", "expected an e-mail address");
        let email = Email::parse(&self.email).ok_or_else(bad_email)?;
        Ok(FirstAdmin { email, password: self.password })
    }
}

/// The fields to change; absent fields stay as they are.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TenantChange)]
#[expect(clippy::option_option, reason = "absent, null, or a value")]
struct PlatformChange {
    /// Whether the tenant is suspended: its users, API keys and devices are refused.
    suspended: Option<bool>,
    /// The tenant's tier, which sets its rate limits.
    tier: Option<String>,
    /// Whether the first telemetry of an unknown device registers it.
    self_registration: Option<bool>,
    /// Who may register an account.
    registration: Option<wire::RegistrationMode>,
    /// Readings that are older than this many days are not shown: 1 to 36,500. Null: all are shown.
    #[serde(default, deserialize_with = "clearable")]
    retention_days: Option<Option<i32>>,
    /// The most devices that may be in service. Null: any number. Devices above the limit stay.
    #[serde(default, deserialize_with = "clearable")]
    max_devices: Option<Option<i32>>,
    /// The most users that the tenant may have, at least 1. Null: any number. Users above the limit stay.
    #[serde(default, deserialize_with = "clearable")]
    max_users: Option<Option<i32>>,
}

/// The settings that an admin may change; absent fields stay as they are.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = OwnTenantChange)]
#[expect(clippy::option_option, reason = "absent, null, or a value")]
struct OwnChange {
    /// Whether the first telemetry of an unknown device registers it.
    self_registration: Option<bool>,
    /// Who may register an account.
    registration: Option<wire::RegistrationMode>,
    /// Readings that are older than this many days are not shown: 1 to 36,500. Null: all are shown. A week
    /// of readings that every tenant keeps no longer is removed, and archived if the service keeps an archive.
    #[serde(default, deserialize_with = "clearable")]
    retention_days: Option<Option<i32>>,
}

/// The tenant after a write.
#[derive(Serialize, ToSchema)]
#[schema(as = TenantWritten)]
struct Written {
    #[serde(flatten)]
    tenant: wire::Tenant,
    /// The position of this write in the tenant's log; null if there was nothing to change.
    #[schema(example = "3:2")]
    position: Option<String>,
}

impl From<(Tenant, Option<Committed>)> for Written {
    fn from((tenant, at): (Tenant, Option<Committed>)) -> Self {
        Self { tenant: tenant.into(), position: at.map(|at| LogPosition::from(at).to_string()) }
    }
}

/// Creates a tenant with its logs, the command types that come with fleetlog, and its first admin if the request names
/// one.
#[utoipa::path(
    post, path = "/tenants", tag = "platform", operation_id = "create_tenant", request_body = NewTenant,
    responses(
        (status = 201, description = "The tenant is made", body = Written, headers(("Location" = String))),
        (status = 409, description = "There is one of that name, or the admin's address is taken"),
    ),
)]
async fn create_tenant(
    door: May<TenantsWrite, Platform>,
    request: RequestId,
    Body(wanted): Body<NewTenant>,
) -> Result<impl IntoResponse, Error> {
    let settings = Change {
        suspended: None,
        tier: wanted.tier,
        self_registration: wanted.self_registration,
        registration: wanted.registration.map(Into::into),
        retention_days: Some(wanted.retention_days),
        max_devices: Some(wanted.max_devices),
        max_users: Some(wanted.max_users),
    };
    check(&settings)?;
    nameable("tenant", wanted.tenant.as_str())?;
    let admin = wanted.admin.map(|Object(admin)| admin.check()).transpose()?;
    let metadata = request.metadata(&door.caller);
    let location = format!("{PREFIX}/tenants/{}", wanted.tenant);
    let created = door.app.access.tenants.create(wanted.tenant, settings, admin, metadata).await?;
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(Written::from(created))))
}

/// Changes, suspends or resumes a tenant.
#[utoipa::path(
    patch, path = "/tenants/{tenant}", tag = "platform", operation_id = "change_tenant", request_body = PlatformChange,
    params(("tenant" = String, Path, description = "The tenant's name")),
    responses(
        (status = 200, description = "The tenant is changed", body = Written),
        (status = 404, description = "No such tenant"),
    ),
)]
async fn change_tenant(
    door: May<TenantsWrite, Tenant>,
    request: RequestId,
    Body(wanted): Body<PlatformChange>,
) -> Result<Json<Written>, Error> {
    let wanted = Change {
        suspended: wanted.suspended,
        tier: wanted.tier,
        self_registration: wanted.self_registration,
        registration: wanted.registration.map(Into::into),
        retention_days: wanted.retention_days,
        max_devices: wanted.max_devices,
        max_users: wanted.max_users,
    };
    check(&wanted)?;
    let metadata = request.metadata(&door.caller);
    let changed = door.app.access.tenants.change(door.id, wanted, metadata).await?;
    Ok(Json(changed.into()))
}

/// Returns the caller's own tenant.
#[utoipa::path(
    get, path = "/tenant", tag = "tenant", operation_id = "read_own_tenant",
    responses((status = 200, description = "The tenant and its settings", body = wire::Tenant)),
)]
async fn read_own_tenant(door: May<TenantRead>, _: Query<NoParameters>) -> Result<Json<wire::Tenant>, Error> {
    let tenant = tenants::get(door.log()).await?;
    tenant.map(|tenant| Json(tenant.into())).ok_or_else(Error::missing::<Tenant>)
}

/// Changes the settings of the caller's own tenant.
#[utoipa::path(
    patch, path = "/tenant", tag = "tenant", operation_id = "change_own_tenant", request_body = OwnChange,
    responses((status = 200, description = "The tenant is changed", body = Written)),
)]
async fn change_own_tenant(
    door: May<TenantWrite>,
    request: RequestId,
    Body(OwnChange { self_registration, registration, retention_days }): Body<OwnChange>,
) -> Result<Json<Written>, Error> {
    let registration = registration.map(Into::into);
    let wanted = Change { self_registration, registration, retention_days, ..Change::default() };
    check(&wanted)?;
    let metadata = request.metadata(&door.caller);
    let changed = door.app.access.tenants.change_own(door.log(), wanted, metadata).await?;
    Ok(Json(changed.into()))
}

fn check(change: &Change) -> Result<(), Error> {
    let within = |value: Option<Option<i32>>, range: std::ops::RangeInclusive<i32>| {
        value.flatten().is_none_or(|value| range.contains(&value))
    };
    if !within(change.retention_days, 1..=36_500) {
        return Err(Error::field("retention_days", "expected 1 to 36500, or null"));
    }
    if !within(change.max_devices, 0..=i32::MAX) {
        return Err(Error::field("max_devices", "expected 0 or more, or null"));
    }
    if !within(change.max_users, 1..=i32::MAX) {
        return Err(Error::field("max_users", "expected 1 or more, or null"));
    }
    if change.tier.as_ref().is_some_and(|tier| tier.contains('\0')) {
        return Err(Error::field("tier", "expected a tier's name"));
    }
    Ok(())
}
