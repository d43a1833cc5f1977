//! What the runner needs of a read model: which logs it reads, how it folds events, and how it writes the result.

use std::fmt;
use std::future::Future;

use fleetlog_event_log::sources::Sources;
use fleetlog_event_log::{Corrupt, Event, Lane, LogId, Result};
use sqlx::PgConnection;

/// A read model. The value may remember only what its own writes have committed: after a write that has not
/// committed, the value is thrown away and made anew.
pub trait ReadModel: Send + Sync + 'static {
    /// The projection's name.
    const NAME: &'static str;
    /// The format of the tables that this code writes. It rises when the meaning of their columns changes, or when a program
    /// that does not know a column would write wrong rows. A projection may have several versions of one format, each with
    /// tables of its own.
    const FORMAT: i32;
    /// The tables of a version, without the suffix `_v` and the version: `devices` stands for `devices_v1`.
    const TABLES: &'static [&'static str];
    /// The lanes whose logs the read model reads.
    const LANES: &'static [Lane];

    /// Whether several slices of a log may be built at once: each row follows from the events of one stream alone, or what
    /// further streams add to it does not depend on their order.
    const DIVISIBLE: bool;

    /// What some events of one log add up to, in memory.
    type Fold: Default + Send;

    /// The read model over the tables of a version.
    fn new(version: i32) -> Self;

    /// What two versions are compared by, and what the log says that it must be.
    fn compared() -> Vec<Rows>;

    /// Adds an event to a fold. Events come in the order of their positions. Events of aggregates that the read model
    /// does not use succeed and change nothing. `sources` say today what the metrics of a reading are that a source has taken in.
    /// On an error the fold is as it was.
    fn fold(fold: &mut Self::Fold, event: &Event, sources: &Sources) -> Result<(), Poison>;

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

/// Rows by which two versions are compared.
///
/// The statements are given two parameters: `$1` is the number of a range, `$2` how many ranges there are. Each returns
/// the rows whose key is in that range, by the function `range_of`.
#[derive(Debug, Clone)]
pub struct Rows {
    /// What people call the rows, such as `devices`.
    pub name: &'static str,
    /// The columns that name a row. None is null.
    pub key: &'static [&'static str],
    /// The other columns. Each has an equality and a hash, so JSON is compared as text.
    pub values: &'static [&'static str],
    /// Sums of floating-point numbers, which depend on the order of addition, and the magnitude that they are compared
    /// by: SQL over the columns of `live`.
    pub sums: &'static [(&'static str, &'static str)],
    /// Those of the columns that name the event that made the row last. They are not compared where `live` has none: what
    /// wrote that row did not know them.
    pub positions: &'static [&'static str],
    /// Selects the rows of a version.
    pub stored: fn(version: i32) -> String,
    /// Computes the rows of a version from the log, up to the checkpoints of that version, in SQL that shares nothing
    /// with the fold. `None` if there is no such statement.
    pub from_log: Option<fn(version: i32) -> String>,
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
