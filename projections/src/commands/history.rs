//! One command from the log itself, which is never stale, and complete: for clients that have just sent it, and for
//! auditors.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use fleetlog_aggregates::command;
use fleetlog_aggregates::command::Status;
use fleetlog_event_log::event::Json;
use fleetlog_event_log::{Event, Position, TenantLog};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::draft::{Draft, key};
use super::{Command, Error};
use crate::read_model::Poison;

/// One event of a command, and the state that it left the command in.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The number of the event in the command's stream: 1, 2, 3 …
    pub sequence: i64,
    /// The number of the event in the control log.
    pub position: Position,
    /// What happened: the name of the event, such as `CommandSent`.
    pub event_type: String,
    /// The fields of the event, as they are stored.
    pub event: Json,
    /// The state of the command after the event.
    pub status: Status,
    /// How many attempts a broker had taken over by then.
    pub attempts: i32,
    /// Who caused the event.
    pub actor: Option<String>,
    /// The correlation id, which ties the event to other records.
    pub correlation_id: Option<String>,
    /// The event that caused this one: its log and position, such as `1:42`.
    pub causation_id: Option<String>,
    /// When the event happened.
    pub occurred_at: DateTime<Utc>,
    /// When the event was appended to the log.
    pub recorded_at: DateTime<Utc>,
}

/// A command and every event of its stream, up to a position of the control log or now. `None` if the command did not exist.
pub async fn history(
    log: &TenantLog,
    cmd_id: Uuid,
    until: Option<Position>,
) -> Result<Option<(Command, Vec<Step>)>, Error> {
    Ok(histories(log, &[cmd_id], until).await?.remove(&cmd_id))
}

/// Reads many commands as [`history`] does, by their ids. Commands that did not exist are absent.
pub async fn histories(
    log: &TenantLog,
    cmd_ids: &[Uuid],
    until: Option<Position>,
) -> Result<HashMap<Uuid, (Command, Vec<Step>)>, Error> {
    let streams: Vec<_> = cmd_ids.iter().map(|cmd_id| log.stream(cmd_id)).collect();
    let mut lives: HashMap<Uuid, (Draft, Vec<Step>)> = HashMap::new();
    for event in log.streams::<command::Command>(&streams).await? {
        if until.is_some_and(|until| event.position > until) {
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

/// Commands as each of these events of their streams left them, with their steps up to there, by the command's id and the event's
/// position. What an event that makes no sense left behind, and every further event of that command, is absent.
pub async fn after_each(
    log: &TenantLog,
    events: &[(Uuid, Position)],
) -> Result<HashMap<(Uuid, Position), (Command, Vec<Step>)>, fleetlog_event_log::Error> {
    let wanted: HashSet<_> = events.iter().copied().collect();
    let cmd_ids: HashSet<_> = events.iter().map(|(cmd_id, _)| *cmd_id).collect();
    let streams: Vec<_> = cmd_ids.iter().map(|cmd_id| log.stream(cmd_id)).collect();
    let mut lives: HashMap<Uuid, Option<(Draft, Vec<Step>)>> = HashMap::new();
    let mut found = HashMap::new();
    for event in log.streams::<command::Command>(&streams).await? {
        let Ok((_, cmd_id)) = key(&event) else { continue };
        let life = lives.entry(cmd_id).or_insert_with(|| Some(Default::default()));
        let Some((draft, steps)) = life else { continue };
        if let Err(poison) = draft.add(&event) {
            tracing::warn!(%cmd_id, position = event.position, %poison, "a command's event makes no sense");
            *life = None;
            continue;
        }
        let position = event.position;
        steps.extend(step(event, draft));
        if wanted.contains(&(cmd_id, position))
            && let Some(command) = draft.clone().into_command(cmd_id)
        {
            found.insert((cmd_id, position), (command, steps.clone()));
        }
    }
    Ok(found)
}

/// The step for an event that left a command in the state of `draft`.
fn step(event: Event, draft: &Draft) -> Option<Step> {
    Some(Step {
        sequence: event.sequence,
        position: event.position,
        event: inner(&event.payload),
        status: draft.status?,
        attempts: draft.attempts.unwrap_or(0),
        actor: event.metadata.actor().map(|actor| actor.to_string()),
        correlation_id: event.metadata.correlation_id(),
        causation_id: event.metadata.causation_id(),
        occurred_at: event.occurred_at,
        recorded_at: event.recorded_at,
        event_type: event.event_type.into_owned(),
    })
}

/// The event's fields, without the name that the event is stored under.
pub(crate) fn inner(payload: &Json) -> Json {
    let named: Option<HashMap<String, Box<RawValue>>> = serde_json::from_str(&payload.0).ok();
    let event = named.and_then(|named| named.into_values().next());
    event.map_or_else(|| payload.clone(), |event| Json(event.get().to_owned()))
}
