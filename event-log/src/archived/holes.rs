//! What a read passes over because it was removed, so that its answer can say so: never a silent hole.

use chrono::{DateTime, Utc};
use fleetlog_aggregates::device::Device;
use fleetlog_aggregates::telemetry::MAX_AHEAD;
use sqlx::{FromRow, Row};

use cqrs_es::Aggregate;

use super::{Archived, COLUMNS};
use crate::scope::Scope;
use crate::{EventLog, LogId, Position, Result, TenantLog};

/// The most ranges that one answer names: about two years of weeks.
pub const TOLD: usize = 100;

/// A span of time: from the first moment on, and before the second. `None`: without an end.
pub type Times = (Option<DateTime<Utc>>, Option<DateTime<Utc>>);

/// What a read asked for, in a log's positions and times.
#[derive(Debug, Clone, Copy)]
pub struct Sought<'q> {
    /// The positions that it passed over: after the first, and up to the second.
    pub positions: (Position, Position),
    /// When what it asked for was recorded.
    pub recorded: Times,
    /// When what it asked for occurred.
    pub occurred: Times,
    /// Only of this device's stream, such as `t0/dev-01`.
    pub stream: Option<&'q str>,
    /// The newest range first.
    pub descending: bool,
}

impl Default for Sought<'_> {
    fn default() -> Self {
        Self {
            positions: (0, Position::MAX),
            recorded: (None, None),
            occurred: (None, None),
            stream: None,
            descending: false,
        }
    }
}

/// The ranges that a read passed over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holes {
    /// The first of them in the order of the read, at most [`TOLD`].
    pub ranges: Vec<Archived>,
    /// Whether there are more.
    pub has_more: bool,
}

impl TenantLog {
    /// The ranges of a log that are not in the database and may hold what a read asked for. A range holds nothing of a device
    /// that was registered after it. A node that has not heard of a removal yet misses it for half a second.
    pub async fn holes(&self, log_id: LogId, sought: &Sought<'_>) -> Result<Holes> {
        let known = self.heads().log(log_id);
        if known.is_none_or(|log| log.archived_until <= sought.positions.0) {
            return Ok(Holes::default());
        }
        self.look_for_holes(log_id, sought).await
    }
}

impl<S: Scope> EventLog<S> {
    async fn look_for_holes(&self, log_id: LogId, sought: &Sought<'_>) -> Result<Holes> {
        let (after, until) = sought.positions;
        let sql = format!(
            "SELECT {COLUMNS} FROM archived_ranges
             WHERE log_id = $1 AND restored_at IS NULL AND last_position > $2 AND first_position <= $3
               AND ($4::timestamptz IS NULL OR last_recorded_at >= $4)
               AND ($5::timestamptz IS NULL OR first_recorded_at < $5)
               AND ($6::timestamptz IS NULL OR coalesce(last_occurred_at, last_recorded_at + $9) >= $6)
               AND ($7::timestamptz IS NULL OR coalesce(first_occurred_at < $7, true))
               AND ($8::text IS NULL OR last_recorded_at >= coalesce(
                   (SELECT recorded_at FROM control_events
                    WHERE aggregate_type = $10 AND aggregate_id = $8 AND sequence = 1), '-infinity'))
             ORDER BY first_position {} LIMIT $11",
            if sought.descending { "DESC" } else { "ASC" }
        );
        let query = sqlx::query(&sql).bind(log_id).bind(after).bind(until);
        let query = query.bind(sought.recorded.0).bind(sought.recorded.1);
        let query = query.bind(sought.occurred.0).bind(sought.occurred.1).bind(sought.stream);
        // A reading is recorded at most `MAX_AHEAD` before it occurred.
        let query = query.bind(MAX_AHEAD).bind(Device::TYPE).bind(TOLD as i64 + 1);
        let rows = self.fetch(query).await?;
        let mut ranges: Vec<_> = rows.iter().map(Archived::from_row).collect::<Result<_, _>>()?;
        let has_more = ranges.len() > TOLD;
        ranges.truncate(TOLD);
        Ok(Holes { ranges, has_more })
    }

    /// The range that holds a position, if it is not in the database.
    pub async fn hole_at(&self, log_id: LogId, position: Position) -> Result<Option<Archived>> {
        let sought = Sought { positions: (position - 1, position), ..Sought::default() };
        // Not found in the database, so it is worth to look whatever this node has heard.
        Ok(self.look_for_holes(log_id, &sought).await?.ranges.pop())
    }

    /// The last position of a log that is not in the database because it was removed; 0 if there is none.
    pub(crate) async fn missing_until(&self, log_id: LogId, archived_until: Position) -> Result<Position> {
        if archived_until == 0 {
            return Ok(0);
        }
        let last = sqlx::query(
            "SELECT last_position FROM archived_ranges WHERE log_id = $1 AND restored_at IS NULL
             ORDER BY first_position DESC LIMIT 1",
        );
        let rows = self.fetch(last.bind(log_id)).await?;
        Ok(rows.first().map_or(Ok(0), |row| row.try_get("last_position"))?)
    }
}
