//! Windows of metrics.

use async_graphql::Object;
use chrono::{DateTime, Utc};
use fleetlog_projections::telemetry_windows::{Series, Window as Row, WindowsQuery};

use super::limits::QUERY;
use super::scalars::Long;
use crate::http::parameters::Step;

/// What the windows of one device cost: by how many points are asked for, or as many as an answer may have.
pub(super) fn windows_cost(points: Option<i32>, each: usize) -> usize {
    let points = points.and_then(|points| usize::try_from(points).ok()).unwrap_or(1_000).min(10_000);
    (QUERY + points / 20).saturating_add(each).min(1_000_000)
}

/// A device's windows, and how they were cut.
pub(super) struct Windows {
    pub(super) query: WindowsQuery,
    pub(super) series: Vec<Series>,
}

#[Object]
impl Windows {
    /// The window that holds this moment is the first.
    async fn from(&self) -> DateTime<Utc> {
        self.query.from
    }

    /// No window starts at this moment or later.
    async fn to(&self) -> DateTime<Utc> {
        self.query.to
    }

    /// How long each window is.
    async fn step(&self) -> String {
        Step(self.query.step).to_string()
    }

    /// Whose midnight days begin at.
    async fn tz(&self) -> &'static str {
        self.query.tz.name()
    }

    /// Each metric.
    async fn series(&self) -> Vec<Metric<'_>> {
        self.series.iter().map(Metric).collect()
    }
}

/// One metric over time.
struct Metric<'s>(&'s Series);

#[Object(name = "MetricSeries")]
impl Metric<'_> {
    /// Its name.
    async fn metric(&self) -> &str {
        &self.0.metric
    }

    /// Its windows by time; one without readings is not there.
    async fn windows(&self) -> Vec<Window<'_>> {
        self.0.windows.iter().map(Window).collect()
    }
}

/// What a metric did in one window.
struct Window<'s>(&'s Row);

#[Object]
impl Window<'_> {
    /// The window's first moment.
    async fn start(&self) -> DateTime<Utc> {
        self.0.start
    }

    /// The next window's first moment.
    async fn end(&self) -> DateTime<Utc> {
        self.0.end
    }

    /// How many readings.
    async fn count(&self) -> Long {
        Long(self.0.count)
    }

    /// Their sum.
    async fn sum(&self) -> f64 {
        self.0.sum
    }

    /// Their mean.
    async fn avg(&self) -> f64 {
        self.0.avg
    }

    /// The smallest.
    async fn min(&self) -> f64 {
        self.0.min
    }

    /// The largest.
    async fn max(&self) -> f64 {
        self.0.max
    }

    /// The earliest by the device's clock.
    async fn first(&self) -> f64 {
        self.0.first
    }

    /// When that was.
    async fn first_at(&self) -> DateTime<Utc> {
        self.0.first_at
    }

    /// The latest by the device's clock.
    async fn last(&self) -> f64 {
        self.0.last
    }

    /// When that was.
    async fn last_at(&self) -> DateTime<Utc> {
        self.0.last_at
    }
}
