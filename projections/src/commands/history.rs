//! One command from the log itself: never stale, and complete. For whoever has just sent it, and for auditors.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use fleetlog_aggregates::command;
use fleetlog_aggregates::command::Status;
use fleetlog_event_log::event::Json;
use fleetlog_event_log::{Event, Position, TenantLog};
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::draft::{Draft, key};
use super::{Command, Error};
use crate::read_model::Poison;

/// One event of a command's life, and where it left the command.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = CommandStep))]
pub struct Step {
    /// Its place in the command's life: 1, 2, 3 …
    pub sequence: i64,
    /// Its number in the control log.
    pub position: Position,
    /// What happened: the name of the event, such as `CommandSent`.
    pub event_type: String,
    /// The event's own words.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub event: Json,
    /// Where the command was after it.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "sent"))]
    pub status: Status,
    /// How many attempts there had been.
    pub attempts: i32,
    /// Who did it.
    pub actor: Option<String>,
    /// What ties it to other records.
    pub correlation_id: Option<String>,
    /// What it followed from.
    pub causation_id: Option<String>,
    /// When it happened.
    pub occurred_at: DateTime<Utc>,
    /// When it was appended.
    pub recorded_at: DateTime<Utc>,
}

/// A command and every step of its life, as of a moment or now. `None` if there was no such command.
pub async fn history(
    log: &TenantLog,
    cmd_id: Uuid,
    as_of: Option<DateTime<Utc>>,
) -> Result<Option<(Command, Vec<Step>)>, Error> {
    Ok(histories(log, &[cmd_id], as_of).await?.remove(&cmd_id))
}

/// The same of many commands, by their ids. What there was not is not there.
pub async fn histories(
    log: &TenantLog,
    cmd_ids: &[Uuid],
    as_of: Option<DateTime<Utc>>,
) -> Result<HashMap<Uuid, (Command, Vec<Step>)>, Error> {
    let streams: Vec<String> = cmd_ids.iter().map(|cmd_id| format!("{}/{cmd_id}", log.tenant())).collect();
    let mut lives: HashMap<Uuid, (Draft, Vec<Step>)> = HashMap::new();
    for event in log.streams(command::Command::TYPE, &streams).await? {
        if as_of.is_some_and(|as_of| event.recorded_at > as_of) {
            continue;
        }
        let corrupt = |poison: Poison| Error::Corrupt(poison.to_string());
        let (_, cmd_id) = key(&event).map_err(corrupt)?;
        let (draft, steps) = lives.entry(cmd_id).or_default();
        draft.add(&event).map_err(corrupt)?;
        steps.extend(step(event, draft));
    }
    let lives = lives.into_iter();
    Ok(lives
        .filter_map(|(cmd_id, (draft, steps))| Some((cmd_id, (draft.into_command(cmd_id)?, steps))))
        .collect())
}

/// An event that left a command as it is now.
fn step(event: Event, draft: &Draft) -> Option<Step> {
    Some(Step {
        sequence: event.sequence,
        position: event.position,
        event: inner(&event.payload),
        status: draft.status?,
        attempts: draft.attempts.unwrap_or(0),
        actor: event.metadata.get("actor"),
        correlation_id: event.metadata.get("correlation_id"),
        causation_id: event.metadata.get("causation_id"),
        occurred_at: event.occurred_at,
        recorded_at: event.recorded_at,
        event_type: event.event_type.into_owned(),
    })
}

/// The event without the name that it is stored under.
fn inner(payload: &Json) -> Json {
    let named: Option<HashMap<String, Box<RawValue>>> = serde_json::from_str(&payload.0).ok();
    let event = named.and_then(|named| named.into_values().next());
    event.map_or_else(|| payload.clone(), |event| Json(event.get().to_owned()))
}
