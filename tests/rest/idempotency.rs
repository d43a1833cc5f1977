//! `Idempotency-Key` over REST: the same request twice is one command.

use std::collections::HashSet;

use fleetlog_access::Role;
use futures::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::commands::{ready, text};
use crate::support::Api;
use crate::support::api::{Answer, answer};

async fn keyed(api: &Api, key: &str, path: &str, body: &Value) -> Answer {
    let request = api.request(Method::POST, path).bearer_auth(api.token("t0", Role::Operator));
    answer(request.header("idempotency-key", key).json(body)).await
}

/// How many events of a type there are.
async fn recorded(api: &Api, event_type: &str) -> usize {
    let events = api.get(&format!("/events?limit=1000&type={event_type}")).await.json();
    events["items"].as_array().expect("items").len()
}

const PATH: &str = "/devices/dev-01/commands";

#[tokio::test]
async fn the_same_key_and_body_is_the_same_command_and_answer() {
    let api = ready().await;
    let body = json!({"cmd": "set_interval", "params": {"seconds": 5}});
    let first = keyed(&api, "k-1", PATH, &body).await;
    assert_eq!((first.status, first.header("idempotent-replayed")), (StatusCode::ACCEPTED, ""));
    let cancel = format!("/commands/{}/cancel", text(&first.json(), "cmd_id"));
    assert_eq!(api.send_as(Role::Operator, Method::POST, &cancel, None).await.status, StatusCode::OK);
    for path in [PATH, "/devices/dev-01/command"] {
        let again = keyed(&api, "k-1", path, &body).await;
        assert_eq!(
            (again.status, &again.text),
            (StatusCode::ACCEPTED, &first.text),
            "whatever became of it since"
        );
        assert_eq!(again.header("idempotent-replayed"), "true");
        assert_eq!(again.header("location"), first.header("location"));
    }
    assert_eq!(recorded(&api, "CommandRequested").await, 1);
    assert_ne!(keyed(&api, "k-2", PATH, &body).await.text, first.text);
}

#[tokio::test]
async fn a_key_means_one_request_only() {
    let api = ready().await;
    let body = json!({"cmd": "ping"});
    assert_eq!(keyed(&api, "k-1", PATH, &body).await.status, StatusCode::ACCEPTED);
    for (path, body) in [
        (PATH, json!({"cmd": "reboot"})),
        (PATH, json!({"cmd": "ping", "params": {}})),
        (PATH, json!({"cmd": "ping", "timeout_s": 30})),
        ("/devices/dev-02/commands", body),
    ] {
        let refused = keyed(&api, "k-1", path, &body).await;
        assert_eq!(refused.refusal(), "422 idempotency_key_reused", "{path} {body}");
    }
    assert_eq!(recorded(&api, "CommandRequested").await, 1);
}

#[tokio::test]
async fn a_request_that_was_refused_leaves_its_key_free() {
    let api = ready().await;
    assert_eq!(keyed(&api, "k-1", PATH, &json!({"cmd": "explode"})).await.refusal(), "422 invalid");
    let sent = keyed(&api, "k-1", PATH, &json!({"cmd": "ping"})).await;
    assert_eq!((sent.status, sent.header("idempotent-replayed")), (StatusCode::ACCEPTED, ""));
}

#[tokio::test]
async fn twenty_requests_at_once_with_one_key_are_one_command() {
    let api = ready().await;
    let body = json!({"cmd": "ping"});
    let answers = join_all((0..20).map(|_| keyed(&api, "k-1", PATH, &body))).await;
    let mut accepted = HashSet::new();
    for answered in &answers {
        match answered.status {
            StatusCode::ACCEPTED => drop(accepted.insert(answered.text.clone())),
            _ => assert_eq!(answered.refusal(), "409 idempotency_key_in_flight"),
        }
    }
    assert_eq!(accepted.len(), 1, "every acceptance says the same");
    let again = keyed(&api, "k-1", PATH, &body).await;
    assert!(accepted.contains(&again.text), "{}", again.text);
    assert_eq!(recorded(&api, "CommandRequested").await, 1);
}

#[tokio::test]
async fn tenants_and_kinds_of_requests_do_not_share_keys() {
    let api = ready().await;
    api.add_tenant("t1").await;
    api.ship_types().await;
    api.publish_of("t1", "dev-01", []).await;
    let body = json!({"cmd": "ping"});
    let ours = keyed(&api, "k-1", PATH, &body).await;
    let theirs = api.request(Method::POST, PATH).bearer_auth(api.token("t1", Role::Operator));
    let theirs = answer(theirs.header("idempotency-key", "k-1").json(&body)).await;
    assert_eq!((ours.status, theirs.status), (StatusCode::ACCEPTED, StatusCode::ACCEPTED));
    assert_ne!(ours.json()["cmd_id"], theirs.json()["cmd_id"]);
    let batch = json!({"cmd": "ping", "selector": {"devices": ["dev-01"]}});
    let batch = keyed(&api, "k-1", "/command-batches", &batch).await;
    assert_eq!((batch.status, batch.header("idempotent-replayed")), (StatusCode::ACCEPTED, ""));
}

#[tokio::test]
async fn a_key_that_is_none_is_refused() {
    let api = ready().await;
    let long = "x".repeat(256);
    for key in ["", "a b", "\u{e9}", &long] {
        let refused = keyed(&api, key, PATH, &json!({"cmd": "ping"})).await;
        assert_eq!(refused.refusal(), "422 invalid", "{key}");
        assert_eq!(refused.json()["errors"][0]["field"], "Idempotency-Key", "{key}");
    }
    let twice = api.request(Method::POST, PATH).bearer_auth(api.token("t0", Role::Operator));
    let twice = twice.header("idempotency-key", "k-1").header("idempotency-key", "k-2");
    assert_eq!(answer(twice.json(&json!({"cmd": "ping"}))).await.refusal(), "422 invalid");
    assert_eq!(recorded(&api, "CommandRequested").await, 0);
}
