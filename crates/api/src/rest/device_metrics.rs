//! A device's metrics: which it has sent, and since when.

use axum::Json;
use chrono::{DateTime, Utc};
use fleetlog_access::action::typed::TelemetryRead;
use fleetlog_event_log::{Lane, moment};
use fleetlog_projections::devices::Device;
use fleetlog_projections::paging::Page;
use fleetlog_projections::telemetry_windows::{self, Cursor, Metric};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;

use super::error::Error;
use super::extract::{Query, parse};
use super::logs::in_lane;
use super::min_position;
use super::page::List;
use super::parameters::{Limit, LogPosition};
use super::telemetry::{must_exist, shown_since};
use crate::app::App;
use crate::door::May;
use crate::door::action::guarded;

pub(super) fn router() -> OpenApiRouter<App> {
    guarded!(list_device_metrics)
}

/// Selects the metrics of a page.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// The most items to return on a page.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    limit: Limit,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// Wait, for at most 2 s, until this event is visible: `<log>:<position>`.
    #[param(value_type = Option<String>, example = "2:42")]
    min_position: Option<LogPosition>,
}

/// A metric of a device, and the readings that it has had.
#[derive(Serialize, ToSchema)]
#[schema(as = DeviceMetric)]
struct Item {
    /// The name of the metric, such as `temperature`.
    metric: String,
    /// How many readings the metric has had.
    count: i64,
    /// When the earliest reading was taken, by the device's clock.
    #[serde(serialize_with = "moment::serialize")]
    first_at: DateTime<Utc>,
    /// When the latest reading was taken, by the device's clock.
    #[serde(serialize_with = "moment::serialize")]
    last_at: DateTime<Utc>,
    /// The value of the latest reading by the device's clock; of several at one time, the one recorded last.
    last: f64,
}

impl From<Metric> for Item {
    fn from(Metric { metric, count, first_at, last_at, last }: Metric) -> Self {
        Self { metric, count, first_at, last_at, last }
    }
}

/// Lists a device's metrics by name, with their first and last readings and how many there are. A metric whose readings are all
/// over age is left out, and so is one that came after the device's first 1000.
#[utoipa::path(
    get, path = "/devices/{uid}/metrics", tag = "telemetry", operation_id = "list_device_metrics",
    params(("uid" = String, Path, description = "The device's uid"), Which),
    responses(
        (status = 200, description = "A page of metrics", body = List<Item>),
        (status = 404, description = "No such device"),
    ),
)]
async fn list_device_metrics(
    door: May<TelemetryRead, Device>,
    Query(which): Query<Which>,
) -> Result<Json<List<Item>>, Error> {
    let after: Option<Cursor> = parse("cursor", which.cursor.as_deref())?;
    min_position::of_projection::<telemetry_windows::Model>(&door.app, door.log(), which.min_position)
        .await?;
    let (log_id, since) = (in_lane(door.log(), Lane::Telemetry)?, shown_since(door.log()));
    let uids = std::slice::from_ref(&door.id);
    let mut found =
        telemetry_windows::metrics(door.log(), log_id, uids, since, after.as_ref(), which.limit.0).await?;
    let page = found.remove(&door.id);
    if page.is_none() {
        must_exist(&door).await?;
    }
    let page = page.unwrap_or(Page { items: vec![], has_more: false });
    Ok(Json(List::page(page, |last: &Metric| Cursor::after(&last.metric).to_string())))
}
