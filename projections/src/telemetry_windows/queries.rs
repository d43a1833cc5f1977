//! The query over `telemetry_windows`: for REST and GraphQL alike.

use chrono::{DateTime, TimeDelta, Utc};
use fleetlog_event_log::{EventLog, LogId};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{Postgres, Row};

use super::buckets::Buckets;
use super::{Error, Invalid, MAX_WINDOWS, Series, Window, WindowsQuery};

/// The windows of some devices' metrics, by device, metric and time.
pub async fn windows(
    log: &EventLog,
    log_id: LogId,
    aggregate_ids: &[String],
    query: &WindowsQuery,
) -> Result<Vec<Series>, Error> {
    if query.points.is_some_and(|points| points < 2) {
        return Err(Invalid::Points.into());
    }
    let buckets = Buckets::of(query)?;
    // No stored name holds U+0000, and Postgres takes no text that does.
    if query.metric.as_ref().is_some_and(|metric| metric.contains('\0')) {
        return Ok(vec![]);
    }
    let aggregate_ids: Vec<&str> =
        aggregate_ids.iter().map(String::as_str).filter(|id| !id.contains('\0')).collect();
    let mut series = if buckets.are_stored() {
        stored(log, log_id, &aggregate_ids, query, &buckets).await?
    } else {
        computed(log, log_id, &aggregate_ids, query, &buckets).await?
    };
    if let Some(points) = query.points {
        for series in &mut series {
            thin_out(&mut series.windows, points);
        }
    }
    Ok(series)
}

/// A statement with what both begin with: which stored windows.
fn of_step<'q>(
    sql: &'q str,
    log_id: LogId,
    aggregate_ids: &'q [&str],
    query: &'q WindowsQuery,
    step: i32,
) -> Query<'q, Postgres, PgArguments> {
    sqlx::query(sql).bind(log_id).bind(aggregate_ids).bind(&query.metric).bind(step)
}

/// Windows as they are stored.
async fn stored(
    log: &EventLog,
    log_id: LogId,
    aggregate_ids: &[&str],
    query: &WindowsQuery,
    buckets: &Buckets,
) -> Result<Vec<Series>, Error> {
    let (first, step) = (buckets.boundaries.first(), buckets.stored_step());
    let statement = of_step(STORED, log_id, aggregate_ids, query, step)
        .bind(query.since.max(first.copied()))
        .bind(buckets.boundaries.last())
        .bind(MAX_WINDOWS as i64 + 1);
    let rows = log.fetch(statement).await?;
    let step = TimeDelta::seconds(step.into());
    let series = rows.iter().map(|row| series(row, step)).collect::<Result<Vec<_>, _>>()?;
    if series.iter().map(|series| series.windows.len()).sum::<usize>() > MAX_WINDOWS {
        return Err(Invalid::TooManyWindows.into());
    }
    Ok(series)
}

/// One row a series: a row for each window takes both sides three times as long.
const STORED: &str = "
    SELECT aggregate_id, metric, array_agg(start), array_agg(count), array_agg(sum), array_agg(min), array_agg(max),
           array_agg(first), array_agg(first_at), array_agg(last), array_agg(last_at)
    FROM (
        SELECT * FROM telemetry_windows
        WHERE log_id = $1 AND aggregate_id = ANY($2) AND ($3::text IS NULL OR metric = $3) AND step = $4
          AND start >= $5 AND start < $6
        LIMIT $7) AS windows
    GROUP BY aggregate_id, metric
    ORDER BY aggregate_id, metric";

/// The columns of a row of [`STORED`], which are of one length, as windows by time.
fn series(row: &PgRow, step: TimeDelta) -> Result<Series, sqlx::Error> {
    let starts: Vec<DateTime<Utc>> = row.try_get(2)?;
    let counts: Vec<i64> = row.try_get(3)?;
    let [sums, mins, maxs, firsts, lasts] = [4, 5, 6, 7, 9].map(|column| row.try_get::<Vec<f64>, _>(column));
    let (sums, mins, maxs, firsts, lasts) = (sums?, mins?, maxs?, firsts?, lasts?);
    let [first_ats, last_ats] = [8, 10].map(|column| row.try_get::<Vec<DateTime<Utc>>, _>(column));
    let (first_ats, last_ats) = (first_ats?, last_ats?);
    let window = |nth: usize| Window {
        start: starts[nth],
        end: starts[nth] + step,
        count: counts[nth],
        sum: sums[nth],
        avg: sums[nth] / counts[nth] as f64,
        min: mins[nth],
        max: maxs[nth],
        first: firsts[nth],
        first_at: first_ats[nth],
        last: lasts[nth],
        last_at: last_ats[nth],
    };
    let mut windows: Vec<_> = (0..starts.len()).map(window).collect();
    // They come so, as a rule; nothing in the statement says that they must.
    windows.sort_unstable_by_key(|window| window.start);
    Ok(Series { aggregate_id: row.try_get(0)?, metric: row.try_get(1)?, windows })
}

/// Windows out of shorter ones that are stored.
async fn computed(
    log: &EventLog,
    log_id: LogId,
    aggregate_ids: &[&str],
    query: &WindowsQuery,
    buckets: &Buckets,
) -> Result<Vec<Series>, Error> {
    let statement = of_step(COMPUTED, log_id, aggregate_ids, query, buckets.stored_step())
        .bind(&buckets.boundaries)
        .bind(MAX_WINDOWS as i64 + 1)
        .bind(query.since);
    let rows = log.fetch(statement).await?;
    if rows.len() > MAX_WINDOWS {
        return Err(Invalid::TooManyWindows.into());
    }
    Ok(group(&rows, buckets)?)
}

/// Every stored window lies in one bucket whole, so the first of a bucket is that of its first window.
const COMPUTED: &str = "
    SELECT aggregate_id, metric, width_bucket(start, $5::timestamptz[]) AS bucket,
           sum(count)::bigint AS count, sum(sum) AS sum, min(min) AS min, max(max) AS max,
           (array_agg(first ORDER BY start))[1] AS first, min(first_at) AS first_at,
           (array_agg(last ORDER BY start DESC))[1] AS last, max(last_at) AS last_at
    FROM telemetry_windows
    WHERE log_id = $1 AND aggregate_id = ANY($2) AND ($3::text IS NULL OR metric = $3) AND step = $4
      AND start >= greatest(($5::timestamptz[])[1], $7) AND start < ($5::timestamptz[])[cardinality($5::timestamptz[])]
    GROUP BY aggregate_id, metric, bucket
    ORDER BY aggregate_id, metric, bucket
    LIMIT $6";

/// Rows that are sorted by device, metric and bucket, as series.
fn group(rows: &[PgRow], buckets: &Buckets) -> Result<Vec<Series>, sqlx::Error> {
    let mut grouped: Vec<Series> = Vec::new();
    for row in rows {
        let (aggregate_id, metric): (&str, &str) = (row.try_get("aggregate_id")?, row.try_get("metric")?);
        let window = window(row, &buckets.boundaries)?;
        match grouped.last_mut() {
            Some(last) if last.aggregate_id == aggregate_id && last.metric == metric => {
                last.windows.push(window);
            }
            _ => grouped.push(Series {
                aggregate_id: aggregate_id.to_owned(),
                metric: metric.to_owned(),
                windows: vec![window],
            }),
        }
    }
    Ok(grouped)
}

fn window(row: &PgRow, boundaries: &[DateTime<Utc>]) -> Result<Window, sqlx::Error> {
    // Counted from 1.
    let bucket = row.try_get::<i32, _>("bucket")? as usize;
    let (count, sum): (i64, f64) = (row.try_get("count")?, row.try_get("sum")?);
    Ok(Window {
        start: boundaries[bucket - 1],
        end: boundaries[bucket],
        count,
        sum,
        avg: sum / count as f64,
        min: row.try_get("min")?,
        max: row.try_get("max")?,
        first: row.try_get("first")?,
        first_at: row.try_get("first_at")?,
        last: row.try_get("last")?,
        last_at: row.try_get("last_at")?,
    })
}

/// Keeps `points` windows, at least 2, that keep the shape of the averages over time.
fn thin_out(windows: &mut Vec<Window>, points: usize) {
    if windows.len() <= points {
        return;
    }
    if points < 3 {
        // Without a triangle to compare there are only the ends.
        windows.drain(1..windows.len() - 1);
        return;
    }
    let point = |window: &Window| lttb::DataPoint::new(window.start.timestamp() as f64, window.avg);
    let mut kept = lttb::lttb(windows.iter().map(point).collect(), points).into_iter().peekable();
    windows.retain(|window| kept.next_if(|point| point.x as i64 == window.start.timestamp()).is_some());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(averages: &[f64]) -> Vec<Window> {
        let window = |(minute, &avg): (i64, &f64)| {
            let at = DateTime::from_timestamp_secs(minute * 60).expect("a time");
            Window {
                start: at,
                end: at,
                count: 1,
                sum: avg,
                avg,
                min: avg,
                max: avg,
                first: avg,
                first_at: at,
                last: avg,
                last_at: at,
            }
        };
        (0..).zip(averages).map(window).collect()
    }

    fn thinned(averages: &[f64], points: usize) -> Vec<f64> {
        let mut windows = windows(averages);
        thin_out(&mut windows, points);
        windows.iter().map(|window| window.avg).collect()
    }

    #[test]
    fn thinning_out_keeps_the_first_the_last_and_the_peak() {
        let mut line = [0.0; 100];
        line[40] = 9.0;
        line[0] = 1.0;
        line[99] = 2.0;
        let kept = thinned(&line, 10);
        assert_eq!((kept.len(), kept[0], kept[9]), (10, 1.0, 2.0));
        assert!(kept.contains(&9.0), "{kept:?}");
    }

    #[test]
    fn few_windows_stay_as_they_are() {
        for points in [3, 4, 100] {
            assert_eq!(thinned(&[1.0, 2.0, 3.0], points), [1.0, 2.0, 3.0]);
        }
        assert!(thinned(&[], 2).is_empty());
        assert_eq!(thinned(&[1.0, 2.0, 3.0], 2), [1.0, 3.0]);
    }
}
