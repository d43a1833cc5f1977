//! The projections: each equal to the fold of its log, whatever happens on the way.

mod as_of;
mod console;
mod devices;
mod example;
mod faults;
mod metrics;
mod outside;
mod pages;
mod poison;
mod positions;
mod rebuild;
mod runners;
mod windows;

use std::time::Duration;

use chrono::{DateTime, Utc};
use fleetlog_aggregates::device::{self, Device, Labels, Via};
use fleetlog_aggregates::telemetry::{Message, Recorded, decide};
use fleetlog_event_log::control::{Actor, Metadata};
use fleetlog_event_log::{EventLog, Lane};
use fleetlog_projections::devices::Rule;
use fleetlog_projections::status::{self, ProjectionStatus};
use fleetlog_projections::{Handle, Options, Projections};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{log_of, register_device};

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// Projections that run until they are stopped or dropped.
struct Running {
    handle: Handle,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    fn start(log: &EventLog) -> Self {
        // Small batches, so that a test has many.
        Self::start_with(log, Options { page: 50, batch: 120, ..Options::default() })
    }

    fn start_with(log: &EventLog, options: Options) -> Self {
        let projections = Projections::new(log.clone(), options);
        let (handle, shutdown) = (projections.handle(), CancellationToken::new());
        let running = projections.run(shutdown.clone());
        let task = tokio::spawn(async move { running.await.expect("running") });
        Self { handle, shutdown, task }
    }

    async fn catch_up(&self) {
        self.handle.catch_up(PATIENCE).await.expect("caught up");
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.expect("stopped");
    }
}

/// Whoever is heard of at this moment is online.
fn now(log: &EventLog) -> Rule {
    Rule { at: log.now(), within: Duration::ZERO }
}

fn at(time: &str) -> DateTime<Utc> {
    time.parse().unwrap_or_else(|error| panic!("{time}: {error}"))
}

/// A message with its own time, and the message id `id`.
fn reading(uid: &str, id: usize, occurred_at: DateTime<Utc>, metrics: &str) -> Recorded {
    let topic = format!("t0/devices/{uid}/telemetry");
    let payload = format!(r#"{{"msg_id":"m{id}","ts":"{}",{metrics}}}"#, occurred_at.to_rfc3339());
    let message = Message { topic: &topic, payload: payload.as_bytes(), received_at: Utc::now() };
    decide(message, String::new).expect("storable")
}

/// What the device says about itself.
fn status(uid: &str, said: &str) -> Recorded {
    let topic = format!("t0/devices/{uid}/status");
    let message = Message { topic: &topic, payload: said.as_bytes(), received_at: Utc::now() };
    decide(message, || uuid::Uuid::now_v7().to_string()).expect("storable")
}

async fn append(log: &EventLog, batch: Vec<Recorded>) {
    log.append_telemetry(log_of(log, Lane::Telemetry), batch.into()).await.expect("appended");
}

async fn execute(log: &EventLog, aggregate_id: &str, command: device::Command) {
    log.execute::<Device>(&aggregate_id.parse().expect("a stream"), command, Metadata::by(Actor::Fleetlog))
        .await
        .expect("accepted");
}

async fn register(log: &EventLog, uid: &str, name: Option<&str>) {
    let name = name.map(str::to_owned);
    let command = register_device(Via::Api, name, Labels::new());
    execute(log, &format!("t0/{uid}"), command).await;
}

/// Puts an event on the control lane that no aggregate would have made; its type is the payload's only key.
async fn smuggle(log: &EventLog, aggregate_type: &str, aggregate_id: &str, sequence: i64, payload: &str) {
    sqlx::query(
        "INSERT INTO control_events
             (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         VALUES ($1, $2, $3, $4, '1.0', $5::json, '{}')",
    )
    .bind(aggregate_type)
    .bind(aggregate_id)
    .bind(sequence)
    .bind(payload.split('"').nth(1))
    .bind(payload)
    .execute(log.pool())
    .await
    .expect("inserted");
}

async fn status_of(log: &EventLog, projection: &str) -> ProjectionStatus {
    let statuses = status::list_all(log).await.expect("listed");
    statuses.into_iter().find(|status| status.projection == projection).expect("a status")
}

/// Folds the whole telemetry log anew, in SQL, and says where the windows differ: in how many rows, both ways, and in how many
/// positions.
async fn windows_that_differ(log: &EventLog) -> (i64, i64, i64) {
    sqlx::query_as(include_str!("projections/windows.sql")).fetch_one(log.pool()).await.expect("compared")
}

/// The same for the telemetry half of the devices.
async fn devices_that_differ(log: &EventLog) -> (i64, i64) {
    sqlx::query_as(include_str!("projections/devices.sql")).fetch_one(log.pool()).await.expect("compared")
}

async fn assert_equal_to_the_fold_of_the_log(log: &EventLog) {
    assert_eq!(windows_that_differ(log).await, (0, 0, 0), "windows: missing, too many, of other positions");
    assert_eq!(devices_that_differ(log).await, (0, 0), "devices: missing, too many");
}
