//! Simulated devices, for people who have none yet: start, list, stop.

use axum::Json;
use chrono::{DateTime, Utc};
use fleetlog_access::action::typed::{DevicesRead, DevicesWrite};
use fleetlog_engine::simulations::{self, MAX_DEVICES, MAX_MINUTES, Simulations};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use uuid::Uuid;

use super::error::Error;
use super::extract::{Body, NoParameters, Query};
use super::{PREFIX, RequestId};
use crate::app::App;
use crate::door::May;
use crate::door::action::guarded;
use crate::resource::{Resource, uuid};

/// How many devices are simulated, and for how many minutes, unless the request says otherwise.
const USUAL: (u32, u32) = (3, 15);

pub(super) fn router() -> OpenApiRouter<App> {
    guarded!(list_simulations, start_simulation, stop_simulation)
}

impl Resource for simulations::Simulation {
    type Id = Uuid;
    const MISSING: &'static str = "there is no such simulation";

    fn id(name: &str) -> Option<Uuid> {
        uuid(name)
    }
}

/// Simulated devices that run now.
#[derive(Serialize, ToSchema)]
struct Simulation {
    /// The id of the simulation.
    #[serde(rename = "simulation_id")]
    id: Uuid,
    /// The uids of its devices.
    #[schema(example = json!(["demo-1", "demo-2", "demo-3"]))]
    devices: Vec<String>,
    /// Who started it: a user's id, or `key:` and an API key's id.
    started_by: String,
    /// When it was started.
    started_at: DateTime<Utc>,
    /// When it ends by itself.
    ends_at: DateTime<Utc>,
}

impl From<simulations::Simulation> for Simulation {
    fn from(simulation: simulations::Simulation) -> Self {
        Self {
            id: simulation.id,
            devices: simulation.devices.into_iter().map(String::from).collect(),
            started_by: simulation.started_by,
            started_at: simulation.started_at,
            ends_at: simulation.ends_at,
        }
    }
}

/// The simulations of the tenant, and whether there may be any.
#[derive(Serialize, ToSchema)]
#[schema(as = Simulations)]
struct Listed {
    /// Whether simulations may be started: the service's option `--simulations`.
    enabled: bool,
    /// The simulations that run, the oldest first.
    items: Vec<Simulation>,
}

/// Lists the simulations of the tenant that run in the node which answers.
#[utoipa::path(
    get, path = "/simulations", tag = "devices", operation_id = "list_simulations",
    responses((status = 200, description = "The simulations that run", body = Listed)),
)]
async fn list_simulations(door: May<DevicesRead>, _: Query<NoParameters>) -> Json<Listed> {
    let simulations = &door.app.simulations;
    let items = simulations.list(door.log().tenant()).into_iter().map(Simulation::from).collect();
    Json(Listed { enabled: simulations.are_on(), items })
}

/// Devices to simulate.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewSimulation)]
struct New {
    /// How many devices. Without it: 3.
    #[schema(minimum = 1, maximum = 10)]
    devices: Option<u32>,
    /// For how many minutes. Without it: 15.
    #[schema(minimum = 1, maximum = 60)]
    minutes: Option<u32>,
}

/// Starts simulated devices, for a time. They are devices like any other: registered, with the label `simulated=true` and a
/// credential that ends with the simulation, over MQTT, a reading a second each; and they answer commands. Those of an earlier
/// simulation are taken again. Off unless the service was started with `--simulations`.
#[utoipa::path(
    post, path = "/simulations", tag = "devices", operation_id = "start_simulation", request_body = New,
    responses(
        (status = 201, description = "The devices are starting", body = Simulation, headers(("Location" = String))),
        (status = 409, description = "Simulations are off, or as many run as may, or the tenant has as many devices as it may have"),
    ),
)]
async fn start_simulation(
    door: May<DevicesWrite>,
    request: RequestId,
    Body(new): Body<New>,
) -> Result<(StatusCode, [(header::HeaderName, String); 1], Json<Simulation>), Error> {
    let devices = within("devices", new.devices, USUAL.0, MAX_DEVICES, "expected 1 to 10")?;
    let minutes = within("minutes", new.minutes, USUAL.1, MAX_MINUTES, "expected 1 to 60")?;
    let simulations = &door.app.simulations;
    let uids = simulations.choose(door.log(), devices).await?;
    for uid in &uids {
        door.with_labels(uid, &Simulations::labels()).await?;
    }
    let started = simulations.start(door.log(), uids, minutes, request.metadata(&door.caller)).await?;
    let location = format!("{PREFIX}/simulations/{}", started.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(started.into())))
}

fn within(
    field: &'static str,
    given: Option<u32>,
    usual: u32,
    most: u32,
    expected: &'static str,
) -> Result<u32, Error> {
    let given = given.unwrap_or(usual);
    if (1..=most).contains(&given) { Ok(given) } else { Err(Error::field(field, expected)) }
}

/// Stops simulated devices, and revokes their credentials. The devices and their readings stay.
#[utoipa::path(
    delete, path = "/simulations/{id}", tag = "devices", operation_id = "stop_simulation",
    params(("id" = String, Path, description = "The simulation's id")),
    responses(
        (status = 204, description = "The devices stop"),
        (status = 404, description = "No such simulation runs in the node that answers"),
    ),
)]
async fn stop_simulation(
    door: May<DevicesWrite, simulations::Simulation>,
    request: RequestId,
) -> Result<StatusCode, Error> {
    let metadata = request.metadata(&door.caller);
    door.app.simulations.stop(door.log(), door.id, &metadata).await?;
    Ok(StatusCode::NO_CONTENT)
}
