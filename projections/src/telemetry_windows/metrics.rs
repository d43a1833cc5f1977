//! The query over the metrics of devices, for REST and GraphQL: each metric's readings since the first one.
//!
//! Of a metric, one look at its first minutes and one at its last ones find the first and the last reading. The number of readings
//! is added up from days, so a year of them costs 37 rows.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use fleetlog_aggregates::identity::{Uid, aggregate_id};
use fleetlog_event_log::{LogId, Result, TenantLog};
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::runs::moment;
use super::sorted::first_second;
use super::{Cursor, STEPS};
use crate::paging::Page;

/// A metric of a device, and the readings that it has had.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// The name of the metric.
    pub metric: String,
    /// How many readings are counted.
    pub count: i64,
    /// When the earliest reading was taken, by the device's clock.
    pub first_at: DateTime<Utc>,
    /// When the latest reading was taken, by the device's clock.
    pub last_at: DateTime<Utc>,
    /// The value of the latest reading by the device's clock; of several at one time, the one recorded last.
    pub last: f64,
}

/// A page of each device's metrics, by name: those after the cursor, and at most `limit` of each device. Minutes that start before
/// `since` do not count, and a metric that has no others is left out. A device without metrics is left out, too.
pub async fn metrics(
    log: &TenantLog,
    log_id: LogId,
    uids: &[Uid],
    since: Option<DateTime<Utc>>,
    after: Option<&Cursor>,
    limit: usize,
) -> Result<HashMap<Uid, Page<Metric>>> {
    let aggregate_ids: Vec<String> = uids.iter().map(|uid| aggregate_id(log.tenant(), uid)).collect();
    let devices: HashMap<&str, &Uid> = aggregate_ids.iter().map(String::as_str).zip(uids).collect();
    let [minute, hour, day] = edges(since);
    let statement = sqlx::query(METRICS)
        .bind(log_id)
        .bind(&aggregate_ids)
        .bind(after.map(Cursor::metric))
        .bind(i64::try_from(limit + 1).unwrap_or(i64::MAX))
        .bind(minute)
        .bind(hour)
        .bind(day);
    let mut found: HashMap<Uid, Vec<Metric>> = HashMap::new();
    for row in log.fetch(statement).await? {
        let Some(&uid) = devices.get(row.try_get::<&str, _>("aggregate_id")?) else { continue };
        found.entry(uid.clone()).or_default().push(metric(&row)?);
    }
    Ok(found.into_iter().map(|(uid, metrics)| (uid, Page::cut(metrics, limit))).collect())
}

/// A year before the first moment that a reading may have, in seconds of the Unix epoch.
const BEFORE_ALL: i64 = -62_198_755_200;

/// The first minute that starts at `since` or later, the first hour that starts there or later, and the first day after that.
/// Readings before the hour are counted by the minute, and those before the day by the hour.
fn edges(since: Option<DateTime<Utc>>) -> [DateTime<Utc>; STEPS.len()] {
    let mut edge = since.map_or(BEFORE_ALL, first_second);
    STEPS.map(|step| {
        let step = i64::from(step);
        edge = -(-edge).div_euclid(step) * step;
        moment(edge)
    })
}

fn metric(row: &PgRow) -> sqlx::Result<Metric> {
    Ok(Metric {
        metric: row.try_get("metric")?,
        count: row.try_get("count")?,
        first_at: row.try_get("first_at")?,
        last_at: row.try_get("last_at")?,
        last: row.try_get("last")?,
    })
}

/// `$5`, `$6` and `$7` are the first minute, hour and day that count. They are never NULL: the planner would take what compares with
/// NULL for an empty scan of a whole table, and start workers for it. The newest runs of minutes and hours are open, and days do not
/// include them.
const METRICS: &str = "
    SELECT device.aggregate_id, found.*
    FROM unnest($2::text[]) WITH ORDINALITY AS device (aggregate_id, nth)
    CROSS JOIN LATERAL (
        SELECT series.metric, total.count, first.first_at, last.last_at, last.last
        FROM telemetry_series AS series
        CROSS JOIN LATERAL (
            SELECT starts[cardinality(starts)] AS start,
                   last_ats[cardinality(starts)] AS last_at, lasts[cardinality(starts)] AS last
            FROM telemetry_runs WHERE log_id = $1 AND series_id = series.series_id AND step = 60
            ORDER BY run DESC LIMIT 1
        ) AS last
        CROSS JOIN LATERAL (
            SELECT first_at FROM (
                SELECT starts, first_ats FROM telemetry_runs
                WHERE log_id = $1 AND series_id = series.series_id AND step = 60
                  AND run > $5 - interval '10 minutes'
                ORDER BY run LIMIT 2
            ) AS runs CROSS JOIN LATERAL unnest(starts, first_ats) AS stored (start, first_at)
            WHERE start >= $5
            ORDER BY start LIMIT 1
        ) AS first
        CROSS JOIN LATERAL (
            SELECT sum(count)::bigint AS count FROM (
                SELECT unnest(starts) AS start, unnest(counts) AS count,
                       $7 AS begins, timestamptz 'infinity' AS ends
                FROM telemetry_runs WHERE log_id = $1 AND series_id = series.series_id AND step = 86400
                  AND run > $7 - interval '240 hours'
                UNION ALL
                SELECT unnest(starts), unnest(counts), $7, 'infinity' FROM (
                    SELECT starts, counts FROM telemetry_runs
                    WHERE log_id = $1 AND series_id = series.series_id AND step = 3600
                    ORDER BY run DESC LIMIT 1
                ) AS open
                UNION ALL
                SELECT unnest(starts), unnest(counts), $6, 'infinity' FROM (
                    SELECT starts, counts FROM telemetry_runs
                    WHERE log_id = $1 AND series_id = series.series_id AND step = 60
                    ORDER BY run DESC LIMIT 1
                ) AS open
                UNION ALL
                SELECT unnest(starts), unnest(counts), $6, $7
                FROM telemetry_runs WHERE log_id = $1 AND series_id = series.series_id AND step = 3600
                  AND run > $6 - interval '10 hours' AND run < $7
                UNION ALL
                SELECT unnest(starts), unnest(counts), $5, $6
                FROM telemetry_runs WHERE log_id = $1 AND series_id = series.series_id AND step = 60
                  AND run > $5 - interval '10 minutes' AND run < $6
            ) AS stored
            WHERE start >= begins AND start < ends
        ) AS total
        WHERE series.log_id = $1 AND series.aggregate_id = device.aggregate_id
          AND ($3::text IS NULL OR series.metric > $3) AND last.start >= $5
        ORDER BY series.metric LIMIT $4
    ) AS found
    ORDER BY device.nth, found.metric";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::given::at;

    #[test]
    fn what_begins_within_a_day_is_counted_by_the_minute_and_the_hour_up_to_the_next_day() {
        let shown = |since: &str| edges(Some(at(since))).map(|edge| edge.format("%dT%H:%M:%S").to_string());
        assert_eq!(shown("10:17:30.5"), ["01T10:18:00", "01T11:00:00", "02T00:00:00"]);
        assert_eq!(shown("10:00:00"), ["01T10:00:00", "01T10:00:00", "02T00:00:00"]);
        assert_eq!(shown("00:00:00"), ["01T00:00:00"; 3]);
        assert_eq!(shown("00:00:00.000001"), ["01T00:01:00", "01T01:00:00", "02T00:00:00"]);
        assert_eq!(shown("1969-12-31T22:59:59Z"), ["31T23:00:00", "31T23:00:00", "01T00:00:00"]);
        let [minute, hour, day] = edges(None);
        assert!(minute == hour && hour == day && day < at("0000-01-01T00:00:00Z"));
    }
}
