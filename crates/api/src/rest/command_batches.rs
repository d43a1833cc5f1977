//! Batches: one command for many devices, sent at a given rate until every device has it or too many fail.

use axum::Json;
use axum::response::IntoResponse;
use fleetlog_access::action::typed::{CommandsRead, CommandsWrite};
use fleetlog_access::{Action, Principal};
use fleetlog_aggregates::command_batch::Status;
use fleetlog_engine::commands::Accepted;
use fleetlog_engine::commands::batch::NewBatch;
use fleetlog_event_log::TenantLog;
use fleetlog_projections::commands::{self, Batch, Cursor};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use uuid::Uuid;

use super::commands::{Cancel, replayed};
use super::error::Error;
use super::extract::{Body, IdempotencyKey, OptionalBody, Query, parse};
use super::min_position::When;
use super::page::List;
use super::parameters::{Limit, LogPosition, Moment};
use super::{PREFIX, RequestId, min_position, wire};
use crate::app::App;
use crate::door::action::guarded;
use crate::door::{Knock, May, guard};
use crate::resource::{Resource, uuid};

/// The default number of commands that a batch requests a second.
const RATE_PER_S: u32 = 10;

pub(super) fn router() -> OpenApiRouter<App> {
    guarded!(
        list_command_batches,
        send_command_batch,
        read_command_batch,
        pause_command_batch,
        resume_command_batch,
        cancel_command_batch
    )
}

impl Resource for Batch {
    type Id = Uuid;
    const MISSING: &'static str = "there is no such batch";

    fn id(name: &str) -> Option<Uuid> {
        uuid(name)
    }

    async fn decide(
        caller: &Principal,
        log: &TenantLog,
        action: Action,
        id: &Uuid,
    ) -> Result<(), guard::Refused> {
        guard::batch(caller, log, action, *id).await
    }
}

/// A batch to put on the record.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewCommandBatch)]
struct New {
    /// The devices that get the command: `{"devices": […]}` or `{"labels": {…}}`.
    selector: wire::Selector,
    /// The name of the command: one of the tenant's command types.
    #[schema(example = "set_interval")]
    cmd: String,
    /// The command's parameters: JSON that fits the command type's schema, at most 32 KiB. Without it: `{}`.
    #[schema(value_type = Option<Object>)]
    params: Option<Value>,
    /// How many commands are requested a second. Without it: 10.
    #[schema(minimum = 1, maximum = 1000)]
    rate_per_s: Option<u32>,
    /// The number of failed or timed-out commands at which the batch ends. Without it, the batch goes on however many
    /// fail.
    #[schema(minimum = 1, maximum = 100_000)]
    abort_after_failures: Option<u32>,
    /// How long an attempt waits for its device, in seconds. Without it: 30.
    #[schema(minimum = 1, maximum = 86_400)]
    timeout_s: Option<u32>,
    /// The most attempts that each command may have. Without it: what the command type says, or else 3.
    #[schema(minimum = 1, maximum = 10)]
    max_attempts: Option<u32>,
    /// The moment after which no command is sent any more: at most 30 days from now. Without it: a day from now.
    #[schema(value_type = Option<DateTime<Utc>>)]
    expires_at: Option<Moment>,
}

impl From<New> for NewBatch {
    fn from(new: New) -> Self {
        Self {
            selector: new.selector.into(),
            cmd: new.cmd,
            params: new.params,
            rate_per_s: new.rate_per_s.unwrap_or(RATE_PER_S),
            abort_after_failures: new.abort_after_failures,
            timeout_s: new.timeout_s,
            max_attempts: new.max_attempts,
            expires_at: new.expires_at.map(|at| at.0),
        }
    }
}

/// The id, the state and the position of what was put on the record.
#[derive(Serialize, ToSchema)]
#[schema(as = CommandBatchWritten)]
struct Written {
    /// The id of the batch.
    batch_id: Uuid,
    /// The state after this write.
    #[schema(example = "running")]
    status: &'static str,
    /// The position of this write on the record, to wait for with `min_position`.
    #[schema(example = "1:42")]
    position: String,
}

impl Written {
    fn new(accepted: Accepted, status: Status) -> Self {
        let position = LogPosition::from(accepted.at).to_string();
        Self { batch_id: accepted.id, status: status.as_str(), position }
    }
}

/// Puts a batch on the record. The devices are chosen now, and get the command one after the other.
#[utoipa::path(
    post, path = "/command-batches", tag = "commands", operation_id = "send_command_batch", request_body = New,
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key and body again is the same batch: 1 to 255 visible ASCII characters")),
    responses(
        (status = 202, description = "On the record, and will be sent", body = Written, headers(
            ("Location" = String),
            ("Idempotent-Replayed" = String, description = "`true` where an earlier request with the same key had put it there"),
        )),
        (status = 409, description = "The key is being worked on"),
    ),
)]
async fn send_command_batch(
    knock: Knock<CommandsWrite>,
    request: RequestId,
    key: Result<IdempotencyKey, Error>,
    batch: Result<Body<New>, Error>,
) -> Result<impl IntoResponse, Error> {
    let cmd = batch.as_ref().ok().map(|Body(new)| new.cmd.clone());
    let door = knock.with_command(cmd.as_deref())?;
    let (IdempotencyKey(key), Body(batch)) = (key?, batch?);
    let metadata = request.metadata(&door.caller);
    let allow = |devices| door.to_all(cmd.as_deref(), devices);
    let sent = door.app.commands.send_batch(door.log(), batch.into(), key.as_ref(), metadata, allow);
    let accepted = sent.await?;
    let location = format!("{PREFIX}/command-batches/{}", accepted.id);
    let written = Written::new(accepted, Status::Running);
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], replayed(&accepted), Json(written)))
}

/// Selects the batches of a page.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// The most items to return on a page.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    limit: Limit,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// Wait, for at most 2 s, until this write is visible: `<log>:<position>`.
    #[param(value_type = Option<String>, example = "1:42")]
    min_position: Option<LogPosition>,
}

/// Lists the tenant's batches, newest first. `GET /commands?batch_id=` lists the commands of one batch.
#[utoipa::path(
    get, path = "/command-batches", tag = "commands", operation_id = "list_command_batches", params(Which),
    responses((status = 200, description = "A page of batches", body = List<wire::CommandBatch>)),
)]
async fn list_command_batches(
    door: May<CommandsRead>,
    Query(which): Query<Which>,
) -> Result<Json<List<wire::CommandBatch>>, Error> {
    let after = parse("cursor", which.cursor.as_deref())?;
    min_position::of_projection::<commands::Model>(&door.app, door.log(), which.min_position).await?;
    let page = commands::batches(door.log(), after, which.limit.0).await?;
    let mut list: List<Batch> = List::page(page, |batch| Cursor::of_batch(batch).to_string());
    guard::retain_batches(&door.caller, door.log(), &mut list.items).await?;
    Ok(Json(list.map(|batch| wire::CommandBatch::of(batch, door.log()))))
}

/// Returns one batch, with the number of its commands in each state.
#[utoipa::path(
    get, path = "/command-batches/{id}", tag = "commands", operation_id = "read_command_batch",
    params(("id" = String, Path, description = "The batch's id"), When),
    responses(
        (status = 200, description = "The batch, and how its commands are", body = wire::CommandBatch),
        (status = 404, description = "No such batch"),
    ),
)]
async fn read_command_batch(
    door: May<CommandsRead, Batch>,
    Query(when): Query<When>,
) -> Result<Json<wire::CommandBatch>, Error> {
    min_position::of_projection::<commands::Model>(&door.app, door.log(), when.min_position).await?;
    let batch = commands::batch(door.log(), door.id).await?.ok_or_else(Error::missing::<Batch>)?;
    Ok(Json(wire::CommandBatch::of(batch, door.log())))
}

/// Pauses a batch: no more commands are requested until it is resumed. Those that were requested run to their end. A batch that
/// expires meanwhile is cancelled.
#[utoipa::path(
    post, path = "/command-batches/{id}/pause", tag = "commands", operation_id = "pause_command_batch",
    params(("id" = String, Path, description = "The batch's id")),
    responses(
        (status = 200, description = "The batch is paused", body = Written),
        (status = 404, description = "No such batch"),
        (status = 409, description = "It is paused already, or has ended"),
    ),
)]
async fn pause_command_batch(
    door: May<CommandsWrite, Batch>,
    request: RequestId,
) -> Result<Json<Written>, Error> {
    let metadata = request.metadata(&door.caller);
    let accepted = door.app.commands.pause_batch(door.log(), door.id, metadata).await?;
    Ok(Json(Written::new(accepted, Status::Paused)))
}

/// Resumes a paused batch: its commands are requested again at its rate.
#[utoipa::path(
    post, path = "/command-batches/{id}/resume", tag = "commands", operation_id = "resume_command_batch",
    params(("id" = String, Path, description = "The batch's id")),
    responses(
        (status = 200, description = "The batch goes on", body = Written),
        (status = 404, description = "No such batch"),
        (status = 409, description = "It is not paused, or has ended"),
    ),
)]
async fn resume_command_batch(
    door: May<CommandsWrite, Batch>,
    request: RequestId,
) -> Result<Json<Written>, Error> {
    let metadata = request.metadata(&door.caller);
    let accepted = door.app.commands.resume_batch(door.log(), door.id, metadata).await?;
    Ok(Json(Written::new(accepted, Status::Running)))
}

/// Cancels a batch: no more commands are requested, and those that were not sent yet are cancelled.
#[utoipa::path(
    post, path = "/command-batches/{id}/cancel", tag = "commands", operation_id = "cancel_command_batch",
    request_body = Option<Cancel>,
    params(("id" = String, Path, description = "The batch's id")),
    responses(
        (status = 200, description = "The batch is cancelled", body = Written),
        (status = 404, description = "No such batch"),
        (status = 409, description = "It has ended already"),
    ),
)]
async fn cancel_command_batch(
    door: May<CommandsWrite, Batch>,
    request: RequestId,
    OptionalBody(cancel): OptionalBody<Cancel>,
) -> Result<Json<Written>, Error> {
    let metadata = request.metadata(&door.caller);
    let accepted = door.app.commands.cancel_batch(door.log(), door.id, cancel.reason, metadata).await?;
    Ok(Json(Written::new(accepted, Status::Cancelled)))
}
