//! What a webhook is, and which events are sent to it.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use fleetlog_aggregates::device::Labels;
use fleetlog_aggregates::identity::Uid;
use fleetlog_event_log::{Lane, LogId, Position};
use fleetlog_live::Selection;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The most webhooks of a tenant.
pub const MAX_WEBHOOKS: i64 = 20;
/// The most events of one request.
pub const MAX_BATCH: i32 = 1000;
/// How many events a request has at most, unless the webhook says otherwise.
pub const BATCH: i32 = 100;

/// Which events are sent: those that pass every part that is given, as for a stream. Its JSON is stored for ever: only add to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// Only what is about these devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<BTreeSet<Uid>>,
    /// Only what is about devices with all of these labels, as they are when it is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<Labels>,
    /// Only readings that have one of these metrics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<BTreeSet<String>>,
    /// Only events of these types.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#type: Option<BTreeSet<String>>,
    /// Only events of streams of these types.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aggregate_type: Option<BTreeSet<String>>,
    /// Only one of the two logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// Only what this actor caused, and the commands that it requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Only events of this command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmd_id: Option<Uuid>,
    /// Only events of this batch of commands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<Uuid>,
}

impl Filter {
    /// What is followed of the logs. Labels are looked at apart from it.
    #[must_use]
    pub fn selection(&self) -> Selection {
        Selection {
            devices: self.device.clone(),
            aggregate_types: self.aggregate_type.clone(),
            event_types: self.r#type.clone(),
            metrics: self.metric.clone(),
            actor: self.actor.clone(),
            cmd_id: self.cmd_id,
            batch_id: self.batch_id,
        }
    }
}

/// Whether events are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// They are.
    Active,
    /// Somebody has paused the webhook.
    Paused,
    /// It took nothing for too long, or wants no more.
    Suspended,
}

fleetlog_aggregates::words! { State { Active = "active", Paused = "paused", Suspended = "suspended" } }

/// A webhook, as its tenant sees it: without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Its id.
    pub webhook_id: Uuid,
    /// Where events are sent.
    pub url: String,
    /// What it is for, for people.
    pub description: Option<String>,
    /// Which events are sent.
    pub follow: Filter,
    /// How many events a request has at most.
    pub max_batch: i32,
    /// Whether events are sent.
    pub state: State,
    /// Why it is suspended.
    pub reason: Option<String>,
    /// Until when requests are also signed with the secret before.
    pub previous_until: Option<DateTime<Utc>>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// Who created it.
    pub created_by: String,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
    /// How far it has come in each log.
    pub places: Vec<Place>,
}

/// How far a webhook has come in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The log.
    pub log_id: LogId,
    /// The kind of log.
    pub lane: Lane,
    /// The position up to which everything was taken, or is not for it.
    pub position: Position,
    /// The last position of the log.
    pub head: Position,
    /// How often the next batch was refused.
    pub failures: i32,
    /// Since when it is refused.
    pub failing_since: Option<DateTime<Utc>>,
    /// When it is sent again.
    pub next_attempt_at: Option<DateTime<Utc>>,
}
