//! Devices as each of their events left them: for those who follow the control log.

use std::collections::{HashMap, HashSet};

use fleetlog_aggregates::device::Device as Aggregate;
use fleetlog_aggregates::identity::{Uid, split_aggregate_id};
use fleetlog_event_log::{Position, TenantLog};

use super::fold::{Fold, Life};
use super::online::Rule;
use super::queries::{get, status};
use super::{Device, Error, Status};

/// Devices as each of these events of the control log left them, by uid and the event's position. What is said of their readings
/// is as of now, and nothing where the read model does not know the device yet; so is whether they are online. What an event that
/// makes no sense left behind is absent.
pub async fn after_each(
    log: &TenantLog,
    events: &[(Uid, Position)],
    online: Rule,
) -> Result<HashMap<(Uid, Position), Device>, Error> {
    let wanted: HashSet<_> = events.iter().cloned().collect();
    let uids: HashSet<_> = events.iter().map(|(uid, _)| uid.clone()).collect();
    let uids: Vec<_> = uids.into_iter().collect();
    let known = get(log, &uids, online).await?;
    let known: HashMap<_, _> = known.into_iter().map(|device| (device.uid.clone(), device)).collect();
    let streams: Vec<_> = uids.iter().map(|uid| log.stream(uid)).collect();
    let (mut fold, mut found) = (Fold::default(), HashMap::new());
    for event in log.streams::<Aggregate>(&streams).await? {
        let uid = split_aggregate_id(&event.aggregate_id).and_then(|(_, uid)| uid.parse::<Uid>().ok());
        let (Some(uid), Ok(())) = (uid, fold.add(&event)) else { continue };
        let key = (uid, event.position);
        if wanted.contains(&key)
            && let Some(life) = fold.lives.get(&event.aggregate_id)
            && let Some(device) = device(&key.0, life, known.get(&key.0))
        {
            found.insert(key, device);
        }
    }
    Ok(found)
}

/// A device after an event. `known`: the same device, as the read model has it now.
fn device(uid: &Uid, life: &Life, known: Option<&Device>) -> Option<Device> {
    let (registered_at, registered_via) = life.registered?;
    let is_online = known.is_some_and(|known| known.status == Status::Online);
    Some(Device {
        uid: uid.clone(),
        name: life.name.clone(),
        labels: life.labels.clone().unwrap_or_default(),
        status: status(life.decommissioned_at, is_online),
        registered_at,
        registered_via,
        decommissioned_at: life.decommissioned_at,
        last_seen_at: known.and_then(|known| known.last_seen_at),
        connected_at: known.and_then(|known| known.connected_at),
        online_within_s: life.online_within.and_then(Into::into),
        last_reading: known.and_then(|known| known.last_reading.clone()),
        messages: known.map_or(0, |known| known.messages),
        duplicates: known.and_then(|known| known.duplicates),
        control_position: life.position,
        telemetry_position: known.and_then(|known| known.telemetry_position),
    })
}
