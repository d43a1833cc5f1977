//! Events, as they are on the record.

use std::sync::Arc;

use async_graphql::Object;
use chrono::{DateTime, Utc};
use fleetlog_aggregates::identity::Uid;
use fleetlog_event_log::event::Json as StoredJson;
use fleetlog_live::Entry;

use super::scalars::{Json, Long};

/// An event, as it is on the record.
pub(super) struct Event(pub(super) Arc<Entry>);

#[Object]
impl Event {
    /// The number of the event's log.
    async fn log_id(&self) -> i32 {
        self.0.event.log_id.0
    }

    /// The event's position in its log: 1, 2, 3 … without a gap.
    async fn position(&self) -> Long {
        Long(self.0.event.position)
    }

    /// The type of the aggregate that the event's stream belongs to, such as `Device`.
    async fn aggregate_type(&self) -> &str {
        &self.0.event.aggregate_type
    }

    /// The event's stream: the tenant, and the name within the tenant.
    async fn aggregate_id(&self) -> &str {
        &self.0.event.aggregate_id
    }

    /// The uid of the device that the event is about. Null if it is about none.
    async fn device_uid(&self) -> Option<&str> {
        self.0.device().map(Uid::as_str)
    }

    /// The event's number in its stream: 1, 2, 3 …
    async fn sequence(&self) -> Long {
        Long(self.0.event.sequence)
    }

    /// What happened: the name of the event, such as `DeviceRegistered`.
    async fn event_type(&self) -> &str {
        &self.0.event.event_type
    }

    /// The version of the payload's format.
    async fn event_version(&self) -> &str {
        &self.0.event.event_version
    }

    /// The event's data, as it is stored.
    async fn payload(&self) -> Json {
        Json(self.0.event.payload.clone())
    }

    /// The event's actor and cause: `actor`, `correlation_id`, `causation_id`; for a reading, its `flags`.
    async fn metadata(&self) -> Json {
        Json(StoredJson(serde_json::json!(self.0.event.metadata).to_string()))
    }

    /// When the event happened, by the device's or caller's clock.
    async fn occurred_at(&self) -> DateTime<Utc> {
        self.0.event.occurred_at
    }

    /// When the event was recorded, by the database's clock.
    async fn recorded_at(&self) -> DateTime<Utc> {
        self.0.event.recorded_at
    }

    /// The device's message id. Null but for readings.
    async fn msg_id(&self) -> Option<&str> {
        self.0.event.msg_id.as_deref()
    }
}
