//! One alarm from the log itself, which is never stale, and complete.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use fleetlog_aggregates::alarm::{Alarm as Aggregate, Status};
use fleetlog_event_log::event::Json;
use fleetlog_event_log::{Event, Position, TenantLog};
use uuid::Uuid;

use super::draft::{Draft, key};
use super::{Alarm, Error};
use crate::commands::inner;
use crate::read_model::Poison;

/// One event of an alarm, and the state that it left the alarm in.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The number of the event in the alarm's stream: 1, 2, 3 …
    pub sequence: i64,
    /// The number of the event in the control log.
    pub position: Position,
    /// What happened: the name of the event, such as `AlarmRaised`.
    pub event_type: String,
    /// The fields of the event, as they are stored.
    pub event: Json,
    /// The state of the alarm after the event.
    pub status: Status,
    /// Who caused the event: `alarms` is the evaluator of rules.
    pub actor: Option<String>,
    /// The correlation id, which ties the event to other records.
    pub correlation_id: Option<String>,
    /// The event that caused this one: its log and position, such as `2:42`.
    pub causation_id: Option<String>,
    /// When the event happened.
    pub occurred_at: DateTime<Utc>,
    /// When the event was appended to the log.
    pub recorded_at: DateTime<Utc>,
}

/// An alarm and every event of its stream. `None` if there is no such alarm.
pub async fn history(log: &TenantLog, alarm_id: Uuid) -> Result<Option<(Alarm, Vec<Step>)>, Error> {
    Ok(histories(log, &[alarm_id]).await?.remove(&alarm_id))
}

/// Reads many alarms as [`history`] does, by their ids. Alarms that do not exist are absent.
pub async fn histories(
    log: &TenantLog,
    alarm_ids: &[Uuid],
) -> Result<HashMap<Uuid, (Alarm, Vec<Step>)>, Error> {
    let streams: Vec<_> = alarm_ids.iter().map(|alarm_id| log.stream(alarm_id)).collect();
    let mut lives: HashMap<Uuid, (Draft, Vec<Step>)> = HashMap::new();
    for event in log.streams::<Aggregate>(&streams).await? {
        let corrupt = |poison: Poison| Error::Corrupt(poison.to_string());
        let (_, alarm_id) = key(&event).map_err(corrupt)?;
        let (draft, steps) = lives.entry(alarm_id).or_default();
        draft.add(&event).map_err(corrupt)?;
        steps.extend(step(event, draft));
    }
    let lives = lives.into_iter();
    Ok(lives.filter_map(|(id, (draft, steps))| Some((id, (draft.into_alarm(id)?, steps)))).collect())
}

/// Alarms as each of these events of their streams left them, with their steps up to there, by the alarm's id and the event's
/// position. What an event that makes no sense left behind, and every further event of that alarm, is absent.
pub async fn after_each(
    log: &TenantLog,
    events: &[(Uuid, Position)],
) -> Result<HashMap<(Uuid, Position), (Alarm, Vec<Step>)>, fleetlog_event_log::Error> {
    let wanted: HashSet<_> = events.iter().copied().collect();
    let alarm_ids: HashSet<_> = events.iter().map(|(alarm_id, _)| *alarm_id).collect();
    let streams: Vec<_> = alarm_ids.iter().map(|alarm_id| log.stream(alarm_id)).collect();
    let mut lives: HashMap<Uuid, Option<(Draft, Vec<Step>)>> = HashMap::new();
    let mut found = HashMap::new();
    for event in log.streams::<Aggregate>(&streams).await? {
        let Ok((_, alarm_id)) = key(&event) else { continue };
        let life = lives.entry(alarm_id).or_insert_with(|| Some(Default::default()));
        let Some((draft, steps)) = life else { continue };
        if let Err(poison) = draft.add(&event) {
            tracing::warn!(%alarm_id, position = event.position, %poison, "an alarm's event makes no sense");
            *life = None;
            continue;
        }
        let position = event.position;
        steps.extend(step(event, draft));
        if wanted.contains(&(alarm_id, position))
            && let Some(alarm) = draft.clone().into_alarm(alarm_id)
        {
            found.insert((alarm_id, position), (alarm, steps.clone()));
        }
    }
    Ok(found)
}

/// The step for an event that left an alarm in the state of `draft`.
fn step(event: Event, draft: &Draft) -> Option<Step> {
    Some(Step {
        sequence: event.sequence,
        position: event.position,
        event: inner(&event.payload),
        status: draft.status?,
        actor: event.metadata.actor().map(|actor| actor.to_string()),
        correlation_id: event.metadata.correlation_id(),
        causation_id: event.metadata.causation_id(),
        occurred_at: event.occurred_at,
        recorded_at: event.recorded_at,
        event_type: event.event_type.into_owned(),
    })
}
