//! Which of a tenant's devices may write. Registers unknown devices, if the tenant allows that.
//!
//! Known devices are cached. Before each batch the cache is brought up to the head of the tenant's control log, so that
//! a device that was decommissioned on this node is refused from the next batch on, and one that was decommissioned on
//! another node as soon as the head is known here (heads are polled twice a second).

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use fleetlog_aggregates::device::{EventType, Status};
use fleetlog_aggregates::identity::{Tenant, is_only_dots, split_aggregate_id};
use fleetlog_aggregates::telemetry::Reason;
use fleetlog_event_log::health::Wait;
use fleetlog_event_log::{Error, EventLog, LogId, Position};
use lru::LruCache;

use crate::devices::registration;
use crate::ingest::quota::Bucket;
use crate::ingest::retry::{failed, patience};

/// The most devices of a tenant in the cache, about 10 MB. The others are looked up with one query a batch.
const REMEMBERED: usize = 100_000;
/// Beyond this many events to read, clearing the cache is cheaper.
const CATCH_UP: Position = 10_000;
/// How long unknown devices are refused without a query after the tenant was found to be at its limit.
const FULL_FOR: Duration = Duration::from_secs(1);
/// The most devices that are registered in one transaction. Nobody else appends to the tenant's control log meanwhile.
const AT_ONCE: usize = 1000;

/// Devices that may not write, by stream id, with the reason as a code and as a text.
pub(crate) type RefusedDevices = HashMap<String, (Reason, &'static str)>;

/// Which of some devices may not write.
#[derive(Default)]
pub(crate) struct Judged {
    pub(crate) refused: RefusedDevices,
    /// New devices that are to be registered later, because the tenant's devices register too fast.
    pub(crate) later: HashSet<String>,
}

/// The devices of one tenant.
pub(crate) struct Devices {
    log: EventLog,
    tenant: Tenant,
    control: LogId,
    /// The position of the control log up to which `known` is right.
    seen: Position,
    /// At most [`REMEMBERED`] devices. The cache grows with the tenant: one of fixed size would take 2 MiB for its
    /// first device.
    known: LruCache<String, Status>,
    /// Until when the tenant counts as being at its limit of devices.
    full_until: Option<Instant>,
    /// The devices that have registered themselves of late.
    new: Bucket,
}

impl Devices {
    pub(crate) fn new(log: EventLog, tenant: Tenant, control: LogId) -> Self {
        let seen = log.heads().log(control).map_or(0, |log| log.head);
        Self {
            log,
            tenant,
            control,
            seen,
            known: LruCache::unbounded(),
            full_until: None,
            new: Bucket::default(),
        }
    }

    /// The tenant that they are of.
    pub(crate) fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    /// Whether the tenant is suspended.
    pub(crate) fn are_suspended(&self) -> bool {
        self.log.terms().of(self.tenant.as_str()).suspended
    }

    /// The devices among these that may not write. Registers new ones first, unless `register_later`, and tries until
    /// the database answers.
    pub(crate) async fn judge(
        &mut self,
        devices: &BTreeSet<&str>,
        register_later: bool,
        wait: &Wait,
    ) -> Judged {
        let mut backoff = patience();
        loop {
            match self.try_judge(devices, register_later).await {
                Ok(judged) => return judged,
                Err(error) => failed("admit devices", wait, &error),
            }
            backoff.wait().await;
        }
    }

    async fn try_judge(&mut self, devices: &BTreeSet<&str>, register_later: bool) -> Result<Judged, Error> {
        self.catch_up().await?;
        let Judged { mut refused, mut later } = Judged::default();
        let mut strangers = Vec::new();
        for &device in devices {
            match self.known.get(device) {
                Some(&status) => refuse(&mut refused, device, status),
                None => strangers.push(device),
            }
        }
        if !strangers.is_empty() {
            let statuses = self.meet(&strangers, register_later, &mut later).await?;
            for device in strangers {
                match statuses.get(device) {
                    None if later.contains(device) => {}
                    None if has_only_dots(device) => {
                        let why = (Reason::BadTopic, "a device's uid has a character other than '.'");
                        refused.insert(device.to_owned(), why);
                    }
                    None if self.is_full() => {
                        let why = (Reason::DeviceLimit, "the tenant has as many devices as it may have");
                        refused.insert(device.to_owned(), why);
                    }
                    status => refuse(&mut refused, device, status.copied().unwrap_or_default()),
                }
            }
        }
        Ok(Judged { refused, later })
    }

    /// Applies the changes to devices since the last batch.
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
               AND event_type = ANY($4)
             ORDER BY position",
        )
        .bind(self.control)
        .bind(self.seen)
        .bind(head)
        .bind(EventType::that_change_status())
        .fetch_all(self.log.pool())
        .await?;
        after(rows).collect()
    }

    /// Looks up devices that are not cached, and registers the new ones.
    async fn meet(
        &mut self,
        devices: &[&str],
        register_later: bool,
        later: &mut HashSet<String>,
    ) -> Result<HashMap<String, Status>, Error> {
        let mut statuses = self.recorded(devices).await?;
        let new = devices.iter().filter(|&&device| !statuses.contains_key(device) && !has_only_dots(device));
        let mut new: Vec<String> = new.map(|&device| device.to_owned()).collect();
        if !new.is_empty() && self.registers_itself().await? {
            if !self.is_full() {
                let now = if register_later { 0 } else { self.may_register(new.len()) };
                later.extend(new.split_off(now));
            }
            statuses.extend(self.register(new).await?);
        }
        for (device, &status) in &statuses {
            self.known.put(device.clone(), status);
        }
        while self.known.len() > REMEMBERED {
            self.known.pop_lru();
        }
        Ok(statuses)
    }

    /// How many of so many new devices may be registered now.
    fn may_register(&self, count: usize) -> usize {
        let limits = self.log.terms().of(self.tenant.as_str()).ingest;
        limits
            .new_devices_per_s
            .map_or(count, |rate| self.new.take_up_to(count, f64::from(rate), Instant::now()))
    }

    async fn recorded(&self, devices: &[&str]) -> Result<HashMap<String, Status>, Error> {
        let rows: Vec<(String, String)> = sqlx::query_as(
            "SELECT DISTINCT ON (aggregate_id) aggregate_id, event_type FROM control_events
             WHERE aggregate_type = 'Device' AND aggregate_id = ANY($1)
               AND event_type = ANY($2)
             ORDER BY aggregate_id, sequence DESC",
        )
        .bind(devices)
        .bind(EventType::that_change_status())
        .fetch_all(self.log.pool())
        .await?;
        after(rows).collect()
    }

    async fn registers_itself(&self) -> Result<bool, Error> {
        let allowed = sqlx::query_scalar("SELECT self_registration FROM tenants WHERE tenant = $1")
            .bind(self.tenant.as_str())
            .fetch_one(self.log.pool())
            .await?;
        Ok(allowed)
    }

    fn is_full(&self) -> bool {
        self.full_until.is_some_and(|until| Instant::now() < until)
    }

    /// Registers devices, up to [`AT_ONCE`] in a transaction, and returns their status. Devices beyond the tenant's
    /// limit are absent from the result.
    async fn register(&mut self, devices: Vec<String>) -> Result<HashMap<String, Status>, Error> {
        let mut statuses = HashMap::new();
        for devices in devices.chunks(AT_ONCE) {
            // The tenant is at its limit, so the other devices, which are new too, would be refused as well. A query
            // for each unknown device of a flood would overload the database.
            if self.is_full() {
                break;
            }
            let noticed =
                registration::register_noticed(&self.log, &self.tenant, self.control, devices.to_vec())
                    .await?;
            if noticed.full {
                self.full_until = Some(Instant::now() + FULL_FOR);
            }
            statuses.extend(noticed.registered.into_iter().map(|device| (device, Status::Registered)));
            // Another node or a person was faster with these.
            let others: Vec<&str> =
                devices.iter().map(String::as_str).filter(|device| !statuses.contains_key(*device)).collect();
            if !others.is_empty() {
                statuses.extend(self.recorded(&others).await?);
            }
        }
        Ok(statuses)
    }
}

/// Whether the uid in a stream's id has only dots. No new device has such a uid; those that have one go on.
fn has_only_dots(device: &str) -> bool {
    split_aggregate_id(device).is_some_and(|(_, uid)| is_only_dots(uid))
}

fn refuse(refused: &mut RefusedDevices, device: &str, status: Status) {
    let why = match status {
        Status::Registered => return,
        Status::Unknown => (Reason::UnknownDevice, "the device is not registered"),
        Status::Decommissioned => (Reason::Decommissioned, "the device is out of service"),
    };
    refused.insert(device.to_owned(), why);
}

/// The status of each device after its event. Events that do not change a status are skipped.
fn after(events: Vec<(String, String)>) -> impl Iterator<Item = Result<(String, Status), Error>> {
    events.into_iter().filter_map(|(device, event_type)| match event_type.parse::<EventType>() {
        Ok(event_type) => Some(Ok((device, event_type.status_after()?))),
        Err(unknown) => Some(Err(sqlx::Error::Decode(Box::new(unknown)).into())),
    })
}
