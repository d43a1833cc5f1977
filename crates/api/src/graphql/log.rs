//! Logs: their type and fields.

use async_graphql::Object;

use super::scalars::Long;
use crate::rest::logs;

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
