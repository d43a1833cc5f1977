//! Commands as a source's devices take them, and answers as they give them.

mod answers;

use std::borrow::Cow;
use std::collections::BTreeMap;

use fleetlog_aggregates::identity::Uid;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::identify::Message;
use crate::invalid::{Findings, Why};
use crate::limits::MAX_COMMAND;
use crate::pattern::{Pattern, overlaps};
use crate::source::{Names, Rule, Source};
use crate::spec::CommandsSpec;
use crate::template::Template;

use answers::AnswerRule;
pub use answers::{Answer, Unanswered};

/// What the topics of a device say that its commands need: the levels of its topics by their names. Kept for each device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Address(BTreeMap<String, String>);

/// A command that is to be sent.
#[derive(Debug, Clone, Copy)]
pub struct ToSend<'c> {
    /// The device.
    pub uid: &'c Uid,
    /// The command's type.
    pub cmd: &'c str,
    /// The command's id.
    pub cmd_id: Uuid,
    /// The attempt: 1, 2, 3 …
    pub attempt: u32,
    /// The command's parameters.
    pub params: &'c Value,
}

/// A command as a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// Why a command cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotSend {
    /// The source's devices take no commands.
    #[error("the devices of this source take no commands")]
    NoCommands,
    /// The command names something that is not there: a parameter, or a level of the device's topics.
    #[error("there is no {{{0}}}, which the source puts into its commands")]
    Missing(String),
    /// The template made a topic that MQTT does not allow.
    #[error("{0:?} is no topic to publish to")]
    BadTopic(String),
    /// The payload is larger than [`MAX_COMMAND`].
    #[error("{0} bytes; a command has at most {MAX_COMMAND}")]
    TooLarge(usize),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Commands {
    topic: Template,
    payload: Payload,
    answers: Vec<AnswerRule>,
}

/// JSON whose texts are templates.
#[derive(Debug, Clone, PartialEq)]
enum Payload {
    Fixed(Value),
    Text(Template),
    List(Vec<Payload>),
    Map(Vec<(String, Payload)>),
}

/// The names of a command's own parts.
const OWN: [&str; 5] = ["uid", "cmd", "cmd_id", "attempt", "params"];

impl Commands {
    pub(crate) fn compile(spec: &CommandsSpec, rules: &[Rule], findings: &mut Findings) -> Option<Self> {
        let patterns: Vec<Pattern> = rules.iter().flat_map(|rule| rule.patterns.iter().cloned()).collect();
        let names = Names::new(&patterns);
        let topic = template(&spec.topic, &names, "/commands/topic", findings);
        if let Some(topic) = &topic {
            check_topic(topic, &patterns, findings);
        }
        let payload = Payload::compile(&spec.payload, &names, "/commands/payload", findings);
        let answers = AnswerRule::compile_all(&spec.answers, findings);
        Some(Self { topic: topic?, payload: payload?, answers: answers? })
    }

    pub(crate) fn answer_patterns(&self) -> impl Iterator<Item = &Pattern> {
        self.answers.iter().map(|answer| &answer.pattern)
    }

    fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.topic.names().collect();
        self.payload.names(&mut names);
        names
    }
}

fn template(text: &str, names: &Names<'_>, at: &str, findings: &mut Findings) -> Option<Template> {
    let template = findings.keep(at, Template::parse_text(text))?;
    if template.paths().next().is_some() {
        findings.note(at, Why::Template("a command has no payload to look into".to_owned()));
        return None;
    }
    let is_known = |name: &&str| OWN.contains(name) || name.starts_with("params.") || names.has(name);
    if let Some(unknown) = template.names().find(|name| !is_known(name)) {
        let there = OWN.map(|name| format!("{{{name}}}")).join(", ");
        findings.note(
            at,
            Why::UnknownName(
                unknown.to_owned(),
                format!("{there}, {{params.name}} and the levels that all topics have"),
            ),
        );
        return None;
    }
    Some(template)
}

/// A topic that the source itself takes in would bring each command back as a message of its device.
fn check_topic(topic: &Template, patterns: &[Pattern], findings: &mut Findings) {
    let Some(own) = findings.keep("/commands/topic", Pattern::parse(&topic.as_pattern())) else { return };
    if let Some(taken) = patterns.iter().find(|pattern| overlaps(pattern, &own)) {
        findings.note("/commands/topic", Why::OwnCommands(taken.to_string()));
    }
}

impl Payload {
    fn compile(value: &Value, names: &Names<'_>, at: &str, findings: &mut Findings) -> Option<Self> {
        Some(match value {
            // A payload may be nothing.
            Value::String(text) if text.is_empty() => Self::Fixed(value.clone()),
            Value::String(text) => Self::Text(template(text, names, at, findings)?),
            Value::Array(list) => {
                let list = list.iter().enumerate();
                let list =
                    list.map(|(nth, value)| Self::compile(value, names, &format!("{at}/{nth}"), findings));
                Self::List(list.collect::<Option<_>>()?)
            }
            Value::Object(map) => {
                let member = |(key, value): (&String, &Value)| {
                    let at = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
                    Some((key.clone(), Self::compile(value, names, &at, findings)?))
                };
                Self::Map(map.iter().map(member).collect::<Option<_>>()?)
            }
            value => Self::Fixed(value.clone()),
        })
    }

    fn names<'p>(&'p self, into: &mut Vec<&'p str>) {
        match self {
            Self::Fixed(_) => {}
            Self::Text(template) => into.extend(template.names()),
            Self::List(list) => list.iter().for_each(|payload| payload.names(into)),
            Self::Map(map) => map.iter().for_each(|(_, payload)| payload.names(into)),
        }
    }

    fn fill(&self, filling: &Filling<'_>) -> Result<Value, CannotSend> {
        Ok(match self {
            Self::Fixed(value) => value.clone(),
            Self::Text(template) => match template.only_name().and_then(|name| filling.value(name)) {
                Some(value) => value.clone(),
                None => Value::String(filling.text(template)?),
            },
            Self::List(list) => list.iter().map(|payload| payload.fill(filling)).collect::<Result<_, _>>()?,
            Self::Map(map) => {
                let member = |(key, payload): &(String, Self)| Ok((key.clone(), payload.fill(filling)?));
                Value::Object(map.iter().map(member).collect::<Result<_, CannotSend>>()?)
            }
        })
    }
}

/// What a command's templates are filled in from.
struct Filling<'f> {
    command: ToSend<'f>,
    address: &'f Address,
}

impl<'f> Filling<'f> {
    /// A parameter, or all of them, as JSON.
    fn value(&self, name: &str) -> Option<&'f Value> {
        let mut names = name.split('.');
        if names.next() != Some("params") {
            return None;
        }
        names.try_fold(self.command.params, |value, name| value.get(name))
    }

    fn name(&self, name: &str) -> Option<Cow<'f, str>> {
        Some(match name {
            "cmd" => Cow::Borrowed(self.command.cmd),
            "cmd_id" => Cow::Owned(self.command.cmd_id.to_string()),
            "attempt" => Cow::Owned(self.command.attempt.to_string()),
            _ => match self.value(name) {
                Some(Value::String(text)) => Cow::Borrowed(text),
                Some(value) => Cow::Owned(value.to_string()),
                // A device is called on its topics as it calls itself there.
                None => match self.address.0.get(name) {
                    Some(level) => Cow::Borrowed(level),
                    None if name == "uid" => Cow::Borrowed(self.command.uid.as_str()),
                    None => return None,
                },
            },
        })
    }

    fn text(&self, template: &Template) -> Result<String, CannotSend> {
        template.fill_with(|name| self.name(name)).map_err(CannotSend::Missing)
    }

    /// A topic, in which nothing but a level's own text brings a separator along.
    fn topic(&self, template: &Template) -> Result<String, CannotSend> {
        let topic = self.text(template)?;
        let is_own = |name: &str| !self.address.0.contains_key(name);
        let separates = template.names().filter(|name| is_own(name)).filter_map(|name| self.name(name));
        let is_bad = separates.into_iter().any(|text| text.is_empty() || text.contains('/'));
        if is_bad
            || topic.is_empty()
            || topic.len() > usize::from(u16::MAX)
            || topic.contains(['+', '#', '\0'])
        {
            return Err(CannotSend::BadTopic(topic));
        }
        Ok(topic)
    }
}

impl Source {
    /// What a message's topic says that commands for its device need. `None` if its devices take no commands, or the topic is
    /// another's. The latest one counts.
    #[must_use]
    pub fn address(&self, topic: &str) -> Option<Address> {
        let names = self.commands()?.names();
        let (_, levels) = self.rule(topic)?;
        let used = levels.iter().filter(|(name, _)| names.contains(name));
        Some(Address(used.map(|(name, text)| (name.to_owned(), text.to_owned())).collect()))
    }

    /// A command as the message that its device takes.
    ///
    /// # Errors
    ///
    /// [`CannotSend`], with what is missing or too large.
    pub fn command(&self, command: ToSend<'_>, address: &Address) -> Result<Outgoing, CannotSend> {
        let commands = self.commands().ok_or(CannotSend::NoCommands)?;
        let filling = Filling { command, address };
        let topic = filling.topic(&commands.topic)?;
        let payload = match commands.payload.fill(&filling)? {
            Value::String(text) => text.into_bytes(),
            value => value.to_string().into_bytes(),
        };
        if payload.len() > MAX_COMMAND {
            return Err(CannotSend::TooLarge(payload.len()));
        }
        Ok(Outgoing { topic, payload })
    }

    /// Whether devices answer commands at all. Where they do not, a command ends when it is sent.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.commands().is_some_and(|commands| !commands.answers.is_empty())
    }

    /// Reads a message as an answer to a command. `None` if devices do not answer on its topic.
    #[must_use]
    pub fn answer(&self, message: Message<'_>) -> Option<Result<Answer, Unanswered>> {
        let answers = &self.commands()?.answers;
        let read = |answer: &AnswerRule| Some(answer.read(&answer.pattern.matches(message.topic)?, message));
        answers.iter().find_map(read)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::spec::SourceSpec;

    const ID: &str = "019a0000-0000-7000-8000-000000000001";

    fn source(commands: &Value) -> Result<Source, String> {
        let spec = json!({"topics": [{"topic": "x/{group}/{uid}/state"}], "commands": commands}).to_string();
        SourceSpec::from_json(&spec).and_then(Source::try_from).map_err(|invalid| invalid.to_string())
    }

    fn send(commands: &Value, params: &Value) -> Result<(String, String), CannotSend> {
        let source = source(commands).unwrap_or_else(|why| panic!("{why}"));
        let address = source.address("x/g1/Living Room/state").expect("an address");
        let (uid, cmd_id) = ("lr".parse().expect("a uid"), ID.parse().expect("an id"));
        let command = ToSend { uid: &uid, cmd: "set", cmd_id, attempt: 2, params };
        let Outgoing { topic, payload } = source.command(command, &address)?;
        Ok((topic, String::from_utf8(payload).expect("text")))
    }

    #[test]
    fn a_command_goes_to_the_devices_own_topic_in_its_own_words() {
        let sent = send(
            &json!({"topic": "c/{group}/{uid}/{cmd}", "payload": "{params.value}", "answers": "none"}),
            &json!({"value": "ON"}),
        );
        assert_eq!(sent, Ok(("c/g1/Living Room/set".into(), "ON".into())));
        let payload = json!({"id": "{cmd_id}", "n": "try {attempt}", "p": "{params}", "v": ["{params.v}", 1, null], "u": "{uid}"});
        let (_, payload) =
            send(&json!({"topic": "c/{uid}", "payload": payload, "answers": "none"}), &json!({"v": 1.5}))
                .expect("sent");
        let expected =
            json!({"id": ID, "n": "try 2", "p": {"v": 1.5}, "v": [1.5, 1, null], "u": "Living Room"});
        assert_eq!(serde_json::from_str::<Value>(&payload).expect("JSON"), expected);
    }

    #[test]
    fn a_command_that_cannot_be_put_into_words_is_not_sent() {
        let to = |topic: &str| json!({"topic": topic, "payload": "{params.v}", "answers": "none"});
        assert_eq!(send(&to("c"), &json!({})), Err(CannotSend::Missing("params.v".into())));
        for bad in ["a/b", "#", "+", ""] {
            assert!(
                matches!(send(&to("c/{params.v}"), &json!({"v": bad})), Err(CannotSend::BadTopic(_))),
                "{bad}"
            );
        }
        let large = json!({"v": "x".repeat(MAX_COMMAND + 1)});
        assert_eq!(send(&to("c"), &large), Err(CannotSend::TooLarge(MAX_COMMAND + 1)));
    }

    #[test]
    fn commands_that_would_come_back_as_messages_are_refused() {
        for (topic, why) in [
            (
                "x/{group}/{uid}/state",
                "/commands/topic: commands would be taken for messages of devices by x/{group}/{uid}/state",
            ),
            ("x/a/b/{cmd}", "/commands/topic: commands would be taken for messages of devices"),
            ("x/{$.a}", "/commands/topic: no template: a command has no payload to look into"),
            ("x/{other}", "/commands/topic: there is no {other} here"),
            ("x/#", "/commands/topic: no topic pattern"),
        ] {
            let refused =
                source(&json!({"topic": topic, "payload": "", "answers": "none"})).expect_err(topic);
            assert!(refused.starts_with(why), "{refused}");
        }
    }

    #[test]
    fn an_answer_says_which_command_it_is_for_and_whether_it_failed() {
        let answers = json!({"on": [
            {"topic": "a/{uid}", "command": {"id": {"path": "$.ids[*]", "after": "fl:"}}, "failed": {"if": "$.error"}},
            {"topic": "b/{x}", "uid": "dev-{x}", "format": "text", "command": "under_way", "failed": {"is": {"path": "$", "words": ["ERR"]}}},
            {"topic": "n/{uid}", "command": {"id": {"path": "$.id"}}, "failed": "always"}
        ]});
        let source =
            source(&json!({"topic": "c/{uid}", "payload": "", "answers": answers})).expect("a source");
        let read = |topic: &str, payload: &str| {
            let received_at = chrono::DateTime::UNIX_EPOCH;
            source.answer(Message { topic, payload: payload.as_bytes(), received_at, login: None })
        };
        let answer = |topic: &str, payload: &str| read(topic, payload).expect(topic).expect(payload);
        let first = answer("a/d1", &format!(r#"{{"ids":["x","fl:{ID}"],"error":null}}"#));
        assert_eq!((first.uid.as_str(), first.cmd_id, first.is_failure), ("d1", ID.parse().ok(), false));
        assert!(answer("a/d1", &format!(r#"{{"ids":["fl:{ID}"],"error":{{"code":1}}}}"#)).is_failure);
        let second = answer("b/7", "ERR");
        assert_eq!((second.uid.as_str(), second.cmd_id, second.is_failure), ("dev-7", None, true));
        assert_eq!(second.content, json!("ERR"));
        assert!(!answer("b/7", "OK").is_failure);
        assert!(answer("n/d1", &format!(r#"{{"id":"{ID}"}}"#)).is_failure);
        assert_eq!(read("a/d1", r#"{"ids":["fl:1"]}"#), Some(Err(Unanswered::NoCommand)));
        assert!(matches!(read("a/d1", "{"), Some(Err(Unanswered::Unreadable(_)))));
        assert_eq!(read("z/d1", "{}"), None);
        assert!(source.is_answered());
        assert_eq!(source.filters(), ["a/+", "b/+", "n/+", "x/+/+/state"]);
    }
}
