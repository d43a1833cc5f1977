//! The cost of a message before it is stored: `cargo bench -p fleetlog-aggregates`.

use chrono::DateTime;
use divan::Bencher;
use fleetlog_aggregates::telemetry::{self, Message};
use fleetlog_aggregates::topic::Topic;
use fleetlog_aggregates::{command_ack, metrics};

const TOPIC: &str = "t0/devices/dev-01/telemetry";
const SMALL: &str = r#"{"msg_id":"m-17","ts":1795876066000,"temperature":21.5,"door":{"open":true}}"#;
const LARGE: &str = include_str!("../../fuzz/corpus/payload/real-ttn-v3-uplink.json");
const ACK: &[u8] =
    br#"{"cmd_id":"019a0000-0000-7000-8000-000000000001","status":"ack","result":{"interval_s":5}}"#;

fn main() {
    divan::main();
}

#[divan::bench]
fn topic() -> Option<Topic> {
    Topic::parse(divan::black_box(TOPIC))
}

#[divan::bench(args = [SMALL, LARGE])]
fn extract_metrics(payload: &str) -> f64 {
    let mut sum = 0.0;
    let _ = metrics::for_each(payload, |_, value| sum += value);
    sum
}

#[divan::bench(args = [SMALL, LARGE])]
fn decide(bencher: Bencher<'_, '_>, payload: &str) {
    let message = Message { topic: TOPIC, payload: payload.as_bytes(), received_at: DateTime::UNIX_EPOCH };
    bencher.bench(|| telemetry::decide(divan::black_box(message), String::new));
}

#[divan::bench]
fn acknowledgement() -> bool {
    command_ack::decode(divan::black_box(ACK)).is_ok()
}
