//! The statements of an append, in the order in which it sends them.
//!
//! A statement of its own locks the head's row. The statements after it take a new snapshot, which shows what the
//! previous holder of the lock committed; a single statement for everything would not see that.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use fleetlog_aggregates::telemetry::{MAX_AHEAD, Recorded};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Postgres, Row, Transaction};

use crate::{Error, LogId, Position, Result};

/// A log that only this transaction may append to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Locked {
    pub(super) head: Position,
    /// When the lock was taken, by the database's clock: everything appended under it is recorded at this time.
    pub(super) now: DateTime<Utc>,
    /// When the partition for that time begins.
    pub(super) week: DateTime<Utc>,
}

impl FromRow<'_, PgRow> for Locked {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self { head: row.try_get("head")?, now: row.try_get("now")?, week: row.try_get("week")? })
    }
}

/// Waits for the lock on a log. The query is nested so that the clock is read once, and after the lock is held.
pub(super) async fn lock(transaction: &mut Transaction<'_, Postgres>, log_id: LogId) -> Result<Locked> {
    sqlx::query_as(
        "SELECT head, now, date_trunc('week', now, 'UTC') AS week
         FROM (
             SELECT head, clock_timestamp() AS now
             FROM (SELECT head FROM logs WHERE log_id = $1 FOR NO KEY UPDATE) AS locked
         ) AS known",
    )
    .bind(log_id)
    .fetch_optional(&mut **transaction)
    .await?
    .ok_or(Error::NoSuchLog(log_id))
}

/// A message that may be on the record, and the earliest time at which it may have been recorded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Suspect<'b> {
    pub(super) event: &'b Recorded,
    pub(super) since: DateTime<Utc>,
}

/// Whether a log has anything that was recorded at this time or later.
pub(super) async fn is_recorded_since(
    transaction: &mut Transaction<'_, Postgres>,
    log_id: LogId,
    moment: DateTime<Utc>,
) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT FROM telemetry_events WHERE log_id = $1 AND recorded_at >= $2)";
    Ok(sqlx::query_scalar(sql).bind(log_id).bind(moment).fetch_one(&mut **transaction).await?)
}

/// What is on the record under a message's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    /// A message of the same content.
    TheSame,
    /// Only messages of other content.
    Another,
}

/// What is recorded on a log under the ids of these messages, before `until`.
pub(super) async fn look_up(
    transaction: &mut Transaction<'_, Postgres>,
    log_id: LogId,
    until: DateTime<Utc>,
    suspects: &[Suspect<'_>],
) -> Result<Vec<Found>> {
    let fresh = matching(transaction, log_id, until, suspects, FRESH, false).await?;
    let mut found = vec![Found::Another; suspects.len()];
    for index in fresh {
        found[index] = Found::Nothing;
    }
    // Few are on the record, so only for them are contents compared.
    let places: Vec<usize> = (0..suspects.len()).filter(|&place| found[place] == Found::Another).collect();
    let repeats: Vec<Suspect<'_>> = places.iter().map(|&place| suspects[place]).collect();
    for index in matching(transaction, log_id, until, &repeats, THE_SAME, true).await? {
        found[places[index]] = Found::TheSame;
    }
    Ok(found)
}

const FRESH: &str = "
    SELECT ordinal - 1
    FROM unnest($2::text[], $3::text[], $4::timestamptz[])
         WITH ORDINALITY AS suspect (aggregate_id, msg_id, since, ordinal)
    WHERE NOT EXISTS (
        SELECT FROM telemetry_events AS earlier
        WHERE earlier.log_id = $1 AND earlier.aggregate_id = suspect.aggregate_id
          AND earlier.msg_id = suspect.msg_id AND earlier.recorded_at >= suspect.since
          -- Constants, which keep other partitions out of the plan, and not only out of its execution.
          AND earlier.recorded_at >= $5 AND earlier.recorded_at < $6)";

const THE_SAME: &str = "
    SELECT ordinal - 1
    FROM unnest($2::text[], $3::text[], $4::timestamptz[], $7::text[])
         WITH ORDINALITY AS suspect (aggregate_id, msg_id, since, payload, ordinal)
    WHERE EXISTS (
        SELECT FROM telemetry_events AS earlier
        WHERE earlier.log_id = $1 AND earlier.aggregate_id = suspect.aggregate_id
          AND earlier.msg_id = suspect.msg_id AND earlier.recorded_at >= suspect.since
          AND earlier.recorded_at >= $5 AND earlier.recorded_at < $6
          AND earlier.payload::text = suspect.payload)";

/// The indexes of the messages that a statement selects.
async fn matching(
    transaction: &mut Transaction<'_, Postgres>,
    log_id: LogId,
    until: DateTime<Utc>,
    suspects: &[Suspect<'_>],
    sql: &str,
    takes_payloads: bool,
) -> Result<Vec<usize>> {
    let Some(earliest) = suspects.iter().map(|suspect| suspect.since).min() else { return Ok(vec![]) };
    let mut query = sqlx::query_scalar(sql)
        .bind(log_id)
        .bind(column(suspects, |suspect| suspect.event.aggregate_id.as_str()))
        .bind(column(suspects, |suspect| suspect.event.msg_id.as_str()))
        .bind(column(suspects, |suspect| suspect.since))
        .bind(earliest)
        .bind(until);
    if takes_payloads {
        query = query.bind(column(suspects, |suspect| suspect.event.payload.as_str()));
    }
    let indexes: Vec<i64> = query.fetch_all(&mut **transaction).await?;
    Ok(indexes.into_iter().map(|index| index as usize).collect())
}

/// Appends these events in their order, adds `repeats` to the counts of duplicates, and moves the head.
pub(super) async fn write(
    transaction: &mut Transaction<'_, Postgres>,
    log_id: LogId,
    Locked { head, now, .. }: Locked,
    events: &[&Recorded],
    repeats: impl Iterator<Item = &Recorded>,
) -> Result<(), sqlx::Error> {
    let (devices, counts) = counted(repeats);
    sqlx::query(
        "WITH appended AS (
             INSERT INTO telemetry_events
                 (log_id, position, occurred_at, recorded_at, flags, aggregate_id, msg_id, payload)
             SELECT $1, $2 + ordinal, occurred_at, $3, flags, aggregate_id, msg_id, payload::json
             FROM unnest($4::timestamptz[], $5::smallint[], $6::text[], $7::text[], $8::text[])
                  WITH ORDINALITY AS batch (occurred_at, flags, aggregate_id, msg_id, payload, ordinal)
         ), counted AS (
             INSERT INTO telemetry_duplicates AS known (log_id, aggregate_id, duplicates)
             SELECT $1, device, count FROM unnest($9::text[], $10::bigint[]) AS repeated (device, count)
             ON CONFLICT ON CONSTRAINT telemetry_duplicates_key
             DO UPDATE SET duplicates = known.duplicates + excluded.duplicates
         )
         UPDATE logs SET head = $11 WHERE log_id = $1 AND head < $11",
    )
    .bind(log_id)
    .bind(head)
    .bind(now)
    .bind(column(events, |event| event.occurred_at.min(now + MAX_AHEAD)))
    .bind(column(events, |event| event.flags.bits()))
    .bind(column(events, |event| event.aggregate_id.as_str()))
    .bind(column(events, |event| event.msg_id.as_str()))
    .bind(column(events, |event| event.payload.as_str()))
    .bind(devices)
    .bind(counts)
    .bind(head + events.len() as Position)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// Counts the repeats of each device.
fn counted<'b>(repeats: impl Iterator<Item = &'b Recorded>) -> (Vec<&'b str>, Vec<i64>) {
    let mut counts: HashMap<&str, i64> = HashMap::new();
    for event in repeats {
        *counts.entry(&event.aggregate_id).or_default() += 1;
    }
    counts.into_iter().unzip()
}

fn column<'r, R: Copy, T>(rows: &'r [R], value: impl Fn(R) -> T + 'r) -> Vec<T> {
    rows.iter().map(|&row| value(row)).collect()
}

/// Postgres reports a row that fits no partition as a check violation that names no constraint.
pub(super) fn is_missing_partition(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .is_some_and(|error| error.code().as_deref() == Some("23514") && error.constraint().is_none())
}

/// Whether the error says that a message is in its partition already. Each partition names its key after itself.
pub(super) fn is_repeat(error: &Error) -> bool {
    let Some(error) = error.refusal() else { return false };
    error.is_unique_violation() && error.constraint().is_some_and(|key| key.ends_with("_msg_id"))
}
