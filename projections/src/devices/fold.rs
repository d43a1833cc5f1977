//! Folds events into changes to devices. Pure.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use fleetlog_aggregates::command::{self, Command};
use fleetlog_aggregates::device::{self, Labels, OnlineWithin, Via};
use fleetlog_aggregates::identity::{StreamId, Uid, split_aggregate_id};
use fleetlog_aggregates::telemetry::{self, Flags};
use fleetlog_event_log::control::Actor;
use fleetlog_event_log::event::StoredMetadata;
use fleetlog_event_log::{Event, Position};

use crate::read_model::Poison;

/// What a page of events changes, by device: `tenant/uid`. Ordered, so that two writers lock rows in the same order.
#[derive(Debug, Default, PartialEq)]
pub struct Fold {
    pub(super) lives: BTreeMap<String, Life>,
    pub(super) readings: BTreeMap<String, Readings>,
    /// The bytes of the last readings' payloads.
    payload_bytes: usize,
}

/// What control events say about a device. An absent field keeps its value, unless the device was registered again.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Life {
    pub(super) registered: Option<(DateTime<Utc>, Via)>,
    pub(super) name: Option<String>,
    pub(super) labels: Option<Labels>,
    pub(super) online_within: Option<OnlineWithin>,
    pub(super) decommissioned_at: Option<DateTime<Utc>>,
    /// The last event that said something. `None` if only events came that change nothing here.
    pub(super) position: Option<Position>,
    /// When the device last answered a command.
    pub(super) answered_at: Option<DateTime<Utc>>,
}

/// What telemetry events say about a device.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Readings {
    pub(super) messages: i64,
    /// When the last sign of life was recorded: that a device says that it is offline is none.
    pub(super) last_seen_at: Option<DateTime<Utc>>,
    /// The last reading: what a device says about itself is none.
    pub(super) last: Option<LastReading>,
    /// The last message that says that the device is offline, and when it was recorded.
    pub(super) offline: Option<(Position, DateTime<Utc>)>,
    /// The last of all messages in the log, whatever their own times.
    pub(super) position: Position,
}

/// The latest reading by the device's own clock.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LastReading {
    pub(super) at: DateTime<Utc>,
    pub(super) position: Position,
    pub(super) payload: String,
}

impl Readings {
    /// Whether the last message says that the device is offline.
    pub(super) fn offline_at(&self) -> Option<DateTime<Utc>> {
        self.offline.filter(|(position, _)| *position == self.position).map(|(_, at)| at)
    }
}

impl Fold {
    /// Adds an event. On an error nothing has changed.
    pub(super) fn add(&mut self, event: &Event) -> Result<(), Poison> {
        match &*event.aggregate_type {
            telemetry::AGGREGATE_TYPE => self.add_reading(event),
            device::Device::TYPE => self.add_change(event),
            Command::TYPE => {
                self.add_answer(event);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn add_reading(&mut self, event: &Event) -> Result<(), Poison> {
        if &*event.event_type != telemetry::EVENT_TYPE {
            return Err(unknown(event));
        }
        if !self.readings.contains_key(event.aggregate_id.as_str()) {
            check_stream(event)?;
            let none = Readings {
                messages: 0,
                last_seen_at: None,
                last: None,
                offline: None,
                position: event.position,
            };
            self.readings.insert(event.aggregate_id.clone(), none);
        }
        let Some(readings) = self.readings.get_mut(event.aggregate_id.as_str()) else { return Ok(()) };
        let StoredMetadata::Telemetry { flags } = event.metadata else { return Err(unknown(event)) };
        readings.messages += 1;
        // An answer as of a moment folds a device's readings in the order of their own times.
        readings.position = readings.position.max(event.position);
        if flags.contains(Flags::OFFLINE) {
            readings.offline = readings.offline.max(Some((event.position, event.recorded_at)));
        } else {
            readings.last_seen_at = readings.last_seen_at.max(Some(event.recorded_at));
        }
        // Of two readings at the same time the one at the higher position wins: events come in that order.
        if !flags.is_status() && readings.last.as_ref().is_none_or(|last| event.occurred_at >= last.at) {
            let (at, position) = (event.occurred_at, event.position);
            let last =
                readings.last.get_or_insert_with(|| LastReading { at, position, payload: String::new() });
            (last.at, last.position) = (at, position);
            self.payload_bytes += event.payload.0.len();
            self.payload_bytes -= last.payload.len();
            last.payload.clone_from(&event.payload.0);
        }
        Ok(())
    }

    /// A device that answers a command is there. Its stream is the command's, so the event's actor names it.
    fn add_answer(&mut self, event: &Event) {
        if !command::Event::ANSWERS.contains(&&*event.event_type) {
            return;
        }
        let (Some(Actor::Device(uid)), Some((tenant, _))) =
            (event.metadata.actor(), split_aggregate_id(&event.aggregate_id))
        else {
            return;
        };
        let life = self.lives.entry(format!("{tenant}/{uid}")).or_default();
        life.answered_at = life.answered_at.max(Some(event.recorded_at));
    }

    pub(super) fn size(&self) -> usize {
        /// The bytes of a device's names, labels and places in the maps. Most devices need far less.
        const ROW: usize = 512;
        self.payload_bytes + (self.lives.len() + self.readings.len()) * ROW
    }

    fn add_change(&mut self, event: &Event) -> Result<(), Poison> {
        check_stream(event)?;
        let change: device::Event = event.decode()?;
        check_text(&change)?;
        let life = self.lives.entry(event.aggregate_id.clone()).or_default();
        match change {
            device::Event::DeviceRegistered { via, name, labels } => {
                let (registered, answered_at) = (Some((event.occurred_at, via)), life.answered_at);
                *life = Life { registered, name, labels: Some(labels), answered_at, ..Life::default() };
            }
            device::Event::DeviceUpdated { name, labels, online_within } => {
                life.name = name.or_else(|| life.name.take());
                life.labels = labels.or_else(|| life.labels.take());
                life.online_within = online_within.or(life.online_within);
            }
            device::Event::DeviceDecommissioned {} => life.decommissioned_at = Some(event.occurred_at),
            // Credentials are no part of this read model.
            device::Event::DeviceCredentialIssued { .. } | device::Event::DeviceCredentialRevoked { .. } => {
                return Ok(());
            }
        }
        life.position = Some(event.position);
        Ok(())
    }
}

fn unknown(event: &Event) -> Poison {
    Poison::new(format_args!("{} has no event of type {}", event.aggregate_type, event.event_type))
}

/// Refuses text with U+0000, which Postgres does not take. The write would refuse it too, but it sees only what a
/// page adds up to, and what is poison must not depend on where pages end.
fn check_text(change: &device::Event) -> Result<(), Poison> {
    let (name, labels) = match change {
        device::Event::DeviceRegistered { name, labels, .. } => (name, Some(labels)),
        device::Event::DeviceUpdated { name, labels, .. } => (name, labels.as_ref()),
        device::Event::DeviceDecommissioned {}
        | device::Event::DeviceCredentialIssued { .. }
        | device::Event::DeviceCredentialRevoked { .. } => (&None, None),
    };
    let labels = labels.into_iter().flatten().flat_map(|(key, value)| [key, value]);
    if name.iter().chain(labels).any(|text| text.contains('\0')) {
        return Err(Poison::new("a name or label contains U+0000"));
    }
    Ok(())
}

fn check_stream(event: &Event) -> Result<(), Poison> {
    let stream: Option<StreamId> = event.aggregate_id.parse().ok();
    match stream.map(|stream| stream.id.parse::<Uid>()) {
        Some(Ok(_)) => Ok(()),
        _ => Err(Poison::new("the stream's id is not made of a tenant and a uid")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::Model;
    use crate::given::{at, change, event, given, reading};
    use fleetlog_event_log::event::Json;

    fn folded(events: impl IntoIterator<Item = Event>) -> Fold {
        let (fold, results) = given::<Model>(events);
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        fold
    }

    fn readings(events: impl IntoIterator<Item = Event>) -> Readings {
        folded(events).readings.remove("t0/dev-01").expect("readings")
    }

    fn life(events: impl IntoIterator<Item = Event>) -> Life {
        folded(events).lives.remove("t0/dev-01").expect("a life")
    }

    fn registered(payload: &str) -> Event {
        change("dev-01", "DeviceRegistered", "08:00:00", payload)
    }

    #[test]
    fn the_last_reading_is_the_latest_by_its_own_time() {
        let last = readings([
            reading("dev-01", "12:00:00", r#"{"t":1}"#),
            reading("dev-01", "12:05:00", r#"{"t":2}"#),
            reading("dev-01", "11:00:00", r#"{"t":3}"#),
        ]);
        let (at_12_05, payload) = (at("12:05:00"), r#"{"t":2}"#.to_owned());
        assert_eq!(last.last, Some(LastReading { at: at_12_05, position: 2, payload }));
        assert_eq!((last.messages, last.last_seen_at), (3, Some(at("12:05:01"))));
        assert_eq!(last.position, 3, "the last one in the log");
    }

    #[test]
    fn of_two_readings_at_one_moment_the_later_position_is_the_last() {
        let last =
            readings([reading("dev-01", "12:00:00", "{}"), reading("dev-01", "12:00:00", r#"{"t":2}"#)]);
        let last = last.last.expect("a reading");
        assert_eq!((last.payload.as_str(), last.position), (r#"{"t":2}"#, 2));
    }

    #[test]
    fn an_update_changes_only_what_it_names() {
        let life = life([
            registered(r#"{"via":"api","name":"boiler","labels":{"site":"a"}}"#),
            change("dev-01", "DeviceUpdated", "09:00:00", r#"{"labels":{"site":"b"}}"#),
        ]);
        assert_eq!(life.registered, Some((at("08:00:00"), Via::Api)));
        assert_eq!(life.name.as_deref(), Some("boiler"));
        assert_eq!(life.labels, Some(Labels::from([("site".into(), "b".into())])));
        assert_eq!(life.position, Some(2));
    }

    #[test]
    fn a_new_registration_forgets_the_life_before() {
        let again = change("dev-01", "DeviceRegistered", "10:00:00", r#"{"via":"api"}"#);
        let life = life([
            registered(r#"{"via":"telemetry","name":"boiler"}"#),
            change("dev-01", "DeviceDecommissioned", "09:00:00", "{}"),
            again,
        ]);
        let registered = Some((at("10:00:00"), Via::Api));
        let labels = Some(Labels::new());
        assert_eq!(life, Life { registered, labels, position: Some(3), ..Life::default() });
    }

    #[test]
    fn credentials_change_nothing_that_is_shown_of_a_device() {
        let id = r#"{"credential_id":"00000000-0000-0000-0000-000000000007"}"#;
        let life = life([
            registered(r#"{"via":"api","name":"boiler"}"#),
            change("dev-01", "DeviceCredentialIssued", "09:00:00", id),
            change("dev-01", "DeviceCredentialRevoked", "09:00:00", id),
        ]);
        assert_eq!((life.name.as_deref(), life.decommissioned_at), (Some("boiler"), None));
        assert_eq!(life.position, Some(1));
    }

    /// A message that says this of the device itself.
    fn status(time: &str, flag: Flags) -> Event {
        Event { metadata: StoredMetadata::Telemetry { flags: flag }, ..reading("dev-01", time, "{}") }
    }

    /// An event of a command, by this actor.
    fn of_command(event_type: &str, actor: &str) -> Event {
        let metadata = StoredMetadata::Control(Json(format!(r#"{{"actor":"{actor}"}}"#)));
        Event { metadata, ..event("Command", "c1", event_type, "12:00:00", "{}") }
    }

    #[test]
    fn a_device_that_says_it_is_offline_is_so_until_its_next_message() {
        let (noon, said) = (reading("dev-01", "12:00:00", r#"{"t":1}"#), status("12:00:00", Flags::OFFLINE));
        let gone = readings([noon.clone(), said.clone()]);
        assert_eq!(gone.offline_at(), Some(at("12:00:01")), "of two at one moment the later one counts");
        assert_eq!((gone.messages, gone.last_seen_at), (2, Some(at("12:00:01"))));
        assert_eq!(gone.last.map(|last| last.position), Some(1), "a status is no reading");
        for sign in [noon, status("12:00:00", Flags::ONLINE)] {
            assert_eq!(readings([said.clone(), sign]).offline_at(), None);
        }
        let silent = readings([said]);
        assert_eq!((silent.last_seen_at, silent.last), (None, None), "to go is no sign of life");
    }

    #[test]
    fn a_device_that_answers_a_command_is_seen_and_nobody_else() {
        let answered = |event| {
            let mut fold = folded([event]);
            fold.lives.remove("t0/dev-01").map(|life| (life.answered_at, life.position))
        };
        for answer in command::Event::ANSWERS {
            assert_eq!(answered(of_command(answer, "device:dev-01")), Some((Some(at("12:00:01")), None)));
            assert_eq!(answered(of_command(answer, "dispatcher")), None, "{answer}");
        }
        assert_eq!(answered(of_command("CommandSent", "device:dev-01")), None);
    }

    #[test]
    fn a_threshold_stays_until_another_one_or_a_new_life() {
        let within = |seconds: &str| {
            change("dev-01", "DeviceUpdated", "09:00:00", &format!(r#"{{"online_within_s":{seconds}}}"#))
        };
        let born = || registered(r#"{"via":"api"}"#);
        let rename = || change("dev-01", "DeviceUpdated", "09:00:00", r#"{"name":"boiler"}"#);
        assert_eq!(life([born(), within("60"), rename()]).online_within, Some(OnlineWithin::Seconds(60)));
        assert_eq!(life([within("60"), within("null")]).online_within, Some(OnlineWithin::Usual));
        assert_eq!(life([within("60"), born()]).online_within, None);
    }

    #[test]
    fn what_happened_to_others_than_devices_is_none_of_its_business() {
        assert_eq!(folded([event("Command", "c1", "CommandRequested", "12:00:00", "{}")]), Fold::default());
    }

    #[test]
    fn an_event_that_makes_no_sense_is_poison_and_changes_nothing() {
        for poison in [
            registered(r#"{"via":"pigeon"}"#),
            change("dev-01", "DeviceExploded", "08:00:00", "{}"),
            event("Device", "dev-01", "DeviceRegistered", "08:00:00", r#"{"DeviceDecommissioned":{}}"#),
            event("Device", "dev-01", "DeviceRegistered", "08:00:00", "[1]"),
            registered(r#"{"via":"api","name":"a\u0000b"}"#),
            registered(r#"{"via":"api","labels":{"a":"\u0000"}}"#),
            event("Telemetry", "dev-01", "Gossip", "08:00:00", "{}"),
            Event { aggregate_id: "nobody".into(), ..reading("dev-01", "08:00:00", "{}") },
            reading("a b", "08:00:00", "{}"),
            Event { aggregate_id: "t 0/dev-01".into(), ..registered(r#"{"via":"api"}"#) },
        ] {
            let (fold, results) = given::<Model>([poison.clone()]);
            assert!(results[0].is_err(), "{poison:?}");
            assert_eq!(fold, Fold::default(), "{poison:?}");
        }
    }
}
