//! `commands`: every command with its outcome, batches of commands, and the command types.
//!
//! - `draft`: what some events say about one command; serves the table, and the answer that must not be stale
//! - `fold`, `model`: what a page of events changes, and how the changes are written
//! - `queries`: list, count, and the open commands that the dispatcher begins with
//! - `history`: one command from the log itself: its state, and every step to it
//! - [`as_of`]: lists as of a moment of the past, folded from the log
//! - `batches`, `types`: the queries over batches and command types

pub mod as_of;
mod batches;
mod compared;
mod draft;
mod fold;
mod history;
mod model;
mod queries;
mod types;

use chrono::{DateTime, Utc};
use fleetlog_aggregates::command::Status;
use fleetlog_aggregates::identity::Uid;
use fleetlog_event_log::Position;
use fleetlog_event_log::event::Json;
use uuid::Uuid;

pub use batches::{Batch, Counts, batch, batches, counts, ended_with_unsent, open_batches, unsent};
pub(crate) use history::inner;
pub use history::{Step, after_each, histories, history};
pub use model::Model;
pub use queries::{Cursor, Error, Open, Query, count, get, list, of_devices, open};
pub use types::{CommandType, types};

/// A command, and what has become of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// The command's id: the same in the log, in HTTP, in the message to the device and in the device's answer.
    pub cmd_id: Uuid,
    /// The device that the command is for.
    pub device_uid: Uid,
    /// The command type, such as `ping`.
    pub cmd: String,
    /// The parameters of the command: JSON, at most 32 KiB.
    pub params: Json,
    /// The state: `requested`, `sent`, `acked`, `failed`, `timed_out` or `cancelled`.
    pub status: Status,
    /// Who requested the command: a user's id, or `key:` and an API key's id.
    pub requested_by: String,
    /// When it was requested, by the server's clock.
    pub requested_at: DateTime<Utc>,
    /// How long an attempt waits for the device's answer, in seconds: 1 to 86400.
    pub timeout_s: i32,
    /// How many attempts the command may have: 1 to 10.
    pub max_attempts: i32,
    /// After this time the command is not sent.
    pub expires_at: DateTime<Utc>,
    /// How many attempts a broker has taken over.
    pub attempts: i32,
    /// When a broker took over the last attempt.
    pub sent_at: Option<DateTime<Utc>>,
    /// Until when the device may answer the last attempt.
    pub deadline: Option<DateTime<Utc>>,
    /// When the command ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// The result that the device reported.
    pub result: Option<Json>,
    /// The error that the device reported, or why the command cannot be delivered to it.
    pub error: Option<Json>,
    /// Who cancelled the command: a user's id, or `key:` and an API key's id.
    pub cancelled_by: Option<String>,
    /// Why it was cancelled, in the words of who did: 1 to 500 characters.
    pub cancel_reason: Option<String>,
    /// The device's answer, if it came after the command had timed out or was cancelled. It changes nothing.
    pub late_ack: Option<Json>,
    /// When the late answer arrived, by the server's clock.
    pub late_ack_at: Option<DateTime<Utc>>,
    /// A link to the requester's own records: the id that the requester gave, or else the request's id.
    pub correlation_id: Option<String>,
    /// The batch that the command is part of.
    pub batch_id: Option<Uuid>,
    /// The position of the command's request in the control log.
    pub position: Position,
    /// The position of the command's last event in the control log. `None` if it is not known.
    pub last_position: Option<Position>,
}
