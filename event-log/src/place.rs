//! The place of an event as text: `1:42` is position 42 of log 1.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use crate::control::Committed;
use crate::{LogId, Position};

/// A position in a log, as writes return it and reads wait for it: `<log>:<position>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct LogPosition {
    /// The log.
    pub log_id: LogId,
    /// The position in that log; 0 is before its first event.
    pub position: Position,
}

/// The text is not the place of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected <log>:<position>")]
pub struct BadPlace;

/// Reads a position: decimal digits, without a sign and without zeros before them, as positions are written everywhere.
#[must_use]
pub fn position(text: &str) -> Option<Position> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain)
}

impl FromStr for LogPosition {
    type Err = BadPlace;

    fn from_str(text: &str) -> Result<Self, BadPlace> {
        let (log_id, at) = text.split_once(':').ok_or(BadPlace)?;
        let log_id = position(log_id).and_then(|id| i32::try_from(id).ok()).ok_or(BadPlace)?;
        Ok(Self { log_id: LogId(log_id), position: position(at).ok_or(BadPlace)? })
    }
}

impl TryFrom<String> for LogPosition {
    type Error = BadPlace;

    fn try_from(text: String) -> Result<Self, BadPlace> {
        text.parse()
    }
}

impl From<Committed> for LogPosition {
    fn from(at: Committed) -> Self {
        Self { log_id: at.log_id, position: at.position }
    }
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.log_id, self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_names_its_log() {
        for text in ["2:17", "2:0", "1:9223372036854775807"] {
            assert_eq!(text.parse().map(|at: LogPosition| at.to_string()).as_deref(), Ok(text));
        }
        for bad in ["", ":", "2", "2:", ":17", "x:1", "2:17:1", "99999999999:1", "1:99999999999999999999"] {
            assert_eq!(bad.parse::<LogPosition>(), Err(BadPlace), "{bad}");
        }
    }

    #[test]
    fn a_position_is_a_plain_decimal_number() {
        for bad in ["2:-1", "+1:5", "1:+5", "1:05", "01:5", "1: 5", "1:5 ", "1:0x5", "1:5.0", "1:٥"] {
            assert_eq!(bad.parse::<LogPosition>(), Err(BadPlace), "{bad}");
        }
    }
}
