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
