//! What the runner needs of a read model: which logs it reads, how it folds events, and how it writes the result.

use std::fmt;
use std::future::Future;

use fleetlog_event_log::{Corrupt, Event, Lane, LogId, Result};
use sqlx::PgConnection;

/// A read model. The value may remember only what its own writes have committed: after a write that has not
/// committed, the value is thrown away and made anew.
pub trait ReadModel: Send + Sync + 'static {
    /// The projection's name.
    const NAME: &'static str;
    /// The version of the tables that this code writes.
    const VERSION: i32;
    /// The lanes whose logs the read model reads.
    const LANES: &'static [Lane];

    /// What some events of one log add up to, in memory.
    type Fold: Default + Send;

    /// The read model over the tables of a version.
    fn new(version: i32) -> Self;

    /// Adds an event to a fold. Events come in the order of their positions. Events of aggregates that the read model
    /// does not use succeed and change nothing. On an error the fold is as it was.
    fn fold(fold: &mut Self::Fold, event: &Event) -> Result<(), Poison>;

    /// About how many bytes a fold takes. A full fold is written before anything is added.
    fn size(fold: &Self::Fold) -> usize;

    /// Adds a fold to the tables, inside the transaction that moves the checkpoint.
    fn write(
        &mut self,
        connection: &mut PgConnection,
        log_id: LogId,
        fold: Self::Fold,
    ) -> impl Future<Output = Result<()>> + Send;
}

/// Why an event cannot be folded, now or later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Poison(String);

impl Poison {
    /// Poison for this reason, which is for the people who run the platform.
    pub fn new(reason: impl fmt::Display) -> Self {
        Self(reason.to_string())
    }
}

impl From<Corrupt> for Poison {
    fn from(corrupt: Corrupt) -> Self {
        Self::new(corrupt)
    }
}

impl fmt::Display for Poison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
