//! Devices: list, read, register, change, decommission.

use axum::Json;
use axum::response::IntoResponse;
use fleetlog_access::action::typed::{DevicesRead, DevicesWrite};
use fleetlog_access::{Action, Principal};
use fleetlog_aggregates::device::{
    self, Command, Device as Aggregate, EXPECTED_ONLINE_WITHIN, Labels, OnlineWithin, Registration, Via,
};
use fleetlog_aggregates::identity::Uid;
use fleetlog_engine::devices::registration;
use fleetlog_event_log::TenantLog;
use fleetlog_projections::Refolded;
use fleetlog_projections::devices::{self, Cursor, Device, Sort};
use http::{StatusCode, header};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;

use super::as_of::{Dated, Snapshot};
use super::error::Error;
use super::extract::{Body, Query, nameable, parse};
use super::page::List;
use super::parameters::{AsOf, Limit, LogPosition};
use super::telemetry::shown_since;
use super::{PREFIX, RequestId, min_position, wire};
use crate::app::App;
use crate::door::action::guarded;
use crate::door::{Knock, May, guard};
use crate::live::follow::Words;
use crate::resource::Resource;

pub(super) fn router() -> OpenApiRouter<App> {
    guarded!(list_devices, register_device, read_device, change_device, decommission_device)
}

impl Resource for Device {
    type Id = Uid;
    const MISSING: &'static str = "there is no such device";

    fn id(name: &str) -> Option<Uid> {
        name.parse().ok()
    }

    async fn decide(
        caller: &Principal,
        log: &TenantLog,
        action: Action,
        uid: &Uid,
    ) -> Result<(), guard::Refused> {
        guard::command(caller, log, action, None, uid).await
    }
}

/// Selects the devices of a page.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// Part of the uid or the name, in any case.
    q: Option<String>,
    /// Only devices with all of these labels: `site=hanoi`, or several with commas between them.
    #[param(value_type = Option<String>, example = "site=hanoi")]
    label: Option<Words>,
    /// Only devices in this state. Without it: all devices in service.
    #[param(inline)]
    status: Option<wire::Status>,
    /// The order: `uid`, `last_seen_at` or `registered_at`; with `-` before it, descending.
    #[param(example = "-last_seen_at")]
    sort: Option<String>,
    /// The most items to return on a page.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    limit: Limit,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// Whether to count the items of all pages. They are not counted if policies hide some items from the caller.
    #[serde(default)]
    count: bool,
    /// Wait, for at most 2 s, until this write is visible: `<log>:<position>`.
    #[param(value_type = Option<String>, example = "1:42")]
    min_position: Option<LogPosition>,
    /// Answer as of this moment: what had been recorded at a time, or a log up to `<log>:<position>` and the other one up to
    /// that event's time. Filters and order then mean that moment, too. Pass it on with `cursor`.
    #[param(value_type = Option<String>, example = "1:42")]
    as_of: Option<AsOf>,
}

/// Lists the tenant's devices.
#[utoipa::path(
    get, path = "/devices", tag = "devices", operation_id = "list_devices", params(Which),
    responses(
        (status = 200, description = "A page of devices", body = List<wire::Device>, headers(
            ("As-Of" = String, description = "With `as_of`: the position of each log up to which the answer speaks, such as `1:42, 2:977`"),
        )),
        (status = 404, description = "No such log"),
        (status = 410, description = "Readings of that time are no longer kept"),
    ),
)]
async fn list_devices(
    door: May<DevicesRead>,
    Query(which): Query<Which>,
) -> Result<Dated<List<wire::Device>>, Error> {
    let sort: Sort = parse("sort", which.sort.as_deref())?.unwrap_or_default();
    let cursor = which.cursor.as_deref();
    let (snapshot, after) = Snapshot::of_page(door.log(), which.as_of, "cursor", cursor).await?;
    let status = which.status.map(Into::into);
    let labels = which.label.as_ref().map(Words::labels).transpose()?;
    let query = devices::Query { q: which.q, labels, status, sort, after, limit: which.limit.0 };
    min_position::of_projection::<devices::Model>(&door.app, door.log(), which.min_position).await?;
    // Where policies hide some items from the caller, the total would reveal how many are hidden.
    let with_total = which.count && !door.caller.is_ruled(Action::DevicesRead);
    match snapshot {
        Some(snapshot) => list_then(&door, &snapshot, &query, with_total).await,
        None => list_now(&door, &query, with_total).await.map(Dated::now),
    }
}

async fn list_now(
    door: &May<DevicesRead>,
    query: &devices::Query,
    with_total: bool,
) -> Result<List<wire::Device>, Error> {
    let online = door.app.online();
    let mut page = devices::list(door.log(), query, online).await?;
    let shown = shown_since(door.log());
    page.items = page.items.into_iter().map(|device| device.shown_since(shown)).collect();
    let total = if with_total { Some(devices::count(door.log(), query, online).await?) } else { None };
    let mut list: List<Device> =
        List::page(page, |device| Cursor::of(device, query.sort).to_string()).with_total(total);
    guard::retain_devices(&door.caller, &mut list.items, |device| device).await?;
    Ok(list.map(|device| wire::Device::of(device, door.log())))
}

async fn list_then(
    door: &May<DevicesRead>,
    snapshot: &Snapshot,
    query: &devices::Query,
    with_total: bool,
) -> Result<Dated<List<wire::Device>>, Error> {
    let Refolded { found, events } = snapshot.list_devices(&door.app, door.log(), query).await?;
    let cursor = |device: &Device| snapshot.cursor(&Cursor::of(device, query.sort));
    let mut list: List<Device> = List::page(found.page, cursor).with_total(with_total.then_some(found.total));
    let action = Action::DevicesRead;
    guard::retain_by_device(&door.caller, door.log(), action, &mut list.items, |device| &device.uid).await?;
    let list = list.map(|device| wire::Device::of(device, door.log()));
    Ok(Dated::then::<devices::Model>(snapshot, list, events))
}

/// When a device is read.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct When {
    /// Wait, for at most 2 s, until this write is visible: `<log>:<position>`.
    #[param(value_type = Option<String>, example = "1:42")]
    min_position: Option<LogPosition>,
    /// Answer as of this moment: what had been recorded at a time, or a log up to `<log>:<position>` and the other one up to
    /// that event's time.
    #[param(value_type = Option<String>, example = "1:42")]
    as_of: Option<AsOf>,
}

/// Returns one device, in service or not.
#[utoipa::path(
    get, path = "/devices/{uid}", tag = "devices", operation_id = "read_device",
    params(("uid" = String, Path, description = "The device's uid"), When),
    responses(
        (status = 200, description = "The device, in service or not", body = wire::Device, headers(
            ("As-Of" = String, description = "With `as_of`: the position of each log up to which the answer speaks, such as `1:42, 2:977`"),
        )),
        (status = 404, description = "No such device, or no such log"),
        (status = 410, description = "Readings of that time are no longer kept"),
    ),
)]
async fn read_device(
    door: May<DevicesRead, Device>,
    Query(when): Query<When>,
) -> Result<Dated<wire::Device>, Error> {
    let uids = std::slice::from_ref(&door.id);
    if let Some(as_of) = when.as_of {
        let snapshot = Snapshot::of(door.log(), as_of).await?;
        min_position::of_projection::<devices::Model>(&door.app, door.log(), when.min_position).await?;
        let Refolded { found, events } = snapshot.devices(&door.app, door.log(), uids).await?;
        let device = found.into_iter().next().ok_or_else(Error::missing::<Device>)?;
        let device = wire::Device::of(device, door.log());
        return Ok(Dated::then::<devices::Model>(&snapshot, device, events));
    }
    min_position::of_projection::<devices::Model>(&door.app, door.log(), when.min_position).await?;
    let found = devices::get(door.log(), uids, door.app.online()).await?;
    let device = found.into_iter().next().ok_or_else(Error::missing::<Device>)?;
    let device = device.shown_since(shown_since(door.log()));
    Ok(Dated::now(wire::Device::of(device, door.log())))
}

/// A device to put on the record.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewDevice {
    /// The device's name within the tenant: 1 to 64 of `A-Z a-z 0-9 _ . - :`, not dots only.
    #[schema(value_type = String, example = "dev-01")]
    uid: Uid,
    /// A name for people: 1 to 200 characters.
    name: Option<String>,
    /// The device's labels: at most 64, with 1 to 128 characters each.
    #[schema(value_type = Option<std::collections::BTreeMap<String, String>>, example = json!({"site": "hanoi"}))]
    labels: Option<Labels>,
}

/// The fields to change; absent fields stay as they are.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DeviceChange)]
struct Change {
    /// A name for people: 1 to 200 characters.
    name: Option<String>,
    /// All of the device's labels; they replace the ones it has.
    #[schema(value_type = Option<std::collections::BTreeMap<String, String>>)]
    labels: Option<Labels>,
    /// After how many seconds without a sign of life the device counts as offline: 1 to 604,800, which is a week. With null, after
    /// as many as the service's setting says.
    #[serde(default, deserialize_with = "online_within")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 604_800, example = 7200)]
    online_within_s: Option<OnlineWithin>,
}

/// Reads a threshold that is there. Whatever is none is refused with the same words as in `GraphQL`.
fn online_within<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<OnlineWithin>, D::Error> {
    let within = match Value::deserialize(deserializer)? {
        Value::Null => Ok(OnlineWithin::Usual),
        other => other.as_i64().ok_or(EXPECTED_ONLINE_WITHIN).and_then(OnlineWithin::try_from),
    };
    within.map(Some).map_err(D::Error::custom)
}

/// The result of a write.
#[derive(Serialize, ToSchema)]
#[schema(as = DeviceWritten)]
struct Written {
    /// The uid of the device.
    uid: String,
    /// The position of this write on the record, to wait for with `min_position`; null if there was nothing to change.
    #[schema(example = "1:42")]
    position: Option<String>,
}

/// Registers a device, or puts it back into service.
#[utoipa::path(
    post, path = "/devices", tag = "devices", operation_id = "register_device", request_body = NewDevice,
    responses(
        (status = 201, description = "The device is registered", body = Written, headers(("Location" = String))),
        (status = 409, description = "Registered already, or as many as the tenant may have"),
    ),
)]
async fn register_device(
    door: May<DevicesWrite>,
    request: RequestId,
    Body(device): Body<NewDevice>,
) -> Result<impl IntoResponse, Error> {
    nameable("uid", device.uid.as_str())?;
    let labels = device.labels.unwrap_or_default();
    door.with_labels(&device.uid, &labels).await?;
    let registration = Registration { via: Via::Api, name: device.name, labels };
    let (uid, metadata) = (device.uid, request.metadata(&door.caller));
    let at = registration::register(door.log(), &uid, registration, metadata).await?;
    let written = Written { uid: uid.into(), position: at.map(|at| LogPosition::from(at).to_string()) };
    let location = format!("{PREFIX}/devices/{}", written.uid);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(written)))
}

/// Changes a device's name, its labels or its threshold for being online.
#[utoipa::path(
    patch, path = "/devices/{uid}", tag = "devices", operation_id = "change_device", request_body = Change,
    params(("uid" = String, Path, description = "The device's uid")),
    responses(
        (status = 200, description = "The device is changed", body = Written),
        (status = 404, description = "No such device"),
        (status = 409, description = "Out of service"),
    ),
)]
async fn change_device(
    knock: Knock<DevicesWrite, Device>,
    request: RequestId,
    change: Result<Body<Change>, Error>,
) -> Result<Json<Written>, Error> {
    let labels = change.as_ref().ok().and_then(|Body(change)| change.labels.as_ref());
    let door = knock.with_labels(labels).await?;
    let Body(change) = change?;
    let Change { name, labels, online_within_s } = change;
    if name.is_none() && labels.is_none() && online_within_s.is_none() {
        return Err(Error::field("", "expected name, labels or online_within_s"));
    }
    let command = Command::Update(device::Change { name, labels, online_within: online_within_s });
    execute(door, &request, command).await.map(Json)
}

/// Takes a device out of service. Its history stays; its telemetry is quarantined from now on.
#[utoipa::path(
    delete, path = "/devices/{uid}", tag = "devices", operation_id = "decommission_device",
    params(("uid" = String, Path, description = "The device's uid")),
    responses(
        (status = 200, description = "Out of service", body = Written),
        (status = 404, description = "No such device"),
        (status = 409, description = "Out of service already"),
    ),
)]
async fn decommission_device(
    door: May<DevicesWrite, Device>,
    request: RequestId,
) -> Result<Json<Written>, Error> {
    execute(door, &request, Command::Decommission).await.map(Json)
}

async fn execute(
    door: May<DevicesWrite, Device>,
    request: &RequestId,
    command: Command,
) -> Result<Written, Error> {
    let (stream, metadata) = (door.log().stream(&door.id), request.metadata(&door.caller));
    let committed = door.log().execute::<Aggregate>(&stream, command, metadata).await?;
    let position = committed.map(|at| LogPosition::from(at).to_string());
    Ok(Written { uid: door.id.into(), position })
}
