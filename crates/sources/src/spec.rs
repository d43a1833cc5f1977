//! A source's definition, as it is written, sent and stored. [`crate::Source`] is what it means.

mod many;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use many::Many;

use crate::formats::Format;
use crate::invalid::{Invalid, Invalids, Why};

/// A tenant's rule for foreign topics and payloads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceSpec {
    /// What it is for, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What is taken in, and how it is read. Of several that a topic fits, the first one counts.
    pub topics: Vec<TopicSpec>,
    /// How commands reach its devices. Without it they take none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commands: Option<CommandsSpec>,
}

impl SourceSpec {
    /// Reads a definition from JSON.
    ///
    /// # Errors
    ///
    /// [`Invalids`], with the place that does not have the form of a definition.
    pub fn from_json(text: &str) -> Result<Self, Invalids> {
        let mut json = serde_json::Deserializer::from_str(text);
        let spec = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let at = pointer(error.path());
            Invalids(vec![Invalid { at, why: Why::Form(error.into_inner().to_string()) }])
        })?;
        json.end().map_err(|error| {
            Invalids(vec![Invalid { at: String::new(), why: Why::Form(error.to_string()) }])
        })?;
        Ok(spec)
    }
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => pointer.extend(["/", &index.to_string()]),
            Segment::Map { key } | Segment::Enum { variant: key } => {
                pointer.extend(["/", &key.replace('~', "~0").replace('/', "~1")]);
            }
            Segment::Unknown => {}
        }
    }
    pointer
}

/// Messages of one kind: their topics, and how they are read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicSpec {
    /// The topic pattern, or several: `tele/{uid}/SENSOR`.
    pub topic: Many<String>,
    /// What the bytes are. Lenient JSON unless it is said, and text for a status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// The device: a template, or a JSONPath. The level `{uid}` of the topic unless it is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// What becomes of characters that a uid cannot have.
    #[serde(default, skip_serializing_if = "OtherCharacters::is_default")]
    pub other_characters: OtherCharacters,
    /// A JSONPath to the readings, where a message has several. A list that it leads to is taken apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub each: Option<String>,
    /// When the reading was taken. The arrival unless it is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<TimeSpec>,
    /// The message's id: a template or a JSONPath, or several, which are put together. A message whose id is not said is never
    /// taken for a repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Many<String>>,
    /// What is measured. Every number and boolean of the reading unless it is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Many<MetricsSpec>>,
    /// The messages say whether the device is online, and are no readings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<StatusSpec>,
}

/// What becomes of characters in a device's name that a uid cannot have. A uid has A-Z, a-z, 0-9, `_`, `.` and `-`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OtherCharacters {
    /// Each becomes `_`, and a mark at the end keeps names apart: `Living Room` becomes `Living_Room-e4a3c880ef`.
    #[default]
    Mark,
    /// Each becomes `_`. Names that differ in nothing else become one device.
    Replace,
    /// Each is left out: `AA:BB` becomes `AABB`.
    Drop,
    /// The message is refused.
    Refuse,
}

impl OtherCharacters {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Where the time is, and what it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeSpec {
    /// Where it is: a JSONPath or a template, or several, of which the first that is there counts.
    pub path: Many<String>,
    /// What it is.
    #[serde(default, skip_serializing_if = "Unit::is_default")]
    pub unit: Unit,
    /// The zone of a time that does not say its own, such as `Europe/Berlin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
}

/// What a time is written as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// RFC 3339; or a number whose magnitude says whether it counts seconds, milliseconds, microseconds or nanoseconds since
    /// 1970; or a local time, where there is a zone.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// Seconds since 1970.
    #[serde(rename = "s")]
    Seconds,
    /// Milliseconds since 1970.
    #[serde(rename = "ms")]
    Milliseconds,
    /// Microseconds since 1970.
    #[serde(rename = "us")]
    Microseconds,
    /// Nanoseconds since 1970.
    #[serde(rename = "ns")]
    Nanoseconds,
    /// RFC 3339, or what comes next to it: a blank for the T, an offset of four or two digits, no seconds.
    #[serde(rename = "rfc3339")]
    Rfc3339,
    /// The same without an offset, in the zone.
    #[serde(rename = "local")]
    Local,
}

impl Unit {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Which values are metrics, and their names.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricsSpec {
    /// A JSONPath to what has the metrics, or several, of which the first that is there counts. All of the reading unless it
    /// is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Many<String>>,
    /// What names begin with: a template, such as `{component}`. A number that stands alone has this as its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Numbers in quotes are metrics.
    #[serde(default, skip_serializing_if = "is_false")]
    pub quoted_numbers: bool,
    /// Words are metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<Words>,
    /// How the values of lists are named. By their place unless it is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lists: Option<Lists>,
    /// JSONPaths to values that are not metrics. Time, id and uid never are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// Words that stand for numbers, in upper or lower case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Words {
    /// 1: on, open, online, true, yes. 0: off, closed, offline, false, no.
    Usual,
    /// These.
    These(BTreeMap<String, f64>),
}

/// How the values of lists are named.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lists {
    /// By what a member of each element says: `[{"id":"A","v":1}]` has the metric `A.v`.
    By(Named),
    /// Not at all: they are no metrics.
    LeftOut,
}

/// An element's name, and where its value is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// The member with the name, or a JSONPath to it from the element.
    pub name: String,
    /// The member that is the value: with `v`, the metric above is `A`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// What messages say about the device itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatusSpec {
    /// The payload says it, by a word.
    Says(StatusWords),
    /// That there is a message says that the device is online.
    Online,
    /// That there is a message says that the device is offline.
    Offline,
}

/// The words of a status.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusWords {
    /// Where the word is, if the payload is an object: a JSONPath.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The words for online, beside online, connected, true and 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub online: Vec<String>,
    /// The words for offline, beside offline, disconnected, false and 0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub offline: Vec<String>,
}

/// How commands reach the devices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandsSpec {
    /// The topic of a command: a template of the levels of the device's topics and `{uid}`, `{cmd}`, `{cmd_id}`, `{attempt}`
    /// and `{params.name}`.
    pub topic: String,
    /// The payload: a template, or JSON whose texts are templates. A text that is `{params}` or `{params.name}` alone becomes
    /// that value itself.
    pub payload: Value,
    /// How the device answers.
    pub answers: AnswersSpec,
}

/// How devices answer commands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswersSpec {
    /// Not at all: a command ends when it is sent.
    None,
    /// On these topics.
    On(Vec<AnswerSpec>),
}

/// Answers of one kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnswerSpec {
    /// The topic pattern. Its `{uid}` is the device, or else what its names say in the topic of the command.
    pub topic: String,
    /// What the bytes are. Lenient JSON unless it is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// The device: a template or a JSONPath. The level `{uid}` of the topic unless it is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Which command it answers.
    pub command: NamesCommand,
    /// When the answer says that the command has failed. Never, unless it is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Failed>,
}

/// How an answer names its command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NamesCommand {
    /// It does not: it is for the command under way. A device gets one at a time.
    UnderWay,
    /// By its id.
    Id(CommandId),
}

/// Where an answer has the command's id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandId {
    /// A JSONPath, or a template of the topic's levels. Of several values, the first that is an id counts.
    pub path: String,
    /// What the text begins with before the id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// What says that a command has failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failed {
    /// That there is such an answer.
    Always,
    /// That there is something at this JSONPath, other than null and false.
    If(String),
    /// That there is one of these texts.
    Is(FailedWords),
}

/// Texts that say that a command has failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailedWords {
    /// Where the text is: a JSONPath.
    pub path: String,
    /// The texts.
    pub words: Vec<String>,
}
