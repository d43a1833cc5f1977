//! How events become changes to devices. Pure.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use cqrs_es::{Aggregate, DomainEvent};
use fleetlog_aggregates::device::{self, Labels, Via};
use fleetlog_aggregates::{identity, telemetry};
use fleetlog_event_log::{Event, Position};

use crate::read_model::Poison;

/// What a page changes, by device: `tenant/uid`. Ordered, so that two writers lock rows in one order.
#[derive(Debug, Default, PartialEq)]
pub struct Fold {
    pub(super) lives: BTreeMap<String, Life>,
    pub(super) readings: BTreeMap<String, Readings>,
}

/// What the control lane says of a device. What is absent stays as it was, unless it was registered anew.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Life {
    pub(super) registered: Option<(DateTime<Utc>, Via)>,
    pub(super) name: Option<String>,
    pub(super) labels: Option<Labels>,
    pub(super) decommissioned_at: Option<DateTime<Utc>>,
}

/// What the telemetry lane says of a device.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Readings {
    pub(super) messages: i64,
    pub(super) last_seen_at: DateTime<Utc>,
    pub(super) last_at: DateTime<Utc>,
    pub(super) last_position: Position,
    pub(super) last_payload: String,
}

impl Fold {
    /// Adds an event. Where it fails, nothing has changed.
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
            // Of two at one moment the higher position wins: events come in that order.
            if event.occurred_at >= readings.last_at {
                readings.last_at = event.occurred_at;
                readings.last_position = event.position;
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
        };
        self.readings.insert(event.aggregate_id.clone(), first);
        Ok(())
    }

    fn add_change(&mut self, event: &Event) -> Result<(), Poison> {
        check_stream(event)?;
        let change: device::Event = serde_json::from_str(&event.payload.0).map_err(Poison::new)?;
        if change.event_type() != event.event_type {
            return Err(unknown(event));
        }
        let life = self.lives.entry(event.aggregate_id.clone()).or_default();
        match change {
            device::Event::DeviceRegistered { via, name, labels } => {
                let registered = Some((event.occurred_at, via));
                *life = Life { registered, name, labels: Some(labels), decommissioned_at: None };
            }
            device::Event::DeviceUpdated { name, labels } => {
                life.name = name.or_else(|| life.name.take());
                life.labels = labels.or_else(|| life.labels.take());
            }
            device::Event::DeviceDecommissioned {} => life.decommissioned_at = Some(event.occurred_at),
        }
        Ok(())
    }
}

fn unknown(event: &Event) -> Poison {
    Poison::new(format_args!("{} has no event of type {}", event.aggregate_type, event.event_type))
}

fn check_stream(event: &Event) -> Result<(), Poison> {
    match identity::split_aggregate_id(&event.aggregate_id) {
        Some(_) => Ok(()),
        None => Err(Poison::new("the stream's id is not made of a tenant and a uid")),
    }
}
