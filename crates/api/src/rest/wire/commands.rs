//! Commands, their steps and their types, as REST shows them.

use chrono::{DateTime, Utc};
use fleetlog_aggregates::command::Status;
use fleetlog_event_log::event::Json;
use fleetlog_event_log::{Lane, Position, TenantLog};
use fleetlog_projections::commands;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::EventPosition;

/// A command, and what has become of it.
#[derive(Serialize, ToSchema)]
pub(in crate::rest) struct Command {
    /// The command's id: the same in the log, in HTTP, in the message to the device and in the device's answer.
    pub(in crate::rest) cmd_id: Uuid,
    /// The device that the command is for.
    pub(in crate::rest) device_uid: String,
    /// The command type, such as `ping`.
    pub(in crate::rest) cmd: String,
    /// The parameters of the command: JSON, at most 32 KiB.
    #[schema(value_type = Object)]
    pub(in crate::rest) params: Json,
    /// The state: `requested`, `sent`, `acked`, `failed`, `timed_out` or `cancelled`.
    #[schema(value_type = String, example = "acked")]
    pub(in crate::rest) status: Status,
    /// Who requested the command: a user's id, or `key:` and an API key's id.
    pub(in crate::rest) requested_by: String,
    /// When it was requested, by the server's clock.
    pub(in crate::rest) requested_at: DateTime<Utc>,
    /// How long an attempt waits for the device's answer, in seconds: 1 to 86400.
    pub(in crate::rest) timeout_s: i32,
    /// How many attempts the command may have: 1 to 10.
    pub(in crate::rest) max_attempts: i32,
    /// After this time the command is not sent.
    pub(in crate::rest) expires_at: DateTime<Utc>,
    /// How many attempts a broker has taken over.
    pub(in crate::rest) attempts: i32,
    /// When a broker took over the last attempt.
    pub(in crate::rest) sent_at: Option<DateTime<Utc>>,
    /// Until when the device may answer the last attempt.
    pub(in crate::rest) deadline: Option<DateTime<Utc>>,
    /// When the command ended.
    pub(in crate::rest) ended_at: Option<DateTime<Utc>>,
    /// The result that the device reported: any JSON.
    #[schema(value_type = Option<serde_json::Value>)]
    pub(in crate::rest) result: Option<Json>,
    /// The error that the device reported, or a text that says why the command cannot be delivered to it: any JSON.
    #[schema(value_type = Option<serde_json::Value>)]
    pub(in crate::rest) error: Option<Json>,
    /// Who cancelled the command: a user's id, or `key:` and an API key's id.
    pub(in crate::rest) cancelled_by: Option<String>,
    /// Why it was cancelled, in the words of who did: 1 to 500 characters.
    pub(in crate::rest) cancel_reason: Option<String>,
    /// The device's answer, if it came after the command had timed out or was cancelled. It changes nothing.
    #[schema(value_type = Option<Object>)]
    pub(in crate::rest) late_ack: Option<Json>,
    /// When the late answer arrived, by the server's clock.
    pub(in crate::rest) late_ack_at: Option<DateTime<Utc>>,
    /// A link to the requester's own records: the id that the requester gave, or else the request's id.
    pub(in crate::rest) correlation_id: Option<String>,
    /// The batch that the command is part of.
    pub(in crate::rest) batch_id: Option<Uuid>,
    /// The position of the command's request in the control log.
    #[schema(value_type = i64)]
    pub(in crate::rest) position: Position,
    /// The command's last event. Null if it is not known.
    pub(in crate::rest) last_event: Option<EventPosition>,
}

impl Command {
    /// A command of the log's tenant.
    pub(in crate::rest) fn of(command: commands::Command, log: &TenantLog) -> Self {
        Self {
            cmd_id: command.cmd_id,
            device_uid: command.device_uid.into(),
            cmd: command.cmd,
            params: command.params,
            status: command.status,
            requested_by: command.requested_by,
            requested_at: command.requested_at,
            timeout_s: command.timeout_s,
            max_attempts: command.max_attempts,
            expires_at: command.expires_at,
            attempts: command.attempts,
            sent_at: command.sent_at,
            deadline: command.deadline,
            ended_at: command.ended_at,
            result: command.result,
            error: command.error,
            cancelled_by: command.cancelled_by,
            cancel_reason: command.cancel_reason,
            late_ack: command.late_ack,
            late_ack_at: command.late_ack_at,
            correlation_id: command.correlation_id,
            batch_id: command.batch_id,
            position: command.position,
            last_event: EventPosition::of(log, Lane::Control, command.last_position),
        }
    }
}

/// One event of a command, and the state that it left the command in.
#[derive(Serialize, ToSchema)]
pub(in crate::rest) struct CommandStep {
    /// The number of the event in the command's stream: 1, 2, 3 …
    pub(in crate::rest) sequence: i64,
    /// The number of the event in the control log.
    #[schema(value_type = i64)]
    pub(in crate::rest) position: Position,
    /// What happened: the name of the event, such as `CommandSent`.
    pub(in crate::rest) event_type: String,
    /// The fields of the event, as they are stored.
    #[schema(value_type = Object)]
    pub(in crate::rest) event: Json,
    /// The state of the command after the event.
    #[schema(value_type = String, example = "sent")]
    pub(in crate::rest) status: Status,
    /// How many attempts a broker had taken over by then.
    pub(in crate::rest) attempts: i32,
    /// Who caused the event.
    pub(in crate::rest) actor: Option<String>,
    /// The correlation id, which ties the event to other records.
    pub(in crate::rest) correlation_id: Option<String>,
    /// The event that caused this one: its log and position, such as `1:42`.
    pub(in crate::rest) causation_id: Option<String>,
    /// When the event happened.
    pub(in crate::rest) occurred_at: DateTime<Utc>,
    /// When the event was appended to the log.
    pub(in crate::rest) recorded_at: DateTime<Utc>,
}

impl From<commands::Step> for CommandStep {
    fn from(step: commands::Step) -> Self {
        Self {
            sequence: step.sequence,
            position: step.position,
            event_type: step.event_type,
            event: step.event,
            status: step.status,
            attempts: step.attempts,
            actor: step.actor,
            correlation_id: step.correlation_id,
            causation_id: step.causation_id,
            occurred_at: step.occurred_at,
            recorded_at: step.recorded_at,
        }
    }
}

/// A command type that a tenant has defined.
#[derive(Serialize, ToSchema)]
pub(in crate::rest) struct CommandType {
    /// The name of the type, which its commands carry in `cmd`.
    pub(in crate::rest) name: String,
    /// What the command does, for people.
    pub(in crate::rest) description: Option<String>,
    /// The JSON Schema that `params` must fit.
    #[schema(value_type = Object)]
    pub(in crate::rest) params: Json,
    /// How many attempts a command has whose request does not say. Null: 3.
    pub(in crate::rest) max_attempts: Option<i32>,
    /// When the type got this definition.
    pub(in crate::rest) defined_at: DateTime<Utc>,
    /// The type's last event. Null if it is not known.
    pub(in crate::rest) last_event: Option<EventPosition>,
}

impl CommandType {
    /// A command type of the log's tenant.
    pub(in crate::rest) fn of(command_type: commands::CommandType, log: &TenantLog) -> Self {
        Self {
            name: command_type.name,
            description: command_type.description,
            params: command_type.params,
            max_attempts: command_type.max_attempts,
            defined_at: command_type.defined_at,
            last_event: EventPosition::of(log, Lane::Control, command_type.last_position),
        }
    }
}
