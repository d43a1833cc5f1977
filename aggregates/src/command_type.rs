//! The `CommandType` aggregate, stream `tenant/name`: a command that a tenant's devices may be sent, and the JSON
//! Schema that its parameters must fit. A command whose type is not defined is never sent.
//!
//! Read top to bottom: commands, events, errors, state, `decide`, `apply`, tests.

use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, Validator};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::command::MAX_ATTEMPTS;

/// The largest schema, as JSON, in bytes.
pub const MAX_SCHEMA: usize = 16 << 10;
/// The longest description, in characters.
pub const MAX_DESCRIPTION: usize = 500;
/// The most reasons that a refusal of parameters lists.
const MAX_REASONS: usize = 5;

/// What the `CommandType` aggregate decides on.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Define the type, or change its definition.
    Define(Definition),
    /// Remove the type. Commands that were requested before are still sent.
    Remove,
}

/// A command type's description, schema and attempts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// What the command does, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The JSON Schema that `params` must fit.
    pub params: Value,
    /// How many attempts a command has whose request does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
}

/// What has happened to a command type. Stored for ever: only add to this.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// The type has this definition from this event on.
    CommandTypeDefined(Definition),
    /// The type is removed.
    CommandTypeRemoved {},
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        match self {
            Self::CommandTypeDefined(_) => "CommandTypeDefined",
            Self::CommandTypeRemoved {} => "CommandTypeRemoved",
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
    /// There is no such command type.
    #[error("there is no such command type")]
    Unknown,
    /// `params` is not a valid JSON Schema, or is too large.
    #[error("params: {0}")]
    BadSchema(String),
    /// The description is empty, too long, or holds a control character.
    #[error("description: expected 1 to 500 characters without control characters")]
    BadDescription,
    /// The number of attempts is one that no command may have.
    #[error("max_attempts: expected 1 to 10")]
    BadAttempts,
}

/// A command type's state, folded from its events.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CommandType {
    definition: Option<Definition>,
}

/// The command types that every tenant starts with, by name.
#[must_use]
pub fn shipped() -> Vec<(&'static str, Definition)> {
    let nothing = json!({"type": "object", "additionalProperties": false});
    let definition = |description: &str, params| Definition {
        description: Some(description.into()),
        params,
        max_attempts: None,
    };
    // A device that restarts before it answers would restart again with each attempt.
    let reboot =
        Definition { max_attempts: Some(1), ..definition("Starts the device anew.", nothing.clone()) };
    vec![
        ("ping", definition("Answers, and does nothing else.", nothing)),
        ("reboot", reboot),
        (
            "set_interval",
            definition(
                "Sets how many seconds lie between two of the device's messages.",
                json!({
                    "type": "object",
                    "properties": {"seconds": {"type": "integer", "minimum": 1, "maximum": 86_400}},
                    "required": ["seconds"],
                    "additionalProperties": false,
                }),
            ),
        ),
    ]
}

impl Definition {
    /// Checks parameters against the schema. The error lists what is wrong and where, for people.
    pub fn check(&self, params: &Value) -> Result<(), String> {
        // The schema was compiled once before it was stored, so this does not fail.
        let schema = compile(&self.params)?;
        let reason = |error: jsonschema::ValidationError<'_>| {
            let place = error.instance_path().to_string();
            if matches!(error.kind(), ValidationErrorKind::FalseSchema) {
                let value = error.instance();
                return format!(
                    "{place}: a parameter that the command type does not have, with the value {value}"
                )
                .trim_start_matches(": ")
                .to_owned();
            }
            if place.is_empty() { error.to_string() } else { format!("{place}: {error}") }
        };
        let reasons: Vec<String> = schema.iter_errors(params).take(MAX_REASONS).map(reason).collect();
        if reasons.is_empty() { Ok(()) } else { Err(reasons.join("; ")) }
    }
}

/// Compiles a schema. It refuses references to other documents, and patterns that take more than linear time to
/// match.
fn compile(schema: &Value) -> Result<Validator, String> {
    jsonschema::options().with_pattern_options(PatternOptions::regex()).build(schema).map_err(|error| {
        match error.kind() {
            ValidationErrorKind::Referencing(_) => {
                "a $ref points to a part of this schema, such as #/$defs/name".to_owned()
            }
            _ => error.to_string(),
        }
    })
}

impl CommandType {
    /// The type's definition. `None` if the type is not defined, or was removed.
    #[must_use]
    pub fn definition(&self) -> Option<&Definition> {
        self.definition.as_ref()
    }

    /// The events that follow from an input. Pure: the same state and input always give the same answer.
    pub fn decide(&self, input: Input) -> Result<Vec<Event>, Error> {
        match (input, &self.definition) {
            (Input::Define(definition), present) => {
                check(&definition)?;
                let changed = present.as_ref() != Some(&definition);
                Ok(changed.then_some(Event::CommandTypeDefined(definition)).into_iter().collect())
            }
            (Input::Remove, Some(_)) => Ok(vec![Event::CommandTypeRemoved {}]),
            (Input::Remove, None) => Err(Error::Unknown),
        }
    }
}

fn check(definition: &Definition) -> Result<(), Error> {
    let text = definition.description.as_deref().unwrap_or("-");
    if text.is_empty() || text.chars().count() > MAX_DESCRIPTION || text.chars().any(char::is_control) {
        return Err(Error::BadDescription);
    }
    if definition.max_attempts.is_some_and(|attempts| !MAX_ATTEMPTS.contains(&attempts)) {
        return Err(Error::BadAttempts);
    }
    if !definition.params.is_object() {
        return Err(Error::BadSchema("expected a JSON Schema, as an object".to_owned()));
    }
    if definition.params.to_string().len() > MAX_SCHEMA {
        return Err(Error::BadSchema(format!("expected at most {MAX_SCHEMA} bytes of JSON")));
    }
    compile(&definition.params).map(drop).map_err(Error::BadSchema)
}

impl Aggregate for CommandType {
    const TYPE: &'static str = "CommandType";
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
        self.definition = match event {
            Event::CommandTypeDefined(definition) => Some(definition),
            Event::CommandTypeRemoved {} => None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(events: impl IntoIterator<Item = Event>) -> CommandType {
        let mut command_type = CommandType::default();
        events.into_iter().for_each(|event| command_type.apply(event));
        command_type
    }

    fn schema(params: Value) -> Definition {
        Definition { description: None, params, max_attempts: None }
    }

    fn set_interval() -> Definition {
        shipped().into_iter().find(|(name, _)| *name == "set_interval").expect("shipped").1
    }

    #[test]
    fn what_is_shipped_can_be_defined_and_is_recorded_once() {
        for (name, definition) in shipped() {
            let events = given([]).decide(Input::Define(definition.clone())).expect(name);
            assert_eq!(events, [Event::CommandTypeDefined(definition.clone())]);
            assert_eq!(given(events).decide(Input::Define(definition)), Ok(vec![]), "nothing changed");
        }
    }

    #[test]
    fn a_parameter_too_many_and_a_foreign_reference_are_told_in_our_words() {
        let told = schema(json!({"type": "object", "additionalProperties": false})).check(&json!({"x": 1}));
        let told = told.expect_err("ping takes no parameters");
        assert!(told.contains("does not have, with the value 1"), "{told}");
        let foreign = given([]).decide(Input::Define(schema(json!({"$ref": "http://127.0.0.1:1/x"}))));
        let told = foreign.expect_err("refused").to_string();
        assert_eq!(told, "params: a $ref points to a part of this schema, such as #/$defs/name");
    }

    #[test]
    fn parameters_fit_the_schema_or_are_told_where_they_do_not() {
        let definition = set_interval();
        assert_eq!(definition.check(&json!({"seconds": 60})), Ok(()));
        for (params, reason) in [
            (json!({"seconds": 0}), "/seconds: 0 is less than the minimum of 1"),
            (json!({"seconds": 86_401}), "/seconds: 86401 is greater than the maximum of 86400"),
            (json!({"seconds": "60"}), r#"/seconds: "60" is not of type "integer""#),
            (json!({}), r#""seconds" is a required property"#),
            (json!({"seconds": 1, "x": 2}), "Additional properties are not allowed ('x' was unexpected)"),
        ] {
            assert_eq!(definition.check(&params), Err(reason.to_owned()));
        }
    }

    #[test]
    fn a_schema_that_is_none_or_reaches_outside_is_refused() {
        for params in [
            json!(1),
            json!(true),
            json!({"type": "integr"}),
            json!({"minimum": "1"}),
            json!({"$ref": "https://example.com/schema.json"}),
            json!({"$ref": "file:///etc/passwd"}),
            json!({"pattern": "("}),
            json!({"pattern": "(?=x)x"}),
            json!({"description": "x".repeat(MAX_SCHEMA)}),
        ] {
            let refused = given([]).decide(Input::Define(schema(params.clone())));
            assert!(matches!(refused, Err(Error::BadSchema(_))), "{params}: {refused:?}");
        }
        let unreadable = Definition { description: Some("a\nb".into()), ..schema(json!({})) };
        assert_eq!(given([]).decide(Input::Define(unreadable)), Err(Error::BadDescription));
        for attempts in [0, 11] {
            let tireless = Definition { max_attempts: Some(attempts), ..schema(json!({})) };
            assert_eq!(given([]).decide(Input::Define(tireless)), Err(Error::BadAttempts));
        }
    }

    #[test]
    fn what_is_removed_is_off_the_list_until_it_is_defined_again() {
        let defined = Event::CommandTypeDefined(schema(json!({})));
        assert_eq!(given([]).decide(Input::Remove), Err(Error::Unknown));
        let removed = given([defined.clone(), Event::CommandTypeRemoved {}]);
        assert_eq!((removed.definition(), removed.decide(Input::Remove)), (None, Err(Error::Unknown)));
        assert_eq!(removed.decide(Input::Define(schema(json!({})))), Ok(vec![defined]));
    }

    #[test]
    fn the_stored_form_of_every_event_stays_readable() {
        for (json, event) in [
            (
                r#"{"CommandTypeDefined":{"description":"Beeps.","params":{"type":"object"}}}"#,
                Event::CommandTypeDefined(Definition {
                    description: Some("Beeps.".into()),
                    params: json!({"type": "object"}),
                    max_attempts: None,
                }),
            ),
            (
                r#"{"CommandTypeDefined":{"params":{},"max_attempts":1}}"#,
                Event::CommandTypeDefined(Definition { max_attempts: Some(1), ..schema(json!({})) }),
            ),
            (r#"{"CommandTypeRemoved":{}}"#, Event::CommandTypeRemoved {}),
        ] {
            assert_eq!(serde_json::to_string(&event).expect("serializes"), json);
            assert_eq!(serde_json::from_str::<Event>(json).expect("deserializes"), event);
        }
    }
}
