//! Which events of the logs to follow.

use std::collections::BTreeSet;

use fleetlog_aggregates::identity::Uid;
use fleetlog_event_log::Event;
use uuid::Uuid;

use crate::entry::{About, Entry};

/// What is followed: events that pass every part that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only what is about one of these devices: their readings, commands, alarms and themselves.
    pub devices: Option<BTreeSet<Uid>>,
    /// Only events of streams of these types, such as `Device`.
    pub aggregate_types: Option<BTreeSet<String>>,
    /// Only events of these types, such as `DeviceRegistered`.
    pub event_types: Option<BTreeSet<String>>,
    /// Only readings that have one of these metrics. Control events are not restricted.
    pub metrics: Option<BTreeSet<String>>,
    /// Only events that this actor caused, and all events of the commands that it requested. No reading has an actor.
    pub actor: Option<String>,
    /// Only events of this command.
    pub cmd_id: Option<Uuid>,
    /// Only events of this batch, and of its commands.
    pub batch_id: Option<Uuid>,
}

impl Selection {
    /// Whether an event passes.
    #[must_use]
    pub fn takes(&self, entry: &Entry) -> bool {
        let Entry { event, about, .. } = entry;
        is_among(self.aggregate_types.as_ref(), &event.aggregate_type)
            && is_among(self.event_types.as_ref(), &event.event_type)
            && self
                .devices
                .as_ref()
                .is_none_or(|devices| entry.device().is_some_and(|uid| devices.contains(uid)))
            && self.cmd_id.is_none_or(|id| matches!(about, About::Command(command) if command.cmd_id == id))
            && self.batch_id.is_none_or(|id| match about {
                About::Batch(batch_id) => *batch_id == id,
                About::Command(command) => command.batch_id == Some(id),
                _ => false,
            })
            && self.actor.as_ref().is_none_or(|actor| is_by(actor, event, about))
            && self.metrics.as_ref().is_none_or(|metrics| has_one_of(metrics, entry))
    }

    /// The device whose readings alone pass. Its stream has an index.
    pub(crate) fn only_device(&self) -> Option<&Uid> {
        self.devices.as_ref().filter(|devices| devices.len() == 1)?.first()
    }
}

fn is_among(words: Option<&BTreeSet<String>>, word: &str) -> bool {
    words.is_none_or(|words| words.contains(word))
}

fn is_by(actor: &str, event: &Event, about: &About) -> bool {
    matches!(about, About::Command(command) if command.requested_by == actor)
        || event.metadata.actor().is_some_and(|by| by.to_string() == actor)
}

fn has_one_of(metrics: &BTreeSet<String>, entry: &Entry) -> bool {
    !matches!(entry.about, About::Reading(_)) || entry.metrics().any(|name| metrics.contains(name))
}
