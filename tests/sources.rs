//! `fleetlog source`, the real binary: what a definition makes of messages. And the service, which takes them in.

mod taken_in;

use std::io::Write;
use std::process::{Command, Stdio};

use insta::assert_snapshot;

/// What the command writes, and its exit code.
fn source(arguments: &[&str], messages: &str) -> (String, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fleetlog"));
    command.arg("source").args(arguments).env_clear().current_dir(std::env::temp_dir());
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = pipes.spawn().expect("fleetlog");
    let written = process.stdin.take().expect("its input").write_all(messages.as_bytes());
    let output = process.wait_with_output().expect("its output");
    // One that refuses its arguments does not read.
    assert!(written.is_ok() || !output.status.success());
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8(text).expect("UTF-8"), output.status.code())
}

#[test]
fn messages_are_shown_as_a_definition_would_have_them_recorded() {
    let at = ["--received-at", "2026-11-28T14:30:00Z"];
    let messages = "zigbee2mqtt/Living Room\t{\"temperature\":21.5,\"last_seen\":1795876066689}\n\
                    zigbee2mqtt/lamp/availability {\"state\":\"offline\"}\n\
                    homeassistant/status online\n";
    let arguments = [&["test", "--preset", "zigbee2mqtt"][..], &at].concat();
    let (text, code) = source(&arguments, messages);
    assert_snapshot!(text, @r"
    zigbee2mqtt/Living Room
      Living_Room-e4a3c880ef 2026-11-28T14:27:46.689Z - [no_msg_id] | temperature=21.5
    zigbee2mqtt/lamp/availability
      lamp now - [no_msg_id no_ts offline] |
    homeassistant/status
      refused: the source takes no messages on this topic
    ");
    assert_eq!(code, Some(0));
    let arguments = [&["test", "--preset", "sparkplug_b", "--hex"][..], &at].concat();
    let message = |kind: &str, payload: &[u8]| {
        let digits: Vec<_> = payload.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("spBv1.0/plant/{kind}/pump {}\n", digits.concat())
    };
    let birth = message("NBIRTH", include_bytes!("../fuzz/corpus/payload/real-sparkplug-nbirth.bin"));
    let data = message("NDATA", include_bytes!("../fuzz/corpus/payload/real-sparkplug-ndata.bin"));
    assert_snapshot!(source(&arguments, &(birth + &data)).0, @r"
    spBv1.0/plant/NBIRTH/pump
      pump 2026-11-28T14:32:16.988Z 1795876336988:0 [] | Pump/Temperature=71.25 Pump/Running=1
    spBv1.0/plant/NDATA/pump
      pump 2026-11-28T14:32:16.988Z 1795876336988:1 [] | Pump/Temperature=71.5
    ");
    let arguments =
        [&["test", "--preset", "tasmota", "--zone", "Asia/Ho_Chi_Minh", "--format", "json"][..], &at]
            .concat();
    let (text, _) = source(&arguments, "tele/plug/SENSOR {\"Time\":\"2026-11-28T21:27:46\",\"t\":1}");
    assert_snapshot!(text, @r#"{"topic":"tele/plug/SENSOR","readings":[{"uid":"plug","uid_from":"{uid}","occurred_at":"2026-11-28T14:27:46Z","time_from":"$.Time","msg_id":null,"id_from":null,"flags":["no_msg_id"],"metrics":{"t":1.0},"remarks":[]}]}"#);
}

#[test]
fn a_definition_that_cannot_be_used_says_where_and_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("mine.json");
    std::fs::write(&file, r#"{"topics":[{"topic":"a/#"},{"topic":"b/{x}"}]}"#).expect("written");
    let (text, code) = source(&["test", file.to_str().expect("a path")], "");
    assert_snapshot!(text, @r"
    fleetlog: the definition cannot be used:
      /topics/0/topic: no topic pattern: write {*name} for the rest of a topic, not #
      /topics/1/topic: nothing names the device: name a level of the topic {uid}, or say where the uid is
    ");
    assert_eq!(code, Some(1));
    assert!(
        source(&["test", "--preset", "nothing"], "")
            .0
            .contains("there is no preset nothing; there are aws_shadow, ")
    );
}

#[test]
fn a_preset_is_written_to_be_copied_and_changed() {
    let (list, _) = source(&["presets"], "");
    assert!(list.lines().any(|name| name == "tasmota"), "{list}");
    let (json, code) = source(&["presets", "tasmota"], "");
    let preset: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((preset["title"].as_str(), code), (Some("Tasmota"), Some(0)));
}
