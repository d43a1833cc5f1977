//! The `Alarm` aggregate, stream `tenant/alarm id`: one alarm, from the event that raised it to the one that cleared it.
//!
//! An alarm's id follows from the event that caused it, so an event raises an alarm once, however often it is evaluated.
//! Every event names the rule, the severity and the device, for those who are told of one event alone. Read top to
//! bottom: commands, events, errors, state, `decide`, `apply`, tests.

use chrono::{DateTime, Utc};
use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::alarm_rule::Severity;
use crate::identity::{RuleName, Tenant, Uid};
use crate::words;

/// The longest note, in characters.
pub const MAX_NOTE: usize = 1000;

/// The namespace of alarms' ids.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f0d_77d2_54a1_4be0_9a4c_1e2f_35c8_a071);

/// What the `Alarm` aggregate decides on.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Raise the alarm.
    Raise(Raised),
    /// Somebody has seen it.
    Acknowledge {
        /// Who: a user's id, or `key:` and an API key's id.
        by: String,
        /// What they say.
        note: Option<String>,
    },
    /// The alarm is over.
    Clear(Clearing),
}

/// Why an alarm is over, and since when.
#[derive(Debug, Clone, PartialEq)]
pub struct Clearing {
    /// Why.
    pub why: Why,
    /// Who cleared it, if a person or a program did.
    pub by: Option<String>,
    /// What they say.
    pub note: Option<String>,
    /// The metric's value that cleared it; of a rate, by how much it has changed.
    pub value: Option<f64>,
    /// The place of the event that cleared it: `log:position`.
    pub cause: Option<String>,
}

/// What an alarm is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The rule that raised it.
    pub rule: RuleName,
    /// How bad it is.
    pub severity: Severity,
    /// The device.
    pub device_uid: Uid,
}

/// An alarm, as the rule raised it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Raised {
    /// What it is about.
    #[serde(flatten)]
    pub about: About,
    /// The version of the rule.
    pub rule_version: u32,
    /// The rule's title.
    pub title: String,
    /// The kind of condition: `threshold`, `rate`, `silent` or `command_failed`.
    pub condition: String,
    /// The metric, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// The command type, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmd: Option<String>,
    /// The metric's value; of a rate, by how much it has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// When the condition began to hold: of a silence, when the device was last heard.
    pub since: DateTime<Utc>,
    /// The place of the event with which it began: `log:position`.
    pub cause: String,
}

/// Why an alarm is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The condition holds no more.
    Condition,
    /// A person or a program cleared it.
    Person,
    /// The rule looks at other devices, or for another condition.
    RuleChanged,
    /// The rule is gone.
    RuleRemoved,
    /// The device has other labels, and the rule is no longer about it.
    LabelsChanged,
    /// The device is out of service.
    DeviceDecommissioned,
}

words! { Why {
    Condition = "condition",
    Person = "person",
    RuleChanged = "rule_changed",
    RuleRemoved = "rule_removed",
    LabelsChanged = "labels_changed",
    DeviceDecommissioned = "device_decommissioned",
} }

/// What has happened to an alarm. Stored for ever: only add to this.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// The alarm is raised.
    AlarmRaised(Raised),
    /// Somebody has seen it.
    AlarmAcknowledged {
        /// What the alarm is about.
        #[serde(flatten)]
        about: About,
        /// Who has seen it.
        by: String,
        /// What they say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// The alarm is over.
    AlarmCleared {
        /// What the alarm is about.
        #[serde(flatten)]
        about: About,
        /// Why it is over.
        why: Why,
        /// Who cleared it, if a person or a program did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
        /// What they say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
        /// The metric's value that cleared it; of a rate, by how much it has changed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<f64>,
        /// The place of the event that cleared it: `log:position`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<String>,
    },
}

impl Event {
    /// What the alarm is about.
    #[must_use]
    pub fn about(&self) -> &About {
        match self {
            Self::AlarmRaised(Raised { about, .. })
            | Self::AlarmAcknowledged { about, .. }
            | Self::AlarmCleared { about, .. } => about,
        }
    }
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        match self {
            Self::AlarmRaised(_) => "AlarmRaised",
            Self::AlarmAcknowledged { .. } => "AlarmAcknowledged",
            Self::AlarmCleared { .. } => "AlarmCleared",
        }
        .to_owned()
    }

    fn event_version(&self) -> String {
        "1.0".to_owned()
    }
}

/// The state of an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Nobody has acknowledged it.
    Raised,
    /// Somebody has, and it is not over.
    Acknowledged,
    /// It is over.
    Cleared,
}

words! { Status { Raised = "raised", Acknowledged = "acknowledged", Cleared = "cleared" } }

impl Status {
    /// Whether the alarm is not over.
    #[must_use]
    pub fn is_open(self) -> bool {
        !matches!(self, Self::Cleared)
    }
}

/// Why an input was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no such alarm.
    #[error("there is no such alarm")]
    Unknown,
    /// The same event has raised it before.
    #[error("the alarm was raised before")]
    AlreadyRaised,
    /// Somebody has acknowledged it before.
    #[error("the alarm is acknowledged already")]
    AlreadyAcknowledged,
    /// It is over.
    #[error("the alarm is cleared already")]
    AlreadyCleared,
    /// A field is out of bounds.
    #[error("{field}: {why}")]
    Invalid {
        /// The name of the field.
        field: &'static str,
        /// What it should be.
        why: &'static str,
    },
}

/// An alarm's state, folded from its events.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    raised: Option<Raised>,
    status: Option<Status>,
}

/// The id of the alarm that an event causes. It depends on nothing but its arguments: `subject` is the metric or the command
/// type, `cause` the event's place.
#[must_use]
pub fn id(tenant: &Tenant, rule: &RuleName, epoch: u32, device: &str, subject: &str, cause: &str) -> Uuid {
    // No part but the subject may hold a line feed, and that one comes last.
    let name = format!("{tenant}\n{rule}\n{epoch}\n{device}\n{cause}\n{subject}");
    Uuid::new_v5(&NAMESPACE, name.as_bytes())
}

impl Alarm {
    /// The alarm as it was raised. `None` if it was not.
    #[must_use]
    pub fn raised(&self) -> Option<&Raised> {
        self.raised.as_ref()
    }

    /// The alarm's state. `None` if it was not raised.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        self.status
    }

    /// The events that follow from an input. Pure: the same state and input always give the same answer.
    pub fn decide(&self, input: Input) -> Result<Vec<Event>, Error> {
        let (Some(raised), Some(status)) = (&self.raised, self.status) else {
            return match input {
                Input::Raise(raised) => Ok(vec![Event::AlarmRaised(raised)]),
                Input::Acknowledge { .. } | Input::Clear(_) => Err(Error::Unknown),
            };
        };
        let about = raised.about.clone();
        match (input, status) {
            (Input::Raise(_), _) => Err(Error::AlreadyRaised),
            (_, Status::Cleared) => Err(Error::AlreadyCleared),
            (Input::Acknowledge { .. }, Status::Acknowledged) => Err(Error::AlreadyAcknowledged),
            (Input::Acknowledge { by, note }, Status::Raised) => {
                check_note(note.as_deref())?;
                Ok(vec![Event::AlarmAcknowledged { about, by, note }])
            }
            (Input::Clear(Clearing { why, by, note, value, cause }), _) => {
                check_note(note.as_deref())?;
                Ok(vec![Event::AlarmCleared { about, why, by, note, value, cause }])
            }
        }
    }
}

fn check_note(note: Option<&str>) -> Result<(), Error> {
    // Line breaks may structure what people write.
    let is_bad = |character: char| character.is_control() && character != '\n';
    match note {
        Some(note) if !(1..=MAX_NOTE).contains(&note.chars().count()) || note.chars().any(is_bad) => {
            let why = "expected 1 to 1000 characters without control characters other than line feeds";
            Err(Error::Invalid { field: "note", why })
        }
        _ => Ok(()),
    }
}

impl Aggregate for Alarm {
    const TYPE: &'static str = "Alarm";
    type Command = Input;
    type Event = Event;
    type Error = Error;
    type Services = ();

    async fn handle(&mut self, input: Input, (): &(), sink: &EventSink<Self>) -> Result<(), Error> {
        for event in self.decide(input)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: Event) {
        self.status = Some(match event {
            Event::AlarmRaised(raised) => {
                self.raised = Some(raised);
                Status::Raised
            }
            Event::AlarmAcknowledged { .. } => Status::Acknowledged,
            Event::AlarmCleared { .. } => Status::Cleared,
        });
    }
}

#[cfg(test)]
#[path = "alarm/tests.rs"]
mod tests;
