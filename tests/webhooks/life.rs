//! From a webhook's creation to its end.

use std::collections::BTreeSet;
use std::time::Duration;

use fleetlog_access::Role;
use fleetlog_event_log::Lane;
use fleetlog_webhooks::Options;
use fleetlog_webhooks::schedule::Plan;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Sending, quick};
use crate::support::Receiver;
use crate::support::api::answer;
use crate::support::receiver::Manner;

#[tokio::test]
async fn a_paused_webhook_keeps_its_place_and_a_removed_one_is_gone() {
    let (sending, receiver) = (Sending::start().await, Receiver::start().await);
    let (webhook_id, _) = sending.readings(&receiver).await;
    let telemetry = sending.log_id(Lane::Telemetry);
    sending.publish("dev-01", 0..5).await;
    receiver.positions(telemetry, 5).await;
    let path = format!("/webhooks/{webhook_id}");
    let paused = sending.post(&format!("{path}/pause")).await;
    assert!(paused["position"].is_string());
    assert_eq!(sending.post(&format!("{path}/pause")).await["position"], Value::Null);
    sending.publish("dev-01", 5..10).await;
    let other = Receiver::start().await;
    sending.readings(&other).await;
    other.positions(telemetry, 10).await;
    assert_eq!(receiver.accepted().len(), 5);
    sending.post(&format!("{path}/resume")).await;
    assert_eq!(receiver.positions(telemetry, 10).await, (1..=10).collect::<Vec<_>>());
    let removed = sending.api.send_as(Role::Admin, Method::DELETE, &path, None).await;
    assert_eq!(removed.status.as_u16(), 200);
    assert_eq!(sending.api.get(&path).await.refusal(), "404 not_found");
    let events = sending.get("/events?log=control&limit=1000").await;
    let own = events["items"]
        .as_array()
        .expect("items")
        .iter()
        .filter(|event| event["aggregate_id"] == *format!("t0/{webhook_id}"));
    let own: Vec<_> = own.map(|event| event["event_type"].as_str().expect("a type")).collect();
    assert_eq!(own, ["WebhookCreated", "WebhookPaused", "WebhookResumed", "WebhookRemoved"]);
}

#[tokio::test]
async fn a_webhook_that_takes_nothing_for_too_long_is_suspended_and_goes_on_from_its_place() {
    let plan = Plan { give_up: Duration::from_millis(100), ..quick().plan };
    let (sending, receiver) = (Sending::with(Options { plan, ..quick() }).await, Receiver::start().await);
    let (webhook_id, _) = sending.readings(&receiver).await;
    receiver.behave(Manner::Status(500));
    sending.publish("dev-01", 0..3).await;
    let webhook = sending.until(&webhook_id, |webhook| webhook["state"] == "suspended").await;
    let reason = webhook["reason"].as_str().expect("a reason");
    assert!(reason.contains("it answered 500"), "{reason}");
    let events = sending.get("/events?log=control&type=WebhookSuspended").await;
    assert_eq!(events["items"][0]["metadata"]["actor"], "fleetlog");
    receiver.behave(Manner::Status(200));
    sending.publish("dev-01", 3..6).await;
    sending.post(&format!("/webhooks/{webhook_id}/resume")).await;
    let telemetry = sending.log_id(Lane::Telemetry);
    assert_eq!(receiver.positions(telemetry, 6).await, (1..=6).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_receiver_that_is_gone_for_good_is_suspended_at_once() {
    let (sending, receiver) = (Sending::start().await, Receiver::start().await);
    let (webhook_id, _) = sending.readings(&receiver).await;
    receiver.behave(Manner::Status(410));
    sending.publish("dev-01", 0..1).await;
    let webhook = sending.until(&webhook_id, |webhook| webhook["state"] == "suspended").await;
    assert_eq!(webhook["reason"], "it answered 410: it wants no more events");
    assert_eq!(receiver.taken().len(), 1);
}

#[tokio::test]
async fn a_replay_sends_the_same_batches_under_the_same_ids_and_then_what_is_new() {
    let (sending, receiver) = (Sending::start().await, Receiver::start().await);
    let body =
        json!({"url": receiver.url(), "follow": {"log": "telemetry"}, "from": "start", "max_batch": 10});
    sending.publish("dev-01", 0..45).await;
    let (webhook_id, _) = sending.create(body).await;
    let telemetry = sending.log_id(Lane::Telemetry);
    receiver.positions(telemetry, 45).await;
    sending.until(&webhook_id, |webhook| webhook["places"][0]["position"] == 45).await;
    let first: Vec<(String, Vec<u8>)> =
        receiver.taken().into_iter().map(|taken| (taken.id, taken.body)).collect();
    let replay = format!("/webhooks/{webhook_id}/replay");
    let from = |from: &str| json!({ "from": from });
    // In the middle of the second batch: what is left of it is a batch of its own.
    let asked = sending.api.send(Method::POST, &replay, from(&format!("{telemetry}:15"))).await;
    assert_eq!(asked.status.as_u16(), 200, "{}", asked.text);
    sending.publish("dev-01", 45..46).await;
    let taken = receiver.requests(first.len() + 5).await;
    let again: Vec<(String, Vec<u8>)> =
        taken[first.len()..].iter().map(|taken| (taken.id.clone(), taken.body.clone())).collect();
    assert_eq!(again[1..4], first[2..5]);
    let part: Vec<_> = taken[first.len()].events().iter().map(|event| event["position"].clone()).collect();
    assert_eq!(part, (16..=20).map(|n| json!(n)).collect::<Vec<_>>());
    sending.until(&webhook_id, |webhook| webhook["places"][0]["position"] == 46).await;
    // One delivery again, once and now.
    let deliveries = sending.deliveries(&webhook_id).await;
    let of = deliveries.iter().find(|one| one["message_id"] == *first[1].0).expect("the second batch");
    let delivery_id = of["delivery_id"].as_str().expect("an id");
    let sent = sending.post(&format!("/webhooks/{webhook_id}/deliveries/{delivery_id}/replay")).await;
    assert_eq!(
        (&sent["status"], &sent["code"], &sent["attempts"]),
        (&json!("delivered"), &json!(204), &json!(2))
    );
    let last = receiver.taken().pop().expect("a request");
    assert_eq!((last.id, last.body), first[1]);
    for (wrong, field) in [
        (format!("{telemetry}:47"), "from"),
        (format!("{}:0", sending.log_id(Lane::Control)), "from"),
        ("now".to_owned(), "from"),
        ("yesterday".to_owned(), "from"),
    ] {
        let refused = sending.api.send(Method::POST, &replay, from(&wrong)).await;
        assert_eq!(refused.refusal(), "422 invalid", "{wrong}");
        assert_eq!(refused.json()["errors"][0]["field"], field, "{wrong}");
    }
    let asked = sending.api.send(Method::POST, &replay, from("start")).await;
    assert_eq!(asked.status.as_u16(), 200, "{}", asked.text);
    sending.until(&webhook_id, |webhook| webhook["places"][0]["position"] == 46).await;
}

#[tokio::test]
async fn a_change_holds_from_the_next_request_on() {
    let (sending, receiver) = (Sending::start().await, Receiver::start().await);
    let (webhook_id, _) = sending.readings(&receiver).await;
    receiver.behave(Manner::Status(413));
    sending.publish("dev-01", 0..4).await;
    sending.until(&webhook_id, |webhook| webhook["places"][0]["failures"] != 0).await;
    let other = Receiver::start().await;
    let change = json!({"url": other.url(), "max_batch": 1, "description": "for the ERP"});
    let path = format!("/webhooks/{webhook_id}");
    let changed = sending.api.send(Method::PATCH, &path, change.clone()).await;
    assert_eq!(changed.status.as_u16(), 200, "{}", changed.text);
    assert!(changed.json()["position"].is_string());
    assert_eq!(sending.api.send(Method::PATCH, &path, change).await.json()["position"], Value::Null);
    let taken = other.requests(4).await;
    assert!(taken.iter().all(|taken| taken.events().len() == 1));
    let superseded = sending.get(&format!("{path}/deliveries?status=superseded")).await;
    assert_eq!(superseded["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn an_answer_to_what_was_followed_before_passes_over_nothing_that_is_followed_now() {
    let (sending, receiver) = (Sending::start().await, Receiver::start().await);
    let narrow = json!({"log": "telemetry", "device": "dev-02"});
    let body = json!({"url": receiver.url(), "follow": narrow, "from": "start"});
    let (webhook_id, _) = sending.create(body).await;
    receiver.behave(Manner::Held);
    sending.publish("dev-01", 0..3).await;
    sending.publish("dev-02", 0..1).await;
    receiver.requests(1).await;
    let change = json!({"follow": {"log": "telemetry"}});
    let changed = sending.api.send(Method::PATCH, &format!("/webhooks/{webhook_id}"), change).await;
    assert_eq!(changed.status.as_u16(), 200, "{}", changed.text);
    receiver.behave(Manner::Status(204));
    sending.until(&webhook_id, |webhook| webhook["places"][0]["position"] == 4).await;
    let positions: BTreeSet<Option<i64>> =
        receiver.accepted().iter().map(|event| event["position"].as_i64()).collect();
    assert_eq!(positions, [1, 2, 3, 4].map(Some).into());
}

#[tokio::test]
async fn a_suspended_tenants_webhooks_are_sent_nothing_until_it_is_resumed() {
    let (sending, receiver) = (Sending::start().await, Receiver::start().await);
    sending.api.add_tenant("acme").await;
    let token = sending.api.token("acme", Role::Admin);
    let create = sending.api.request(Method::POST, "/webhooks").bearer_auth(&token);
    let body = json!({"url": receiver.url(), "follow": {"log": "telemetry"}, "from": "start"});
    assert_eq!(answer(create.json(&body)).await.status.as_u16(), 201);
    let acme = sending.api.log_of("acme", Lane::Telemetry).0;
    sending.api.publish_of("acme", "dev-01", [json!({"n": 1})]).await;
    receiver.positions(acme, 1).await;
    let suspend = |suspended: bool| json!({ "suspended": suspended });
    sending.api.send(Method::PATCH, "/tenants/acme", suspend(true)).await;
    let other = Receiver::start().await;
    sending.readings(&other).await;
    sending.api.publish_of("acme", "dev-01", [json!({"n": 2})]).await;
    // The node has looked at webhooks since.
    sending.publish("dev-01", 0..1).await;
    other.positions(sending.log_id(Lane::Telemetry), 1).await;
    assert_eq!(receiver.accepted().len(), 1);
    sending.api.send(Method::PATCH, "/tenants/acme", suspend(false)).await;
    assert_eq!(receiver.positions(acme, 2).await, [1, 2]);
}
