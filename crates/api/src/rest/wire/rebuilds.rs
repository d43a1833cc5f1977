//! Rebuilds of projections, as REST shows them.

use chrono::{DateTime, Utc};
use fleetlog_event_log::event::Json;
use fleetlog_projections::rebuild;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Progress;

/// A rebuild or a rollback of a projection.
#[derive(Serialize, ToSchema)]
pub(in crate::rest) struct Rebuild {
    /// The rebuild's id.
    #[serde(rename = "rebuild_id")]
    pub(in crate::rest) id: Uuid,
    /// The name of the projection.
    pub(in crate::rest) projection: String,
    /// What is done.
    pub(in crate::rest) kind: Kind,
    /// The version that is to go live.
    #[schema(example = 2)]
    pub(in crate::rest) version: i32,
    /// The version that it is compared with, and that its tables are made like.
    pub(in crate::rest) from_version: i32,
    /// Who requested it: a user's id, `key:` and an API key's id, or `cli`.
    pub(in crate::rest) requested_by: String,
    /// When it was requested.
    pub(in crate::rest) requested_at: DateTime<Utc>,
    /// What it does now.
    pub(in crate::rest) step: Step,
    /// Since when it has been in this step.
    pub(in crate::rest) since: DateTime<Utc>,
    /// Whether it was told to pause.
    pub(in crate::rest) paused: bool,
    /// What it may be told next, the most useful first; empty once it has ended.
    pub(in crate::rest) next: Vec<Steer>,
    /// Whether some node works on it.
    pub(in crate::rest) running: bool,
    /// Whether the version may go live although it differs.
    pub(in crate::rest) accepted: bool,
    /// How many events of its logs are folded, over all tenants.
    #[serde(flatten)]
    pub(in crate::rest) events: Progress,
    /// How many events a second were folded lately; null unless it folds, and before the first second.
    pub(in crate::rest) rate: Option<f64>,
    /// How many ranges of keys are compared.
    pub(in crate::rest) ranges_compared: i64,
    /// How many ranges of keys there are to compare; null before the comparison.
    pub(in crate::rest) ranges: Option<i64>,
    /// How many ranges a second were compared; null unless it compares, and before the first range.
    pub(in crate::rest) range_rate: Option<f64>,
    /// How many seconds the present step will take at its rate; null while that cannot be told.
    pub(in crate::rest) seconds_left: Option<f64>,
    /// How many rows differ; null until they are compared, and for a rollback.
    pub(in crate::rest) differences: Option<i64>,
    /// What the comparison found so far, range by range of the rows' keys.
    pub(in crate::rest) compared: Vec<ComparedRange>,
    /// Why the last try failed. It goes on by itself, unless it is paused.
    pub(in crate::rest) error: Option<String>,
    /// When it ended.
    pub(in crate::rest) ended_at: Option<DateTime<Utc>>,
    /// The version that was live before, while it is kept for a rollback.
    pub(in crate::rest) kept_version: Option<i32>,
    /// Until when that version is kept.
    pub(in crate::rest) kept_until: Option<DateTime<Utc>>,
}

impl Rebuild {
    /// A rebuild with what its comparison found.
    pub(in crate::rest) fn new(rebuild: rebuild::Rebuild, compared: Vec<rebuild::RangeReport>) -> Self {
        let (seconds_left, next) = (rebuild.seconds_left(), steers(rebuild.next()));
        Self {
            id: rebuild.rebuild_id,
            projection: rebuild.projection,
            kind: rebuild.kind.into(),
            version: rebuild.version,
            from_version: rebuild.from_version,
            requested_by: rebuild.requested_by,
            requested_at: rebuild.requested_at,
            step: rebuild.step.into(),
            since: rebuild.since,
            paused: rebuild.paused,
            next,
            running: rebuild.running,
            accepted: rebuild.accepted,
            events: rebuild.events.into(),
            rate: rebuild.rate,
            ranges_compared: rebuild.ranges_compared,
            ranges: rebuild.ranges,
            range_rate: rebuild.range_rate,
            seconds_left,
            differences: rebuild.differences,
            compared: compared.into_iter().map(Into::into).collect(),
            error: rebuild.error,
            ended_at: rebuild.ended_at,
            kept_version: rebuild.kept_version,
            kept_until: rebuild.kept_until,
        }
    }
}

/// What a rebuild or rollback does that is under way.
#[derive(Serialize, ToSchema)]
#[schema(as = RebuildUnderWay)]
pub(in crate::rest) struct UnderWay {
    /// What is done.
    pub(in crate::rest) kind: Kind,
    /// What it does now.
    pub(in crate::rest) step: Step,
    /// Whether it was told to pause.
    pub(in crate::rest) paused: bool,
    /// What it may be told next, the most useful first.
    pub(in crate::rest) next: Vec<Steer>,
}

impl From<rebuild::UnderWay> for UnderWay {
    fn from(now: rebuild::UnderWay) -> Self {
        Self { kind: now.kind.into(), step: now.step.into(), paused: now.paused, next: steers(now.next()) }
    }
}

/// What a rebuild may be told: the last part of the path of a request that does so.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = SteerRebuild)]
pub(in crate::rest) enum Steer {
    /// It stops where it is.
    Pause,
    /// It goes on.
    Resume,
    /// It ends. A new version is removed, and a kept one stays kept.
    Cancel,
    /// The new version may go live although it differs.
    Accept,
}

fn steers(next: &[rebuild::Steer]) -> Vec<Steer> {
    let steer = |steer: &rebuild::Steer| match steer {
        rebuild::Steer::Pause => Steer::Pause,
        rebuild::Steer::Resume => Steer::Resume,
        rebuild::Steer::Cancel => Steer::Cancel,
        rebuild::Steer::Accept => Steer::Accept,
    };
    next.iter().map(steer).collect()
}

/// What is done to a projection.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = RebuildKind)]
pub(in crate::rest) enum Kind {
    /// A new version is folded from position 1.
    Rebuild,
    /// A kept version is brought back.
    Rollback,
}

impl From<rebuild::Kind> for Kind {
    fn from(kind: rebuild::Kind) -> Self {
        match kind {
            rebuild::Kind::Rebuild => Self::Rebuild,
            rebuild::Kind::Rollback => Self::Rollback,
        }
    }
}

/// The step of a rebuild.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = RebuildStep)]
pub(in crate::rest) enum Step {
    /// It folds the events that there were when it began.
    Building,
    /// It folds what has come since.
    CatchingUp,
    /// It compares the new version with the live one.
    Comparing,
    /// Rows differ. It waits until somebody accepts that or cancels it.
    Waiting,
    /// The new version is about to take the live one's place.
    Swapping,
    /// The new version is live.
    Swapped,
    /// It was cancelled, and the new version removed.
    Cancelled,
}

impl From<rebuild::Step> for Step {
    fn from(step: rebuild::Step) -> Self {
        match step {
            rebuild::Step::Building => Self::Building,
            rebuild::Step::CatchingUp => Self::CatchingUp,
            rebuild::Step::Comparing => Self::Comparing,
            rebuild::Step::Waiting => Self::Waiting,
            rebuild::Step::Swapping => Self::Swapping,
            rebuild::Step::Swapped => Self::Swapped,
            rebuild::Step::Cancelled => Self::Cancelled,
        }
    }
}

/// What the comparison of one range of keys found.
#[derive(Serialize, ToSchema)]
pub(in crate::rest) struct ComparedRange {
    /// What the rows are.
    #[schema(example = "devices")]
    pub(in crate::rest) rows_of: String,
    /// The number of the range, from 0.
    pub(in crate::rest) range: i32,
    /// How many ranges there are.
    pub(in crate::rest) ranges: i32,
    /// How many rows the live version has.
    pub(in crate::rest) live_rows: i64,
    /// How many rows the new version has.
    pub(in crate::rest) rebuilt_rows: i64,
    /// The sum of the hashes of the live version's rows. Sums of measurements are left out, because they depend on the
    /// order of addition.
    #[schema(example = "-2730941553170948263")]
    pub(in crate::rest) live_checksum: String,
    /// The same of the new version's rows.
    #[schema(example = "-2730941553170948263")]
    pub(in crate::rest) rebuilt_checksum: String,
    /// How many rows differ.
    pub(in crate::rest) differences: i64,
}

impl From<rebuild::RangeReport> for ComparedRange {
    fn from(range: rebuild::RangeReport) -> Self {
        Self {
            rows_of: range.rows_of,
            range: range.range,
            ranges: range.ranges,
            live_rows: range.live_rows,
            rebuilt_rows: range.rebuilt_rows,
            live_checksum: range.live_checksum,
            rebuilt_checksum: range.rebuilt_checksum,
            differences: range.differences,
        }
    }
}

/// A row that differs between the live version and the new one.
#[derive(Serialize, ToSchema)]
#[schema(as = RebuildDifference)]
pub(in crate::rest) struct Difference {
    /// What the row is.
    #[schema(example = "devices")]
    pub(in crate::rest) rows_of: String,
    /// The columns that name the row.
    #[schema(value_type = Object, example = json!({"tenant": "t0", "uid": "dev-01"}))]
    pub(in crate::rest) key: Json,
    /// The other columns in the live version; null if it has no such row.
    #[schema(value_type = Option<Object>)]
    pub(in crate::rest) live: Option<Json>,
    /// The other columns in the new version; null if it has no such row.
    #[schema(value_type = Option<Object>)]
    pub(in crate::rest) rebuilt: Option<Json>,
}

impl From<rebuild::StoredDifference> for Difference {
    fn from(difference: rebuild::StoredDifference) -> Self {
        Self {
            rows_of: difference.rows_of,
            key: difference.key,
            live: difference.live,
            rebuilt: difference.rebuilt,
        }
    }
}
