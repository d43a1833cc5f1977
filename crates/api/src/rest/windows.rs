//! Statistics of a device's metrics, by windows of time.

use axum::Json;
use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use fleetlog_access::action::typed::TelemetryRead;
use fleetlog_event_log::Lane;
use fleetlog_projections::devices::Device;
use fleetlog_projections::telemetry_windows::{self, Cursor, Series, SeriesPage, WindowsQuery};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;

use super::error::Error;
use super::extract::{Query, parse};
use super::logs::in_lane;
use super::min_position;
use super::parameters::{Fill, Limit, LogPosition, MAX_LIMIT, Moment, Step, Zone};
use super::telemetry::{must_exist, shown_since};
use super::wire;
use crate::app::App;
use crate::door::May;
use crate::door::action::guarded;

pub(super) fn router() -> OpenApiRouter<App> {
    guarded!(read_windows)
}

/// Selects a device's windows.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// Only this metric.
    metric: Option<String>,
    /// The start of the range: the window that holds this moment is the first. Without it: a day before `to`.
    #[param(value_type = Option<DateTime<Utc>>)]
    from: Option<Moment>,
    /// The end of the range: no window starts at this moment or later. Without it: now.
    #[param(value_type = Option<DateTime<Utc>>)]
    to: Option<Moment>,
    /// How long a window is: minutes, hours or days, up to 366 days, or `month`, `quarter` or `year` of the calendar. Without it:
    /// minutes, hours or days that make at most 1000 windows.
    #[param(value_type = Option<String>, example = "5m")]
    step: Option<Step>,
    /// The IANA time zone whose midnight is the start of a day, a month or a year.
    #[serde(default)]
    #[param(value_type = Option<String>, example = "Europe/Berlin", default = "UTC")]
    tz: Zone,
    /// The most windows to return of each metric: those that keep its shape (LTTB).
    #[param(minimum = 2)]
    points: Option<usize>,
    /// Adds the windows without readings, with `count` 0 and `filled` true: with no values (`null`), with the value of the last
    /// reading before (`previous`), or with those of the straight line between the readings around (`linear`). Not with `points`.
    #[param(inline)]
    fill: Option<Fill>,
    /// The most metrics on a page. A page ends early where it would have more than 20,000 windows.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 1000)]
    limit: Option<Limit>,
    /// The `next_cursor` of the page before; the other parameters stay the same.
    cursor: Option<String>,
    /// Wait, for at most 2 s, until this event is visible: `<log>:<position>`.
    #[param(value_type = Option<String>, example = "2:42")]
    min_position: Option<LogPosition>,
}

/// A device's windows, and how they were cut.
#[derive(Serialize, ToSchema)]
struct Windows {
    /// The uid of the device.
    device_uid: String,
    /// The start of the range that was asked for.
    from: DateTime<Utc>,
    /// The end of the range that was asked for.
    to: DateTime<Utc>,
    /// How long each window is.
    #[schema(example = "5m")]
    step: String,
    /// The IANA time zone whose midnight is the start of a day.
    #[schema(example = "UTC")]
    tz: &'static str,
    /// The number of the log that the readings are in.
    log_id: i32,
    /// The metrics of this page by name, each with its windows.
    series: Vec<Metric>,
    /// The cursor to pass on to get the next metrics; null on the last page.
    next_cursor: Option<String>,
    /// Whether there is a next page.
    has_more: bool,
}

/// One metric over time.
#[derive(Serialize, ToSchema)]
struct Metric {
    /// The name of the metric, such as `temperature`.
    metric: String,
    /// The metric's windows by time. A window without readings is left out, unless `fill` is given.
    windows: Vec<wire::Window>,
}

impl From<Series> for Metric {
    fn from(series: Series) -> Self {
        Self { metric: series.metric, windows: series.windows.into_iter().map(Into::into).collect() }
    }
}

/// Builds the query, with defaults for what the request leaves open. REST and GraphQL both use it.
#[must_use]
pub fn query(
    metric: Option<String>,
    (from, to, now): (Option<Moment>, Option<Moment>, DateTime<Utc>),
    step: Option<Step>,
    tz: Zone,
    (points, fill): (Option<usize>, Option<Fill>),
    since: Option<DateTime<Utc>>,
) -> WindowsQuery {
    // Times have microseconds, and so has the range that the answer names.
    let to = to.map_or_else(|| now.trunc_subsecs(6), |to| to.0);
    let from = from.map_or(to - TimeDelta::days(1), |from| from.0);
    let step = step.unwrap_or_else(|| Step::for_range(to - from));
    WindowsQuery { metric, from, to, since, step: step.0, tz: tz.0, points, fill: fill.map(Into::into) }
}

/// Returns statistics of a device's metrics for each window of time: count, sum, mean, extremes, first and last. Many metrics
/// come page by page.
#[utoipa::path(
    get, path = "/telemetry/{uid}/windows", tag = "telemetry", operation_id = "read_windows",
    params(("uid" = String, Path, description = "The device's uid"), Which),
    responses(
        (status = 200, description = "The windows of each metric", body = Windows),
        (status = 404, description = "No such device"),
    ),
)]
async fn read_windows(
    door: May<TelemetryRead, Device>,
    Query(which): Query<Which>,
) -> Result<Json<Windows>, Error> {
    let after: Option<Cursor> = parse("cursor", which.cursor.as_deref())?;
    let limit = which.limit.map_or(MAX_LIMIT, |limit| limit.0);
    let since = shown_since(door.log());
    let span = (which.from, which.to, door.log().now());
    let query = query(which.metric, span, which.step, which.tz, (which.points, which.fill), since);
    min_position::of_projection::<telemetry_windows::Model>(&door.app, door.log(), which.min_position)
        .await?;
    let log_id = in_lane(door.log(), Lane::Telemetry)?;
    let uids = std::slice::from_ref(&door.id);
    let mut found =
        telemetry_windows::windows(door.log(), log_id, uids, &query, after.as_ref(), limit).await?;
    let SeriesPage { series, next } = found.remove(&door.id).unwrap_or_default();
    if series.is_empty() {
        must_exist(&door).await?;
    }
    Ok(Json(Windows {
        device_uid: door.id.into(),
        from: query.from,
        to: query.to,
        step: Step(query.step).to_string(),
        tz: query.tz.name(),
        log_id: log_id.0,
        series: series.into_iter().map(Metric::from).collect(),
        has_more: next.is_some(),
        next_cursor: next.map(|next| next.to_string()),
    }))
}
