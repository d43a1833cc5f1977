//! The numbers in a telemetry payload: every numeric or boolean leaf, in one pass over the bytes.
//!
//! Ingest calls this to check a payload, projections to fold it; both see the same metrics.

mod leaves;
pub mod lenient;

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use self::leaves::Leaves;
use crate::telemetry::Flags;

/// How deep objects and arrays may be nested.
pub const MAX_DEPTH: usize = 64;
/// The most metrics that one message contributes. Further leaves stay in the payload only: a device that sends ten
/// thousand numbers in a message must not open ten thousand series. What is in an array goes first.
pub const MAX_METRICS: usize = 256;
/// The longest metric name, in bytes.
pub const MAX_METRIC_NAME: usize = 128;
/// The largest magnitude a metric may have. It keeps the sum of any number of readings that a log can hold
/// (2^63 of them) finite.
pub const MAX_MAGNITUDE: f64 = 1e280;

/// The keys of a telemetry object that describe the message and are not measurements.
const RESERVED: [&str; 2] = ["msg_id", "ts"];
/// The metric of a payload that is a number or a word.
const VALUE: &str = "value";

/// What a scan counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scan {
    /// Leaves that were passed to the caller.
    pub metrics: usize,
    /// Numeric leaves that were skipped: too many, too large, or with a name that cannot be stored.
    pub skipped: usize,
    /// Leaves with the name of an earlier one, whose value they replaced.
    pub repeated: usize,
}

/// Why a payload has no metrics.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The payload is not a JSON object.
    #[error("not a JSON object: {0}")]
    NotAnObject(String),
    /// The payload is nested deeper than [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH}")]
    TooDeep,
}

/// Calls `each` with the name and value of every metric of a stored reading. One that is flagged [`Flags::RAW`] is the text
/// that the device sent, and has the metrics that [`of_text`] finds in it. One that is flagged [`Flags::SOURCED`] has none here: only
/// its source knows them.
pub fn of_reading(flags: Flags, payload: &str, each: impl FnMut(&str, f64)) -> Result<Scan, Error> {
    #[derive(Deserialize)]
    struct Raw {
        raw: String,
    }
    if flags.contains(Flags::SOURCED) {
        return Ok(Scan::default());
    }
    if !flags.contains(Flags::RAW) {
        return for_each(payload, each);
    }
    let stored: Raw = serde_json::from_str(payload).map_err(|error| Error::NotAnObject(error.to_string()))?;
    Ok(of_text(&stored.raw, each))
}

/// Calls `each` with the name and value of every metric of a text that is no JSON object: those of the object that it is
/// meant to be, or `value` if it is a number, or a word such as ON.
pub fn of_text(text: &str, mut each: impl FnMut(&str, f64)) -> Scan {
    if let Some(object) = lenient::object(text) {
        return for_each(&object, each).unwrap_or_default();
    }
    match lenient::value(text) {
        Some(value) if value.abs() <= MAX_MAGNITUDE => {
            each(VALUE, value);
            Scan { metrics: 1, ..Scan::default() }
        }
        Some(_) => Scan { skipped: 1, ..Scan::default() },
        None => Scan::default(),
    }
}

/// Calls `each` with the name and value of every metric of a JSON object, in the payload's order; true is 1, false is 0.
/// Names of nested leaves are joined with `.`, elements of arrays are named by their index, and names are normalised to
/// NFC. Of leaves with one name the last one counts, at the place of the first.
pub fn for_each(payload: &str, each: impl FnMut(&str, f64)) -> Result<Scan, Error> {
    let mut walk =
        Walk { leaves: Leaves::default(), name: String::new(), depth: 0, arrays: 0, too_deep: false };
    let mut json = serde_json::Deserializer::from_str(payload);
    // The walk counts the depth itself: the contract's limit holds, not the parser's.
    let parsed = Object(&mut walk).deserialize(&mut json).and_then(|()| json.end());
    match parsed {
        Ok(()) => Ok(walk.leaves.pass(each)),
        Err(_) if walk.too_deep => Err(Error::TooDeep),
        Err(error) => Err(Error::NotAnObject(error.to_string())),
    }
}

struct Walk {
    leaves: Leaves,
    /// The name of the current leaf, extended and truncated in place.
    name: String,
    depth: usize,
    /// How many of the objects and arrays around are arrays.
    arrays: usize,
    too_deep: bool,
}

impl Walk {
    fn leaf(&mut self, value: f64) {
        if self.depth == 1 && RESERVED.contains(&self.name.as_str()) {
            return;
        }
        self.leaves.add(&self.name, value, self.arrays > 0);
    }

    fn enter<E: serde::de::Error>(&mut self) -> Result<(), E> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            self.too_deep = true;
            return Err(E::custom("nested too deep"));
        }
        Ok(())
    }

    /// Appends a segment to the name.
    fn push(&mut self, segment: &str) {
        if self.depth > 1 {
            self.name.push('.');
        }
        self.name.push_str(segment);
    }

    fn object<'de, A: MapAccess<'de>>(&mut self, mut map: A) -> Result<(), A::Error> {
        self.enter()?;
        let end = self.name.len();
        while map.next_key_seed(Key(self))?.is_some() {
            map.next_value_seed(Value(self))?;
            self.name.truncate(end);
        }
        self.depth -= 1;
        Ok(())
    }

    fn array<'de, A: SeqAccess<'de>>(&mut self, mut seq: A) -> Result<(), A::Error> {
        self.enter()?;
        self.arrays += 1;
        let end = self.name.len();
        for index in 0.. {
            self.push(&index.to_string());
            let element = seq.next_element_seed(Value(self))?;
            self.name.truncate(end);
            if element.is_none() {
                break;
            }
        }
        self.depth -= 1;
        self.arrays -= 1;
        Ok(())
    }
}

/// Reads a key from the payload's bytes into the name, without a copy in between.
struct Key<'w>(&'w mut Walk);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<(), E> {
        self.0.push(key);
        Ok(())
    }
}

/// Reads the payload itself, which must be an object.
struct Object<'w>(&'w mut Walk);

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        self.0.object(map)
    }
}

/// Reads any value inside the payload.
struct Value<'w>(&'w mut Walk);

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.0.leaf(if value { 1.0 } else { 0.0 });
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.0.leaf(value as f64);
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.0.leaf(value as f64);
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.0.leaf(value);
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        self.0.object(map)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<(), A::Error> {
        self.0.array(seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(payload: &str) -> Vec<(String, f64)> {
        let mut found = Vec::new();
        for_each(payload, |name, value| found.push((name.to_owned(), value))).expect("an object");
        found
    }

    fn named(pairs: &[(&str, f64)]) -> Vec<(String, f64)> {
        pairs.iter().map(|&(name, value)| (name.to_owned(), value)).collect()
    }

    #[test]
    fn every_numeric_or_boolean_leaf_is_a_metric_named_by_its_path() {
        let payload = r#"{"t":21.5,"on":true,"off":false,"s":"x","n":null,"a":{"b":{"c":-1}},"xs":[1,{"y":2}],"big":18446744073709551615}"#;
        let expected = [
            ("t", 21.5),
            ("on", 1.0),
            ("off", 0.0),
            ("a.b.c", -1.0),
            ("xs.0", 1.0),
            ("xs.1.y", 2.0),
            ("big", 18_446_744_073_709_551_615.0),
        ];
        assert_eq!(metrics(payload), named(&expected));
    }

    #[test]
    fn msg_id_and_ts_are_metrics_only_below_the_top() {
        assert_eq!(metrics(r#"{"msg_id":1,"ts":2,"a":{"ts":3}}"#), named(&[("a.ts", 3.0)]));
    }

    #[test]
    fn escaped_names_are_read_as_what_they_mean() {
        assert_eq!(metrics(r#"{"\u00b0C":1}"#), named(&[("°C", 1.0)]));
    }

    #[test]
    fn a_leaf_that_cannot_be_stored_is_skipped_and_counted() {
        let long =
            format!(r#"{{"{}":1,"":2,"a\u0000b":3,"huge":1e300,"ok":4}}"#, "x".repeat(MAX_METRIC_NAME + 1));
        let mut found = Vec::new();
        let scan = for_each(&long, |name, _| found.push(name.to_owned())).expect("an object");
        assert_eq!((found, scan), (vec!["ok".to_owned()], Scan { metrics: 1, skipped: 4, repeated: 0 }));
    }

    #[test]
    fn a_message_contributes_a_bounded_number_of_metrics() {
        let payload = format!(r#"{{"xs":[{}]}}"#, vec!["1"; MAX_METRICS + 5].join(","));
        assert_eq!(for_each(&payload, |_, _| ()), Ok(Scan { metrics: MAX_METRICS, skipped: 5, repeated: 0 }));
    }

    #[test]
    fn what_is_in_no_array_is_kept_before_what_is() {
        let many = vec!["1"; 512].join(",");
        let found = metrics(&format!(r#"{{"a":1,"xs":[{many},{{"y":2}}],"b":{{"c":3}}}}"#));
        assert_eq!(found.len(), MAX_METRICS);
        assert_eq!([&found[0], &found[1]], [&("a".to_owned(), 1.0), &("xs.0".to_owned(), 1.0)]);
        assert_eq!(found[255], ("b.c".to_owned(), 3.0));
        let keys = (0..300).map(|n| format!(r#""k{n}":{n}"#)).collect::<Vec<_>>().join(",");
        let found = metrics(&format!(r#"{{"xs":[1],{keys}}}"#));
        assert_eq!((found.len(), &*found[0].0, &*found[255].0), (MAX_METRICS, "k0", "k255"));
    }

    #[test]
    fn of_one_name_the_last_value_counts_once() {
        for (payload, expected, repeated) in [
            (r#"{"t":1,"h":5,"t":2}"#, named(&[("t", 2.0), ("h", 5.0)]), 1),
            (r#"{"a.b":1,"a":{"b":2},"t":1}"#, named(&[("a.b", 2.0), ("t", 1.0)]), 1),
            (r#"{"t":1,"t":null,"t":"x"}"#, named(&[("t", 1.0)]), 0),
            ("{\"e\u{301}\":1,\"\u{e9}\":2}", named(&[("\u{e9}", 2.0)]), 1),
        ] {
            let mut found = Vec::new();
            let scan = for_each(payload, |name, value| found.push((name.to_owned(), value))).expect(payload);
            assert_eq!((found, scan.repeated), (expected, repeated), "{payload}");
        }
        // Beyond the number of names that are compared one by one, and beyond the bound.
        let keys =
            |value: usize| (0..300).map(|n| format!(r#""k{n}":{value}"#)).collect::<Vec<_>>().join(",");
        let payload = format!("{{{},{}}}", keys(1), keys(2));
        let (mut sum, mut count) = (0.0, 0);
        let scan = for_each(&payload, |_, value| (sum, count) = (sum + value, count + 1)).expect("an object");
        assert_eq!((sum, count), (512.0, MAX_METRICS));
        assert_eq!(scan, Scan { metrics: MAX_METRICS, skipped: 88, repeated: 256 });
    }

    #[test]
    fn a_text_has_the_metrics_of_what_it_is_meant_to_be() {
        for (text, expected) in [
            (r#"{"t":NaN,"h":40}"#, named(&[("h", 40.0)])),
            ("\u{feff}{\"t\":1}", named(&[("t", 1.0)])),
            ("{\"t\":1}\0", named(&[("t", 1.0)])),
            ("21.50", named(&[("value", 21.5)])),
            ("ON", named(&[("value", 1.0)])),
            ("1e300", vec![]),
            ("t=1", vec![]),
            ("[1]", vec![]),
            (r#"{"t":1"#, vec![]),
            (r#"{"s":"\ud800","t":NaN,"h":1}"#, vec![]),
            ("", vec![]),
        ] {
            let mut found = Vec::new();
            of_text(text, |name, value| found.push((name.to_owned(), value)));
            assert_eq!(found, expected, "{text}");
            let stored = serde_json::json!({ "raw": text }).to_string();
            let mut again = Vec::new();
            of_reading(Flags::RAW, &stored, |name, value| again.push((name.to_owned(), value)))
                .expect("stored");
            assert_eq!(again, expected, "{text}, stored");
            let scan = of_reading(Flags::default(), &stored, |_, _| ()).expect("an object");
            assert_eq!(scan.metrics, 0, "{text} in an object of the device's own");
        }
    }

    #[test]
    fn nesting_ends_at_the_contracts_depth() {
        let nested = |depth: usize| format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
        assert_eq!(for_each(&nested(MAX_DEPTH), |_, _| ()).map(|scan| scan.metrics), Ok(1));
        assert_eq!(for_each(&nested(MAX_DEPTH + 1), |_, _| ()), Err(Error::TooDeep));
        assert_eq!(for_each(&nested(100_000), |_, _| ()), Err(Error::TooDeep));
        let arrays = format!(r#"{{"a":{}{}}}"#, "[".repeat(200), "]".repeat(200));
        assert_eq!(for_each(&arrays, |_, _| ()), Err(Error::TooDeep));
    }

    #[test]
    fn anything_but_one_json_object_has_no_metrics() {
        for text in [
            "",
            " ",
            "42",
            "[1]",
            "\"x\"",
            "null",
            "{",
            r#"{"a":NaN}"#,
            r#"{"a":1}{"#,
            r#"{"a":1e400}"#,
            "{a:1}",
        ] {
            assert!(matches!(for_each(text, |_, _| ()), Err(Error::NotAnObject(_))), "{text}");
        }
    }
}
