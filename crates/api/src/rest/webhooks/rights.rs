//! Whoever makes a webhook, or gives it another address, must be able to read what it is sent. From then on it belongs to the tenant:
//! it is sent its events whatever becomes of who made it.

use std::collections::BTreeSet;

use fleetlog_access::Action;
use fleetlog_access::action::typed::WebhooksWrite;
use fleetlog_aggregates::telemetry;
use fleetlog_event_log::{Lane, LogId};
use fleetlog_webhooks::Filter;

use crate::door::{May, Target, guard};
use crate::rest::Error;

/// Checks that the caller may read all events of these logs that pass the filter. Where the tenant's policies may have a say about
/// devices, the filter has to name them, because devices that come later may be others.
pub(super) async fn may_read<T: Target>(
    door: &May<WebhooksWrite, T>,
    filter: &Filter,
    logs: impl Iterator<Item = LogId>,
) -> Result<(), Error> {
    let lanes = logs.filter_map(|log_id| Some(door.log().heads().log(log_id)?.lane)).collect();
    for action in actions(filter, &lanes) {
        door.also(action)?;
        let is_about_devices =
            matches!(action, Action::TelemetryRead | Action::DevicesRead | Action::CommandsRead);
        if !is_about_devices || !door.caller.is_ruled(action) {
            continue;
        }
        let Some(devices) = &filter.device else {
            let reason = "policies decide which devices you may read: name the devices";
            return Err(Error::field("follow.device", reason));
        };
        guard::all(&door.caller, door.log(), action, None, devices.iter().cloned().collect()).await?;
    }
    Ok(())
}

/// What reads the events of these lanes that pass a filter.
fn actions(filter: &Filter, lanes: &BTreeSet<Lane>) -> BTreeSet<Action> {
    const KINDS: [(&str, Action); 4] = [
        ("Device", Action::DevicesRead),
        ("Command", Action::CommandsRead),
        ("CommandBatch", Action::CommandsRead),
        ("CommandType", Action::CommandTypesRead),
    ];
    let takes = |kind: &str| filter.aggregate_type.as_ref().is_none_or(|kinds| kinds.contains(kind));
    let mut actions = BTreeSet::new();
    if lanes.contains(&Lane::Telemetry) && takes(telemetry::AGGREGATE_TYPE) {
        actions.insert(Action::TelemetryRead);
    }
    if lanes.contains(&Lane::Control) {
        actions.extend(KINDS.into_iter().filter(|(kind, _)| takes(kind)).map(|(_, action)| action));
        let is_known =
            |kind: &String| kind == telemetry::AGGREGATE_TYPE || KINDS.iter().any(|(known, _)| known == kind);
        // Events about nothing else pass no filter for devices.
        let takes_others = filter.aggregate_type.as_ref().is_none_or(|kinds| !kinds.iter().all(is_known));
        if takes_others && filter.device.is_none() {
            actions.insert(Action::EventsRead);
        }
    }
    actions
}
