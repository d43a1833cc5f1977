//! Invariants for any bytes that sources are given. The property tests here check them, and so does the target in `fuzz/`.

#![expect(clippy::expect_used, reason = "an invariant that does not hold ends the process")]

use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use fleetlog_aggregates::metrics::{MAX_MAGNITUDE, MAX_METRIC_NAME, MAX_METRICS};
use fleetlog_aggregates::telemetry::{MAX_AHEAD, MAX_MSG_ID};
use fleetlog_sources::limits::{MAX_ALIASES, MAX_READINGS};
use fleetlog_sources::presets::PRESETS;
use fleetlog_sources::{Aliases, Message, Part, Source, SourceSpec};

/// Definitions that use each format and each kind of path, on the topic `x/d`.
const DEFINITIONS: [&str; 13] = [
    r#"{"format":"json","each":"$..r","time":{"path":"$.t"},"id":["$.i","{uid}"]}"#,
    r#"{"uid":"{$.d}","each":"$.*","time":{"path":["$.t","$.ts"],"zone":"Europe/Berlin"},"id":"$.i","metrics":{"quoted_numbers":true,"words":"usual"}}"#,
    r#"{"each":"$","metrics":[{"from":"$..v","prefix":"{key}"},{"from":"$[?@.n=='a']","lists":{"by":{"name":"n","value":"v"}}}]}"#,
    r#"{"time":{"path":"$.t","unit":"ns"},"metrics":{"lists":{"by":{"name":"$.a.b"}},"except":["$..x","$.a"]}}"#,
    r#"{"format":"ndjson","time":{"path":"$.t","unit":"s"}}"#,
    r#"{"format":"text","metrics":{"words":{"these":{"ON":1}}}}"#,
    r#"{"format":"number"}"#,
    r#"{"format":{"csv_line":{"columns":["a","","b","c"],"separator":";"}},"time":{"path":"$.a","unit":"local","zone":"Asia/Kathmandu"}}"#,
    r#"{"format":"cbor","each":"$[*]","time":{"path":"$.t","unit":"us"}}"#,
    r#"{"format":"msgpack","each":"$[*]","time":{"path":"$.t","unit":"ms"}}"#,
    r#"{"format":"senml"}"#,
    r#"{"format":"sparkplug_b","id":["$.timestamp","$.seq"]}"#,
    r#"{"format":"cayenne_lpp","status":"offline"}"#,
];

/// Each definition with a topic of its own.
static SOURCES: LazyLock<Vec<(Source, &str)>> = LazyLock::new(|| {
    let own = DEFINITIONS.iter().map(|rest| {
        let spec = format!(r#"{{"topics":[{{"topic":["x/{{uid}}","x/NBIRTH/{{uid}}"],{}]}}"#, &rest[1..]);
        (compiled(SourceSpec::from_json(&spec).expect(rest)), "x/d")
    });
    let presets = PRESETS.iter().map(|preset| {
        let topic = match preset.name {
            "tasmota" => "tele/d/SENSOR",
            "zigbee2mqtt" => "zigbee2mqtt/d/availability",
            "shelly_gen2" => "shelly1/events/rpc",
            "ttn_v3" => "v3/a/devices/d/up",
            "sparkplug_b" => "spBv1.0/g/NBIRTH/d",
            "thingsboard_gateway" => "v1/gateway/telemetry",
            _ => "x/d",
        };
        (compiled(preset.spec(None).expect(preset.name)), topic)
    });
    own.chain(presets.filter(|(_, topic)| *topic != "x/d")).collect()
});

fn compiled(spec: SourceSpec) -> Source {
    Source::try_from(spec).expect("a definition")
}

/// Checks what each definition makes of a payload: repeatable, bounded, and such that it can be stored.
pub(crate) fn payload(bytes: &[u8]) {
    for (source, topic) in &*SOURCES {
        one_payload(source, topic, bytes);
    }
}

fn one_payload(source: &Source, topic: &str, payload: &[u8]) {
    let received_at: DateTime<Utc> = "2026-03-01T12:00:00Z".parse().expect("a time");
    let message = Message { topic, payload, received_at, login: None };
    let identified = source.identify(message);
    assert_eq!(identified, source.identify(message), "the same bytes are decided the same");
    let mut aliases = Aliases::default();
    source.learn("x/NBIRTH/d", payload, &mut aliases);
    assert!(aliases.len() <= MAX_ALIASES);
    let opened = source.open(topic, payload, &aliases);
    match identified {
        Err(refused) => assert!(refused.to_string().len() <= payload.len() + 500, "{refused}"),
        Ok(readings) => {
            assert!((1..=MAX_READINGS).contains(&readings.len()));
            for (nth, reading) in readings.iter().enumerate() {
                assert_eq!(reading.part, Part { nth: nth as u32, of: readings.len() as u32 });
                assert!(reading.occurred_at <= received_at + MAX_AHEAD);
                let id = reading.msg_id.as_deref();
                assert!(
                    id.is_none_or(|id| (1..=MAX_MSG_ID).contains(&id.chars().count()) && !id.contains('\0'))
                );
            }
            let all = opened.all();
            assert_eq!(all.len(), readings.len());
            for (reading, metrics) in readings.iter().zip(&all).take(3) {
                assert_eq!(*metrics, opened.metrics(reading.part), "in one go or one by one");
            }
            all.iter().for_each(measured);
        }
    }
    measured(&opened.metrics(Part::WHOLE));
    measured(&source.metrics(topic, payload, Part { nth: 7, of: 9 }, &aliases));
    let _ = source.answer(message);
}

fn measured(metrics: &fleetlog_sources::Metrics) {
    assert!(metrics.values.len() <= MAX_METRICS);
    let mut names: Vec<_> = metrics.values.iter().map(|(name, _)| name).collect();
    for (name, value) in &metrics.values {
        assert!((1..=MAX_METRIC_NAME).contains(&name.len()) && !name.contains('\0'), "{name}");
        assert!(value.is_finite() && value.abs() <= MAX_MAGNITUDE, "{name}: {value}");
    }
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), metrics.values.len(), "no name comes twice");
}

/// Checks that a definition with this text in each of its places is compiled or refused, with a place.
pub(crate) fn definition(text: &str) {
    let spec = serde_json::json!({
        "title": text,
        "topics": [
            {"topic": text, "uid": text, "each": text, "time": {"path": text, "zone": text}, "id": [text, text],
             "metrics": {"from": text, "prefix": text, "except": [text], "lists": {"by": {"name": text}}}},
            {"topic": ["x/{uid}", text], "uid": format!("{{{text}}}"), "each": format!("$[?{text}]")},
        ],
        "commands": {"topic": text, "payload": {"a": text}, "answers": {"on": [{"topic": text, "command": "under_way"}]}},
    });
    let spec = SourceSpec::from_json(&spec.to_string()).expect("the form of a definition");
    if let Err(invalid) = Source::try_from(spec.clone()) {
        assert!(
            !invalid.0.is_empty() && invalid.0.iter().all(|invalid| invalid.at.starts_with('/')),
            "{invalid}"
        );
    }
    let stored = serde_json::to_string(&spec).expect("JSON");
    assert_eq!(SourceSpec::from_json(&stored), Ok(spec), "what is stored is read again");
}
