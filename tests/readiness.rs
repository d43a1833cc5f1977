//! `/readyz`: what cannot be stored, read or followed is said, with since when and why; and a leader that is frozen is
//! replaced.

use std::time::Duration;

use fleetlog_aggregates::device::{Device, Labels, Via};
use fleetlog_embedded::mosquitto;
use fleetlog_engine::ingest::Fate;
use fleetlog_event_log::control::{Actor, Metadata};
use fleetlog_event_log::health::{Health, PartState, parts};
use fleetlog_event_log::read::Filter;
use fleetlog_event_log::{EventLog, Lane};
use fleetlog_projections::{Options, Projections};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::Executor;
use tokio_util::sync::CancellationToken;

use crate::support::api::answer;
use crate::support::mqtt::{Device as Client, V5};
use crate::support::{
    Api, Database, Node, Server, eventually, fill_the_disk, free_the_disk, log_of, register_device, until,
};

const TOPIC: &str = "t0/devices/dev-01/telemetry";

/// Waits until a part is up or down.
async fn until_part(health: &Health, name: &str, up: bool) -> PartState {
    eventually(name, async || {
        let states = health.states();
        states.iter().find(|part| part.name == name && part.up == up).cloned().ok_or(states)
    })
    .await
}

/// What an answer of `/readyz` says about a part.
fn part(answer: &Value, name: &str) -> Value {
    let parts = answer["parts"].as_array().cloned().unwrap_or_default();
    parts.into_iter().find(|part| part["name"] == name).unwrap_or_default()
}

#[tokio::test]
async fn a_message_that_is_not_stored_is_reported_with_the_time_since_when_and_the_reason_until_it_is() {
    let full = async {
        let node = Node::start().await;
        let mut owner = node.owner().await;
        fill_the_disk(&mut owner, "telemetry_events", 0).await;
        let health = node.log.health().clone();
        let waiting = tokio::spawn(async move { (node.ingest(TOPIC, r#"{"msg_id":"m1"}"#).await, node) });
        let down = until_part(&health, parts::APPENDS, false).await;
        let reason = down.reason.expect("a reason");
        let words = "failed to append telemetry: the database's disk has no space left (SQLSTATE 53100)";
        assert!(reason.ends_with(words), "{reason}");
        free_the_disk(&mut owner).await;
        let (fate, _node) = waiting.await.expect("stored");
        assert_eq!(fate, Ok(Fate::Recorded(1)));
        assert!(until_part(&health, parts::APPENDS, true).await.since > down.since);
    };
    let locked = async {
        let node = Node::start().await;
        let lock = node.hold_appends().await;
        let began = chrono::Utc::now();
        let health = node.log.health().clone();
        let waiting = tokio::spawn(async move { (node.ingest(TOPIC, r#"{"msg_id":"m1"}"#).await, node) });
        let down = until_part(&health, parts::APPENDS, false).await;
        assert!(down.since >= began && down.reason.is_some(), "{down:?}");
        drop(lock);
        waiting.await.expect("stored").0.expect("stored");
        until_part(&health, parts::APPENDS, true).await;
    };
    tokio::join!(full, locked);
}

#[tokio::test]
async fn an_event_that_cannot_be_appended_is_reported_and_so_is_the_first_moment_at_which_one_can() {
    let api = Api::start().await;
    let mut owner = api.database.owner().await;
    api.until("/readyz", |ready| ready.status == StatusCode::OK).await;
    fill_the_disk(&mut owner, "control_events", 0).await;
    let register = register_device(Via::Api, None, Labels::new());
    let stream = "t0/dev-01".parse().expect("a stream");
    let refused = api.log.execute::<Device>(&stream, register, Metadata::by(Actor::Fleetlog)).await;
    refused.expect_err("no space");
    let ready = answer(api.request(Method::GET, "/readyz")).await;
    let appends = part(&ready.json(), "appends");
    assert_eq!(
        (ready.status, &ready.json()["status"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!("degraded"))
    );
    let words = "an event could not be appended: the database's disk has no space left (SQLSTATE 53100)";
    assert_eq!(appends["reason"], words);
    free_the_disk(&mut owner).await;
    // Nobody appends anything now.
    api.until("/readyz", |ready| ready.json()["status"] == "ready").await;
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM control_events WHERE aggregate_type = 'Probe'")
        .fetch_one(&mut owner)
        .await
        .expect("counted");
    assert_eq!(left, 0, "what tries whether events can be appended leaves none");
}

/// Waits for what `/readyz` says of reads.
async fn reads(health: &Health, expected: Option<&str>) {
    let said = || health.states().into_iter().find(|part| part.name == parts::READS).expect("a part").reason;
    eventually("reads are reported", async || {
        let said = said();
        if said.as_deref() == expected { Ok(()) } else { Err(said) }
    })
    .await;
}

#[tokio::test]
async fn each_read_of_the_log_that_fails_is_reported_in_words_without_inner_names_until_it_succeeds() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let mut owner = database.owner().await;
    let revoke = "REVOKE SELECT ON control_events, telemetry_events FROM fleetlog_service";
    owner.execute(revoke).await.expect("revoked");
    let ranges = [(log_of(&log, Lane::Control), 0), (log_of(&log, Lane::Telemetry), 7)];
    for (log_id, after) in ranges.into_iter().chain(ranges) {
        log.read(log_id, after, 10, &Filter::default()).await.expect_err("no right");
    }
    let denied = "the database denies the service a right that it needs (SQLSTATE 42501)";
    let [first, second] =
        ranges.map(|(log_id, after)| format!("log {log_id} cannot be read after position {after}: {denied}"));
    reads(log.health(), Some(&format!("{first}; and 1 other range"))).await;
    owner.execute("GRANT SELECT ON control_events TO fleetlog_service").await.expect("granted");
    reads(log.health(), Some(&second)).await;
    owner.execute("GRANT SELECT ON telemetry_events TO fleetlog_service").await.expect("granted");
    reads(log.health(), None).await;
}

/// Starts projections that are down as soon as they stand still.
fn impatient(log: &EventLog) -> CancellationToken {
    let stop = CancellationToken::new();
    let options = Options { stands: Duration::from_millis(50), ..Options::default() };
    tokio::spawn(Projections::new(log.clone(), options).run(stop.clone()));
    stop
}

async fn store(log: &EventLog, number: i64) {
    let payload = format!(r#"{{"msg_id":"m{number}","t":1}}"#);
    let message = fleetlog_aggregates::telemetry::Message {
        topic: TOPIC,
        payload: payload.as_bytes(),
        received_at: chrono::Utc::now(),
    };
    let event = fleetlog_aggregates::telemetry::decide(message, String::new).expect("storable");
    log.append_telemetry(log_of(log, Lane::Telemetry), vec![event].into()).await.expect("appended");
}

#[tokio::test]
async fn a_projection_whose_log_has_lost_its_events_is_reported() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    store(&log, 1).await;
    let mut owner = database.owner().await;
    let lose = "SET session_replication_role = replica; DELETE FROM telemetry_events";
    owner.execute(lose).await.expect("lost");
    let _running = impatient(&log).drop_guard();
    let down = until_part(log.health(), parts::PROJECTIONS, false).await;
    let reason = down.reason.expect("a reason");
    assert!(reason.contains("has no event after 0, though its head is 1"), "{reason}");
}

#[tokio::test]
async fn a_node_that_does_not_lead_reports_a_leader_whose_checkpoint_stands() {
    let database = Database::fresh().await;
    let (here, there) = (database.event_log().await, database.event_log().await);
    let leading = impatient(&here);
    store(&here, 1).await;
    until_followed(&here, 1).await;
    let _waiting = impatient(&there).drop_guard();
    // The leader can write no row of a device.
    let mut owner = database.owner().await;
    owner.execute("BEGIN; LOCK TABLE devices_v1 IN ACCESS EXCLUSIVE MODE").await.expect("locked");
    store(&here, 2).await;
    let down = until_part(there.health(), parts::PROJECTIONS, false).await;
    let reason = down.reason.expect("a reason");
    assert!(reason.contains("stands still: another node leads it"), "{reason}");
    owner.execute("COMMIT").await.expect("unlocked");
    until_part(there.health(), parts::PROJECTIONS, true).await;
    leading.cancel();
}

/// Waits until the checkpoints of both projections of telemetry are there.
async fn until_followed(log: &EventLog, position: i64) {
    let at = "SELECT count(*) FROM projection_checkpoints WHERE log_id = $1 AND position >= $2";
    let telemetry = log_of(log, Lane::Telemetry);
    until("the projections follow", async || {
        let there = sqlx::query_scalar(at).bind(telemetry).bind(position).fetch_one(log.pool());
        there.await.map(|there: i64| there == 2).expect("read")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_frozen_in_the_middle_of_a_write_is_replaced_and_writes_nothing_when_it_wakes() {
    let directory = tempfile::tempdir().expect("a directory");
    let broker = mosquitto::Options { dir: directory.path().to_owned(), port: None };
    let broker = mosquitto::Broker::start(broker).await.expect("Mosquitto");
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let port = broker.address().port();
    let options = database.options();
    let [a, b] = ["a", "b"].map(|id| ["--mqtt-share", "nodes", "--mqtt-client-id", id]);
    // The first node leads everything before the second one starts.
    let mut frozen = Server::serve(&options, port, &a).await;
    store(&log, 1).await;
    until_followed(&log, 1).await;
    let mut next = Server::serve(&options, port, &b).await;

    let mut device = Client::connect(broker.address(), V5, "dev-01").await;
    device.subscribe("t0/devices/dev-01/commands").await;
    let command = json!({"cmd": "ping", "timeout_s": 60, "max_attempts": 1});
    let registered = json!({"uid": "dev-01"});
    next.request(Method::POST, "/devices").json(&registered).send().await.expect("registered");

    let mut owner = database.owner().await;
    owner.execute("BEGIN; SELECT FROM devices_v1 FOR UPDATE").await.expect("locked");
    store(&log, 2).await;
    until_blocked(&database).await;
    frozen.signal("STOP").await;
    owner.execute("COMMIT").await.expect("unlocked");
    let asked = next.request(Method::POST, "/devices/dev-01/commands").json(&command).send().await;
    assert_eq!(asked.expect("an answer").status(), StatusCode::ACCEPTED);

    until_followed(&log, 2).await;
    let (_, payload) = device.topic_and_message_or_wait().await;
    let sent: Value = serde_json::from_slice(&payload).expect("JSON");
    next.until("/readyz", |ready| ready["status"] == "ready").await;

    frozen.signal("CONT").await;
    frozen.until("/readyz", |ready| ready["status"] == "ready").await;
    store(&log, 3).await;
    until_followed(&log, 3).await;
    let counted = frozen.get("/devices/dev-01").await;
    assert_eq!(counted["messages"], 3, "{counted}");
    let ack = json!({"cmd_id": sent["cmd_id"], "status": "ack"}).to_string();
    device.report("t0/devices/dev-01/command_ack", ack).await;
    let path = format!("/commands/{}", sent["cmd_id"].as_str().expect("an id"));
    let ended = next.until(&path, |command| command["status"] == "acked").await;
    assert_eq!(ended["attempts"], 1, "{ended}");
    frozen.stop().await;
    next.stop().await;
    broker.stop().await.expect("stopped");
}

/// Waits until a projection waits for a lock in the middle of its transaction.
async fn until_blocked(database: &Database) {
    let mut owner = database.owner().await;
    let blocked = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%devices_v1%'";
    until("a projection waits", async || {
        let blocked: i64 = sqlx::query_scalar(blocked).fetch_one(&mut owner).await.expect("read");
        blocked > 0
    })
    .await;
}
