//! Gateways: one credential, one connection, and the devices behind it.

use std::sync::Arc;

use fleetlog_engine::dispatch::Dispatcher;
use reqwest::{Method, StatusCode};
use rstest::rstest;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::Fleet;
use crate::support::api::answer;
use crate::support::mqtt::{V4, V5};

/// A gateway's credential for these devices.
async fn gateway(fleet: &Fleet, behind: Value) -> super::Credential {
    let registered = fleet.send("t0", Method::POST, "/devices", json!({ "uid": "gw" })).await;
    assert!(registered.status == StatusCode::CREATED || registered.status == StatusCode::CONFLICT);
    fleet.issue("t0", "gw", json!({ "behind": behind })).await
}

#[rstest]
#[case(V4, json!({ "prefix": "meter-" }))]
#[case(V5, json!({ "devices": ["meter-1"] }))]
#[tokio::test]
async fn a_gateway_publishes_for_the_devices_behind_it_and_for_no_other(
    #[case] version: u8,
    #[case] behind: Value,
) {
    let fleet = Fleet::start().await;
    let credential = gateway(&fleet, behind).await;
    let mut device = fleet.connect(version, "any", &credential).await;
    device.report("t0/devices/gw/telemetry", r#"{"t":0}"#).await;
    device.report("t0/devices/meter-1/telemetry", r#"{"t":1}"#).await;
    device.report("t0/devices/meter-1/status", "offline").await;
    assert_eq!(fleet.node.recorded("t0/gw").await, [r#"{"t":0}"#]);
    assert_eq!(fleet.node.recorded("t0/meter-1").await, [r#"{"t":1}"#, r#"{"status":"offline"}"#]);
    for topic in ["t0/devices/other/telemetry", "t1/devices/meter-1/telemetry", "t0/devices/other/status"] {
        let mut device = fleet.connect(version, "any", &credential).await;
        device.publish(1, 7, topic, "{}").await;
        let answered = device.packet().await;
        match version {
            V4 => assert_eq!(answered, None, "{topic}: closed"),
            _ => assert_eq!(
                answered.as_ref().and_then(|puback| puback.get(4)),
                Some(&0x87),
                "{topic}: {answered:02x?}"
            ),
        }
    }
    for filter in ["t0/devices/other/commands", "t0/devices/+/commands", "t1/devices/meter-1/commands"] {
        let mut device = fleet.connect(version, "any", &credential).await;
        assert!(device.ask_for(filter).await.is_none_or(|code| code >= 0x80), "{filter}");
    }
    assert_eq!(fleet.stored().await, (3, 0));
}

#[rstest]
#[case(V4)]
#[case(V5)]
#[tokio::test]
async fn a_gateway_hears_the_commands_of_all_its_devices_and_answers_for_them(#[case] version: u8) {
    let fleet = Fleet::start().await;
    fleet.api.ship_types().await;
    let stop = CancellationToken::new();
    let _stopping = stop.clone().drop_guard();
    let outlet = Arc::new(fleet.node.outlet.clone());
    tokio::spawn(Dispatcher::new(fleet.node.log.clone(), outlet).run(stop));
    // More than a device may have subscriptions, and than wait for a device.
    let meters: Vec<String> = (0..80).map(|n| format!("meter-{n}")).collect();
    for meter in &meters {
        fleet.send("t0", Method::POST, "/devices", json!({ "uid": meter })).await;
    }
    // A batch chooses among the devices that the read model has.
    fleet.api.catch_up().await;
    let credential = gateway(&fleet, json!({ "devices": meters })).await;
    let mut device = fleet.connect(version, "any", &credential).await;
    for meter in &meters {
        device.subscribe(&format!("t0/devices/{meter}/commands")).await;
    }
    let batch = json!({ "selector": { "devices": meters }, "cmd": "ping", "rate_per_s": 1000 });
    let asked = fleet.send("t0", Method::POST, "/command-batches", batch).await;
    assert!(asked.status.is_success(), "{}", asked.text);
    let id = asked.json()["batch_id"].as_str().expect("an id").to_owned();
    for _ in &meters {
        let (topic, payload) = device.topic_and_message().await;
        let command: Value = serde_json::from_slice(&payload).expect("JSON");
        let answer = json!({ "cmd_id": command["cmd_id"], "status": "ack" });
        let acks = topic.replace("/commands", "/command_ack");
        device.publish(0, 0, &acks, answer.to_string()).await;
    }
    let all = |answer: &Value| answer["commands"]["acked"] == meters.len();
    crate::support::eventually("all have answered", async || {
        fleet.api.catch_up().await;
        let known =
            fleet.send("t0", Method::GET, &format!("/command-batches/{id}"), Value::Null).await.json();
        if all(&known) { Ok(()) } else { Err(known) }
    })
    .await;
}

#[tokio::test]
async fn a_gateways_credential_is_listed_with_its_devices_and_revoked_like_any_other() {
    let fleet = Fleet::start().await;
    let behind = json!({ "devices": ["meter-1", "meter-2"] });
    let credential = gateway(&fleet, behind.clone()).await;
    let listed = fleet.send("t0", Method::GET, "/devices/gw/credentials", Value::Null).await.json();
    assert_eq!((&listed["items"][0]["behind"], &listed["items"][0]["active"]), (&behind, &json!(true)));
    let plain = fleet.issue("t0", "gw", json!({})).await;
    let mut device = fleet.connect(V5, "any", &plain).await;
    device.publish(1, 7, "t0/devices/meter-1/telemetry", "{}").await;
    assert_eq!(device.packet().await.expect("PUBACK")[4], 0x87, "another credential of it is a device's");
    let mut device = fleet.connect(V5, "other", &credential).await;
    let path = format!("/devices/gw/credentials/{}", credential.id);
    assert_eq!(fleet.send("t0", Method::DELETE, &path, Value::Null).await.status, StatusCode::OK);
    assert_eq!(device.packet().await.expect("DISCONNECT"), [0xe0, 1, 0x87]);
    let many: Vec<String> = (0..1001).map(|n| format!("m-{n}")).collect();
    for bad in [
        json!({ "devices": many }),
        json!({ "devices": [] }),
        json!({ "prefix": "" }),
        json!({ "prefix": "a/b" }),
        json!({ "devices": ["a"], "prefix": "a" }),
        json!({}),
        json!("all"),
    ] {
        let refused =
            fleet.send("t0", Method::POST, "/devices/gw/credentials", json!({ "behind": bad })).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{bad}: {}", refused.text);
    }
    let none = fleet.send("t0", Method::POST, "/devices/gw/credentials", json!({ "behind": {} })).await;
    let said = json!([{ "field": "behind", "reason": "expected one of devices and prefix" }]);
    assert_eq!(none.json()["errors"], said, "{}", none.text);
}

#[tokio::test]
async fn a_broker_learns_what_a_gateway_may_do() {
    let fleet = Fleet::start().await;
    let credential = gateway(&fleet, json!({ "prefix": "meter-" })).await;
    for (topic, action, expected) in [
        ("t0/devices/meter-1/telemetry", "publish", "allow"),
        ("t0/devices/meter-1/status", "publish", "allow"),
        ("t0/devices/meter-1/commands", "subscribe", "allow"),
        ("t0/devices/gw/telemetry", "publish", "allow"),
        ("t0/devices/other/telemetry", "publish", "deny"),
        ("t1/devices/meter-1/telemetry", "publish", "deny"),
        ("t0/devices/+/commands", "subscribe", "deny"),
    ] {
        let question = json!({ "username": credential.username, "topic": topic, "action": action });
        let asked = fleet.api.request(Method::POST, "/mqtt/emqx/acl").json(&question);
        assert_eq!(answer(asked).await.json()["result"], expected, "{action} {topic}");
    }
}

#[tokio::test]
async fn whoever_may_not_issue_a_credential_to_a_device_gives_it_to_no_gateway() {
    let fleet = Fleet::start().await;
    for (uid, site) in [("gw", "a"), ("near", "a"), ("far", "b")] {
        let device = json!({ "uid": uid, "labels": { "site": site } });
        assert_eq!(fleet.send("t0", Method::POST, "/devices", device).await.status, StatusCode::CREATED);
    }
    let source = r#"forbid (principal, action == Action::"credentials.write", resource is Device)
        unless { resource.hasTag("site") && resource.getTag("site") == "a" };"#;
    let defined = fleet.send("t0", Method::PUT, "/policies/site-a", json!({ "source": source })).await;
    assert!(defined.status.is_success(), "{}", defined.text);
    for (behind, status) in [
        (json!({ "devices": ["near"] }), 201),
        (json!({ "devices": ["near", "far"] }), 403),
        (json!({ "devices": ["unknown"] }), 403),
        (json!({ "prefix": "near" }), 422),
    ] {
        let issued =
            fleet.send("t0", Method::POST, "/devices/gw/credentials", json!({ "behind": behind })).await;
        assert_eq!(issued.status, status, "{behind}: {}", issued.text);
    }
}
