//! The query over `telemetry_windows`, for REST and GraphQL.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use fleetlog_aggregates::identity::{Uid, aggregate_id};
use fleetlog_event_log::{LogId, TenantLog};
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::buckets::Buckets;
use super::runs::{self, moment};
use super::{Error, Invalid, MAX_WINDOWS, Series, Window, WindowsQuery, fold};

/// The windows of some devices' metrics, by device, metric and time.
pub async fn windows(
    log: &TenantLog,
    log_id: LogId,
    uids: &[Uid],
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
    let aggregate_ids: Vec<String> = uids.iter().map(|uid| aggregate_id(log.tenant(), uid)).collect();
    let mut sorted = Sorted::into(&buckets, query.since);
    let statement = sqlx::query(RUNS)
        .bind(log_id)
        .bind(&aggregate_ids)
        .bind(&query.metric)
        .bind(sorted.step)
        .bind(moment(runs::run(sorted.from, sorted.step)))
        .bind(moment(sorted.to));
    log.fetch_each(statement, |row| sorted.add(&row)).await?;
    let mut series = sorted.series(&aggregate_ids.iter().map(String::as_str).zip(uids).collect());
    if let Some(points) = query.points {
        for series in &mut series {
            thin_out(&mut series.windows, points);
        }
    }
    Ok(series)
}

/// Also returns the open runs, which hours and days do not include yet; `ORDER BY run` puts them last in their
/// series.
const RUNS: &str = "
    SELECT aggregate_id, metric, starts, counts, sums, mins, maxs, firsts, first_ats, lasts, last_ats, positions
    FROM telemetry_window_runs
    WHERE log_id = $1 AND aggregate_id = ANY($2) AND ($3::text IS NULL OR metric = $3) AND step = $4
      AND run >= $5 AND run < $6
    ORDER BY aggregate_id, metric, run";

/// Sorts stored windows into buckets as rows arrive.
struct Sorted<'b> {
    buckets: &'b Buckets,
    /// The stored step that buckets are made of, in seconds.
    step: i32,
    /// Only windows that start here or later, in seconds of the Unix epoch.
    from: i64,
    /// Only windows that start before this, in seconds of the Unix epoch.
    to: i64,
    found: Vec<Found>,
    /// How many windows have been found, over all series.
    windows: usize,
}

/// A metric of a device, and its windows by bucket.
struct Found {
    aggregate_id: String,
    metric: String,
    windows: Vec<(usize, fold::Window)>,
}

impl<'b> Sorted<'b> {
    fn into(buckets: &'b Buckets, since: Option<DateTime<Utc>>) -> Self {
        let seconds = |boundary: Option<&DateTime<Utc>>| boundary.map_or(0, DateTime::timestamp);
        let (step, from) = (buckets.stored_step(), seconds(buckets.boundaries.first()));
        let since =
            since.map_or(from, |since| since.timestamp() + i64::from(since.timestamp_subsec_nanos() > 0));
        let to = seconds(buckets.boundaries.last());
        Self { buckets, step, from: from.max(since), to, found: vec![], windows: 0 }
    }

    /// Adds a row. The rows of a series come in the order of their times.
    fn add(&mut self, row: &PgRow) -> Result<(), Error> {
        let (aggregate_id, metric): (&str, &str) = (row.try_get("aggregate_id")?, row.try_get("metric")?);
        let goes_on = |last: &&mut Found| last.aggregate_id == aggregate_id && last.metric == metric;
        let found = match self.found.last_mut().filter(goes_on) {
            Some(found) => found,
            None => self.found.push_mut(Found {
                aggregate_id: aggregate_id.to_owned(),
                metric: metric.to_owned(),
                windows: vec![],
            }),
        };
        for mut window in runs::windows(row, 0)? {
            window.start = runs::floor(window.start, self.step);
            if (self.from..self.to).contains(&window.start) {
                self.windows += usize::from(found.add(self.buckets, window));
            }
        }
        if self.windows > MAX_WINDOWS { Err(Invalid::TooManyWindows.into()) } else { Ok(()) }
    }

    /// The series of the devices by their streams.
    fn series(self, devices: &HashMap<&str, &Uid>) -> Vec<Series> {
        let window = |(bucket, window): (usize, fold::Window)| {
            let fold::Window { count, sum, min, max, first, first_at, last, last_at, position, .. } = window;
            let (start, end) = (self.buckets.boundaries[bucket], self.buckets.boundaries[bucket + 1]);
            Window {
                start,
                end,
                count,
                sum,
                avg: sum / count as f64,
                min,
                max,
                first,
                first_at,
                last,
                last_at,
                position,
            }
        };
        let series = |Found { aggregate_id, metric, windows }: Found| {
            let uid = Uid::clone(devices.get(aggregate_id.as_str())?);
            Some(Series { uid, metric, windows: windows.into_iter().map(window).collect() })
        };
        // The first and the last rows may have nothing in range.
        self.found.into_iter().filter(|found| !found.windows.is_empty()).filter_map(series).collect()
    }
}

impl Found {
    /// Adds a window, which lies within one bucket. Returns whether it is the bucket's first.
    fn add(&mut self, buckets: &Buckets, window: fold::Window) -> bool {
        let mut bucket = self.windows.last().map_or(0, |(bucket, _)| *bucket);
        while buckets.boundaries[bucket + 1].timestamp() <= window.start {
            bucket += 1;
        }
        match self.windows.last_mut() {
            Some((last, known)) if *last == bucket => {
                known.add(&window);
                false
            }
            _ => {
                self.windows.push((bucket, window));
                true
            }
        }
    }
}

/// Keeps `points` windows, at least 2, with which the averages over time keep their shape.
fn thin_out(windows: &mut Vec<Window>, points: usize) {
    if windows.len() <= points {
        return;
    }
    if points < 3 {
        // Two points leave no triangle to compare: only the ends are kept.
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
                position: Some(minute),
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
