//! What some events say about one alarm. Pure.

use chrono::{DateTime, Utc};
use fleetlog_aggregates::alarm::{Event as AlarmEvent, Raised, Status, Why};
use fleetlog_aggregates::identity::StreamId;
use fleetlog_event_log::{Event, Position};
use uuid::Uuid;

use super::Alarm;
use crate::read_model::Poison;

/// What events say about an alarm. A field that no event mentioned is absent, and keeps its value in the table.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Draft {
    /// The alarm as it was raised, when, and the event's position.
    pub(super) raised: Option<(Raised, DateTime<Utc>, Position)>,
    pub(super) status: Option<Status>,
    pub(super) acknowledged: Option<Acknowledged>,
    pub(super) cleared: Option<Cleared>,
    /// The last of the events.
    pub(super) last_position: Position,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Acknowledged {
    pub(super) at: DateTime<Utc>,
    pub(super) by: String,
    pub(super) note: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cleared {
    pub(super) at: DateTime<Utc>,
    pub(super) why: Why,
    pub(super) by: Option<String>,
    pub(super) note: Option<String>,
    pub(super) value: Option<f64>,
}

impl Draft {
    /// Adds an event of the alarm's stream. On an error nothing has changed.
    pub(super) fn add(&mut self, event: &Event) -> Result<(), Poison> {
        let at = event.occurred_at;
        self.status = Some(match event.decode()? {
            AlarmEvent::AlarmRaised(raised) => {
                self.raised = Some((raised, at, event.position));
                Status::Raised
            }
            AlarmEvent::AlarmAcknowledged { by, note, .. } => {
                self.acknowledged = Some(Acknowledged { at, by, note });
                Status::Acknowledged
            }
            AlarmEvent::AlarmCleared { why, by, note, value, .. } => {
                self.cleared = Some(Cleared { at, why, by, note, value });
                Status::Cleared
            }
        });
        self.last_position = event.position;
        Ok(())
    }

    /// The alarm, if its first event is among those that were added.
    pub(super) fn into_alarm(self, alarm_id: Uuid) -> Option<Alarm> {
        let (raised, raised_at, position) = self.raised?;
        let (acknowledged_at, acknowledged_by, acknowledge_note) = match self.acknowledged {
            Some(Acknowledged { at, by, note }) => (Some(at), Some(by), note),
            None => (None, None, None),
        };
        let cleared = self.cleared;
        Some(Alarm {
            alarm_id,
            rule: raised.about.rule,
            rule_version: raised.rule_version as i32,
            title: raised.title,
            severity: raised.about.severity,
            device_uid: raised.about.device_uid,
            condition: raised.condition,
            metric: raised.metric,
            cmd: raised.cmd,
            value: raised.value,
            since: raised.since,
            cause: raised.cause,
            raised_at,
            status: self.status?,
            acknowledged_at,
            acknowledged_by,
            acknowledge_note,
            cleared_at: cleared.as_ref().map(|cleared| cleared.at),
            cleared_because: cleared.as_ref().map(|cleared| cleared.why),
            cleared_by: cleared.as_ref().and_then(|cleared| cleared.by.clone()),
            clear_value: cleared.as_ref().and_then(|cleared| cleared.value),
            clear_note: cleared.and_then(|cleared| cleared.note),
            position,
            last_position: self.last_position,
        })
    }
}

/// The tenant and the id of the alarm whose stream holds an event.
pub(super) fn key(event: &Event) -> Result<(String, Uuid), Poison> {
    let stream: Option<StreamId> = event.aggregate_id.parse().ok();
    let key = stream.and_then(|stream| Some((stream.uuid()?, stream.tenant.into())));
    let (alarm_id, tenant) =
        key.ok_or_else(|| Poison::new("the stream's id is not made of a tenant and a UUID"))?;
    Ok((tenant, alarm_id))
}
