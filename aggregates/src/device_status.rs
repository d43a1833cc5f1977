//! Reads what a device says about itself on its status topic: that it is online, or that it is not.
//!
//! Firmware that cannot be changed has words of its own for it, so the common ones are taken.

use serde::Deserialize;
use serde_json::Value;

/// The largest status, in bytes. It is one word, or an object around it.
pub const MAX_STATUS: usize = 4 << 10;

/// What a device says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statement {
    /// The device is there.
    Online,
    /// The device is gone, or about to go.
    Offline,
}

/// The object that a device sends. Other keys are kept and mean nothing here.
#[derive(Deserialize)]
struct Wire {
    status: Value,
}

impl Statement {
    /// Reads a payload: a word, or a JSON object with a word in `status`. `None` if it says neither.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        if !is_object(text) {
            // Some send the word as JSON, or with the NUL that ends a string in C.
            return Self::of_word(text.trim_matches(|c: char| c.is_whitespace() || matches!(c, '"' | '\0')));
        }
        match serde_json::from_str::<Wire>(text).ok()?.status {
            Value::String(word) => Self::of_word(word.trim()),
            Value::Bool(is_online) => Some(if is_online { Self::Online } else { Self::Offline }),
            Value::Number(number) => Self::of_word(&number.to_string()),
            _ => None,
        }
    }

    /// The word that is stored for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Offline => "offline",
        }
    }

    fn of_word(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().as_str() {
            "online" | "connected" | "true" | "1" => Some(Self::Online),
            "offline" | "disconnected" | "false" | "0" => Some(Self::Offline),
            _ => None,
        }
    }
}

/// Whether a payload is meant as a JSON object.
pub(crate) fn is_object(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_common_firmware_are_taken() {
        for (words, statement) in [
            (
                ["online", "Online", "ONLINE\n", "\"online\"", "online\0", "1", "true", "connected"],
                Statement::Online,
            ),
            (
                ["offline", "Offline", " OFFLINE ", "\"offline\"", "False", "0", "false", "disconnected"],
                Statement::Offline,
            ),
        ] {
            for word in words {
                assert_eq!(Statement::read(word), Some(statement), "{word:?}");
            }
            let word = statement.as_str();
            for object in
                [format!(r#"{{"status":"{word}"}}"#), format!(" {{\"rssi\":-60,\"status\":\"{word}\"}}")]
            {
                assert_eq!(Statement::read(&object), Some(statement), "{object}");
            }
        }
        for (object, statement) in [
            (r#"{"status":true}"#, Statement::Online),
            (r#"{"status":0}"#, Statement::Offline),
            (r#"{"status":"Offline"}"#, Statement::Offline),
        ] {
            assert_eq!(Statement::read(object), Some(statement), "{object}");
        }
    }

    #[test]
    fn whatever_else_is_said_is_no_status() {
        for other in [
            "",
            "ready",
            "2",
            "on line",
            "[\"online\"]",
            "{}",
            r#"{"status":null}"#,
            r#"{"status":"away"}"#,
            r#"{"status":"online","status":"offline"}"#,
            r#"{"status":"online""#,
            r#"{"state":"online"}"#,
        ] {
            assert_eq!(Statement::read(other), None, "{other:?}");
        }
    }
}
