//! The facts in a page of a control log: how commands ended, which devices changed, and which alarms people cleared.

use std::collections::{HashMap, HashSet};

use cqrs_es::Aggregate;
use fleetlog_aggregates::alarm::{self, Alarm, Why};
use fleetlog_aggregates::alarm_rule::{AlarmRule, Event as RuleEvent, Fact};
use fleetlog_aggregates::command::{Command, Event as CommandEvent};
use fleetlog_aggregates::device::{Device, Event as DeviceEvent, Labels};
use fleetlog_aggregates::identity::{RuleName, StreamId, Uid};
use fleetlog_event_log::{Event, EventLog};
use uuid::Uuid;

use super::board::Board;
use super::labels::AllLabels;
use super::readings::since;
use super::rulebook::Rulebook;

/// What an event of a control log means for alarms.
#[derive(Debug)]
pub(super) enum What {
    /// A rule is defined or removed.
    Rule(RuleName, RuleEvent),
    /// A command to a device has ended.
    Ended { cmd_id: Uuid, succeeded: bool },
    /// A device has these labels from now on.
    Relabelled(Uid, Labels),
    /// A device is out of service.
    Decommissioned(Uid),
    /// A device is registered: what was known of one of that name is over.
    Registered(Uid),
    /// A person or a program has cleared an alarm.
    Cleared(Uid, Uuid),
}

/// What an event means. `None`: nothing, or it makes no sense, which the projections tell.
pub(super) fn what(event: &Event) -> Option<What> {
    let stream: StreamId = event.aggregate_id.parse().ok()?;
    match &*event.aggregate_type {
        AlarmRule::TYPE => Some(What::Rule(stream.id.parse().ok()?, event.decode().ok()?)),
        Command::TYPE => {
            let (cmd_id, end) = (stream.uuid()?, |succeeded| move |cmd_id| What::Ended { cmd_id, succeeded });
            match event.decode().ok()? {
                CommandEvent::CommandAcknowledged { .. } => Some(end(true)(cmd_id)),
                CommandEvent::CommandFailed { .. } | CommandEvent::CommandTimedOut { .. } => {
                    Some(end(false)(cmd_id))
                }
                CommandEvent::CommandRequested(_)
                | CommandEvent::CommandSent { .. }
                | CommandEvent::CommandCancelled { .. }
                | CommandEvent::LateAckRecorded(_)
                | CommandEvent::UnreadableAckRecorded { .. } => None,
            }
        }
        Device::TYPE => {
            let uid = stream.id.parse().ok()?;
            match event.decode().ok()? {
                DeviceEvent::DeviceUpdated { labels: Some(labels), .. } => {
                    Some(What::Relabelled(uid, labels))
                }
                DeviceEvent::DeviceDecommissioned {} => Some(What::Decommissioned(uid)),
                DeviceEvent::DeviceRegistered { .. } => Some(What::Registered(uid)),
                DeviceEvent::DeviceUpdated { .. }
                | DeviceEvent::DeviceCredentialIssued { .. }
                | DeviceEvent::DeviceCredentialRevoked { .. } => None,
            }
        }
        Alarm::TYPE => match event.decode().ok()? {
            alarm::Event::AlarmCleared { about, why: Why::Person, .. } => {
                Some(What::Cleared(about.device_uid, stream.uuid()?))
            }
            alarm::Event::AlarmCleared { .. }
            | alarm::Event::AlarmRaised(_)
            | alarm::Event::AlarmAcknowledged { .. } => None,
        },
        _ => None,
    }
}

/// The devices and types of the commands that have ended, by their ids.
pub(super) async fn commands(
    log: &EventLog,
    ids: &HashSet<StreamId>,
) -> fleetlog_event_log::Result<HashMap<Uuid, (Uid, String)>> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let streams: Vec<StreamId> = ids.iter().cloned().collect();
    let mut found = HashMap::new();
    for event in log.streams::<Command>(&streams).await? {
        let id = event.aggregate_id.parse::<StreamId>().ok().and_then(|stream| stream.uuid());
        if let (Some(id), Ok(CommandEvent::CommandRequested(request))) = (id, event.decode()) {
            found.insert(id, (request.device_uid, request.cmd));
        }
    }
    Ok(found)
}

/// Takes in a page without events of rules.
pub(super) fn evaluate(
    rulebook: &Rulebook,
    (labels, commands): (&mut AllLabels, &HashMap<Uuid, (Uid, String)>),
    known: &HashMap<Uid, Labels>,
    events: &[(What, &Event)],
    board: &mut Board<'_>,
) {
    let mut known = known.clone();
    for (what, event) in events {
        let cause = Some((event.log_id, event.position));
        match what {
            What::Rule(..) => {}
            What::Ended { cmd_id, succeeded } => {
                let Some((uid, cmd)) = commands.get(cmd_id) else { continue };
                let fact = Fact::Command { succeeded: *succeeded, event: since(event) };
                let about = rulebook.about_commands().filter(|rule| rule.definition.condition.is_about(cmd));
                for rule in about.filter(|rule| rule.selects(uid, known.get(uid))) {
                    board.take(rule, uid, cmd, fact);
                }
            }
            What::Relabelled(uid, now) => {
                labels.changed(uid, now.clone());
                known.insert(uid.clone(), now.clone());
                let is_out =
                    |name: &str| rulebook.find(name).is_some_and(|rule| !rule.selects(uid, Some(now)));
                board.remove(uid, Why::LabelsChanged, cause, |row| is_out(&row.rule));
            }
            What::Decommissioned(uid) => {
                labels.gone(uid);
                board.remove(uid, Why::DeviceDecommissioned, cause, |_| true);
            }
            What::Registered(uid) => labels.came(uid),
            What::Cleared(uid, alarm_id) => board.forget(uid, *alarm_id),
        }
    }
}
