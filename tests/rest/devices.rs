//! Devices over REST.

use std::time::Duration;

use fleetlog_access::Role;
use fleetlog_aggregates::device::{Device, Labels, Via};
use fleetlog_api::Settings;
use fleetlog_event_log::control::{Actor, Metadata};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::Executor;

use crate::support::api::{Answer, answer, user_id};
use crate::support::{Api, register_device};

fn uids(page: &Value) -> Vec<&str> {
    page["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|device| device["uid"].as_str().expect("a uid"))
        .collect()
}

async fn registered(api: &Api, body: Value) -> Answer {
    api.send(Method::POST, "/api/v1/devices", body).await
}

#[tokio::test]
async fn a_device_is_registered_changed_and_taken_out_of_service() {
    let api = Api::start().await;
    let new = json!({"uid": "dev-01", "name": "boiler", "labels": {"site": "hanoi"}});
    let answered = registered(&api, new.clone()).await;
    assert_eq!(answered.status, StatusCode::CREATED, "{}", answered.text);
    assert_eq!(answered.header("location"), "/api/v1/devices/dev-01");
    assert_eq!(registered(&api, new).await.refusal(), "409 already_registered");

    let changed = api.send(Method::PATCH, "/devices/dev-01", json!({"name": "pump"})).await.json();
    let position = changed["position"].as_str().expect("a position");
    let device = api.get(&format!("/devices/dev-01?min_position={position}")).await.json();
    assert_eq!((&device["name"], &device["labels"]), (&json!("pump"), &json!({"site": "hanoi"})));
    let same = api.send(Method::PATCH, "/devices/dev-01", json!({"name": "pump"})).await;
    assert_eq!((same.status, &same.json()["position"]), (StatusCode::OK, &Value::Null));

    let gone = api.send_as(Role::Admin, Method::DELETE, "/devices/dev-01", None).await.json();
    let position = gone["position"].as_str().expect("a position");
    let page = api.get(&format!("/devices?min_position={position}")).await.json();
    assert_eq!(uids(&page), Vec::<&str>::new());
    assert_eq!(uids(&api.get("/devices?status=decommissioned").await.json()), ["dev-01"]);
    let answered = api.send(Method::PATCH, "/devices/dev-01", json!({"name": "x"})).await;
    assert_eq!(answered.refusal(), "409 decommissioned");
    assert_eq!(registered(&api, json!({"uid": "dev-01"})).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn nothing_new_is_named_by_dots_only_which_no_url_can_hold() {
    let api = Api::start().await;
    for dots in [".", "..", "..."] {
        let refused = registered(&api, json!({"uid": dots})).await;
        assert_eq!(
            (refused.refusal(), &refused.json()["errors"][0]["field"]),
            ("422 invalid".into(), &json!("uid"))
        );
        let refused = api.send(Method::POST, "/tenants", json!({"tenant": dots})).await;
        assert_eq!(
            (refused.refusal(), &refused.json()["errors"][0]["field"]),
            ("422 invalid".into(), &json!("tenant"))
        );
    }
    // Clients drop `.` and `..` from a path before they send it; three dots arrive.
    for (path, body) in [
        ("/command-types/...", json!({"params": {}})),
        ("/policies/...", json!({"source": "permit (principal, action, resource);"})),
    ] {
        let refused = api.send(Method::PUT, path, body).await;
        assert_eq!(
            (refused.refusal(), &refused.json()["errors"][0]["field"]),
            ("422 invalid".into(), &json!("name"))
        );
    }
    assert_eq!(registered(&api, json!({"uid": "..-"})).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn what_a_user_does_is_on_the_record_with_the_user_and_the_request() {
    let api = Api::start().await;
    let request = api
        .request(Method::POST, "/devices")
        .bearer_auth(api.token("t0", Role::Operator))
        .header("x-request-id", "trace-17")
        .json(&json!({"uid": "dev-01"}));
    assert_eq!(answer(request).await.header("x-request-id"), "trace-17");
    let events = api.get("/events?aggregate=dev-01").await.json();
    assert_eq!(
        events["items"][0]["metadata"],
        json!({"actor": user_id("t0", Role::Operator), "correlation_id": "trace-17"})
    );
    assert_eq!(events["items"][0]["payload"], json!({"DeviceRegistered": {"via": "api"}}));
}

#[tokio::test]
async fn pages_follow_each_other_without_gap_or_repeat() {
    let api = Api::start().await;
    for n in 1..=5 {
        registered(&api, json!({"uid": format!("dev-{n}"), "name": format!("Boiler {n}")})).await;
    }
    api.catch_up().await;
    for sort in ["uid", "-uid", "registered_at", "-last_seen_at"] {
        let (mut seen, mut cursor) = (vec![], String::new());
        loop {
            let page = api.get(&format!("/devices?limit=2&sort={sort}&count=true{cursor}")).await.json();
            assert_eq!(page["total"], 5);
            seen.extend(uids(&page).into_iter().map(str::to_owned));
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        if sort == "-uid" {
            seen.reverse();
        }
        if sort == "-last_seen_at" {
            seen.sort();
        }
        assert_eq!(seen, ["dev-1", "dev-2", "dev-3", "dev-4", "dev-5"], "{sort}");
    }
    assert_eq!(uids(&api.get("/devices?q=BOILER%203").await.json()), ["dev-3"]);
    assert_eq!(api.get("/devices").await.json()["total"], Value::Null);
    let other =
        api.get("/devices?sort=uid&limit=1").await.json()["next_cursor"].as_str().expect("more").to_owned();
    assert_eq!(api.get(&format!("/devices?sort=-uid&cursor={other}")).await.refusal(), "422 invalid");
}

#[tokio::test]
async fn a_device_is_online_while_it_is_heard_of() {
    let api = Api::start().await;
    api.publish("dev-01", [json!({"t": 1})]).await;
    registered(&api, json!({"uid": "dev-02"})).await;
    api.catch_up().await;
    assert_eq!(uids(&api.get("/devices?status=online").await.json()), ["dev-01"]);
    assert_eq!(uids(&api.get("/devices?status=offline").await.json()), ["dev-02"]);
    let device = api.get("/devices/dev-01").await.json();
    assert_eq!((&device["messages"], &device["last_reading"]["payload"]), (&json!(1), &json!({"t": 1})));

    let strict = Settings { online_within: Duration::ZERO, ..Settings::default() };
    let api = Api::start_with(strict).await;
    api.publish("dev-01", [json!({"t": 1})]).await;
    api.catch_up().await;
    assert_eq!(api.get("/devices/dev-01").await.json()["status"], "offline");
}

#[tokio::test]
async fn another_tenants_device_answers_like_one_that_does_not_exist() {
    let api = Api::start().await;
    api.add_tenant("t1").await;
    api.publish_of("t1", "secret", [json!({"t": 1})]).await;
    api.catch_up().await;
    let anonymous = |answer: Answer| {
        let mut problem = answer.json();
        problem["request_id"] = Value::Null;
        (answer.status, problem.to_string())
    };
    for (method, path, body) in [
        (Method::GET, "/devices/{}", None),
        (Method::GET, "/telemetry/{}", None),
        (Method::GET, "/telemetry/{}/windows", None),
        (Method::GET, "/devices/{}/metrics", None),
        (Method::PATCH, "/devices/{}", Some(json!({"name": "mine"}))),
        (Method::DELETE, "/devices/{}", None),
    ] {
        let send = async |uid: &str| {
            api.send_as(Role::Admin, method.clone(), &path.replace("{}", uid), body.clone()).await
        };
        let (secret, unknown) = (send("secret").await, send("unknown").await);
        assert_eq!(secret.refusal(), "404 not_found", "{method} {path}");
        assert_eq!(anonymous(secret), anonymous(unknown), "{method} {path}");
    }
    assert_eq!(uids(&api.get("/devices").await.json()), Vec::<&str>::new());
}

#[tokio::test]
async fn a_write_that_the_read_model_does_not_show_in_time_is_refused_with_a_time_to_try_again() {
    let api = Api::start().await;
    let _counting = metrics::set_default_local_recorder(&api.recorder);
    api.send(Method::POST, "/devices", json!({"uid": "dev-01"})).await;
    api.catch_up().await;
    // Nobody may move the checkpoints.
    let seal = "UPDATE projection_checkpoints SET sealed = true WHERE projection = 'devices'";
    api.database.owner().await.execute(seal).await.expect("sealed");
    let written = api.send(Method::POST, "/devices", json!({"uid": "dev-02"})).await.json();
    let path = format!("/devices?min_position={}", written["position"].as_str().expect("a position"));
    let answered = api.get(&path).await;
    assert_eq!(answered.refusal(), "503 not_yet");
    assert_eq!(answered.header("retry-after"), "1");
    let counted = api.recorder.handle().render();
    assert!(counted.contains(r#"path="/devices",status="not_yet""#), "{counted}");
    assert!(!counted.contains(r#"status="503""#), "any caller could ring the alert: {counted}");
}

#[tokio::test]
async fn a_position_beyond_the_head_is_no_write_and_one_of_another_node_is() {
    let api = Api::start().await;
    let written = api.send(Method::POST, "/devices", json!({"uid": "dev-01"})).await.json();
    let (log, head) = written["position"].as_str().and_then(|at| at.split_once(':')).expect("a position");
    let head: i64 = head.parse().expect("a number");
    for path in ["/devices", "/devices/dev-01", "/commands", "/events"] {
        let answered = api.get(&format!("{path}?min_position={log}:{}", head + 1)).await;
        assert_eq!(answered.refusal(), "422 invalid", "{path}");
        let reason = format!("expected a position up to {head}, where the log ends now");
        assert_eq!(answered.json()["errors"][0]["reason"], reason, "{path}");
    }
    // This node has not heard of it yet.
    let there = api.database.event_log().await;
    let (stream, new) =
        ("t0/dev-02".parse().expect("a stream"), register_device(Via::Api, None, Labels::new()));
    there.execute::<Device>(&stream, new, Metadata::by(Actor::Fleetlog)).await.expect("registered");
    let answered = api.get(&format!("/devices/dev-02?min_position={log}:{}", head + 1)).await;
    assert_eq!(answered.status, StatusCode::OK, "{}", answered.text);
}

#[tokio::test]
async fn null_is_as_good_as_absent_for_what_is_optional_in_a_creation() {
    let api = Api::start().await;
    let nulls = json!({"uid": "dev-01", "name": null, "labels": null});
    let registered = api.send(Method::POST, "/devices", nulls).await;
    assert_eq!(registered.status, StatusCode::CREATED, "{}", registered.text);
    let change = json!({"name": "Dev", "labels": null});
    assert_eq!(api.send(Method::PATCH, "/devices/dev-01", change).await.status, StatusCode::OK);
    let nothing = api.send(Method::PATCH, "/devices/dev-01", json!({"name": null})).await;
    assert_eq!(nothing.refusal(), "422 invalid", "a name cannot be cleared, so nothing would change");
    let limits = json!({"max_users": 5, "retention_days": 7});
    assert_eq!(api.send(Method::PATCH, "/tenants/t0", limits).await.json()["max_users"], 5);
    let cleared = json!({"max_users": null, "tier": null, "registration": null});
    let cleared = api.send(Method::PATCH, "/tenants/t0", cleared).await.json();
    let [users, days] = [&cleared["max_users"], &cleared["retention_days"]];
    assert_eq!(json!([users, days]), json!([null, 7]), "{cleared}");
}

#[tokio::test]
async fn devices_are_found_by_all_of_their_labels_now_and_then() {
    let api = Api::start().await;
    for (uid, labels) in [
        ("dev-01", json!({"site": "hanoi", "floor": "3"})),
        ("dev-02", json!({"site": "hanoi"})),
        ("dev-03", json!({"floor": "3"})),
        ("dev-04", json!({})),
    ] {
        let answered = registered(&api, json!({"uid": uid, "labels": labels})).await;
        assert_eq!(answered.status, StatusCode::CREATED, "{}", answered.text);
    }
    api.catch_up().await;
    let then = api.get("/logs").await.json()["items"][0]["head"].as_i64().expect("a head");
    for (label, wanted) in [
        ("site=hanoi", vec!["dev-01", "dev-02"]),
        ("site=hanoi,floor=3", vec!["dev-01"]),
        ("site=hue", vec![]),
        ("site=", vec![]),
    ] {
        let page = api.get(&format!("/devices?label={label}&count=true")).await.json();
        assert_eq!((uids(&page), &page["total"]), (wanted.clone(), &json!(wanted.len())), "{label}");
        let page = api.get(&format!("/devices?label={label}&as_of=1:{then}")).await.json();
        assert_eq!(uids(&page), wanted, "{label}");
        let words: Vec<&str> = label.split(',').collect();
        let query =
            format!("{{ devices(filter: {{ label: {} }}) {{ totalCount nodes {{ uid }} }} }}", json!(words));
        let answer = api.send(Method::POST, "/graphql", json!({ "query": query })).await.json();
        let nodes = wanted.iter().map(|uid| json!({ "uid": uid })).collect::<Vec<_>>();
        assert_eq!(
            answer["data"]["devices"],
            json!({ "totalCount": wanted.len(), "nodes": nodes }),
            "{label}"
        );
    }
    let refused = api.get("/devices?label=hanoi").await;
    assert_eq!(
        (refused.refusal(), &refused.json()["errors"][0]["field"]),
        ("422 invalid".into(), &json!("label"))
    );
}
