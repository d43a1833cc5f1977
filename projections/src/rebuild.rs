//! Rebuilds: a new version of a read model is folded from position 1 beside the live one, compared with it, and put in
//! its place.
//!
//! A rebuild is a row that every node sees, with a step. People ask for rebuilds and steer them (`request`);
//! one node at a time works on each (`work`), from whatever step the row says, so a rebuild survives every crash:
//!
//! 1. `building` (`build`): slices of each log, several at once, up to the heads at the beginning
//! 2. `catching_up` (`build`): what has come since, up to the live version's checkpoints
//! 3. `comparing` (`compare`): both versions at the same positions, in one snapshot
//! 4. `waiting`: only if rows differ, until somebody accepts that; it follows the live version meanwhile
//! 5. `swapping` (`swap`): the last events and the views, in one transaction
//! 6. `swapped`: the version that was live before is kept for a rollback, and then removed
//!
//! A rollback is a rebuild of a kept version: it begins with `catching_up`, and nothing is compared.
//!
//! - `status`: what a rebuild looks like to people
//! - `under_way`: what one that is under way does now, and what may be told to it next, in words

mod build;
pub(crate) mod compare;
mod request;
mod status;
mod swap;
pub(crate) mod under_way;
mod work;

use chrono::{DateTime, Utc};
use fleetlog_aggregates::words;
use fleetlog_event_log::control::Metadata;
use uuid::Uuid;

use crate::Handle;
use crate::read_model::{ReadModel, Rows};
use crate::status::Progress;

pub use compare::Difference;
pub(crate) use compare::Pair;
pub use request::{Refused, Request, Steer};
pub use status::{RangeReport, StoredDifference};
pub use under_way::UnderWay;
pub(crate) use work::{Works, of, run};

/// How long the version that was live before is kept, unless the request says otherwise: a day, in seconds.
pub const KEEP_S: i32 = 86_400;
/// The longest that a version may be kept: a year, in seconds.
pub const MAX_KEEP_S: i32 = 365 * 86_400;
/// How many rows that differ a rebuild lists; all of them are counted.
pub const MAX_DIFFERENCES: i64 = 10_000;

/// A rebuild or a rollback of a projection.
#[derive(Debug, Clone, PartialEq)]
pub struct Rebuild {
    /// The rebuild's id.
    pub rebuild_id: Uuid,
    /// The name of the projection, such as `devices`.
    pub projection: String,
    /// What is done.
    pub kind: Kind,
    /// The version that is to go live.
    pub version: i32,
    /// The version that it is compared with, and that its tables are made like.
    pub from_version: i32,
    /// Who requested it: a user's id, `key:` and an API key's id, or `cli`.
    pub requested_by: String,
    /// When it was requested, by the database's clock.
    pub requested_at: DateTime<Utc>,
    /// What it does now.
    pub step: Step,
    /// Since when it has been in this step.
    pub since: DateTime<Utc>,
    /// Whether it was told to pause.
    pub paused: bool,
    /// Whether some node works on it.
    pub running: bool,
    /// Whether the version may go live although it differs.
    pub accepted: bool,
    /// How many seconds the version that was live before is kept.
    pub keep_s: i32,
    /// How many of its logs' events are folded.
    pub events: Progress,
    /// Events a second, lately. `None` unless it folds, and before the first second.
    pub rate: Option<f64>,
    /// How many key ranges are compared.
    pub ranges_compared: i64,
    /// How many key ranges there are to compare. `None` before the comparison.
    pub ranges: Option<i64>,
    /// Key ranges a second. `None` unless it compares, and before the first range.
    pub range_rate: Option<f64>,
    /// How many rows differ. `None` until they are compared, and for a rollback.
    pub differences: Option<i64>,
    /// Why the last try failed. It goes on by itself, unless it is paused. For the people who run the platform.
    pub error: Option<String>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// The version that was live before, while it is kept for a rollback.
    pub kept_version: Option<i32>,
    /// Until when that version is kept.
    pub kept_until: Option<DateTime<Utc>>,
}

impl Rebuild {
    /// How many seconds the present step will take at its present rate. `None` while that cannot be told.
    #[must_use]
    pub fn seconds_left(&self) -> Option<f64> {
        let (left, rate) = match (self.ranges, self.range_rate) {
            (Some(ranges), Some(rate)) => (ranges - self.ranges_compared, rate),
            _ => (self.events.lag, self.rate?),
        };
        (rate > 0.0).then(|| left.max(0) as f64 / rate)
    }

    /// What it does now. `None`: it has ended.
    #[must_use]
    pub fn under_way(&self) -> Option<UnderWay> {
        let Self { kind, step, paused, .. } = *self;
        self.ended_at.is_none().then_some(UnderWay { kind, step, paused })
    }

    /// What may be told to it next, the most useful first. Nothing once it has ended.
    #[must_use]
    pub fn next(&self) -> &'static [Steer] {
        self.under_way().map_or(&[], UnderWay::next)
    }
}

/// What is done to a projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A new version is folded from position 1.
    Rebuild,
    /// A kept version is brought back.
    Rollback,
}

words! { Kind { Rebuild = "rebuild", Rollback = "rollback" } }

/// What a rebuild does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
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

words! {
    Step {
        Building = "building", CatchingUp = "catching_up", Comparing = "comparing", Waiting = "waiting",
        Swapping = "swapping", Swapped = "swapped", Cancelled = "cancelled",
    }
}

impl Handle {
    /// Begins a rebuild of a projection.
    pub async fn rebuild(
        &self,
        projection: &str,
        request: Request,
        metadata: Metadata,
    ) -> Result<Rebuild, Refused> {
        request::rebuild(self.log(), self.known(projection)?, request, metadata).await
    }

    /// Brings the version of a projection back that was live before.
    pub async fn roll_back(
        &self,
        projection: &str,
        requested_by: String,
        metadata: Metadata,
    ) -> Result<Rebuild, Refused> {
        request::roll_back(self.log(), self.known(projection)?, requested_by, metadata).await
    }

    /// Steers the rebuild of a projection that is under way.
    pub async fn steer(&self, projection: &str, how: Steer, metadata: Metadata) -> Result<Rebuild, Refused> {
        request::steer(self.log(), self.known(projection)?, how, metadata).await
    }

    /// The last rebuild or rollback of a projection. `None`: there has been none.
    pub async fn last_rebuild(&self, projection: &str) -> Result<Option<Rebuild>, Refused> {
        Ok(status::last(self.log(), self.known(projection)?.name).await?)
    }

    /// What the comparison of a rebuild found, range by range.
    pub async fn compared_ranges(&self, rebuild_id: Uuid) -> Result<Vec<RangeReport>, Refused> {
        Ok(status::ranges(self.log(), rebuild_id).await?)
    }

    /// The rows that differ in a rebuild, after a place in the list, at most `limit`.
    pub async fn differences(
        &self,
        rebuild_id: Uuid,
        after: i64,
        limit: i64,
    ) -> Result<Vec<StoredDifference>, Refused> {
        Ok(status::differences(self.log(), rebuild_id, after, limit).await?)
    }

    fn known(&self, projection: &str) -> Result<Facts, Refused> {
        self.facts(projection).ok_or_else(|| Refused::UnknownProjection(projection.to_owned()))
    }
}

/// What must be known of a read model to rebuild it.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// The name of the projection.
    pub name: &'static str,
    /// The format that this program reads and writes.
    pub format: i32,
    /// Its tables, without version.
    pub tables: &'static [&'static str],
    /// What its versions are compared by.
    pub compared: fn() -> Vec<Rows>,
}

impl Facts {
    /// The facts about a read model.
    #[must_use]
    pub fn of<M: ReadModel>() -> Self {
        Self { name: M::NAME, format: M::FORMAT, tables: M::TABLES, compared: M::compared }
    }
}
