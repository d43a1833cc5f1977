//! What is read back from the log: events, and the logs themselves.

use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, Utc};
use fleetlog_aggregates::telemetry::Flags;
use fleetlog_aggregates::words;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// Which log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct LogId(pub i32);

/// An event's number in its log: 1, 2, 3 … head, without a hole. 0 is before the first.
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
    /// Devices, commands, what users did: small, kept for ever.
    Control,
    /// Readings: large, may be retired by age.
    Telemetry,
}

words! { Lane { Control = "control", Telemetry = "telemetry" } }

/// One log and how far it has got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Log {
    /// Its number.
    pub log_id: LogId,
    /// Whose it is.
    pub tenant: String,
    /// Which of the tenant's two.
    pub lane: Lane,
    /// Which part of the lane, for tenants too large for one log.
    pub shard: i32,
    /// Its last position; 0 while it is empty.
    pub head: Position,
}

/// JSON text as it is stored, byte for byte. Serializes as the value that it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Json(pub String);

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::from_str::<&RawValue>(&self.0).map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

/// What an event's metadata holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Metadata {
    /// A control event's: actor, correlation and causation, as they are stored.
    Control(Json),
    /// A reading's: what ingest noticed about it.
    Telemetry {
        /// The words for its flags.
        flags: Flags,
    },
}

impl Metadata {
    /// A word of a control event's metadata.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<String> {
        let Self::Control(Json(text)) = self else { return None };
        let mut words: std::collections::HashMap<String, String> = serde_json::from_str(text).ok()?;
        words.remove(key)
    }
}

/// One event, of either lane.
#[derive(Debug, Clone, Serialize)]
pub struct Event {
    /// The log it is in.
    pub log_id: LogId,
    /// Its number there.
    pub position: Position,
    /// The kind of stream it belongs to.
    pub aggregate_type: Cow<'static, str>,
    /// The stream: `tenant/…`.
    pub aggregate_id: String,
    /// Its place in the stream.
    pub sequence: i64,
    /// What happened.
    pub event_type: Cow<'static, str>,
    /// The version of the payload's form.
    pub event_version: Cow<'static, str>,
    /// The payload, as it is stored.
    pub payload: Json,
    /// Who and why.
    pub metadata: Metadata,
    /// When it happened, by the device's or caller's clock.
    pub occurred_at: DateTime<Utc>,
    /// When it was appended, by the database's clock.
    pub recorded_at: DateTime<Utc>,
    /// The device's message id; telemetry only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub msg_id: Option<String>,
}
