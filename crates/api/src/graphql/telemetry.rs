//! Readings of devices.

use async_graphql::{Context, Object, Result};
use chrono::{DateTime, Utc};
use fleetlog_aggregates::identity::Uid;
use fleetlog_event_log::{Lane, read};

use super::request::Asker;
use super::scalars::{Json, Long};
use crate::rest::Error;
use crate::rest::logs::in_lane;
use crate::rest::telemetry::shown_since;

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

/// Counts a device's readings, only when `totalCount` is asked for.
pub(super) struct ReadingsTotal {
    pub(super) uid: Uid,
    pub(super) from: Option<DateTime<Utc>>,
    pub(super) to: Option<DateTime<Utc>>,
}

#[Object]
impl ReadingsTotal {
    /// The number of items on all pages, up to 100,000: that number also stands for more.
    async fn total_count(&self, context: &Context<'_>) -> Result<Long> {
        let log = context.data::<Asker>()?.log();
        let log_id = in_lane(log, Lane::Telemetry)?;
        // `None` sorts below every moment, so `max` keeps the given one.
        let from = self.from.max(shown_since(log));
        let span = read::Span { from, to: self.to, ..read::Span::default() };
        let total = log.readings_total(log_id, &self.uid, span).await.map_err(Error::from)?;
        Ok(Long(total.count))
    }
}
