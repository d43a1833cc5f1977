//! Which of a tenant's devices may write. Registers unknown ones, where the tenant allows that.
//!
//! What is known is kept, and brought up to the head of the tenant's control log before each batch: a device that
//! was decommissioned on this node is refused from the next batch on, on another node as soon as its head is known
//! here (heads are polled twice a second).

use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use fleetlog_aggregates::device::{self, Command, Labels, Status, Via};
use fleetlog_aggregates::identity::{Tenant, Uid, split_aggregate_id};
use fleetlog_aggregates::telemetry::Reason;
use fleetlog_event_log::control::{self, ExecuteError};
use fleetlog_event_log::{Error, EventLog, LogId, Position};
use futures::{StreamExt, TryStreamExt};
use lru::LruCache;

use super::lane::{failed, patience};
use crate::registration;

/// How many devices of a tenant are remembered, about 10 MB of them. The rest are looked up, one query a batch.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(100_000).expect("not zero");
/// Beyond this many events to catch up with, forgetting everything is cheaper.
const CATCH_UP: Position = 10_000;
/// How long a tenant without room for one more device is not asked again.
const FULL_FOR: Duration = Duration::from_secs(1);
/// Registrations at the same time. They take turns on the control log's row, but not in getting there.
const REGISTRATIONS: usize = 6;

/// Devices that may not write, by stream id, with the reason for programs and for people.
pub(super) type RefusedDevices = HashMap<String, (Reason, &'static str)>;

/// One tenant's devices.
pub(super) struct Devices {
    log: EventLog,
    tenant: String,
    control: LogId,
    /// The control log's position up to which `known` is right.
    seen: Position,
    known: LruCache<String, Status>,
    /// Until when it is taken for granted that the tenant has as many devices as it may have.
    full_until: Option<Instant>,
}

impl Devices {
    pub(super) fn new(log: EventLog, tenant: String, control: LogId) -> Self {
        let seen = log.heads().log(control).map_or(0, |log| log.head);
        Self { log, tenant, control, seen, known: LruCache::new(REMEMBERED), full_until: None }
    }

    /// Whether nobody of the tenant is let in.
    pub(super) fn are_suspended(&self) -> bool {
        self.log.terms().of(&self.tenant).suspended
    }

    /// Which of these devices may not write. New ones are registered before this returns, however long it takes.
    pub(super) async fn refused(&mut self, devices: &BTreeSet<&str>) -> RefusedDevices {
        let mut backoff = patience();
        loop {
            match self.try_refused(devices).await {
                Ok(refused) => return refused,
                Err(error) => failed("admit devices", &error),
            }
            backoff.wait().await;
        }
    }

    async fn try_refused(&mut self, devices: &BTreeSet<&str>) -> Result<RefusedDevices, Error> {
        self.catch_up().await?;
        let mut refused = RefusedDevices::new();
        let mut strangers = Vec::new();
        for &device in devices {
            match self.known.get(device) {
                Some(&status) => refuse(&mut refused, device, status),
                None => strangers.push(device),
            }
        }
        if !strangers.is_empty() {
            let statuses = self.meet(&strangers).await?;
            for device in strangers {
                match statuses.get(device) {
                    None if self.is_full() => {
                        let why = (Reason::DeviceLimit, "the tenant has as many devices as it may have");
                        refused.insert(device.to_owned(), why);
                    }
                    status => refuse(&mut refused, device, status.copied().unwrap_or_default()),
                }
            }
        }
        Ok(refused)
    }

    /// Notes what happened to devices since the last batch.
    async fn catch_up(&mut self) -> Result<(), Error> {
        let head = self.log.heads().log(self.control).map_or(self.seen, |log| log.head);
        if head - self.seen > CATCH_UP {
            self.known.clear();
        } else if head > self.seen {
            for (device, status) in self.changes(head).await? {
                if let Some(known) = self.known.peek_mut(&device) {
                    *known = status;
                }
            }
        }
        self.seen = head.max(self.seen);
        Ok(())
    }

    async fn changes(&self, head: Position) -> Result<Vec<(String, Status)>, Error> {
        let rows: Vec<(String, String)> = sqlx::query_as(
            "SELECT aggregate_id, event_type FROM control_events
             WHERE log_id = $1 AND position > $2 AND position <= $3 AND aggregate_type = 'Device'
               AND event_type IN ('DeviceRegistered', 'DeviceDecommissioned')
             ORDER BY position",
        )
        .bind(self.control)
        .bind(self.seen)
        .bind(head)
        .fetch_all(self.log.pool())
        .await?;
        Ok(rows.into_iter().map(|(device, event)| (device, after(&event))).collect())
    }

    /// Learns about devices that are not remembered: reads them, and registers those that are new.
    async fn meet(&mut self, devices: &[&str]) -> Result<HashMap<String, Status>, Error> {
        let mut statuses = self.recorded(devices).await?;
        let new = devices.iter().filter(|&&device| !statuses.contains_key(device));
        let new: Vec<String> = new.map(|&device| device.to_owned()).collect();
        if !new.is_empty() && self.registers_itself().await? {
            statuses.extend(self.register(new).await?);
        }
        for (device, &status) in &statuses {
            self.known.put(device.clone(), status);
        }
        Ok(statuses)
    }

    async fn recorded(&self, devices: &[&str]) -> Result<HashMap<String, Status>, Error> {
        let rows: Vec<(String, String)> = sqlx::query_as(
            "SELECT DISTINCT ON (aggregate_id) aggregate_id, event_type FROM control_events
             WHERE aggregate_type = 'Device' AND aggregate_id = ANY($1)
               AND event_type IN ('DeviceRegistered', 'DeviceDecommissioned')
             ORDER BY aggregate_id, sequence DESC",
        )
        .bind(devices)
        .fetch_all(self.log.pool())
        .await?;
        Ok(rows.into_iter().map(|(device, event)| (device, after(&event))).collect())
    }

    async fn registers_itself(&self) -> Result<bool, Error> {
        let allowed = sqlx::query_scalar("SELECT self_registration FROM tenants WHERE tenant = $1")
            .bind(&self.tenant)
            .fetch_one(self.log.pool())
            .await?;
        Ok(allowed)
    }

    fn is_full(&self) -> bool {
        self.full_until.is_some_and(|until| Instant::now() < until)
    }

    /// Registers devices. Those that the tenant has no room for are not in what this returns.
    async fn register(&mut self, devices: Vec<String>) -> Result<Vec<(String, Status)>, Error> {
        if self.log.terms().of(&self.tenant).max_devices.is_none() {
            return self.register_all(devices).await;
        }
        let mut registered = Vec::new();
        for device in devices {
            if self.is_full() {
                break;
            }
            match register(self.log.clone(), device).await? {
                Some(device) => registered.push(device),
                // The next ones are new too. Asked for each of a flood of strangers, the database would do nothing else.
                None => self.full_until = Some(Instant::now() + FULL_FOR),
            }
        }
        Ok(registered)
    }

    async fn register_all(&self, devices: Vec<String>) -> Result<Vec<(String, Status)>, Error> {
        let registrations = devices.into_iter().map(|device| register(self.log.clone(), device));
        let registered: Vec<_> =
            futures::stream::iter(registrations).buffer_unordered(REGISTRATIONS).try_collect().await?;
        Ok(registered.into_iter().flatten().collect())
    }
}

fn refuse(refused: &mut RefusedDevices, device: &str, status: Status) {
    let why = match status {
        Status::Registered => return,
        Status::Unknown => (Reason::UnknownDevice, "the device is not registered"),
        Status::Decommissioned => (Reason::Decommissioned, "the device is out of service"),
    };
    refused.insert(device.to_owned(), why);
}

fn named(device: &str) -> Option<(Tenant, Uid)> {
    let (tenant, uid) = split_aggregate_id(device)?;
    Some((tenant.parse().ok()?, uid.parse().ok()?))
}

/// Where an event leaves a device.
fn after(event_type: &str) -> Status {
    match event_type {
        "DeviceRegistered" => Status::Registered,
        _ => Status::Decommissioned,
    }
}

/// `None` where the tenant has no room for it.
async fn register(log: EventLog, device: String) -> Result<Option<(String, Status)>, Error> {
    let command = Command::Register { via: Via::Telemetry, name: None, labels: Labels::new() };
    let metadata = control::metadata("ingest", None, None);
    let Some((tenant, uid)) = named(&device) else { return Ok(Some((device, Status::Unknown))) };
    let registered = match registration::register(&log, &tenant, &uid, command, metadata).await {
        Ok(at) => Ok(at),
        Err(registration::Refused::Full) => return Ok(None),
        Err(registration::Refused::Execute(error)) => Err(error),
    };
    let status = match registered {
        Ok(_) | Err(ExecuteError::Refused(device::Error::AlreadyRegistered)) => Status::Registered,
        Err(ExecuteError::Refused(device::Error::Decommissioned)) => Status::Decommissioned,
        Err(ExecuteError::Refused(_)) => Status::Unknown,
        // Someone else is busy with this very device: the next attempt sees what they made of it.
        Err(ExecuteError::Conflict) => return Err(Error::Unavailable(sqlx::Error::PoolTimedOut)),
        Err(ExecuteError::Log(error)) => return Err(error),
    };
    Ok(Some((device, status)))
}
