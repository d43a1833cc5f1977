//! Batches of commands, as REST takes and shows them.

use chrono::{DateTime, Utc};
use fleetlog_aggregates::device::Labels;
use fleetlog_aggregates::identity::Uid;
use fleetlog_engine::commands::batch;
use fleetlog_event_log::event::Json;
use fleetlog_event_log::{Lane, Position, TenantLog};
use fleetlog_projections::commands;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::EventPosition;
use crate::rest::json::Object;

/// A batch, and how many of its commands are in each state.
#[derive(Serialize, ToSchema)]
pub(in crate::rest) struct CommandBatch {
    /// The id of the batch.
    pub(in crate::rest) batch_id: Uuid,
    /// How the devices were chosen: the selector of the request.
    #[schema(value_type = Object)]
    pub(in crate::rest) selector: Json,
    /// The command type of each command, such as `ping`.
    pub(in crate::rest) cmd: String,
    /// The parameters of each command: JSON, at most 32 KiB.
    #[schema(value_type = Object)]
    pub(in crate::rest) params: Json,
    /// The state of the batch: `running`, `paused`, `completed`, `aborted` or `cancelled`.
    pub(in crate::rest) status: String,
    /// Who requested the batch: a user's id, or `key:` and an API key's id.
    pub(in crate::rest) requested_by: String,
    /// When it was requested, by the server's clock.
    pub(in crate::rest) requested_at: DateTime<Utc>,
    /// After this time no command of the batch is sent.
    pub(in crate::rest) expires_at: DateTime<Utc>,
    /// How many commands are requested per second: 1 to 1000.
    pub(in crate::rest) rate_per_s: i32,
    /// The batch ends once this many commands have failed or timed out. `null`: never.
    pub(in crate::rest) abort_after_failures: Option<i32>,
    /// How many devices the batch is for.
    pub(in crate::rest) devices: i32,
    /// How many of the batch's commands are in each state.
    pub(in crate::rest) commands: CommandCounts,
    /// When the batch ended.
    pub(in crate::rest) ended_at: Option<DateTime<Utc>>,
    /// Who cancelled the batch: a user's id, or `key:` and an API key's id.
    pub(in crate::rest) cancelled_by: Option<String>,
    /// Why it was cancelled, in the words of who did: 1 to 500 characters.
    pub(in crate::rest) cancel_reason: Option<String>,
    /// The position of the batch's request in the control log.
    #[schema(value_type = i64)]
    pub(in crate::rest) position: Position,
    /// The batch's own last event; its commands have theirs. Null if it is not known.
    pub(in crate::rest) last_event: Option<EventPosition>,
}

impl CommandBatch {
    /// A batch of the log's tenant.
    pub(in crate::rest) fn of(batch: commands::Batch, log: &TenantLog) -> Self {
        Self {
            batch_id: batch.batch_id,
            selector: batch.selector,
            cmd: batch.cmd,
            params: batch.params,
            status: batch.status,
            requested_by: batch.requested_by,
            requested_at: batch.requested_at,
            expires_at: batch.expires_at,
            rate_per_s: batch.rate_per_s,
            abort_after_failures: batch.abort_after_failures,
            devices: batch.devices,
            commands: batch.commands.into(),
            ended_at: batch.ended_at,
            cancelled_by: batch.cancelled_by,
            cancel_reason: batch.cancel_reason,
            position: batch.position,
            last_event: EventPosition::of(log, Lane::Control, batch.last_position),
        }
    }
}

/// How many of a batch's commands are in each state.
#[derive(Serialize, ToSchema)]
pub(in crate::rest) struct CommandCounts {
    /// How many devices have no command yet; once the batch has ended, they get none.
    pub(in crate::rest) waiting: i64,
    /// How many commands no broker has taken over yet.
    pub(in crate::rest) requested: i64,
    /// How many commands a broker has taken over, without an answer so far.
    pub(in crate::rest) sent: i64,
    /// How many commands their devices did.
    pub(in crate::rest) acked: i64,
    /// How many commands failed, as their devices reported.
    pub(in crate::rest) failed: i64,
    /// How many commands got no answer in time.
    pub(in crate::rest) timed_out: i64,
    /// How many commands were cancelled.
    pub(in crate::rest) cancelled: i64,
}

impl From<commands::Counts> for CommandCounts {
    fn from(counts: commands::Counts) -> Self {
        Self {
            waiting: counts.waiting,
            requested: counts.requested,
            sent: counts.sent,
            acked: counts.acked,
            failed: counts.failed,
            timed_out: counts.timed_out,
            cancelled: counts.cancelled,
        }
    }
}

/// The devices of a batch, chosen in exactly one of these ways.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", try_from = "Object<SelectorFields>")]
pub(in crate::rest) enum Selector {
    /// The devices with these uids.
    #[schema(title = "SelectorByUid", value_type = Vec<String>)]
    Devices(Vec<Uid>),
    /// All devices in service that carry all of these labels; at least one label is needed.
    #[schema(title = "SelectorByLabels", value_type = std::collections::BTreeMap<String, String>)]
    Labels(Labels),
}

/// The JSON form of [`Selector`]. It is read field by field, so that a refusal names the wrong field.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SelectorFields {
    devices: Option<Vec<Uid>>,
    labels: Option<Labels>,
}

impl TryFrom<Object<SelectorFields>> for Selector {
    type Error = &'static str;

    fn try_from(Object(fields): Object<SelectorFields>) -> Result<Self, &'static str> {
        match (fields.devices, fields.labels) {
            (Some(devices), None) => Ok(Self::Devices(devices)),
            (None, Some(labels)) => Ok(Self::Labels(labels)),
            _ => Err("expected either devices or labels"),
        }
    }
}

impl From<Selector> for batch::Selector {
    fn from(selector: Selector) -> Self {
        match selector {
            Selector::Devices(devices) => Self::Devices(devices),
            Selector::Labels(labels) => Self::Labels(labels),
        }
    }
}
