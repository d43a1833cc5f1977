//! How far the proof of the logs is.

use async_graphql::Object;
use chrono::{DateTime, Utc};

use super::scalars::Long;
use crate::rest::audit;

/// How far the proof of a log is.
pub(super) struct LogProof(pub(super) audit::LogProof);

#[Object]
impl LogProof {
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

    /// The number of events that the log's Merkle tree has.
    async fn tree_size(&self) -> Long {
        Long(self.0.tree_size)
    }

    /// The number of events that the newest checkpoint proves; null before the first checkpoint.
    async fn checkpoint_size(&self) -> Option<Long> {
        self.0.checkpoint_size.map(Long)
    }

    /// When the newest checkpoint was signed, by the database's clock; null before the first checkpoint.
    async fn checkpoint_at(&self) -> Option<DateTime<Utc>> {
        self.0.checkpoint_at
    }

    /// The number of events that no checkpoint proves yet.
    async fn unproved(&self) -> Long {
        Long(self.0.unproved)
    }
}
