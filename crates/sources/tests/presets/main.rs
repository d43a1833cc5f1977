//! What each preset makes of the payloads of real devices: uid, time, id, flags, metrics and remarks, a line a reading.

#![expect(clippy::expect_used, reason = "a test that cannot go on says why and fails")]

mod commands;
mod document;
mod history;

use std::fmt::Write;
use std::path::Path;

use chrono::{DateTime, Utc};
use fleetlog_sources::presets::{PRESETS, Preset};
use fleetlog_sources::{Aliases, Message, Pattern, Source, SourceSpec};

/// When all messages arrive.
fn received_at() -> DateTime<Utc> {
    "2026-11-28T14:30:00Z".parse().expect("a time")
}

/// A payload of a real device.
fn real(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/payload");
    std::fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn preset(name: &str) -> Source {
    let preset = Preset::named(name).unwrap_or_else(|| panic!("there is no preset {name}"));
    let spec = preset.spec(None).unwrap_or_else(|invalid| panic!("{name}: {invalid}"));
    spec.try_into().unwrap_or_else(|invalid| panic!("{name}: {invalid}"))
}

/// What is made of a message, a line a reading: `uid time id [flags] | metrics [remarks]`. A time that is the arrival is `now`.
fn made_of(source: &Source, topic: &str, payload: &[u8], aliases: &mut Aliases) -> Vec<String> {
    let message = Message { topic, payload, received_at: received_at(), login: Some("boiler-7") };
    let mut trial = source.test(message, aliases);
    // Some topics have both.
    trial.answer = None;
    trial.to_string().lines().map(ToOwned::to_owned).collect()
}

/// A message, and what is to be made of it.
struct Case {
    preset: &'static str,
    topic: &'static str,
    payload: Vec<u8>,
    expected: Vec<&'static str>,
}

/// The table in `cases.txt`.
fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let lines = include_str!("cases.txt").lines();
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(expected) = line.strip_prefix("→ ") {
            cases.last_mut().expect("a message comes first").expected.push(expected);
            continue;
        }
        let mut cells = line.splitn(3, " | ");
        let mut next = || cells.next().unwrap_or_else(|| panic!("three cells: {line}"));
        let (preset, topic, payload) = (next(), next(), next());
        let payload = payload.strip_prefix('@').map_or_else(|| payload.as_bytes().to_vec(), real);
        cases.push(Case { preset, topic, payload, expected: Vec::new() });
    }
    cases
}

#[test]
fn the_payloads_of_real_devices_become_what_they_mean() {
    let mut wrong = String::new();
    let mut aliases = Aliases::default();
    for Case { preset: name, topic, payload, expected } in cases() {
        let made = made_of(&preset(name), topic, &payload, &mut aliases);
        if made != expected {
            writeln!(wrong, "{name} {topic}\n  made of it: {made:#?}\n  expected:   {expected:#?}")
                .expect("written");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn every_preset_has_a_case_and_none_takes_the_messages_of_another() {
    let covered: std::collections::BTreeSet<_> = cases().iter().map(|case| case.preset).collect();
    assert_eq!(covered, PRESETS.iter().map(|preset| preset.name).collect());
    let takers = |topic: &str| -> Vec<_> {
        PRESETS.iter().filter(|one| preset(one.name).takes(topic)).map(|one| one.name).collect()
    };
    for case in cases().iter().filter(|case| preset(case.preset).takes(case.topic)) {
        assert_eq!(takers(case.topic), [case.preset], "{}", case.topic);
    }
}

#[test]
fn presets_can_stand_beside_each_other_but_for_one_whose_topics_begin_with_the_device() {
    let mut overlapping = Vec::new();
    for (nth, one) in PRESETS.iter().enumerate() {
        let others =
            PRESETS[nth + 1..].iter().filter(|other| preset(one.name).overlap(&preset(other.name)).is_some());
        overlapping.extend(others.map(|other| (one.name, other.name)));
    }
    assert_eq!(
        overlapping,
        [
            ("cayenne_lpp", "esphome"),
            ("esphome", "senml"),
            ("esphome", "sparkplug_b"),
            ("esphome", "zigbee2mqtt")
        ]
    );
}

#[test]
fn a_preset_is_written_as_it_would_be_stored() {
    for one in PRESETS {
        let spec = one.spec(None).expect(one.name);
        let stored = serde_json::to_value(&spec).expect("JSON");
        let written: serde_json::Value = serde_json::from_str(one.json).expect("JSON");
        assert_eq!(stored, written, "{}", one.name);
    }
}

#[test]
fn a_zone_gives_local_times_their_meaning() {
    let zone = "Asia/Ho_Chi_Minh".parse().expect("a zone");
    let spec = Preset::named("tasmota").expect("the preset").spec(Some(zone)).expect("a definition");
    let source = Source::try_from(spec).expect("a source");
    let payload = br#"{"Time":"2026-11-28T21:27:46","t":1}"#;
    let made = made_of(&source, "tele/plug/SENSOR", payload, &mut Aliases::default());
    assert_eq!(made, ["plug 2026-11-28T14:27:46Z - [no_msg_id] | t=1"]);
}

/// A source with one topic, `x/{uid}`, and what else is said of it.
fn simple(rest: &str) -> Source {
    let spec = format!(r#"{{"topics":[{{"topic":"x/{{uid}}"{rest}}}]}}"#);
    SourceSpec::from_json(&spec)
        .and_then(Source::try_from)
        .unwrap_or_else(|invalid| panic!("{spec}: {invalid}"))
}

fn made(rest: &str, payload: &str) -> Vec<String> {
    made_of(&simple(rest), "x/d", payload.as_bytes(), &mut Aliases::default())
}

#[test]
fn elements_are_named_by_a_key_or_by_their_place_or_left_out() {
    let payload = r#"{"timestamp":1,"values":[{"id":"A","v":630},{"id":"B","v":7},{"v":1}]}"#;
    let lists = |lists: &str| {
        let line = made(&format!(r#","metrics":{{"from":"$.values"{lists}}}"#), payload).remove(0);
        line.split_once(" | ").map_or("", |(_, metrics)| metrics).to_owned()
    };
    assert_eq!(lists(""), "0.v=630 1.v=7 2.v=1");
    assert_eq!(lists(r#","lists":{"by":{"name":"id"}}"#), "A.v=630 B.v=7 2.v=1");
    assert_eq!(lists(r#","lists":{"by":{"name":"$.id","value":"v"}}"#), "A=630 B=7 2.v=1");
    assert_eq!(lists(r#","lists":"left_out""#), "[no_metrics]");
}

#[test]
fn numbers_in_quotes_and_words_are_metrics_only_where_that_is_said() {
    let payload = r#"{"color":"Orange","SG":"1.0260","Temp":"74.0","valve":"OPEN","lamp":"dim"}"#;
    assert_eq!(made("", payload), ["d now - [no_msg_id no_ts] | [no_metrics]"]);
    let both = made(r#","metrics":{"quoted_numbers":true,"words":"usual"}"#, payload);
    assert_eq!(both, ["d now - [no_msg_id no_ts] | SG=1.026 Temp=74 valve=1"]);
    let these = made(r#","metrics":{"words":{"these":{"Dim":0.5,"orange":3}}}"#, payload);
    assert_eq!(these, ["d now - [no_msg_id no_ts] | color=3 lamp=0.5"]);
}

#[test]
fn readings_get_ids_of_their_own_from_the_message_they_share() {
    let rest = r#","each":"$.r","time":{"path":"$.t","unit":"s"},"id":["$.i"]"#;
    let shared = made(rest, r#"{"i":"m1","r":[{"t":1795876066,"v":1},{"t":1795876067,"v":2}]}"#);
    let expected = ["d 2026-11-28T14:27:46Z m1#0 [] | v=1", "d 2026-11-28T14:27:47Z m1#1 [] | v=2"];
    assert_eq!(shared, expected);
    let own = made(rest, r#"{"t":1795876066,"r":[{"i":7,"v":1},{"i":8,"v":2}]}"#);
    let expected = ["d 2026-11-28T14:27:46Z 7 [] | v=1", "d 2026-11-28T14:27:46Z 8 [] | v=2"];
    assert_eq!(own, expected);
}

#[test]
fn a_time_or_id_that_cannot_be_read_loses_no_reading() {
    let rest = r#","time":{"path":"$.ts"},"id":"$.id""#;
    for (payload, expected) in [
        (r#"{"ts":23.5,"id":"","v":1}"#, "d now - [bad_ts bad_msg_id] | v=1"),
        (r#"{"ts":"yesterday","id":true,"v":1}"#, "d now true [bad_ts] | v=1"),
        (r#"{"ts":null,"id":{},"v":1}"#, "d now - [no_msg_id no_ts] | v=1"),
        (r#"{"ts":4102444800,"id":1.5,"v":1}"#, "d now 1.5 [clock_ahead] | v=1"),
        (r#"{"ts":1795000000000,"v":1}"#, "d 2026-11-18T11:06:40Z - [late no_msg_id] | v=1"),
        ("no json", "d now - [no_msg_id no_ts] | [unreadable no_metrics]"),
    ] {
        assert_eq!(made(rest, payload), [expected], "{payload}");
    }
    let long = format!(r#"{{"id":"{}","v":1}}"#, "x".repeat(129));
    assert_eq!(made(rest, &long), ["d now - [no_ts bad_msg_id] | v=1"]);
}

#[test]
fn what_is_not_in_lists_stays_when_there_are_too_many_metrics() {
    let payload = format!(r#"{{"fft":[{}],"temperature":21.5}}"#, vec!["1"; 512].join(","));
    let line = made("", &payload).remove(0);
    assert!(line.contains("| temperature=21.5 fft.0=1"), "{line}");
    assert!(line.ends_with("fft.254=1 [partial]"), "{line}");
}

#[test]
fn a_name_counts_once_in_a_message_and_in_one_writing() {
    assert_eq!(
        made("", r#"{"t":1,"t":2,"a.b":3,"a":{"b":4}}"#),
        ["d now - [no_msg_id no_ts] | t=2 a.b=4 [repeated]"]
    );
    assert_eq!(
        made("", "{\"e\u{301}\":1,\"\u{e9}\":2}"),
        ["d now - [no_msg_id no_ts] | \u{e9}=2 [repeated]"]
    );
}

#[test]
fn lines_and_columns_are_readings() {
    let csv = r#","format":{"csv_line":{"columns":["time","t","h"],"separator":";"}},"time":{"path":"$.time","zone":"UTC"}"#;
    let expected =
        ["d 2026-11-28T14:00:00Z - [no_msg_id] | t=21.5", "d 2026-11-28T14:01:00Z - [no_msg_id] | t=22 h=55"];
    assert_eq!(made(csv, "2026-11-28 14:00:00;21.5\n2026-11-28 14:01:00;22;55\n"), expected);
    let ndjson = made(r#","format":"ndjson""#, "{\"t\":1}\n{\n");
    assert_eq!(
        ndjson,
        [
            "d now - [no_msg_id no_ts] | t=1 [unreadable]",
            "d now - [no_msg_id no_ts] | [unreadable no_metrics]"
        ]
    );
    for (format, payload) in [("cbor", "payload-cbor.bin"), ("msgpack", "payload-msgpack.bin")] {
        let made = made_of(
            &simple(&format!(r#","format":"{format}""#)),
            "x/d",
            &real(payload),
            &mut Aliases::default(),
        );
        assert_eq!(made, ["d now - [no_msg_id no_ts] | t=21.5 h=55"]);
    }
}

#[test]
fn a_message_beyond_the_bounds_is_refused_with_the_bound() {
    let each = r#","each":"$""#;
    for (rest, payload, expected) in [
        (
            each,
            format!("[{}1]", "1,".repeat(1000)),
            "refused: 1001 readings; at most 1000 are taken from one message",
        ),
        (each, "[".repeat(70), "refused: nested deeper than 64"),
        (each, format!("[{}1]", "1,".repeat(70_000)), "refused: more than 65536 values"),
        ("", " ".repeat(256 * 1024 + 1), "refused: 262145 bytes; at most 262144 are stored"),
        (
            r#","uid":"$.d""#,
            "{".to_owned(),
            "refused: reading 0: the payload, which names the device, cannot be read: expected a key in quotes",
        ),
        (
            r#","uid":"$.d","other_characters":"refuse""#,
            r#"{"d":"a b"}"#.to_owned(),
            "refused: reading 0: \"a b\" is no uid: it is not 1 to 64 characters of A-Z a-z 0-9 _ . -",
        ),
    ] {
        let made = made(rest, &payload);
        assert_eq!(made, [expected], "{rest}");
    }
}

#[test]
fn the_filters_of_a_preset_match_its_patterns() {
    let filters = preset("shelly_gen2").filters();
    assert_eq!(filters, ["+/events/rpc", "+/online", "+/status/+", "fleetlog/+/rpc"]);
    let all: Vec<_> = preset("victron").patterns().map(Pattern::filter).collect();
    assert_eq!(all, ["N/+/+/+/#"]);
}
