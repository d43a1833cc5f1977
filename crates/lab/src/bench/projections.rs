//! Events a second of a rebuild: a server folds every read model from position 1, beside one SQL statement that
//! computes the same windows from the same events.

use std::time::Duration;

use anyhow::ensure;
use chrono::{TimeDelta, Utc};
use sqlx::{Executor, PgConnection};
use tokio::time::Instant;

use super::check;
use super::lab::{Lab, Mqtt, Server};
use super::load::METRICS;
use super::progress::Progress;
use super::report::{Figure, Report};
use super::rows::Rows;
use super::usage::{Used, Watch};
use crate::bench::args::Projections;

/// The span over which the events occurred.
const SPREAD: TimeDelta = TimeDelta::days(1);
/// How many parts the rebuild is divided into, to compare memory over them.
const PARTS: u64 = 4;

/// Runs the benchmark.
pub(super) async fn run(args: &Projections, lab: &Lab) -> anyhow::Result<Report> {
    let Projections { devices, events } = *args;
    record(args, lab).await?;
    let mut owner = lab.owner().await?;
    let by_sql = sql(&mut owner).await?;

    let progress = Progress::watch(lab.database()).await?;
    let started = Instant::now();
    let server = lab.serve(Mqtt::Endpoint).await?;
    let parts = rebuild(lab, &server, &progress, events).await?;
    let taken = started.elapsed();

    let load = format!("{events} events of {devices} devices over a day, folded from position 1 by a server");
    let mut report = Report::new("projections", load);
    let rate = |taken: Duration| events as f64 / taken.as_secs_f64();
    report.figure(
        Figure::new("folded", rate(taken), "events/s")
            .beside("the same windows by one statement", rate(by_sql)),
    );
    let memory = |part: Option<&Vec<Used>>| part.and_then(|used| used.first()).map_or(0.0, Used::peak_mib);
    report.figure(Figure::new("server in the first quarter", memory(parts.first()), "MiB"));
    report.figure(Figure::new("server in the last quarter", memory(parts.last()), "MiB"));
    report.usage("by the projections", Used::over(&parts));
    report.checked(check::events(&mut owner, events).await?);
    report.checked(check::windows(&mut owner, events, devices).await?);
    report.checked(equal(&mut owner).await?);
    server.stop().await?;
    Ok(report)
}

/// Appends the events.
pub(super) async fn record(Projections { devices, events }: &Projections, lab: &Lab) -> anyhow::Result<()> {
    let every = SPREAD / (*events).try_into().unwrap_or(i32::MAX);
    let rows = Rows { devices: *devices, since: Utc::now() - SPREAD, every };
    rows.fill(lab, *events).await?;
    let mut owner = lab.owner().await?;
    // The state of a table whose events have been there for a while.
    owner.execute("VACUUM (ANALYZE) telemetry_events").await?;
    owner.execute("CHECKPOINT").await?;
    Ok(())
}

/// Waits until everything is folded, and returns what was used in each part.
async fn rebuild(
    lab: &Lab,
    server: &Server,
    progress: &Progress,
    events: u64,
) -> anyhow::Result<Vec<Vec<Used>>> {
    let mut parts = Vec::new();
    for part in 1..=PARTS {
        let watch = Watch::begin(&[("server", server.id()), ("postgres", lab.postgres())]);
        progress.until_folded(events * part / PARTS).await?;
        parts.push(watch.end().await?);
    }
    Ok(parts)
}

/// How long the statement takes, with ample workers and memory.
pub(super) async fn sql(owner: &mut PgConnection) -> anyhow::Result<Duration> {
    for setting in [
        "work_mem = '512MB'",
        "hash_mem_multiplier = 2",
        "max_parallel_workers_per_gather = 4",
        "parallel_setup_cost = 0",
        "parallel_tuple_cost = 0",
    ] {
        owner.execute(format!("SET {setting}").as_str()).await?;
    }
    let started = Instant::now();
    owner.execute(windows().as_str()).await?;
    Ok(started.elapsed())
}

/// Checks that the server's windows equal those of the statement.
pub(super) async fn equal(owner: &mut PgConnection) -> anyhow::Result<String> {
    let (windows, different): (i64, i64) = sqlx::query_as(
        "SELECT count(*), count(*) FILTER (WHERE (a.count, a.sum, a.min, a.max, a.first, a.first_at, a.last, a.last_at, a.position)
             IS DISTINCT FROM (b.count, b.sum, b.min, b.max, b.first, b.first_at, b.last, b.last_at, b.position))
         FROM telemetry_windows AS a FULL JOIN windows_by_sql AS b USING (log_id, aggregate_id, metric, step, start)",
    )
    .fetch_one(owner)
    .await?;
    ensure!(different == 0, "{different} of {windows} windows are not those of the statement");
    Ok(format!("{windows} windows equal those of the statement"))
}

/// The fastest statement known: it computes minutes in one pass over the events, for all metrics at once, because every
/// event has all of them; then hours from minutes, and days from hours. First and last are the least and the greatest
/// of (time, position, values), which is faster than sorting them.
fn windows() -> String {
    let every = |of: fn(&str) -> String| METRICS.map(of).join(", ");
    let values = every(str::to_owned);
    let columns = every(|metric| format!("{metric} float8"));
    let read = every(|m| format!("sum({m}) AS {m}_sum, min({m}) AS {m}_min, max({m}) AS {m}_max"));
    let again =
        every(|m| format!("sum({m}_sum) AS {m}_sum, min({m}_min) AS {m}_min, max({m}_max) AS {m}_max"));
    let wider = |step: &str, from: &str| {
        format!(
            "SELECT log_id, aggregate_id, date_bin('{step}', start, '2000-01-01') AS start, sum(count)::bigint AS count,
                    min(first) AS first, max(last) AS last, max(position) AS position, {again}
             FROM {from} GROUP BY 1, 2, 3"
        )
    };
    let apart: Vec<String> = (3..)
        .zip(METRICS)
        .map(|(n, m)| format!("('{m}', {m}_sum, {m}_min, {m}_max, w.first[{n}], w.last[{n}])"))
        .collect();
    format!(
        "CREATE TABLE windows_by_sql AS
         WITH minutes AS (
             SELECT log_id, aggregate_id, date_bin('1 minute', occurred_at, '2000-01-01') AS start, count(*) AS count,
                    min(ARRAY[date_part('epoch', occurred_at), position, {values}]) AS first,
                    max(ARRAY[date_part('epoch', occurred_at), position, {values}]) AS last, max(position) AS position,
                    {read}
             FROM telemetry_events CROSS JOIN LATERAL json_to_record(payload) AS reading ({columns})
             GROUP BY 1, 2, 3
         ), hours AS ({}), days AS ({})
         SELECT log_id, aggregate_id, metric, step, start, count, sum, min, max,
                of.first, to_timestamp(w.first[1]) AS first_at, of.last, to_timestamp(w.last[1]) AS last_at, position
         FROM (SELECT 60 AS step, * FROM minutes UNION ALL SELECT 3600, * FROM hours
               UNION ALL SELECT 86400, * FROM days) AS w
         CROSS JOIN LATERAL (VALUES {}) AS of (metric, sum, min, max, first, last)",
        wider("1 hour", "minutes"),
        wider("1 day", "hours"),
        apart.join(", ")
    )
}
