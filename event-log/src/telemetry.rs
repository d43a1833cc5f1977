//! Appends batches of readings: each `(device, msg_id)` once, positions without a hole, one transaction a batch.
//!
//! The head's row is locked by a statement of its own. The next statement then takes a new snapshot, and its
//! anti-join sees whatever the previous holder of the lock committed; folded into one statement it would not.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use fleetlog_aggregates::telemetry::Recorded;
use sqlx::{PgPool, Postgres, Transaction};

use crate::{Error, EventLog, LogId, Position, Result};

/// How long after its first arrival a message is recognised as a repeat whatever its `ts`. A message that carries its
/// own `ts` comes back with the same one, and is recognised for as long as the first is kept.
///
/// The bound keeps the anti-join to the newest partitions. Two days outlast a broker's or device's retry buffer over
/// a weekend night; it is not a limit of the log's guarantee but of what a device may change between two tries.
pub const REPEAT_WINDOW: TimeDelta = TimeDelta::days(2);

/// How far ahead partitions are made, so that none is missing while the database is being migrated or is read-only.
const PARTITIONS_AHEAD: TimeDelta = TimeDelta::days(14);

/// What became of one message of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is an event, at this position.
    Recorded(Position),
    /// It was there already, or earlier in the same batch.
    Duplicate,
    /// The database cannot hold it, and why.
    Refused(String),
}

/// Until when there are partitions for what is recorded.
pub(crate) struct Partitions {
    /// Microseconds of the epoch.
    until: AtomicI64,
}

impl Partitions {
    /// Of somebody who does not append.
    pub(crate) fn none() -> Self {
        Self { until: AtomicI64::new(0) }
    }

    pub(crate) async fn prepare(pool: &PgPool) -> Result<Self> {
        let partitions = Self::none();
        partitions.make(pool).await?;
        Ok(partitions)
    }

    async fn make(&self, pool: &PgPool) -> Result<()> {
        let until: DateTime<Utc> =
            sqlx::query_scalar("SELECT telemetry_events_make_partitions(now(), now() + $1)")
                .bind(PARTITIONS_AHEAD)
                .fetch_one(pool)
                .await?;
        self.until.store(until.timestamp_micros(), Ordering::Relaxed);
        Ok(())
    }
}

impl EventLog {
    /// Appends a batch to one telemetry log and says what became of each message, in the batch's order.
    ///
    /// All of it is committed when this returns. A message that the database cannot hold is refused alone; the rest of
    /// its batch is appended. An error means that the outcome is unknown: the same batch may be sent again, and what
    /// had been committed is then a duplicate.
    pub async fn append_telemetry(&self, log_id: LogId, batch: Arc<[Recorded]>) -> Result<Vec<Outcome>> {
        let log = self.clone();
        // In a task of its own, so that a caller who is dropped leaves no open transaction behind.
        let task = tokio::spawn(async move { log.append_isolating(log_id, &batch).await });
        task.await.unwrap_or(Err(Error::Unavailable(sqlx::Error::WorkerCrashed)))
    }

    /// Halves a batch that the database refuses until the message at fault is alone.
    async fn append_isolating(&self, log_id: LogId, batch: &[Recorded]) -> Result<Vec<Outcome>> {
        let mut outcomes = Vec::with_capacity(batch.len());
        let mut rest: Vec<Range<usize>> = std::iter::once(0..batch.len()).collect();
        while let Some(range) = rest.pop() {
            match self.append_at_once(log_id, &batch[range.clone()]).await {
                Ok(appended) => outcomes.extend(appended),
                Err(error) if error.is_bad_data() && range.len() == 1 => {
                    outcomes.push(Outcome::Refused(error.to_string()));
                }
                Err(error) if error.is_bad_data() => {
                    let middle = range.start + range.len() / 2;
                    rest.push(middle..range.end);
                    rest.push(range.start..middle);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(outcomes)
    }

    async fn append_at_once(&self, log_id: LogId, batch: &[Recorded]) -> Result<Vec<Outcome>> {
        let mut seen = HashSet::with_capacity(batch.len());
        let firsts: Vec<usize> = (0..batch.len())
            .filter(|&i| seen.insert((batch[i].aggregate_id.as_str(), batch[i].msg_id.as_str())))
            .collect();
        let mut transaction = self.inner.append_pool.begin().await?;
        let head = lock(&mut transaction, log_id).await?;
        let inserted = match insert(&mut transaction, log_id, head, batch, &firsts).await {
            Err(error) if is_missing_partition(&error) => {
                drop(transaction);
                self.inner.partitions.make(self.pool()).await?;
                return Err(Error::Unavailable(error));
            }
            inserted => inserted?,
        };
        let mut outcomes = vec![Outcome::Duplicate; batch.len()];
        for (&ordinal, position) in inserted.iter().zip(head + 1..) {
            outcomes[firsts[ordinal as usize - 1]] = Outcome::Recorded(position);
        }
        count_duplicates(&mut transaction, log_id, batch, &outcomes).await?;
        transaction.commit().await?;
        self.heads().moved(log_id, head + inserted.len() as Position);
        Ok(outcomes)
    }

    pub(crate) async fn keep_partitions(&self) {
        let mut hourly = tokio::time::interval(Duration::from_hours(1));
        loop {
            hourly.tick().await;
            let until = DateTime::from_timestamp_micros(self.inner.partitions.until.load(Ordering::Relaxed));
            if until.is_none_or(|until| until < Utc::now() + PARTITIONS_AHEAD / 2)
                && let Err(error) = self.inner.partitions.make(self.pool()).await
            {
                tracing::warn!(%error, "failed to make telemetry partitions; trying again in an hour");
            }
        }
    }
}

async fn lock(transaction: &mut Transaction<'_, Postgres>, log_id: LogId) -> Result<Position> {
    sqlx::query_scalar("SELECT head FROM logs WHERE log_id = $1 FOR NO KEY UPDATE")
        .bind(log_id)
        .fetch_optional(&mut **transaction)
        .await?
        .ok_or(Error::NoSuchLog(log_id))
}

/// Inserts what is not there yet, and moves the head. Returns which of `firsts` were new, counted from 1.
async fn insert(
    transaction: &mut Transaction<'_, Postgres>,
    log_id: LogId,
    head: Position,
    batch: &[Recorded],
    firsts: &[usize],
) -> Result<Vec<i64>, sqlx::Error> {
    let column = || firsts.iter().map(|&i| &batch[i]);
    let now = Utc::now();
    sqlx::query_scalar(
        "WITH fresh AS MATERIALIZED (
             SELECT *, row_number() OVER (ORDER BY ordinal) AS number
             FROM unnest($3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::smallint[], $8::text[])
                  WITH ORDINALITY AS batch (aggregate_id, msg_id, occurred_at, repeat_since, flags, payload, ordinal)
             WHERE NOT EXISTS (
                 SELECT FROM telemetry_events AS earlier
                 WHERE earlier.log_id = $1 AND earlier.aggregate_id = batch.aggregate_id
                   AND earlier.msg_id = batch.msg_id AND earlier.recorded_at >= batch.repeat_since
                   -- Keeps the partitions of the coming weeks out of it, with room for a clock that was set back.
                   AND earlier.recorded_at < statement_timestamp() + interval '1 day')
         ), inserted AS (
             INSERT INTO telemetry_events
                 (log_id, position, occurred_at, recorded_at, flags, aggregate_id, msg_id, payload)
             SELECT $1, $2 + number, LEAST(occurred_at, statement_timestamp() + interval '5 minutes'),
                    statement_timestamp(), flags, aggregate_id, msg_id, payload::json
             FROM fresh
         ), moved AS (
             UPDATE logs SET head = $2 + (SELECT count(*) FROM fresh)
             WHERE log_id = $1 AND EXISTS (SELECT FROM fresh)
         )
         SELECT coalesce(array_agg(ordinal ORDER BY ordinal), '{}') FROM fresh",
    )
    .bind(log_id)
    .bind(head)
    .bind(column().map(|event| event.aggregate_id.as_str()).collect::<Vec<_>>())
    .bind(column().map(|event| event.msg_id.as_str()).collect::<Vec<_>>())
    .bind(column().map(|event| event.occurred_at).collect::<Vec<_>>())
    .bind(column().map(|event| event.occurred_at.min(now) - REPEAT_WINDOW).collect::<Vec<_>>())
    .bind(column().map(|event| event.flags.bits()).collect::<Vec<_>>())
    .bind(column().map(|event| event.payload.as_str()).collect::<Vec<_>>())
    .fetch_one(&mut **transaction)
    .await
}

async fn count_duplicates(
    transaction: &mut Transaction<'_, Postgres>,
    log_id: LogId,
    batch: &[Recorded],
    outcomes: &[Outcome],
) -> Result<()> {
    let mut counts: HashMap<&str, i64> = HashMap::new();
    for (event, outcome) in batch.iter().zip(outcomes) {
        if *outcome == Outcome::Duplicate {
            *counts.entry(&event.aggregate_id).or_default() += 1;
        }
    }
    if counts.is_empty() {
        return Ok(());
    }
    let (devices, counts): (Vec<&str>, Vec<i64>) = counts.into_iter().unzip();
    sqlx::query(
        "INSERT INTO telemetry_duplicates AS known (log_id, aggregate_id, duplicates)
         SELECT $1, device, count FROM unnest($2::text[], $3::bigint[]) AS repeated (device, count)
         ON CONFLICT ON CONSTRAINT telemetry_duplicates_key
         DO UPDATE SET duplicates = known.duplicates + excluded.duplicates",
    )
    .bind(log_id)
    .bind(devices)
    .bind(counts)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// Postgres reports a row that fits no partition as a check violation that names no constraint.
fn is_missing_partition(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .is_some_and(|error| error.code().as_deref() == Some("23514") && error.constraint().is_none())
}
