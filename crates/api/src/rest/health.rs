//! Reports whether the service is alive, and whether the database, the broker and the projections work.

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

/// How long the database may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(alive)).routes(routes!(ready))
}

/// The answer of a process that is alive.
#[derive(Serialize, ToSchema)]
struct Alive {
    /// Always the word `alive`.
    status: &'static str,
    /// The service's version.
    version: &'static str,
}

/// Reports that the process answers, whatever the state of its parts.
#[utoipa::path(
    get, path = "/healthz", tag = "service", operation_id = "alive",
    responses((status = 200, description = "The process answers", body = Alive)),
)]
async fn alive() -> Json<Alive> {
    Json(Alive { status: "alive", version: VERSION })
}

/// The state of the parts that the service depends on.
#[derive(Serialize, ToSchema)]
struct Ready {
    /// `ready`; `degraded`, when stored data can be read but not everything works; `not_ready`.
    status: &'static str,
    /// The log's database. Without it nothing works.
    database: Part,
    /// The MQTT broker. Without it no messages from devices arrive.
    broker: Part,
    /// The projections. When one has failed, its read model stands still.
    projections: Part,
}

/// The state of one part.
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

/// Reports whether the service can do its work, with the state of database, broker and projections.
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
