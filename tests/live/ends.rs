//! How streams end: always with a reason, and with the place to go on from.

use fleetlog_access::Role;
use reqwest::Method;
use serde_json::json;

use crate::support::api::user_id;
use crate::support::{Api, Stream};

#[tokio::test]
async fn a_stream_ends_with_its_callers_session() {
    let api = Api::start().await;
    let mut stream = Stream::of(&api, Role::Viewer, "").await;
    let ended = api.send_as(Role::Viewer, Method::POST, "/auth/logout", None).await;
    assert!(ended.status.is_success(), "{}", ended.text);
    assert_eq!(stream.end().await, "unauthenticated");
}

#[tokio::test]
async fn a_stream_ends_when_its_callers_tenant_is_suspended() {
    let api = Api::start().await;
    api.add_tenant("t1").await;
    let request = api.request(Method::GET, "/stream").bearer_auth(api.token("t1", Role::Admin));
    let mut stream = Stream::open(request).await.unwrap_or_else(|answer| panic!("{}", answer.text));
    let suspended = api.send(Method::PATCH, "/tenants/t1", json!({"suspended": true})).await;
    assert!(suspended.status.is_success(), "{}", suspended.text);
    assert_eq!(stream.end().await, "unauthenticated");
}

#[tokio::test]
async fn a_stream_ends_when_its_key_is_revoked() {
    let api = Api::start().await;
    let issued = api
        .send(
            Method::POST,
            "/api-keys",
            json!({"name": "k", "actions": ["streams.follow", "telemetry.read"]}),
        )
        .await;
    let (key, key_id) = (issued.json()["key"].clone(), issued.json()["key_id"].clone());
    let key = key.as_str().unwrap_or_else(|| panic!("{}", issued.text));
    let request = api.request(Method::GET, "/stream").bearer_auth(key);
    let mut stream = Stream::open(request).await.unwrap_or_else(|answer| panic!("{}", answer.text));
    let path = format!("/api-keys/{}", key_id.as_str().expect("an id"));
    let revoked = api.send_as(Role::Admin, Method::DELETE, &path, None).await;
    assert!(revoked.status.is_success(), "{}", revoked.text);
    assert_eq!(stream.end().await, "unauthenticated");
}

#[tokio::test]
async fn a_stream_ends_when_its_caller_may_follow_no_more() {
    let api = Api::start().await;
    let mut stream = Stream::of(&api, Role::Viewer, "").await;
    let source = format!(
        r#"forbid (principal == User::"{}", action == Action::"streams.follow", resource);"#,
        user_id("t0", Role::Viewer)
    );
    let put = api.send(Method::PUT, "/policies/no-streams", json!({"source": source})).await;
    assert!(put.status.is_success(), "{}", put.text);
    assert_eq!(stream.end().await, "forbidden");
}

#[tokio::test]
async fn a_service_that_stops_ends_its_streams_with_the_place_to_go_on_from() {
    let api = Api::start().await;
    let other = api.another_node().await;
    other.publish("dev-01", [json!({"n": 0})]).await;
    let mut stream = Stream::of(&api, Role::Admin, "from=start&log=telemetry").await;
    assert_eq!(stream.event().await["position"], 1);
    api.stop();
    assert_eq!(stream.end().await, "shutdown");
    other.publish("dev-01", [json!({"n": 1})]).await;
    let mut stream = Stream::of(&other, Role::Admin, &format!("log=telemetry&after={}", stream.last)).await;
    assert_eq!(stream.event().await["position"], 2);
}
