//! The `AlarmRule` aggregate, stream `tenant/name`: what raises an alarm, of which devices, and who is told.
//!
//! - [`condition`]: what a rule looks for
//! - [`standing`]: how a condition stands for one device, fact by fact: pure, and the same for the evaluator and for a
//!   preview
//! - `recent`: the lowest and the highest values of the last seconds
//!
//! Read top to bottom: commands, events, errors, state, `decide`, `apply`, tests.

pub mod condition;
mod recent;
pub mod standing;

use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use condition::Condition;
pub use recent::Recent;
pub use standing::{Fact, Since, Standing, Verdict};

use crate::device::{Labels, MAX_LABEL, MAX_LABELS};
use crate::identity::Uid;
use crate::words;

/// The longest title, in characters.
pub const MAX_TITLE: usize = 200;
/// The most devices that a rule names one by one.
pub const MAX_DEVICES: usize = 1000;
/// The most users whom a rule tells.
pub const MAX_MAILED: usize = 20;

/// What the `AlarmRule` aggregate decides on.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Define the rule, or change its definition.
    Define {
        /// What the rule says from now on.
        definition: Definition,
        /// The version that this replaces; 0 for a rule that is not there. `None` replaces any.
        replaces: Option<u32>,
    },
    /// Remove the rule. Its open alarms are cleared.
    Remove,
}

/// What a rule says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// What the alarm means, for people: 1 to 200 characters.
    pub title: String,
    /// How bad it is.
    pub severity: Severity,
    /// The devices that the rule is about.
    pub devices: Devices,
    /// What raises an alarm, and what clears it.
    pub condition: Condition,
    /// The users who are told by mail. Their addresses are looked up when a mail is written: none is on the record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mail: Vec<Uuid>,
}

/// How bad an alarm is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Somebody should look, some time.
    Warning,
    /// Something is wrong, and nothing stands still.
    Minor,
    /// Something does not work.
    Major,
    /// Act now.
    Critical,
}

words! { Severity { Warning = "warning", Minor = "minor", Major = "major", Critical = "critical" } }

/// The devices that a rule is about, chosen in exactly one of these ways.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Devices {
    /// Every device of the tenant.
    All,
    /// The devices with these uids, registered or not.
    Uids(Vec<Uid>),
    /// The devices that carry all of these labels.
    Labels(Labels),
}

impl Devices {
    /// Whether the rule is about a device. `labels` is asked for only where the labels decide.
    pub fn select(&self, uid: &str, labels: impl FnOnce() -> bool) -> bool {
        match self {
            Self::All => true,
            Self::Uids(uids) => uids.iter().any(|named| named.as_str() == uid),
            Self::Labels(_) => labels(),
        }
    }

    /// The labels that a device must carry, where labels decide.
    #[must_use]
    pub fn labels(&self) -> Option<&Labels> {
        if let Self::Labels(labels) = self { Some(labels) } else { None }
    }
}

/// Whether a device carries all of some labels.
#[must_use]
pub fn carries(has: &Labels, wanted: &Labels) -> bool {
    wanted.iter().all(|(key, value)| has.get(key) == Some(value))
}

/// What has happened to a rule. Stored for ever: only add to this.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// The rule says this from this event on.
    AlarmRuleDefined {
        /// How often the rule was defined: 1, 2, 3 … A rule that is defined again after its removal counts on.
        version: u32,
        /// What the rule says.
        #[serde(flatten)]
        definition: Definition,
    },
    /// The rule raises no more alarms, and those that are open are cleared.
    AlarmRuleRemoved {},
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        match self {
            Self::AlarmRuleDefined { .. } => "AlarmRuleDefined",
            Self::AlarmRuleRemoved {} => "AlarmRuleRemoved",
        }
        .to_owned()
    }

    fn event_version(&self) -> String {
        "1.0".to_owned()
    }
}

/// Why an input was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no such rule.
    #[error("there is no such alarm rule")]
    Unknown,
    /// The rule has another version than the one that was to be replaced.
    #[error("the rule has version {0} now, and another one was to be replaced")]
    OtherVersion(u32),
    /// A field is out of bounds.
    #[error("{field}: {why}")]
    Invalid {
        /// The name of the field.
        field: &'static str,
        /// What it should be.
        why: &'static str,
    },
}

/// A rule's state, folded from its events.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AlarmRule {
    version: u32,
    definition: Option<Definition>,
    /// The version with which the rule began to look at these devices for this condition.
    epoch: u32,
}

impl AlarmRule {
    /// The rule's version and what it says. `None` if it is not defined, or was removed.
    #[must_use]
    pub fn current(&self) -> Option<(u32, &Definition)> {
        Some((self.version, self.definition.as_ref()?))
    }

    /// The version with which the rule began to look at these devices for this condition. What was noted under another one
    /// does not count any more.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The events that follow from an input. Pure: the same state and input always give the same answer.
    pub fn decide(&self, input: Input) -> Result<Vec<Event>, Error> {
        match input {
            Input::Define { definition, replaces } => {
                check(&definition)?;
                let present = if self.definition.is_some() { self.version } else { 0 };
                if replaces.is_some_and(|replaces| replaces != present) {
                    return Err(Error::OtherVersion(present));
                }
                if self.definition.as_ref() == Some(&definition) {
                    return Ok(vec![]);
                }
                Ok(vec![Event::AlarmRuleDefined { version: self.version + 1, definition }])
            }
            Input::Remove if self.definition.is_some() => Ok(vec![Event::AlarmRuleRemoved {}]),
            Input::Remove => Err(Error::Unknown),
        }
    }
}

/// Checks what a rule says.
///
/// # Errors
///
/// [`Error::Invalid`], with the first field that is out of bounds.
pub fn check(definition: &Definition) -> Result<(), Error> {
    let Definition { title, devices, condition, mail, .. } = definition;
    let invalid = |field, why| Err(Error::Invalid { field, why });
    if !(1..=MAX_TITLE).contains(&title.chars().count()) || title.chars().any(char::is_control) {
        return invalid("title", "expected 1 to 200 characters without control characters");
    }
    match devices {
        Devices::Uids(uids) if uids.is_empty() || uids.len() > MAX_DEVICES => {
            return invalid("devices", "expected 1 to 1000 uids");
        }
        Devices::Labels(labels) if labels.is_empty() || labels.len() > MAX_LABELS => {
            return invalid("devices", "expected 1 to 64 labels");
        }
        Devices::Labels(labels) if !labels.iter().all(|(key, value)| is_label(key) && is_label(value)) => {
            return invalid("devices", "expected labels of 1 to 128 characters without control characters");
        }
        Devices::All | Devices::Uids(_) | Devices::Labels(_) => {}
    }
    if mail.len() > MAX_MAILED {
        return invalid("mail", "expected at most 20 users");
    }
    condition.check().map_err(|why| Error::Invalid { field: "condition", why })
}

fn is_label(text: &str) -> bool {
    (1..=MAX_LABEL).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

impl Aggregate for AlarmRule {
    const TYPE: &'static str = "AlarmRule";
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
        match event {
            Event::AlarmRuleDefined { version, definition } => {
                let is_same = self.definition.as_ref().is_some_and(|before| {
                    before.condition == definition.condition && before.devices == definition.devices
                });
                self.epoch = if is_same { self.epoch } else { version };
                self.version = version;
                self.definition = Some(definition);
            }
            Event::AlarmRuleRemoved {} => self.definition = None,
        }
    }
}

#[cfg(test)]
#[path = "alarm_rule/tests.rs"]
mod tests;
