//! What a read model is to the runner: which logs it reads, how it folds events, and how it writes what they add up to.

use std::fmt;
use std::future::Future;

use fleetlog_event_log::{Event, Lane, LogId, Result};
use sqlx::PgConnection;

/// A read model. The value itself may only remember what its own writes have committed: it is thrown away and made
/// anew whenever a write did not.
pub trait ReadModel: Send + Sync + 'static {
    /// The projection's name.
    const NAME: &'static str;
    /// Which form of its tables this code writes.
    const VERSION: i32;
    /// The lanes whose logs it reads.
    const LANES: &'static [Lane];

    /// What some events of one log add up to, without the database.
    type Fold: Default + Send;

    /// The read model over the tables of a version.
    fn new(version: i32) -> Self;

    /// Adds an event. Events come in the order of their positions; those of other aggregates are none of its business
    /// and succeed. Where it fails, the fold is as it was.
    fn fold(fold: &mut Self::Fold, event: &Event) -> Result<(), Poison>;

    /// About how many bytes a fold takes. A full one is written before anything is added.
    fn size(fold: &Self::Fold) -> usize;

    /// Adds a fold to the tables, inside the transaction that moves the checkpoint.
    fn write(
        &mut self,
        connection: &mut PgConnection,
        log_id: LogId,
        fold: Self::Fold,
    ) -> impl Future<Output = Result<()>> + Send;
}

/// Why an event cannot be folded, now or ever again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Poison(String);

impl Poison {
    /// With the reason, for the people who run the platform.
    pub fn new(reason: impl fmt::Display) -> Self {
        Self(reason.to_string())
    }
}

impl fmt::Display for Poison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
