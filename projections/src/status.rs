//! How far each projection has got in each log, and what it could not fold.

use chrono::{DateTime, Utc};
use fleetlog_aggregates::words;
use fleetlog_event_log::database::parsed;
use fleetlog_event_log::{EventLog, LogId, Position, Result, TenantLog};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

/// How many parked streams a status names; `parked` counts all of them.
pub const MAX_PARKED_SHOWN: usize = 10;

/// One version of a projection.
#[derive(Debug, Clone, PartialEq)]
pub struct ProjectionStatus {
    /// The name of the projection, such as `devices`.
    pub projection: String,
    /// The version of its table: 1, 2, 3 …
    pub version: i32,
    /// Whether readers see this version.
    pub live: bool,
    /// The state of the projection.
    pub state: State,
    /// Why the last try failed, or what the projection waits for. The service's log has the whole cause.
    pub error: Option<String>,
    /// Since when the projection is in this state.
    pub since: DateTime<Utc>,
    /// How many streams are parked.
    pub parked: i64,
    /// The first of the parked streams, at most 10.
    pub parked_streams: Vec<ParkedStream>,
    /// Position, head and lag over all its logs.
    pub total: Progress,
    /// The projection's progress in each of its logs.
    pub logs: Vec<LogProgress>,
}

/// The state of a projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// The projection follows its logs.
    Following,
    /// The projection follows its logs, except for the streams that it has parked.
    Degraded,
    /// The last try failed, or events of some log cannot be read; the projection keeps trying, and the other logs go on.
    Failed,
    /// No node runs the projection.
    Stopped,
    /// A rebuild or rollback brings this version up to date.
    Building,
    /// The version was live before. It is kept for a rollback, and does not change.
    Kept,
}

words! { State { Following = "following", Degraded = "degraded", Failed = "failed", Stopped = "stopped",
Building = "building", Kept = "kept" } }

/// How far a projection has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// The last position that the projection has applied; in a total, the sum over all logs.
    pub position: Position,
    /// The last position of the log; in a total, the sum over all logs.
    pub head: Position,
    /// How many events the projection has not applied yet: `head` minus `position`.
    pub lag: i64,
}

/// How far a projection has got in one log.
#[derive(Debug, Clone, PartialEq)]
pub struct LogProgress {
    /// The number of the log.
    pub log_id: LogId,
    /// The tenant that owns the log.
    pub tenant: String,
    /// The lane of the log: `control` or `telemetry`.
    pub lane: String,
    /// How far it has got there.
    pub progress: Progress,
}

/// A stream that a projection leaves out from an event on.
#[derive(Debug, Clone, PartialEq)]
pub struct ParkedStream {
    /// The number of the log that it is in.
    pub log_id: LogId,
    /// The type of the stream's aggregate, such as `Device`.
    pub aggregate_type: String,
    /// The stream: the tenant and the name within it, such as `t0/dev-01`.
    pub aggregate_id: String,
    /// The position of the event that could not be folded.
    pub position: Position,
    /// Why its event could not be folded.
    pub error: String,
    /// When the stream was parked.
    pub parked_at: DateTime<Utc>,
}

/// Every projection, with its progress in one tenant's logs.
pub async fn list(log: &TenantLog) -> Result<Vec<ProjectionStatus>> {
    let tenant = Some(log.tenant().as_str());
    read(&mut *log.connection().await?, tenant).await
}

/// Every projection, with its progress in all logs.
pub async fn list_all(log: &EventLog) -> Result<Vec<ProjectionStatus>> {
    read(&mut *log.connection().await?, None).await
}

async fn read(connection: &mut PgConnection, tenant: Option<&str>) -> Result<Vec<ProjectionStatus>> {
    let mut projections = select_projections(connection).await?;
    for log in sqlx::query(LOGS).bind(tenant).fetch_all(&mut *connection).await? {
        let Some(projection) = find(&mut projections, &log)? else { continue };
        let (position, head): (Position, Position) = (log.try_get("position")?, log.try_get("head")?);
        let progress = Progress { position, head, lag: head - position };
        projection.total.position += position;
        projection.total.head += head;
        projection.total.lag += progress.lag;
        projection.logs.push(LogProgress {
            log_id: log.try_get("log_id")?,
            tenant: log.try_get("tenant")?,
            lane: log.try_get("lane")?,
            progress,
        });
    }
    for stream in
        sqlx::query(PARKED).bind(tenant).bind(MAX_PARKED_SHOWN as i64).fetch_all(&mut *connection).await?
    {
        let Some(projection) = find(&mut projections, &stream)? else { continue };
        projection.parked = stream.try_get("parked")?;
        projection.parked_streams.push(ParkedStream {
            log_id: stream.try_get("log_id")?,
            aggregate_type: stream.try_get("aggregate_type")?,
            aggregate_id: stream.try_get("aggregate_id")?,
            position: stream.try_get("position")?,
            error: stream.try_get("error")?,
            parked_at: stream.try_get("parked_at")?,
        });
    }
    Ok(projections)
}

/// A projection runs if its advisory lock is held: the lock cannot outlive the runner.
const PROJECTIONS: &str = "
    WITH running AS MATERIALIZED (
        SELECT (classid::bigint << 32) | objid::bigint AS lock FROM pg_locks
        WHERE locktype = 'advisory' AND objsubid = 1 AND granted
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    )
    SELECT projection, version, live, error, updated_at,
           CASE WHEN state IN ('building', 'kept') THEN state
                WHEN projection_lock(projection, version) IN (SELECT lock FROM running) THEN state
                ELSE 'stopped' END AS state
    FROM projections ORDER BY projection, version";

const LOGS: &str = "
    SELECT projection, version, log_id, tenant, lane, head, coalesce(position, 0) AS position
    FROM projections JOIN logs ON lane = ANY(lanes)
    LEFT JOIN projection_checkpoints USING (projection, version, log_id)
    WHERE $1::text IS NULL OR tenant = $1
    ORDER BY log_id";

const PARKED: &str = "
    SELECT * FROM (
        SELECT parked.*, count(*) OVER w AS parked, row_number() OVER (w ORDER BY parked_at, position) AS nth
        FROM parked_streams AS parked JOIN logs USING (log_id)
        WHERE $1::text IS NULL OR tenant = $1
        WINDOW w AS (PARTITION BY projection, version)
    ) AS numbered WHERE nth <= $2 ORDER BY nth";

async fn select_projections(connection: &mut PgConnection) -> Result<Vec<ProjectionStatus>> {
    let rows = sqlx::query(PROJECTIONS).fetch_all(connection).await?;
    let projections = rows.iter().map(|row| {
        Ok(ProjectionStatus {
            projection: row.try_get("projection")?,
            version: row.try_get("version")?,
            live: row.try_get("live")?,
            state: parsed(row, "state")?,
            error: row.try_get("error")?,
            since: row.try_get("updated_at")?,
            parked: 0,
            parked_streams: vec![],
            total: Progress::default(),
            logs: vec![],
        })
    });
    Ok(projections.collect::<Result<_, sqlx::Error>>()?)
}

/// The projection that a row belongs to.
fn find<'p>(
    projections: &'p mut [ProjectionStatus],
    row: &PgRow,
) -> Result<Option<&'p mut ProjectionStatus>, sqlx::Error> {
    let (name, version): (&str, i32) = (row.try_get("projection")?, row.try_get("version")?);
    Ok(projections
        .iter_mut()
        .find(|projection| projection.projection == name && projection.version == version))
}
