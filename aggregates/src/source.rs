//! The `Source` aggregate, stream `tenant/name`: what foreign topics and payloads mean, version by version.
//!
//! What a definition says is the business of the crate `sources`, which lies above this one: here it is JSON whose bounds are
//! checked. Whoever defines a source has compiled it before. Read top to bottom: commands, events, errors, state, `decide`,
//! `apply`, tests.

use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The largest definition, as JSON, in bytes.
pub const MAX_DEFINITION: usize = 64 << 10;

/// What the `Source` aggregate decides on.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Define the source, or change its definition.
    Define {
        /// What the source says from now on.
        definition: Map<String, Value>,
        /// The preset that it was made from, if it was.
        preset: Option<String>,
        /// The version that this replaces; 0 for a source that is not there. `None` replaces any.
        replaces: Option<u32>,
    },
    /// Take no more messages by it. What is on the record keeps its meaning.
    Retire,
}

/// What has happened to a source. Stored for ever: only add to this.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// The source says this: messages from this event on are identified by it, and the metrics of all its messages follow from
    /// it, also of those before.
    SourceDefined {
        /// How often the source was defined: 1, 2, 3 … A source that is defined again after it was retired counts on.
        version: u32,
        /// The preset that it was made from, if it was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        preset: Option<String>,
        /// What the source says.
        definition: Map<String, Value>,
    },
    /// The source takes no more messages. Its last definition still says what its messages mean.
    SourceRetired {},
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        match self {
            Self::SourceDefined { .. } => "SourceDefined",
            Self::SourceRetired {} => "SourceRetired",
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
    /// There is no such source, or it is retired.
    #[error("there is no such source")]
    Unknown,
    /// The source has another version than the one that was to be replaced.
    #[error("the source has version {0} now, and another one was to be replaced")]
    OtherVersion(u32),
    /// The definition is larger than [`MAX_DEFINITION`].
    #[error("definition: {0} bytes; expected at most {MAX_DEFINITION}")]
    TooLarge(usize),
}

/// A source's state, folded from its events.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Source {
    version: u32,
    definition: Map<String, Value>,
    preset: Option<String>,
    is_in_use: bool,
}

impl Source {
    /// The source's version and what it says. `None` if it was never defined. That of a retired source counts for what is on the
    /// record.
    #[must_use]
    pub fn latest(&self) -> Option<(u32, &Map<String, Value>)> {
        (self.version > 0).then_some((self.version, &self.definition))
    }

    /// Whether messages are taken by it.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        self.is_in_use
    }

    /// The preset that the latest version was made from.
    #[must_use]
    pub fn preset(&self) -> Option<&str> {
        self.preset.as_deref()
    }

    /// The events that follow from an input. Pure: the same state and input always give the same answer.
    pub fn decide(&self, input: Input) -> Result<Vec<Event>, Error> {
        match input {
            Input::Define { definition, preset, replaces } => {
                let size = serde_json::to_string(&definition).map_or(usize::MAX, |json| json.len());
                if size > MAX_DEFINITION {
                    return Err(Error::TooLarge(size));
                }
                let present = if self.is_in_use { self.version } else { 0 };
                if replaces.is_some_and(|replaces| replaces != present) {
                    return Err(Error::OtherVersion(present));
                }
                if self.is_in_use && (&self.definition, &self.preset) == (&definition, &preset) {
                    return Ok(vec![]);
                }
                Ok(vec![Event::SourceDefined { version: self.version + 1, preset, definition }])
            }
            Input::Retire if self.is_in_use => Ok(vec![Event::SourceRetired {}]),
            Input::Retire => Err(Error::Unknown),
        }
    }
}

impl Aggregate for Source {
    const TYPE: &'static str = "Source";
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
            Event::SourceDefined { version, preset, definition } => {
                *self = Self { version, definition, preset, is_in_use: true };
            }
            Event::SourceRetired {} => self.is_in_use = false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn definition(topic: &str) -> Map<String, Value> {
        let Value::Object(definition) = json!({"topics": [{"topic": topic}]}) else {
            unreachable!("an object")
        };
        definition
    }

    fn define(topic: &str, replaces: Option<u32>) -> Input {
        Input::Define { definition: definition(topic), preset: None, replaces }
    }

    fn defined(version: u32, topic: &str) -> Event {
        Event::SourceDefined { version, preset: None, definition: definition(topic) }
    }

    fn given(events: impl IntoIterator<Item = Event>) -> Source {
        let mut source = Source::default();
        events.into_iter().for_each(|event| source.apply(event));
        source
    }

    #[test]
    fn a_definition_counts_up_and_one_that_changes_nothing_is_not_recorded() {
        assert_eq!(given([]).decide(define("a/{uid}", Some(0))), Ok(vec![defined(1, "a/{uid}")]));
        let source = given([defined(1, "a/{uid}")]);
        assert_eq!(source.decide(define("a/{uid}", None)), Ok(vec![]));
        assert_eq!(source.decide(define("b/{uid}", Some(1))), Ok(vec![defined(2, "b/{uid}")]));
    }

    #[test]
    fn of_two_that_replace_the_same_version_one_is_refused() {
        let source = given([defined(1, "a/{uid}"), defined(2, "b/{uid}")]);
        for replaces in [0, 1] {
            assert_eq!(source.decide(define("c/{uid}", Some(replaces))), Err(Error::OtherVersion(2)));
        }
    }

    #[test]
    fn a_retired_source_still_says_what_its_messages_mean_and_counts_on() {
        let source = given([defined(1, "a/{uid}"), Event::SourceRetired {}]);
        assert!(!source.is_in_use());
        assert_eq!(source.latest(), Some((1, &definition("a/{uid}"))));
        assert_eq!(source.decide(Input::Retire), Err(Error::Unknown));
        assert_eq!(source.decide(define("a/{uid}", Some(0))), Ok(vec![defined(2, "a/{uid}")]));
        assert_eq!(given([]).latest(), None);
        assert_eq!(given([]).decide(Input::Retire), Err(Error::Unknown));
        assert_eq!(given([defined(1, "a/{uid}")]).decide(Input::Retire), Ok(vec![Event::SourceRetired {}]));
    }

    #[test]
    fn a_definition_has_a_bound() {
        let large = define(&"x".repeat(MAX_DEFINITION), None);
        assert!(matches!(given([]).decide(large), Err(Error::TooLarge(size)) if size > MAX_DEFINITION));
    }

    #[test]
    fn the_stored_form_of_every_event_stays_readable() {
        for (event, stored) in [
            (
                Event::SourceDefined {
                    version: 2,
                    preset: Some("tasmota".into()),
                    definition: definition("tele/{uid}/SENSOR"),
                },
                r#"{"SourceDefined":{"version":2,"preset":"tasmota","definition":{"topics":[{"topic":"tele/{uid}/SENSOR"}]}}}"#,
            ),
            (
                defined(1, "a/{uid}"),
                r#"{"SourceDefined":{"version":1,"definition":{"topics":[{"topic":"a/{uid}"}]}}}"#,
            ),
            (Event::SourceRetired {}, r#"{"SourceRetired":{}}"#),
        ] {
            assert_eq!(serde_json::to_string(&event).expect("JSON"), stored);
            assert_eq!(serde_json::from_str::<Event>(stored).expect("an event"), event);
        }
    }
}
