//! The service's own counters, for Prometheus.

use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::response::IntoResponse;
use fleetlog_access::Action;
use fleetlog_access::action::ActionType;
use fleetlog_access::action::typed::MetricsRead;
use fleetlog_event_log::instrument::Instrument;
use http::header;
use http::request::Parts;
use metrics_exporter_prometheus::{
    BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;

use super::error::Error;
use crate::app::App;
use crate::door::action::{Door, guarded};
use crate::door::{May, Platform};
use crate::instruments;

/// The bucket bounds of every histogram of seconds: from a cached answer up to the longest that a request may take.
const BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];
/// How often histograms are drained; without that they grow without bound.
const UPKEEP: Duration = Duration::from_secs(5);

pub(super) fn router() -> OpenApiRouter<App> {
    guarded!(read_metrics)
}

/// Makes a recorder with these buckets and the help texts of these instruments. The binary installs one for the
/// process; each test has one of its own.
pub fn recorder(
    instruments: impl IntoIterator<Item = &'static Instrument>,
) -> Result<PrometheusRecorder, BuildError> {
    let seconds = Matcher::Suffix("_seconds".to_owned());
    let builder = PrometheusBuilder::new().set_buckets_for_metric(seconds, &BUCKETS)?;
    let recorder = builder.build_recorder();
    instruments.into_iter().for_each(|instrument| instrument.describe(&recorder));
    Ok(recorder)
}

/// Keeps the histograms small until `shutdown`.
pub async fn upkeep(handle: PrometheusHandle, shutdown: CancellationToken) {
    let mut ticks = tokio::time::interval(UPKEEP);
    while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
        handle.run_upkeep();
    }
}

/// Counts an answer.
pub(super) fn answered(method: &'static str, path: String, status: String, elapsed: Duration) {
    instruments::REQUESTS.with([method.into(), path.clone().into(), status.into()]).increment(1);
    instruments::REQUEST_SECONDS.with([method.into(), path.into()]).record(elapsed.as_secs_f64());
}

/// The service's counters, as Prometheus reads them.
#[utoipa::path(
    get, path = "/metrics", tag = "service", operation_id = "read_metrics",
    responses((status = 200, description = "The counters, one a line", content_type = "text/plain", body = String)),
)]
async fn read_metrics(scraper: Scraper) -> impl IntoResponse {
    let Scraper(app) = scraper;
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], app.metrics.render())
}

/// Lets a caller read the metrics: one with the right to, or any caller if an operator has opened `/metrics`.
struct Scraper(App);

impl FromRequestParts<App> for Scraper {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Error> {
        if !app.settings.open_metrics {
            May::<MetricsRead, Platform>::from_request_parts(parts, app).await?;
        }
        Ok(Self(app.clone()))
    }
}

impl Door for Scraper {
    const ACTION: Action = MetricsRead::ACTION;
}
