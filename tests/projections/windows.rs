//! Windows: equal to a fold in SQL, and cut by any step and time zone.

use chrono::{DateTime, TimeDelta, Utc};
use fleetlog_aggregates::telemetry::Recorded;
use fleetlog_event_log::{EventLog, Lane};
use fleetlog_projections::telemetry_windows::{
    DEVICE_METRICS, Error, Invalid, Series, Step, WindowsQuery, windows,
};
use sqlx::Executor;

use super::{Running, append, assert_equal_to_the_fold_of_the_log, at, reading, windows_that_differ};
use crate::support::{Database, log_of, t0};

/// Readings of some devices, out of order, over three days, around the epoch and in year 0, in halves and quarters whose sums
/// are exact in any order.
pub(super) fn untidy(from: usize, to: usize) -> Vec<Recorded> {
    let one = |n: usize| {
        // Neighbours lie far apart in time; many share a moment.
        let scattered = ((n * 7_919) % 4_001) as i64;
        let day = match n % 50 {
            0 => "1969-12-30T00:00:00Z",
            1 => "0000-01-01T00:00:00Z",
            _ => "2026-02-27T00:00:00Z",
        };
        let occurred_at = at(day) + TimeDelta::milliseconds(scattered * 64_500);
        let quarters = (n * 31 % 97) as f64 / 4.0 - 10.0;
        let metrics =
            format!(r#""t":{quarters},"on":{},"motor":{{"rpm":{}}},"note":"x""#, n.is_multiple_of(3), n % 11);
        reading(&format!("dev-{:02}", n % 5), n, occurred_at, &metrics)
    };
    (from..to).map(one).collect()
}

async fn query(log: &EventLog, query: &WindowsQuery) -> Result<Vec<Series>, Error> {
    let uids = ["dev-01".parse().expect("a uid")];
    let found = windows(&t0(log), log_of(log, Lane::Telemetry), &uids, query, None, DEVICE_METRICS).await?;
    Ok(found.into_values().flat_map(|page| page.series).collect())
}

fn of(from: &str, to: &str, step: impl Into<Step>, tz: &str) -> WindowsQuery {
    let metric = Some("t".to_owned());
    WindowsQuery {
        metric,
        from: at(from),
        to: at(to),
        since: None,
        step: step.into(),
        tz: tz.parse().expect("a zone"),
        points: None,
        fill: None,
    }
}

/// Projects what is on the record, and no more.
async fn project(log: &EventLog) {
    let running = Running::start(log);
    running.catch_up().await;
    running.stop().await;
}

/// A reading of 1 at each of these moments, projected.
async fn ones_at(log: &EventLog, times: impl IntoIterator<Item = DateTime<Utc>>) {
    append(
        log,
        times.into_iter().enumerate().map(|(n, time)| reading("dev-01", n, time, r#""t":1"#)).collect(),
    )
    .await;
    project(log).await;
}

/// Start and count of each window of the only series.
async fn counts(log: &EventLog, wanted: &WindowsQuery) -> Vec<(String, i64)> {
    let series = query(log, wanted).await.expect("valid");
    assert!(series.len() <= 1);
    let windows = series.into_iter().flat_map(|series| series.windows);
    windows.map(|w| (w.start.with_timezone(&wanted.tz).format("%dT%H:%M").to_string(), w.count)).collect()
}

fn pairs(expected: &[(&str, i64)]) -> Vec<(String, i64)> {
    expected.iter().map(|&(start, count)| (start.to_owned(), count)).collect()
}

/// A window's metric, start, count and sum, and its first and last value.
type Row = (String, DateTime<Utc>, i64, f64, Option<f64>, Option<f64>);

#[tokio::test]
async fn windows_equal_the_fold_of_the_log_however_late_and_repeated_the_readings() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    append(&log, untidy(0, 1_000)).await;
    let running = Running::start(&log);
    // Half of these are repeats.
    append(&log, untidy(500, 1_500)).await;
    running.catch_up().await;
    append(&log, untidy(1_500, 1_600)).await;
    running.catch_up().await;
    assert_equal_to_the_fold_of_the_log(&log).await;
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM telemetry_windows")
        .fetch_one(log.pool())
        .await
        .expect("counted");
    assert!(rows > 3_000, "{rows}");
}

#[tokio::test]
async fn a_runner_that_starts_anew_goes_on_where_the_windows_end() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    for from in [0, 700, 1_100] {
        append(&log, untidy(from, from + 800)).await;
        project(&log).await;
    }
    assert_equal_to_the_fold_of_the_log(&log).await;
}

/// Rows of a step that are stored, and readings that they hold.
async fn stored(log: &EventLog, step: i32) -> (i64, i64) {
    let sql = "SELECT count(*), coalesce(sum(held), 0)::bigint
               FROM telemetry_windows_v2, LATERAL (SELECT sum(count) AS held FROM unnest(counts) AS count) AS counted
               WHERE step = $1";
    sqlx::query_as(sql).bind(step).fetch_one(log.pool()).await.expect("counted")
}

#[tokio::test]
async fn an_hour_is_written_when_ten_minutes_are_over_and_is_whole_to_who_reads_it() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let hour = of("2026-03-01T10:00:00Z", "2026-03-01T11:00:00Z", TimeDelta::hours(1), "UTC");
    let running = Running::start(&log);
    let later = ["10:00:00", "10:09:59", "10:10:00", "10:04:00", "10:12:00"];
    // Of how many readings the hour's row knows: those of the open run not yet, and what comes late at once.
    for (n, (time, known)) in later.into_iter().zip([0, 0, 2, 3, 3]).enumerate() {
        append(&log, vec![reading("dev-01", n, at(&format!("2026-03-01T{time}Z")), r#""t":1"#)]).await;
        running.catch_up().await;
        assert_eq!(stored(&log, 3_600).await, (i64::from(known > 0), known), "{time}");
        assert_eq!(counts(&log, &hour).await, pairs(&[("01T10:00", n as i64 + 1)]), "{time}");
        assert_equal_to_the_fold_of_the_log(&log).await;
    }
    assert_eq!(stored(&log, 60).await.0, 2);
    assert_eq!(stored(&log, 86_400).await, (0, 0));
}

#[tokio::test]
async fn every_step_reads_as_the_view_shows_it() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    for readings in [untidy(0, 1_000), untidy(1_000, 1_100)] {
        append(&log, readings).await;
        project(&log).await;
    }
    for (step, since) in [(60, None), (3_600, Some("2026-02-27T01:30:00.5Z")), (86_400, None)] {
        let wanted = WindowsQuery {
            metric: None,
            since: since.map(at),
            ..of("2026-02-26T00:00:00Z", "2026-03-02T00:00:00Z", TimeDelta::seconds(step), "UTC")
        };
        let found = query(&log, &wanted).await.expect("valid");
        let found = found.iter().flat_map(|series| series.windows.iter().map(|w| (series.metric.clone(), w)));
        let found: Vec<_> =
            found.map(|(metric, w)| (metric, w.start, w.count, w.sum, w.first, w.last)).collect();
        let expected: Vec<Row> = sqlx::query_as(
            "SELECT metric, start, count, sum, first, last FROM telemetry_windows
             WHERE aggregate_id = 't0/dev-01' AND step = $1 AND start >= $2 AND start < $3 ORDER BY metric COLLATE \"C\", start",
        )
        .bind(step as i32)
        .bind(wanted.since.max(Some(wanted.from)))
        .bind(wanted.to)
        .fetch_all(log.pool())
        .await
        .expect("read");
        assert!(!expected.is_empty());
        assert_eq!(found, expected, "{step}");
    }
}

#[tokio::test]
async fn what_version_1_had_folded_is_kept() {
    const VERSION_1: &str = "
        CREATE TABLE telemetry_windows_v1 AS
            SELECT log_id, series_id, step, start, count, sum, min, max, first, first_at, last, last_at
            FROM telemetry_windows JOIN telemetry_series_v2 USING (log_id, aggregate_id, metric);
        DROP VIEW telemetry_windows, telemetry_window_runs, telemetry_series, telemetry_runs;
        DROP TABLE telemetry_windows_v2;
        DROP FUNCTION window_start;
        CREATE VIEW telemetry_windows AS TABLE telemetry_windows_v1;
        ALTER TABLE telemetry_series_v2 RENAME TO telemetry_series_v1;
        ALTER TABLE telemetry_series_v1 RENAME CONSTRAINT telemetry_series_v2_key TO telemetry_series_v1_key;
        ALTER TABLE telemetry_series_v1 RENAME CONSTRAINT telemetry_series_v2_name TO telemetry_series_v1_name;
        UPDATE projections SET version = 1 WHERE projection = 'telemetry_windows';
        UPDATE projection_checkpoints SET version = 1 WHERE projection = 'telemetry_windows'";
    let database = Database::fresh().await;
    let log = database.event_log().await;
    append(&log, untidy(0, 1_000)).await;
    project(&log).await;
    let mut owner = database.owner().await;
    owner.execute(VERSION_1).await.expect("as it was");
    owner.execute(include_str!("../../migrations/0030_telemetry_window_runs.sql")).await.expect("migrated");
    owner.execute(include_str!("../../migrations/0044_last_positions.sql")).await.expect("migrated");
    // It had no positions.
    let (missing, too_many, _) = windows_that_differ(&log).await;
    assert_eq!((missing, too_many), (0, 0));
    append(&log, untidy(1_000, 1_300)).await;
    project(&log).await;
    let (missing, too_many, _) = windows_that_differ(&log).await;
    assert_eq!((missing, too_many), (0, 0));
}

#[tokio::test]
async fn a_day_on_which_clocks_change_is_longer_or_shorter() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let start = at("2026-03-27T23:00:00Z");
    ones_at(&log, (0..24 * 4).map(|hour| start + TimeDelta::hours(hour))).await;
    let days = of("2026-03-28T00:00:00Z", "2026-03-30T12:00:00Z", TimeDelta::days(1), "Europe/Berlin");
    let expected = pairs(&[("28T00:00", 24), ("29T00:00", 23), ("30T00:00", 24)]);
    assert_eq!(counts(&log, &days).await, expected);
}

#[tokio::test]
async fn months_quarters_and_years_are_made_of_their_days() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    // A leap year, two readings a day, and the last of them within runs that are still open.
    let start = at("2024-01-01T00:00:00Z");
    ones_at(&log, (0..2 * 366).map(|half_day| start + TimeDelta::hours(12 * half_day))).await;
    let year = |step| of("2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z", step, "UTC");
    let sums =
        async |wanted| counts(&log, &wanted).await.into_iter().map(|(_, count)| count).collect::<Vec<_>>();
    let days = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    assert_eq!(sums(year(Step::Month)).await, days.map(|days| 2 * days));
    assert_eq!(sums(year(Step::Quarter)).await, [182, 182, 184, 184]);
    assert_eq!(sums(year(Step::Year)).await, [732]);
    // Months of a zone are cut at its midnight.
    let february = of("2024-02-15T00:00:00Z", "2024-02-16T00:00:00Z", Step::Month, "Asia/Kolkata");
    assert_eq!(counts(&log, &february).await, pairs(&[("01T00:00", 58)]));
    let found = query(&log, &february).await.expect("valid");
    assert_eq!(found[0].windows[0].start, at("2024-01-31T18:30:00Z"));
}

#[tokio::test]
async fn days_of_a_zone_with_half_hours_are_cut_at_its_midnight() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    ones_at(&log, ["2026-03-01T18:29:59Z", "2026-03-01T18:30:00Z", "2026-03-02T18:29:59Z"].map(at)).await;
    let days = of("2026-03-01T00:00:00Z", "2026-03-03T00:00:00Z", TimeDelta::days(1), "Asia/Kolkata");
    assert_eq!(counts(&log, &days).await, pairs(&[("01T00:00", 1), ("02T00:00", 2)]));
}

#[tokio::test]
async fn a_window_says_what_its_readings_do() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let readings = [("10:07:00", 4), ("10:00:30", 1), ("10:09:59", -2), ("10:05:00", 7)];
    let reading = |(n, (time, t)): (usize, &(&str, i32))| {
        reading("dev-01", n, at(&format!("2026-03-01T{time}Z")), &format!(r#""t":{t},"other":1"#))
    };
    append(&log, readings.iter().enumerate().map(reading).collect()).await;
    let running = Running::start(&log);
    running.catch_up().await;
    let wanted = of("2026-03-01T10:03:00Z", "2026-03-01T10:10:00Z", TimeDelta::minutes(5), "UTC");
    let series = query(&log, &wanted).await.expect("valid");
    assert_eq!((series.len(), series[0].uid.as_str(), series[0].metric.as_str()), (1, "dev-01", "t"));
    let [early, late] = &series[0].windows[..] else { panic!("{series:?}") };
    assert_eq!((early.start, early.count, early.sum), (at("2026-03-01T10:00:00Z"), 1, 1.0));
    assert_eq!((late.start, late.end), (at("2026-03-01T10:05:00Z"), at("2026-03-01T10:10:00Z")));
    assert_eq!((late.count, late.sum), (3, 9.0));
    assert_eq!((late.avg, late.min, late.max), (Some(3.0), Some(-2.0), Some(7.0)));
    assert_eq!((late.first, late.last), (Some(7.0), Some(-2.0)));
    assert_eq!(late.last_at, Some(at("2026-03-01T10:09:59Z")));
    let all = query(&log, &WindowsQuery { metric: None, ..wanted }).await.expect("valid");
    assert_eq!(all.iter().map(|series| series.metric.as_str()).collect::<Vec<_>>(), ["other", "t"]);
}

#[tokio::test]
async fn fewer_points_keep_the_ends() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    ones_at(&log, (0..60).map(|minute| at("2026-03-01T10:00:00Z") + TimeDelta::minutes(minute))).await;
    let hour = of("2026-03-01T10:00:00Z", "2026-03-01T11:00:00Z", TimeDelta::minutes(1), "UTC");
    let thinned = counts(&log, &WindowsQuery { points: Some(10), ..hour }).await;
    assert_eq!((thinned.len(), thinned[0].0.as_str(), thinned[9].0.as_str()), (10, "01T10:00", "01T10:59"));
}

#[tokio::test]
async fn a_query_that_makes_no_sense_is_refused_and_one_for_nothing_finds_nothing() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let good = of("2026-03-01T10:00:00Z", "2026-03-01T11:00:00Z", TimeDelta::minutes(1), "UTC");
    let refused = async |wanted: WindowsQuery| match query(&log, &wanted).await {
        Err(Error::Invalid(invalid)) => invalid,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(WindowsQuery { points: Some(1), ..good.clone() }).await, Invalid::Points);
    assert_eq!(
        refused(WindowsQuery { step: TimeDelta::seconds(61).into(), ..good.clone() }).await,
        Invalid::Step
    );
    assert_eq!(refused(WindowsQuery { to: good.from, ..good.clone() }).await, Invalid::Range);
    assert_eq!(
        refused(WindowsQuery { from: at("2000-01-01T00:00:00Z"), ..good.clone() }).await,
        Invalid::TooManyBuckets
    );
    for metric in ["none", "a\0b", ""] {
        let wanted = WindowsQuery { metric: Some(metric.into()), ..good.clone() };
        assert!(query(&log, &wanted).await.expect("valid").is_empty());
    }
}

#[tokio::test]
async fn a_device_has_windows_of_its_first_thousand_metrics_and_another_device_is_not_affected() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let running = Running::start(&log);
    let occurred_at = at("2026-03-01T12:00:00Z");
    // 50,000 names, as many in each message as have windows.
    for messages in 0..4 {
        let many = (0..50).map(|nth| {
            let message = messages * 50 + nth;
            let names = (0..250).map(|metric| format!(r#""m{}":1"#, message * 250 + metric));
            reading("many", message, occurred_at, &names.collect::<Vec<_>>().join(","))
        });
        let few = std::iter::once(reading("few", messages, occurred_at, r#""t":1"#));
        append(&log, many.chain(few).collect()).await;
    }
    running.catch_up().await;
    let series = "SELECT aggregate_id, count(*), count(*) FILTER (WHERE substr(metric, 2)::int < 1000)
        FROM telemetry_series_v2 WHERE metric LIKE 'm%' GROUP BY 1";
    let series: Vec<(String, i64, i64)> = sqlx::query_as(series).fetch_all(log.pool()).await.expect("read");
    assert_eq!(series, [("t0/many".to_owned(), DEVICE_METRICS as i64, DEVICE_METRICS as i64)]);
    let few = "SELECT sum(count)::bigint FROM telemetry_windows WHERE aggregate_id = 't0/few' AND step = 60";
    let few: i64 = sqlx::query_scalar(few).fetch_one(log.pool()).await.expect("read");
    assert_eq!(few, 4);
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM telemetry_events")
        .fetch_one(log.pool())
        .await
        .expect("read");
    assert_eq!(kept, 204, "every reading is on the record");
    running.stop().await;
}
