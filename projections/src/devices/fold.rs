//! Folds events into changes to devices. Pure.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use fleetlog_aggregates::device::{self, Labels, Via};
use fleetlog_aggregates::identity::{StreamId, Uid};
use fleetlog_aggregates::telemetry;
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
    pub(super) decommissioned_at: Option<DateTime<Utc>>,
    /// The last event that said something. `None` if only events came that change nothing here.
    pub(super) position: Option<Position>,
}

/// What telemetry events say about a device.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Readings {
    pub(super) messages: i64,
    pub(super) last_seen_at: DateTime<Utc>,
    pub(super) last_at: DateTime<Utc>,
    pub(super) last_position: Position,
    pub(super) last_payload: String,
    /// The last of them in the log, whatever their own times.
    pub(super) position: Position,
}

impl Fold {
    /// Adds an event. On an error nothing has changed.
    pub(super) fn add(&mut self, event: &Event) -> Result<(), Poison> {
        match &*event.aggregate_type {
            telemetry::AGGREGATE_TYPE => self.add_reading(event),
            device::Device::TYPE => self.add_change(event),
            _ => Ok(()),
        }
    }

    fn add_reading(&mut self, event: &Event) -> Result<(), Poison> {
        if &*event.event_type != telemetry::EVENT_TYPE {
            return Err(unknown(event));
        }
        if let Some(readings) = self.readings.get_mut(event.aggregate_id.as_str()) {
            readings.messages += 1;
            readings.last_seen_at = readings.last_seen_at.max(event.recorded_at);
            // An answer as of a moment folds a device's readings in the order of their own times.
            readings.position = readings.position.max(event.position);
            // Of two readings at the same time the one at the higher position wins: events come in that order.
            if event.occurred_at >= readings.last_at {
                readings.last_at = event.occurred_at;
                readings.last_position = event.position;
                self.payload_bytes += event.payload.0.len();
                self.payload_bytes -= readings.last_payload.len();
                readings.last_payload.clone_from(&event.payload.0);
            }
            return Ok(());
        }
        check_stream(event)?;
        let first = Readings {
            messages: 1,
            last_seen_at: event.recorded_at,
            last_at: event.occurred_at,
            last_position: event.position,
            last_payload: event.payload.0.clone(),
            position: event.position,
        };
        self.payload_bytes += first.last_payload.len();
        self.readings.insert(event.aggregate_id.clone(), first);
        Ok(())
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
                let registered = Some((event.occurred_at, via));
                *life = Life { registered, name, labels: Some(labels), ..Life::default() };
            }
            device::Event::DeviceUpdated { name, labels } => {
                life.name = name.or_else(|| life.name.take());
                life.labels = labels.or_else(|| life.labels.take());
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
        device::Event::DeviceUpdated { name, labels } => (name, labels.as_ref()),
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
        assert_eq!((last.last_payload.as_str(), last.last_position, last.messages), (r#"{"t":2}"#, 2, 3));
        assert_eq!((last.last_at, last.last_seen_at), (at("12:05:00"), at("12:05:01")));
        assert_eq!(last.position, 3, "the last one in the log");
    }

    #[test]
    fn of_two_readings_at_one_moment_the_later_position_is_the_last() {
        let last =
            readings([reading("dev-01", "12:00:00", "{}"), reading("dev-01", "12:00:00", r#"{"t":2}"#)]);
        assert_eq!((last.last_payload.as_str(), last.last_position), (r#"{"t":2}"#, 2));
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
