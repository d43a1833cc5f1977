//! Whether the service is alive, and whether what it stands on is there.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use fleetlog_projections::status;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::VERSION;
use crate::app::App;

/// How long the database may take to say that it is there.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(alive)).routes(routes!(ready))
}

/// The process answers.
#[derive(Serialize, ToSchema)]
struct Alive {
    /// Always the word `alive`.
    status: &'static str,
    /// The service's version.
    version: &'static str,
}

/// Whether the process answers, whatever it stands on.
#[utoipa::path(
    get, path = "/healthz", tag = "service", operation_id = "alive",
    responses((status = 200, description = "The process answers", body = Alive)),
)]
async fn alive() -> Json<Alive> {
    Json(Alive { status: "alive", version: VERSION })
}

/// What the service stands on, each apart.
#[derive(Serialize, ToSchema)]
struct Ready {
    /// `ready`; `degraded`, when what is stored can be read but not everything works; `not_ready`.
    status: &'static str,
    /// The log's database: without it nothing works.
    database: Part,
    /// The MQTT broker: without it devices are not heard.
    broker: Part,
    /// The projections: when one has failed, its read model stands still.
    projections: Part,
}

/// Whether one of them is there.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Part {
    Up,
    Down,
}

impl Part {
    fn of(up: bool) -> Self {
        if up { Self::Up } else { Self::Down }
    }
}

/// Whether the service can do its work: database, broker and projections, each apart.
#[utoipa::path(
    get, path = "/readyz", tag = "service", operation_id = "ready",
    responses(
        (status = 200, description = "Ready, or degraded", body = Ready),
        (status = 503, description = "The database is not there", body = Ready),
    ),
)]
async fn ready(State(app): State<App>) -> (StatusCode, Json<Ready>) {
    let statuses = tokio::time::timeout(PATIENCE, app.projections.statuses()).await;
    let statuses = statuses.ok().and_then(Result::ok);
    let folding = statuses
        .as_ref()
        .is_some_and(|statuses| statuses.iter().all(|projection| projection.state != status::State::Failed));
    let [database, broker, projections] = [statuses.is_some(), (app.broker)(), folding].map(Part::of);
    let (code, status) = match (database, broker, projections) {
        (Part::Up, Part::Up, Part::Up) => (StatusCode::OK, "ready"),
        (Part::Up, ..) => (StatusCode::OK, "degraded"),
        (Part::Down, ..) => (StatusCode::SERVICE_UNAVAILABLE, "not_ready"),
    };
    (code, Json(Ready { status, database, broker, projections }))
}
