//! The payload of Sparkplug B 3.0, a message of Protocol Buffers (`org.eclipse.tahu.protobuf.Payload`), as far as it says what
//! was measured and when. A reader of its own: the fields are few, text is borrowed, and nothing has to be generated.
//!
//! The tree is `{"timestamp", "seq", "readings": [{"t", "values": {name: value}}]}`, with a reading for each time of a metric.

use super::{Seen, Unreadable, syntax};
use crate::aliases::Aliases;
use crate::formats::senml::Readings;
use crate::tree::{Budget, Node};

/// The types of metrics that a decoder needs to know: signed integers, which come as unsigned ones.
mod kind {
    pub(super) const INT8: u32 = 1;
    pub(super) const INT16: u32 = 2;
    pub(super) const INT32: u32 = 3;
    pub(super) const INT64: u32 = 4;
}

pub(crate) fn read<'a>(
    payload: &'a [u8],
    aliases: &'a Aliases,
    budget: &mut Budget,
    seen: &mut Seen,
) -> Result<Node<'a>, Unreadable> {
    let mut root = Vec::new();
    let mut readings = Readings::default();
    let mut fields = Fields(payload);
    while let Some((number, value)) = fields.next()? {
        match (number, value) {
            (1, Value::Varint(timestamp)) => root.push(("timestamp".into(), Node::unsigned(timestamp))),
            (3, Value::Varint(seq)) => root.push(("seq".into(), Node::unsigned(seq))),
            (2, Value::Bytes(bytes)) => {
                budget.take()?;
                let metric = Metric::read(bytes, aliases)?;
                let Some(name) = metric.name else {
                    seen.has_unknown_alias = true;
                    continue;
                };
                let value = metric.value(aliases, budget, seen)?;
                readings.add(None, metric.timestamp.map(Node::unsigned), name.into(), value);
            }
            _ => {}
        }
    }
    root.push(("readings".into(), readings.into_node(budget)));
    Ok(budget.map(root))
}

/// The aliases that a birth gives names: alias, name, and number of the type. `None` if the bytes are no payload.
pub(crate) fn names(payload: &[u8]) -> Option<Vec<(u64, &str, u32)>> {
    let mut names = Vec::new();
    let mut fields = Fields(payload);
    while let Some((number, value)) = fields.next().ok()? {
        if let (2, Value::Bytes(bytes)) = (number, value) {
            let metric = Metric::fields(bytes).ok()?;
            if let (Some(alias), Some(name)) = (metric.alias, metric.name) {
                names.push((alias, name, metric.kind));
            }
        }
    }
    Some(names)
}

#[derive(Default)]
struct Metric<'a> {
    name: Option<&'a str>,
    alias: Option<u64>,
    timestamp: Option<u64>,
    kind: u32,
    is_null: bool,
    value: Option<(u32, Value<'a>)>,
}

impl<'a> Metric<'a> {
    fn fields(bytes: &'a [u8]) -> Result<Self, Unreadable> {
        let mut metric = Self::default();
        let mut fields = Fields(bytes);
        while let Some((number, value)) = fields.next()? {
            match (number, value) {
                (1, Value::Bytes(name)) => {
                    metric.name = Some(std::str::from_utf8(name).or_else(|_| syntax("a name is not UTF-8"))?);
                }
                (2, Value::Varint(alias)) => metric.alias = Some(alias),
                (3, Value::Varint(timestamp)) => metric.timestamp = Some(timestamp),
                (4, Value::Varint(kind)) => metric.kind = u32::try_from(kind).unwrap_or_default(),
                (7, Value::Varint(is_null)) => metric.is_null = is_null != 0,
                (10..=18, value) => metric.value = Some((number, value)),
                _ => {}
            }
        }
        metric.name = metric.name.filter(|name| !name.is_empty());
        Ok(metric)
    }

    /// A metric with what a birth said of its alias.
    fn read(bytes: &'a [u8], aliases: &'a Aliases) -> Result<Self, Unreadable> {
        let mut metric = Self::fields(bytes)?;
        if let Some(named) = metric.alias.and_then(|alias| aliases.get(alias)) {
            metric.name = metric.name.or(Some(&named.name));
            metric.kind = if metric.kind == 0 { named.kind } else { metric.kind };
        }
        Ok(metric)
    }

    fn value(
        &self,
        aliases: &'a Aliases,
        budget: &mut Budget,
        seen: &mut Seen,
    ) -> Result<Node<'a>, Unreadable> {
        let Some((number, value)) = self.value.filter(|_| !self.is_null) else { return Ok(Node::Null) };
        Ok(match (number, value) {
            (10, Value::Varint(value)) => self.integer(value & u64::from(u32::MAX)),
            (11, Value::Varint(value)) => self.integer(value),
            (12, Value::Fixed32(bits)) => Node::float(f64::from(f32::from_bits(bits))),
            (13, Value::Fixed64(bits)) => Node::float(f64::from_bits(bits)),
            (14, Value::Varint(value)) => Node::Bool(value != 0),
            (15, Value::Bytes(text)) => std::str::from_utf8(text).map_or(Node::Null, Node::text),
            (18, Value::Bytes(template)) => Self::template(template, aliases, budget, seen)?,
            // Bytes and tables are no metrics.
            _ => Node::Null,
        })
    }

    /// The value of an integer, whose sign the type says.
    fn integer(&self, value: u64) -> Node<'static> {
        match self.kind {
            kind::INT8 => Node::Int(i64::from(value as i8)),
            kind::INT16 => Node::Int(i64::from(value as i16)),
            kind::INT32 => Node::Int(i64::from(value as i32)),
            kind::INT64 => Node::Int(value as i64),
            _ => Node::unsigned(value),
        }
    }

    /// The metrics within a metric, by their names.
    fn template(
        bytes: &'a [u8],
        aliases: &'a Aliases,
        budget: &mut Budget,
        seen: &mut Seen,
    ) -> Result<Node<'a>, Unreadable> {
        budget.enter()?;
        let mut members = Vec::new();
        let mut fields = Fields(bytes);
        while let Some((number, value)) = fields.next()? {
            if let (2, Value::Bytes(bytes)) = (number, value) {
                budget.take()?;
                let metric = Metric::read(bytes, aliases)?;
                match metric.name {
                    Some(name) => members.push((name.into(), metric.value(aliases, budget, seen)?)),
                    None => seen.has_unknown_alias = true,
                }
            }
        }
        budget.leave();
        Ok(budget.map(members))
    }
}

/// The fields of a message of Protocol Buffers.
struct Fields<'a>(&'a [u8]);

#[derive(Debug, Clone, Copy)]
enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

impl<'a> Fields<'a> {
    fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, Unreadable> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = self.varint()?;
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            kind => return syntax(format!("no Protocol Buffers: a field of kind {kind}")),
        };
        let number = u32::try_from(tag >> 3).ok().filter(|number| *number > 0);
        number.map_or_else(
            || syntax("no Protocol Buffers: a field without a number"),
            |number| Ok(Some((number, value))),
        )
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Unreadable> {
        let Some((bytes, rest)) = self.0.split_at_checked(length) else {
            return syntax("no Protocol Buffers: it ends too early");
        };
        self.0 = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn varint(&mut self) -> Result<u64, Unreadable> {
        let mut value = 0;
        for at in 0..10 {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        syntax("no Protocol Buffers: a number without an end")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const BIRTH: &[u8] = include_bytes!("../../../../fuzz/corpus/payload/real-sparkplug-nbirth.bin");
    const DATA: &[u8] = include_bytes!("../../../../fuzz/corpus/payload/real-sparkplug-ndata.bin");

    fn payload(bytes: &[u8], aliases: &Aliases) -> (serde_json::Value, Seen) {
        let mut seen = Seen::default();
        let node = read(bytes, aliases, &mut Budget::new(), &mut seen).expect("a payload");
        (node.to_json(), seen)
    }

    #[test]
    fn a_birth_names_its_metrics_and_data_refers_to_them() {
        let mut aliases = Aliases::default();
        let (birth, _) = payload(BIRTH, &aliases);
        let values = json!({"bdSeq": 0, "Pump/Temperature": 71.25, "Pump/Running": true});
        let readings = json!([{"t": 1_795_876_336_988_i64, "values": values}]);
        assert_eq!(birth, json!({"timestamp": 1_795_876_336_988_i64, "readings": readings, "seq": 0}));
        let (data, seen) = payload(DATA, &aliases);
        assert_eq!((data["readings"].clone(), seen.has_unknown_alias), (json!([]), true));
        assert!(aliases.learn("spBv1.0/plant/NBIRTH/pump", BIRTH));
        assert!(!aliases.learn("spBv1.0/plant/NDATA/pump", DATA));
        let stored = serde_json::to_string(&aliases).expect("JSON");
        let aliases: Aliases = serde_json::from_str(&stored).expect("aliases");
        assert_eq!(aliases.len(), 3);
        let (data, seen) = payload(DATA, &aliases);
        assert_eq!(data["readings"][0]["values"], json!({"Pump/Temperature": 71.5}));
        assert_eq!(seen, Seen::default());
    }

    /// A field of Protocol Buffers: its number, and text, bytes or another message.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
    }

    #[test]
    fn signs_nulls_and_metrics_within_metrics_are_read_by_their_types() {
        let metric = |name: &str, rest: &[u8]| field(2, &[&field(1, name.as_bytes())[..], rest].concat());
        let inner = metric("x", &[4 << 3, 9, 12 << 3 | 5, 0, 0, 0x80, 0x3f]);
        let bytes = [
            metric("int8", &[4 << 3, 1, 10 << 3, 0xff, 0xff, 0xff, 0xff, 0x0f]),
            metric(
                "int64",
                &[4 << 3, 4, 11 << 3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            ),
            metric("uint32", &[4 << 3, 7, 10 << 3, 0xff, 0xff, 0xff, 0xff, 0x0f]),
            metric("null", &[7 << 3, 1, 10 << 3, 1]),
            metric("template", &[&[146, 1, inner.len() as u8], &inner[..]].concat()),
        ]
        .concat();
        let (read, _) = payload(&bytes, &Aliases::default());
        let expected = json!({"int8": -1, "int64": -1, "uint32": 4_294_967_295_u32, "null": null, "template": {"x": 1.0}});
        assert_eq!(read["readings"], json!([{"values": expected}]));
    }

    #[test]
    fn metrics_of_different_times_are_different_readings() {
        let metric = |name: &str, at: u8, value: u8| {
            field(2, &[&field(1, name.as_bytes())[..], &[3 << 3, at, 10 << 3, value]].concat())
        };
        let bytes = [metric("a", 1, 10), metric("a", 2, 11), metric("b", 1, 12)].concat();
        let (read, _) = payload(&bytes, &Aliases::default());
        assert_eq!(
            read["readings"],
            json!([{"t": 1, "values": {"a": 10, "b": 12}}, {"t": 2, "values": {"a": 11}}])
        );
    }

    #[test]
    fn what_is_no_payload_is_refused() {
        for bytes in [
            &b"{}"[..],
            b"\x12\xff",
            b"\x0b",
            b"\x00\x01",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x12\x03\x0a\x01\xff",
        ] {
            let (aliases, mut seen) = (Aliases::default(), Seen::default());
            let read = read(bytes, &aliases, &mut Budget::new(), &mut seen);
            assert!(read.is_err(), "{bytes:x?}");
        }
    }
}
