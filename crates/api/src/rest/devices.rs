//! Devices: list, read, register, change, decommission.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use fleetlog_access::{Action, Principal, Resource, authorize};
use fleetlog_aggregates::device::{Command, Device as Aggregate, Labels, Registration, Via};
use fleetlog_aggregates::identity::{Uid, aggregate_id};
use fleetlog_engine::devices::registration;
use fleetlog_projections::devices::{self, Cursor, Device, Sort, Status};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::{Error, NO_DEVICE};
use super::extract::{Body, Caller, DeviceUid, Query, parse, present};
use super::min_position::When;
use super::page::List;
use super::parameters::{Limit, LogPosition};
use super::problem::Problem;
use super::{App, PREFIX, RequestId, guard, min_position};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(list_devices, register_device)).routes(routes!(
        read_device,
        change_device,
        decommission_device
    ))
}

/// Which devices.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// Part of the uid or the name, in any case.
    q: Option<String>,
    /// Only these. Without it: all that are in service.
    #[param(inline)]
    status: Option<Status>,
    /// `uid`, `last_seen_at` or `registered_at`; with `-` before it, from the largest down.
    #[param(example = "-last_seen_at")]
    sort: Option<String>,
    /// At most so many.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    limit: Limit,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// Whether to count all pages' items. They are not counted for whom policies choose among them.
    #[serde(default)]
    count: bool,
    /// Wait, for at most 2 s, until this write is visible: `<log>:<position>`.
    #[param(value_type = Option<String>, example = "1:42")]
    min_position: Option<LogPosition>,
}

/// The tenant's devices.
#[utoipa::path(
    get, path = "/devices", tag = "devices", operation_id = "list_devices", params(Which),
    responses((status = 200, description = "A page of devices", body = List<Device>)),
    extensions(("x-action" = json!("devices.read"))),
)]
async fn list_devices(
    State(app): State<App>,
    Caller(caller): Caller,
    which: Result<Query<Which>, Error>,
) -> Result<Json<List<Device>>, Error> {
    authorize(&caller, Action::DevicesRead, &Resource::Tenant(&caller.tenant))?;
    let Query(which) = which?;
    let sort: Sort = parse("sort", which.sort.as_deref())?.unwrap_or_default();
    let query = devices::Query {
        q: which.q,
        status: which.status,
        sort,
        after: parse("cursor", which.cursor.as_deref())?,
        limit: which.limit.0,
    };
    min_position::of_projection::<devices::Model>(&app, &caller.tenant, which.min_position).await?;
    let since = app.online_since();
    let mut page = devices::list(&app.tenant_log(&caller), &query, since).await?;
    let shown = app.shown_since(&caller.tenant);
    page.items = page.items.into_iter().map(|device| device.shown_since(shown)).collect();
    // Where policies choose among the items, their number would tell of those that are not shown.
    let total = if which.count && !caller.is_ruled(Action::DevicesRead) {
        Some(devices::count(&app.tenant_log(&caller), &query, since).await?)
    } else {
        None
    };
    let mut list: List<Device> =
        List::page(page, |device| Cursor::of(device, sort).to_string()).with_total(total);
    guard::retain_devices(&caller, &mut list.items, |device| device);
    Ok(Json(list))
}

/// One device, in service or not.
#[utoipa::path(
    get, path = "/devices/{uid}", tag = "devices", operation_id = "read_device",
    params(("uid" = String, Path, description = "The device"), When),
    responses(
        (status = 200, description = "The device", body = Device),
        (status = 404, description = "No such device", body = Problem, content_type = "application/problem+json"),
    ),
    extensions(("x-action" = json!("devices.read"))),
)]
async fn read_device(
    State(app): State<App>,
    Caller(caller): Caller,
    DeviceUid(uid): DeviceUid,
    when: Result<Query<When>, Error>,
) -> Result<Json<Device>, Error> {
    guard::device(&app, &caller, Action::DevicesRead, &uid).await?;
    let Query(when) = when?;
    min_position::of_projection::<devices::Model>(&app, &caller.tenant, when.min_position).await?;
    let found = devices::get(&app.tenant_log(&caller), &[uid.into()], app.online_since()).await?;
    let device = found.into_iter().next().ok_or(Error::NotFound(NO_DEVICE))?;
    Ok(Json(device.shown_since(app.shown_since(&caller.tenant))))
}

/// A device to put on the record.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewDevice {
    /// Its name within the tenant: 1 to 64 of `A-Z a-z 0-9 _ . -`.
    #[schema(value_type = String, example = "dev-01")]
    uid: Uid,
    /// A name for people: 1 to 200 characters.
    #[serde(default, deserialize_with = "present")]
    name: Option<String>,
    /// What to find it by: at most 64 of them, 1 to 128 characters each.
    #[serde(default)]
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    labels: Labels,
}

/// What to change; the rest stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Change {
    /// A name for people: 1 to 200 characters.
    #[serde(default, deserialize_with = "present")]
    name: Option<String>,
    /// All of its labels.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<std::collections::BTreeMap<String, String>>)]
    labels: Option<Labels>,
}

/// What a write has done.
#[derive(Serialize, ToSchema)]
struct Written {
    /// The device.
    uid: String,
    /// Where it is on the record, to wait for with `min_position`; null if there was nothing to change.
    #[schema(example = "1:42")]
    position: Option<String>,
}

/// Puts a device on the record, or back into service.
#[utoipa::path(
    post, path = "/devices", tag = "devices", operation_id = "register_device", request_body = NewDevice,
    responses(
        (status = 201, description = "Registered", body = Written, headers(("Location" = String))),
        (status = 409, description = "Registered already, or as many as the tenant may have", body = Problem, content_type = "application/problem+json"),
    ),
    extensions(("x-action" = json!("devices.write"))),
)]
async fn register_device(
    State(app): State<App>,
    Caller(caller): Caller,
    request: RequestId,
    device: Result<Body<NewDevice>, Error>,
) -> Result<impl IntoResponse, Error> {
    authorize(&caller, Action::DevicesWrite, &Resource::Tenant(&caller.tenant))?;
    let Body(device) = device?;
    guard::written(&app, &caller, &device.uid, Some(&device.labels)).await?;
    let registration = Registration { via: Via::Api, name: device.name, labels: device.labels };
    let (log, uid) = (app.tenant_log(&caller), device.uid);
    let at = registration::register(&log, &uid, registration, request.metadata(&caller)).await?;
    let written = Written { uid: uid.into(), position: at.map(|at| LogPosition::from(at).to_string()) };
    let location = format!("{PREFIX}/devices/{}", written.uid);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(written)))
}

/// Changes what people call a device.
#[utoipa::path(
    patch, path = "/devices/{uid}", tag = "devices", operation_id = "change_device", request_body = Change,
    params(("uid" = String, Path, description = "The device")),
    responses(
        (status = 200, description = "Changed", body = Written),
        (status = 404, description = "No such device", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Out of service", body = Problem, content_type = "application/problem+json"),
    ),
    extensions(("x-action" = json!("devices.write"))),
)]
async fn change_device(
    State(app): State<App>,
    Caller(caller): Caller,
    request: RequestId,
    DeviceUid(uid): DeviceUid,
    change: Result<Body<Change>, Error>,
) -> Result<Json<Written>, Error> {
    let labels = change.as_ref().ok().and_then(|Body(change)| change.labels.as_ref());
    guard::written(&app, &caller, &uid, labels).await?;
    let Body(change) = change?;
    if change.name.is_none() && change.labels.is_none() {
        return Err(Error::field("", "expected name or labels"));
    }
    let command = Command::Update { name: change.name, labels: change.labels };
    execute(&app, &caller, &request, uid, command).await.map(Json)
}

/// Takes a device out of service. Its history stays; its telemetry is quarantined from then on.
#[utoipa::path(
    delete, path = "/devices/{uid}", tag = "devices", operation_id = "decommission_device",
    params(("uid" = String, Path, description = "The device")),
    responses(
        (status = 200, description = "Out of service", body = Written),
        (status = 404, description = "No such device", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Out of service already", body = Problem, content_type = "application/problem+json"),
    ),
    extensions(("x-action" = json!("devices.write"))),
)]
async fn decommission_device(
    State(app): State<App>,
    Caller(caller): Caller,
    request: RequestId,
    DeviceUid(uid): DeviceUid,
) -> Result<Json<Written>, Error> {
    guard::written(&app, &caller, &uid, None).await?;
    execute(&app, &caller, &request, uid, Command::Decommission).await.map(Json)
}

async fn execute(
    app: &App,
    caller: &Principal,
    request: &RequestId,
    uid: Uid,
    command: Command,
) -> Result<Written, Error> {
    let stream = aggregate_id(&caller.tenant, &uid);
    let committed =
        app.tenant_log(caller).execute::<Aggregate>(&stream, command, request.metadata(caller)).await?;
    let position = committed.map(|at| LogPosition::from(at).to_string());
    Ok(Written { uid: uid.into(), position })
}
