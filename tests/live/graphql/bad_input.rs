//! What is no subscription, no message and no caller.

use fleetlog_access::Role;
use reqwest::header::{COOKIE, HeaderMap, HeaderValue, ORIGIN};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{READINGS, streamed};
use crate::support::Api;
use crate::support::api::{PASSWORD, answer};
use crate::support::graphql_ws::{Said, Socket};

#[tokio::test]
async fn a_message_that_is_none_of_the_protocol_closes_the_connection_with_its_code() {
    let api = Api::start().await;
    let subscribe =
        |id: &str| json!({"type": "subscribe", "id": id, "payload": {"query": READINGS}}).to_string();
    for (messages, code) in [
        (vec!["x".to_owned()], 4400),
        (vec!["[]".to_owned()], 4400),
        (vec![json!({"type": "start"}).to_string()], 4400),
        (vec![json!({"type": "subscribe", "id": "1"}).to_string()], 4400),
        (vec![json!({"type": "subscribe", "id": "1", "payload": {"query": 1}}).to_string()], 4400),
        (vec![subscribe(&"x".repeat(129))], 4400),
        (vec!["{".repeat(100_000)], 4400),
        (vec![json!({"type": "connection_init"}).to_string()], 4429),
        (vec![subscribe("1"), subscribe("1")], 4409),
    ] {
        let mut socket = Socket::of(&api, Role::Viewer).await;
        for message in &messages {
            socket.say_text(message).await;
        }
        let closed = loop {
            match socket.next().await {
                Said::Message(_) => {}
                closed @ Said::Closed(_) => break closed,
            }
        };
        assert_eq!(closed.code(), code, "{:.100}", messages.concat());
    }
    let mut socket = Socket::of(&api, Role::Viewer).await;
    socket.say_binary(b"{}").await;
    assert_eq!(socket.next().await.code(), 4400);
}

#[tokio::test]
async fn a_connection_is_nobodys_until_it_says_whose() {
    let api = Api::start().await;
    let mut early = Socket::anonymous(&api).await;
    early.subscribe("1", READINGS, json!({})).await;
    assert_eq!(early.next().await.code(), 4401);
    let mut silent = Socket::anonymous(&api).await;
    for payload in [json!(null), json!({}), json!({"token": "x"}), json!({"authorization": "Basic x"})] {
        let mut socket = Socket::anonymous(&api).await;
        socket.say(json!({"type": "connection_init", "payload": payload})).await;
        assert_eq!(socket.next().await.code(), 4403, "{payload}");
    }
    let token = api.token("t0", Role::Viewer);
    for payload in [json!({"token": token}), json!({"Authorization": format!("Bearer {token}"), "more": 1})] {
        let mut socket = Socket::anonymous(&api).await;
        socket.say(json!({"type": "connection_init", "payload": payload})).await;
        assert_eq!(socket.next().await, Said::Message(json!({"type": "connection_ack"})));
        socket.follow("1", READINGS, json!({})).await;
    }
    assert_eq!(silent.next().await.code(), 4408);
}

#[tokio::test]
async fn a_cookie_opens_a_connection_for_a_page_of_ours_and_for_no_other() {
    let api = Api::start().await;
    let login = api.request(Method::POST, "/api/login").header("sec-fetch-site", "same-origin");
    let login = answer(login.json(&json!({"email": "admin@localhost", "password": PASSWORD}))).await;
    let cookie = login.header("set-cookie").split(';').next().unwrap_or_default().to_owned();
    for (origin, accepted) in [(api.url(), true), ("https://evil.example", false)] {
        let value = |text: &str| HeaderValue::from_str(text).expect("a header");
        let headers = HeaderMap::from_iter([(COOKIE, value(&cookie)), (ORIGIN, value(origin))]);
        let opened = Socket::open(&api, "/graphql/ws", Some("graphql-transport-ws"), headers).await;
        let mut socket = opened.unwrap_or_else(|status| panic!("{status}"));
        socket.say(json!({"type": "connection_init"})).await;
        match socket.next().await {
            Said::Message(ack) => assert!(accepted && ack["type"] == "connection_ack", "{origin}: {ack}"),
            Said::Closed(close) => {
                let (code, reason) = close.expect("a reason");
                assert!(!accepted && code == 4403, "{origin}: {code} {reason}");
                assert!(reason.starts_with("the cookie is not used: the page is not of this"), "{reason}");
            }
        }
    }
    let path = "/graphql/ws?ticket=flt_x";
    let opened = Socket::open(&api, path, Some("graphql-transport-ws"), HeaderMap::new()).await;
    let mut socket = opened.unwrap_or_else(|status| panic!("{status}"));
    socket.say(json!({"type": "connection_init"})).await;
    let Said::Closed(Some((4403, reason))) = socket.next().await else { panic!("let in") };
    assert!(reason.starts_with("the ticket is used, or over 30 s old, or none"), "{reason}");
}

#[tokio::test]
async fn only_the_protocol_opens_a_websocket() {
    let api = Api::start().await;
    for protocol in [None, Some("graphql-ws"), Some("mqtt")] {
        let refused = Socket::open(&api, "/graphql/ws", protocol, HeaderMap::new()).await;
        assert_eq!(refused.err(), Some(426), "{protocol:?}");
    }
    let plain = api.get("/graphql/ws").await;
    assert_eq!(plain.refusal(), "426 upgrade_required");
}

/// The code of the error that refuses a subscription.
async fn refusal(api: &Api, query: &str) -> (String, String) {
    let mut socket = Socket::of(api, Role::Viewer).await;
    socket.subscribe("1", query, json!({})).await;
    let Said::Message(error) = socket.next().await else { panic!("closed: {query}") };
    assert_eq!((&error["type"], &error["id"]), (&json!("error"), &json!("1")), "{query}: {error}");
    let mut stream = streamed(api, Role::Viewer, query, json!({})).await;
    let told = stream.next().await.expect("a message");
    assert_eq!(told.data["errors"], error["payload"], "{query}");
    let error = &error["payload"][0];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&error["extensions"]["code"]), text(&error["message"]))
}

#[tokio::test]
async fn a_subscription_that_cannot_be_followed_is_refused_with_a_code_and_the_argument() {
    let api = Api::start().await;
    let fields = ["a", "b", "c"]
        .map(|n| format!("{n}: device {{ commands(first: 100) {{ nodes {{ id }} }} }}"))
        .concat();
    for (query, code, message) in [
        ("subscription {", "invalid", "not valid GraphQL"),
        ("{ devices { nodes { uid } } }", "invalid", "only subscriptions are followed here"),
        ("mutation { cancelCommand(id: \"x\") { id } }", "invalid", "only subscriptions are followed here"),
        ("subscription { a: telemetry { at } b: telemetry { at } }", "invalid", "exactly one field"),
        ("subscription { telemetry { at } telemetry { at } }", "invalid", "exactly one field"),
        ("subscription { __typename }", "invalid", "exactly one field"),
        ("subscription { telemetry @skip(if: true) { at } }", "invalid", "without a directive"),
        ("subscription { ...F } fragment F on Subscription { telemetry { at } }", "invalid", "no fragment"),
        ("subscription { nothing { at } }", "invalid", "Unknown field"),
        ("subscription($u: String!) { telemetry(deviceUid: $u) { at } }", "invalid", "$u needs a value"),
        (&format!("subscription {{ deviceChanged {{ {fields} }} }}"), "invalid", "and the most is 500"),
        ("subscription { telemetry(after: \"x\") { at } }", "invalid", "after: expected the position"),
        ("subscription { telemetry(after: \"999:1\") { at } }", "invalid", "after: there is no log"),
        ("subscription { telemetry(deviceUid: \"a b\") { at } }", "invalid", "deviceUid: "),
        ("subscription { telemetry(metrics: []) { at } }", "invalid", "metrics: expected 1 to 100"),
        ("subscription { telemetry(maxRate: 0) { at } }", "invalid", "maxRate: expected 0.001"),
        ("subscription { telemetry(from: \"soon\") { at } }", "invalid", "from: expected now"),
        ("subscription { events(cmdId: \"x\") { at } }", "invalid", "cmdId: expected an id"),
        ("subscription { windowChanged(deviceUid: \"\") { at } }", "invalid", "deviceUid: "),
    ] {
        let (refused, text) = refusal(&api, query).await;
        assert!(refused == code && text.contains(message), "{query}: {refused}: {text}");
    }
    let answer = api.ask("subscription { telemetry { at } }").await;
    assert!(
        answer["errors"][0]["message"].as_str().is_some_and(|text| text.contains("/graphql/ws")),
        "{answer}"
    );
}

#[tokio::test]
async fn a_connection_has_32_subscriptions_at_most() {
    let api = Api::start().await;
    let mut socket = Socket::of(&api, Role::Viewer).await;
    for n in 0..32 {
        socket.follow(&n.to_string(), READINGS, json!({})).await;
    }
    socket.subscribe("more", READINGS, json!({})).await;
    let Said::Message(error) = socket.next().await else { panic!("closed") };
    assert_eq!(error["payload"][0]["extensions"]["code"], "too_many_subscriptions", "{error}");
    socket.say(json!({"type": "complete", "id": "7"})).await;
    socket.follow("more", READINGS, json!({})).await;
}

#[tokio::test]
async fn a_subscription_sent_to_the_stream_without_a_caller_is_refused_as_everywhere() {
    let api = Api::start().await;
    let request = api.request(Method::POST, "/graphql/stream").json(&json!({"query": READINGS}));
    assert_eq!(request.send().await.expect("an answer").status(), StatusCode::UNAUTHORIZED);
}
