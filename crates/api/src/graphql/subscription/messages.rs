//! The messages of subscriptions, each with the position to go on from.

use std::sync::Arc;

use async_graphql::SimpleObject;
use fleetlog_aggregates::identity::StreamId;
use fleetlog_event_log::event::StoredMetadata;
use fleetlog_event_log::{Position, TenantLog, read};
use fleetlog_live::entry::About;
use fleetlog_live::{Entry, Places};
use fleetlog_projections::{alarms, commands, devices};
use uuid::Uuid;

use super::following::{Failed, Kind, Tells, Told};
use super::windows::ChangedWindow;
use crate::app::App;
use crate::graphql::alarm::Alarm;
use crate::graphql::command::Command;
use crate::graphql::device::Device;
use crate::graphql::event::Event;
use crate::graphql::scalars::Long;
use crate::graphql::telemetry::{Reading, Removed};
use crate::rest::archived::ArchivedRange;
use crate::rest::telemetry::shown_since;

/// A message of `events`.
#[derive(SimpleObject)]
pub(super) struct EventMessage {
    /// The position of each log that is followed up to which everything was sent, such as `1:42,2:977`: go on after it with
    /// `after`.
    at: String,
    /// The event. Null in a message that tells of the subscription itself.
    event: Option<Event>,
    /// Readings that come next were removed because they are over age, and may have held some that are followed. They are
    /// passed over. Null in any other message.
    removed: Option<Vec<Removed>>,
    /// How many readings `maxRate` has left out since this was last told. Null in any other message.
    left_out: Option<Long>,
}

/// A message of `telemetry`.
#[derive(SimpleObject)]
pub(super) struct TelemetryMessage {
    /// The position of the telemetry log up to which everything was sent, such as `2:977`: go on after it with `after`.
    at: String,
    /// The uid of the device that took the reading. Null in a message that tells of the subscription itself.
    device_uid: Option<String>,
    /// The reading. Null in a message that tells of the subscription itself.
    reading: Option<Reading>,
    /// Readings that come next were removed because they are over age, and may have held some that are followed. They are
    /// passed over. Null in any other message.
    removed: Option<Vec<Removed>>,
    /// How many readings `maxRate` has left out since this was last told. Null in any other message.
    left_out: Option<Long>,
}

/// A message of `commandChanged`.
#[derive(SimpleObject)]
pub(super) struct CommandMessage {
    /// The position of the control log up to which everything was sent, such as `1:42`: go on after it with `after`.
    at: String,
    /// The command as the event left it; its history ends with the event. Null in a message that tells of the subscription
    /// itself.
    command: Option<Command>,
    /// What happened to the command. Null in a message that tells of the subscription itself.
    event: Option<Event>,
}

/// A message of `alarmChanged`.
#[derive(SimpleObject)]
pub(super) struct AlarmMessage {
    /// The position of the control log up to which everything was sent, such as `1:42`: go on after it with `after`.
    at: String,
    /// The alarm as the event left it; its history ends with the event. Null in a message that tells of the subscription
    /// itself.
    alarm: Option<Alarm>,
    /// What happened to the alarm. Null in a message that tells of the subscription itself.
    event: Option<Event>,
}

/// A message of `deviceChanged`.
#[derive(SimpleObject)]
pub(super) struct DeviceMessage {
    /// The position of the control log up to which everything was sent, such as `1:42`: go on after it with `after`.
    at: String,
    /// The device as the event left it; what it says of its readings is as of now. Null in a message that tells of the
    /// subscription itself.
    device: Option<Device>,
    /// What happened to the device. Null in a message that tells of the subscription itself.
    event: Option<Event>,
}

/// A message of `windowChanged`.
#[derive(SimpleObject)]
pub(super) struct WindowMessage {
    /// The position of the telemetry log up to which the minutes have counted all readings, such as `2:977`: go on after it
    /// with `after`.
    at: String,
    /// The minutes that have changed, by metric and time, each as it is now. Empty in a message that tells of the subscription
    /// itself.
    changed: Vec<ChangedWindow>,
    /// Readings that come next were removed because they are over age, and may have held some that are followed. Their minutes
    /// are not sent. Null in any other message.
    removed: Option<Vec<Removed>>,
}

fn removed(ranges: Option<Vec<ArchivedRange>>) -> Option<Vec<Removed>> {
    ranges.map(|ranges| ranges.into_iter().map(Removed).collect())
}

impl Tells for EventMessage {
    fn telling(Told { at, removed: ranges, left_out }: Told) -> Self {
        let left_out = left_out.map(|count| Long(count as i64));
        Self { at: at.to_string(), event: None, removed: removed(ranges), left_out }
    }
}

impl Tells for TelemetryMessage {
    fn telling(Told { at, removed: ranges, left_out }: Told) -> Self {
        let left_out = left_out.map(|count| Long(count as i64));
        let at = at.to_string();
        Self { at, device_uid: None, reading: None, removed: removed(ranges), left_out }
    }
}

// Of the control log, nothing is ever removed or left out.
impl Tells for CommandMessage {
    fn telling(told: Told) -> Self {
        Self { at: told.at.to_string(), command: None, event: None }
    }
}

impl Tells for AlarmMessage {
    fn telling(told: Told) -> Self {
        Self { at: told.at.to_string(), alarm: None, event: None }
    }
}

impl Tells for DeviceMessage {
    fn telling(told: Told) -> Self {
        Self { at: told.at.to_string(), device: None, event: None }
    }
}

impl WindowMessage {
    pub(super) fn new(at: &Places, changed: Vec<ChangedWindow>, ranges: Vec<ArchivedRange>) -> Self {
        let ranges = Some(ranges).filter(|ranges| !ranges.is_empty());
        Self { at: at.to_string(), changed, removed: removed(ranges) }
    }
}

/// Events, as they are.
pub(super) struct Events;

impl Kind for Events {
    type Message = EventMessage;

    async fn of_events(&self, events: &[(Arc<Entry>, Places)]) -> Result<Vec<EventMessage>, Failed> {
        let message = |(entry, at): &(Arc<Entry>, Places)| EventMessage {
            event: Some(Event(Arc::clone(entry))),
            ..EventMessage::telling(Told::at(at.clone()))
        };
        Ok(events.iter().map(message).collect())
    }
}

/// Readings.
pub(super) struct Readings;

impl Kind for Readings {
    type Message = TelemetryMessage;

    async fn of_events(&self, events: &[(Arc<Entry>, Places)]) -> Result<Vec<TelemetryMessage>, Failed> {
        let message = |(entry, at): &(Arc<Entry>, Places)| TelemetryMessage {
            device_uid: entry.device().map(ToString::to_string),
            reading: reading(entry).map(Reading),
            ..TelemetryMessage::telling(Told::at(at.clone()))
        };
        Ok(events.iter().map(message).collect())
    }
}

fn reading(entry: &Entry) -> Option<read::Reading> {
    let Entry { event, about: About::Reading(uid), .. } = entry else { return None };
    let StoredMetadata::Telemetry { flags } = event.metadata else { return None };
    Some(read::Reading {
        uid: uid.clone(),
        position: event.position,
        msg_id: event.msg_id.clone().unwrap_or_default(),
        payload: event.payload.clone(),
        occurred_at: event.occurred_at,
        recorded_at: event.recorded_at,
        flags,
    })
}

/// Commands, as their events left them.
pub(super) struct Commands(pub(super) App, pub(super) TenantLog);

impl Kind for Commands {
    type Message = CommandMessage;

    async fn of_events(&self, events: &[(Arc<Entry>, Places)]) -> Result<Vec<CommandMessage>, Failed> {
        let Self(app, log) = self;
        let of = |entry: &Entry| match &entry.about {
            About::Command(command) => Some((command.cmd_id, entry.event.position)),
            _ => None,
        };
        let wanted: Vec<(Uuid, Position)> = events.iter().filter_map(|(entry, _)| of(entry)).collect();
        let _turn = app.shares.turn(log.tenant()).await;
        let mut found = commands::after_each(log, &wanted).await?;
        let message = |(entry, at): &(Arc<Entry>, Places)| {
            let life = of(entry).and_then(|key| found.remove(&key));
            let command = life.map(|life| Command::with_steps(life, None));
            CommandMessage { at: at.to_string(), command, event: Some(Event(Arc::clone(entry))) }
        };
        Ok(events.iter().map(message).collect())
    }
}

/// Alarms, as their events left them.
pub(super) struct Alarms(pub(super) App, pub(super) TenantLog);

impl Kind for Alarms {
    type Message = AlarmMessage;

    async fn of_events(&self, events: &[(Arc<Entry>, Places)]) -> Result<Vec<AlarmMessage>, Failed> {
        let Self(app, log) = self;
        let of = |entry: &Entry| {
            let alarm_id = entry.event.aggregate_id.parse::<StreamId>().ok()?.uuid()?;
            Some((alarm_id, entry.event.position))
        };
        let wanted: Vec<(Uuid, Position)> = events.iter().filter_map(|(entry, _)| of(entry)).collect();
        let _turn = app.shares.turn(log.tenant()).await;
        let mut found = alarms::after_each(log, &wanted).await?;
        let message = |(entry, at): &(Arc<Entry>, Places)| {
            let life = of(entry).and_then(|key| found.remove(&key));
            let alarm = life.map(Alarm::with_steps);
            AlarmMessage { at: at.to_string(), alarm, event: Some(Event(Arc::clone(entry))) }
        };
        Ok(events.iter().map(message).collect())
    }
}

/// Devices, as their events left them.
pub(super) struct Devices(pub(super) App, pub(super) TenantLog);

impl Kind for Devices {
    type Message = DeviceMessage;

    async fn of_events(&self, events: &[(Arc<Entry>, Places)]) -> Result<Vec<DeviceMessage>, Failed> {
        let Self(app, log) = self;
        let of = |entry: &Entry| Some((entry.device()?.clone(), entry.event.position));
        let wanted: Vec<_> = events.iter().filter_map(|(entry, _)| of(entry)).collect();
        let _turn = app.shares.turn(log.tenant()).await;
        let mut found = devices::after_each(log, &wanted, app.online()).await?;
        let shown = shown_since(log);
        let message = |(entry, at): &(Arc<Entry>, Places)| {
            let row = of(entry).and_then(|key| found.remove(&key));
            let device = row.map(|row| Device { row: row.shown_since(shown), snapshot: None });
            DeviceMessage { at: at.to_string(), device, event: Some(Event(Arc::clone(entry))) }
        };
        Ok(events.iter().map(message).collect())
    }
}
