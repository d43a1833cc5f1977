//! Readings of devices.

use async_graphql::{Context, Object, Result};
use chrono::{DateTime, Utc};
use fleetlog_aggregates::identity::Uid;
use fleetlog_event_log::archived::holes::{Sought, Times};
use fleetlog_event_log::{Lane, read};

use super::asker::Asker;
use super::scalars::{Json, Long};
use crate::rest::Error;
use crate::rest::archived::ArchivedRange;
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

    /// Remarks that ingest made about the reading: `raw`, `late`, `clock_ahead`, `no_msg_id`, `no_ts`, `partial`, `online`, `offline`, `will`, `bad_ts`, `bad_msg_id`, `id_reused`, `repeated_key`, `no_metrics`, `sourced`.
    async fn flags(&self) -> Vec<&'static str> {
        self.0.flags.names().collect()
    }
}

/// Counts a device's readings, only when `totalCount` is asked for, and says what was removed, when `archived` is.
pub(super) struct ReadingsTotal {
    pub(super) uid: Uid,
    pub(super) from: Option<DateTime<Utc>>,
    pub(super) to: Option<DateTime<Utc>>,
    /// The times that the page speaks of: from the first on, and before the second.
    pub(super) occurred: Times,
    pub(super) ascending: bool,
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

    /// The ranges that this page passes over, which may have held readings of this device and were removed because they are over
    /// age, in the order of the page: at most 100.
    async fn archived(&self, context: &Context<'_>) -> Result<Vec<Removed>> {
        let asker = context.data::<Asker>()?;
        let (log, stream) = (asker.log(), asker.log().stream(&self.uid).to_string());
        let log_id = in_lane(log, Lane::Telemetry)?;
        let (occurred, descending) = (self.occurred, !self.ascending);
        let sought = Sought { occurred, stream: Some(&stream), descending, ..Sought::default() };
        let holes = log.holes(log_id, &sought).await.map_err(Error::from)?;
        Ok(ArchivedRange::shown_to(&asker.caller(), holes.ranges).into_iter().map(Removed).collect())
    }
}

/// Readings that were removed from the database because nobody keeps them any more: positions without a gap.
pub(super) struct Removed(pub(super) ArchivedRange);

#[Object(name = "ArchivedRange")]
impl Removed {
    /// The number of the log.
    async fn log_id(&self) -> i32 {
        self.0.log_id
    }

    /// The first position.
    async fn first_position(&self) -> Long {
        Long(self.0.first_position)
    }

    /// The last position.
    async fn last_position(&self) -> Long {
        Long(self.0.last_position)
    }

    /// When the earliest of the readings was recorded, by the database's clock.
    async fn recorded_from(&self) -> DateTime<Utc> {
        self.0.recorded_from
    }

    /// When the latest of the readings was recorded, by the database's clock.
    async fn recorded_to(&self) -> DateTime<Utc> {
        self.0.recorded_to
    }

    /// When the readings were removed.
    async fn removed_at(&self) -> DateTime<Utc> {
        self.0.removed_at
    }

    /// `archived`: they are in `file`, and whoever operates the service can bring them back. `removed`: no copy was kept.
    async fn state(&self) -> &str {
        self.0.state
    }

    /// The file's name in the archive. Null if no copy was kept.
    async fn file(&self) -> Option<&str> {
        self.0.file.as_deref()
    }

    /// Where the file lies. Null but for administrators of the platform.
    async fn location(&self) -> Option<&str> {
        self.0.location.as_deref()
    }
}
