//! Commands as the presets' devices take them, and answers as they give them.

use fleetlog_sources::{Message, Outgoing, ToSend};
use serde_json::{Value, json};

use crate::{preset, received_at};

const ID: &str = "019a0000-0000-7000-8000-000000000001";

/// The topic and payload of a command for the device that has sent something on `from`.
fn sent(name: &str, from: &str, uid: &str, cmd: &str, params: &Value) -> (String, String) {
    let source = preset(name);
    let address = source.address(from).expect("an address");
    let (uid, cmd_id) = (uid.parse().expect("a uid"), ID.parse().expect("an id"));
    let command = ToSend { uid: &uid, cmd, cmd_id, attempt: 1, params };
    let Outgoing { topic, payload } = source.command(command, &address).expect("sent");
    (topic, String::from_utf8(payload).expect("text"))
}

#[test]
fn commands_are_written_as_each_family_takes_them() {
    let with_id = |text: &str| text.replace("ID", ID);
    for (name, from, cmd, params, topic, payload) in [
        ("tasmota", "tele/plug/STATE", "POWER", json!({"value": "ON"}), "cmnd/plug/POWER", "ON"),
        (
            "zigbee2mqtt",
            "zigbee2mqtt/Living Room",
            "set",
            json!({"state": "ON"}),
            "zigbee2mqtt/Living Room/set",
            r#"{"state":"ON"}"#,
        ),
        (
            "shelly_gen1",
            "shellies/s1/relay/0",
            "relay",
            json!({"channel": 0, "value": "on"}),
            "shellies/s1/relay/0/command",
            "on",
        ),
        (
            "shelly_gen2",
            "shellyplus-1/events/rpc",
            "Switch.Set",
            json!({"id": 0, "on": true}),
            "shellyplus-1/rpc",
            r#"{"id":"ID","src":"fleetlog/shellyplus-1","method":"Switch.Set","params":{"id":0,"on":true}}"#,
        ),
        (
            "esphome",
            "livingroom/status",
            "set",
            json!({"component": "switch", "entity": "lamp", "value": "ON"}),
            "livingroom/switch/lamp/command",
            "ON",
        ),
        (
            "ttn_v3",
            "v3/app1@ttn/devices/dev1/up",
            "downlink",
            json!({"f_port": 15, "frm_payload": "vu8="}),
            "v3/app1@ttn/devices/dev1/down/push",
            r#"{"downlinks":[{"f_port":15,"frm_payload":"vu8=","confirmed":true,"correlation_ids":["fleetlog:ID"]}]}"#,
        ),
        (
            "chirpstack_v4",
            "application/a1/device/0101010101010101/event/up",
            "downlink",
            json!({"f_port": 10, "data": "AQ=="}),
            "application/a1/device/0101010101010101/command/down",
            r#"{"id":"ID","devEui":"0101010101010101","confirmed":true,"fPort":10,"data":"AQ=="}"#,
        ),
        (
            "victron",
            "N/c0619ab4a2f2/battery/512/Soc",
            "Mode",
            json!({"service": "vebus", "instance": 276, "value": 3}),
            "W/c0619ab4a2f2/vebus/276/Mode",
            r#"{"value":3}"#,
        ),
        (
            "aws_shadow",
            "$aws/things/dev1/shadow/update/accepted",
            "set",
            json!({"led": true}),
            "$aws/things/dev1/shadow/update",
            r#"{"state":{"desired":{"led":true}}}"#,
        ),
    ] {
        let expected = (topic.to_owned(), with_id(payload));
        assert_eq!(sent(name, from, "d", cmd, &params), expected, "{name}");
    }
}

#[test]
fn answers_name_their_commands_as_each_family_does() {
    for (name, topic, payload, uid, is_named, is_failure) in [
        ("thingsboard_device", "v1/devices/me/rpc/response/ID", "{}", "boiler-7", true, false),
        ("tasmota", "stat/plug/RESULT", r#"{"POWER":"ON"}"#, "plug", false, false),
        ("tasmota", "stat/plug/RESULT", r#"{"Command":"Unknown"}"#, "plug", false, true),
        (
            "shelly_gen2",
            "fleetlog/shellyplus-1/rpc",
            r#"{"id":"ID","src":"shellyplus-1","result":{"was_on":false}}"#,
            "shellyplus-1",
            true,
            false,
        ),
        (
            "shelly_gen2",
            "fleetlog/shellyplus-1/rpc",
            r#"{"id":"ID","error":{"code":-105,"message":"bad"}}"#,
            "shellyplus-1",
            true,
            true,
        ),
        (
            "ttn_v3",
            "v3/app1@ttn/devices/dev1/down/ack",
            r#"{"correlation_ids":["as:downlink:1","fleetlog:ID"]}"#,
            "dev1",
            true,
            false,
        ),
        (
            "ttn_v3",
            "v3/app1@ttn/devices/dev1/down/failed",
            r#"{"correlation_ids":["fleetlog:ID"],"error":{}}"#,
            "dev1",
            true,
            true,
        ),
        (
            "chirpstack_v4",
            "application/a1/device/01/event/ack",
            r#"{"queueItemId":"ID","acknowledged":true}"#,
            "01",
            true,
            false,
        ),
        (
            "chirpstack_v4",
            "application/a1/device/01/event/ack",
            r#"{"queueItemId":"ID","acknowledged":false}"#,
            "01",
            true,
            true,
        ),
    ] {
        let payload = payload.replace("ID", ID);
        let topic = topic.replace("ID", ID);
        let (payload, login) = (payload.as_bytes(), Some("boiler-7"));
        let message = Message { topic: &topic, payload, received_at: received_at(), login };
        let answer = preset(name).answer(message).expect("an answer's topic").expect(name);
        assert_eq!(answer.uid.as_str(), uid, "{name}");
        assert_eq!(answer.cmd_id, is_named.then(|| ID.parse().expect("an id")), "{name}");
        assert_eq!(answer.is_failure, is_failure, "{name} {topic}");
    }
}
