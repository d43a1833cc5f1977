//! What is wrong with a definition, and where.

use std::fmt;

/// Something that is wrong with a source's definition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {why}")]
pub struct Invalid {
    /// Where: a JSON pointer into the definition, such as `/topics/0/time/path`.
    pub at: String,
    /// Why.
    pub why: Why,
}

/// Why a part of a definition is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// The definition is not of the form that a source has.
    #[error("{0}")]
    Form(String),
    /// A number of things, or a length, is out of bounds.
    #[error("expected {least} to {most} {what}")]
    Count {
        /// What is counted.
        what: &'static str,
        /// The fewest.
        least: usize,
        /// The most.
        most: usize,
    },
    /// The text is no topic pattern.
    #[error("no topic pattern: {0}")]
    Pattern(String),
    /// The text is no JSONPath of RFC 9535.
    #[error("no JSONPath: {0}")]
    Path(String),
    /// The path could take longer than the payload is long.
    #[error("a path that may cost too much: {0}")]
    Costly(&'static str),
    /// The text is no template.
    #[error("no template: {0}")]
    Template(String),
    /// A template names something that is not there.
    #[error("there is no {{{0}}} here; there is {1}")]
    UnknownName(String, String),
    /// Nothing says which device a message is from.
    #[error("nothing names the device: name a level of the topic {{uid}}, or say where the uid is")]
    NoUid,
    /// The topic is taken by an earlier one of the same source.
    #[error("{0} comes first and takes every message of this topic")]
    Shadowed(String),
    /// A time is local, and no zone says where.
    #[error("a local time needs a zone, such as Europe/Berlin")]
    NoZone,
    /// There is no such time zone.
    #[error("there is no time zone {0}")]
    UnknownZone(String),
    /// The source would take its own commands for messages of devices.
    #[error("commands would be taken for messages of devices by {0}")]
    OwnCommands(String),
    /// Two statements contradict each other.
    #[error("{0}")]
    Contradiction(&'static str),
}

/// All that is wrong with a definition, one or more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Invalids(pub Vec<Invalid>);

impl fmt::Display for Invalids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, invalid) in self.0.iter().enumerate() {
            let separator = if nth == 0 { "" } else { "; " };
            write!(f, "{separator}{invalid}")?;
        }
        Ok(())
    }
}

/// Collects what is wrong while a definition is compiled.
#[derive(Default)]
pub(crate) struct Findings(Vec<Invalid>);

impl Findings {
    pub(crate) fn note(&mut self, at: &str, why: Why) {
        self.0.push(Invalid { at: at.to_owned(), why });
    }

    /// The value, or `None` with a note of what is wrong with it.
    pub(crate) fn keep<T>(&mut self, at: &str, value: Result<T, Why>) -> Option<T> {
        value.map_err(|why| self.note(at, why)).ok()
    }

    pub(crate) fn count(&mut self, at: &str, count: usize, what: &'static str, least: usize, most: usize) {
        if !(least..=most).contains(&count) {
            self.note(at, Why::Count { what, least, most });
        }
    }

    pub(crate) fn into_result<T>(self, value: Option<T>) -> Result<T, Invalids> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(Invalids(self.0)),
        }
    }
}
