//! The two keys of a payload that describe the message: which one it is, and when its reading was taken.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{MAX_MSG_ID, ts};

/// What a payload says of its message.
#[derive(Default)]
pub(super) struct Header {
    pub(super) msg_id: Given<String>,
    pub(super) ts: Given<DateTime<Utc>>,
}

/// What a message gives for one of the keys.
#[derive(Default)]
pub(super) enum Given<T> {
    /// Nothing, or null.
    #[default]
    Nothing,
    /// Something that cannot be read, or several things.
    Unreadable,
    Value(T),
}

impl<T> Given<T> {
    pub(super) fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    pub(super) fn is_unreadable(&self) -> bool {
        matches!(self, Self::Unreadable)
    }

    pub(super) fn value(self) -> Option<T> {
        if let Self::Value(value) = self { Some(value) } else { None }
    }
}

impl Header {
    /// Reads the header of a JSON object. Of any other text it is empty.
    pub(super) fn of(object: &str) -> Self {
        let Keys { msg_id, ts } = serde_json::from_str(object).unwrap_or_default();
        Self { msg_id: msg_id.read(msg_id_of), ts: ts.read(ts::read) }
    }
}

/// The JSON of the two keys.
#[derive(Default)]
struct Keys<'a> {
    msg_id: Given<&'a str>,
    ts: Given<&'a str>,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Key {
    MsgId,
    Ts,
    #[serde(other)]
    Other,
}

impl<'a> Given<&'a str> {
    fn take(&mut self, json: &'a RawValue) {
        *self = match (&self, json.get()) {
            (Self::Nothing, "null") => Self::Nothing,
            (Self::Nothing, json) => Self::Value(json),
            _ => Self::Unreadable,
        };
    }

    fn read<T>(self, read: impl FnOnce(&str) -> Option<T>) -> Given<T> {
        match self {
            Self::Nothing => Given::Nothing,
            Self::Unreadable => Given::Unreadable,
            Self::Value(json) => read(json).map_or(Given::Unreadable, Given::Value),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Keys<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Keys<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys<'de>, A::Error> {
                let mut keys = Keys::default();
                while let Some(key) = map.next_key()? {
                    match key {
                        Key::MsgId => keys.msg_id.take(map.next_value()?),
                        Key::Ts => keys.ts.take(map.next_value()?),
                        Key::Other => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(keys)
            }
        }

        deserializer.deserialize_map(Object)
    }
}

/// A message id: text or an integer, of 1 to [`MAX_MSG_ID`] characters.
fn msg_id_of(json: &str) -> Option<String> {
    let is_integer = || json.strip_prefix('-').unwrap_or(json).bytes().all(|byte| byte.is_ascii_digit());
    let id: String = if json.starts_with('"') {
        serde_json::from_str(json).ok()?
    } else {
        is_integer().then(|| json.to_owned())?
    };
    let is_good = (1..=MAX_MSG_ID).contains(&id.chars().count()) && !id.contains('\0');
    is_good.then_some(id)
}
