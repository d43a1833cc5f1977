//! What a device's metrics did, by windows of time.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, TimeDelta, Utc};
use fleetlog_access::Action;
use fleetlog_aggregates::identity::aggregate_id;
use fleetlog_event_log::Lane;
use fleetlog_projections::telemetry_windows::{self, Series, Window, WindowsQuery};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::Error;
use super::extract::{Caller, DeviceUid, Query};
use super::parameters::{LogPosition, Moment, Step, Zone};
use super::problem::Problem;
use super::telemetry::must_exist;
use super::{App, guard, min_position};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(read_windows))
}

/// Which windows.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// Only this metric.
    metric: Option<String>,
    /// The window that holds this moment is the first. Without it: a day before `to`.
    #[param(value_type = Option<DateTime<Utc>>)]
    from: Option<Moment>,
    /// No window starts at this moment or later. Without it: now.
    #[param(value_type = Option<DateTime<Utc>>)]
    to: Option<Moment>,
    /// How long a window is: minutes, hours or days, up to 366 days. Without it: one that makes at most 1000 windows.
    #[param(value_type = Option<String>, example = "5m")]
    step: Option<Step>,
    /// Whose midnight days begin at.
    #[serde(default)]
    #[param(value_type = Option<String>, example = "Europe/Berlin", default = "UTC")]
    tz: Zone,
    /// At most so many windows of each metric: those that keep its shape (LTTB).
    #[param(minimum = 2)]
    points: Option<usize>,
    /// Wait, for at most 2 s, until this event is visible: `<log>:<position>`.
    #[param(value_type = Option<String>, example = "2:42")]
    min_position: Option<LogPosition>,
}

/// A device's windows, and how they were cut.
#[derive(Serialize, ToSchema)]
struct Windows {
    /// The device.
    device_uid: String,
    /// The range that was asked for.
    from: DateTime<Utc>,
    /// See `from`.
    to: DateTime<Utc>,
    /// How long each window is.
    #[schema(example = "5m")]
    step: String,
    /// Whose midnight days begin at.
    #[schema(example = "UTC")]
    tz: &'static str,
    /// Each metric.
    series: Vec<Metric>,
}

/// One metric.
#[derive(Serialize, ToSchema)]
struct Metric {
    /// Its name.
    metric: String,
    /// Its windows by time; one without readings is not there.
    windows: Vec<Window>,
}

impl From<Series> for Metric {
    fn from(series: Series) -> Self {
        Self { metric: series.metric, windows: series.windows }
    }
}

/// The query for a range of which anything may be left open; for REST and GraphQL alike.
#[must_use]
pub fn query(
    metric: Option<String>,
    (from, to): (Option<Moment>, Option<Moment>),
    step: Option<Step>,
    tz: Zone,
    points: Option<usize>,
    since: Option<DateTime<Utc>>,
) -> WindowsQuery {
    let to = to.map_or_else(Utc::now, |to| to.0);
    let from = from.map_or(to - TimeDelta::days(1), |from| from.0);
    let step = step.unwrap_or_else(|| Step::for_range(to - from));
    WindowsQuery { metric, from, to, since, step: step.0, tz: tz.0, points }
}

/// What a device's metrics did in each window of time: count, sum, mean, extremes, first and last.
#[utoipa::path(
    get, path = "/telemetry/{uid}/windows", tag = "telemetry", operation_id = "read_windows",
    params(("uid" = String, Path, description = "The device"), Which),
    responses(
        (status = 200, description = "The windows", body = Windows),
        (status = 404, description = "No such device", body = Problem, content_type = "application/problem+json"),
    ),
    extensions(("x-action" = json!("telemetry.read"))),
)]
async fn read_windows(
    State(app): State<App>,
    Caller(caller): Caller,
    DeviceUid(uid): DeviceUid,
    which: Result<Query<Which>, Error>,
) -> Result<Json<Windows>, Error> {
    guard::device(&app, &caller, Action::TelemetryRead, &uid).await?;
    let Query(which) = which?;
    let since = app.shown_since(&caller.tenant);
    let query = query(which.metric, (which.from, which.to), which.step, which.tz, which.points, since);
    min_position::of_projection::<telemetry_windows::Model>(&app, &caller.tenant, which.min_position).await?;
    let log_id = app.log_of(&caller.tenant, Lane::Telemetry)?;
    let stream = aggregate_id(&caller.tenant, &uid);
    let series = telemetry_windows::windows(&app.tenant_log(&caller), log_id, &[stream], &query).await?;
    if series.is_empty() {
        must_exist(&app, &caller, uid.clone()).await?;
    }
    Ok(Json(Windows {
        device_uid: uid.into(),
        from: query.from,
        to: query.to,
        step: Step(query.step).to_string(),
        tz: query.tz.name(),
        series: series.into_iter().map(Metric::from).collect(),
    }))
}
