//! Devices: listed, searched, counted, and paged through without a miss or a repeat.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use fleetlog_aggregates::device::{Change, Command, Labels, Via};
use fleetlog_event_log::EventLog;
use fleetlog_projections::devices::{self, Cursor, Device, Query, Rule, Sort, Status};
use fleetlog_projections::paging::BadCursor;

use super::{Running, append, at, execute, reading, register};
use crate::support::{Database, register_device, t0};

/// Who was heard of within a minute is online.
fn lately() -> Rule {
    Rule { at: Utc::now(), within: Duration::from_mins(1) }
}

async fn list(log: &EventLog, query: &Query) -> Vec<Device> {
    devices::list(&t0(log), query, lately()).await.expect("listed").items
}

async fn uids(log: &EventLog, query: &Query) -> Vec<String> {
    list(log, query).await.into_iter().map(|device| device.uid.into()).collect()
}

async fn search(log: &EventLog, q: &str) -> Vec<String> {
    uids(log, &Query { q: Some(q.into()), ..Query::default() }).await
}

async fn with_status(log: &EventLog, status: Status) -> Vec<String> {
    uids(log, &Query { status: Some(status), ..Query::default() }).await
}

#[tokio::test]
async fn a_device_shows_its_latest_reading_and_how_much_it_has_sent() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let running = Running::start(&log);
    let now = Utc::now();
    // Telemetry is ahead of the registration: not a device yet.
    append(&log, vec![reading("dev-01", 1, now - TimeDelta::minutes(2), r#""t":1"#)]).await;
    running.catch_up().await;
    assert!(list(&log, &Query::default()).await.is_empty());
    register(&log, "dev-01", Some("boiler")).await;
    append(&log, vec![reading("dev-01", 2, now - TimeDelta::minutes(1), r#""t":2"#)]).await;
    running.catch_up().await;
    // Late, and a repeat.
    append(
        &log,
        vec![
            reading("dev-01", 3, now - TimeDelta::days(3), r#""t":3"#),
            reading("dev-01", 1, now - TimeDelta::minutes(2), r#""t":1"#),
        ],
    )
    .await;
    running.catch_up().await;
    let device = list(&log, &Query::default()).await.remove(0);
    let last = device.last_reading.expect("a reading");
    assert!(last.payload.0.contains(r#""t":2"#), "{last:?}");
    assert_eq!((last.position, last.occurred_at.timestamp()), (2, (now - TimeDelta::minutes(1)).timestamp()));
    assert_eq!((device.messages, device.duplicates), (3, Some(1)));
    assert_eq!((device.name.as_deref(), device.status), (Some("boiler"), Status::Online));
    assert!(device.last_seen_at.expect("seen") > now - TimeDelta::seconds(30));
}

#[tokio::test]
async fn a_device_has_the_name_labels_and_status_of_its_life() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let running = Running::start(&log);
    register(&log, "dev-01", Some("boiler")).await;
    register(&log, "dev-02", None).await;
    let labels = Labels::from([("site".into(), "a".into())]);
    execute(
        &log,
        "t0/dev-01",
        Command::Update(Change { labels: Some(labels.clone()), ..Default::default() }),
    )
    .await;
    running.catch_up().await;
    let device = list(&log, &Query::default()).await.remove(0);
    assert_eq!(
        (device.name.as_deref(), device.labels, device.status),
        (Some("boiler"), labels, Status::Offline)
    );
    execute(&log, "t0/dev-01", Command::Decommission).await;
    running.catch_up().await;
    assert_eq!(uids(&log, &Query::default()).await, ["dev-02"]);
    assert_eq!(with_status(&log, Status::Decommissioned).await, ["dev-01"]);
    // Whoever names it still finds it.
    let wanted = ["dev-01", "nobody"].map(|uid| uid.parse().expect("a uid"));
    let found = devices::get(&t0(&log), &wanted, lately()).await.expect("found");
    assert_eq!(found.iter().map(|device| device.status).collect::<Vec<_>>(), [Status::Decommissioned]);
    register(&log, "dev-01", None).await;
    running.catch_up().await;
    let device = list(&log, &Query::default()).await.remove(0);
    assert_eq!((device.name, device.labels, device.decommissioned_at), (None, Labels::new(), None));
}

#[tokio::test]
async fn a_search_means_what_it_says() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    for (uid, name) in [
        ("dev_01", None),
        ("devx01", None),
        ("pump", Some("50% Power")),
        ("fan", Some("500 Powerful")),
        ("e", Some("Ölpumpe")),
    ] {
        register(&log, uid, name).await;
    }
    let running = Running::start(&log);
    running.catch_up().await;
    assert_eq!(search(&log, "v_0").await, ["dev_01"]);
    assert_eq!(search(&log, "50%").await, ["pump"]);
    assert_eq!(search(&log, "DEV").await, ["dev_01", "devx01"]);
    assert_eq!(search(&log, "pump").await, ["e", "pump"]);
    assert_eq!(search(&log, "").await.len(), 5);
    for nothing in ["%", "\\", "a\0b", "'; DROP TABLE devices_v1; --"] {
        let expected: &[&str] = if nothing == "%" { &["pump"] } else { &[] };
        assert_eq!(search(&log, nothing).await, expected, "{nothing}");
    }
    let query = Query { q: Some("POWER".into()), limit: 1, ..Query::default() };
    assert_eq!(devices::count(&t0(&log), &query, lately()).await.expect("counted"), 2);
}

#[tokio::test]
async fn every_order_is_paged_through_without_a_miss_or_a_repeat() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    for n in 0..7 {
        register(&log, &format!("dev-{n:02}"), None).await;
    }
    // One batch, one moment: these share it. The rest was never seen.
    append(
        &log,
        (0..4).map(|n| reading(&format!("dev-{n:02}"), n, at("2026-03-01T00:00:00Z"), r#""t":1"#)).collect(),
    )
    .await;
    append(&log, vec![reading("dev-05", 9, at("2026-03-01T00:00:00Z"), r#""t":1"#)]).await;
    let running = Running::start(&log);
    running.catch_up().await;
    for (word, sort) in Sort::WORDS {
        let all = uids(&log, &Query { sort, ..Query::default() }).await;
        let mut query = Query { sort, limit: 2, ..Query::default() };
        let mut paged = Vec::new();
        loop {
            let page = devices::list(&t0(&log), &query, lately()).await.expect("listed");
            // Through the text that a client holds.
            query.after =
                page.items.last().map(|last| Cursor::of(last, sort).to_string().parse().expect("ours"));
            paged.extend(page.items.into_iter().map(|device| String::from(device.uid)));
            if !page.has_more {
                break;
            }
        }
        assert_eq!((all.len(), &paged), (7, &all), "{word}");
    }
    let newest = Query { sort: "-last_seen_at".parse().expect("a sort"), ..Query::default() };
    let expected = ["dev-05", "dev-03", "dev-02", "dev-01", "dev-00", "dev-06", "dev-04"];
    assert_eq!(uids(&log, &newest).await, expected);
    let online: Vec<_> = with_status(&log, Status::Online).await;
    assert_eq!(online, ["dev-00", "dev-01", "dev-02", "dev-03", "dev-05"]);
    assert_eq!(with_status(&log, Status::Offline).await, ["dev-04", "dev-06"]);
}

#[tokio::test]
async fn a_cursor_of_another_order_is_refused() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    register(&log, "dev-01", None).await;
    let running = Running::start(&log);
    running.catch_up().await;
    let device = list(&log, &Query::default()).await.remove(0);
    let after = Some(Cursor::of(&device, "-uid".parse().expect("a sort")));
    let refused = devices::list(&t0(&log), &Query { after, ..Query::default() }, lately()).await;
    assert!(matches!(refused, Err(devices::Error::Cursor(BadCursor::OtherSort))), "{refused:?}");
}

#[tokio::test]
async fn one_tenant_never_sees_anothers_devices() {
    let database = Database::fresh().await;
    let mut owner = database.owner().await;
    sqlx::query("INSERT INTO tenants (tenant) VALUES ('t1')").execute(&mut owner).await.expect("inserted");
    let log = database.event_log().await;
    let running = Running::start(&log);
    // The log of a tenant that is added while projections run is picked up too.
    sqlx::query("INSERT INTO tenants (tenant) VALUES ('t2')").execute(&mut owner).await.expect("inserted");
    for tenant in ["t1", "t2"] {
        let register = register_device(Via::Api, None, Labels::new());
        execute(&log, &format!("{tenant}/dev-01"), register).await;
    }
    running.catch_up().await;
    let tenant = |name: &str| log.for_tenant(&name.parse().expect("a tenant"));
    for (name, expected) in [("t0", 0), ("t1", 1), ("t2", 1)] {
        let listed = devices::list(&tenant(name), &Query::default(), lately()).await;
        assert_eq!(listed.expect("listed").items.len(), expected, "{name}");
        let found = devices::get(&tenant(name), &["dev-01".parse().expect("a uid")], lately()).await;
        assert_eq!(found.expect("found").len(), expected, "{name}");
    }
}
