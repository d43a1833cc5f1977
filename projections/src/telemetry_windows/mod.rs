//! `telemetry_windows`: what each metric of each device did in each minute, hour and day of UTC.
//!
//! - `fold`: what readings add up to
//! - `series`: the ids of devices' metrics
//! - `runs`: how windows lie in the table
//! - `open`: those that are written again and again
//! - `model`: which of them are written when
//! - `buckets`: where the buckets of a query begin
//! - `queries`: series of windows, by any step and time zone
//!
//! A reading counts where it occurred, however late it arrived.

mod buckets;
mod fold;
mod model;
mod open;
mod queries;
mod runs;
mod series;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use fleetlog_event_log::moment;
use serde::Serialize;

pub use model::Model;
pub use queries::windows;

/// The lengths of the stored windows in seconds, each a multiple of the one before.
const STEPS: [i32; 3] = [60, 3_600, 86_400];

/// The most buckets that a range may have.
pub const MAX_BUCKETS: usize = 10_000;
/// The most windows that one query answers with, over all its series.
pub const MAX_WINDOWS: usize = 100_000;

/// Which windows, and how they are cut.
///
/// Buckets are whole: the one that holds `from`, and every further one that starts before `to`. What a bucket says
/// therefore never depends on the range that it was asked for with.
///
/// A step below a day counts from the local midnight of `tz` in absolute time, so a day on which clocks change has 23
/// or 25 buckets of an hour, and the last bucket of a day ends with it. Steps of whole days are local calendar days,
/// counted from Monday, 2000-01-03: seven days are ISO weeks. Any other step counts from 1970-01-01 UTC.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowsQuery {
    /// Only this metric.
    pub metric: Option<String>,
    /// The bucket that holds this moment is the first.
    pub from: DateTime<Utc>,
    /// No bucket starts at this moment or later.
    pub to: DateTime<Utc>,
    /// Of the bucket that holds this moment only what is behind it counts, by whole stored windows. `None`: everything.
    pub since: Option<DateTime<Utc>>,
    /// How long a bucket is: whole minutes, from one to 366 days' worth.
    pub step: TimeDelta,
    /// Whose midnight days begin at.
    pub tz: Tz,
    /// At most so many windows a series, at least 2: those that keep the shape of the averages (LTTB), the first and
    /// the last among them.
    pub points: Option<usize>,
}

/// One metric of one device over time.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Series {
    /// The device's stream: `tenant/uid`.
    pub aggregate_id: String,
    /// The metric.
    pub metric: String,
    /// Its windows by time. A bucket without readings has none.
    pub windows: Vec<Window>,
}

/// What a metric did in one bucket.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Window {
    /// The bucket's first moment.
    #[serde(serialize_with = "moment::serialize")]
    pub start: DateTime<Utc>,
    /// The next bucket's first moment.
    #[serde(serialize_with = "moment::serialize")]
    pub end: DateTime<Utc>,
    /// How many readings.
    pub count: i64,
    /// The sum of its values.
    pub sum: f64,
    /// The mean of its values: `sum` by `count`.
    pub avg: f64,
    /// The smallest of its values.
    pub min: f64,
    /// The largest of its values.
    pub max: f64,
    /// The earliest by the device's clock; of several at one moment, the one recorded first.
    pub first: f64,
    /// When that was.
    #[serde(serialize_with = "moment::serialize")]
    pub first_at: DateTime<Utc>,
    /// The latest by the device's clock; of several at one moment, the one recorded last.
    pub last: f64,
    /// When that was.
    #[serde(serialize_with = "moment::serialize")]
    pub last_at: DateTime<Utc>,
}

/// A query that makes no sense, or is too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// The step is no whole number of minutes, or out of range.
    #[error("a step is a whole number of minutes, from 1 minute to 366 days")]
    Step,
    /// The range is empty, reversed, or beyond the calendar.
    #[error("from must be before to, and both between the years 0 and 9999")]
    Range,
    /// Too few points to draw a line with.
    #[error("points must be at least 2")]
    Points,
    /// The range has too many buckets.
    #[error("the range has more than {MAX_BUCKETS} buckets; take a larger step or a smaller range")]
    TooManyBuckets,
    /// The answer would be too large.
    #[error("more than {MAX_WINDOWS} windows; name a metric, or take a larger step or a smaller range")]
    TooManyWindows,
}

/// What [`windows`] fails with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The query makes no sense, or is too large.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] fleetlog_event_log::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}
