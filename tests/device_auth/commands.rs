//! A command to a device that has logged in, and its answer, end to end.

use std::sync::Arc;

use fleetlog_engine::dispatch::Dispatcher;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::Fleet;
use crate::support::mqtt::{V4, V5};

#[tokio::test]
async fn a_command_reaches_its_device_alone_and_its_answer_comes_back() {
    let fleet = Fleet::start().await;
    fleet.api.ship_types().await;
    let stop = CancellationToken::new();
    let _stopping = stop.clone().drop_guard();
    let outlet = Arc::new(fleet.node.outlet.clone());
    tokio::spawn(Dispatcher::new(fleet.node.log.clone(), outlet).run(stop));
    let (one, other) = (fleet.device("t0", "dev-01").await, fleet.device("t0", "dev-02").await);
    for version in [V4, V5] {
        // One that says the same client id listens too.
        let mut device = fleet.connect(version, "same", &one).await;
        device.subscribe("t0/devices/dev-01/commands").await;
        let mut bystander = fleet.connect(version, "same", &other).await;
        bystander.subscribe("t0/devices/dev-02/commands").await;
        let sent = fleet.send("t0", Method::POST, "/devices/dev-01/commands", json!({ "cmd": "ping" })).await;
        assert!(sent.status.is_success(), "{}", sent.text);
        let command: Value = serde_json::from_slice(&device.message().await).expect("JSON");
        let answer = json!({ "cmd_id": command["cmd_id"], "status": "ack", "result": { "ok": true } });
        device.report("t0/devices/dev-01/command_ack", answer.to_string()).await;
        fleet.api.catch_up().await;
        let id = command["cmd_id"].as_str().expect("an id");
        let path = format!("/commands/{id}");
        let known = fleet.api.get(&path).await;
        assert_eq!((known.status, &known.json()["status"]), (StatusCode::OK, &json!("acked")));
        assert!(bystander.is_silent(), "another device heard of it");
    }
}

#[tokio::test]
async fn a_mac_address_is_a_uid_wherever_one_is_named() {
    const MAC: &str = "AA:BB:CC:DD:EE:FF";
    let fleet = Fleet::start().await;
    fleet.api.ship_types().await;
    let stop = CancellationToken::new();
    let _stopping = stop.clone().drop_guard();
    let outlet = Arc::new(fleet.node.outlet.clone());
    tokio::spawn(Dispatcher::new(fleet.node.log.clone(), outlet).run(stop));
    let credential = fleet.device("t0", MAC).await;
    assert_eq!(credential.username, format!("t0/{MAC}"));
    let mut device = fleet.connect(V5, &credential.username, &credential).await;
    device.subscribe(&format!("t0/devices/{MAC}/commands")).await;
    device.report(&format!("t0/devices/{MAC}/telemetry"), r#"{"t":21.5}"#).await;
    let sent =
        fleet.send("t0", Method::POST, &format!("/devices/{MAC}/commands"), json!({ "cmd": "ping" })).await;
    assert!(sent.status.is_success(), "{}", sent.text);
    let command: Value = serde_json::from_slice(&device.message().await).expect("JSON");
    let answer = json!({ "cmd_id": command["cmd_id"], "status": "ack" });
    device.report(&format!("t0/devices/{MAC}/command_ack"), answer.to_string()).await;
    fleet.api.publish("zz", [json!({ "t": 1 })]).await;
    fleet.api.catch_up().await;
    let encoded = "AA%3ABB%3ACC%3ADD%3AEE%3AFF";
    for path in [format!("/devices/{MAC}"), format!("/devices/{encoded}")] {
        assert_eq!(fleet.api.get(&path).await.json()["uid"], MAC);
    }
    let first = |page: Value, field: &str| page["items"][0][field].clone();
    assert_eq!(first(fleet.api.get(&format!("/telemetry/{encoded}")).await.json(), "device_uid"), MAC);
    assert_eq!(first(fleet.api.get(&format!("/devices/{MAC}/commands")).await.json(), "status"), "acked");
    assert_eq!(
        first(fleet.api.get(&format!("/events?aggregate={encoded}")).await.json(), "aggregate_id"),
        format!("t0/{MAC}")
    );
    let page = fleet.api.get("/devices?limit=1").await.json();
    assert_eq!(page["items"][0]["uid"], MAC);
    let rest = fleet
        .api
        .get(&format!("/devices?limit=1&cursor={}", page["next_cursor"].as_str().expect("more")))
        .await;
    assert_eq!(first(rest.json(), "uid"), "zz");
    let actor = format!("/commands/{}/history", command["cmd_id"].as_str().expect("an id"));
    assert!(fleet.api.get(&actor).await.text.contains(&format!("device:{MAC}")));
}
