//! A batch as a request: its id and its body.

use chrono::{DateTime, SecondsFormat, Utc};
use fleetlog_event_log::archived::Archived;
use fleetlog_event_log::{LogId, Position};
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use crate::reader::{Batch, Item};

/// Readings that the webhook follows, and that are not in the batch because nobody keeps them any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Missing {
    pub(crate) first_position: Position,
    pub(crate) last_position: Position,
    /// `over_age`: their tenant keeps them no longer. `archived`: they are in `file`. `removed`: no copy was kept.
    pub(crate) state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) removed_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<String>,
}

impl From<Archived> for Missing {
    fn from(range: Archived) -> Self {
        Self {
            first_position: range.first,
            last_position: range.last,
            state: if range.copy.is_some() { "archived" } else { "removed" },
            removed_at: Some(range.removed_at),
            file: range.copy.map(|copy| copy.file().to_owned()),
        }
    }
}

/// Identifies a batch: the same webhook, revision and positions give the same id, whenever and by whomever it is sent.
pub(crate) fn delivery_id(
    webhook_id: Uuid,
    revision: i32,
    log_id: LogId,
    (after, last): (Position, Position),
) -> Uuid {
    Uuid::new_v5(&webhook_id, format!("{revision} {log_id} {after} {last}").as_bytes())
}

/// The header `webhook-id` of a delivery.
#[must_use]
pub(crate) fn webhook_id(delivery_id: Uuid) -> String {
    format!("msg_{}", delivery_id.simple())
}

/// The body of a batch. Events are as `GET /events` gives them, byte for byte.
pub(crate) fn body(log_id: LogId, batch: &Batch, created_at: DateTime<Utc>) -> Vec<u8> {
    let head = format!(
        r#"{{"type":"fleetlog.events","timestamp":"{}","data":{{"log_id":{log_id},"after":{},"last":{},"events":["#,
        moment(created_at),
        batch.after,
        batch.last
    );
    let mut body = Vec::with_capacity(batch.bytes + head.len() + 100);
    body.extend_from_slice(head.as_bytes());
    let mut missing = vec![];
    let mut is_first = true;
    for item in &batch.items {
        match item {
            Item::Event(entry) => {
                if !std::mem::replace(&mut is_first, false) {
                    body.push(b',');
                }
                body.extend_from_slice(&entry.text());
            }
            Item::Missing(range) => missing.push(range),
        }
    }
    body.push(b']');
    if !missing.is_empty() {
        body.extend_from_slice(format!(r#","missing":{}"#, json!(missing)).as_bytes());
    }
    body.extend_from_slice(b"}}");
    body
}

/// The body of a test.
pub(crate) fn test(webhook_id: Uuid, at: DateTime<Utc>) -> Vec<u8> {
    let body = json!({
        "type": "fleetlog.test",
        "timestamp": moment(at),
        "data": { "webhook_id": webhook_id },
    });
    body.to_string().into_bytes()
}

fn moment(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}
