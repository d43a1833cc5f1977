//! Batches of commands over REST.

use fleetlog_access::Role;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::commands::{anonymous, ready, text};
use crate::support::Api;
use crate::support::api::{Answer, answer};

async fn sent(api: &Api, key: Option<&str>, body: &Value) -> Answer {
    let mut request =
        api.request(Method::POST, "/command-batches").bearer_auth(api.token("t0", Role::Operator));
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    answer(request.json(body)).await
}

fn to(devices: &[&str]) -> Value {
    json!({"selector": {"devices": devices}, "cmd": "set_interval", "params": {"seconds": 5}})
}

#[tokio::test]
async fn a_batch_is_accepted_for_each_of_its_devices_once() {
    let api = ready().await;
    let accepted = sent(&api, None, &to(&["dev-02", "dev-01", "dev-02"])).await;
    assert_eq!(accepted.status, StatusCode::ACCEPTED, "{}", accepted.text);
    let written = accepted.json();
    assert_eq!(written["status"], "running");
    let location = format!("/api/v1/command-batches/{}", text(&written, "batch_id"));
    assert_eq!(accepted.header("location"), location);
    let position = text(&written, "position");
    let batch = api.get(&format!("{location}?min_position={position}")).await.json();
    for (field, value) in [
        ("batch_id", written["batch_id"].clone()),
        ("selector", json!({"devices": ["dev-02", "dev-01", "dev-02"]})),
        ("cmd", json!("set_interval")),
        ("status", json!("running")),
        ("rate_per_s", json!(10)),
        ("abort_after_failures", Value::Null),
        ("devices", json!(2)),
    ] {
        assert_eq!(batch[field], value, "{field}");
    }
    assert_eq!((&batch["commands"]["waiting"], &batch["commands"]["requested"]), (&json!(2), &json!(0)));
}

#[tokio::test]
async fn devices_are_chosen_by_their_labels() {
    let api = ready().await;
    let label = json!({"labels": {"site": "hanoi"}});
    let labelled = api.send(Method::PATCH, "/devices/dev-02", label.clone()).await;
    assert_eq!(labelled.status, StatusCode::OK, "{}", labelled.text);
    api.catch_up().await;
    let accepted = sent(&api, None, &json!({"selector": label, "cmd": "ping"})).await.json();
    let path = format!(
        "/command-batches/{}?min_position={}",
        text(&accepted, "batch_id"),
        text(&accepted, "position")
    );
    assert_eq!(api.get(&path).await.json()["devices"], 1);
}

#[tokio::test]
async fn batches_are_listed_newest_first_and_their_commands_counted() {
    let api = ready().await;
    let mut wanted = vec![];
    for _ in 0..3 {
        wanted.push(sent(&api, None, &to(&["dev-01"])).await.json()["batch_id"].clone());
    }
    wanted.reverse();
    api.catch_up().await;
    let (mut seen, mut cursor) = (vec![], String::new());
    loop {
        let page = api.get(&format!("/command-batches?limit=2{cursor}")).await.json();
        let items = page["items"].as_array().expect("items");
        assert!(items.iter().all(|batch| batch["commands"]["waiting"] == 1), "{page}");
        seen.extend(items.iter().map(|batch| batch["batch_id"].clone()));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, wanted);
}

#[tokio::test]
async fn a_batch_is_cancelled_until_it_has_ended() {
    let api = ready().await;
    let id = text(&sent(&api, None, &to(&["dev-01"])).await.json(), "batch_id").to_owned();
    let path = format!("/command-batches/{id}/cancel");
    let cancel = || api.send(Method::POST, &path, json!({"reason": "wrong site"}));
    let cancelled = cancel().await;
    assert_eq!(cancelled.status, StatusCode::OK, "{}", cancelled.text);
    let cancelled = cancelled.json();
    assert_eq!(cancelled["status"], "cancelled");
    let path = format!("/command-batches/{id}?min_position={}", text(&cancelled, "position"));
    let batch = api.get(&path).await.json();
    assert_eq!((&batch["status"], &batch["cancel_reason"]), (&json!("cancelled"), &json!("wrong site")));
    assert_eq!(cancel().await.refusal(), "409 already_ended");
}

#[tokio::test]
async fn the_same_key_and_body_is_the_same_batch_and_answer() {
    let api = ready().await;
    let first = sent(&api, Some("k-1"), &to(&["dev-01", "dev-02"])).await;
    assert_eq!(first.status, StatusCode::ACCEPTED, "{}", first.text);
    let again = sent(&api, Some("k-1"), &to(&["dev-01", "dev-02"])).await;
    assert_eq!((again.status, &again.text), (StatusCode::ACCEPTED, &first.text));
    assert_eq!((first.header("idempotent-replayed"), again.header("idempotent-replayed")), ("", "true"));
    let other = sent(&api, Some("k-1"), &to(&["dev-01"])).await;
    assert_eq!(other.refusal(), "422 idempotency_key_reused");
}

#[tokio::test]
async fn another_tenants_batch_answers_like_one_that_does_not_exist() {
    let api = ready().await;
    api.add_tenant("t1").await;
    let id = text(&sent(&api, None, &to(&["dev-01"])).await.json(), "batch_id").to_owned();
    api.catch_up().await;
    for (method, path) in [(Method::GET, "/command-batches/{}"), (Method::POST, "/command-batches/{}/cancel")]
    {
        let ask = async |id: &str| {
            let request = api.request(method.clone(), &path.replace("{}", id));
            answer(request.bearer_auth(api.token("t1", Role::Admin))).await
        };
        let unknown = ask("019a0000-0000-7000-8000-000000000001").await;
        assert_eq!(unknown.refusal(), "404 not_found", "{path}");
        for id in [&*id, "dev-01", "%00"] {
            assert_eq!(anonymous(&ask(id).await), anonymous(&unknown), "{path} {id}");
        }
    }
    let command = api.get(&format!("/commands/{id}")).await;
    assert_eq!(command.refusal(), "404 not_found", "a batch is no command");
}

#[tokio::test]
async fn a_batch_is_paused_and_resumed_each_once() {
    let api = ready().await;
    let batch = sent(&api, None, &to(&["dev-01"])).await.json();
    let path = format!("/command-batches/{}", text(&batch, "batch_id"));
    let steer = async |step: &str| api.send(Method::POST, &format!("{path}/{step}"), json!({})).await;
    for (step, status, refusal) in
        [("pause", "paused", "409 already_paused"), ("resume", "running", "409 not_paused")]
    {
        let written = steer(step).await.json();
        assert_eq!(written["status"], status);
        let position = text(&written, "position");
        assert_eq!(api.get(&format!("{path}?min_position={position}")).await.json()["status"], status);
        assert_eq!(steer(step).await.refusal(), refusal);
    }
    assert_eq!(steer("cancel").await.status, StatusCode::OK);
    for step in ["pause", "resume"] {
        assert_eq!(steer(step).await.refusal(), "409 already_ended");
    }
}
