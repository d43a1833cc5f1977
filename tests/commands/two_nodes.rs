//! Two servers on one database and one broker, and a thousand commands with mixed outcomes.

use std::collections::HashMap;

use fleetlog_access::starter_types;
use fleetlog_aggregates::command::Status;
use fleetlog_embedded::mosquitto;
use fleetlog_engine::commands::{Commands, NewCommand};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{actor, ping, register, until};
use crate::support::mqtt::{Device, V5};
use crate::support::{Database, Server, t0};

const DEVICES: usize = 100;
const EACH: usize = 10;

/// What a command's device does with it; by its number, so that every kind has as many.
fn fate(number: usize) -> Status {
    [Status::Acked, Status::Failed, Status::Acked, Status::TimedOut][number % 4]
}

/// All devices in one connection, which writes down each delivery and answers as the test says.
async fn answer(
    broker: std::net::SocketAddr,
    fates: HashMap<String, Status>,
    deliveries: tokio::sync::mpsc::UnboundedSender<(String, i64)>,
    ready: tokio::sync::oneshot::Sender<()>,
) {
    let mut devices = Device::connect(broker, V5, "all").await;
    devices.subscribe("t0/devices/+/commands").await;
    let mut answers = Device::connect(broker, V5, "all-answers").await;
    ready.send(()).expect("a test");
    loop {
        let (topic, payload) = devices.topic_and_message_or_wait().await;
        let command: Value = serde_json::from_slice(&payload).expect("JSON");
        let cmd_id = command["cmd_id"].as_str().expect("an id").to_owned();
        let fate = fates[&cmd_id];
        if deliveries.send((cmd_id.clone(), command["attempt"].as_i64().expect("a number"))).is_err() {
            return;
        }
        let status = match fate {
            Status::Acked => "ack",
            Status::Failed => "failed",
            _ => continue,
        };
        let topic = topic.replace("/commands", "/command_ack");
        answers.report(&topic, json!({"cmd_id": cmd_id, "status": status}).to_string()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_send_each_attempt_once_and_end_each_command_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let broker = mosquitto::Options { dir: directory.path().to_owned(), port: None };
    let broker = mosquitto::Broker::start(broker).await.expect("Mosquitto");
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let commands = Commands::default();
    starter_types::give_to_all(&log).await.expect("types");
    let mut fates = HashMap::new();
    let mut ids: Vec<Uuid> = vec![];
    for device in 0..DEVICES {
        let uid = format!("dev-{device:03}");
        register(&log, &uid).await;
        for number in 0..EACH {
            let quick = NewCommand { timeout_s: Some(1), max_attempts: Some(1), ..ping(&uid) };
            let cmd_id = commands.send(&t0(&log), quick, None, actor("user:1")).await.expect("accepted").id;
            fates.insert(cmd_id.to_string(), fate(number));
            ids.push(cmd_id);
        }
    }
    let (sender, mut received) = tokio::sync::mpsc::unbounded_channel();
    let (ready, listening) = tokio::sync::oneshot::channel();
    let devices = tokio::spawn(answer(broker.address(), fates.clone(), sender, ready));
    listening.await.expect("they listen");
    let port = broker.address().port();
    let options = database.options();
    let [a, b] = ["a", "b"].map(|id| ["--mqtt-share", "nodes", "--mqtt-client-id", id]);
    let (here, there) = tokio::join!(Server::serve(&options, port, &a), Server::serve(&options, port, &b));
    for &cmd_id in &ids {
        let (state, steps) = until(&log, cmd_id, |state| state.status.is_terminal()).await;
        assert_eq!(state.status, fates[&cmd_id.to_string()]);
        let ends = steps.iter().filter(|step| step.status.is_terminal()).count();
        assert_eq!((ends, state.attempts), (1, 1), "{steps:?}");
    }
    here.stop().await;
    there.stop().await;
    devices.abort();
    let mut deliveries: HashMap<(String, i64), usize> = HashMap::new();
    while let Ok(delivery) = received.try_recv() {
        *deliveries.entry(delivery).or_default() += 1;
    }
    assert_eq!(deliveries.len(), DEVICES * EACH);
    assert!(deliveries.values().all(|&times| times == 1), "an attempt was sent twice");
    broker.stop().await.expect("stopped");
}
