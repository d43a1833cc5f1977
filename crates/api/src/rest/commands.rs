//! Commands: send, list, cancel. The history of one command is in [`command_history`](super::command_history).

use axum::Json;
use axum::response::IntoResponse;
use fleetlog_access::action::typed::{CommandsRead, CommandsWrite};
use fleetlog_access::{Action, Principal};
use fleetlog_aggregates::command::Status;
use fleetlog_aggregates::device;
use fleetlog_engine::commands::{Accepted, NewCommand};
use fleetlog_event_log::{Position, TenantLog};
use fleetlog_projections::Refolded;
use fleetlog_projections::commands::{self, Command, Cursor};
use fleetlog_projections::devices::Device;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use uuid::Uuid;

use super::as_of::{Dated, Snapshot};
use super::error::Error;
use super::extract::{Body, IdempotencyKey, OptionalBody, Query};
use super::headers::IDEMPOTENT_REPLAYED;
use super::page::List;
use super::parameters::{AsOf, Limit, LogPosition, Moment, check_span};
use super::{PREFIX, RequestId, min_position, wire};
use crate::app::App;
use crate::door::action::guarded;
use crate::door::{Knock, May, Target, guard};
use crate::resource::{Resource, uuid};

pub(super) fn router() -> OpenApiRouter<App> {
    guarded!(list_device_commands, send_command, send_command_alias, list_commands, cancel_command)
}

impl Resource for Command {
    type Id = Uuid;
    const MISSING: &'static str = "there is no such command";

    fn id(name: &str) -> Option<Uuid> {
        uuid(name)
    }

    async fn decide(
        caller: &Principal,
        log: &TenantLog,
        action: Action,
        id: &Uuid,
    ) -> Result<(), guard::Refused> {
        guard::recorded(caller, log, action, *id).await
    }
}

/// A command to put on the record.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewCommand)]
struct New {
    /// The name of the command: one of the tenant's command types.
    #[schema(example = "set_interval")]
    cmd: String,
    /// The command's parameters: JSON that fits the command type's schema, at most 32 KiB. Without it: `{}`.
    #[schema(value_type = Option<Object>)]
    params: Option<Value>,
    /// How long an attempt waits for the device, in seconds. Without it: 30.
    #[schema(minimum = 1, maximum = 86_400)]
    timeout_s: Option<u32>,
    /// The most attempts that the command may have. Without it: what the command type says, or else 3.
    #[schema(minimum = 1, maximum = 10)]
    max_attempts: Option<u32>,
    /// The moment after which the command is not sent any more: at most 30 days from now. Without it: a day from now.
    #[schema(value_type = Option<DateTime<Utc>>)]
    expires_at: Option<Moment>,
}

/// The id, the state and the position of what was put on the record.
#[derive(Serialize, ToSchema)]
#[schema(as = CommandWritten)]
struct Written {
    /// The id of the command.
    cmd_id: Uuid,
    /// The state after this write.
    #[schema(example = "requested")]
    status: &'static str,
    /// The position of this write on the record, to wait for with `min_position`.
    #[schema(example = "1:42")]
    position: String,
}

/// Puts a command on the record, to be sent to a device.
#[utoipa::path(
    post, path = "/devices/{uid}/commands", tag = "commands", operation_id = "send_command", request_body = New,
    params(
        ("uid" = String, Path, description = "The device's uid"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key and body again is the same command: 1 to 255 visible ASCII characters"),
    ),
    responses(
        (status = 202, description = "On the record, and will be sent", body = Written, headers(
            ("Location" = String),
            ("Idempotent-Replayed" = String, description = "`true` where an earlier request with the same key had put it there"),
        )),
        (status = 404, description = "No such device"),
        (status = 409, description = "Out of service, or the key is being worked on"),
    ),
)]
async fn send_command(
    knock: Knock<CommandsWrite, Device>,
    request: RequestId,
    key: Result<IdempotencyKey, Error>,
    command: Result<Body<New>, Error>,
) -> Result<impl IntoResponse, Error> {
    send(knock, &request, key, command).await
}

/// Puts a command on the record, at a second path that is kept for the original clients.
#[utoipa::path(
    post, path = "/devices/{uid}/command", tag = "commands", operation_id = "send_command_alias",
    request_body = New,
    params(
        ("uid" = String, Path, description = "The device's uid"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key and body again is the same command: 1 to 255 visible ASCII characters"),
    ),
    responses(
        (status = 202, description = "On the record, and will be sent", body = Written, headers(("Location" = String))),
        (status = 404, description = "No such device"),
        (status = 409, description = "Out of service, or the key is being worked on"),
    ),
)]
async fn send_command_alias(
    knock: Knock<CommandsWrite, Device>,
    request: RequestId,
    key: Result<IdempotencyKey, Error>,
    command: Result<Body<New>, Error>,
) -> Result<impl IntoResponse, Error> {
    send(knock, &request, key, command).await
}

async fn send(
    knock: Knock<CommandsWrite, Device>,
    request: &RequestId,
    key: Result<IdempotencyKey, Error>,
    command: Result<Body<New>, Error>,
) -> Result<impl IntoResponse + use<>, Error> {
    let door = knock.with_command(command.as_ref().ok().map(|Body(new)| new.cmd.as_str())).await?;
    let (IdempotencyKey(key), Body(command)) = (key?, command?);
    let New { cmd, params, timeout_s, max_attempts, expires_at } = command;
    let (device_uid, expires_at) = (door.id.clone(), expires_at.map(|at| at.0));
    let command = NewCommand { device_uid, cmd, params, timeout_s, max_attempts, expires_at };
    let metadata = request.metadata(&door.caller);
    let accepted = door.app.commands.send(door.log(), command, key.as_ref(), metadata).await?;
    let location = format!("{PREFIX}/commands/{}", accepted.id);
    let written = Written::new(accepted, Status::Requested);
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], replayed(&accepted), Json(written)))
}

/// The header that marks an answer as the one to an earlier request with the same key.
pub(super) fn replayed(accepted: &Accepted) -> Option<[(HeaderName, HeaderValue); 1]> {
    accepted.repeated.then_some([(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"))])
}

impl Written {
    fn new(accepted: Accepted, status: Status) -> Self {
        let position = LogPosition::from(accepted.at).to_string();
        Self { cmd_id: accepted.id, status: status.as_str(), position }
    }
}

/// Selects the commands of a page.
#[derive(Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// Only commands for this device.
    device: Option<String>,
    /// Only commands in this state: `requested`, `sent`, `acked`, `failed`, `timed_out` or `cancelled`.
    #[param(value_type = Option<String>)]
    status: Option<Status>,
    /// Only commands that this user requested.
    actor: Option<String>,
    /// Only commands of this command type.
    cmd: Option<String>,
    /// Only commands of the request with this id: its `X-Request-Id`.
    correlation_id: Option<String>,
    /// Only commands of this batch.
    batch_id: Option<Uuid>,
    /// Only commands requested at this moment or later.
    #[param(value_type = Option<DateTime<Utc>>)]
    from: Option<Moment>,
    /// Only commands requested before this moment.
    #[param(value_type = Option<DateTime<Utc>>)]
    to: Option<Moment>,
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
    /// Answer as of this moment: what had been recorded at a time, or a log up to `<log>:<position>`. `status` then means that
    /// moment, too, and cannot be counted; a page may have few items or none while `has_more` is true. Pass it on with `cursor`.
    #[param(value_type = Option<String>, example = "1:42")]
    as_of: Option<AsOf>,
}

/// Lists the tenant's commands, newest first.
#[utoipa::path(
    get, path = "/commands", tag = "commands", operation_id = "list_commands", params(Which),
    responses(
        (status = 200, description = "A page of commands", body = List<wire::Command>, headers(
            ("As-Of" = String, description = "With `as_of`: the position of the control log up to which the answer speaks, such as `1:42`"),
        )),
        (status = 404, description = "No such log"),
    ),
)]
async fn list_commands(
    door: May<CommandsRead>,
    Query(which): Query<Which>,
) -> Result<Dated<List<wire::Command>>, Error> {
    list(&door, which).await
}

/// Selects a page of a device's commands.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct WhichOfDevice {
    /// Only commands in this state: `requested`, `sent`, `acked`, `failed`, `timed_out` or `cancelled`.
    #[param(value_type = Option<String>)]
    status: Option<Status>,
    /// Only commands of this command type.
    cmd: Option<String>,
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
    /// Answer as of this moment, as `GET /commands` does.
    #[param(value_type = Option<String>, example = "1:42")]
    as_of: Option<AsOf>,
}

/// Lists a device's commands, newest first. `GET /commands?device=` has more filters.
#[utoipa::path(
    get, path = "/devices/{uid}/commands", tag = "commands", operation_id = "list_device_commands",
    params(("uid" = String, Path, description = "The device's uid"), WhichOfDevice),
    responses(
        (status = 200, description = "A page of commands", body = List<wire::Command>, headers(
            ("As-Of" = String, description = "With `as_of`: the position of the control log up to which the answer speaks, such as `1:42`"),
        )),
        (status = 404, description = "No such device, or no such log"),
    ),
)]
async fn list_device_commands(
    door: May<CommandsRead, Device>,
    Query(WhichOfDevice { status, cmd, limit, cursor, count, min_position, as_of }): Query<WhichOfDevice>,
) -> Result<Dated<List<wire::Command>>, Error> {
    let device = Some(door.id.to_string());
    let which = Which { device, status, cmd, limit, cursor, count, min_position, as_of, ..Which::default() };
    let commands = list(&door, which).await?;
    // An empty list is answered only for a device that exists; an unknown device is a 404.
    if commands.answer().items.is_empty() && !commands.answer().has_more {
        let until = commands.control().unwrap_or(Position::MAX);
        let device = [door.log().stream(&door.id)];
        if door.log().streams_until::<device::Device>(&device, until).await?.is_empty() {
            return Err(Error::missing::<Device>());
        }
    }
    Ok(commands)
}

async fn list<T: Target>(
    door: &May<CommandsRead, T>,
    which: Which,
) -> Result<Dated<List<wire::Command>>, Error> {
    check_span(which.from, which.to).map_err(|error| Error::field("from", error))?;
    let cursor = which.cursor.as_deref();
    let (snapshot, after) = Snapshot::of_page(door.log(), which.as_of, "cursor", cursor).await?;
    let query = commands::Query {
        device_uid: which.device,
        status: which.status,
        requested_by: which.actor,
        cmd: which.cmd,
        correlation_id: which.correlation_id,
        batch_id: which.batch_id,
        from: which.from.map(|from| from.0),
        to: which.to.map(|to| to.0),
        until: snapshot.map(|snapshot| snapshot.control()),
        after,
        limit: which.limit.0,
    };
    min_position::of_projection::<commands::Model>(&door.app, door.log(), which.min_position).await?;
    let dated = if let Some(snapshot) = snapshot {
        list_then(door, &snapshot, &query, which.count).await?
    } else {
        let page = commands::list(door.log(), &query).await?;
        Dated::now(List::page(page, |command| Cursor::of(command).to_string()))
    };
    // Where policies hide some items from the caller, the total would reveal how many are hidden.
    let total = if which.count && !door.caller.is_ruled(Action::CommandsRead) {
        Some(commands::count(door.log(), &query).await?)
    } else {
        None
    };
    let (action, mut dated) = (Action::CommandsRead, dated.map(|list: List<Command>| list.with_total(total)));
    let items = &mut dated.answer_mut().items;
    guard::retain_by_device(&door.caller, door.log(), action, items, |command| &command.device_uid).await?;
    Ok(dated.map(|list| list.map(|command| wire::Command::of(command, door.log()))))
}

async fn list_then<T: Target>(
    door: &May<CommandsRead, T>,
    snapshot: &Snapshot,
    query: &commands::Query,
    count: bool,
) -> Result<Dated<List<Command>>, Error> {
    if count && query.status.is_some() {
        return Err(Error::field("count", "with as_of, the commands of one status are not counted"));
    }
    snapshot.wait_for_commands(&door.app, door.log()).await?;
    let Refolded { found, events } =
        commands::as_of::list(door.log(), query, snapshot.control(), true).await?;
    let next_cursor = found.next.map(|place| snapshot.cursor(&place));
    let list = List { has_more: next_cursor.is_some(), next_cursor, ..List::whole(found.items) };
    Ok(Dated::then::<commands::Model>(snapshot, list, events))
}

/// The reason for a cancellation.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Cancellation)]
pub(super) struct Cancel {
    /// The reason, for people: 1 to 500 characters.
    pub(super) reason: Option<String>,
}

/// Cancels a command. If it was already sent, the device may still carry it out.
#[utoipa::path(
    post, path = "/commands/{id}/cancel", tag = "commands", operation_id = "cancel_command",
    request_body = Option<Cancel>,
    params(("id" = String, Path, description = "The command's id")),
    responses(
        (status = 200, description = "The command is cancelled", body = Written),
        (status = 404, description = "No such command"),
        (status = 409, description = "It has ended already"),
    ),
)]
async fn cancel_command(
    door: May<CommandsWrite, Command>,
    request: RequestId,
    OptionalBody(cancel): OptionalBody<Cancel>,
) -> Result<Json<Written>, Error> {
    let metadata = request.metadata(&door.caller);
    let accepted = door.app.commands.cancel(door.log(), door.id, cancel.reason, metadata).await?;
    Ok(Json(Written::new(accepted, Status::Cancelled)))
}
