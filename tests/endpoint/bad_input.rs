//! Everything that a device should not send. Each has a definite fate, and harms nobody else.

use fleetlog_event_log::Lane;

use super::TOPIC;
use crate::support::mqtt::{self, Device, V4, V5};
use crate::support::{Node, log_of};

/// What becomes of a message.
#[derive(Debug, PartialEq)]
enum Fate {
    Recorded(Vec<String>),
    Quarantined(&'static str),
}

fn recorded(flags: &[&str]) -> Fate {
    Fate::Recorded(flags.iter().map(|&flag| flag.to_owned()).collect())
}

/// Payloads to a device's own topic.
fn payloads() -> Vec<(&'static str, Vec<u8>, Fate)> {
    use Fate::Quarantined;
    let nested = |depth: usize| format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
    let id = |length: usize| {
        format!(r#"{{"msg_id":"{}","ts":{}}}"#, "x".repeat(length), chrono::Utc::now().timestamp_millis())
    };
    let ts = |ts: &str| format!(r#"{{"msg_id":"m","ts":"{ts}"}}"#);
    let raw = &["raw", "no_msg_id", "no_ts", "no_metrics"][..];
    let measured = &["no_msg_id", "no_ts"][..];
    let bare = &["no_msg_id", "no_ts", "no_metrics"][..];
    let bad_id = &["no_ts", "bad_msg_id", "no_metrics"][..];
    vec![
        ("empty", vec![], recorded(raw)),
        ("plain text", b"21.5 C".into(), recorded(raw)),
        ("a JSON array", b"[1,2]".into(), recorded(raw)),
        ("truncated JSON", br#"{"a":1"#.into(), recorded(raw)),
        ("NaN", br#"{"t":NaN}"#.into(), recorded(raw)),
        ("1e400", br#"{"t":1e400}"#.into(), recorded(raw)),
        ("a lone surrogate", br#"{"s":"\ud800"}"#.into(), recorded(raw)),
        ("a NUL in text", b"a\0b".into(), recorded(raw)),
        ("an escaped NUL in a string", br#"{"s":"a\u0000b"}"#.into(), recorded(bare)),
        (
            "an escaped NUL in a name",
            br#"{"a\u0000b":1}"#.into(),
            recorded(&["no_msg_id", "no_ts", "partial", "no_metrics"]),
        ),
        ("an escaped NUL in msg_id", br#"{"msg_id":"a\u0000b"}"#.into(), recorded(bad_id)),
        ("duplicate keys", br#"{"t":1,"t":2}"#.into(), recorded(&["no_msg_id", "no_ts", "repeated_key"])),
        ("a number", b"21.5".into(), recorded(&["raw", "no_msg_id", "no_ts"])),
        ("NaN beside a number", br#"{"msg_id":"m","t":NaN,"h":1}"#.into(), recorded(&["raw", "no_ts"])),
        ("a NUL behind an object", b"{\"h\":1}\0".into(), recorded(&["raw", "no_msg_id", "no_ts"])),
        ("duplicate msg_id", br#"{"msg_id":"a","msg_id":"b"}"#.into(), recorded(bad_id)),
        ("msg_id of 0 characters", id(0).into(), recorded(&["bad_msg_id", "no_metrics"])),
        ("msg_id of 128 characters", id(128).into(), recorded(&["no_metrics"])),
        ("msg_id of 129 characters", id(129).into(), recorded(&["bad_msg_id", "no_metrics"])),
        ("msg_id that is an object", br#"{"msg_id":{}}"#.into(), recorded(bad_id)),
        ("depth 64", nested(64).into(), recorded(measured)),
        ("depth 65", nested(65).into(), Quarantined("too_deep")),
        ("depth 200", nested(200).into(), Quarantined("too_deep")),
        ("256 KiB", vec![b'x'; 256 << 10], recorded(raw)),
        ("257 KiB", vec![b'x'; 257 << 10], Quarantined("too_large")),
        ("not UTF-8", vec![b'{', 0xff, 0xfe, b'}'], Quarantined("not_utf8")),
        ("year 0", ts("0000-01-01T00:00:00Z").into(), recorded(&["late", "no_metrics"])),
        ("before year 0", ts("-0001-12-31T00:00:00Z").into(), recorded(&["bad_ts", "no_metrics"])),
        ("year 9999", ts("9999-12-31T23:59:59Z").into(), recorded(&["clock_ahead", "no_metrics"])),
        ("no time", ts("yesterday").into(), recorded(&["bad_ts", "no_metrics"])),
        (
            "ten thousand numbers",
            format!(r#"{{"xs":[{}]}}"#, vec!["1"; 10_000].join(",")).into(),
            recorded(&["no_msg_id", "no_ts", "partial"]),
        ),
    ]
}

/// Topics that no device has.
const TOPICS: [(&str, &str); 9] = [
    ("x", "bad_topic"),
    ("/", "bad_topic"),
    ("t0/devices/dev-01/telemetry/x", "bad_topic"),
    ("t0/devices/dev 01/telemetry", "bad_topic"),
    ("t0/devices/dev-01/commands", "bad_topic"),
    ("t0/devices/dev-01/command_ack", "bad_ack"),
    ("$SYS/broker/uptime", "bad_topic"),
    ("nobody/devices/dev-01/telemetry", "unknown_tenant"),
    ("nobody/devices", "bad_topic"),
];

/// Bytes that are not MQTT, or not what MQTT allows, sent after CONNECT.
fn violations(version: u8) -> Vec<(&'static str, Vec<u8>)> {
    let telemetry = TOPIC.as_bytes();
    let mut violations = vec![
        ("a second CONNECT", mqtt::connect(version, "dev-01", None)),
        ("packet type 0", vec![0x00, 0x00]),
        ("a length of five bytes", vec![0x30, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ("a packet over 1 MiB", mqtt::publish(version, 1, 1, telemetry, &vec![b'x'; 1 << 20])),
        ("an announced length of 256 MB", vec![0x32, 0xff, 0xff, 0xff, 0x7f, 0x00]),
        ("QoS 3", mqtt::publish(version, 3, 1, telemetry, b"{}")),
        ("a topic longer than its packet", mqtt::packet(0x32, &[0xff, 0xff, b't'])),
        ("no packet id", mqtt::packet(0x32, &[0, 1, b't'])),
        ("an empty topic", mqtt::publish(version, 1, 1, b"", b"{}")),
        ("a NUL in the topic", mqtt::publish(version, 1, 1, b"t0/devices/a\0b/telemetry", b"{}")),
        ("a topic that is not UTF-8", mqtt::publish(version, 1, 1, b"t0/devices/\xff/telemetry", b"{}")),
        ("+ in the topic", mqtt::publish(version, 1, 1, b"t0/devices/+/telemetry", b"{}")),
        ("# in the topic", mqtt::publish(version, 1, 1, b"t0/devices/#", b"{}")),
        ("SUBSCRIBE with the wrong flags", vec![0x80, 0x05, 0, 1, 0, 0, 0]),
        ("SUBSCRIBE without a filter", mqtt::packet(0x82, if version == V5 { &[0, 1, 0] } else { &[0, 1] })),
    ];
    if version == V5 {
        let aliased = |alias: u8| mqtt::packet(0x32, &[0, 0, 0, 1, 3, 0x23, 0, alias, b'x']);
        violations.push(("topic alias 0", aliased(0)));
        violations.push(("a topic alias that was never set", aliased(1)));
        violations.push(("a topic alias beyond the maximum", aliased(200)));
        violations.push(("AUTH out of the blue", vec![0xf0, 0x02, 0x18, 0x00]));
    }
    violations
}

#[tokio::test]
async fn bad_input_has_a_definite_fate_and_harms_nobody_else() {
    let node = Node::start().await;
    let mut bystander = node.device("bystander").await;
    for version in [V4, V5] {
        for (number, (what, payload, expected)) in payloads().into_iter().enumerate() {
            let device = format!("v{version}-{number}");
            let topic = format!("t0/devices/{device}/telemetry");
            Device::connect(node.address, version, &device).await.report(&topic, payload).await;
            assert_eq!(fate(&node, &device, &topic).await, expected, "{what}, version {version}");
        }
        for (topic, reason) in TOPICS {
            Device::connect(node.address, version, "dev-01").await.report(topic, "{}").await;
            let (_, last) = node.quarantined(topic).await.pop().expect("quarantined");
            assert_eq!(last, reason, "{topic}");
        }
        for (what, bytes) in violations(version) {
            let mut device = Device::connect(node.address, version, "dev-01").await;
            device.send(&bytes).await;
            let words = device.last_words().await;
            assert!(words.iter().all(|word| word[0] == 0xe0), "{what}, version {version}: {words:02x?}");
        }
        for (what, bytes) in [
            ("PUBLISH before CONNECT", mqtt::publish(version, 1, 1, TOPIC.as_bytes(), b"{}")),
            ("an unknown protocol", mqtt::packet(0x10, b"\0\x04MQTX\x04\x02\0\x3c\0\x01a")),
            ("an unknown version", mqtt::connect(6, "dev-01", None)),
            ("a request for a web page", format!("GET / HTTP/1.1\r\nCookie: {}\r\n", "x".repeat(99)).into()),
        ] {
            let mut device = Device::dial(node.address, version).await;
            device.send(&bytes).await;
            let words = device.last_words().await;
            assert!(words.iter().all(|word| word[0] == 0x20 && word[3] != 0), "{what}: {words:02x?}");
        }
        assert_eq!(node.recorded("t0/dev-01").await.len(), 0, "nothing of it was stored");
        bystander.report("t0/devices/bystander/telemetry", "{}").await;
    }
    let head = node.log.heads().log(log_of(&node.log, Lane::Telemetry)).expect("a log").head;
    let stored = payloads().iter().filter(|(_, _, fate)| matches!(fate, Fate::Recorded(_))).count();
    assert_eq!(head, 2 * (stored as i64 + 1));
}

async fn fate(node: &Node, device: &str, topic: &str) -> Fate {
    let mut owner = node.owner().await;
    let select = "SELECT ARRAY(SELECT json_array_elements_text(metadata -> 'flags')) FROM events WHERE aggregate_id = $1 AND msg_id IS NOT NULL";
    let flags: Vec<Vec<String>> =
        sqlx::query_scalar(select).bind(format!("t0/{device}")).fetch_all(&mut owner).await.expect("select");
    let quarantined = node.quarantined(topic).await;
    match (&flags[..], &quarantined[..]) {
        ([flags], []) => Fate::Recorded(flags.clone()),
        ([], [(Some(tenant), reason)]) if tenant == "t0" => Fate::Quarantined(reason.clone().leak()),
        _ => panic!("one fate: {flags:?}, {quarantined:?}"),
    }
}
