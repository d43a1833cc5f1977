//! A tenant's room for devices, and what a suspended tenant's devices send.

use fleetlog_access::Role;
use fleetlog_aggregates::telemetry::Reason;
use fleetlog_engine::ingest::Fate;
use reqwest::{Method, StatusCode};
use serde_json::json;

use super::{change, register, send};
use crate::support::{Api, Node, until};

async fn report(node: &Node, uid: &str) -> Fate {
    node.ingest(&format!("t1/devices/{uid}/telemetry"), r#"{"t":1}"#).await.expect("a fate")
}

/// Waits until a node knows a tenant's room.
async fn known(node: &Node, max_devices: Option<i32>) {
    until("the node knows the limit", async || node.log.terms().of("t1").max_devices == max_devices).await;
}

#[tokio::test]
async fn a_tenant_has_no_more_devices_than_it_may_have() {
    let api = Api::start().await;
    api.add_tenant("t1").await;
    change(&api, "t1", json!({"max_devices": 2})).await;
    for uid in ["dev-01", "dev-02"] {
        assert_eq!(register(&api, "t1", uid).await.status, StatusCode::CREATED);
    }
    assert_eq!(register(&api, "t1", "dev-03").await.refusal(), "409 device_limit");
    assert_eq!(register(&api, "t1", "dev-01").await.refusal(), "409 already_registered");
    let gone = send(&api, ("t1", Role::Admin), Method::DELETE, "/devices/dev-01", None).await;
    assert_eq!(gone.status, StatusCode::OK);
    assert_eq!(register(&api, "t1", "dev-03").await.status, StatusCode::CREATED, "there is room again");
    assert_eq!(register(&api, "t1", "dev-01").await.refusal(), "409 device_limit", "not for this one too");
    assert_eq!(register(&api, "t0", "dev-04").await.status, StatusCode::CREATED, "another tenant's");
    change(&api, "t1", json!({"max_devices": null})).await;
    assert_eq!(register(&api, "t1", "dev-01").await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn of_registrations_at_once_on_several_nodes_only_as_many_succeed_as_there_is_room() {
    let api = Api::start().await;
    api.add_tenant("t1").await;
    change(&api, "t1", json!({"max_devices": 5})).await;
    let other = api.another_node().await;
    let node = Node::start_on(api.database.options(), |_, _| ()).await;
    known(&node, Some(5)).await;
    let over_http = async |api: &Api, who: &str| {
        let uids: Vec<_> = (0..12).map(|n| format!("{who}-{n}")).collect();
        let answers = futures::future::join_all(uids.iter().map(|uid| register(api, "t1", uid))).await;
        answers.iter().filter(|answered| answered.status == StatusCode::CREATED).count()
    };
    let over_mqtt = async {
        let mut made = 0;
        for n in 0..6 {
            made += usize::from(matches!(report(&node, &format!("mqtt-{n}")).await, Fate::Recorded(_)));
        }
        made
    };
    let (one, two, three) = tokio::join!(over_http(&api, "one"), over_http(&other, "other"), over_mqtt);
    assert_eq!(one + two + three, 5, "{one} {two} {three}");
    api.catch_up().await;
    let listed = send(&api, ("t1", Role::Viewer), Method::GET, "/devices?count=true", None).await.json();
    assert_eq!(listed["total"], 5);
}

#[tokio::test]
async fn of_strangers_at_once_on_several_nodes_only_as_many_are_let_in_as_there_is_room() {
    let api = Api::start().await;
    api.add_tenant("t1").await;
    change(&api, "t1", json!({"max_devices": 5})).await;
    let nodes = [
        Node::start_on(api.database.options(), |_, _| ()).await,
        Node::start_on(api.database.options(), |_, _| ()).await,
    ];
    for node in &nodes {
        known(node, Some(5)).await;
    }
    let uids: Vec<_> = (0..8).map(|n| format!("dev-{n}")).collect();
    let reports = nodes.iter().flat_map(|node| uids.iter().map(move |uid| report(node, uid)));
    let fates = futures::future::join_all(reports).await;
    let let_in = |fates: &[Fate]| -> Vec<bool> {
        fates.iter().map(|fate| matches!(fate, Fate::Recorded(_))).collect()
    };
    let (one, other) = fates.split_at(uids.len());
    let either = let_in(one).into_iter().zip(let_in(other)).filter(|(one, other)| *one || *other);
    assert_eq!(either.count(), 5, "{fates:?}");
    let refused = |fate: &&Fate| **fate == Fate::Quarantined(Reason::DeviceLimit);
    assert!(fates.iter().filter(refused).count() >= 6, "{fates:?}");
    let registered = "SELECT count(*) FROM control_events
        WHERE aggregate_id LIKE 't1/%' AND event_type = 'DeviceRegistered'";
    let registered: i64 =
        sqlx::query_scalar(registered).fetch_one(&mut nodes[0].owner().await).await.expect("a count");
    assert_eq!(registered, 5);
}

#[tokio::test]
async fn a_stranger_without_room_is_quarantined_and_a_known_device_is_not() {
    let api = Api::start().await;
    api.add_tenant("t1").await;
    change(&api, "t1", json!({"max_devices": 1})).await;
    let node = Node::start_on(api.database.options(), |_, _| ()).await;
    assert!(matches!(report(&node, "dev-01").await, Fate::Recorded(_)));
    assert_eq!(report(&node, "dev-02").await, Fate::Quarantined(Reason::DeviceLimit));
    assert_eq!(report(&node, "dev-03").await, Fate::Quarantined(Reason::DeviceLimit));
    assert!(matches!(report(&node, "dev-01").await, Fate::Recorded(_)));
    change(&api, "t1", json!({"max_devices": 2})).await;
    known(&node, Some(2)).await;
    until("there is room", async || matches!(report(&node, "dev-02").await, Fate::Recorded(_))).await;
}

#[tokio::test]
async fn what_a_suspended_tenants_devices_send_is_quarantined_and_acknowledged() {
    let api = Api::start().await;
    api.add_tenant("t1").await;
    let node = Node::start_on(api.database.options(), |_, _| ()).await;
    assert!(matches!(report(&node, "dev-01").await, Fate::Recorded(_)));
    change(&api, "t1", json!({"suspended": true})).await;
    until("the node knows", async || node.log.terms().of("t1").suspended).await;
    assert_eq!(report(&node, "dev-01").await, Fate::Quarantined(Reason::TenantSuspended));
    let ack = json!({"cmd_id": "019a0000-0000-7000-8000-000000000001", "status": "ack"}).to_string();
    let ack = node.ingest("t1/devices/dev-01/command_ack", ack).await.expect("a fate");
    assert_eq!(ack, Fate::Quarantined(Reason::TenantSuspended));
    let others = node.ingest("t0/devices/dev-01/telemetry", r#"{"t":1}"#).await.expect("a fate");
    assert!(matches!(others, Fate::Recorded(_)), "{others:?}");
    change(&api, "t1", json!({"suspended": false})).await;
    until("the node knows", async || !node.log.terms().of("t1").suspended).await;
    assert!(matches!(report(&node, "dev-01").await, Fate::Recorded(_)));
}
