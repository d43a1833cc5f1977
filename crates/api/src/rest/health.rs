//! Reports whether the service is alive, and whether its parts work.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use fleetlog_event_log::health::parts::{DATABASE, PROJECTIONS};
use fleetlog_event_log::health::{Health, PartState};
use http::StatusCode;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::VERSION;
use crate::app::{App, BrokerProbe, MqttPorts};

/// The name of the part that says whether devices' messages reach this process.
const BROKER: &str = "broker";
/// The time between two looks at the broker, and so how wrong its `since` may be.
const LOOK: Duration = Duration::from_secs(1);

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
    /// The port at which the process listens for devices' MQTT without TLS. Absent where it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    mqtt_port: Option<u16>,
    /// The port at which the process listens for devices' MQTT over TLS. Absent where it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    mqtts_port: Option<u16>,
}

/// Reports that the process answers, whatever the state of its parts.
#[utoipa::path(
    get, path = "/healthz", tag = "service", operation_id = "alive",
    responses((status = 200, description = "The process answers", body = Alive)),
)]
async fn alive(State(app): State<App>) -> Json<Alive> {
    let MqttPorts { plain, tls } = app.mqtt;
    Json(Alive { status: "alive", version: VERSION, mqtt_port: plain, mqtts_port: tls })
}

/// The state of the parts that the service depends on.
#[derive(Serialize, ToSchema)]
struct Ready {
    /// `ready`; `degraded`, when stored data can be read but not everything works; `not_ready`, without the database.
    status: &'static str,
    /// The log's database. Without it nothing works.
    database: UpOrDown,
    /// The MQTT broker. Without it no messages from devices arrive.
    broker: UpOrDown,
    /// The projections. When one stands still, its read model does not change.
    projections: UpOrDown,
    /// Every part, with the time and the reason of its state.
    parts: Vec<ShownPart>,
}

/// Whether a part works.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum UpOrDown {
    Up,
    Down,
}

/// The state of one part.
#[derive(Serialize, ToSchema)]
#[schema(as = Part)]
struct ShownPart {
    /// The part's name: `database`, `appends`, `reads`, `log`, `projections`, `dispatcher`, `broker` or, with `up`, `postgres`; more
    /// may be added.
    name: &'static str,
    /// Whether the part works.
    state: UpOrDown,
    /// Since when the part is in this state, by this node's clock.
    since: DateTime<Utc>,
    /// Why the part is down. Absent while it is up.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl From<PartState> for ShownPart {
    fn from(PartState { name, up, since, reason }: PartState) -> Self {
        Self { name, state: if up { UpOrDown::Up } else { UpOrDown::Down }, since, reason }
    }
}

/// Reports whether the service can do its work, with the state of each part. The parts keep their states in memory, so
/// the answer waits for nothing.
#[utoipa::path(
    get, path = "/readyz", tag = "service", operation_id = "ready",
    responses(
        (status = 200, description = "Every part works", body = Ready),
        (status = 503, description = "Some part is down", body = Ready),
    ),
)]
async fn ready(State(app): State<App>) -> (StatusCode, Json<Ready>) {
    note_broker(&app.health, &app.broker);
    let parts: Vec<ShownPart> = app.health.states().into_iter().map(ShownPart::from).collect();
    let state = |name| parts.iter().find(|part| part.name == name).map_or(UpOrDown::Up, |part| part.state);
    let [database, broker, projections] = [DATABASE, BROKER, PROJECTIONS].map(state);
    let all_up = parts.iter().all(|part| part.state == UpOrDown::Up);
    let (code, status) = match (all_up, database) {
        (true, _) => (StatusCode::OK, "ready"),
        (false, UpOrDown::Up) => (StatusCode::SERVICE_UNAVAILABLE, "degraded"),
        (false, UpOrDown::Down) => (StatusCode::SERVICE_UNAVAILABLE, "not_ready"),
    };
    (code, Json(Ready { status, database, broker, projections, parts }))
}

/// Notes the state of the broker every [`LOOK`] until `stop`, so that its `since` does not depend on who asks when.
pub async fn watch_broker(health: Health, broker: BrokerProbe, stop: CancellationToken) {
    loop {
        note_broker(&health, &broker);
        if stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_none() {
            return;
        }
    }
}

fn note_broker(health: &Health, broker: &BrokerProbe) {
    let part = health.part(BROKER, Duration::MAX);
    if broker() {
        part.up();
    } else {
        part.down("not connected, or not subscribed to the devices' messages yet");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn the_state_of_the_broker_is_noted_though_nobody_asks() {
        let (health, stop) = (Health::default(), CancellationToken::new());
        let (asked, looks) = tokio::sync::watch::channel(());
        let probe: BrokerProbe = Arc::new(move || {
            asked.send_replace(());
            false
        });
        let watch = tokio::spawn(watch_broker(health.clone(), probe, stop.clone()));
        looks.clone().changed().await.expect("the probe is there");
        stop.cancel();
        watch.await.expect("no panic");
        let states = health.states();
        assert!(states.iter().any(|part| part.name == BROKER && !part.up), "{states:?}");
    }
}
