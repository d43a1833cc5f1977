//! Sorts stored windows into buckets as rows arrive.

use chrono::{DateTime, Utc};
use fleetlog_aggregates::identity::Uid;
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::buckets::Buckets;
use super::queries::Devices;
use super::{Error, Invalid, Series, Window, fold, runs};

/// Windows that are sorted into buckets, by series.
pub(super) struct Sorted<'b> {
    buckets: &'b Buckets,
    /// The stored step that buckets are made of, in seconds.
    pub(super) step: i32,
    /// Only windows that start here or later, in seconds of the Unix epoch.
    pub(super) from: i64,
    /// Only windows that start before this, in seconds of the Unix epoch.
    pub(super) to: i64,
    found: Vec<Found>,
    /// How many windows have been found, over all series.
    windows: usize,
    /// How many may be.
    most: usize,
}

/// A metric of a device, and its windows by bucket.
struct Found {
    aggregate_id: String,
    metric: String,
    windows: Vec<(usize, fold::Window)>,
}

impl<'b> Sorted<'b> {
    pub(super) fn into(buckets: &'b Buckets, since: Option<DateTime<Utc>>, most: usize) -> Self {
        let (from, to) = buckets.span();
        let from = from.max(since.map_or(from, first_second));
        Self { buckets, step: buckets.stored_step(), from, to, found: vec![], windows: 0, most }
    }

    /// Adds a row. The rows of a series come in the order of their times.
    pub(super) fn add(&mut self, row: &PgRow) -> Result<(), Error> {
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
        if self.windows > self.most { Err(Invalid::TooManyWindows.into()) } else { Ok(()) }
    }

    /// Drops the series that had too many windows, and returns its metric.
    pub(super) fn drop_last(&mut self) -> Option<String> {
        self.found.pop().map(|found| found.metric)
    }

    /// The series of the devices.
    pub(super) fn series(self, devices: &Devices) -> Vec<Series> {
        let window = |(bucket, window): (usize, fold::Window)| {
            let (start, end) = (self.buckets.boundaries[bucket], self.buckets.boundaries[bucket + 1]);
            window_of(start, end, &window)
        };
        let series = |Found { aggregate_id, metric, windows }: Found| {
            let uid = Uid::clone(devices.uid(&aggregate_id)?);
            Some(Series { uid, metric, windows: windows.into_iter().map(window).collect() })
        };
        // The first and the last rows may have nothing in range.
        self.found.into_iter().filter(|found| !found.windows.is_empty()).filter_map(series).collect()
    }
}

/// The first whole second that is not before a moment.
pub(super) fn first_second(moment: DateTime<Utc>) -> i64 {
    moment.timestamp() + i64::from(moment.timestamp_subsec_nanos() > 0)
}

fn window_of(start: DateTime<Utc>, end: DateTime<Utc>, of: &fold::Window) -> Window {
    Window {
        start,
        end,
        count: of.count,
        sum: of.sum,
        avg: Some(of.sum / of.count as f64),
        min: Some(of.min),
        max: Some(of.max),
        first: Some(of.first),
        first_at: Some(of.first_at),
        last: Some(of.last),
        last_at: Some(of.last_at),
        position: of.position,
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
