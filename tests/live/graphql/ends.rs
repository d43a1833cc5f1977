//! How subscriptions end: with a code, and the place to go on from.

use fleetlog_access::Role;
use reqwest::Method;
use serde_json::{Value, json};

use super::{READINGS, streamed};
use crate::support::Api;
use crate::support::api::user_id;
use crate::support::graphql_ws::{Said, Socket};

#[tokio::test]
async fn a_connection_is_closed_with_its_callers_session_whether_it_follows_anything_or_not() {
    let api = Api::start().await;
    let (mut idle, mut socket) = (Socket::of(&api, Role::Viewer).await, Socket::of(&api, Role::Viewer).await);
    let begin = socket.follow("1", READINGS, json!({})).await;
    let mut stream = streamed(&api, Role::Viewer, READINGS, json!({})).await;
    stream.next().await.expect("the beginning");
    let ended = api.send_as(Role::Viewer, Method::POST, "/auth/logout", None).await;
    assert!(ended.status.is_success(), "{}", ended.text);
    assert_eq!((idle.next().await.code(), socket.next().await.code()), (4403, 4403));
    let told = stream.next().await.expect("a message").data;
    assert_eq!(
        told["errors"][0]["extensions"],
        json!({"code": "unauthenticated", "at": begin["at"]}),
        "{told}"
    );
}

#[tokio::test]
async fn a_subscription_ends_with_an_error_when_its_caller_may_follow_no_more() {
    let api = Api::start().await;
    let mut socket = Socket::of(&api, Role::Viewer).await;
    let begin = socket.follow("1", READINGS, json!({})).await;
    let source = format!(
        r#"forbid (principal == User::"{}", action == Action::"streams.follow", resource);"#,
        user_id("t0", Role::Viewer)
    );
    let put = api.send(Method::PUT, "/policies/no-streams", json!({"source": source})).await;
    assert!(put.status.is_success(), "{}", put.text);
    let Said::Message(error) = socket.next().await else { panic!("closed") };
    assert_eq!((&error["type"], &error["id"]), (&json!("error"), &json!("1")), "{error}");
    assert_eq!(error["payload"][0]["extensions"], json!({"code": "forbidden", "at": begin["at"]}));
    // The connection has no right to another one.
    socket.subscribe("2", READINGS, json!({})).await;
    assert_eq!(socket.next().await.code(), 4403);
}

#[tokio::test]
async fn a_policy_that_comes_later_holds_for_the_parts_of_a_message_too() {
    let api = Api::start().await;
    let query = "subscription { deviceChanged { device { uid commands(first: 1) { nodes { id } } } } }";
    let mut socket = Socket::of(&api, Role::Operator).await;
    socket.follow("1", query, json!({})).await;
    api.publish("dev-01", [json!({"n": 0})]).await;
    assert_eq!(socket.data("1").await["device"]["commands"]["nodes"], json!([]));
    let forbid = r#"forbid (principal, action == Action::"commands.read", resource);"#;
    let put = api.send(Method::PUT, "/policies/no-commands", json!({"source": forbid})).await;
    assert!(put.status.is_success(), "{}", put.text);
    for n in 2..10_000 {
        api.publish(&format!("dev-{n:02}"), [json!({"n": 0})]).await;
        let payload = socket.next().await.payload("1");
        if payload["errors"] != Value::Null {
            assert_eq!(payload["errors"][0]["extensions"]["code"], "forbidden", "{payload}");
            return;
        }
    }
    panic!("the policy never held");
}

#[tokio::test]
async fn a_service_that_stops_tells_its_clients_to_come_back() {
    let api = Api::start().await;
    let other = api.another_node().await;
    let mut idle = Socket::of(&api, Role::Viewer).await;
    let mut socket = Socket::of(&api, Role::Viewer).await;
    let mut stream = streamed(&api, Role::Viewer, READINGS, json!({})).await;
    stream.next().await.expect("the beginning");
    socket.follow("1", READINGS, json!({})).await;
    other.publish("dev-01", [json!({"n": 0})]).await;
    let at = socket.data("1").await["at"].clone();
    stream.next().await.expect("the reading");
    api.stop();
    assert_eq!((idle.next().await.code(), socket.next().await.code()), (1001, 1001));
    assert_eq!(stream.next().await, None, "without `complete`, so that the client comes back");
    other.publish("dev-01", [json!({"n": 1})]).await;
    let mut socket = Socket::of(&other, Role::Viewer).await;
    socket.follow("1", READINGS, json!({"after": at})).await;
    assert_eq!(socket.data("1").await["reading"]["payload"], json!({"n": 1}));
}
