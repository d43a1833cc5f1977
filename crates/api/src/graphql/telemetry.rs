//! Readings of devices.

use async_graphql::Object;
use chrono::{DateTime, Utc};
use fleetlog_event_log::read;

use super::scalars::{Json, Long};

/// A reading, as it is on the record.
pub(super) struct Reading(pub(super) read::Reading);

#[Object]
impl Reading {
    /// What the device sent.
    async fn payload(&self) -> Json {
        Json(self.0.payload.clone())
    }

    /// When the reading was taken, by the device's clock.
    async fn ts(&self) -> DateTime<Utc> {
        self.0.occurred_at
    }

    /// The device's message id, or the id that the server made for the message.
    async fn msg_id(&self) -> &str {
        &self.0.msg_id
    }

    /// When the reading was recorded, by the server's clock.
    async fn recorded_at(&self) -> DateTime<Utc> {
        self.0.recorded_at
    }

    /// The reading's position in the telemetry log.
    async fn position(&self) -> Long {
        Long(self.0.position)
    }

    /// Remarks that ingest made about the reading: `raw`, `late`, `clock_ahead`, `no_msg_id`, `no_ts`, `partial`.
    async fn flags(&self) -> Vec<&'static str> {
        self.0.flags.names().collect()
    }
}
