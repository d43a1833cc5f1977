//! Reads JSON bodies, and says in plain words what is wrong with one.
//!
//! A body that is not JSON is 400. JSON of another shape than the operation's is 422, with the field and the reason. The
//! reasons come from serde, whose texts name types of this program, so [`plain`] rewords each of them here.
//!
//! `null` means the same in every body: for an optional field it means absent, unless the field can be cleared. A field
//! that can be cleared is read by [`clearable`].

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::error::Error;
use super::problem::FieldError;

/// Reads a body: an object of the operation's shape.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    parse_part("body", body)
}

/// Reads a part of what a client sends, by the name that errors give it: an object.
pub(super) fn parse_part<T: DeserializeOwned>(part: &str, body: &[u8]) -> Result<T, Error> {
    let malformed = |error: &serde_json::Error| Error::malformed(format!("the {part} is not JSON: {error}"));
    let mut json = serde_json::Deserializer::from_slice(body);
    let parsed = serde_path_to_error::deserialize::<_, Object<T>>(&mut json).map_err(|error| {
        // The parser calls some values of another type a mistake in the JSON.
        match serde_json::from_slice::<IgnoredAny>(body) {
            Err(malformed_json) => malformed(&malformed_json),
            Ok(_) => field_error(&error),
        }
    })?;
    json.end().map_err(|error| malformed(&error))?;
    Ok(parsed.0)
}

/// An object with the fields of `T`. Without it, serde also takes a list for a struct, as its fields in their order.
#[derive(Debug, Clone)]
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(Fields(PhantomData))
    }
}

/// Reads a field that can be cleared: null is `Some(None)`, and an absent field is `None`.
pub(super) fn clearable<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Turns an error of serde into the answer that names the field.
pub(super) fn field_error<E: std::error::Error>(error: &serde_path_to_error::Error<E>) -> Error {
    let reason = error.inner().to_string();
    let field = match error.path().to_string() {
        // A path of "." means the whole body. For a missing or doubled field serde gives no path, but quotes the
        // field's name.
        whole if whole == "." => match reason.split('`').collect::<Vec<_>>()[..] {
            ["missing field " | "duplicate field ", name, ..] => name.to_owned(),
            _ => String::new(),
        },
        path => path,
    };
    Error::fields(vec![FieldError { field, reason: plain(&reason) }])
}

/// Rewords a text of serde or of the standard library. A text of our own stays as it is.
fn plain(reason: &str) -> String {
    let reason = match reason.rsplit_once(" at line ") {
        Some((reason, place)) if place.bytes().all(|b| b.is_ascii_digit() || b" column".contains(&b)) => {
            reason
        }
        _ => reason,
    };
    let wrong = ["invalid type: ", "invalid value: ", "invalid length ", "unknown variant "];
    match reason {
        "invalid digit found in string"
        | "cannot parse integer from empty string"
        | "number too large to fit in target type"
        | "number too small to fit in target type" => "expected a whole number within the range".to_owned(),
        "provided string was not `true` or `false`" => "expected true or false".to_owned(),
        "input contains invalid characters"
        | "input is out of range"
        | "premature end of input"
        | "trailing input"
        | "no possible date and time matching input" => {
            "expected a time such as 2026-03-01T08:30:00Z".to_owned()
        }
        "expected value" => "expected a value of another type".to_owned(),
        _ if wrong.iter().any(|wrong| reason.starts_with(wrong)) => {
            let expected =
                reason.rsplit_once(", expected ").map_or("another value", |(_, expected)| expected);
            format!("expected {}", kind(expected))
        }
        _ => reason.to_owned(),
    }
}

/// A kind of value, as people call it. Serde's own names are Rust's.
fn kind(expected: &str) -> &str {
    match expected {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "i32" => "a whole number from -2147483648 to 2147483647",
        "u64" | "usize" | "u128" => "a whole number, 0 or more",
        "i8" | "i16" | "i64" | "isize" | "i128" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" | "map" => "an object",
        "a formatted UUID string" | "UUID string" => "a UUID",
        "an RFC 3339 formatted date and time string"
        | "a formatted date and time string or a unix timestamp" => "a time such as 2026-03-01T08:30:00Z",
        _ if expected.starts_with("struct ") => "an object",
        _ if expected.starts_with("tuple ") => "a list",
        _ if expected.starts_with("enum ") => "another value",
        _ => expected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read")]
    #[expect(clippy::option_option, reason = "absent, null, or a value")]
    struct Wanted {
        count: Option<u32>,
        part: Option<Object<Named>>,
        word: Option<Word>,
        words: Option<Vec<String>>,
        id: Option<uuid::Uuid>,
        at: Option<chrono::DateTime<chrono::Utc>>,
        on: Option<bool>,
        #[serde(default, deserialize_with = "clearable")]
        limit: Option<Option<i32>>,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only read")]
    struct Named {
        name: String,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Word {
        One,
        Two,
    }

    fn refusal(body: &str) -> String {
        match parse::<Wanted>(body.as_bytes()) {
            Ok(good) => format!("{good:?}"),
            Err(error) => format!("{} {}", error.code(), error.message()),
        }
    }

    #[test]
    fn a_wrong_field_is_named_in_plain_words() {
        for (body, said) in [
            (r#"{"count":"7"}"#, "invalid count: expected a whole number from 0 to 4294967295"),
            (r#"{"count":-1}"#, "invalid count: expected a whole number from 0 to 4294967295"),
            (r#"{"count":1.5}"#, "invalid count: expected a whole number from 0 to 4294967295"),
            (
                r#"{"count":99999999999999999999}"#,
                "invalid count: expected a whole number from 0 to 4294967295",
            ),
            (r#"{"part":5}"#, "invalid part: expected an object"),
            (r#"{"part":["a name"]}"#, "invalid part: expected an object"),
            (r#"{"part":{}}"#, "invalid part: missing field `name`"),
            (r#"{"part":{"name":["x, expected u32"]}}"#, "invalid part.name: expected a string"),
            (r#"{"word":5}"#, "invalid word: expected a value of another type"),
            (r#"{"word":"three, expected four"}"#, "invalid word: expected `one` or `two`"),
            (r#"{"words":"a"}"#, "invalid words: expected a list"),
            (r#"{"words":["a",null]}"#, "invalid words[1]: expected a string"),
            (r#"{"id":5}"#, "invalid id: expected a UUID"),
            (r#"{"at":5}"#, "invalid at: expected a time such as 2026-03-01T08:30:00Z"),
            (r#"{"at":"yesterday"}"#, "invalid at: expected a time such as 2026-03-01T08:30:00Z"),
            (
                r#"{"at":"2026-03-01T08:30:00+99:00"}"#,
                "invalid at: expected a time such as 2026-03-01T08:30:00Z",
            ),
            (r#"{"on":1}"#, "invalid on: expected true or false"),
            (r#"{"limit":"x"}"#, "invalid limit: expected a whole number from -2147483648 to 2147483647"),
            (
                r#"{"more":1}"#,
                "invalid more: unknown field `more`, expected one of `count`, `part`, `word`, `words`, `id`, `at`, `on`, `limit`",
            ),
            ("[]", "invalid : expected an object"),
            ("null", "invalid : expected an object"),
            (r#"{"count":1} x"#, "malformed the body is not JSON: trailing characters at line 1 column 13"),
            (
                r#"{"word":5"#,
                "malformed the body is not JSON: EOF while parsing an object at line 1 column 9",
            ),
        ] {
            assert_eq!(refusal(body), said, "{body}");
        }
    }

    #[test]
    fn null_is_absent_unless_the_field_can_be_cleared() {
        let read = |body: &str| parse::<Wanted>(body.as_bytes()).map_err(|error| error.message());
        let nulls = r#"{"count":null,"part":null,"word":null,"words":null,"id":null,"at":null,"on":null}"#;
        assert_eq!(format!("{:?}", read(nulls)), format!("{:?}", read("{}")));
        assert_eq!(read(r#"{"limit":null}"#).map(|wanted| wanted.limit), Ok(Some(None)));
        assert_eq!(read("{}").map(|wanted| wanted.limit), Ok(None));
    }
}
