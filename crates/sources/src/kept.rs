//! How the record keeps a message that a source has taken in: topic and bytes as they came, and which source it was.
//!
//! One JSON object, so that everything that shows, moves and proves the record treats it like any other payload:
//! `{"source":"…","topic":"…","json":…}`. The payload is under `json` if it is JSON, under `text` if it is other text, and else under
//! `base64`. A reading that is one of several has `"reading":{"nth":…,"of":…}`.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fleetlog_aggregates::metrics::MAX_DEPTH;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::readings::Part;

/// A message as the record keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept<'k> {
    /// The source that has taken it in.
    pub source: Cow<'k, str>,
    /// Its topic.
    pub topic: Cow<'k, str>,
    /// Its bytes, as they came.
    pub payload: Cow<'k, [u8]>,
    /// Which of its readings is meant.
    pub part: Part,
}

/// What is stored is no kept message.
#[derive(Debug, thiserror::Error)]
pub enum NotKept {
    /// It is not JSON of this form.
    #[error("no message of a source: {0}")]
    Form(#[from] serde_json::Error),
    /// It has no payload, or its payload is not base64.
    #[error("no message of a source: its payload is missing or not base64")]
    Payload,
}

#[derive(Serialize, Deserialize)]
struct Stored<'k> {
    #[serde(borrow)]
    source: Cow<'k, str>,
    #[serde(borrow)]
    topic: Cow<'k, str>,
    #[serde(default, skip_serializing_if = "Part::is_whole")]
    reading: Part,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    json: Option<&'k RawValue>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    text: Option<Cow<'k, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    base64: Option<Cow<'k, str>>,
}

impl<'k> Kept<'k> {
    /// Reads what is stored.
    pub fn read(stored: &'k str) -> Result<Self, NotKept> {
        let Stored { source, topic, reading: part, json, text, base64 } = serde_json::from_str(stored)?;
        let payload = match (json, text, base64) {
            (Some(json), None, None) => Cow::Borrowed(json.get().as_bytes()),
            (None, Some(Cow::Borrowed(text)), None) => Cow::Borrowed(text.as_bytes()),
            (None, Some(Cow::Owned(text)), None) => Cow::Owned(text.into_bytes()),
            (None, None, Some(base64)) => {
                Cow::Owned(STANDARD.decode(base64.as_bytes()).map_err(|_| NotKept::Payload)?)
            }
            _ => return Err(NotKept::Payload),
        };
        Ok(Self { source, topic, payload, part })
    }

    /// What is stored.
    #[must_use]
    pub fn to_stored(&self) -> String {
        let text = std::str::from_utf8(&self.payload).ok();
        let json = text.and_then(as_json);
        let stored = Stored {
            source: Cow::Borrowed(&self.source),
            topic: Cow::Borrowed(&self.topic),
            reading: self.part,
            json,
            text: text.filter(|_| json.is_none()).map(Cow::Borrowed),
            base64: text.is_none().then(|| STANDARD.encode(&self.payload).into()),
        };
        // It cannot fail: texts and numbers are JSON, and `json` was read as such.
        serde_json::to_string(&stored).unwrap_or_default()
    }
}

/// The payload as JSON whose text is all of it. Blanks around it, and what nests deeper than a reading may, leave it a text.
fn as_json(text: &str) -> Option<&RawValue> {
    let json: &RawValue = serde_json::from_str(text).ok()?;
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    (json.get().len() == text.len() && deepest < MAX_DEPTH).then_some(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(payload: &[u8], part: Part) -> Kept<'_> {
        Kept { source: "z2m".into(), topic: "zigbee2mqtt/Büro \"1\"".into(), payload: payload.into(), part }
    }

    #[test]
    fn json_stays_json_other_text_becomes_text_and_other_bytes_base64() {
        let of_two = Part { nth: 1, of: 2 };
        for (payload, part, stored) in [
            (&br#"{"t": 1}"#[..], Part::WHOLE, r#""json":{"t": 1}}"#),
            (b"21.50", of_two, r#""reading":{"nth":1,"of":2},"json":21.50}"#),
            (b" 21.5", Part::WHOLE, r#""text":" 21.5"}"#),
            (b"{\"t\":NaN}\0", Part::WHOLE, r#""text":"{\"t\":NaN}\u0000"}"#),
            (b"", Part::WHOLE, r#""text":""}"#),
            (b"\xff\x01", Part::WHOLE, r#""base64":"/wE="}"#),
        ] {
            let text = kept(payload, part).to_stored();
            assert_eq!(text, format!(r#"{{"source":"z2m","topic":"zigbee2mqtt/Büro \"1\"",{stored}"#));
            assert_eq!(Kept::read(&text).expect("kept"), kept(payload, part));
        }
    }

    #[test]
    fn what_nests_too_deep_for_a_reading_is_kept_as_text() {
        for (depth, key) in
            [(MAX_DEPTH - 1, "\"json\":["), (MAX_DEPTH, "\"text\":\"["), (200, "\"text\":\"[")]
        {
            let payload = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            let stored = kept(payload.as_bytes(), Part::WHOLE).to_stored();
            assert!(stored.contains(key), "{depth}");
            assert_eq!(Kept::read(&stored).expect("kept").payload.as_ref(), payload.as_bytes());
        }
    }

    #[test]
    fn anything_else_is_no_kept_message() {
        for stored in [
            "",
            "[]",
            "{}",
            r#"{"t":1}"#,
            r#"{"source":"a","topic":"b"}"#,
            r#"{"source":"a","topic":"b","base64":"?"}"#,
        ] {
            assert!(Kept::read(stored).is_err(), "{stored}");
        }
    }
}
