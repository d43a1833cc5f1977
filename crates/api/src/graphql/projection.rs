//! Projections: their type and fields.

use async_graphql::{Enum, Object};
use chrono::{DateTime, Utc};
use fleetlog_projections::status;

use super::rebuild::UnderWay;
use super::scalars::Long;

/// One version of a projection, with its progress in the tenant's logs.
pub(super) struct Projection(pub(super) status::ProjectionStatus);

/// The state of a projection.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(name = "ProjectionState", remote = "status::State")]
enum State {
    /// The projection follows its logs.
    Following,
    /// The projection follows its logs, except for streams that it has parked.
    Degraded,
    /// The projection's last try failed, or events of some log cannot be read; it keeps trying, and the other logs go on.
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

#[Object]
impl Projection {
    /// The name of the projection, such as `devices`.
    async fn name(&self) -> &str {
        &self.0.projection
    }

    /// The version of its table: 1, 2, 3 …
    async fn version(&self) -> i32 {
        self.0.version
    }

    /// Whether this is the version that readers see.
    async fn live(&self) -> bool {
        self.0.live
    }

    /// The projection's state now.
    async fn state(&self) -> State {
        self.0.state.into()
    }

    /// What the rebuild or rollback does that brings this version up to date. Null if none does.
    async fn rebuild(&self) -> Option<UnderWay> {
        self.0.rebuild.map(UnderWay)
    }

    /// The error that stops the projection, while it is stopped by one.
    async fn error(&self) -> Option<&str> {
        self.0.error.as_deref()
    }

    /// When the projection entered this state.
    async fn since(&self) -> DateTime<Utc> {
        self.0.since
    }

    /// How many streams the projection has parked.
    async fn parked(&self) -> Long {
        Long(self.0.parked)
    }

    /// The last position that the projection has applied.
    async fn position(&self) -> Long {
        Long(self.0.total.position)
    }

    /// The head of the projection's logs.
    async fn head(&self) -> Long {
        Long(self.0.total.head)
    }

    /// How far the projection is behind: `head - position`.
    async fn lag(&self) -> Long {
        Long(self.0.total.lag)
    }
}
