//! SenML (RFC 8428) as JSON or CBOR. Base values are resolved, so that each record stands for itself.
//!
//! The tree is `{"readings": [{"bn", "t", "values": {name: value}}]}`, with a reading for each base name and time.

use std::borrow::Cow;
use std::collections::HashMap;

use super::{Unreadable, cbor, lenient, syntax};
use crate::tree::{Budget, Node};

pub(crate) fn read<'a>(payload: &'a [u8], budget: &mut Budget) -> Result<Node<'a>, Unreadable> {
    // A list of CBOR begins with 0x80 to 0x9f, which no text does.
    let pack = match payload.first() {
        Some(0x80..=0x9f) => cbor::read(payload, budget)?,
        _ => lenient::read(payload, budget)?,
    };
    let Node::List(records) = pack else { return syntax("a SenML pack is a list") };
    let mut base = Base::default();
    let mut readings = Readings::default();
    for record in &records {
        let Node::Map(_) = record else { return syntax("a SenML record is an object") };
        base.learn(record);
        base.resolve(record, &mut readings);
    }
    let readings = readings.into_node(budget);
    Ok(Node::Map(vec![("readings".into(), readings)]))
}

/// The fields of a record, by their names in JSON and their labels in CBOR.
fn field<'n, 'a>(record: &'n Node<'a>, name: &str, label: &str) -> Option<&'n Node<'a>> {
    record.member(name).or_else(|| record.member(label))
}

/// What records say for those behind them.
#[derive(Default)]
struct Base<'a> {
    name: Option<Cow<'a, str>>,
    time: f64,
    value: f64,
    sum: f64,
}

impl<'a> Base<'a> {
    fn learn(&mut self, record: &Node<'a>) {
        if let Some(Node::Text(name)) = field(record, "bn", "-2") {
            self.name = Some(name.clone());
        }
        let number =
            |name, label, before| field(record, name, label).and_then(Node::number).unwrap_or(before);
        self.time = number("bt", "-3", self.time);
        self.value = number("bv", "-5", self.value);
        self.sum = number("bs", "-6", self.sum);
    }

    fn resolve(&self, record: &Node<'a>, readings: &mut Readings<'a>) {
        let number = |name, label| field(record, name, label).and_then(Node::number);
        let name = match field(record, "n", "0") {
            Some(Node::Text(name)) => name.clone(),
            _ => Cow::Borrowed(""),
        };
        let time = self.time + number("t", "6").unwrap_or(0.0);
        let time = (time != 0.0).then_some(Node::Float(time));
        let value = match (number("v", "2"), field(record, "vb", "4"), field(record, "vs", "3")) {
            (Some(value), ..) => Some(Node::float(self.value + value)),
            (None, Some(Node::Bool(value)), _) => Some(Node::Bool(*value)),
            (None, _, Some(Node::Text(text))) => Some(Node::Text(text.clone())),
            (None, ..) if matches!(field(record, "v", "2"), Some(Node::NotFinite)) => Some(Node::NotFinite),
            _ => None,
        };
        if let Some(sum) = number("s", "5") {
            let named = if name.is_empty() { "sum".into() } else { format!("{name}.sum").into() };
            readings.add(self.name.as_ref(), time.clone(), named, Node::float(self.sum + sum));
        }
        if let Some(value) = value {
            let named = if name.is_empty() { "value".into() } else { name };
            readings.add(self.name.as_ref(), time, named, value);
        }
    }
}

/// Collects values into a reading for each time and device, in the order in which these come.
#[derive(Default)]
pub(crate) struct Readings<'a> {
    list: Vec<Reading<'a>>,
    by_time: HashMap<(Option<Cow<'a, str>>, Option<u64>), usize>,
}

struct Reading<'a> {
    base_name: Option<Cow<'a, str>>,
    time: Option<Node<'a>>,
    values: Vec<(Cow<'a, str>, Node<'a>)>,
}

impl<'a> Readings<'a> {
    pub(crate) fn add(
        &mut self,
        base_name: Option<&Cow<'a, str>>,
        time: Option<Node<'a>>,
        name: Cow<'a, str>,
        value: Node<'a>,
    ) {
        let key = (base_name.cloned(), time.as_ref().and_then(Node::number).map(f64::to_bits));
        let at = *self.by_time.entry(key).or_insert_with(|| {
            self.list.push(Reading { base_name: base_name.cloned(), time, values: Vec::new() });
            self.list.len() - 1
        });
        self.list[at].values.push((name, value));
    }

    pub(crate) fn into_node(self, budget: &mut Budget) -> Node<'a> {
        let mut node = |reading: Reading<'a>| {
            let name = reading.base_name.map(|name| ("bn".into(), Node::Text(name)));
            let time = reading.time.map(|time| ("t".into(), time));
            let values = ("values".into(), budget.map(reading.values));
            Node::Map(name.into_iter().chain(time).chain([values]).collect())
        };
        Node::List(self.list.into_iter().map(&mut node).collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn senml(payload: &[u8]) -> Result<serde_json::Value, Unreadable> {
        read(payload, &mut Budget::new()).map(|node| node.to_json()["readings"].clone())
    }

    #[test]
    fn base_values_are_resolved_and_each_time_is_a_reading() {
        let pack = br#"[{"bn":"dev:","bt":1.795876066e9,"bv":1,"n":"voltage","u":"V","v":120},{"n":"current","t":-5,"v":1.5},{"n":"open","vb":true},{"s":7},{"bn":"other:","n":"id","vs":"A"},{"n":"data","vd":"aGk"}]"#;
        let expected = json!([
            {"bn": "dev:", "t": 1_795_876_066.0, "values": {"voltage": 121.0, "open": true, "sum": 7.0}},
            {"bn": "dev:", "t": 1_795_876_061.0, "values": {"current": 2.5}},
            {"bn": "other:", "t": 1_795_876_066.0, "values": {"id": "A"}},
        ]);
        assert_eq!(senml(pack).expect("a pack"), expected);
    }

    #[test]
    fn a_pack_in_cbor_has_numbers_for_its_fields() {
        // [{-2: "d", 0: "t", 2: 21.5}]
        let pack = b"\x81\xa3\x21\x61d\x00\x61t\x02\xf9\x4d\x60";
        assert_eq!(senml(pack).expect("a pack"), json!([{"bn": "d", "values": {"t": 21.5}}]));
    }

    #[test]
    fn what_is_no_pack_is_refused() {
        for payload in [&b""[..], b"{}", b"[1]", b"1", b"\x80\x80"] {
            assert!(senml(payload).is_err(), "{payload:x?}");
        }
        assert_eq!(senml(b"[]").expect("a pack"), json!([]));
    }
}
