//! Rebuilds of projections: their type and fields.

use async_graphql::{Enum, ID, Object};
use chrono::{DateTime, Utc};
use fleetlog_projections::rebuild;

use super::scalars::Long;

/// A rebuild or a rollback of a projection.
pub(super) struct Rebuild(pub(super) rebuild::Rebuild);

/// What is done to a projection.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(name = "RebuildKind", remote = "rebuild::Kind")]
enum Kind {
    /// A new version is folded from position 1.
    Rebuild,
    /// A kept version is brought back.
    Rollback,
}

/// The step of a rebuild.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(name = "RebuildStep", remote = "rebuild::Step")]
enum Step {
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

/// How a rebuild is steered.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(name = "SteerRebuild", remote = "rebuild::Steer")]
pub(super) enum Steer {
    /// It stops where it is.
    Pause,
    /// It goes on.
    Resume,
    /// It ends, and the new version is removed.
    Cancel,
    /// The new version may go live although it differs.
    Accept,
}

/// What a rebuild or rollback does that is under way.
pub(super) struct UnderWay(pub(super) rebuild::UnderWay);

#[Object(name = "RebuildUnderWay")]
impl UnderWay {
    /// What is done.
    async fn kind(&self) -> Kind {
        self.0.kind.into()
    }

    /// What it does now.
    async fn step(&self) -> Step {
        self.0.step.into()
    }

    /// Whether it was told to pause.
    async fn paused(&self) -> bool {
        self.0.paused
    }

    /// What it may be told next, the most useful first.
    async fn next(&self) -> Vec<Steer> {
        self.0.next().iter().copied().map(Steer::from).collect()
    }
}

#[Object]
impl Rebuild {
    /// The rebuild's id.
    async fn id(&self) -> ID {
        self.0.rebuild_id.into()
    }

    /// The name of the projection.
    async fn projection(&self) -> &str {
        &self.0.projection
    }

    /// What is done.
    async fn kind(&self) -> Kind {
        self.0.kind.into()
    }

    /// The version that is to go live.
    async fn version(&self) -> i32 {
        self.0.version
    }

    /// The version that it is compared with, and that its tables are made like.
    async fn from_version(&self) -> i32 {
        self.0.from_version
    }

    /// Who requested it: a user's id, `key:` and an API key's id, or `cli`.
    async fn requested_by(&self) -> &str {
        &self.0.requested_by
    }

    /// When it was requested.
    async fn requested_at(&self) -> DateTime<Utc> {
        self.0.requested_at
    }

    /// What it does now.
    async fn step(&self) -> Step {
        self.0.step.into()
    }

    /// Since when it has been in this step.
    async fn since(&self) -> DateTime<Utc> {
        self.0.since
    }

    /// Whether it was told to pause.
    async fn paused(&self) -> bool {
        self.0.paused
    }

    /// What it may be told next, the most useful first. Empty once it has ended.
    async fn next(&self) -> Vec<Steer> {
        self.0.next().iter().copied().map(Steer::from).collect()
    }

    /// Whether some node works on it.
    async fn running(&self) -> bool {
        self.0.running
    }

    /// Whether the version may go live although it differs.
    async fn accepted(&self) -> bool {
        self.0.accepted
    }

    /// How many events of its logs are folded, over all tenants.
    async fn position(&self) -> Long {
        Long(self.0.events.position)
    }

    /// How many events its logs have, over all tenants.
    async fn head(&self) -> Long {
        Long(self.0.events.head)
    }

    /// How many events a second were folded lately. Null unless it folds, and before the first second.
    async fn rate(&self) -> Option<f64> {
        self.0.rate
    }

    /// How many ranges of keys are compared.
    async fn ranges_compared(&self) -> Long {
        Long(self.0.ranges_compared)
    }

    /// How many ranges of keys there are to compare. Null before the comparison.
    async fn ranges(&self) -> Option<Long> {
        self.0.ranges.map(Long)
    }

    /// How many ranges a second were compared. Null unless it compares, and before the first range.
    async fn range_rate(&self) -> Option<f64> {
        self.0.range_rate
    }

    /// How many seconds the present step will take at its rate. Null while that cannot be told.
    async fn seconds_left(&self) -> Option<f64> {
        self.0.seconds_left()
    }

    /// How many rows differ. Null until they are compared, and for a rollback.
    async fn differences(&self) -> Option<Long> {
        self.0.differences.map(Long)
    }

    /// Why the last try failed. It goes on by itself, unless it is paused.
    async fn error(&self) -> Option<&str> {
        self.0.error.as_deref()
    }

    /// When it ended.
    async fn ended_at(&self) -> Option<DateTime<Utc>> {
        self.0.ended_at
    }

    /// The version that was live before, while it is kept for a rollback.
    async fn kept_version(&self) -> Option<i32> {
        self.0.kept_version
    }

    /// Until when that version is kept.
    async fn kept_until(&self) -> Option<DateTime<Utc>> {
        self.0.kept_until
    }
}
