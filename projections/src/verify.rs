//! Verifies a read model: computes its rows from the log a second time, in SQL that shares no code with the fold, and
//! compares them with the stored rows, one by one.
//!
//! Everything is read in one snapshot, up to the checkpoints of the live version in it, so a service may go on
//! meanwhile. Nothing is written.

use std::time::{Duration, Instant};

use fleetlog_event_log::archived::Archived;
use fleetlog_event_log::{EventLog, Lane, database};
use sqlx::{Connection, Executor};

use crate::rebuild::compare::{connect, ranges};
use crate::rebuild::{Difference, Facts, Pair};

/// The most ranges of keys that rows are verified in, one after the other. Each reads all events of the logs again, which
/// takes about a sixtieth of the time in which windows are computed from them.
const MAX_RANGES: i32 = 16;

/// How far a verification has got.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verifying {
    /// The rows that are compared now, such as `devices`.
    pub rows_of: &'static str,
    /// How many ranges of keys are compared, over all kinds of rows.
    pub ranges_compared: i32,
    /// How many ranges of keys there are to compare.
    pub ranges: i32,
    /// For how long it has run.
    pub took: Duration,
}

impl Verifying {
    /// Ranges a second. `None` before the first one.
    #[must_use]
    pub fn rate(&self) -> Option<f64> {
        (self.ranges_compared > 0).then(|| f64::from(self.ranges_compared) / self.took.as_secs_f64())
    }

    /// How many seconds it will take at the present rate. `None` before the first range.
    #[must_use]
    pub fn seconds_left(&self) -> Option<f64> {
        self.rate().map(|rate| f64::from(self.ranges - self.ranges_compared) / rate)
    }
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified {
    /// The name of the projection.
    pub projection: String,
    /// The version that is live.
    pub version: i32,
    /// How many events its checkpoints stand for, over all logs.
    pub events: i64,
    /// The streams that it left out, which are not computed either.
    pub parked: i64,
    /// Each kind of rows.
    pub rows: Vec<VerifiedRows>,
    /// The first rows that differ: `live` is what is stored, `rebuilt` what the log says.
    pub listed: Vec<Difference>,
}

/// What a verification found of one kind of rows.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifiedRows {
    /// What the rows are, such as `devices`.
    pub name: &'static str,
    /// How many rows are stored.
    pub stored: i64,
    /// How many rows there should be.
    pub expected: i64,
    /// How many rows differ.
    pub differences: i64,
}

impl Verified {
    /// How many rows differ, of all kinds.
    #[must_use]
    pub fn differences(&self) -> i64 {
        self.rows.iter().map(|rows| rows.differences).sum()
    }
}

/// Why a read model was not verified.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No version of the projection is live.
    #[error("{0} has no live version; start the service once")]
    NotLive(&'static str),
    /// The live version's tables have another format than this program's.
    #[error(
        "version {version} of {projection} has format {format}, but this program knows format {known}; use the program that wrote it"
    )]
    ForeignFormat {
        /// The projection.
        projection: &'static str,
        /// Its live version.
        version: i32,
        /// The format of that version.
        format: i32,
        /// The program's format.
        known: i32,
    },
    /// Events that the rows follow from are not in the database.
    #[error("{projection} cannot be verified: SQL cannot read {range}")]
    Archived {
        /// The projection.
        projection: &'static str,
        /// The events.
        range: Box<Archived>,
    },
    /// There is no second way to compute the rows.
    #[error("{0} cannot be verified: nothing but its fold says what its rows are")]
    NoStatement(&'static str),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] database::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

/// Verifies the live version of a projection, and lists at most `most` rows that differ. `progress` is told before each
/// range of keys, and at the end.
pub async fn verify(
    log: &EventLog,
    facts: Facts,
    most: i64,
    mut progress: impl FnMut(Verifying) + Send,
) -> Result<Verified, Error> {
    let mut connection = connect(log).await?;
    let mut snapshot = connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").await?;
    snapshot
        .execute(
            "SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL statement_timeout = 0;
             SET LOCAL work_mem = '128MB'",
        )
        .await?;
    let live: Option<(i32, i32, i64, i64)> = sqlx::query_as(
        "SELECT version, coalesce(format, version),
                coalesce((SELECT sum(position) FROM projection_checkpoints AS checkpoint
                          WHERE checkpoint.projection = live.projection AND checkpoint.version = live.version), 0)::bigint,
                (SELECT count(*) FROM parked_streams AS parked
                 WHERE parked.projection = live.projection AND parked.version = live.version)
         FROM projections AS live WHERE projection = $1 AND live",
    )
    .bind(facts.name)
    .fetch_optional(&mut *snapshot)
    .await?;
    let (version, format, events, parked) = live.ok_or(Error::NotLive(facts.name))?;
    if format != facts.format {
        return Err(Error::ForeignFormat { projection: facts.name, version, format, known: facts.format });
    }
    let read: Vec<String> =
        sqlx::query_scalar("SELECT unnest(lanes) FROM projections WHERE projection = $1 AND live")
            .bind(facts.name)
            .fetch_all(&mut *snapshot)
            .await?;
    if read.iter().any(|lane| lane == Lane::Telemetry.as_str())
        && let Some(range) = log.all_archived().await?.into_iter().find(|range| range.kept_until.is_none())
    {
        return Err(Error::Archived { projection: facts.name, range: Box::new(range) });
    }
    let mut verified =
        Verified { projection: facts.name.into(), version, events, parked, rows: vec![], listed: vec![] };
    let (all, began) = ((facts.compared)(), Instant::now());
    let ranges = ranges(&mut snapshot, facts.tables, version, MAX_RANGES).await?;
    let mut told = Verifying {
        rows_of: facts.name,
        ranges_compared: 0,
        ranges: ranges * all.len() as i32,
        took: Duration::ZERO,
    };
    for rows in &all {
        let from_log = rows.from_log.ok_or(Error::NoStatement(facts.name))?;
        let pair = Pair { rows, live: (rows.stored)(version), rebuilt: from_log(version) };
        let mut of = VerifiedRows { name: rows.name, stored: 0, expected: 0, differences: 0 };
        for range in 0..ranges {
            progress(Verifying { rows_of: rows.name, took: began.elapsed(), ..told });
            let most = (most - verified.listed.len() as i64).max(0);
            let found = pair.compare(&mut snapshot, range, ranges, most).await?;
            of.stored += found.live_rows;
            of.expected += found.rebuilt_rows;
            of.differences += found.differences;
            verified.listed.extend(found.listed);
            told = Verifying { rows_of: rows.name, ranges_compared: told.ranges_compared + 1, ..told };
        }
        verified.rows.push(of);
    }
    progress(Verifying { took: began.elapsed(), ..told });
    snapshot.rollback().await?;
    Ok(verified)
}
