//! The labels of devices, for rules that choose devices by them. They come from the devices' streams; those that were used
//! last are remembered, and changed by the events that change them.

use std::collections::HashMap;
use std::num::NonZeroUsize;

use cqrs_es::Aggregate;
use fleetlog_aggregates::device::{Device, Event, Labels};
use fleetlog_aggregates::identity::{StreamId, Tenant, Uid};
use fleetlog_event_log::EventLog;
use lru::LruCache;

/// How many devices' labels are remembered.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(50_000).expect("not zero");
/// How many devices that went out of service are remembered: readings that came before may be evaluated after.
const GONE: NonZeroUsize = NonZeroUsize::new(10_000).expect("not zero");
/// How many devices' streams are read at once.
const SOME: usize = 1000;

pub(super) struct AllLabels {
    log: EventLog,
    tenant: Tenant,
    known: LruCache<Uid, Labels>,
    gone: LruCache<Uid, ()>,
}

impl AllLabels {
    pub(super) fn new(log: EventLog, tenant: Tenant) -> Self {
        Self { log, tenant, known: LruCache::new(REMEMBERED), gone: LruCache::new(GONE) }
    }

    /// The labels of these devices. A device that is not there has none.
    pub(super) async fn of<'u>(
        &mut self,
        uids: impl Iterator<Item = &'u Uid>,
    ) -> fleetlog_event_log::Result<HashMap<Uid, Labels>> {
        let mut found = HashMap::new();
        let mut unknown: Vec<StreamId> = vec![];
        for uid in uids {
            match self.known.get(uid) {
                Some(labels) => {
                    found.insert(uid.clone(), labels.clone());
                }
                None => unknown.push(StreamId::new(&self.tenant, uid)),
            }
        }
        for some in unknown.chunks(SOME) {
            let mut devices = devices(&self.log, some).await?;
            for stream in some {
                let Ok(uid) = stream.id.parse::<Uid>() else { continue };
                let labels = devices.remove(&uid).map(|device| device.labels().clone()).unwrap_or_default();
                self.known.put(uid.clone(), labels.clone());
                found.insert(uid, labels);
            }
        }
        Ok(found)
    }

    /// A device has other labels from now on.
    pub(super) fn changed(&mut self, uid: &Uid, labels: Labels) {
        self.known.put(uid.clone(), labels);
    }

    /// A device is out of service from now on.
    pub(super) fn gone(&mut self, uid: &Uid) {
        self.known.pop(uid);
        self.gone.put(uid.clone(), ());
    }

    /// A device is in service from now on.
    pub(super) fn came(&mut self, uid: &Uid) {
        self.known.pop(uid);
        self.gone.pop(uid);
    }

    /// Whether a device has gone out of service, as far as that is remembered.
    pub(super) fn is_gone(&self, uid: &Uid) -> bool {
        self.gone.contains(uid)
    }
}

/// Devices as their streams leave them.
pub(super) async fn devices(
    log: &EventLog,
    streams: &[StreamId],
) -> fleetlog_event_log::Result<HashMap<Uid, Device>> {
    let mut devices: HashMap<Uid, Device> = HashMap::new();
    for event in log.streams::<Device>(streams).await? {
        let uid = event.aggregate_id.parse::<StreamId>().ok().and_then(|stream| stream.id.parse().ok());
        if let (Some(uid), Ok(event)) = (uid, event.decode::<Event>()) {
            devices.entry(uid).or_default().apply(event);
        }
    }
    Ok(devices)
}
