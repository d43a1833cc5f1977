//! A server that is killed, at random and between two steps.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Publisher, Receiver, Server};

/// Receivers of tests are on this machine.
const ALLOW: [&str; 1] = ["--webhooks-allow-private"];
const DEVICES: usize = 4;
const EACH: usize = 100;

async fn create(server: &Server, url: &str, max_batch: i64) {
    let body = json!({"url": url, "follow": {"log": "telemetry"}, "from": "start", "max_batch": max_batch});
    let created = server.request(Method::POST, "/webhooks").json(&body).send().await.expect("an answer");
    assert_eq!(created.status(), StatusCode::CREATED);
}

async fn telemetry(server: &Server) -> i32 {
    let logs = server.get("/logs").await;
    let logs = logs["items"].as_array().expect("logs").iter();
    let log = logs.clone().find(|log: &&Value| log["lane"] == "telemetry").expect("a log");
    log["log_id"].as_i64().expect("an id") as i32
}

#[tokio::test]
async fn a_webhook_is_sent_every_reading_in_order_although_the_server_is_killed_twice() {
    let (directory, receiver) = (tempfile::tempdir().expect("a directory"), Receiver::start().await);
    let mut server = Server::up_with(directory.path(), "127.0.0.1", &ALLOW).await;
    create(&server, &receiver.url(), 10).await;
    let telemetry = telemetry(&server).await;
    for part in 1..=2 {
        let publisher = Publisher::start(server.mqtt(), DEVICES, EACH / 2);
        publisher.acknowledged(DEVICES * EACH / 8).await;
        receiver.requests(part).await;
        server.kill().await;
        server = Server::up_with(directory.path(), "127.0.0.1", &ALLOW).await;
        drop(publisher);
    }
    let publisher = Publisher::start(server.mqtt(), DEVICES, EACH);
    publisher.finish().await;
    let page = server.get("/logs").await;
    let head = page["items"].as_array().expect("logs").iter().find(|log| log["log_id"] == telemetry);
    let head = head.expect("the log")["head"].as_i64().expect("a head");
    assert_eq!(receiver.positions(telemetry, head as usize).await, (1..=head).collect::<Vec<_>>());
    server.stop().await;
}

#[tokio::test]
async fn a_batch_that_was_noted_before_a_crash_is_sent_afterwards_under_the_same_id() {
    for (point, times) in [("webhook.begun", 1), ("webhook.answered", 2)] {
        let (directory, receiver) = (tempfile::tempdir().expect("a directory"), Receiver::start().await);
        let server = Server::up_until_killed(directory.path(), point, &ALLOW).await;
        create(&server, &receiver.url(), 10).await;
        let publisher = Publisher::start(server.mqtt(), 1, 1);
        publisher.finish().await;
        server.wait_killed().await;
        assert_eq!(receiver.taken().len(), times - 1, "{point}");
        let mut server = Server::up_with(directory.path(), "127.0.0.1", &ALLOW).await;
        server.until("/webhooks", |webhooks| webhooks["items"][0]["places"][0]["position"] == 1).await;
        let taken = receiver.taken();
        assert_eq!(taken.len(), times, "{point}");
        let first = &taken[0];
        assert!(taken.iter().all(|taken| (&taken.id, &taken.body) == (&first.id, &first.body)), "{point}");
        server.stop().await;
    }
}
