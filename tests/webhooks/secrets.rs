//! What requests are signed with.

use reqwest::Method;
use serde_json::json;

use super::Sending;
use crate::support::Receiver;

#[tokio::test]
async fn requests_are_signed_and_with_both_secrets_while_one_takes_the_others_place() {
    let (sending, receiver) = (Sending::start().await, Receiver::start().await);
    let (webhook_id, first) = sending.readings(&receiver).await;
    sending.publish("dev-01", 0..1).await;
    let taken = &receiver.requests(1).await[0];
    assert!(taken.is_signed_with(&first));
    assert_eq!(taken.signatures.split(' ').count(), 1);
    let rotated = sending.post(&format!("/webhooks/{webhook_id}/rotate-secret")).await;
    let second = rotated["secret"].as_str().expect("a secret");
    assert!(second.starts_with("whsec_") && second != first);
    sending.post(&format!("/webhooks/{webhook_id}/test")).await;
    let tested = receiver.taken().pop().expect("a test");
    assert!(tested.is_signed_with(second) && tested.is_signed_with(&first));
    let mut owner = sending.api.database.owner().await;
    sqlx::query("UPDATE webhooks SET previous_until = now()").execute(&mut owner).await.expect("ended");
    sending.post(&format!("/webhooks/{webhook_id}/test")).await;
    let tested = receiver.taken().pop().expect("a test");
    assert!(tested.is_signed_with(second) && !tested.is_signed_with(&first));
}

#[tokio::test]
async fn a_secret_is_shown_once_and_is_in_no_event() {
    let (sending, receiver) = (Sending::start().await, Receiver::start().await);
    let (webhook_id, secret) = sending.readings(&receiver).await;
    for path in ["/webhooks".to_owned(), format!("/webhooks/{webhook_id}"), "/events?log=control".to_owned()]
    {
        let shown = sending.api.get(&path).await.text;
        assert!(shown.contains(&webhook_id), "{path}: {shown}");
        assert!(!shown.contains(&secret), "{path}");
    }
    let events = sending.api.get("/events?log=control&type=WebhookCreated").await;
    let origin = receiver.url().trim_end_matches("/hook").to_owned();
    assert_eq!(events.json()["items"][0]["payload"]["WebhookCreated"]["origin"], json!(origin));
    let mut requests = sending.api.database.requests("t0").await;
    let select = sqlx::query("SELECT secret FROM webhooks").execute(&mut requests).await;
    assert!(select.expect_err("refused").to_string().contains("permission denied"));
}

#[tokio::test]
async fn with_the_operators_secret_a_webhooks_own_is_sealed_and_one_from_before_too() {
    let (mut sending, receiver) = (Sending::start().await, Receiver::start().await);
    let (_, secret) = sending.readings(&receiver).await;
    sending.stop = None;
    let operators = "x".repeat(32).parse().expect("a secret");
    let webhooks = fleetlog_webhooks::Webhooks::new(
        sending.api.log.clone(),
        sending.api.app.live.clone(),
        Some(operators),
        super::quick(),
    );
    let webhooks = webhooks.expect("a client");
    let stop = tokio_util::sync::CancellationToken::new();
    tokio::spawn(fleetlog_webhooks::Deliverer::new(&webhooks).run(stop.clone()));
    sending.stop = Some(stop.drop_guard());
    sending.publish("dev-01", 0..1).await;
    assert!(receiver.requests(1).await[0].is_signed_with(&secret));
    let mut owner = sending.api.database.owner().await;
    let stored: Vec<u8> =
        sqlx::query_scalar("SELECT secret FROM webhooks").fetch_one(&mut owner).await.expect("a row");
    assert_eq!(stored[0], 1, "sealed");
    let refused = sending.api.send_as(fleetlog_access::Role::Admin, Method::GET, "/webhooks", None).await;
    assert_eq!(refused.status.as_u16(), 200);
}
