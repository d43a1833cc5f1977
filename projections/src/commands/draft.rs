//! What some events say about one command. Pure.

use chrono::{DateTime, Utc};
use fleetlog_aggregates::command::{Event as CommandEvent, Request, Status};
use fleetlog_aggregates::identity::StreamId;
use fleetlog_event_log::event::Json;
use fleetlog_event_log::{Event, Position};
use serde::Serialize;
use uuid::Uuid;

use super::Command;
use crate::read_model::Poison;

/// What events say about a command. A field that no event mentioned is absent, and keeps its value in the table.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Draft {
    pub(super) requested: Option<Requested>,
    pub(super) status: Option<Status>,
    pub(super) attempts: Option<i32>,
    pub(super) sent_at: Option<DateTime<Utc>>,
    pub(super) deadline: Option<DateTime<Utc>>,
    pub(super) ended_at: Option<DateTime<Utc>>,
    pub(super) result: Option<String>,
    pub(super) error: Option<String>,
    pub(super) cancelled_by: Option<String>,
    pub(super) cancel_reason: Option<String>,
    pub(super) late_ack: Option<String>,
    pub(super) late_ack_at: Option<DateTime<Utc>>,
    /// The last of the events.
    pub(super) last_position: Position,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Requested {
    pub(super) request: Request,
    pub(super) params: String,
    pub(super) batch_id: Option<Uuid>,
    pub(super) correlation_id: Option<String>,
    pub(super) at: DateTime<Utc>,
    pub(super) position: Position,
}

impl Draft {
    /// Adds an event of the command's stream. On an error nothing has changed.
    pub(super) fn add(&mut self, event: &Event) -> Result<(), Poison> {
        let at = event.occurred_at;
        match event.decode()? {
            CommandEvent::CommandRequested(request) => {
                *self = Self {
                    requested: Some(requested(event, request)?),
                    status: Some(Status::Requested),
                    attempts: Some(0),
                    ..Self::default()
                };
            }
            CommandEvent::CommandSent { attempt, deadline } => {
                self.status = Some(Status::Sent);
                self.attempts = Some(attempt as i32);
                self.sent_at = Some(at);
                self.deadline = Some(deadline);
            }
            CommandEvent::CommandAcknowledged { result } => {
                self.result = result.map(|result| text(&result)).transpose()?;
                self.end(Status::Acked, at);
            }
            CommandEvent::CommandFailed { error } => {
                self.error = error.map(|error| text(&error)).transpose()?;
                self.end(Status::Failed, at);
            }
            CommandEvent::CommandTimedOut { .. } => self.end(Status::TimedOut, at),
            CommandEvent::CommandCancelled { by, reason } => {
                self.cancelled_by = Some(by);
                self.cancel_reason = reason;
                self.end(Status::Cancelled, at);
            }
            CommandEvent::LateAckRecorded(ack) => {
                self.late_ack = Some(text(&ack)?);
                self.late_ack_at = Some(at);
            }
            CommandEvent::UnreadableAckRecorded { .. } => {}
        }
        self.last_position = event.position;
        Ok(())
    }

    fn end(&mut self, status: Status, at: DateTime<Utc>) {
        self.status = Some(status);
        self.ended_at = Some(at);
    }

    /// The complete command. `None` unless its request was among the events.
    pub(super) fn into_command(self, cmd_id: Uuid) -> Option<Command> {
        let Requested { request, params, batch_id, correlation_id, at, position } = self.requested?;
        Some(Command {
            cmd_id,
            device_uid: request.device_uid,
            cmd: request.cmd,
            params: Json(params),
            status: self.status?,
            requested_by: request.requested_by,
            requested_at: at,
            timeout_s: request.timeout_s as i32,
            max_attempts: request.max_attempts as i32,
            expires_at: request.expires_at,
            attempts: self.attempts.unwrap_or(0),
            sent_at: self.sent_at,
            deadline: self.deadline,
            ended_at: self.ended_at,
            result: self.result.map(Json),
            error: self.error.map(Json),
            cancelled_by: self.cancelled_by,
            cancel_reason: self.cancel_reason,
            late_ack: self.late_ack.map(Json),
            late_ack_at: self.late_ack_at,
            correlation_id,
            batch_id,
            position,
            last_position: Some(self.last_position),
        })
    }
}

fn requested(event: &Event, request: Request) -> Result<Requested, Poison> {
    let batch_id = request.batch_id.as_deref().map(Uuid::parse_str).transpose().map_err(Poison::new)?;
    Ok(Requested {
        params: text(&request.params)?,
        batch_id,
        correlation_id: event.metadata.correlation_id(),
        at: event.occurred_at,
        position: event.position,
        request,
    })
}

/// Writes a value as JSON text.
pub(super) fn text(value: &impl Serialize) -> Result<String, Poison> {
    serde_json::to_string(value).map_err(Poison::new)
}

/// Splits the stream's id into the tenant and the id of the command or batch.
pub(super) fn key(event: &Event) -> Result<(String, Uuid), Poison> {
    let corrupt = || Poison::new("the stream's id is not made of a tenant and a UUID");
    let stream: StreamId = event.aggregate_id.parse().map_err(|_| corrupt())?;
    let id = stream.uuid().ok_or_else(corrupt)?;
    Ok((stream.tenant.into(), id))
}
