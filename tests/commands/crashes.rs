//! `kill -9` between every two steps of a command, with the real binary behind Mosquitto: after a restart each command
//! ends in exactly one terminal event, and its device got it at most once more than there are attempts on the record.

use std::net::SocketAddr;

use fleetlog_aggregates::command::Status;
use fleetlog_embedded::mosquitto;
use fleetlog_engine::commands::{Commands, NewCommand};
use reqwest::{Method, StatusCode};
use rstest::rstest;
use serde_json::{Value, json};

use super::{actor, ping, register, until, words};
use crate::support::mqtt::{Device, V5};
use crate::support::{Database, Server, t0};

/// A device that answers everything at once, or nothing; and writes down what it gets before it does.
async fn journal(broker: SocketAddr, answers: bool, journal: tokio::sync::mpsc::UnboundedSender<Value>) {
    let mut device = Device::connect(broker, V5, "dev-01").await;
    device.subscribe("t0/devices/dev-01/commands").await;
    let mut answering = Device::connect(broker, V5, "dev-01-answers").await;
    journal.send(Value::Null).expect("a test");
    loop {
        let command: Value = serde_json::from_slice(&device.message_or_wait().await).expect("JSON");
        if journal.send(command.clone()).is_err() {
            return;
        }
        if answers {
            let answer = json!({"cmd_id": command["cmd_id"], "status": "ack"});
            answering.report("t0/devices/dev-01/command_ack", answer.to_string()).await;
        }
    }
}

#[tokio::test]
async fn a_request_whose_answer_was_lost_is_the_same_command_when_it_comes_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let broker = mosquitto::Options { dir: directory.path().to_owned(), port: None };
    let broker = mosquitto::Broker::start(broker).await.expect("Mosquitto");
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let port = broker.address().port();
    let doomed = Server::serve_until_killed(&database.options(), port, "command.requested").await;
    register(&log, "dev-01").await;
    let request = |server: &Server| {
        let request = server.request(Method::POST, "/devices/dev-01/commands");
        request.header("Idempotency-Key", "once").json(&json!({"cmd": "ping"})).send()
    };
    assert!(request(&doomed).await.is_err(), "the answer is lost");
    doomed.wait_killed().await;
    let server = Server::serve(&database.options(), port, &[]).await;
    let mut answers = vec![];
    for _ in 0..2 {
        let answer = request(&server).await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
        assert_eq!(answer.headers()["Idempotent-Replayed"], "true");
        answers.push(answer.text().await.expect("text"));
    }
    assert_eq!(answers[0], answers[1]);
    let commands = "SELECT count(*) FROM control_events WHERE event_type = 'CommandRequested'";
    let commands: i64 = sqlx::query_scalar(commands).fetch_one(log.pool()).await.expect("counted");
    assert_eq!(commands, 1);
    server.stop().await;
    broker.stop().await.expect("stopped");
}

#[rstest]
#[case("command.due", true, Status::Acked)]
#[case("command.published", true, Status::Acked)]
#[case("command.published", false, Status::TimedOut)]
#[case("command.sent", true, Status::Acked)]
#[case("command.sent", false, Status::TimedOut)]
#[case("ack.received", true, Status::Acked)]
#[case("ack.recorded", true, Status::Acked)]
#[case("timer.fired", false, Status::TimedOut)]
#[case("timer.recorded", false, Status::TimedOut)]
#[tokio::test]
async fn a_killed_server_leaves_a_command_that_ends_once(
    #[case] point: &str,
    #[case] answers: bool,
    #[case] outcome: Status,
) {
    let directory = tempfile::tempdir().expect("a directory");
    let broker = mosquitto::Options { dir: directory.path().to_owned(), port: None };
    let broker = mosquitto::Broker::start(broker).await.expect("Mosquitto");
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let (sender, mut received) = tokio::sync::mpsc::unbounded_channel();
    let device = tokio::spawn(journal(broker.address(), answers, sender));
    assert_eq!(received.recv().await, Some(Value::Null), "it listens");

    let port = broker.address().port();
    let doomed = Server::serve_until_killed(&database.options(), port, point).await;
    let commands = Commands::default();
    register(&log, "dev-01").await;
    let quick = NewCommand { timeout_s: Some(1), max_attempts: Some(1), ..ping("dev-01") };
    let cmd_id = commands.send(&t0(&log), quick, None, actor("user:1")).await.expect("accepted").id;
    doomed.wait_killed().await;

    let server = Server::serve(&database.options(), port, &[]).await;
    let (state, steps) = until(&log, cmd_id, |state| {
        // An answer may be on its way a second time.
        state.status.is_terminal() && (!answers || state.status == Status::Acked || state.late_ack.is_some())
    })
    .await;
    assert_eq!(state.status, outcome, "{:?}", words(&steps));
    let ends = steps.windows(2).filter(|pair| !pair[0].status.is_terminal() && pair[1].status.is_terminal());
    assert_eq!(ends.count(), 1);
    server.stop().await;
    device.abort();
    let mut deliveries = 0;
    while let Ok(command) = received.try_recv() {
        assert_eq!(command["cmd_id"], json!(cmd_id), "never another one");
        deliveries += 1;
    }
    assert!((1..=state.attempts + 1).contains(&deliveries), "{deliveries} for {} attempts", state.attempts);
    broker.stop().await.expect("stopped");
}
