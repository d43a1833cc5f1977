//! Cayenne Low Power Payload: channel, type and value, one behind the other. Names are as LoRaWAN servers write them:
//! `temperature_3` is the temperature of channel 3.

use super::{Unreadable, syntax};
use crate::tree::{Budget, Node};

/// A type: its number, name, the bytes of each value and how many of the number's steps make one.
struct Kind {
    number: u8,
    name: &'static str,
    width: usize,
    steps: f64,
    is_signed: bool,
    /// The names of its parts, where it has several.
    parts: &'static [(&'static str, f64)],
}

const fn one(number: u8, name: &'static str, width: usize, steps: f64, is_signed: bool) -> Kind {
    Kind { number, name, width, steps, is_signed, parts: &[] }
}

const fn several(
    number: u8,
    name: &'static str,
    width: usize,
    parts: &'static [(&'static str, f64)],
) -> Kind {
    Kind { number, name, width, steps: 1.0, is_signed: true, parts }
}

const KINDS: [Kind; 27] = [
    one(0, "digital_in", 1, 1.0, false),
    one(1, "digital_out", 1, 1.0, false),
    one(2, "analog_in", 2, 100.0, true),
    one(3, "analog_out", 2, 100.0, true),
    one(100, "generic", 4, 1.0, false),
    one(101, "luminosity", 2, 1.0, false),
    one(102, "presence", 1, 1.0, false),
    one(103, "temperature", 2, 10.0, true),
    one(104, "relative_humidity", 1, 2.0, false),
    several(113, "accelerometer", 2, &[("x", 1000.0), ("y", 1000.0), ("z", 1000.0)]),
    one(115, "barometric_pressure", 2, 10.0, false),
    one(116, "voltage", 2, 100.0, false),
    one(117, "current", 2, 1000.0, false),
    one(118, "frequency", 4, 1.0, false),
    one(120, "percentage", 1, 1.0, false),
    one(121, "altitude", 2, 1.0, true),
    one(125, "concentration", 2, 1.0, false),
    one(128, "power", 2, 1.0, false),
    one(130, "distance", 4, 1000.0, false),
    one(131, "energy", 4, 1000.0, false),
    one(132, "direction", 2, 1.0, false),
    one(133, "time", 4, 1.0, false),
    several(134, "gyrometer", 2, &[("x", 100.0), ("y", 100.0), ("z", 100.0)]),
    one(135, "colour", 3, 1.0, false),
    several(136, "gps", 3, &[("latitude", 10_000.0), ("longitude", 10_000.0), ("altitude", 100.0)]),
    one(142, "switch", 1, 1.0, false),
    one(122, "load", 3, 1000.0, true),
];

pub(crate) fn read<'a>(payload: &[u8], budget: &mut Budget) -> Result<Node<'a>, Unreadable> {
    let mut rest = payload;
    let mut members = Vec::new();
    while let [channel, number, data @ ..] = rest {
        let Some(kind) = KINDS.iter().find(|kind| kind.number == *number) else {
            return syntax(format!("no Cayenne LPP: there is no type {number}"));
        };
        let width = kind.width * kind.parts.len().max(1);
        let Some((data, after)) = data.split_at_checked(width) else {
            return syntax("no Cayenne LPP: it ends too early");
        };
        rest = after;
        budget.take()?;
        let value = match kind.parts {
            [] => Node::Float(integer(data, kind.is_signed) / kind.steps),
            parts => {
                let values = data.chunks(kind.width).zip(parts);
                let part = |(data, (name, steps)): (&[u8], &(&'static str, f64))| {
                    ((*name).into(), Node::Float(integer(data, true) / steps))
                };
                Node::Map(values.map(part).collect())
            }
        };
        members.push((format!("{}_{channel}", kind.name).into(), value));
    }
    if !rest.is_empty() || members.is_empty() {
        return syntax("no Cayenne LPP: it ends too early");
    }
    Ok(budget.map(members))
}

/// An integer of one to four bytes, the most significant first.
fn integer(bytes: &[u8], is_signed: bool) -> f64 {
    let value = bytes.iter().fold(0_i64, |value, byte| value << 8 | i64::from(*byte));
    let bits = 8 * bytes.len();
    let is_negative = is_signed && value >> (bits - 1) & 1 == 1;
    (if is_negative { value - (1 << bits) } else { value }) as f64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cayenne(payload: &[u8]) -> Result<serde_json::Value, Unreadable> {
        read(payload, &mut Budget::new()).map(|node| node.to_json())
    }

    #[test]
    fn values_are_named_by_type_and_channel() {
        let real = include_bytes!("../../../../fuzz/corpus/payload/real-cayenne-lpp.bin");
        assert_eq!(cayenne(real).expect("read"), json!({"temperature_3": 27.2, "temperature_5": 25.5}));
        let signed =
            b"\x01\x67\xff\xd7\x06\x71\x04\xd2\xfb\x2e\x00\x00\x01\x88\x06\x76\x5f\xf2\x96\x0a\x00\x03\xe8";
        let expected = json!({
            "temperature_1": -4.1,
            "accelerometer_6": {"x": 1.234, "y": -1.234, "z": 0.0},
            "gps_1": {"latitude": 42.3519, "longitude": -87.9094, "altitude": 10.0},
        });
        assert_eq!(cayenne(signed).expect("read"), expected);
        assert_eq!(
            cayenne(b"\x02\x00\x01\x03\x68\x6f").expect("read"),
            json!({"digital_in_2": 1.0, "relative_humidity_3": 55.5})
        );
    }

    #[test]
    fn what_is_no_payload_is_refused() {
        for payload in [&b""[..], b"\x03", b"\x03\x67\x01", b"\x03\x09\x01", b"\x03\x67\x01\x10\x05"] {
            assert!(cayenne(payload).is_err(), "{payload:x?}");
        }
    }
}
