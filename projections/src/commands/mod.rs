//! `commands`: every command with its outcome, batches of commands, and the command types.
//!
//! - `draft`: what some events say about one command; for the table, and for the answer that must not be stale
//! - `fold`, `model`: what a page of events changes, and how that is written
//! - `queries`: list, count, and what the dispatcher begins with
//! - `history`: one command from the log itself: its state, and every step to it
//! - `batches`, `types`: the queries over those

mod batches;
mod draft;
mod fold;
mod history;
mod model;
mod queries;
mod types;

use chrono::{DateTime, Utc};
use fleetlog_aggregates::command::Status;
use fleetlog_event_log::Position;
use fleetlog_event_log::event::Json;
use serde::Serialize;
use uuid::Uuid;

pub use batches::{Batch, Counts, batch, batches, counts, ended_with_unsent, running, unsent};
pub use history::{Step, histories, history};
pub use model::Model;
pub use queries::{Cursor, Error, Open, Query, count, get, list, of_devices, open};
pub use types::{CommandType, types};

/// A command as the log left it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = Command))]
pub struct Command {
    /// Its id: the same in the log, in HTTP, in the message to the device and in the device's answer.
    pub cmd_id: Uuid,
    /// For which device.
    pub device_uid: String,
    /// What to do.
    pub cmd: String,
    /// Its parameters: JSON, at most 32 KiB.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub params: Json,
    /// Where it is in its life.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "acked"))]
    pub status: Status,
    /// Who wanted it.
    pub requested_by: String,
    /// When it was requested, by the server's clock.
    pub requested_at: DateTime<Utc>,
    /// How long an attempt waits for the device, in seconds.
    pub timeout_s: i32,
    /// How many attempts there may be.
    pub max_attempts: i32,
    /// After this it is not sent any more.
    pub expires_at: DateTime<Utc>,
    /// How many attempts a broker has taken over.
    pub attempts: i32,
    /// When the last of them was.
    pub sent_at: Option<DateTime<Utc>>,
    /// Until when the device may answer that.
    pub deadline: Option<DateTime<Utc>>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// What came of it.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub result: Option<Json>,
    /// Why the device says that it failed.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub error: Option<Json>,
    /// Who cancelled it.
    pub cancelled_by: Option<String>,
    /// Why it was cancelled, in the words of who did: 1 to 500 characters.
    pub cancel_reason: Option<String>,
    /// What the device answered after the command had timed out or was cancelled. It changes nothing.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub late_ack: Option<Json>,
    /// When the late answer arrived, by the server's clock.
    pub late_ack_at: Option<DateTime<Utc>>,
    /// What ties it to the requester's own records: the request's id, unless the requester gave one.
    pub correlation_id: Option<String>,
    /// The batch that it is part of.
    pub batch_id: Option<Uuid>,
    /// The position of its request in the control log.
    pub position: Position,
}
