//! The `Device` aggregate, stream `tenant/uid`: a device's life on the record, from registration to decommissioning.
//!
//! Telemetry does not pass through here; it is a lane of its own. Read top to bottom: commands, events, errors,
//! state, `decide`, `apply`, tests.

use std::collections::BTreeMap;

use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use serde::{Deserialize, Serialize};

/// The longest display name, in characters.
pub const MAX_DISPLAY_NAME: usize = 200;
/// The most labels a device carries.
pub const MAX_LABELS: usize = 64;
/// The longest label key or value, in characters.
pub const MAX_LABEL: usize = 128;

/// Key and value pairs that people and policies find devices by.
pub type Labels = BTreeMap<String, String>;

/// What may be asked of a device's record.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Put the device on the record.
    Register {
        /// Who noticed it first.
        via: Via,
        /// A name for people.
        name: Option<String>,
        /// Its first labels.
        labels: Labels,
    },
    /// Change what people call it; `None` leaves a field as it is.
    Update {
        /// The new name.
        name: Option<String>,
        /// The new labels, all of them.
        labels: Option<Labels>,
    },
    /// Take it out of service: its telemetry is quarantined from then on, its history stays.
    Decommission,
}

/// What a registration came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// The device's own first message.
    Telemetry,
    /// A request to the API.
    Api,
}

/// What has happened to a device. Stored for ever: only add to this.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// The device is known from here on.
    DeviceRegistered {
        /// Who noticed it first.
        via: Via,
        /// A name for people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// Its labels.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        labels: Labels,
    },
    /// Its name or labels changed; what is absent stayed.
    DeviceUpdated {
        /// The new name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// The new labels, all of them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        labels: Option<Labels>,
    },
    /// It is out of service.
    DeviceDecommissioned {},
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        match self {
            Self::DeviceRegistered { .. } => "DeviceRegistered",
            Self::DeviceUpdated { .. } => "DeviceUpdated",
            Self::DeviceDecommissioned {} => "DeviceDecommissioned",
        }
        .to_owned()
    }

    fn event_version(&self) -> String {
        "1.0".to_owned()
    }
}

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The device is registered already.
    #[error("the device is registered already")]
    AlreadyRegistered,
    /// There is no such device.
    #[error("the device is not registered")]
    NotRegistered,
    /// It has been taken out of service.
    #[error("the device is decommissioned")]
    Decommissioned,
    /// A name or label is too long, empty, or holds a control character.
    #[error("{0}")]
    Invalid(&'static str),
}

/// A device as its events left it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Device {
    status: Status,
    name: Option<String>,
    labels: Labels,
}

/// Where a device is in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// Not on the record.
    #[default]
    Unknown,
    /// In service.
    Registered,
    /// Out of service.
    Decommissioned,
}

impl Device {
    /// Where it is in its life.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status
    }

    /// What policies find it by.
    #[must_use]
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// What follows from a command. Pure: the same state and command always give the same answer.
    pub fn decide(&self, command: Command) -> Result<Vec<Event>, Error> {
        match (command, self.status) {
            (Command::Register { .. }, Status::Registered) => Err(Error::AlreadyRegistered),
            // A forgotten transmitter must not bring its device back to life; a person may.
            (
                Command::Register { via: Via::Telemetry, .. }
                | Command::Update { .. }
                | Command::Decommission,
                Status::Decommissioned,
            ) => Err(Error::Decommissioned),
            (Command::Register { via, name, labels }, Status::Unknown | Status::Decommissioned) => {
                check_name(name.as_deref())?;
                check_labels(&labels)?;
                Ok(vec![Event::DeviceRegistered { via, name, labels }])
            }
            (Command::Update { name, labels }, Status::Registered) => {
                check_name(name.as_deref())?;
                labels.as_ref().map_or(Ok(()), check_labels)?;
                let name = name.filter(|name| self.name.as_ref() != Some(name));
                let labels = labels.filter(|labels| self.labels != *labels);
                let changes = name.is_some() || labels.is_some();
                Ok(changes.then_some(Event::DeviceUpdated { name, labels }).into_iter().collect())
            }
            (Command::Decommission, Status::Registered) => Ok(vec![Event::DeviceDecommissioned {}]),
            (Command::Update { .. } | Command::Decommission, Status::Unknown) => Err(Error::NotRegistered),
        }
    }
}

fn is_text(text: &str, max: usize) -> bool {
    !text.is_empty() && text.chars().count() <= max && !text.chars().any(char::is_control)
}

fn check_name(name: Option<&str>) -> Result<(), Error> {
    match name {
        Some(name) if !is_text(name, MAX_DISPLAY_NAME) => {
            Err(Error::Invalid("a name is 1 to 200 characters without control characters"))
        }
        _ => Ok(()),
    }
}

fn check_labels(labels: &Labels) -> Result<(), Error> {
    if labels.len() > MAX_LABELS {
        return Err(Error::Invalid("a device carries at most 64 labels"));
    }
    if labels.iter().any(|(key, value)| !is_text(key, MAX_LABEL) || !is_text(value, MAX_LABEL)) {
        return Err(Error::Invalid(
            "a label's key and value are 1 to 128 characters without control characters",
        ));
    }
    Ok(())
}

impl Aggregate for Device {
    const TYPE: &'static str = "Device";
    type Command = Command;
    type Event = Event;
    type Error = Error;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), Error> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::DeviceRegistered { name, labels, .. } => {
                *self = Self { status: Status::Registered, name, labels };
            }
            Event::DeviceUpdated { name, labels } => {
                self.name = name.or_else(|| self.name.take());
                if let Some(labels) = labels {
                    self.labels = labels;
                }
            }
            Event::DeviceDecommissioned {} => self.status = Status::Decommissioned,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(events: impl IntoIterator<Item = Event>) -> Device {
        let mut device = Device::default();
        events.into_iter().for_each(|event| device.apply(event));
        device
    }

    fn register(via: Via) -> Command {
        Command::Register { via, name: None, labels: Labels::new() }
    }

    fn registered() -> Event {
        Event::DeviceRegistered { via: Via::Telemetry, name: None, labels: Labels::new() }
    }

    fn rename(name: &str) -> Command {
        Command::Update { name: Some(name.into()), labels: None }
    }

    #[test]
    fn an_unknown_device_is_registered_by_its_first_telemetry() {
        assert_eq!(given([]).decide(register(Via::Telemetry)), Ok(vec![registered()]));
    }

    #[test]
    fn a_device_is_registered_once() {
        for via in [Via::Telemetry, Via::Api] {
            assert_eq!(given([registered()]).decide(register(via)), Err(Error::AlreadyRegistered));
        }
    }

    #[test]
    fn only_a_person_brings_a_decommissioned_device_back() {
        let gone = given([registered(), Event::DeviceDecommissioned {}]);
        assert_eq!(gone.decide(register(Via::Telemetry)), Err(Error::Decommissioned));
        assert_eq!(gone.decide(register(Via::Api)).map(|events| events.len()), Ok(1));
    }

    #[test]
    fn an_update_records_only_what_changed() {
        let device = given([registered()]);
        let events = device.decide(rename("boiler")).expect("accepted");
        assert_eq!(events, [Event::DeviceUpdated { name: Some("boiler".into()), labels: None }]);
        assert_eq!(given([registered()].into_iter().chain(events)).decide(rename("boiler")), Ok(vec![]));
    }

    #[test]
    fn nothing_happens_to_a_device_that_is_not_in_service() {
        for command in [rename("boiler"), Command::Decommission] {
            assert_eq!(given([]).decide(command.clone()), Err(Error::NotRegistered));
            let gone = given([registered(), Event::DeviceDecommissioned {}]);
            assert_eq!(gone.decide(command), Err(Error::Decommissioned));
        }
    }

    #[test]
    fn a_name_or_label_that_cannot_be_shown_is_refused() {
        let label = |key: &str, value: &str| Command::Update {
            name: None,
            labels: Some(Labels::from([(key.into(), value.into())])),
        };
        let many = (0..=MAX_LABELS).map(|n| (n.to_string(), "v".into())).collect();
        for command in [
            rename(""),
            rename("a\0b"),
            rename(&"x".repeat(201)),
            label("", "v"),
            label("k", ""),
            label("k\n", "v"),
            Command::Update { name: None, labels: Some(many) },
        ] {
            let refused = given([registered()]).decide(command.clone());
            assert!(matches!(refused, Err(Error::Invalid(_))), "{command:?}");
        }
    }

    #[test]
    fn the_stored_form_of_every_event_stays_readable() {
        for (json, event) in [
            (r#"{"DeviceRegistered":{"via":"telemetry"}}"#, registered()),
            (
                r#"{"DeviceUpdated":{"name":"boiler"}}"#,
                Event::DeviceUpdated { name: Some("boiler".into()), labels: None },
            ),
            (r#"{"DeviceDecommissioned":{}}"#, Event::DeviceDecommissioned {}),
        ] {
            assert_eq!(serde_json::to_string(&event).expect("serializes"), json);
            assert_eq!(serde_json::from_str::<Event>(json).expect("deserializes"), event);
        }
    }
}
