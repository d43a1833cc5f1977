//! Limits of callers, over all nodes.

use fleetlog_access::Role;
use reqwest::{Method, StatusCode};
use serde_json::json;

use super::{DAY, ask, ask_bare, let_through, put_tier};
use crate::support::api::answer;
use crate::support::{Api, until};

#[tokio::test]
async fn a_caller_who_asks_too_much_is_told_when_to_come_again() {
    let api = Api::start().await;
    api.add_tenant("t1").await;
    put_tier(&api, "enterprise", json!([{"path": "*", "requests": 3, "window_s": DAY}])).await;
    for left in [2, 1, 0] {
        let answered = ask(&api, "t1", Role::Viewer, "/devices").await;
        assert_eq!(answered.status, StatusCode::OK, "{}", answered.text);
        assert_eq!(answered.header("ratelimit-policy"), "\"default\";q=3;w=86400");
        assert!(answered.header("ratelimit").starts_with(&format!("\"default\";r={left};t=")));
    }
    let refused = ask(&api, "t1", Role::Viewer, "/api/v1/devices").await;
    assert_eq!(refused.refusal(), "429 too_many_requests");
    assert_eq!(refused.header("content-type"), "application/problem+json");
    assert_eq!(refused.json()["request_id"], refused.header("x-request-id"));
    let after: u64 = refused.header("retry-after").parse().expect("seconds");
    assert!((1..=86_400).contains(&after), "{after}");
    assert_eq!(refused.header("ratelimit"), format!("\"default\";r=0;t={after}"));
    assert_eq!(refused.header("ratelimit-policy"), "\"default\";q=3;w=86400");
    let colleague = ask(&api, "t1", Role::Operator, "/devices").await;
    assert_eq!(colleague.status, StatusCode::OK, "another caller has a limit of their own");
    for path in ["/healthz", "/readyz", "/metrics"] {
        let exempt = ask(&api, "t1", Role::Viewer, path).await;
        assert_ne!(exempt.status, StatusCode::TOO_MANY_REQUESTS, "{path}");
        assert_eq!(exempt.header("ratelimit"), "", "{path}");
    }
}

#[tokio::test]
async fn a_path_with_a_limit_of_its_own_uses_up_no_other() {
    let api = Api::start().await;
    let limits = json!([
        {"path": "*", "requests": 1000, "window_s": DAY},
        {"path": "POST /devices/{uid}/commands", "requests": 2, "window_s": DAY},
    ]);
    put_tier(&api, "enterprise", limits).await;
    api.publish("dev-01", [json!({"t": 1})]).await;
    let send = async |path: &str| {
        let command = json!({"cmd": "nothing", "params": {}});
        api.send_as(Role::Operator, Method::POST, path, Some(command)).await
    };
    assert_eq!(send("/devices/dev-01/commands").await.refusal(), "422 invalid");
    assert_eq!(send("/api/v1/devices/dev-01/command").await.refusal(), "422 invalid");
    assert_eq!(send("/devices/dev-02/commands").await.refusal(), "429 too_many_requests");
    assert_eq!(send("/devices/dev-01/command").await.refusal(), "429 too_many_requests", "its other name");
    let mutation = r#"mutation { sendCommand(input: {deviceUid: "dev-01", cmd: "ping"}) { position } }"#;
    let asked = json!({ "query": mutation });
    let asked = api.send_as(Role::Operator, Method::POST, "/graphql", Some(asked)).await.json();
    assert_eq!(asked["errors"][0]["extensions"]["code"], "too_many_requests", "{asked}");
    let listed = ask(&api, "t0", Role::Operator, "/devices/dev-01/commands").await;
    assert_eq!(listed.status, StatusCode::OK);
    assert!(listed.header("ratelimit-policy").starts_with("\"default\";q=1000;"));
}

#[tokio::test]
async fn two_nodes_share_an_exact_limit_to_the_request() {
    let (one, other) = {
        let one = Api::start().await;
        let other = one.another_node().await;
        (one, other)
    };
    one.add_tenant("t1").await;
    put_tier(&one, "enterprise", json!([{"path": "/devices", "requests": 10, "window_s": DAY}])).await;
    until("the other node knows the limit", async || {
        let policy = ask(&other, "t0", Role::Admin, "/devices").await.header("ratelimit-policy").to_owned();
        policy.starts_with("\"/devices\";q=10;")
    })
    .await;
    let at = |api| move || ask(api, "t1", Role::Viewer, "/devices");
    let (one, other) = tokio::join!(let_through(10, at(&one)), let_through(10, at(&other)));
    assert_eq!(one + other, 10);
}

#[tokio::test]
async fn two_nodes_share_a_large_limit_within_about_a_second() {
    let one = Api::start().await;
    let other = one.another_node().await;
    put_tier(&one, "enterprise", json!([{"path": "/devices", "requests": 100, "window_s": DAY}])).await;
    assert_eq!(let_through(100, || ask(&one, "t0", Role::Viewer, "/devices")).await, 100);
    assert_eq!(let_through(1, || ask(&one, "t0", Role::Viewer, "/devices")).await, 0);
    let through = std::cell::Cell::new(0);
    until("the other node refuses the caller too", async || {
        through.set(through.get() + 1);
        ask(&other, "t0", Role::Viewer, "/devices").await.status == StatusCode::TOO_MANY_REQUESTS
    })
    .await;
    assert!(through.get() < 100, "by what it has heard, not by what it has counted itself");
}

#[tokio::test]
async fn without_the_table_of_counts_each_node_still_limits_by_its_own() {
    let api = Api::start().await;
    put_tier(&api, "enterprise", json!([{"path": "/logs", "requests": 5, "window_s": DAY}])).await;
    let gone = "ALTER TABLE rate_counters RENAME TO gone";
    sqlx::raw_sql(gone).execute(&mut api.database.owner().await).await.expect("renamed");
    assert_eq!(let_through(20, || ask(&api, "t0", Role::Admin, "/logs")).await, 5);
}

#[tokio::test]
async fn whoever_is_nobody_is_limited_by_address() {
    let api = Api::start().await;
    put_tier(&api, "anonymous", json!([{"path": "*", "requests": 3, "window_s": DAY}])).await;
    assert_eq!(let_through(10, || ask_bare(&api, "/devices")).await, 3);
    let bad = answer(api.request(Method::GET, "/devices").bearer_auth("x")).await;
    assert_eq!(bad.refusal(), "429 too_many_requests", "a token that is none makes nobody somebody");
    assert_eq!(ask(&api, "t0", Role::Viewer, "/devices").await.status, StatusCode::OK);
}

#[tokio::test]
async fn pages_of_other_origins_may_read_what_is_left() {
    let api = Api::start_with(fleetlog_api::Settings {
        cors_origins: vec!["https://fleet.example".parse().expect("a value")],
        ..fleetlog_api::Settings::default()
    })
    .await;
    let request = api.request(Method::GET, "/devices").header("origin", "https://fleet.example");
    let exposed = answer(request).await.header("access-control-expose-headers").to_lowercase();
    for header in ["ratelimit", "ratelimit-policy", "retry-after"] {
        assert!(exposed.split(',').any(|exposed| exposed.trim() == header), "{exposed}");
    }
}
