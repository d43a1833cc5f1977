//! Simulated devices that a person starts to see what fleetlog does: registered and logged in like any other, for a time that
//! ends by itself. What they say and how is handed in by whoever wires the service: this crate knows no MQTT.
//!
//! A simulation runs in this process, and ends with it. Its devices stay on the record, and the next simulation takes them again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use fleetlog_aggregates::device::{self, Device as Aggregate, Labels, Registration, Status, Via};
use fleetlog_aggregates::identity::{Tenant, Uid};
use fleetlog_event_log::TenantLog;
use fleetlog_event_log::control::{ExecuteError, Metadata};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::devices::credentials::issue::{self, Wish};
use crate::devices::credentials::{Credentials, Device, Secret};
use crate::devices::registration;

/// The most devices of a simulation.
pub const MAX_DEVICES: u32 = 10;
/// The most minutes that a simulation runs.
pub const MAX_MINUTES: u32 = 60;
/// The most simulations of a tenant at a time.
pub const MAX_SIMULATIONS: usize = 3;
/// The label of every simulated device.
pub const LABEL: (&str, &str) = ("simulated", "true");

/// How many devices the names are made for, of which some may be a person's own.
const NAMES: u32 = 200;
/// How much longer than the simulation its credentials are good for: the last messages are acknowledged in this time.
const MARGIN: TimeDelta = TimeDelta::seconds(30);

/// The devices of a simulation, each with its password, and how long they publish.
pub struct Cast {
    /// The tenant of the devices.
    pub tenant: Tenant,
    /// The devices and their passwords.
    pub devices: Vec<(Uid, Secret)>,
    /// How long they publish.
    pub duration: Duration,
}

/// Lets devices publish until their time is over, or until the token is cancelled.
pub type Run = Arc<dyn Fn(Cast, CancellationToken) -> BoxFuture<'static, ()> + Send + Sync>;

/// A simulation that runs.
#[derive(Debug, Clone)]
pub struct Simulation {
    /// The id of the simulation.
    pub id: Uuid,
    /// The simulated devices.
    pub devices: Vec<Uid>,
    /// Who started it: a user's id, or `key:` and an API key's id.
    pub started_by: String,
    /// When it was started.
    pub started_at: DateTime<Utc>,
    /// When it ends by itself.
    pub ends_at: DateTime<Utc>,
}

/// Why a simulation does not start or stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operator has not allowed simulations.
    #[error("simulated devices are off: whoever runs the service turns them on with --simulations")]
    Off,
    /// As many run as may.
    #[error("{MAX_SIMULATIONS} simulations run already: stop one, or wait until one ends")]
    Full,
    /// The names are taken by devices that are not simulated.
    #[error("the names of simulated devices are taken by others")]
    Names,
    /// No simulation of the tenant has this id.
    #[error("there is no such simulation")]
    Unknown,
    /// A device was not registered.
    #[error(transparent)]
    Registration(#[from] registration::Refused),
    /// A credential was not issued or revoked.
    #[error(transparent)]
    Device(#[from] ExecuteError<device::Error>),
    /// The log failed.
    #[error(transparent)]
    Log(#[from] fleetlog_event_log::Error),
}

/// The simulations of this process. Cheap to clone.
#[derive(Clone)]
pub struct Simulations {
    run: Option<Run>,
    devices: Credentials,
    running: Arc<Mutex<HashMap<Uuid, Running>>>,
    shutdown: CancellationToken,
}

struct Running {
    tenant: Tenant,
    simulation: Simulation,
    /// The credential of each device, in their order, as far as they are issued.
    credentials: Vec<Uuid>,
    stop: CancellationToken,
}

impl Simulations {
    /// Simulations that run until `shutdown` at most. Without `run`, none may be started.
    #[must_use]
    pub fn new(run: Option<Run>, devices: Credentials, shutdown: CancellationToken) -> Self {
        Self { run, devices, running: Arc::default(), shutdown }
    }

    /// Whether simulations may be started.
    #[must_use]
    pub fn are_on(&self) -> bool {
        self.run.is_some()
    }

    /// The simulations of a tenant, the oldest first.
    #[must_use]
    pub fn list(&self, tenant: &Tenant) -> Vec<Simulation> {
        let running = self.running.lock();
        let mut found: Vec<_> = running
            .values()
            .filter(|running| running.tenant == *tenant)
            .map(|running| running.simulation.clone())
            .collect();
        found.sort_by_key(|simulation| simulation.id);
        found
    }

    /// The labels of simulated devices.
    #[must_use]
    pub fn labels() -> Labels {
        Labels::from([(LABEL.0.to_owned(), LABEL.1.to_owned())])
    }

    /// The names that the next simulation takes: those of earlier simulations that no other one has now, and then new ones.
    pub async fn choose(&self, log: &TenantLog, count: u32) -> Result<Vec<Uid>, Error> {
        if !self.are_on() {
            return Err(Error::Off);
        }
        let taken: Vec<Uid> =
            self.list(log.tenant()).into_iter().flat_map(|simulation| simulation.devices).collect();
        let names = (1..=NAMES).filter_map(|number| format!("demo-{number}").parse::<Uid>().ok());
        let mut chosen = vec![];
        for uid in names.filter(|uid| !taken.contains(uid)) {
            if chosen.len() == count as usize {
                break;
            }
            let known = log.load::<Aggregate>(&log.stream(&uid)).await?;
            let is_simulated = known.labels().get(LABEL.0).is_some_and(|value| value == LABEL.1);
            if known.status() == Status::Unknown || is_simulated {
                chosen.push(uid);
            }
        }
        if chosen.len() == count as usize { Ok(chosen) } else { Err(Error::Names) }
    }

    /// Registers the devices that are not in service, gives each a credential, and starts them.
    pub async fn start(
        &self,
        log: &TenantLog,
        uids: Vec<Uid>,
        minutes: u32,
        metadata: Metadata,
    ) -> Result<Simulation, Error> {
        let Some(run) = self.run.clone() else { return Err(Error::Off) };
        let now = log.now();
        let simulation = Simulation {
            id: Uuid::now_v7(),
            devices: uids.clone(),
            started_by: metadata.actor.to_string(),
            started_at: now,
            ends_at: now + TimeDelta::minutes(minutes.into()),
        };
        let stop = self.shutdown.child_token();
        let place = self.enter(log.tenant(), simulation.clone(), stop.clone())?;
        let mut devices = vec![];
        for uid in uids {
            let secret = self.admit(log, &uid, &simulation, &metadata).await?;
            devices.push((uid, secret));
        }
        let duration = Duration::from_secs(60 * u64::from(minutes));
        let running = run(Cast { tenant: log.tenant().clone(), devices, duration }, stop);
        tokio::spawn(async move {
            running.await;
            drop(place);
        });
        Ok(simulation)
    }

    /// Stops a simulation, and revokes the credentials of its devices.
    pub async fn stop(&self, log: &TenantLog, id: Uuid, metadata: &Metadata) -> Result<(), Error> {
        let (simulation, credentials) = {
            let running = self.running.lock();
            let found = running.get(&id).filter(|running| running.tenant == *log.tenant());
            let found = found.ok_or(Error::Unknown)?;
            found.stop.cancel();
            (found.simulation.clone(), found.credentials.clone())
        };
        for (uid, credential_id) in simulation.devices.into_iter().zip(credentials) {
            let device = Device { tenant: log.tenant().clone(), uid };
            match issue::revoke(log, &device, credential_id, metadata.clone()).await {
                // Somebody was faster, or has retired the device.
                Ok(_) | Err(ExecuteError::Refused(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Takes a place among the simulations, which is given back when the [`Place`] goes.
    fn enter(
        &self,
        tenant: &Tenant,
        simulation: Simulation,
        stop: CancellationToken,
    ) -> Result<Place, Error> {
        let mut running = self.running.lock();
        let others = || running.values().filter(|other| other.tenant == *tenant);
        if others().count() >= MAX_SIMULATIONS {
            return Err(Error::Full);
        }
        let is_taken = |uid| others().any(|other| other.simulation.devices.contains(uid));
        if simulation.devices.iter().any(is_taken) {
            return Err(ExecuteError::Conflict.into());
        }
        let id = simulation.id;
        running.insert(id, Running { tenant: tenant.clone(), simulation, credentials: vec![], stop });
        Ok(Place { running: Arc::clone(&self.running), id })
    }

    /// Puts a device into service, if it is not, and issues a credential that ends with the simulation.
    async fn admit(
        &self,
        log: &TenantLog,
        uid: &Uid,
        simulation: &Simulation,
        metadata: &Metadata,
    ) -> Result<Secret, Error> {
        let known = log.load::<Aggregate>(&log.stream(uid)).await?;
        if known.status() != Status::Registered {
            let registration = Registration { via: Via::Api, name: None, labels: Self::labels() };
            registration::register(log, uid, registration, metadata.clone()).await?;
        }
        let device = Device { tenant: log.tenant().clone(), uid: uid.clone() };
        let wish = Wish {
            expires_at: Some(simulation.ends_at + MARGIN),
            revoke_others_in: Some(TimeDelta::zero()),
            ..Wish::default()
        };
        let issued = issue::issue(log, &device, wish, metadata.clone()).await?;
        self.devices.has_new_secret(&device);
        if let Some(running) = self.running.lock().get_mut(&simulation.id) {
            running.credentials.push(issued.credential_id);
        }
        issued.secret.ok_or(Error::Device(ExecuteError::Conflict))
    }
}

/// A simulation's place among those that run.
struct Place {
    running: Arc<Mutex<HashMap<Uuid, Running>>>,
    id: Uuid,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.running.lock().remove(&self.id);
    }
}
