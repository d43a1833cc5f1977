//! Several nodes with one session at an external broker: one takes messages, and another takes over.

use std::collections::BTreeSet;

use fleetlog_embedded::mosquitto;
use serde_json::{Value, json};

use crate::support::Database;
use crate::support::mqtt::{Device, V5};
use crate::support::server::Server;

const TAKEOVER: [&str; 3] = ["--mqtt-takeover", "--mqtt-client-id", "fleet"];

/// Publishes these messages. Each is acknowledged when this returns.
async fn publish(broker: &mosquitto::Broker, numbers: std::ops::Range<u32>) {
    let mut device = Device::connect(broker.address(), V5, "dev-01").await;
    for n in numbers {
        device
            .report("t0/devices/dev-01/telemetry", json!({"msg_id": format!("m{n}"), "n": n}).to_string())
            .await;
    }
}

/// Waits until the messages from 0 to `end` are on the record, each once.
async fn recorded(node: &mut Server, end: u32) {
    let numbers = |page: &Value| -> Vec<i64> {
        let items = page["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        items.iter().filter_map(|item| item["payload"]["n"].as_i64()).collect()
    };
    let page = node.until("/telemetry/dev-01?limit=1000", |page| numbers(page).len() >= end as usize).await;
    let numbers = numbers(&page);
    assert_eq!(numbers.len(), end as usize);
    assert_eq!(numbers.into_iter().collect::<BTreeSet<_>>(), (0..i64::from(end)).collect());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_mosquitto_has_acknowledged_outlives_its_restart_and_any_nodes_end() {
    let directory = tempfile::tempdir().expect("a directory");
    let options = mosquitto::Options { dir: directory.path().to_owned(), port: None };
    let broker = mosquitto::Broker::start(options).await.expect("Mosquitto");
    let (database, port) = (Database::fresh().await, broker.address().port());
    let serve = async || Server::serve(&database.options(), port, &TAKEOVER).await;
    let first = serve().await;
    let mut second = serve().await;
    publish(&broker, 0..20).await;
    recorded(&mut second, 20).await;

    // The node that takes messages is killed, and the other one takes over.
    first.kill().await;
    publish(&broker, 20..40).await;
    recorded(&mut second, 40).await;

    // Nobody is there, and the broker restarts with what it has.
    second.stop().await;
    let broker = broker.restart().await.expect("restarted");
    publish(&broker, 40..60).await;
    let broker = broker.restart().await.expect("restarted");
    let mut third = serve().await;
    recorded(&mut third, 60).await;
    third.stop().await;
    broker.stop().await.expect("stopped");
}
