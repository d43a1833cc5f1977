//! Projections and their progress, as REST shows them.

use chrono::{DateTime, Utc};
use fleetlog_event_log::Position;
use fleetlog_projections::status;
use serde::Serialize;
use utoipa::ToSchema;

/// One version of a projection.
#[derive(Serialize, ToSchema)]
pub(in crate::rest) struct ProjectionStatus {
    /// The name of the projection, such as `devices`.
    pub(in crate::rest) projection: String,
    /// The version of its table: 1, 2, 3 …
    pub(in crate::rest) version: i32,
    /// Whether readers see this version.
    pub(in crate::rest) live: bool,
    /// The state of the projection.
    pub(in crate::rest) state: State,
    /// What the rebuild or rollback does that brings this version up to date; null if none does.
    pub(in crate::rest) rebuild: Option<super::UnderWay>,
    /// Why the last try failed, or what the projection waits for. The service's log has the whole cause.
    pub(in crate::rest) error: Option<String>,
    /// Since when the projection is in this state.
    pub(in crate::rest) since: DateTime<Utc>,
    /// How many streams are parked.
    pub(in crate::rest) parked: i64,
    /// The first of the parked streams, at most 10.
    pub(in crate::rest) parked_streams: Vec<ParkedStream>,
    /// Position, head and lag over all its logs.
    #[serde(flatten)]
    pub(in crate::rest) total: Progress,
    /// The projection's progress in each of its logs.
    pub(in crate::rest) logs: Vec<LogProgress>,
}

impl From<status::ProjectionStatus> for ProjectionStatus {
    fn from(status: status::ProjectionStatus) -> Self {
        Self {
            projection: status.projection,
            version: status.version,
            live: status.live,
            state: status.state.into(),
            rebuild: status.rebuild.map(Into::into),
            error: status.error,
            since: status.since,
            parked: status.parked,
            parked_streams: status.parked_streams.into_iter().map(Into::into).collect(),
            total: status.total.into(),
            logs: status.logs.into_iter().map(Into::into).collect(),
        }
    }
}

/// The state of a projection.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ProjectionState)]
pub(in crate::rest) enum State {
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

impl From<status::State> for State {
    fn from(state: status::State) -> Self {
        match state {
            status::State::Following => Self::Following,
            status::State::Degraded => Self::Degraded,
            status::State::Failed => Self::Failed,
            status::State::Stopped => Self::Stopped,
            status::State::Starting => Self::Starting,
            status::State::Building => Self::Building,
            status::State::Paused => Self::Paused,
            status::State::Waiting => Self::Waiting,
            status::State::Kept => Self::Kept,
        }
    }
}

/// How far a projection has got.
#[derive(Serialize, ToSchema)]
pub(in crate::rest) struct Progress {
    /// The last position that the projection has applied; in a total, the sum over all logs.
    #[schema(value_type = i64)]
    pub(in crate::rest) position: Position,
    /// The last position of the log; in a total, the sum over all logs.
    #[schema(value_type = i64)]
    pub(in crate::rest) head: Position,
    /// How many events the projection has not applied yet: `head` minus `position`.
    pub(in crate::rest) lag: i64,
}

impl From<status::Progress> for Progress {
    fn from(progress: status::Progress) -> Self {
        Self { position: progress.position, head: progress.head, lag: progress.lag }
    }
}

/// How far a projection has got in one log.
#[derive(Serialize, ToSchema)]
pub(in crate::rest) struct LogProgress {
    /// The number of the log.
    pub(in crate::rest) log_id: i32,
    /// The tenant that owns the log.
    pub(in crate::rest) tenant: String,
    /// The lane of the log: `control` or `telemetry`.
    pub(in crate::rest) lane: String,
    /// How far it has got there.
    #[serde(flatten)]
    pub(in crate::rest) progress: Progress,
}

impl From<status::LogProgress> for LogProgress {
    fn from(log: status::LogProgress) -> Self {
        Self { log_id: log.log_id.0, tenant: log.tenant, lane: log.lane, progress: log.progress.into() }
    }
}

/// A stream that a projection leaves out from an event on.
#[derive(Serialize, ToSchema)]
pub(in crate::rest) struct ParkedStream {
    /// The number of the log that it is in.
    pub(in crate::rest) log_id: i32,
    /// The type of the stream's aggregate, such as `Device`.
    pub(in crate::rest) aggregate_type: String,
    /// The stream: the tenant and the name within it, such as `t0/dev-01`.
    pub(in crate::rest) aggregate_id: String,
    /// The position of the event that could not be folded.
    #[schema(value_type = i64)]
    pub(in crate::rest) position: Position,
    /// Why its event could not be folded.
    pub(in crate::rest) error: String,
    /// When the stream was parked.
    pub(in crate::rest) parked_at: DateTime<Utc>,
}

impl From<status::ParkedStream> for ParkedStream {
    fn from(parked: status::ParkedStream) -> Self {
        Self {
            log_id: parked.log_id.0,
            aggregate_type: parked.aggregate_type,
            aggregate_id: parked.aggregate_id,
            position: parked.position,
            error: parked.error,
            parked_at: parked.parked_at,
        }
    }
}
