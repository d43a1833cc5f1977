//! The log itself, quarantine and projections over REST.

use chrono::Utc;
use fleetlog_access::Role;
use fleetlog_event_log::quarantine::Refused;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::Api;
use crate::support::api::answer;

fn refused(tenant: Option<&str>, n: usize) -> Refused {
    Refused {
        tenant: tenant.map(str::to_owned),
        topic: format!("topic/{n}"),
        payload: b"\xff\x00payload".to_vec(),
        whole: None,
        reason: "bad_topic",
        detail: "the topic is not one of ours".into(),
        received_at: Utc::now(),
    }
}

#[tokio::test]
async fn an_auditor_reads_every_event_of_a_log_in_order() {
    let api = Api::start().await;
    api.publish("dev-01", (0..5).map(|n| json!({"n": n}))).await;
    api.publish("dev-02", [json!({"n": 5})]).await;
    let (mut positions, mut after) = (vec![], 0);
    loop {
        let path = format!("/events?log=telemetry&after={after}&limit=4");
        let page = api.send_as(Role::Auditor, Method::GET, &path, None).await.json();
        positions
            .extend(page["items"].as_array().expect("items").iter().map(|event| event["position"].clone()));
        let Some(next) = page["next_cursor"].as_str() else { break };
        after = next.parse().expect("a position");
    }
    assert_eq!(positions, (1..=6).map(Value::from).collect::<Vec<_>>());

    let streams = |page: Value| {
        let items = page["items"].as_array().expect("items").iter();
        items.map(|event| event["aggregate_id"].as_str().expect("a stream").to_owned()).collect::<Vec<_>>()
    };
    let control = api.get("/events").await.json();
    // The first event is the first admin's registration.
    assert_eq!(streams(control.clone())[1..], ["t0/dev-01", "t0/dev-02"]);
    let log = control["items"][0]["log_id"].as_i64().expect("a log");
    for path in [
        format!("/events?log={log}&aggregate=dev-02"),
        "/events?aggregate=t0/dev-02&type=DeviceRegistered".to_owned(),
    ] {
        assert_eq!(streams(api.get(&path).await.json()), ["t0/dev-02"], "{path}");
    }
    assert_eq!(streams(api.get("/events?type=DeviceUpdated").await.json()), Vec::<String>::new());
}

#[tokio::test]
async fn a_tenant_sees_its_own_logs_only() {
    let api = Api::start().await;
    api.add_tenant("t1").await;
    let foreign = api.log_of("t1", fleetlog_event_log::Lane::Control);
    let logs = api.get("/logs").await.json();
    let lanes: Vec<_> =
        logs["items"].as_array().expect("items").iter().map(|log| log["lane"].clone()).collect();
    assert_eq!(lanes, ["control", "telemetry"]);
    assert_eq!(api.get(&format!("/events?log={foreign}")).await.refusal(), "404 not_found");
    assert_eq!(api.get("/events?log=999").await.refusal(), "404 not_found");
    assert_eq!(api.get(&format!("/devices?min_position={foreign}:0")).await.refusal(), "422 invalid");
}

#[tokio::test]
async fn quarantine_is_shown_newest_first_and_the_nameless_only_to_the_platforms_admins() {
    let api = Api::start().await;
    api.add_tenant("t1").await;
    let messages = [refused(Some("t0"), 1), refused(None, 2), refused(Some("t1"), 3), refused(Some("t0"), 4)];
    api.log.quarantine(&messages).await.expect("quarantined");
    let topics = |page: &Value| {
        let items = page["items"].as_array().expect("items").iter();
        items.map(|item| item["topic"].as_str().expect("a topic").to_owned()).collect::<Vec<_>>()
    };
    let first = api.get("/quarantine?limit=2").await.json();
    assert_eq!(topics(&first), ["topic/4", "topic/2"]);
    let cursor = first["next_cursor"].as_str().expect("more");
    assert_eq!(topics(&api.get(&format!("/quarantine?cursor={cursor}")).await.json()), ["topic/1"]);
    assert_eq!(first["items"][0]["excerpt"], "\u{fffd}\u{0}payload");
    let stranger = api.request(Method::GET, "/quarantine").bearer_auth(api.token("t1", Role::Admin));
    assert_eq!(topics(&answer(stranger).await.json()), ["topic/3"]);
}

#[tokio::test]
async fn every_projection_says_how_far_it_has_got() {
    let api = Api::start().await;
    api.publish("dev-01", (0..5).map(|n| json!({"n": n}))).await;
    api.catch_up().await;
    let page = api.get("/projections").await.json();
    let shown: Vec<_> = page["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|one| {
            json!([one["projection"], one["state"], one["position"], one["head"], one["lag"], one["error"]])
        })
        .collect();
    assert_eq!(
        shown,
        [
            json!(["commands", "following", 2, 2, 0, null]),
            json!(["devices", "following", 7, 7, 0, null]),
            json!(["telemetry_windows", "following", 5, 5, 0, null]),
        ]
    );
}
