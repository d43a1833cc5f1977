//! What rebuilds look like to people: progress, ranges, rows that differ.

use fleetlog_event_log::database::parsed;
use fleetlog_event_log::event::Json;
use fleetlog_event_log::{EventLog, Result};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row};
use uuid::Uuid;

use super::{Rebuild, Step};
use crate::status::Progress;

/// What the comparison of one range of keys found.
#[derive(Debug, Clone, PartialEq)]
pub struct RangeReport {
    /// What the rows are, such as `devices`.
    pub rows_of: String,
    /// The number of the range, from 0.
    pub range: i32,
    /// How many ranges there are.
    pub ranges: i32,
    /// How many rows the live version has.
    pub live_rows: i64,
    /// How many rows the new version has.
    pub rebuilt_rows: i64,
    /// The sum of the hashes of the live version's rows, without sums of floating-point numbers.
    pub live_checksum: String,
    /// The same of the new version's rows.
    pub rebuilt_checksum: String,
    /// How many rows differ.
    pub differences: i64,
}

/// A row that differs between two versions.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredDifference {
    /// Its place in the list, to go on after.
    pub nth: i64,
    /// What the row is, such as `devices`.
    pub rows_of: String,
    /// The columns that name the row, as a JSON object.
    pub key: Json,
    /// The other columns in the live version. `None`: it has no such row.
    pub live: Option<Json>,
    /// The other columns in the new version. `None`: it has no such row.
    pub rebuilt: Option<Json>,
}

/// The projection's last rebuild or rollback.
pub(super) async fn last(log: &EventLog, projection: &str) -> Result<Option<Rebuild>> {
    Ok(sqlx::query_as(LAST).bind(projection).fetch_optional(log.pool()).await?)
}

/// What the comparison found, range by range.
pub(super) async fn ranges(log: &EventLog, rebuild_id: Uuid) -> Result<Vec<RangeReport>> {
    let rows = sqlx::query_as(
        "SELECT rows_of, range, ranges, live_rows, rebuilt_rows, live_checksum::text AS live_checksum,
                rebuilt_checksum::text AS rebuilt_checksum, differences
         FROM projection_rebuild_ranges WHERE rebuild_id = $1 ORDER BY rows_of, range",
    );
    Ok(rows.bind(rebuild_id).fetch_all(log.pool()).await?)
}

/// The rows that differ, after a place in the list, at most `limit`.
pub(super) async fn differences(
    log: &EventLog,
    rebuild_id: Uuid,
    after: i64,
    limit: i64,
) -> Result<Vec<StoredDifference>> {
    let rows = sqlx::query_as(
        "SELECT nth, rows_of, key::text AS key, live::text AS live, rebuilt::text AS rebuilt
         FROM projection_rebuild_differences WHERE rebuild_id = $1 AND nth > $2 ORDER BY nth LIMIT $3",
    );
    Ok(rows.bind(rebuild_id).bind(after).bind(limit).fetch_all(log.pool()).await?)
}

/// While slices are built, a log counts for the mean of its slices.
const LAST: &str = "
    SELECT rebuild.*,
           EXISTS (SELECT FROM pg_locks, hashtextextended('fleetlog rebuild ' || projection, 0) AS key
                   WHERE locktype = 'advisory' AND objsubid = 1 AND granted
                     AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                     AND (classid::bigint << 32) | objid::bigint = key) AS running,
           coalesce((SELECT sum(head) FROM logs JOIN projections AS version ON lane = ANY(lanes)
                     WHERE version.projection = rebuild.projection AND version.version = rebuild.version), 0)::bigint
               AS head,
           (coalesce((SELECT sum(position / parts) FROM projection_rebuild_parts AS part
                      WHERE part.rebuild_id = rebuild.rebuild_id), 0)
            + coalesce((SELECT sum(position) FROM projection_checkpoints AS checkpoint
                        WHERE checkpoint.projection = rebuild.projection
                          AND checkpoint.version = rebuild.version), 0))::bigint AS position,
           ranges_compared, range_rate
    FROM projection_rebuilds AS rebuild CROSS JOIN LATERAL (
        SELECT count(*) AS ranges_compared,
               (count(*) / nullif(extract(epoch FROM max(compared_at) - rebuild.comparing_since), 0))::float8 AS range_rate
        FROM projection_rebuild_ranges AS range WHERE range.rebuild_id = rebuild.rebuild_id
    ) AS compared
    WHERE projection = $1 ORDER BY requested_at DESC LIMIT 1";

impl FromRow<'_, PgRow> for Rebuild {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        let (position, head): (i64, i64) = (row.try_get("position")?, row.try_get("head")?);
        let (step, paused): (Step, bool) = (parsed(row, "step")?, row.try_get("paused")?);
        let rate = |column, is_in: &[Step]| {
            if paused || !is_in.contains(&step) { Ok(None) } else { row.try_get(column) }
        };
        Ok(Self {
            rebuild_id: row.try_get("rebuild_id")?,
            projection: row.try_get("projection")?,
            kind: parsed(row, "kind")?,
            version: row.try_get("version")?,
            from_version: row.try_get("from_version")?,
            requested_by: row.try_get("requested_by")?,
            requested_at: row.try_get("requested_at")?,
            step,
            since: row.try_get("step_since")?,
            paused,
            running: row.try_get("running")?,
            accepted: row.try_get("accepted")?,
            keep_s: row.try_get("keep_s")?,
            events: Progress { position, head, lag: (head - position).max(0) },
            rate: rate("rate", &[Step::Building, Step::CatchingUp])?,
            ranges_compared: row.try_get("ranges_compared")?,
            ranges: row.try_get("ranges")?,
            range_rate: rate("range_rate", &[Step::Comparing])?,
            differences: row.try_get("differences")?,
            error: row.try_get("error")?,
            ended_at: row.try_get("ended_at")?,
            kept_version: row.try_get("kept_version")?,
            kept_until: row.try_get("kept_until")?,
        })
    }
}

impl FromRow<'_, PgRow> for RangeReport {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            rows_of: row.try_get("rows_of")?,
            range: row.try_get("range")?,
            ranges: row.try_get("ranges")?,
            live_rows: row.try_get("live_rows")?,
            rebuilt_rows: row.try_get("rebuilt_rows")?,
            live_checksum: row.try_get("live_checksum")?,
            rebuilt_checksum: row.try_get("rebuilt_checksum")?,
            differences: row.try_get("differences")?,
        })
    }
}

impl FromRow<'_, PgRow> for StoredDifference {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            nth: row.try_get("nth")?,
            rows_of: row.try_get("rows_of")?,
            key: row.try_get("key")?,
            live: row.try_get("live")?,
            rebuilt: row.try_get("rebuilt")?,
        })
    }
}
