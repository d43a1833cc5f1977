//! The types that reads return: events, and the logs themselves.

use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, Utc};
use cqrs_es::DomainEvent;
use fleetlog_aggregates::telemetry::Flags;
use fleetlog_aggregates::words;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::metadata::Actor;

/// A log's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct LogId(pub i32);

/// An event's number in its log: 1, 2, 3 … head, without a gap. 0 is before the first.
pub type Position = i64;

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The two kinds of log that every tenant has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Devices, commands and audit events: small, kept for ever.
    Control,
    /// Readings: large, may be retired by age.
    Telemetry,
}

words! { Lane { Control = "control", Telemetry = "telemetry" } }

impl Lane {
    /// The table that holds the lane's events.
    pub(crate) const fn table(self) -> &'static str {
        match self {
            Self::Control => "control_events",
            Self::Telemetry => "telemetry_events",
        }
    }
}

/// One log and its head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Log {
    /// The log's id.
    pub log_id: LogId,
    /// The tenant that owns the log.
    pub tenant: String,
    /// Which of the tenant's two lanes the log belongs to.
    pub lane: Lane,
    /// Which part of the lane the log is, for tenants too large for one log.
    pub shard: i32,
    /// The log's last position; 0 while the log is empty.
    pub head: Position,
    /// The last position that was ever removed; 0 if none was. Events after it are in the database.
    pub archived_until: Position,
}

/// JSON text as it is stored, byte for byte. Serializes as the JSON value, not as a string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Json(pub String);

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::from_str::<&RawValue>(&self.0).map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

/// An event's metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum StoredMetadata {
    /// A control event's actor, correlation and causation, as they are stored.
    Control(Json),
    /// A reading's flags.
    Telemetry {
        /// What ingest noticed about the reading, by name.
        flags: Flags,
    },
}

impl StoredMetadata {
    /// Who caused a control event. `None` for readings, and where no actor is stored.
    #[must_use]
    pub fn actor(&self) -> Option<Actor> {
        self.get("actor").map(|text| Actor::from(text.as_str()))
    }

    /// A control event's correlation id, such as the id of the request.
    #[must_use]
    pub fn correlation_id(&self) -> Option<String> {
        self.get("correlation_id")
    }

    /// The place of the event that a control event follows from, as `log:position`.
    #[must_use]
    pub fn causation_id(&self) -> Option<String> {
        self.get("causation_id")
    }

    fn get(&self, key: &str) -> Option<String> {
        let Self::Control(Json(text)) = self else { return None };
        let mut words: std::collections::HashMap<String, String> = serde_json::from_str(text).ok()?;
        words.remove(key)
    }
}

impl Event {
    /// What ingest noticed about a reading. A control event has none.
    #[must_use]
    pub fn flags(&self) -> Flags {
        if let StoredMetadata::Telemetry { flags } = self.metadata { flags } else { Flags::default() }
    }
}

/// One event, of either lane.
#[derive(Debug, Clone, Serialize)]
pub struct Event {
    /// The log that holds the event.
    pub log_id: LogId,
    /// The event's number in the log.
    pub position: Position,
    /// The type of the aggregate whose stream holds the event.
    pub aggregate_type: Cow<'static, str>,
    /// The stream's id: `tenant/…`.
    pub aggregate_id: String,
    /// The event's number in the stream.
    pub sequence: i64,
    /// The event's type, such as `DeviceRegistered`.
    pub event_type: Cow<'static, str>,
    /// The version of the payload's format.
    pub event_version: Cow<'static, str>,
    /// The payload, as it is stored.
    pub payload: Json,
    /// The event's actor, correlation and causation, or a reading's flags.
    pub metadata: StoredMetadata,
    /// When it happened, by the device's or caller's clock.
    pub occurred_at: DateTime<Utc>,
    /// When it was appended, by the database's clock.
    pub recorded_at: DateTime<Utc>,
    /// The device's message id; telemetry only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub msg_id: Option<String>,
}

impl Event {
    /// What happened, as a value of the aggregate's event type.
    ///
    /// # Errors
    ///
    /// [`Corrupt`] if the payload is no such value, or one of another type than the event names.
    pub fn decode<E: DomainEvent>(&self) -> Result<E, Corrupt> {
        decode(&self.aggregate_type, &self.event_type, &self.payload.0)
    }
}

/// An event that cannot be decoded, now or later.
#[derive(Debug, thiserror::Error)]
pub enum Corrupt {
    /// The payload has the form of no event of the aggregate.
    #[error(transparent)]
    Payload(#[from] serde_json::Error),
    /// The payload is an event of another type than the one it is stored under.
    #[error("{aggregate_type} has no event of type {event_type}")]
    Type {
        /// The kind of stream.
        aggregate_type: String,
        /// The type that the event is stored under.
        event_type: String,
    },
}

/// Decodes a payload, and checks that it is of the type that it is stored under.
pub(crate) fn decode<E: DomainEvent>(
    aggregate_type: &str,
    event_type: &str,
    payload: &str,
) -> Result<E, Corrupt> {
    let event: E = serde_json::from_str(payload)?;
    if event.event_type() != event_type {
        let (aggregate_type, event_type) = (aggregate_type.to_owned(), event_type.to_owned());
        return Err(Corrupt::Type { aggregate_type, event_type });
    }
    Ok(event)
}

#[cfg(test)]
mod tests {
    use fleetlog_aggregates::device;

    use super::*;

    fn decoded(event_type: &str, payload: &str) -> Result<device::Event, String> {
        decode("Device", event_type, payload).map_err(|corrupt| corrupt.to_string())
    }

    #[test]
    fn an_event_is_decoded_if_its_payload_is_of_its_type() {
        let payload = r#"{"DeviceDecommissioned":{}}"#;
        assert_eq!(decoded("DeviceDecommissioned", payload), Ok(device::Event::DeviceDecommissioned {}));
        let other = decoded("DeviceRegistered", payload);
        assert_eq!(other, Err("Device has no event of type DeviceRegistered".to_owned()));
        assert!(decoded("DeviceExploded", r#"{"DeviceExploded":{}}"#).is_err());
        assert!(decoded("DeviceDecommissioned", "[1]").is_err());
    }
}
