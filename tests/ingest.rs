//! Ingest, past any broker: what is submitted is on the record, or in quarantine, before its receipt says so.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use fleetlog_aggregates::device::{Command, Device, Labels, Via};
use fleetlog_aggregates::telemetry::Reason;
use fleetlog_embedded::postgres;
use fleetlog_engine::ingest::{Closed, Fate, Handle};
use fleetlog_event_log::control::{Actor, Metadata};
use fleetlog_event_log::read::Filter;
use fleetlog_event_log::{EventLog, Lane, database};
use futures::future::join_all;
use metrics_exporter_prometheus::PrometheusBuilder;
use sqlx::Executor;

use crate::support::{Node, log_of, register_device};

const TOPIC: &str = "t0/devices/dev-01/telemetry";

fn topic(device: impl std::fmt::Display) -> String {
    format!("t0/devices/{device}/telemetry")
}

async fn execute(log: &EventLog, device: &str, command: Command) {
    log.execute::<Device>(&device.parse().expect("a stream"), command, Metadata::by(Actor::Fleetlog))
        .await
        .expect("accepted");
}

fn head(node: &Node, lane: Lane) -> i64 {
    node.log.heads().log(log_of(&node.log, lane)).expect("a log").head
}

#[tokio::test]
async fn messages_of_one_device_are_recorded_in_the_order_in_which_they_came() {
    let node = Node::start().await;
    let payloads: Vec<String> = (0..5000).map(|n| format!(r#"{{"msg_id":{n}}}"#)).collect();
    let mut receipts = Vec::new();
    for payload in &payloads {
        let payload = payload.clone().into();
        receipts.push(node.ingest.submit(TOPIC, payload, chrono::Utc::now()).await.expect("open"));
    }
    let fates = join_all(receipts).await;
    let expected: Vec<_> = (1..=5000).map(|position| Ok(Fate::Recorded(position))).collect();
    assert_eq!(fates, expected);
    assert_eq!(node.recorded("t0/dev-01").await, payloads);
}

#[tokio::test]
async fn a_message_that_comes_again_is_stored_once_and_one_without_msg_id_is_never_a_repeat() {
    let node = Node::start().await;
    let again = join_all((0..20).map(|_| node.ingest(TOPIC, r#"{"msg_id":"m1"}"#))).await;
    assert_eq!(again.iter().filter(|fate| **fate == Ok(Fate::Duplicate)).count(), 19, "{again:?}");
    let anonymous = join_all((0..20).map(|_| node.ingest(TOPIC, r#"{"t":1}"#))).await;
    assert!(anonymous.iter().all(|fate| matches!(fate, Ok(Fate::Recorded(_)))), "{anonymous:?}");
    assert_eq!(node.recorded("t0/dev-01").await.len(), 21);
}

#[tokio::test]
async fn a_bad_message_does_not_hold_up_its_batch() {
    let node = Node::start().await;
    node.ingest(TOPIC, "{}").await.expect("stored");
    let held = node.hold_appends().await;
    // The first one goes alone and waits; the others gather behind it into one batch.
    let first = node.ingest(TOPIC, r#"{"n":0}"#);
    let batch =
        join_all([&b"{\"n\":1}"[..], b"\xff", b"{\"n\":2}"].map(|payload| node.ingest(TOPIC, payload)));
    let release = async {
        node.append_waits().await;
        drop(held);
    };
    let (first, batch, ()) = tokio::join!(first, batch, release);
    assert_eq!(first, Ok(Fate::Recorded(2)));
    assert_eq!(batch, [Ok(Fate::Recorded(3)), Ok(Fate::Quarantined(Reason::NotUtf8)), Ok(Fate::Recorded(4))]);
}

#[tokio::test]
async fn an_unknown_device_is_registered_once_by_fifty_parallel_first_messages_to_two_nodes() {
    let node = Node::start().await;
    let other = node.join().await;
    let (here, there) = tokio::join!(
        join_all((0..25).map(|_| node.ingest(TOPIC, "{}"))),
        join_all((0..25).map(|_| other.ingest(TOPIC, "{}"))),
    );
    assert!(
        here.iter().chain(&there).all(|fate| matches!(fate, Ok(Fate::Recorded(_)))),
        "{here:?} {there:?}"
    );
    let control =
        node.log.read(log_of(&node.log, Lane::Control), 0, 10, &Filter::default()).await.expect("read");
    let events: Vec<_> = control.iter().map(|event| (&*event.aggregate_id, &*event.event_type)).collect();
    assert_eq!(events, [("t0/dev-01", "DeviceRegistered")]);
}

#[tokio::test]
async fn a_thousand_new_devices_are_registered_within_seconds() {
    let node = Node::start().await;
    let started = Instant::now();
    let fates =
        join_all((0..1000).map(|n| node.ingest.submit(topic(n), "{}".into(), chrono::Utc::now()))).await;
    let fates = join_all(fates.into_iter().map(|receipt| receipt.expect("open"))).await;
    println!("1,000 registrations: {:?}", started.elapsed());
    assert!(fates.iter().all(|fate| matches!(fate, Ok(Fate::Recorded(_)))));
    assert_eq!((head(&node, Lane::Control), head(&node, Lane::Telemetry)), (1000, 1000));
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn where_a_tenant_registers_by_hand_strangers_go_to_quarantine_until_they_are_registered() {
    let node = Node::start().await;
    node.owner().await.execute("UPDATE tenants SET self_registration = false").await.expect("update");
    assert_eq!(node.ingest(TOPIC, "{}").await, Ok(Fate::Quarantined(Reason::UnknownDevice)));
    assert_eq!(node.quarantined(TOPIC).await, [(Some("t0".into()), "unknown_device".into())]);
    execute(&node.log, "t0/dev-01", register_device(Via::Api, None, Labels::new())).await;
    assert_eq!(node.ingest(TOPIC, "{}").await, Ok(Fate::Recorded(1)));
}

#[tokio::test]
async fn a_new_device_that_no_url_can_name_goes_to_quarantine_and_one_of_old_goes_on() {
    let node = Node::start().await;
    execute(&node.log, "t0/..", register_device(Via::Api, None, Labels::new())).await;
    assert_eq!(node.ingest("t0/devices/../telemetry", "{}").await, Ok(Fate::Recorded(1)));
    let topic = "t0/devices/./telemetry";
    assert_eq!(node.ingest(topic, "{}").await, Ok(Fate::Quarantined(Reason::BadTopic)));
    assert_eq!(node.quarantined(topic).await, [(Some("t0".into()), "bad_topic".into())]);
    assert!(matches!(node.ingest("t0/devices/.a/telemetry", "{}").await, Ok(Fate::Recorded(_))));
}

#[tokio::test]
async fn a_decommissioned_device_is_refused_here_at_once_and_on_other_nodes_soon() {
    let node = Node::start().await;
    let other = node.join().await;
    for node in [&node, &other] {
        node.ingest(TOPIC, "{}").await.expect("stored");
    }
    execute(&node.log, "t0/dev-01", Command::Decommission).await;
    let refused = Ok(Fate::Quarantined(Reason::Decommissioned));
    assert_eq!(node.ingest(TOPIC, "{}").await, refused);
    let noticed = async { while other.ingest(TOPIC, "{}").await != refused {} };
    tokio::time::timeout(Duration::from_secs(5), noticed).await.expect("noticed");
    execute(&node.log, "t0/dev-01", register_device(Via::Api, None, Labels::new())).await;
    assert!(matches!(node.ingest(TOPIC, "{}").await, Ok(Fate::Recorded(_))));
}

#[tokio::test]
async fn the_first_message_of_a_new_tenant_finds_its_log() {
    let node = Node::start().await;
    let topic = "new/devices/dev-01/telemetry";
    assert_eq!(node.ingest(topic, "{}").await, Ok(Fate::Quarantined(Reason::UnknownTenant)));
    assert_eq!(node.quarantined(topic).await, [(None, "unknown_tenant".into())]);
    node.owner().await.execute("INSERT INTO tenants (tenant) VALUES ('new')").await.expect("insert");
    assert_eq!(node.ingest(topic, "{}").await, Ok(Fate::Recorded(1)));
}

#[tokio::test]
async fn one_tenants_stalled_log_holds_up_no_other() {
    let node = Node::start().await;
    node.owner().await.execute("INSERT INTO tenants (tenant) VALUES ('new')").await.expect("insert");
    let held = node.hold_appends().await;
    let stalled = node.ingest.submit(TOPIC, "{}".into(), chrono::Utc::now()).await.expect("open");
    node.append_waits().await;
    assert_eq!(node.ingest("new/devices/dev-01/telemetry", "{}").await, Ok(Fate::Recorded(1)));
    drop(held);
    assert_eq!(stalled.await, Ok(Fate::Recorded(1)));
}

#[tokio::test]
async fn whoever_submits_more_than_the_budget_waits() {
    let node = Node::start_with(|ingest, _| ingest.budget = 4 * (Handle::OVERHEAD + 100)).await;
    let held = node.hold_appends().await;
    let mut receipts = Vec::new();
    for _ in 0..4 {
        receipts.push(node.ingest.submit(TOPIC, "{}".into(), chrono::Utc::now()).await.expect("open"));
    }
    let mut fifth = Box::pin(node.ingest(TOPIC, "{}"));
    node.append_waits().await;
    assert!(futures::poll!(&mut fifth).is_pending());
    drop(held);
    assert_eq!(fifth.await, Ok(Fate::Recorded(5)));
    // A message larger than the whole budget still gets its turn.
    assert_eq!(node.ingest(TOPIC, "x".repeat(100_000)).await, Ok(Fate::Recorded(6)));
}

#[tokio::test]
async fn a_shutdown_finishes_what_was_submitted_and_takes_no_more() {
    let node = Node::start().await;
    let held = node.hold_appends().await;
    let receipts =
        join_all((0..10).map(|_| node.ingest.submit(TOPIC, "{}".into(), chrono::Utc::now()))).await;
    node.append_waits().await;
    node.stop.cancel();
    while node.ingest.submit(TOPIC, "{}".into(), chrono::Utc::now()).await.is_ok() {
        tokio::task::yield_now().await;
    }
    drop(held);
    for receipt in receipts {
        assert!(matches!(receipt.expect("open").await, Ok(Fate::Recorded(_))));
    }
    node.running.await.expect("an orderly end");
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_a_stalled_database_for_ever_and_promises_nothing() {
    let node = Node::start_with(|ingest, _| ingest.drain = Duration::from_millis(50)).await;
    let held = node.hold_appends().await;
    let receipt = node.ingest.submit(TOPIC, "{}".into(), chrono::Utc::now()).await.expect("open");
    node.append_waits().await;
    node.stop.cancel();
    assert_eq!(receipt.await, Err(Closed));
    node.running.await.expect("an orderly end");
    drop(held);
}

#[tokio::test]
async fn nothing_is_lost_or_doubled_over_an_immediate_restart_of_postgres() {
    let directory = tempfile::tempdir().expect("a directory");
    let start = || postgres::Cluster::start(postgres::Options::new(directory.path().join("data")), |_| ());
    let cluster = start().await.expect("Postgres");
    database::Options::new(cluster.connect_options()).migrate().await.expect("migrate");
    let node = Node::start_on(cluster.connect_options(), |_, _| ()).await;
    let stream = |range: std::ops::Range<usize>| {
        join_all(range.map(|n| node.ingest(TOPIC, format!(r#"{{"msg_id":"{n}"}}"#).leak() as &str)))
    };
    let before = stream(0..500).await;
    let restart = async {
        cluster.stop_immediately().await.expect("stop");
        start().await.expect("Postgres")
    };
    let (during, cluster) = tokio::join!(stream(500..1500), restart);
    let fates = [before, during, stream(1500..1600).await].concat();
    assert!(fates.iter().all(|fate| matches!(fate, Ok(Fate::Recorded(_) | Fate::Duplicate))), "{fates:?}");
    let recorded = node.recorded("t0/dev-01").await;
    assert_eq!((recorded.len(), recorded.iter().collect::<HashSet<_>>().len()), (1600, 1600));
    node.stop.cancel();
    node.running.await.expect("an orderly end");
    cluster.stop().await.expect("stop");
}

#[tokio::test]
async fn what_becomes_of_messages_is_counted() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _counting = metrics::set_default_local_recorder(&recorder);
    let node = Node::start().await;
    for payload in [
        r#"{"msg_id":"m1"}"#,
        r#"{"msg_id":"m1"}"#,
        "raw",
        r#"{"ts":1000000000,"msg_id":"m2"}"#,
        r#"{"ts":"9999-01-01T00:00:00Z","msg_id":"m3"}"#,
        r#"{"ts":"never","msg_id":"m4"}"#,
        r#"{"msg_id":1.5}"#,
        r#"{"msg_id":"m1","t":2}"#,
    ] {
        node.ingest(TOPIC, payload).await.expect("stored");
    }
    node.ingest("x", "{}").await.expect("stored");
    let counts = recorder.handle().render();
    for (name, count) in [
        ("received_total", 9),
        ("recorded_total", 7),
        ("duplicates_total", 1),
        ("raw_total", 1),
        ("no_msg_id_total", 1),
        ("late_total", 1),
        ("clock_ahead_total", 1),
        ("bad_ts_total", 1),
        ("bad_msg_id_total", 1),
        ("id_reused_total", 1),
        ("no_metrics_total", 6),
        ("repeated_key_total", 0),
        ("batches_total", 8),
        (r#"quarantined_total{reason="bad_topic"}"#, 1),
        ("in_flight", 0),
        ("batch_size_count", 8),
        ("append_seconds_count", 8),
    ] {
        let line = format!("fleetlog_ingest_{name} {count}");
        assert!(counts.lines().any(|counted| counted == line), "{line} in\n{counts}");
    }
}
