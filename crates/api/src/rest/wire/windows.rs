//! Windows of telemetry, as REST shows them.

use chrono::{DateTime, Utc};
use fleetlog_event_log::{Position, moment};
use fleetlog_projections::telemetry_windows;
use serde::Serialize;
use utoipa::ToSchema;

use crate::live::minutes::Changed;

/// The readings of a metric in one bucket, added up. Without readings, the values are what `fill` says.
#[derive(Serialize, ToSchema)]
pub(in crate::rest) struct Window {
    /// The start of the bucket, which is part of it.
    #[serde(serialize_with = "moment::serialize")]
    pub(in crate::rest) start: DateTime<Utc>,
    /// The end of the bucket, which is the start of the next.
    #[serde(serialize_with = "moment::serialize")]
    pub(in crate::rest) end: DateTime<Utc>,
    /// How many readings the bucket holds.
    pub(in crate::rest) count: i64,
    /// The sum of its values.
    pub(in crate::rest) sum: f64,
    /// The mean of its values: `sum` by `count`. Null only if the bucket holds no readings.
    #[schema(required = true, example = 21.5)]
    pub(in crate::rest) avg: Option<f64>,
    /// The smallest of its values.
    #[schema(required = true, example = 21.5)]
    pub(in crate::rest) min: Option<f64>,
    /// The largest of its values.
    #[schema(required = true, example = 21.5)]
    pub(in crate::rest) max: Option<f64>,
    /// The value of the earliest reading by the device's clock; of several at one time, the one recorded first.
    #[schema(required = true, example = 21.5)]
    pub(in crate::rest) first: Option<f64>,
    /// When the earliest reading was taken, by the device's clock. Null if the window is filled.
    #[schema(value_type = Option<DateTime<Utc>>, required = true, example = "2026-03-01T08:30:00Z")]
    pub(in crate::rest) first_at: Option<At>,
    /// The value of the latest reading by the device's clock; of several at one time, the one recorded last.
    #[schema(required = true, example = 21.5)]
    pub(in crate::rest) last: Option<f64>,
    /// When the latest reading was taken, by the device's clock. Null if the window is filled.
    #[schema(value_type = Option<DateTime<Utc>>, required = true, example = "2026-03-01T08:30:00Z")]
    pub(in crate::rest) last_at: Option<At>,
    /// The position in the log `log_id` of the last reading that is counted, by its place in the log. Null if it is not known
    /// of a part of the bucket.
    #[schema(value_type = Option<i64>)]
    pub(in crate::rest) position: Option<Position>,
    /// True if the bucket holds no readings and is there because of `fill`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false, example = false)]
    pub(in crate::rest) filled: bool,
}

/// A time that may be missing.
#[derive(Serialize)]
#[serde(transparent)]
pub(in crate::rest) struct At(#[serde(serialize_with = "moment::serialize")] DateTime<Utc>);

/// A metric's statistics in a minute that readings have changed, as streams show it.
#[derive(Serialize)]
pub(in crate::rest) struct ChangedWindow<'c> {
    device_uid: &'c str,
    metric: &'c str,
    #[serde(flatten)]
    window: Window,
}

impl<'c> From<&'c Changed> for ChangedWindow<'c> {
    fn from(Changed { uid, metric, window }: &'c Changed) -> Self {
        Self { device_uid: uid.as_str(), metric, window: window.clone().into() }
    }
}

impl From<telemetry_windows::Window> for Window {
    fn from(window: telemetry_windows::Window) -> Self {
        Self {
            filled: window.is_filled(),
            start: window.start,
            end: window.end,
            count: window.count,
            sum: window.sum,
            avg: window.avg,
            min: window.min,
            max: window.max,
            first: window.first,
            first_at: window.first_at.map(At),
            last: window.last,
            last_at: window.last_at.map(At),
            position: window.position,
        }
    }
}
