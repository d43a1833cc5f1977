//! From a payload's bytes to its tree, in each format. All keep to one [`Budget`], whatever the bytes are.
//!
//! - `json`: JSON, and with the same reader MessagePack
//! - `cbor`: CBOR
//! - `lenient`: what devices send and take for JSON
//! - `lines`: text, numbers, CSV, and several JSON documents
//! - `senml`: RFC 8428
//! - `sparkplug`: Sparkplug B, with the aliases of its births
//! - `cayenne`: Cayenne LPP

pub(crate) mod cayenne;
pub(crate) mod cbor;
pub(crate) mod json;
pub(crate) mod lenient;
pub(crate) mod lines;
pub(crate) mod senml;
pub(crate) mod sparkplug;

use serde::{Deserialize, Serialize};

use crate::aliases::Aliases;
use crate::tree::{Budget, Node, Spent};

/// What the bytes of a payload are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// JSON of RFC 8259. A byte order mark before it and a NUL behind it are passed over.
    Json,
    /// JSON, and text that only looks like it: with `NaN` and infinities, numbers such as `007`, `.5` and `1e400`, or a comma
    /// before a closing bracket.
    LenientJson,
    /// A document of [`Format::LenientJson`] on each line, each a reading.
    Ndjson,
    /// A number, or else a text.
    Text,
    /// A number.
    Number,
    /// Values between separators. Each line is a reading.
    CsvLine(Csv),
    /// CBOR of RFC 8949.
    Cbor,
    /// MessagePack.
    Msgpack,
    /// SenML of RFC 8428 as JSON or CBOR.
    Senml,
    /// Sparkplug B 3.0.
    SparkplugB,
    /// Cayenne Low Power Payload.
    CayenneLpp,
}

/// The columns of a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Csv {
    /// The names of the columns. An empty one is passed over.
    pub columns: Vec<String>,
    /// What stands between two values: `,` unless it is said.
    #[serde(default = "comma", skip_serializing_if = "is_comma")]
    pub separator: char,
}

fn comma() -> char {
    ','
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_comma(separator: &char) -> bool {
    *separator == ','
}

/// A payload that has been read.
#[derive(Debug)]
pub(crate) struct Document<'a> {
    pub(crate) root: Node<'a>,
    pub(crate) seen: Seen,
}

/// What was noticed while a payload was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// A key stands twice in one object.
    pub(crate) is_repeated: bool,
    /// Some of it could not be read: a line of several, or a metric of an alias that no birth has named.
    pub(crate) is_broken: bool,
    /// A metric has an alias that no birth has named.
    pub(crate) has_unknown_alias: bool,
}

/// Why a payload could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// It is not of the format.
    Syntax(String),
    Spent(Spent),
}

impl From<Spent> for Unreadable {
    fn from(spent: Spent) -> Self {
        Self::Spent(spent)
    }
}

pub(crate) fn syntax<T>(why: impl Into<String>) -> Result<T, Unreadable> {
    Err(Unreadable::Syntax(why.into()))
}

impl Format {
    /// Whether the payload is a list of readings by itself.
    pub(crate) fn is_list(&self) -> bool {
        matches!(self, Self::Ndjson | Self::CsvLine(_))
    }

    /// Whether the format makes readings with `t` and `values` of a payload.
    pub(crate) fn is_pack(&self) -> bool {
        matches!(self, Self::Senml | Self::SparkplugB)
    }

    pub(crate) fn read<'a>(
        &self,
        payload: &'a [u8],
        aliases: &'a Aliases,
    ) -> Result<Document<'a>, Unreadable> {
        let mut budget = Budget::new();
        let mut seen = Seen::default();
        let root = match self {
            Self::Json => json::read(payload, &mut budget),
            Self::LenientJson => lenient::read(payload, &mut budget),
            Self::Ndjson => lines::ndjson(payload, &mut budget, &mut seen),
            Self::Text => lines::text(payload),
            Self::Number => lines::number(payload),
            Self::CsvLine(csv) => lines::csv(csv, payload, &mut budget),
            Self::Cbor => cbor::read(payload, &mut budget),
            Self::Msgpack => json::read_msgpack(payload, &mut budget),
            Self::Senml => senml::read(payload, &mut budget),
            Self::SparkplugB => sparkplug::read(payload, aliases, &mut budget, &mut seen),
            Self::CayenneLpp => cayenne::read(payload, &mut budget),
        }?;
        seen.is_repeated |= budget.is_repeated;
        Ok(Document { root, seen })
    }
}

/// UTF-8 without a byte order mark before it and one NUL behind it.
pub(crate) fn utf8(payload: &[u8]) -> Result<&str, Unreadable> {
    let text =
        std::str::from_utf8(trimmed(payload)).map_err(|error| Unreadable::Syntax(error.to_string()))?;
    Ok(text)
}

fn trimmed(payload: &[u8]) -> &[u8] {
    let payload = payload.strip_prefix(b"\xef\xbb\xbf").unwrap_or(payload);
    payload.strip_suffix(b"\0").unwrap_or(payload)
}
