//! Projections.

use async_graphql::{Enum, Object};
use chrono::{DateTime, Utc};
use fleetlog_projections::status;

use super::scalars::Long;

/// One version of a projection, as far as it concerns the tenant's logs.
pub(super) struct Projection(pub(super) status::ProjectionStatus);

/// How a projection is.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(name = "ProjectionState", remote = "status::State")]
enum State {
    /// It follows its logs.
    Following,
    /// It follows its logs, but for streams that it has parked.
    Degraded,
    /// Its last try failed; it keeps trying.
    Failed,
    /// No node runs it.
    Stopped,
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

    /// How it is.
    async fn state(&self) -> State {
        self.0.state.into()
    }

    /// Why it cannot go on, while it cannot.
    async fn error(&self) -> Option<&str> {
        self.0.error.as_deref()
    }

    /// Since when it is in this state.
    async fn since(&self) -> DateTime<Utc> {
        self.0.since
    }

    /// How many streams it has parked.
    async fn parked(&self) -> Long {
        Long(self.0.parked)
    }

    /// The last position that it has applied.
    async fn position(&self) -> Long {
        Long(self.0.total.position)
    }

    /// The last position that there is.
    async fn head(&self) -> Long {
        Long(self.0.total.head)
    }

    /// What is between them.
    async fn lag(&self) -> Long {
        Long(self.0.total.lag)
    }
}
