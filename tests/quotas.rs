//! What devices may use: room in quarantine, messages and bytes, new devices, metrics. Whatever one of them sends, the
//! others are served.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use chrono::Utc;
use fleetlog_aggregates::telemetry::Reason;
use fleetlog_api::rest;
use fleetlog_engine::ingest::{self, Closed, Excess, Fate, Receipt, STRANGERS_A_MINUTE, STRANGERS_PAYLOAD};
use fleetlog_event_log::quarantine::TENANT_MESSAGES;
use futures::future::join_all;
use sqlx::Executor;

use crate::support::Node;
use crate::support::mqtt::{Device, V4};

const BYSTANDER: &str = "t0/devices/bystander/telemetry";

#[tokio::test]
async fn a_flood_of_large_messages_on_topics_of_no_tenant_leaves_a_bounded_trace_and_stops_nobody() {
    let node = Node::start().await;
    let large = Bytes::from(vec![b'x'; 900_000]);
    let flood = join_all((0..100).map(|_| node.ingest("x/y", &large)));
    let beside = join_all((0..100).map(|_| node.ingest(BYSTANDER, r#"{"t":1}"#)));
    let (flood, beside) = tokio::join!(flood, beside);
    assert!(flood.iter().all(|fate| *fate == Ok(Fate::Quarantined(Reason::BadTopic))), "{flood:?}");
    assert!(beside.iter().all(|fate| matches!(fate, Ok(Fate::Recorded(_)))), "{beside:?}");
    let mut owner = node.owner().await;
    node.stop.cancel();
    node.running.await.expect("stopped");
    let rows: Vec<(i32, Option<i64>, Option<i32>, String)> = sqlx::query_as(
        "SELECT octet_length(payload), bytes, octet_length(sha256), detail FROM quarantine ORDER BY quarantine_id",
    )
    .fetch_all(&mut owner)
    .await
    .expect("read");
    let (counted, kept) = rows.split_last().expect("rows");
    assert_eq!(kept.len(), STRANGERS_A_MINUTE);
    let cut = (STRANGERS_PAYLOAD as i32, Some(900_000), Some(32));
    assert!(kept.iter().all(|row| (row.0, row.1, row.2) == cut), "{kept:?}");
    assert_eq!(counted.0, 0);
    assert!(
        counted.3.starts_with("40 more messages on topics of no tenant within a minute, 36000000 bytes"),
        "{rows:?}"
    );
}

#[tokio::test]
async fn a_tenants_quarantine_has_so_much_room_and_what_finds_none_is_acknowledged_and_counted() {
    let node = Node::start().await;
    let mut owner = node.owner().await;
    let nearly_full = "INSERT INTO quarantine_totals (tenant, messages, bytes) VALUES ('t0', $1, 0)";
    sqlx::query(nearly_full).bind(TENANT_MESSAGES - 1).execute(&mut owner).await.expect("nearly full");
    let bad = join_all((0..5).map(|_| node.ingest(BYSTANDER, b"\xff"))).await;
    assert!(bad.iter().all(|fate| matches!(fate, Ok(Fate::Quarantined(_)))), "{bad:?}");
    let others = node.ingest("x/y", "1").await;
    assert!(matches!(others, Ok(Fate::Quarantined(_))), "{others:?}");
    assert_eq!((node.quarantined(BYSTANDER).await.len(), node.quarantined("x/y").await.len()), (1, 1));
    let totals: (i64, i64) =
        sqlx::query_as("SELECT messages, dropped FROM quarantine_totals WHERE tenant = 't0'")
            .fetch_one(&mut owner)
            .await
            .expect("read");
    assert_eq!(totals, (TENANT_MESSAGES, 4));
}

#[tokio::test]
async fn a_long_payload_is_cut_and_its_length_and_hash_are_kept() {
    let node = Node::start().await;
    let long = vec![b'7'; 300_000];
    let fate = node.ingest(BYSTANDER, &long).await;
    assert_eq!(fate, Ok(Fate::Quarantined(Reason::TooLarge)));
    let mut owner = node.owner().await;
    let kept: (i32, i64, bool) =
        sqlx::query_as("SELECT octet_length(payload), bytes, sha256 = sha256($1) FROM quarantine")
            .bind(&long)
            .fetch_one(&mut owner)
            .await
            .expect("read");
    assert_eq!(kept, (262_144, 300_000, true));
}

#[tokio::test]
async fn old_messages_leave_quarantine_a_bounded_number_at_a_time() {
    let node = Node::start().await;
    let mut owner = node.owner().await;
    owner
        .execute(
            "INSERT INTO quarantine (tenant, topic, payload, reason, detail, received_at, quarantined_at)
             SELECT CASE WHEN number % 2 = 0 THEN 't0' END, 'x', 'abcd', 'bad_topic', '', now(),
                    now() - CASE WHEN number <= 2500 THEN interval '31 days' ELSE interval '29 days' END
             FROM generate_series(1, 3000) AS number;
             INSERT INTO quarantine_totals (tenant, messages, bytes) VALUES ('t0', 1500, 6000), ('', 1500, 6000)",
        )
        .await
        .expect("old messages");
    let mut removed = vec![];
    while let Ok(some @ 1..) = node.log.remove_old_from_quarantine().await {
        removed.push(some);
    }
    assert_eq!(removed, [1000, 1000, 500]);
    let left = "SELECT tenant, messages, bytes FROM quarantine_totals ORDER BY tenant";
    let left: Vec<(String, i64, i64)> = sqlx::query_as(left).fetch_all(&mut owner).await.expect("read");
    assert_eq!(left, [(String::new(), 250, 1000), ("t0".to_owned(), 250, 1000)]);
}

/// Changes a bound of the default tenant's tier, and makes it known to a node.
async fn bound(node: &Node, bound: &str) {
    let mut owner = node.owner().await;
    let change = format!("UPDATE tiers SET {bound} WHERE tier = 'enterprise'");
    owner.execute(change.as_str()).await.expect("changed");
    node.log.terms().refresh(node.log.pool()).await.expect("known");
}

async fn count(node: &Node, rows: &str) -> usize {
    let count: i64 = sqlx::query_scalar(&format!("SELECT count(*) FROM {rows}"))
        .fetch_one(&mut node.owner().await)
        .await
        .expect("counted");
    count as usize
}

#[tokio::test]
async fn a_device_of_mqtt_5_is_told_that_it_is_over_its_quota_and_what_is_acknowledged_is_stored() {
    let node = Node::start().await;
    for which in ["messages_per_s = 5", "messages_per_s = NULL, connection_messages_per_s = 5"] {
        bound(&node, which).await;
        let before = count(&node, "telemetry_events").await;
        let mut device = node.device("dev-01").await;
        for id in 1..=200 {
            device.publish(1, id, "t0/devices/dev-01/telemetry", "{}").await;
        }
        let (mut taken, mut refused) = (0, 0);
        for _ in 0..200 {
            match *device.packet().await.expect("an answer") {
                [0x40, 3, _, _, 0x97] => refused += 1,
                [0x40, 2, _, _] => taken += 1,
                ref other => panic!("{other:?}"),
            }
        }
        assert!(taken >= 50 && refused > 0, "{which}: {taken} taken, {refused} refused");
        assert_eq!(count(&node, "telemetry_events").await - before, taken, "{which}");
    }
}

#[tokio::test]
async fn a_device_of_mqtt_3_waits_for_its_quota_and_loses_nothing() {
    let recorder = rest::metrics::recorder(fleetlog::instruments::all()).expect("a recorder");
    let _here = metrics::set_default_local_recorder(&recorder);
    let node = Node::start().await;
    bound(&node, "messages_per_s = 1, bytes_per_s = 1000000").await;
    let mut device = Device::connect(node.address, V4, "dev-01").await;
    // Two more than a burst.
    for id in 1..=12 {
        device.publish(1, id, "t0/devices/dev-01/telemetry", "{}").await;
    }
    for id in 1..=12 {
        assert_eq!(device.puback().await, id);
    }
    assert_eq!(count(&node, "telemetry_events").await, 12);
    let waited = r#"fleetlog_ingest_over_quota_total{bound="tenant",outcome="waited"} "#;
    let counters = recorder.handle().render();
    assert!(counters.contains(waited), "it waits: {counters}");
}

/// Submits a message that is refused beyond a quota.
async fn submit_or_refuse(
    connection: &ingest::Handle,
    topic: impl Into<Arc<str>>,
) -> Result<Receipt, Closed> {
    connection.submit_as(topic, "{}".into(), Utc::now(), Excess::IsRefused, None).await
}

#[tokio::test]
async fn one_tenants_quota_is_not_anothers() {
    let node = Node::start().await;
    let mut owner = node.owner().await;
    owner.execute("INSERT INTO tenants (tenant, tier) VALUES ('t1', 'free')").await.expect("a tenant");
    owner.execute("UPDATE tiers SET messages_per_s = 1 WHERE tier = 'free'").await.expect("changed");
    node.log.heads().refresh(node.log.pool()).await.expect("known");
    node.log.terms().refresh(node.log.pool()).await.expect("known");
    let connection = node.ingest.for_connection();
    let mut refused = 0;
    for number in 0..100 {
        let submitted = submit_or_refuse(&connection, "t1/devices/d/telemetry").await;
        refused += usize::from(submitted.expect("open").await == Ok(Fate::OverQuota));
        let beside = node.ingest(BYSTANDER, format!(r#"{{"msg_id":{number}}}"#)).await;
        assert!(matches!(beside, Ok(Fate::Recorded(_))), "{beside:?}");
    }
    assert!(refused > 0 && refused <= 90, "{refused}");
}

#[tokio::test]
async fn twenty_thousand_new_devices_at_once_are_not_twenty_thousand_events() {
    let node = Node::start().await;
    node.ingest(BYSTANDER, "{}").await.expect("registered");
    bound(&node, "new_devices_per_s = 50").await;
    let (connection, began) = (node.ingest.for_connection(), Instant::now());
    let mut receipts = vec![];
    for number in 0..20_000 {
        let topic = format!("t0/devices/new-{number}/telemetry");
        receipts.push(submit_or_refuse(&connection, topic).await.expect("open"));
        if number % 1000 == 0 {
            let beside = node.ingest(BYSTANDER, format!(r#"{{"msg_id":{number}}}"#)).await;
            assert!(matches!(beside, Ok(Fate::Recorded(_))), "{beside:?}");
        }
    }
    let fates = join_all(receipts).await;
    let recorded = fates.iter().filter(|fate| matches!(fate, Ok(Fate::Recorded(_)))).count();
    let refused = fates.iter().filter(|fate| **fate == Ok(Fate::OverQuota)).count();
    assert_eq!(recorded + refused, 20_000);
    let registered = count(&node, "control_events WHERE event_type = 'DeviceRegistered'").await;
    assert_eq!(registered, recorded + 1, "and the bystander");
    let most = 500.0 + 50.0 * (began.elapsed().as_secs_f64() + 1.0);
    assert!(recorded as f64 <= most, "{recorded} of at most {most}");
}

#[tokio::test]
async fn a_new_device_that_cannot_be_told_waits_until_it_is_registered_and_keeps_its_order() {
    let node = Node::start().await;
    bound(&node, "new_devices_per_s = 10").await;
    let mut receipts = vec![];
    for number in 0..130 {
        for message in 0..2 {
            let topic = format!("t0/devices/new-{number}/telemetry");
            let payload = format!(r#"{{"msg_id":{message}}}"#);
            receipts.push(node.ingest.submit(topic, payload.into(), Utc::now()).await.expect("open"));
        }
    }
    let fates = join_all(receipts).await;
    assert!(fates.iter().all(|fate| matches!(fate, Ok(Fate::Recorded(_)))), "{fates:?}");
    assert!(
        fates.chunks(2).all(|two| matches!(two, [Ok(Fate::Recorded(a)), Ok(Fate::Recorded(b))] if a < b))
    );
    assert_eq!(count(&node, "control_events WHERE event_type = 'DeviceRegistered'").await, 130);
}
