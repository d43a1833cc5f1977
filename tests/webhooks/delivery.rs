//! What receivers are sent: everything that they follow, in order, whatever they answered before.

use fleetlog_event_log::Lane;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Sending, quick};
use crate::support::receiver::Manner;
use crate::support::{Receiver, eventually};

#[tokio::test]
async fn events_are_sent_as_the_log_lists_them_in_batches_that_join() {
    let (sending, receiver) = (Sending::start().await, Receiver::start().await);
    sending.publish("dev-01", 0..250).await;
    sending.readings(&receiver).await;
    let telemetry = sending.log_id(Lane::Telemetry);
    let positions = receiver.positions(telemetry, 250).await;
    assert_eq!(positions, (1..=250).collect::<Vec<_>>());
    let listed = sending.get("/events?log=telemetry&limit=1000").await;
    assert_eq!(json!(receiver.accepted()), listed["items"]);
    let mut after = 0;
    for taken in receiver.taken() {
        let message = taken.json();
        assert_eq!(
            (&message["type"], &message["data"]["log_id"]),
            (&json!("fleetlog.events"), &json!(telemetry))
        );
        assert_eq!(message["data"]["after"], after);
        assert!(taken.events().len() <= 100 && !taken.id.is_empty());
        after = message["data"]["last"].as_i64().expect("a position");
    }
    sending.publish("dev-02", 0..1).await;
    assert_eq!(receiver.positions(telemetry, 251).await.last(), Some(&251));
}

#[tokio::test]
async fn a_receiver_that_was_down_is_sent_everything_in_order_afterwards() {
    let (sending, receiver) = (Sending::start().await, Receiver::start().await);
    let (webhook_id, _) = sending.readings(&receiver).await;
    receiver.behave(Manner::Status(503));
    for n in 0..30 {
        sending.publish(&format!("dev-{:02}", n % 3), n..n + 1).await;
    }
    let refused = receiver.requests(3).await;
    // The same batch each time, under the same id.
    assert!(refused.iter().all(|taken| (&taken.id, &taken.body) == (&refused[0].id, &refused[0].body)));
    let webhook = sending.until(&webhook_id, |webhook| webhook["places"][0]["failures"] != 0).await;
    assert_eq!(webhook["places"][0]["position"], 0);
    let pending = sending.deliveries(&webhook_id).await;
    assert_eq!(pending.len(), 1, "{pending:?}");
    assert_eq!((&pending[0]["status"], &pending[0]["code"]), (&json!("pending"), &json!(503)));
    assert_eq!(pending[0]["error"], "it answered 503");
    receiver.behave(Manner::Status(200));
    let positions = receiver.positions(sending.log_id(Lane::Telemetry), 30).await;
    assert_eq!(positions, (1..=30).collect::<Vec<_>>());
    let webhook = sending.until(&webhook_id, |webhook| webhook["places"][0]["position"] == 30).await;
    assert_eq!((&webhook["places"][0]["failures"], &webhook["places"][0]["lag"]), (&json!(0), &json!(0)));
    let delivered = sending.deliveries(&webhook_id).await;
    assert!(delivered.iter().all(|one| one["status"] == "delivered"), "{delivered:?}");
    assert!(delivered.last().expect("the first")["attempts"].as_i64() >= Some(3));
}

#[tokio::test]
async fn only_what_passes_the_filter_is_sent() {
    let (sending, receiver) = (Sending::start().await, Receiver::start().await);
    let follow = json!({"device": "dev-01", "metric": "n", "type": "TelemetryRecorded,DeviceRegistered"});
    let (webhook_id, _) = sending.create(json!({"url": receiver.url(), "follow": follow})).await;
    let shown = sending.get(&format!("/webhooks/{webhook_id}")).await;
    assert_eq!(shown["follow"]["type"], "DeviceRegistered,TelemetryRecorded");
    for uid in ["dev-02", "dev-01"] {
        sending.api.publish(uid, [json!({"other": 1}), json!({"n": 1})]).await;
    }
    let events = eventually("both events", async || {
        let accepted = receiver.accepted();
        if accepted.len() >= 2 { Ok(accepted) } else { Err(accepted) }
    })
    .await;
    let mut told: Vec<(Value, Value)> =
        events.into_iter().map(|event| (event["event_type"].clone(), event["payload"].clone())).collect();
    told.sort_by_key(|(kind, _)| kind.to_string());
    assert_eq!(told[0].0, "DeviceRegistered");
    assert_eq!(told[1], (json!("TelemetryRecorded"), json!({"n": 1})));
}

#[tokio::test]
async fn labels_are_those_of_the_devices_when_events_are_sent() {
    let (sending, receiver) = (Sending::start().await, Receiver::start().await);
    for (uid, site) in [("dev-01", "hanoi"), ("dev-02", "hue")] {
        let body = json!({"uid": uid, "labels": {"site": site}});
        sending.api.send(Method::POST, "/devices", body).await;
    }
    let follow = json!({"label": "site=hue", "log": "telemetry"});
    sending.create(json!({"url": receiver.url(), "follow": follow})).await;
    for uid in ["dev-01", "dev-02", "dev-03"] {
        sending.publish(uid, 0..2).await;
    }
    assert_eq!(receiver.positions(sending.log_id(Lane::Telemetry), 2).await, [3, 4]);
}

#[tokio::test]
async fn a_receiver_that_never_answers_holds_up_no_other() {
    let (sending, silent, quick) = (Sending::start().await, Receiver::start().await, Receiver::start().await);
    silent.behave(Manner::Silent);
    sending.readings(&silent).await;
    sending.publish("dev-01", 0..1).await;
    silent.requests(1).await;
    sending.readings(&quick).await;
    sending.publish("dev-01", 1..300).await;
    let positions = quick.positions(sending.log_id(Lane::Telemetry), 300).await;
    assert_eq!(positions, (1..=300).collect::<Vec<_>>());
    assert_eq!(silent.taken().len(), 1);
}

#[tokio::test]
async fn who_takes_one_event_at_a_time_is_sent_one_at_a_time() {
    let (sending, receiver) = (Sending::with(quick()).await, Receiver::start().await);
    let body = json!({"url": receiver.url(), "follow": {"log": "telemetry"}, "max_batch": 1});
    sending.create(body).await;
    sending.publish("dev-01", 0..20).await;
    let taken = receiver.requests(20).await;
    assert!(taken.iter().all(|taken| taken.events().len() == 1));
    assert_eq!(receiver.positions(sending.log_id(Lane::Telemetry), 20).await, (1..=20).collect::<Vec<_>>());
}

#[tokio::test]
async fn another_node_goes_on_where_one_has_stopped() {
    let (mut sending, receiver) = (Sending::start().await, Receiver::start().await);
    sending.readings(&receiver).await;
    sending.publish("dev-01", 0..10).await;
    let telemetry = sending.log_id(Lane::Telemetry);
    receiver.positions(telemetry, 10).await;
    let taken = receiver.taken().len();
    receiver.behave(Manner::Silent);
    sending.publish("dev-01", 10..11).await;
    receiver.requests(taken + 1).await;
    // It stops in the midst of a request.
    sending.stop = None;
    receiver.behave(Manner::Status(200));
    sending.publish("dev-01", 11..30).await;
    sending.go_on();
    assert_eq!(receiver.positions(telemetry, 30).await, (1..=30).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_request_has_a_mebibyte_of_events_at_most_unless_one_alone_is_larger() {
    let (sending, receiver) = (Sending::start().await, Receiver::start().await);
    let large = |kilobytes: usize| json!({ "text": "x".repeat(kilobytes << 10) });
    sending.api.publish("dev-01", (0..12).map(|_| large(200))).await;
    sending.api.publish("dev-01", [large(2), large(2)]).await;
    sending.readings(&receiver).await;
    let positions = receiver.positions(sending.log_id(Lane::Telemetry), 14).await;
    assert_eq!(positions, (1..=14).collect::<Vec<_>>());
    let counts: Vec<_> =
        receiver.taken().iter().map(|taken| (taken.events().len(), taken.body.len())).collect();
    assert!(counts.iter().all(|(events, bytes)| *events >= 1 && *bytes < (1 << 20) + 4096), "{counts:?}");
}

#[tokio::test]
async fn the_oldest_deliveries_are_forgotten() {
    let (sending, receiver) = (Sending::start().await, Receiver::start().await);
    let body = json!({"url": receiver.url(), "follow": {"log": "telemetry"}, "max_batch": 1});
    let (webhook_id, _) = sending.create(body).await;
    let mut owner = sending.api.database.owner().await;
    sqlx::query(
        "INSERT INTO webhook_deliveries (delivery_id, webhook_id, tenant, revision, status)
         SELECT gen_random_uuid(), webhook_id, tenant, revision, 'delivered' FROM webhooks, generate_series(1, 1100)",
    )
    .execute(&mut owner)
    .await
    .expect("deliveries");
    sending.publish("dev-01", 0..100).await;
    receiver.requests(100).await;
    crate::support::until("few deliveries", async || {
        let count = "SELECT count(*) FROM webhook_deliveries WHERE webhook_id = $1::uuid";
        let count: i64 =
            sqlx::query_scalar(count).bind(&webhook_id).fetch_one(&mut owner).await.expect("a count");
        count == 1000
    })
    .await;
}

#[tokio::test]
async fn the_receiver_in_the_documents_takes_what_is_signed_and_nothing_else() {
    let document = include_str!("../../docs/OPERATIONS.md");
    let (_, program) = document.split_once("```python\n").expect("a program");
    let (program, _) = program.split_once("```").expect("its end");
    let port = crate::support::server::free_port();
    let program = program.replace("8000", &port.to_string());
    let sending = Sending::start().await;
    let url = format!("http://127.0.0.1:{port}/");
    let (webhook_id, secret) = sending.create(json!({ "url": url })).await;
    let python = |secret: &str| {
        let mut python = tokio::process::Command::new("python3");
        python.args(["-c", &program]).env("WEBHOOK_SECRET", secret).kill_on_drop(true);
        python.stderr(std::process::Stdio::null()).spawn().expect("python3")
    };
    let test = format!("/webhooks/{webhook_id}/test");
    for (secret, code) in [(&*secret, 204), ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", 401)] {
        let mut receiver = python(secret);
        let answered = eventually("an answer", async || {
            let tested = sending.post(&test).await;
            tested["code"].as_i64().ok_or(tested)
        })
        .await;
        assert_eq!(answered, code);
        receiver.kill().await.expect("ended");
    }
}
