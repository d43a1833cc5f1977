//! The metrics of devices: what their minutes say, page by page.

use chrono::{DateTime, TimeDelta, Utc};
use fleetlog_aggregates::identity::Uid;
use fleetlog_event_log::{EventLog, Lane};
use fleetlog_projections::telemetry_windows::{Cursor, DEVICE_METRICS, Metric, metrics};

use super::windows::untidy;
use super::{Running, append, at, reading};
use crate::support::{Database, log_of, t0};

fn uid(uid: &str) -> Uid {
    uid.parse().expect("a uid")
}

/// All metrics of a device, page by page.
async fn of(log: &EventLog, device: &str, since: Option<DateTime<Utc>>, limit: usize) -> Vec<Metric> {
    let (uids, mut all, mut after) = ([uid(device)], vec![], None);
    loop {
        let lane = log_of(log, Lane::Telemetry);
        let found = metrics(&t0(log), lane, &uids, since, after.as_ref(), limit).await.expect("read");
        let Some(page) = found.into_values().next() else { return all };
        assert!(!page.items.is_empty() && page.items.len() <= limit);
        all.extend(page.items);
        if !page.has_more {
            return all;
        }
        after = all.last().map(|last| Cursor::after(&last.metric));
    }
}

/// A metric's name, count, first and last time, and last value.
type Row = (String, i64, DateTime<Utc>, DateTime<Utc>, f64);

#[tokio::test]
async fn a_devices_metrics_are_what_its_minutes_say_from_any_moment_on() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let running = Running::start(&log);
    // In batches, so that hours and days gain minutes both late and when they are over.
    for from in [0, 700, 900] {
        append(&log, untidy(from, from + 400)).await;
        running.catch_up().await;
    }
    let newest = "SELECT max(last_at) FROM telemetry_windows WHERE aggregate_id = 't0/dev-01'";
    let newest: DateTime<Utc> = sqlx::query_scalar(newest).fetch_one(log.pool()).await.expect("read");
    let beyond = newest + TimeDelta::minutes(1);
    let moments = ["1970-01-01T00:00:00Z", "2026-02-27T13:05:59.999999Z", "2026-03-01T00:00:00Z"].map(at);
    let recent = [1, 31, 601].map(|minutes| beyond - TimeDelta::minutes(minutes));
    for since in [None].into_iter().chain(moments.into_iter().chain(recent).chain([beyond]).map(Some)) {
        let expected: Vec<Row> = sqlx::query_as(
            "SELECT metric, sum(count)::bigint, min(first_at), max(last_at), (array_agg(last ORDER BY start DESC))[1]
               FROM telemetry_windows WHERE aggregate_id = 't0/dev-01' AND step = 60
               AND ($1::timestamptz IS NULL OR start >= $1)
               GROUP BY metric ORDER BY metric",
        )
        .bind(since)
        .fetch_all(log.pool())
        .await
        .expect("read");
        let found = of(&log, "dev-01", since, 2).await.into_iter();
        let found: Vec<_> = found.map(|m| (m.metric, m.count, m.first_at, m.last_at, m.last)).collect();
        assert_eq!(found, expected, "{since:?}");
        assert!(!found.is_empty() || since >= Some(newest), "{since:?}");
    }
}

#[tokio::test]
async fn each_device_has_a_page_of_its_own_and_as_many_metrics_as_have_windows() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let running = Running::start(&log);
    let at = at("2026-03-01T12:00:00Z");
    let many = (0..5).map(|message| {
        let names = (0..250).map(|nth| format!(r#""m{:04}":{nth}"#, message * 250 + nth));
        reading("many", message, at, &names.collect::<Vec<_>>().join(","))
    });
    append(&log, many.chain([reading("few", 0, at, r#""t":1,"motor":{"rpm":2}"#)]).collect()).await;
    running.catch_up().await;
    let all = of(&log, "many", None, 300).await;
    let names: Vec<String> = (0..DEVICE_METRICS).map(|nth| format!("m{nth:04}")).collect();
    assert_eq!(all.into_iter().map(|metric| metric.metric).collect::<Vec<_>>(), names);

    let (lane, uids) = (log_of(&log, Lane::Telemetry), ["few", "many", "none"].map(uid));
    let found = metrics(&t0(&log), lane, &uids, None, None, 2).await.expect("read");
    let mut shown: Vec<_> = found
        .iter()
        .map(|(uid, page)| {
            let names: Vec<&str> = page.items.iter().map(|metric| metric.metric.as_str()).collect();
            (uid.as_str(), names, page.has_more)
        })
        .collect();
    shown.sort_unstable();
    assert_eq!(shown, [("few", vec!["motor.rpm", "t"], false), ("many", vec!["m0000", "m0001"], true)]);
}
