//! What changes: commands, devices and windows, each as the event left it.

use fleetlog_access::Role;
use reqwest::Method;
use serde_json::{Value, json};

use super::streamed;
use crate::support::Api;
use crate::support::graphql_ws::Socket;

#[tokio::test]
async fn a_command_is_shown_as_each_of_its_events_left_it() {
    let api = Api::start().await;
    api.ship_types().await;
    api.publish("dev-01", [json!({"n": 0})]).await;
    api.publish("dev-02", [json!({"n": 0})]).await;
    let ask = async |uid: &str| {
        let command = json!({"cmd": "set_interval", "params": {"seconds": 5}});
        let sent = api.send(Method::POST, &format!("/devices/{uid}/commands"), command).await;
        sent.json()["cmd_id"].as_str().unwrap_or_else(|| panic!("{}", sent.text)).to_owned()
    };
    let (other, own) = (ask("dev-02").await, ask("dev-01").await);
    for cmd_id in [&other, &own] {
        let cancelled =
            api.send(Method::POST, &format!("/commands/{cmd_id}/cancel"), json!({"reason": "no"})).await;
        assert!(cancelled.status.is_success(), "{}", cancelled.text);
    }
    let query =
        "subscription($uid: String, $id: ID) { commandChanged(deviceUid: $uid, cmdId: $id, from: \"start\") {
        at event { eventType position } command { id status cancelReason history { eventType status } } } }";
    let mut socket = Socket::of(&api, Role::Operator).await;
    for (id, variables) in [("1", json!({"uid": "dev-01"})), ("2", json!({"id": own}))] {
        socket.follow(id, query, variables).await;
        let (requested, cancelled) = (socket.data(id).await, socket.data(id).await);
        assert_eq!(
            requested["command"],
            json!({"id": own, "status": "REQUESTED", "cancelReason": null,
                "history": [{"eventType": "CommandRequested", "status": "REQUESTED"}]})
        );
        assert_eq!(cancelled["event"]["eventType"], "CommandCancelled");
        assert_eq!(
            (&cancelled["command"]["status"], &cancelled["command"]["cancelReason"]),
            (&json!("CANCELLED"), &json!("no"))
        );
        assert_eq!(cancelled["command"]["history"].as_array().map(Vec::len), Some(2));
    }
}

#[tokio::test]
async fn a_device_is_shown_as_each_of_its_events_left_it() {
    let api = Api::start().await;
    let send = async |method, path: &str, body| {
        let answer = api.send(method, path, body).await;
        assert!(answer.status.is_success(), "{}", answer.text);
    };
    send(Method::POST, "/devices", json!({"uid": "dev-01", "name": "One", "labels": {"site": "hue"}})).await;
    send(Method::PATCH, "/devices/dev-01", json!({"name": "Two"})).await;
    // It changes nothing that is shown.
    send(Method::POST, "/devices/dev-01/credentials", json!({})).await;
    send(Method::DELETE, "/devices/dev-01", json!({})).await;
    let query = "subscription { deviceChanged(deviceUid: \"dev-01\", from: \"start\") {
        event { eventType } device { uid name labels status messages } } }";
    let mut stream = streamed(&api, Role::Viewer, query, json!({})).await;
    stream.next().await.expect("the beginning");
    let mut told = vec![];
    for _ in 0..3 {
        let message = stream.next().await.expect("a message").data["data"]["deviceChanged"].clone();
        let device = &message["device"];
        told.push(json!([message["event"]["eventType"], device["name"], device["labels"], device["status"]]));
    }
    let labels = json!({"site": "hue"});
    assert_eq!(
        told,
        [
            json!(["DeviceRegistered", "One", labels, "OFFLINE"]),
            json!(["DeviceUpdated", "Two", labels, "OFFLINE"]),
            json!(["DeviceDecommissioned", "Two", labels, "DECOMMISSIONED"]),
        ]
    );
}

const WINDOWS: &str = "subscription($metric: String, $after: String, $from: String) {
    windowChanged(deviceUid: \"dev-01\", metric: $metric, after: $after, from: $from) {
        at changed { metric window { start count sum } } } }";

/// The minutes of a message: metric, start, count and sum.
fn minutes(message: &Value) -> Vec<Value> {
    let changed = message["changed"].as_array().expect("a list").iter();
    let minute = |changed: &Value| {
        let window = &changed["window"];
        json!([changed["metric"], window["start"], window["count"], window["sum"]])
    };
    changed.map(minute).collect()
}

#[tokio::test]
async fn a_minute_is_shown_as_readings_have_left_it_and_again_after_it_has_changed() {
    let api = Api::start().await;
    let reading = |minute: i64, second: i64, t: i64| json!({"ts": format!("2026-03-01T12:{minute:02}:{second:02}Z"), "t": t, "u": 1});
    let start = |minute: i64| format!("2026-03-01T12:{minute:02}:00+00:00");
    let mut socket = Socket::of(&api, Role::Viewer).await;
    socket.follow("1", WINDOWS, json!({"metric": "t"})).await;
    api.publish("dev-02", [reading(0, 0, 100)]).await;
    api.publish("dev-01", [reading(0, 1, 1), reading(0, 2, 2), reading(1, 0, 7)]).await;
    let first = socket.data("1").await;
    assert_eq!(minutes(&first), [json!(["t", start(0), 2, 3.0]), json!(["t", start(1), 1, 7.0])]);
    // Late, and in another minute than the last one.
    api.publish("dev-01", [reading(0, 3, 4)]).await;
    let second = socket.data("1").await;
    assert_eq!(minutes(&second), [json!(["t", start(0), 3, 7.0])]);

    // Whoever was cut off after the first message is told what has changed since, of every metric.
    let other = api.another_node().await;
    let mut socket = Socket::of(&other, Role::Viewer).await;
    socket.follow("1", WINDOWS, json!({"after": first["at"]})).await;
    let again = socket.data("1").await;
    assert_eq!(minutes(&again), [json!(["t", start(0), 3, 7.0]), json!(["u", start(0), 3, 3.0])]);
    assert_eq!(again["at"], second["at"]);
}

#[tokio::test]
async fn the_last_message_of_a_minute_is_what_the_minute_is() {
    let api = Api::start().await;
    let mut socket = Socket::of(&api, Role::Viewer).await;
    socket.follow("1", WINDOWS, json!({"metric": "t"})).await;
    for n in 0..50 {
        let at = |second: i64| format!("2026-03-01T12:{:02}:{second:02}Z", n % 10);
        api.publish("dev-01", (0..10).map(|second| json!({"ts": at(second), "t": n}))).await;
    }
    let mut last = std::collections::BTreeMap::new();
    while last.len() < 10 || last.values().any(|count: &i64| *count < 50) {
        for minute in minutes(&socket.data("1").await) {
            let start = minute[1].as_str().expect("a time").to_owned();
            let count = minute[2].as_i64().expect("a count");
            let before = last.insert(start, count).unwrap_or(0);
            assert!(before <= count, "{minute}");
        }
    }
    assert!(last.values().all(|count| *count == 50), "{last:?}");
}

#[tokio::test]
async fn a_subscription_goes_on_however_much_its_messages_are_made_of() {
    // Of 20 readings of this size no answer may be made.
    const TEXT: usize = 250_000;
    let api = Api::start().await;
    let query = "subscription { deviceChanged { device { telemetry(first: 1) { nodes { msgId } } } } }";
    let mut socket = Socket::of(&api, Role::Viewer).await;
    api.publish("dev-01", [json!({"msg_id": "a", "text": "x".repeat(TEXT)})]).await;
    socket.follow("1", query, json!({})).await;
    for n in 0..20 {
        let renamed = api.send(Method::PATCH, "/devices/dev-01", json!({"name": n.to_string()})).await;
        assert!(renamed.status.is_success(), "{}", renamed.text);
        assert_eq!(socket.data("1").await["device"]["telemetry"]["nodes"], json!([{"msgId": "a"}]));
    }
}
