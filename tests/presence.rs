//! Which devices are online: by their messages, their connections, what they say about themselves, and their wills.

mod wills;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use fleetlog_api::Settings;
use fleetlog_engine::devices::connections::Connections;
use fleetlog_engine::devices::credentials::Device as Name;
use fleetlog_engine::devices::sessions::Sessions;
use fleetlog_engine::dispatch::Dispatcher;
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};
use sqlx::Executor;
use tokio_util::sync::CancellationToken;

use crate::support::mqtt::{self, Device, V4, V5};
use crate::support::{Api, Node, eventually};

const STATUS: &str = "t0/devices/dev-01/status";
const TELEMETRY: &str = "t0/devices/dev-01/telemetry";
const COMMANDS: &str = "t0/devices/dev-01/commands";

/// An API, and a node of the same database whose endpoint is open.
struct Fleet {
    api: Api,
    node: Node,
}

impl Fleet {
    /// With `dev-01` on the record. Who was heard of within this time is online.
    async fn start(online_within: Duration) -> Self {
        let api = Api::start_with(Settings { online_within, ..Settings::default() }).await;
        let node = Node::start_on(api.database.options(), |_, _| ()).await;
        let fleet = Self { api, node };
        assert!(
            fleet.api.send(Method::POST, "/devices", json!({ "uid": "dev-01" })).await.status.is_success()
        );
        fleet
    }

    async fn device(&self) -> Value {
        self.api.catch_up().await;
        self.api.get("/devices/dev-01").await.json()
    }

    /// Waits until the device has this status, and then finds it so wherever one asks.
    async fn is(&self, status: &str) {
        eventually(status, async || {
            let device = self.device().await;
            if device["status"] == status { Ok(()) } else { Err(device) }
        })
        .await;
        let listed = self.api.get(&format!("/devices?status={status}&count=true")).await.json();
        assert_eq!((&listed["items"][0]["uid"], &listed["total"]), (&json!("dev-01"), &json!(1)), "{listed}");
        let answer = self.api.ask(r#"{ device(uid: "dev-01") { status } }"#).await;
        assert_eq!(answer["data"]["device"]["status"], status.to_uppercase(), "{answer}");
        let now = self.now().await;
        let then = self.api.get(&format!("/devices/dev-01?as_of={now}")).await.json();
        assert_eq!(then["status"], status, "{then}");
        let then = self.api.get(&format!("/devices?status={status}&as_of={now}")).await.json();
        assert_eq!(then["items"][0]["uid"], "dev-01", "{then}");
    }

    /// The time, by the database's clock.
    async fn now(&self) -> String {
        let now: DateTime<Utc> = sqlx::query_scalar("SELECT clock_timestamp()")
            .fetch_one(&mut self.node.owner().await)
            .await
            .expect("the time");
        now.to_rfc3339_opts(SecondsFormat::Micros, true)
    }

    /// The flags of the device's messages, in order.
    async fn flags(&self) -> Vec<Vec<String>> {
        let select = "SELECT ARRAY(SELECT json_array_elements_text(metadata -> 'flags')) FROM events
                      WHERE aggregate_id = 't0/dev-01' AND msg_id IS NOT NULL ORDER BY position";
        sqlx::query_scalar(select).fetch_all(&mut self.node.owner().await).await.expect("read")
    }
}

/// A CONNECT without a keep-alive.
fn connect_unwatched(version: u8) -> Vec<u8> {
    let mut connect = mqtt::connect(version, "dev-01", None);
    connect[11] = 0;
    connect
}

#[rstest]
#[case(V4)]
#[case(V5)]
#[tokio::test]
async fn a_connected_device_is_online_without_a_message(#[case] version: u8) {
    let fleet = Fleet::start(Duration::ZERO).await;
    fleet.is("offline").await;
    let mut device = Device::connect(fleet.node.address, version, "dev-01").await;
    device.subscribe(COMMANDS).await;
    fleet.is("online").await;
    let shown = fleet.device().await;
    assert!(shown["connected_at"].is_string() && shown["last_seen_at"].is_null(), "{shown}");
    drop(device);
    fleet.is("offline").await;
    assert_eq!(fleet.device().await["connected_at"], Value::Null);
}

#[tokio::test]
async fn a_connection_whose_client_may_be_silent_for_ever_says_nothing_by_standing() {
    let fleet = Fleet::start(Duration::ZERO).await;
    let mut device = Device::dial(fleet.node.address, V5).await;
    device.send(&connect_unwatched(V5)).await;
    assert_eq!(device.packet().await.expect("CONNACK")[0], 0x20);
    device.subscribe(COMMANDS).await;
    eventually("the connection", async || {
        let device = fleet.device().await;
        if device["connected_at"].is_string() { Ok(()) } else { Err(device) }
    })
    .await;
    fleet.is("offline").await;
}

#[tokio::test]
async fn whoever_listens_for_several_devices_speaks_for_none_of_them() {
    let fleet = Fleet::start(Duration::ZERO).await;
    let mut gateway = Device::connect(fleet.node.address, V5, "gateway").await;
    gateway.subscribe(COMMANDS).await;
    fleet.is("online").await;
    gateway.subscribe("t0/devices/dev-02/commands").await;
    fleet.is("offline").await;
}

#[tokio::test]
async fn devices_of_a_node_that_ends_without_a_word_are_not_online_for_ever() {
    let fleet = Fleet::start(Duration::ZERO).await;
    let sessions = Sessions::new(fleet.node.log.clone());
    let ended = Connections::beside(&sessions);
    let link = ended.begin("t0/dev-01".parse::<Name>().expect("a name"), true);
    ended.write().await.expect("written");
    fleet.is("online").await;
    // The node is killed: nothing of it is written any more.
    std::mem::forget(link);
    let mut owner = fleet.node.owner().await;
    owner
        .execute("UPDATE device_nodes SET seen_at = clock_timestamp() - interval '1 minute'")
        .await
        .expect("aged");
    fleet.is("offline").await;
    Sessions::new(fleet.node.log.clone()).sweep().await.expect("swept");
    let open: i64 = sqlx::query_scalar("SELECT count(*) FROM device_connections WHERE ended_at IS NULL")
        .fetch_one(&mut owner)
        .await
        .expect("read");
    assert_eq!(open, 0);
    fleet.is("offline").await;
}

#[tokio::test]
async fn an_answer_to_a_command_is_a_sign_of_life() {
    let fleet = Fleet::start(Duration::from_hours(1)).await;
    fleet.api.ship_types().await;
    let stop = CancellationToken::new();
    let _stopping = stop.clone().drop_guard();
    tokio::spawn(Dispatcher::new(fleet.node.log.clone(), Arc::new(fleet.node.outlet.clone())).run(stop));
    let before = fleet.device().await;
    assert_eq!((&before["status"], &before["last_seen_at"]), (&json!("offline"), &Value::Null));
    let mut gateway = Device::connect(fleet.node.address, V5, "gateway").await;
    // Its connection says nothing of the device: it listens for another one, too.
    gateway.subscribe("t0/devices/dev-02/commands").await;
    gateway.subscribe(COMMANDS).await;
    let sent = fleet.api.send(Method::POST, "/devices/dev-01/commands", json!({ "cmd": "ping" })).await;
    assert!(sent.status.is_success(), "{}", sent.text);
    let command: Value = serde_json::from_slice(&gateway.message().await).expect("JSON");
    let answer = json!({ "cmd_id": command["cmd_id"], "status": "ack" });
    gateway.report("t0/devices/dev-01/command_ack", answer.to_string()).await;
    fleet.is("online").await;
    let after = fleet.device().await;
    assert!(after["last_seen_at"].is_string(), "{after}");
    assert_eq!(after["last_control_event"], before["last_control_event"], "nothing was changed");
    let sorted = fleet.api.get("/devices?sort=-last_seen_at").await.json();
    assert_eq!(sorted["items"][0]["last_seen_at"], after["last_seen_at"]);
    for query in ["devices/dev-01", "devices?sort=-last_seen_at"] {
        let mark = if query.contains('?') { '&' } else { '?' };
        let now = fleet.now().await;
        let then = fleet.api.get(&format!("/{query}{mark}as_of={now}")).await.json();
        let then = then.get("items").map_or(&then, |items| &items[0]);
        assert_eq!(then["last_seen_at"], after["last_seen_at"], "{query}");
    }
}

#[rstest]
#[case(V4)]
#[case(V5)]
#[tokio::test]
async fn a_device_that_says_it_is_offline_is_so_until_its_next_sign_of_life(#[case] version: u8) {
    let fleet = Fleet::start(Duration::from_hours(1)).await;
    let mut device = Device::connect(fleet.node.address, version, "dev-01").await;
    device.report(TELEMETRY, r#"{"t":1}"#).await;
    fleet.is("online").await;
    device.report(STATUS, "Offline").await;
    fleet.is("offline").await;
    let shown = fleet.device().await;
    assert_eq!((&shown["messages"], &shown["last_reading"]["payload"]), (&json!(2), &json!({ "t": 1 })));
    device.report(STATUS, r#"{"status":"online"}"#).await;
    fleet.is("online").await;
    device.report(STATUS, "0").await;
    fleet.is("offline").await;
    device.report(TELEMETRY, r#"{"t":2}"#).await;
    fleet.is("online").await;
    // A connection that begins later is one, too.
    device.report(STATUS, "false").await;
    fleet.is("offline").await;
    device.subscribe(COMMANDS).await;
    fleet.is("online").await;
    device.report(STATUS, "away").await;
    assert_eq!(fleet.node.quarantined(STATUS).await, [(Some("t0".to_owned()), "bad_status".to_owned())]);
}

const EXPECTED: &str = "expected 1 to 604800 seconds, which is a week, or null";

#[tokio::test]
async fn a_device_has_a_threshold_of_its_own() {
    let fleet = Fleet::start(Duration::ZERO).await;
    let mut device = Device::connect(fleet.node.address, V5, "dev-01").await;
    device.report(TELEMETRY, "{}").await;
    fleet.is("offline").await;
    let set = async |within: Value| {
        let change = json!({ "online_within_s": within });
        fleet.api.send(Method::PATCH, "/devices/dev-01", change).await
    };
    assert!(set(json!(604_800)).await.status.is_success());
    fleet.is("online").await;
    assert_eq!(fleet.device().await["online_within_s"], 604_800);
    for bad in [json!(0), json!(604_801), json!(-1), json!(1.5), json!("60")] {
        let refused = set(bad.clone()).await;
        assert_eq!(refused.refusal(), "422 invalid", "{bad}");
        let expected = json!([{"field": "online_within_s", "reason": EXPECTED}]);
        assert_eq!(refused.json()["errors"], expected, "{bad}");
    }
    for bad in [0, 604_801, -1, 5_000_000_000_i64] {
        let change =
            format!(r#"changeDevice(uid: "dev-01", input: {{ onlineWithinS: {bad} }}) {{ position }}"#);
        let refused = fleet.api.ask(&format!("mutation {{ {change} }}")).await;
        assert_eq!(refused["errors"][0]["message"], format!("onlineWithinS: {EXPECTED}"), "{bad}");
    }
    assert!(set(Value::Null).await.status.is_success());
    fleet.is("offline").await;
    let by_graphql = async |within: &str| {
        let change = format!(r#"changeDevice(uid: "dev-01", input: {{ {within} }}) {{ position }}"#);
        fleet.api.ask(&format!("mutation {{ {change} }}")).await["data"]["changeDevice"]["position"]
            .is_string()
    };
    assert!(by_graphql("onlineWithinS: 3600").await);
    fleet.is("online").await;
    assert!(by_graphql(r#"name: "pump""#).await);
    fleet.is("online").await;
    assert!(by_graphql("onlineWithinS: null").await);
    fleet.is("offline").await;
    assert!(!by_graphql("").await, "refused");
    assert_eq!(fleet.device().await["online_within_s"], Value::Null);
    assert_eq!(set(Value::Null).await.json()["position"], Value::Null, "nothing to change");
}
