//! An event as followers get it: what it is about, and its text, each found out once for all of them.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use cqrs_es::Aggregate;
use fleetlog_aggregates::alarm::{Alarm, Event as AlarmEvent};
use fleetlog_aggregates::alarm_rule::AlarmRule;
use fleetlog_aggregates::command::{Command, Event as CommandEvent};
use fleetlog_aggregates::command_batch::CommandBatch;
use fleetlog_aggregates::command_type::CommandType;
use fleetlog_aggregates::device::Device;
use fleetlog_aggregates::identity::{StreamId, Uid, split_aggregate_id};
use fleetlog_aggregates::telemetry;
use fleetlog_event_log::Event;
use fleetlog_event_log::sources::Sources;
use uuid::Uuid;

/// What an event is about, as far as it matters for who may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// A reading of this device.
    Reading(Uid),
    /// This device.
    Device(Uid),
    /// A command, which is for one device.
    Command(Arc<Ordered>),
    /// A batch of commands.
    Batch(Uuid),
    /// A command type.
    CommandType,
    /// An alarm of this device.
    Alarm(Uid),
    /// A rule that raises alarms.
    AlarmRule,
    /// Anything else: users, keys, policies, projections.
    Other,
}

/// A command, as its request describes it.
#[derive(Debug, PartialEq, Eq)]
pub struct Ordered {
    /// The command.
    pub cmd_id: Uuid,
    /// The device that it is for.
    pub device_uid: Uid,
    /// The name of its type.
    pub cmd: String,
    /// Who requested it.
    pub requested_by: String,
    /// The batch that it is part of.
    pub batch_id: Option<Uuid>,
}

impl Ordered {
    /// Reads a command from its first event. `None`: the event is another one.
    pub(crate) fn read(event: &Event) -> Option<Self> {
        let cmd_id = command_of(event)?;
        let Ok(CommandEvent::CommandRequested(request)) = event.decode() else { return None };
        Some(Self {
            cmd_id,
            device_uid: request.device_uid,
            cmd: request.cmd,
            requested_by: request.requested_by,
            batch_id: request.batch_id.and_then(|id| id.parse().ok()),
        })
    }
}

/// The command whose stream holds an event; `None` if it is of another stream.
pub(crate) fn command_of(event: &Event) -> Option<Uuid> {
    let is_command = event.aggregate_type == Command::TYPE;
    is_command.then(|| event.aggregate_id.parse::<StreamId>().ok()?.uuid()).flatten()
}

/// An event, with what it is about.
#[derive(Debug)]
pub struct Entry {
    /// The event.
    pub event: Event,
    /// What it is about.
    pub about: About,
    sources: Arc<Sources>,
    text: OnceLock<Bytes>,
    metrics: OnceLock<Box<[Box<str>]>>,
}

impl Entry {
    /// An event, and the command whose stream holds it, if one does. `sources` say what the metrics of a reading are that they have
    /// taken in.
    pub(crate) fn new(event: Event, command: Option<Arc<Ordered>>, sources: Arc<Sources>) -> Self {
        let about = about(&event, command);
        Self { event, about, sources, text: OnceLock::new(), metrics: OnceLock::new() }
    }

    /// The event as JSON on one line, with the fields that `GET /events` gives it.
    #[must_use]
    pub fn text(&self) -> Bytes {
        // It cannot fail: what is stored is JSON. A null would be noticed at once.
        let text = || serde_json::to_vec(&self.event).map_or_else(|_| Bytes::from_static(b"null"), one_line);
        self.text.get_or_init(text).clone()
    }

    /// The device that the event is about, if it is about one.
    #[must_use]
    pub fn device(&self) -> Option<&Uid> {
        match &self.about {
            About::Reading(uid) | About::Device(uid) | About::Alarm(uid) => Some(uid),
            About::Command(command) => Some(&command.device_uid),
            About::Batch(_) | About::CommandType | About::AlarmRule | About::Other => None,
        }
    }

    /// The names of a reading's metrics. None, for any other event.
    pub fn metrics(&self) -> impl Iterator<Item = &str> {
        let names = || {
            let mut names: Vec<Box<str>> = vec![];
            if matches!(self.about, About::Reading(_)) {
                let (flags, payload) = (self.event.flags(), &self.event.payload.0);
                let _ = self.sources.metrics(flags, payload, |name, _| names.push(name.into()));
            }
            names.into_boxed_slice()
        };
        self.metrics.get_or_init(names).iter().map(AsRef::as_ref)
    }

    /// About how many bytes the entry takes in memory, its text included.
    pub(crate) fn size(&self) -> usize {
        /// What an entry has besides its payload.
        const FIXED: usize = 600;
        FIXED + 2 * self.event.payload.0.len()
    }
}

/// JSON text may hold line breaks between its parts, and only there: a device's own text is kept as it came.
fn one_line(mut text: Vec<u8>) -> Bytes {
    for byte in &mut text {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    text.into()
}

fn about(event: &Event, command: Option<Arc<Ordered>>) -> About {
    let id = split_aggregate_id(&event.aggregate_id).map(|(_, id)| id);
    let uid = || id.and_then(|id| id.parse::<Uid>().ok());
    let of = match &*event.aggregate_type {
        telemetry::AGGREGATE_TYPE => uid().map(About::Reading),
        kind if kind == Device::TYPE => uid().map(About::Device),
        kind if kind == Command::TYPE => command.map(About::Command),
        kind if kind == CommandBatch::TYPE => id.and_then(|id| id.parse().ok()).map(About::Batch),
        kind if kind == CommandType::TYPE => Some(About::CommandType),
        // Every event of an alarm names its device.
        kind if kind == Alarm::TYPE => {
            event.decode().ok().map(|event: AlarmEvent| About::Alarm(event.about().device_uid.clone()))
        }
        kind if kind == AlarmRule::TYPE => Some(About::AlarmRule),
        _ => None,
    };
    of.unwrap_or(About::Other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_several_lines_becomes_one_and_means_the_same() {
        let text = one_line(b"{\"payload\":{\n \"t\":\r\n1, \"s\":\"a\\nb\"}}".to_vec());
        let value: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        assert_eq!(value["payload"], serde_json::json!({"t": 1, "s": "a\nb"}));
        assert!(!text.contains(&b'\n') && !text.contains(&b'\r'));
    }
}
