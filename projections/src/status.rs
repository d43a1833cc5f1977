//! How far each projection has got in each log, and what it could not fold.

use chrono::{DateTime, Utc};
use fleetlog_aggregates::words;
use fleetlog_event_log::database::parsed;
use fleetlog_event_log::{EventLog, LogId, Position, Result, TenantLog};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use crate::Handle;
use crate::rebuild::under_way::{Moving, moving};
use crate::rebuild::{Step, UnderWay};

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
    /// What the rebuild or rollback does that brings this version up to date, if one does.
    pub rebuild: Option<UnderWay>,
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
    /// This version has just gone live, and the node that runs the projection is about to turn to it.
    Starting,
    /// A rebuild or rollback brings this version up to date.
    Building,
    /// The rebuild or rollback that brings this version up to date was told to pause, or has no disk left.
    Paused,
    /// Rows of this version differ from the live one's. It waits until somebody accepts that or cancels the rebuild.
    Waiting,
    /// The version was live before. It is kept for a rollback, and does not change.
    Kept,
}

words! { State { Following = "following", Degraded = "degraded", Failed = "failed", Stopped = "stopped",
Starting = "starting", Building = "building", Paused = "paused", Waiting = "waiting", Kept = "kept" } }

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

impl Handle {
    /// Every projection, with its progress in one tenant's logs.
    pub async fn statuses(&self, log: &TenantLog) -> Result<Vec<ProjectionStatus>> {
        let statuses = read(&mut *log.connection().await?, Some(log.tenant().as_str())).await?;
        // Rebuilds are the platform's, so no tenant's connection shows them. They are read last: a version that went live meanwhile
        // was still being built.
        Ok(with_rebuilds(statuses, &moving(&mut *self.log().connection().await?).await?))
    }
}

/// Every projection, with its progress in all logs.
pub async fn list_all(log: &EventLog) -> Result<Vec<ProjectionStatus>> {
    let mut connection = log.connection().await?;
    let statuses = read(&mut connection, None).await?;
    Ok(with_rebuilds(statuses, &moving(&mut connection).await?))
}

/// Adds what the rebuilds do.
fn with_rebuilds(mut statuses: Vec<ProjectionStatus>, moving: &[Moving]) -> Vec<ProjectionStatus> {
    for status in &mut statuses {
        let is_of =
            |moving: &&Moving| (&moving.projection, moving.version) == (&status.projection, status.version);
        // A version may have been rebuilt, and be on its way back.
        let of: Vec<_> = moving.iter().filter(is_of).collect();
        if let Some((now, since)) = of.iter().find_map(|moving| Some((moving.under_way?, moving.since))) {
            (status.rebuild, status.since) = (Some(now), since);
        }
        status.state = match (status.state, status.rebuild) {
            (State::Building, Some(UnderWay { paused: true, .. })) => State::Paused,
            (State::Building, Some(UnderWay { step: Step::Waiting, .. })) => State::Waiting,
            (State::Stopped, _) if status.live && !of.is_empty() => State::Starting,
            (state, _) => state,
        };
    }
    statuses
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

/// A projection runs if its advisory lock is held: the lock cannot outlive the runner. One that still holds the lock of the version
/// that was live before is about to turn to the live one.
const PROJECTIONS: &str = "
    WITH running AS MATERIALIZED (
        SELECT (classid::bigint << 32) | objid::bigint AS lock FROM pg_locks
        WHERE locktype = 'advisory' AND objsubid = 1 AND granted
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    )
    SELECT projection, version, live, error, updated_at,
           CASE WHEN state IN ('building', 'kept') THEN state
                WHEN projection_lock(projection, version) IN (SELECT lock FROM running) THEN state
                WHEN live AND EXISTS (SELECT FROM projections AS other
                                      WHERE other.projection = projections.projection AND other.state = 'kept'
                                        AND projection_lock(other.projection, other.version) IN (SELECT lock FROM running))
                    THEN 'starting'
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
            rebuild: None,
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
