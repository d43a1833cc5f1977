//! Logs, and places in them: their types and fields.

use async_graphql::{Context, Object, Result};
use fleetlog_event_log::{Lane, Position};

use super::asker::Asker;
use super::scalars::Long;
use crate::rest::logs;
use crate::rest::parameters::LogPosition;

/// Where an event is. With `asOfPosition: "<logId>:<position>"` an answer shows what there was once it was recorded.
pub(super) struct EventPosition(LogPosition);

impl EventPosition {
    /// A position in the log of a lane of the caller's tenant, if it is known.
    pub(super) fn of(context: &Context<'_>, lane: Lane, position: Option<Position>) -> Result<Option<Self>> {
        let log = context.data::<Asker>()?.log();
        Ok(logs::position_in(log, lane, position).map(Self))
    }
}

#[Object]
impl EventPosition {
    /// The number of the event's log.
    async fn log_id(&self) -> i32 {
        self.0.log_id.0
    }

    /// The event's position in its log.
    async fn position(&self) -> Long {
        Long(self.0.position)
    }
}

/// A log: one gapless sequence of events.
pub(super) struct Log(pub(super) logs::Log);

#[Object]
impl Log {
    /// The number of the log.
    async fn log_id(&self) -> i32 {
        self.0.log_id
    }

    /// `control`: devices, commands, users' acts. `telemetry`: readings.
    async fn lane(&self) -> &'static str {
        self.0.lane
    }

    /// The log's shard: its number within the lane, for tenants too large for one log.
    async fn shard(&self) -> i32 {
        self.0.shard
    }

    /// The position of the log's last event; 0 while the log is empty.
    async fn head(&self) -> Long {
        Long(self.0.head)
    }

    /// The position from which on every event is in the database. 1: no event was removed.
    async fn begins(&self) -> Long {
        Long(self.0.begins)
    }
}
