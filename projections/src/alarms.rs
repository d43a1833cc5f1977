//! `alarms`: every alarm as its events left it, and the rules that raise them.
//!
//! - `draft`: what some events say about one alarm; serves the table, and the answer that must not be stale
//! - `fold`, `model`: what a page of events changes, and how the changes are written
//! - `compared`: the same rows computed from the log in SQL
//! - `queries`: list and count
//! - `history`: one alarm from the log itself: its state, and every step to it
//! - `rules`: the queries over rules

mod compared;
mod draft;
mod fold;
mod history;
mod model;
mod queries;
mod rules;

use chrono::{DateTime, Utc};
use fleetlog_aggregates::alarm::{Status, Why};
use fleetlog_aggregates::alarm_rule::Severity;
use fleetlog_aggregates::identity::{RuleName, Uid};
use fleetlog_event_log::Position;
use uuid::Uuid;

pub use history::{Step, after_each, histories, history};
pub use model::Model;
pub use queries::{Cursor, Error, Order, Query, State, count, get, list, of_devices};
pub use rules::{Rule, rules};

/// An alarm, and what has become of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Alarm {
    /// The alarm's id, which follows from the event that caused it.
    pub alarm_id: Uuid,
    /// The rule that raised it.
    pub rule: RuleName,
    /// The version of the rule.
    pub rule_version: i32,
    /// The rule's title when it raised the alarm.
    pub title: String,
    /// How bad it is.
    pub severity: Severity,
    /// The device.
    pub device_uid: Uid,
    /// The kind of condition: `threshold`, `rate`, `silent` or `command_failed`.
    pub condition: String,
    /// The metric, if it is about one.
    pub metric: Option<String>,
    /// The command type, if it is about one.
    pub cmd: Option<String>,
    /// The metric's value that raised it; of a rate, by how much it had changed.
    pub value: Option<f64>,
    /// When the condition began to hold: of a silence, when the device was last heard.
    pub since: DateTime<Utc>,
    /// The place of the event with which it began: `log:position`.
    pub cause: String,
    /// When it was raised, by the server's clock.
    pub raised_at: DateTime<Utc>,
    /// The state: `raised`, `acknowledged` or `cleared`.
    pub status: Status,
    /// When it was acknowledged.
    pub acknowledged_at: Option<DateTime<Utc>>,
    /// Who acknowledged it: a user's id, or `key:` and an API key's id.
    pub acknowledged_by: Option<String>,
    /// What they said.
    pub acknowledge_note: Option<String>,
    /// When it was cleared.
    pub cleared_at: Option<DateTime<Utc>>,
    /// Why it was cleared.
    pub cleared_because: Option<Why>,
    /// Who cleared it, if a person or a program did.
    pub cleared_by: Option<String>,
    /// What they said.
    pub clear_note: Option<String>,
    /// The metric's value that cleared it; of a rate, by how much it had changed.
    pub clear_value: Option<f64>,
    /// The position in the control log at which it was raised.
    pub position: Position,
    /// The position of its last event in the control log.
    pub last_position: Position,
}
