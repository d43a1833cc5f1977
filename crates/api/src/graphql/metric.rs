//! Metrics of devices.

use async_graphql::Object;
use chrono::{DateTime, Utc};
use fleetlog_projections::telemetry_windows::Metric;

use super::scalars::Long;

/// A metric of a device, and the readings that it has had.
pub(super) struct DeviceMetric(pub(super) Metric);

#[Object]
impl DeviceMetric {
    /// The name of the metric, such as `temperature`.
    async fn metric(&self) -> &str {
        &self.0.metric
    }

    /// How many readings the metric has had.
    async fn count(&self) -> Long {
        Long(self.0.count)
    }

    /// When the earliest reading was taken, by the device's clock.
    async fn first_at(&self) -> DateTime<Utc> {
        self.0.first_at
    }

    /// When the latest reading was taken, by the device's clock.
    async fn last_at(&self) -> DateTime<Utc> {
        self.0.last_at
    }

    /// The value of the latest reading, by the device's clock.
    async fn last(&self) -> f64 {
        self.0.last
    }
}
