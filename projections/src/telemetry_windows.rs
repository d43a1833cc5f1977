//! `telemetry_windows`: the readings of each metric of each device in each minute, hour and day of UTC.
//!
//! - `fold`: folds readings into windows
//! - `series`: the ids of devices' metrics
//! - `runs`: how windows are stored in the table
//! - `open`: remembers the newest runs, which are written again and again
//! - `compared`: what two versions are compared by, and the same from the log
//! - `model`: writes minutes, and then the hours and days that they complete
//! - `buckets`: where the buckets of a query begin
//! - `queries`: series of windows, by any step and time zone
//! - `sorted`: stored windows, added up by bucket
//! - `fill`: the windows without readings, for who wants those
//! - `points`: fewer windows with the same shape
//! - `metrics`: which metrics a device has, and since when
//! - `cursor`: where the next page of metrics or of their windows begins
//!
//! A reading counts in the window in which it occurred, however late it arrived.

mod buckets;
mod compared;
mod cursor;
mod fill;
mod fold;
mod metrics;
mod model;
mod open;
mod points;
mod queries;
mod runs;
mod series;
mod sorted;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use fleetlog_aggregates::identity::Uid;
use fleetlog_event_log::Position;

pub use cursor::Cursor;
pub use metrics::{Metric, metrics};
pub use model::Model;
pub use queries::{minutes, windows};

/// The lengths of the stored windows in seconds, each a multiple of the one before.
const STEPS: [i32; 3] = [60, 3_600, 86_400];

/// The most metrics of a device that have windows. The first ones in the log have them; the values of further ones stay in
/// the readings, and are counted. A device with more probably makes the names up.
pub const DEVICE_METRICS: usize = 1_000;
/// The most buckets that a range may have.
pub const MAX_BUCKETS: usize = 10_000;
/// The most windows that a page has, over all its series.
pub const MAX_WINDOWS: usize = 20_000;

/// Which windows to read, and how they are cut into buckets.
///
/// Buckets are whole: the one that holds `from`, and every further one that starts before `to`. What a bucket says
/// therefore never depends on the range that it was asked for with.
///
/// A step below a day counts from the local midnight of `tz` in absolute time, so a day on which clocks change has 23
/// or 25 buckets of an hour, and the last bucket of a day ends with it. Steps of whole days are local calendar days,
/// counted from Monday, 2000-01-03: seven days are ISO weeks. Any other length counts from 1970-01-01 UTC. Months, quarters
/// and years are those of the local calendar.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WindowsQuery {
    /// Only this metric.
    pub metric: Option<String>,
    /// The first bucket is the one that holds this time.
    pub from: DateTime<Utc>,
    /// No bucket starts at this time or later.
    pub to: DateTime<Utc>,
    /// Stored windows that start before this time do not count, so the bucket that holds it may be partial. `None`:
    /// all count.
    pub since: Option<DateTime<Utc>>,
    /// The length of a bucket.
    pub step: Step,
    /// The time zone whose midnight begins a day.
    pub tz: Tz,
    /// At most this many windows for each series, at least 2: those that keep the shape of the averages (LTTB), with
    /// the first and the last among them.
    pub points: Option<usize>,
    /// What windows without readings are given. `None`: there are no such windows.
    pub fill: Option<Fill>,
}

/// What a window without readings is given as its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fill {
    /// No values.
    Null,
    /// The value of the last reading before the window, however long before, as long as that is shown.
    Previous,
    /// The straight line between the last reading before the window and the first one after it: its values at the start and at
    /// the end of the window, the smaller and the larger of the two, and their mean.
    Linear,
}

/// How long a bucket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// A fixed length: whole minutes, from one minute to 366 days.
    Length(TimeDelta),
    /// A calendar month.
    Month,
    /// Three calendar months; the first quarter of a year begins in January.
    Quarter,
    /// A calendar year.
    Year,
}

impl From<TimeDelta> for Step {
    fn from(length: TimeDelta) -> Self {
        Self::Length(length)
    }
}

/// One metric of one device over time.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// The device's name within its tenant.
    pub uid: Uid,
    /// The name of the metric.
    pub metric: String,
    /// The windows in order of time. A bucket without readings has a window only if the query fills it.
    pub windows: Vec<Window>,
}

/// A page of a device's series.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SeriesPage {
    /// The series by metric. A metric whose windows have no value is left out.
    pub series: Vec<Series>,
    /// Where the next page begins. `None`: this is the last one.
    pub next: Option<Cursor>,
}

/// The readings of a metric in one bucket, added up. Without readings, the values are those that [`Fill`] gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// The start of the bucket, which is part of it.
    pub start: DateTime<Utc>,
    /// The end of the bucket, which is the start of the next.
    pub end: DateTime<Utc>,
    /// How many readings the bucket holds.
    pub count: i64,
    /// The sum of its values.
    pub sum: f64,
    /// The mean of its values: `sum` by `count`.
    pub avg: Option<f64>,
    /// The smallest of its values.
    pub min: Option<f64>,
    /// The largest of its values.
    pub max: Option<f64>,
    /// The value of the earliest reading by the device's clock; of several at one time, the one recorded first.
    pub first: Option<f64>,
    /// When the earliest reading was taken, by the device's clock.
    pub first_at: Option<DateTime<Utc>>,
    /// The value of the latest reading by the device's clock; of several at one time, the one recorded last.
    pub last: Option<f64>,
    /// When the latest reading was taken, by the device's clock.
    pub last_at: Option<DateTime<Utc>>,
    /// The position in the telemetry log of the last reading that counts, whatever the readings' own times. `None` as long as
    /// it is not known of one part of the bucket.
    pub position: Option<Position>,
}

impl Window {
    /// Whether the window has no readings, and its values are made up.
    #[must_use]
    pub fn is_filled(&self) -> bool {
        self.count == 0
    }
}

/// Why a query is refused: it makes no sense, or is too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// The step is not a whole number of minutes, or is out of range.
    #[error("a step is a whole number of minutes, from 1 minute to 366 days")]
    Step,
    /// The range is empty, reversed, or beyond the calendar.
    #[error("from must be before to, and both between the years 0 and 9999")]
    Range,
    /// There are too few points to draw a line with.
    #[error("points must be at least 2")]
    Points,
    /// Windows would be added and left out at once.
    #[error("points leaves windows out, and fill adds them: give one of the two")]
    PointsAndFill,
    /// The range has too many buckets.
    #[error(
        "the range has more than {MAX_BUCKETS} windows of each metric; take a larger step or a smaller range"
    )]
    TooManyBuckets,
    /// The answer would have too many windows of several devices.
    #[error(
        "more than {MAX_WINDOWS} windows; take fewer devices, a larger step or a smaller range, or name a metric"
    )]
    TooManyWindows,
}

/// Why [`windows`] or [`minutes`] failed.
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
