//! Invariants for any bytes that arrive over MQTT. The property tests here check them, and so do the targets in
//! `fuzz/`.

#![expect(clippy::expect_used, reason = "an invariant that does not hold ends the process")]

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use fleetlog_aggregates::telemetry::{self, Flags, MAX_AHEAD, MAX_MSG_ID, MAX_PAYLOAD, Message, Rejected};
use fleetlog_aggregates::topic::Topic;
use fleetlog_aggregates::{command_ack, metrics};
use serde_json::{Map, Value, json};

const TOPIC: &str = "t0/devices/dev-01/telemetry";

/// Checks a telemetry payload: its decision is repeatable and bounded, and what is stored can be read again.
pub(crate) fn payload(bytes: &[u8]) {
    let received_at: DateTime<Utc> = "2026-03-01T12:00:00Z".parse().expect("a time");
    let decide = |payload: &[u8]| {
        telemetry::decide(Message { topic: TOPIC, payload, received_at }, || "made".to_owned())
    };
    let decided = decide(bytes);
    assert_eq!(decided, decide(bytes), "the same bytes are decided the same");
    let recorded = match decided {
        Ok(recorded) => recorded,
        Err(Rejected { detail, .. }) => return assert!(detail.len() <= bytes.len() + 200, "{detail}"),
    };
    assert!(bytes.len() <= MAX_PAYLOAD);
    assert!((1..=MAX_MSG_ID).contains(&recorded.msg_id.chars().count()), "{}", recorded.msg_id);
    assert!(recorded.occurred_at <= received_at + MAX_AHEAD, "{}", recorded.occurred_at);
    let object: Map<String, Value> =
        serde_json::from_str(&recorded.payload).expect("a JSON object is stored");
    if recorded.flags.contains(Flags::RAW) {
        assert_eq!(object["raw"].as_str().map(str::as_bytes), Some(bytes), "text is kept");
    } else {
        assert_eq!(recorded.payload.as_bytes(), bytes, "an object is kept byte for byte");
        assert_eq!(decide(recorded.payload.as_bytes()).expect("stored before"), recorded);
    }
    measured(recorded.flags, &recorded.payload);
}

/// Checks the metrics of a stored payload: finite, named, and no more than one message may have.
fn measured(flags: Flags, payload: &str) {
    let (mut found, mut names) = (0, HashSet::new());
    let scan = metrics::of_reading(flags, payload, |name, value| {
        found += 1;
        assert!(names.insert(name.to_owned()), "{name} counts once");
        assert!((1..=metrics::MAX_METRIC_NAME).contains(&name.len()), "{name}");
        assert!(value.is_finite() && value.abs() <= metrics::MAX_MAGNITUDE, "{name}: {value}");
    });
    let scan = scan.expect("stored payloads have been scanned before");
    assert_eq!(scan.metrics, found);
    assert!(found <= metrics::MAX_METRICS);
    assert_eq!(flags.contains(Flags::NO_METRICS), found == 0);
}

/// Checks an acknowledgement: decoding is repeatable, and what is stored of it decodes again.
pub(crate) fn acknowledgement(bytes: &[u8]) {
    let decoded = command_ack::decode(bytes);
    assert_eq!(decoded, command_ack::decode(bytes), "the same bytes are read the same");
    match decoded {
        Ok((cmd_id, ack)) => {
            let mut stored = serde_json::to_value(&ack).expect("an ack can be stored");
            stored["cmd_id"] = json!(cmd_id);
            let (again, _) = command_ack::decode(stored.to_string().as_bytes()).expect("read again");
            assert_eq!(again, cmd_id);
        }
        Err((_, detail)) => assert!(detail.len() <= bytes.len() + 200, "{detail}"),
    }
}

/// Checks a topic: parsing and formatting it gives the same text.
pub(crate) fn topic(text: &str) {
    if let Some(topic) = Topic::parse(text) {
        assert_eq!(topic.to_string(), text);
    }
}
