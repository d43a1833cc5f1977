//! JSON and MessagePack, by the crates that read them: one visitor builds the tree, and keeps to the budget.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::{Unreadable, trimmed};
use crate::tree::{Budget, Node};

pub(crate) fn read<'a>(payload: &'a [u8], budget: &mut Budget) -> Result<Node<'a>, Unreadable> {
    let mut json = serde_json::Deserializer::from_slice(trimmed(payload));
    let read = Value(budget).deserialize(&mut json).and_then(|node| json.end().map(|()| node));
    finish(read, budget)
}

pub(crate) fn read_msgpack<'a>(payload: &'a [u8], budget: &mut Budget) -> Result<Node<'a>, Unreadable> {
    let mut msgpack = rmp_serde::Deserializer::new(payload);
    let read = Value(budget).deserialize(&mut msgpack);
    let rest = msgpack.get_ref().len();
    if read.is_ok() && rest > 0 {
        return super::syntax(format!("{rest} bytes behind the value"));
    }
    finish(read, budget)
}

fn finish<'a, E: fmt::Display>(read: Result<Node<'a>, E>, budget: &Budget) -> Result<Node<'a>, Unreadable> {
    read.map_err(|error| match budget.spent {
        Some(spent) => Unreadable::Spent(spent),
        None => Unreadable::Syntax(error.to_string()),
    })
}

/// Reads any value.
struct Value<'b>(&'b mut Budget);

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = Node<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node<'de>, D::Error> {
        self.0.take().map_err(|_| D::Error::custom("too many values"))?;
        deserializer.deserialize_any(self)
    }
}

impl Value<'_> {
    fn enter<E: Error>(&mut self) -> Result<(), E> {
        self.0.enter().map_err(|_| E::custom("nested too deep"))
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = Node<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node<'de>, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node<'de>, E> {
        Ok(Node::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node<'de>, E> {
        Ok(Node::unsigned(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node<'de>, E> {
        Ok(Node::float(value))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Node<'de>, E> {
        Ok(Node::text(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node<'de>, E> {
        Ok(Node::text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Node<'de>, E> {
        Ok(Node::text(text))
    }

    /// Bytes are written as hexadecimal digits: identifiers often are such.
    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Node<'de>, E> {
        Ok(Node::text(hexadecimal(bytes)))
    }

    fn visit_unit<E>(self) -> Result<Node<'de>, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node<'de>, E> {
        Ok(Node::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }

    /// An extension of MessagePack. Of these, only the time is known.
    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node<'de>, D::Error> {
        deserializer.deserialize_any(Extension)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<Node<'de>, A::Error> {
        self.enter()?;
        // Nothing is set aside for the length that is promised.
        let mut list = Vec::new();
        while let Some(element) = elements.next_element_seed(Value(self.0))? {
            list.push(element);
        }
        self.0.leave();
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<Node<'de>, A::Error> {
        self.enter()?;
        let mut map = Vec::new();
        while let Some(key) = members.next_key_seed(Key)? {
            map.push((key, members.next_value_seed(Value(self.0))?));
        }
        self.0.leave();
        Ok(self.0.map(map))
    }
}

/// The type and the bytes of an extension of MessagePack.
struct Extension;

impl<'de> Visitor<'de> for Extension {
    type Value = Node<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an extension")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut both: A) -> Result<Node<'de>, A::Error> {
        let kind: Option<i8> = both.next_element()?;
        let bytes = both.next_element_seed(Bytes)?.unwrap_or_default();
        Ok(if kind == Some(-1) { seconds(&bytes) } else { Node::Null })
    }
}

/// The time of MessagePack: in seconds, with nanoseconds as a fraction.
fn seconds(bytes: &[u8]) -> Node<'static> {
    let (seconds, nanos) = match bytes.len() {
        4 => (big_endian(bytes) as i64, 0),
        8 => {
            let both = big_endian(bytes);
            ((both & 0x3_ffff_ffff) as i64, (both >> 34) as u32)
        }
        12 => (big_endian(&bytes[4..]) as i64, big_endian(&bytes[..4]) as u32),
        _ => return Node::Null,
    };
    if nanos == 0 { Node::Int(seconds) } else { Node::Float(seconds as f64 + f64::from(nanos) / 1e9) }
}

/// A number of up to eight bytes.
fn big_endian(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

struct Bytes;

impl<'de> DeserializeSeed<'de> for Bytes {
    type Value = Vec<u8>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<u8>, D::Error> {
        deserializer.deserialize_bytes(self)
    }
}

impl Visitor<'_> for Bytes {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_owned())
    }
}

/// Reads a key. Numbers, which CBOR and MessagePack allow, become text.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E>(self, key: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(key.to_owned()))
    }

    fn visit_i64<E>(self, key: i64) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(key.to_string()))
    }

    fn visit_u64<E>(self, key: u64) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(key.to_string()))
    }

    fn visit_bytes<E>(self, key: &[u8]) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(hexadecimal(key)))
    }
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|half| char::from(DIGITS[half as usize]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Spent;

    fn json(payload: &[u8]) -> Result<serde_json::Value, Unreadable> {
        read(payload, &mut Budget::new()).map(|node| node.to_json())
    }

    #[test]
    fn msgpack_is_read_like_the_json_that_it_stands_for() {
        let msgpack = b"\x82\xa1t\xcb@5\x80\0\0\0\0\0\xa1h7";
        let expected = serde_json::json!({"t": 21.5, "h": 55});
        assert_eq!(read_msgpack(msgpack, &mut Budget::new()).expect("MessagePack").to_json(), expected);
        // A key that is a number, a time, another extension, bytes.
        let msgpack = b"\x81\x01\x93\xd6\xff\x00\x00\x00\x01\xd4\x05\x00\xc4\x02\xca\xfe";
        let expected = serde_json::json!({"1": [1, null, "cafe"]});
        assert_eq!(read_msgpack(msgpack, &mut Budget::new()).expect("MessagePack").to_json(), expected);
    }

    #[test]
    fn a_key_that_comes_twice_counts_once_with_its_last_value() {
        let mut budget = Budget::new();
        let node = read(br#"{"t":1,"u":3,"t":2}"#, &mut budget).expect("JSON");
        assert_eq!(node.to_json(), serde_json::json!({"t": 2, "u": 3}));
        assert!(budget.is_repeated);
        let many: Vec<_> = (0..40).map(|n| format!("\"k{n}\":{n}")).collect();
        let node =
            read(format!("{{{},\"k7\":0}}", many.join(",")).as_bytes(), &mut budget).expect("JSON").to_json();
        assert_eq!((node["k7"].as_i64(), node.as_object().map(serde_json::Map::len)), (Some(0), Some(40)));
    }

    #[test]
    fn depth_and_number_of_values_are_bounded_whatever_a_payload_promises() {
        let deep = |n: usize| format!("{}1{}", "[".repeat(n), "]".repeat(n));
        assert!(json(deep(64).as_bytes()).is_ok());
        for deep in [deep(65), "[".repeat(200_000)] {
            assert_eq!(json(deep.as_bytes()), Err(Unreadable::Spent(Spent::Depth)));
        }
        let many = format!("[{}1]", "1,".repeat(crate::limits::MAX_NODES));
        assert_eq!(json(many.as_bytes()), Err(Unreadable::Spent(Spent::Nodes)));
        for msgpack in [&b"\xdd\xff\xff\xff\xff"[..], &[0x91; 1000], b"\xc6\xff\xff\xff\xff", b""] {
            assert!(read_msgpack(msgpack, &mut Budget::new()).is_err());
        }
    }

    #[test]
    fn bytes_around_the_document_are_passed_over_or_refused() {
        assert!(json(b"\xef\xbb\xbf{\"t\":1}\0").is_ok());
        assert!(json(b"{} {}").is_err());
        assert!(read_msgpack(b"\x01\x01", &mut Budget::new()).is_err());
    }
}
