//! Receivers that misbehave, addresses that are not public, and requests that are wrong.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fleetlog_access::Role;
use fleetlog_event_log::Lane;
use fleetlog_http_client::Reach;
use fleetlog_webhooks::Options;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Sending, quick};
use crate::support::api::answer;
use crate::support::receiver::Manner;
use crate::support::{Api, Receiver};

#[tokio::test]
async fn a_redirect_is_a_refusal_and_is_not_followed() {
    let (sending, receiver, other) =
        (Sending::start().await, Receiver::start().await, Receiver::start().await);
    receiver.behave(Manner::Headers(302, vec![("location", other.url())]));
    let (webhook_id, _) = sending.readings(&receiver).await;
    sending.publish("dev-01", 0..1).await;
    receiver.requests(2).await;
    sending.until(&webhook_id, |webhook| webhook["places"][0]["failures"] != 0).await;
    let delivery = &sending.deliveries(&webhook_id).await[0];
    assert_eq!(delivery["error"], "it answered 302, and redirects are not followed");
    assert!(other.taken().is_empty());
}

#[tokio::test]
async fn an_answer_of_two_gigabytes_is_not_read() {
    let (sending, receiver) = (Sending::start().await, Receiver::start().await);
    receiver.behave(Manner::Long(2 << 30));
    sending.readings(&receiver).await;
    sending.publish("dev-01", 0..3).await;
    let telemetry = sending.log_id(Lane::Telemetry);
    let webhook_id = sending.get("/webhooks").await["items"][0]["webhook_id"].clone();
    let webhook_id = webhook_id.as_str().expect("an id");
    sending.until(webhook_id, |webhook| webhook["places"][0]["position"] == 3).await;
    // What the sockets hold besides.
    assert!(receiver.sent() < 64 << 20, "{}", receiver.sent());
    receiver.behave(Manner::Status(200));
    sending.publish("dev-01", 3..4).await;
    assert_eq!(receiver.positions(telemetry, 1).await, [4]);
}

#[tokio::test]
async fn an_answer_that_trickles_is_given_up_in_time_and_counts_by_its_head() {
    let options = Options { time: Duration::from_millis(300), ..quick() };
    let (sending, receiver) = (Sending::with(options).await, Receiver::start().await);
    receiver.behave(Manner::Begun("HTTP/1.1 200 OK\r\ncontent-le"));
    let (webhook_id, _) = sending.readings(&receiver).await;
    sending.publish("dev-01", 0..1).await;
    receiver.requests(2).await;
    sending.until(&webhook_id, |webhook| webhook["places"][0]["failures"] != 0).await;
    let delivery = &sending.deliveries(&webhook_id).await[0];
    assert_eq!(delivery["error"], "there was no answer within 0.3 s");
    receiver.behave(Manner::Begun("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx"));
    sending.until(&webhook_id, |webhook| webhook["places"][0]["position"] == 1).await;
}

#[tokio::test]
async fn a_webhook_that_is_removed_while_it_is_tested_is_not_found() {
    let options = Options { time: Duration::from_secs(5), ..quick() };
    let (sending, receiver) = (Sending::with(options).await, Receiver::start().await);
    receiver.behave(Manner::Begun("HTTP/1.1 200 OK\r\ncontent-le"));
    let (webhook_id, _) = sending.readings(&receiver).await;
    let (path, test) = (format!("/webhooks/{webhook_id}"), format!("/webhooks/{webhook_id}/test"));
    let tested = sending.api.send_as(Role::Admin, Method::POST, &test, None);
    let removed = async {
        receiver.requests(1).await;
        sending.api.send_as(Role::Admin, Method::DELETE, &path, None).await
    };
    let (tested, removed) = tokio::join!(tested, removed);
    assert_eq!((tested.status.as_u16(), removed.status.is_success()), (404, true), "{}", tested.text);
}

#[tokio::test]
async fn a_receiver_is_left_alone_for_as_long_as_it_asks() {
    let (sending, receiver) = (Sending::start().await, Receiver::start().await);
    receiver.behave(Manner::Headers(429, vec![("retry-after", "600".into())]));
    let (webhook_id, _) = sending.readings(&receiver).await;
    sending.publish("dev-01", 0..1).await;
    let failing = |webhook: &Value| webhook["places"][0]["failures"] == 1;
    let webhook = sending.until(&webhook_id, failing).await;
    let time = |field: &str| {
        let text = webhook["places"][0][field].as_str().expect(field);
        text.parse::<chrono::DateTime<chrono::Utc>>().expect("a time")
    };
    assert_eq!((time("next_attempt_at") - time("failing_since")).num_seconds(), 600);
    assert_eq!(receiver.taken().len(), 1);
}

#[tokio::test]
async fn an_address_that_is_not_public_is_refused() {
    let public = Options { reach: Reach::public(), ..quick() };
    let api = Api::start_with_webhooks(public).await;
    for url in [
        "http://erp.example/x",
        "https://127.0.0.1/x",
        "https://2130706433/",
        "https://0x7f.0.0.1/",
        "https://127.1/",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://[64:ff9b::a00:1]/",
        "https://10.0.0.1/",
        "https://192.168.1.1/",
        "https://100.64.0.1/",
        "https://169.254.169.254/latest/meta-data/",
        "https://0.0.0.0/",
        "https://224.0.0.1/",
        "https://localhost/",
        "https://user:secret@erp.example/",
        "ftp://erp.example/",
        "erp.example",
        "",
    ] {
        let refused = api.send(Method::POST, "/webhooks", json!({ "url": url })).await;
        assert_eq!(refused.refusal(), "422 invalid", "{url}: {}", refused.text);
        assert_eq!(refused.json()["errors"][0]["field"], "url", "{url}");
    }
}

#[tokio::test]
async fn a_name_that_turns_to_a_private_address_is_not_connected_to() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    // Public when it is checked, and this machine from then on.
    let names = move |_: String| -> futures::future::BoxFuture<'static, std::io::Result<Vec<IpAddr>>> {
        let first = counter.fetch_add(1, Ordering::Relaxed) == 0;
        let address: IpAddr = if first { [8, 8, 8, 8].into() } else { [127, 0, 0, 1].into() };
        Box::pin(std::future::ready(Ok(vec![address])))
    };
    let reach = Reach::public().with_names(Arc::new(names));
    let (sending, receiver) = (Sending::with(Options { reach, ..quick() }).await, Receiver::start().await);
    let port = receiver.url().rsplit_once(':').expect("a port").1.to_owned();
    let body = json!({"url": format!("https://turns.example:{port}"), "follow": {"log": "telemetry"}});
    let (webhook_id, _) = sending.create(body).await;
    sending.publish("dev-01", 0..1).await;
    sending.until(&webhook_id, |webhook| webhook["places"][0]["failures"] != 0).await;
    let delivery = &sending.deliveries(&webhook_id).await[0];
    assert_eq!(delivery["error"], "127.0.0.1 is not a public address");
    assert!(receiver.taken().is_empty());
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said() {
    let (api, url) = (Api::start().await, "http://127.0.0.1:9/");
    for (body, field) in [
        (json!({}), "url"),
        (json!({"url": url, "max_batch": 0}), "max_batch"),
        (json!({"url": url, "max_batch": 1001}), "max_batch"),
        (json!({"url": url, "description": ""}), "description"),
        (json!({"url": url, "secret": "x"}), "secret"),
        (json!({"url": url, "follow": {"device": "a/b"}}), "follow.device"),
        (json!({"url": url, "follow": {"device": ""}}), "follow.device"),
        (json!({"url": url, "follow": {"label": "site"}}), "follow.label"),
        (json!({"url": url, "follow": {"log": "other"}}), "follow.log"),
        (json!({"url": url, "follow": {"ticket": "x"}}), "follow.ticket"),
        (
            json!({"url": url, "follow": {"log": "telemetry", "aggregate_type": "Device"}}),
            "follow.aggregate_type",
        ),
        (json!({"url": url, "after": "1:-1"}), "after"),
        (json!({"url": url, "after": "1:999,2:0"}), "after"),
        (json!({"url": url, "from": "tomorrow"}), "from"),
    ] {
        let refused = api.send(Method::POST, "/webhooks", body.clone()).await;
        assert_eq!(refused.refusal(), "422 invalid", "{body}: {}", refused.text);
        assert_eq!(refused.json()["errors"][0]["field"], field, "{body}: {}", refused.text);
    }
    for _ in 0..20 {
        assert_eq!(api.send(Method::POST, "/webhooks", json!({ "url": url })).await.status.as_u16(), 201);
    }
    let refused = api.send(Method::POST, "/webhooks", json!({ "url": url })).await;
    assert_eq!(refused.refusal(), "409 limit_reached");
}

#[tokio::test]
async fn who_may_not_read_something_makes_no_webhook_of_it() {
    let api = Api::start().await;
    let url = "http://127.0.0.1:9/";
    let issue = json!({"name": "k", "actions": ["webhooks.write", "devices.read"]});
    let key =
        api.send(Method::POST, "/api-keys", issue).await.json()["key"].as_str().expect("a key").to_owned();
    let ask = async |follow: Value| {
        let request = api.request(Method::POST, "/webhooks").bearer_auth(&key);
        answer(request.json(&json!({"url": url, "follow": follow}))).await.status.as_u16()
    };
    assert_eq!(ask(json!({"aggregate_type": "Device"})).await, 201);
    assert_eq!(ask(json!({"log": "telemetry"})).await, 403);
    assert_eq!(ask(json!({})).await, 403);
    let source = "forbid (principal, action == Action::\"telemetry.read\", resource is Device)
        when { resource.hasTag(\"secret\") };";
    api.send(Method::PUT, "/policies/secret", json!({ "source": source })).await;
    for (uid, labels) in [("dev-01", json!({})), ("dev-02", json!({"secret": "yes"}))] {
        api.send(Method::POST, "/devices", json!({"uid": uid, "labels": labels})).await;
    }
    api.catch_up().await;
    let as_admin = async |device: Option<&str>| {
        let follow = json!({"log": "telemetry", "device": device});
        let answer = api.send(Method::POST, "/webhooks", json!({"url": url, "follow": follow})).await;
        answer.refusal()
    };
    assert_eq!(as_admin(None).await, "422 invalid");
    assert_eq!(as_admin(Some("dev-01")).await, "201 ");
    assert_eq!(as_admin(Some("dev-01,dev-02")).await, "403 forbidden");
    let refused = api.send_as(Role::Operator, Method::GET, "/webhooks", None).await;
    assert_eq!(refused.refusal(), "403 forbidden");
}
