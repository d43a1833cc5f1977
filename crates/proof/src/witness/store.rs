//! What each witness took last, as Postgres keeps it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use fleetlog_event_log::LogId;
use sqlx::{PgConnection, Row};

use crate::Error;
use crate::hash::Hash;
use crate::note::{Checkpoint, Cosignature};

/// What a witness took of a log, and why it has not taken more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The witness.
    pub witness: String,
    /// The log.
    pub log_id: LogId,
    /// The log's name in the checkpoint that it took last. `None`: it took none.
    pub origin: Option<String>,
    /// The size of that checkpoint, or 0.
    pub size: u64,
    /// Its root.
    pub root: Option<Hash>,
    /// When it took it, by Postgres's clock.
    pub taken_at: Option<DateTime<Utc>>,
    /// The line with which it signed.
    pub cosignature: Option<String>,
    /// Why it has not taken the newest one, and since when.
    pub problem: Option<(String, DateTime<Utc>)>,
}

const STANDINGS: &str =
    "SELECT witness, log_id, origin, size, root, taken_at, cosignature, problem, problem_since
    FROM audit_witnesses";

fn standing(row: &sqlx::postgres::PgRow) -> Result<Standing, Error> {
    let (problem, since): (Option<String>, _) = (row.try_get("problem")?, row.try_get("problem_since")?);
    Ok(Standing {
        witness: row.try_get("witness")?,
        log_id: row.try_get("log_id")?,
        origin: row.try_get("origin")?,
        size: row.try_get::<i64, _>("size")? as u64,
        root: row.try_get::<Option<Vec<u8>>, _>("root")?.as_deref().and_then(Hash::from_slice),
        taken_at: row.try_get("taken_at")?,
        cosignature: row.try_get("cosignature")?,
        problem: problem.zip(since),
    })
}

/// What every witness took, by witness and log.
pub async fn all(connection: &mut PgConnection) -> Result<Vec<Standing>, Error> {
    let sql = format!("{STANDINGS} ORDER BY witness, log_id");
    sqlx::query(&sql).fetch_all(connection).await?.iter().map(standing).collect()
}

/// What every witness took of one log, by witness.
pub(crate) async fn of_log(connection: &mut PgConnection, log_id: LogId) -> Result<Vec<Standing>, Error> {
    let sql = format!("{STANDINGS} WHERE log_id = $1 ORDER BY witness");
    sqlx::query(&sql).bind(log_id).fetch_all(connection).await?.iter().map(standing).collect()
}

/// What one witness took.
pub(super) async fn of(
    connection: &mut PgConnection,
    witness: &str,
) -> Result<BTreeMap<LogId, Standing>, Error> {
    let sql = format!("{STANDINGS} WHERE witness = $1");
    let rows = sqlx::query(&sql).bind(witness).fetch_all(connection).await?;
    rows.iter().map(|row| standing(row).map(|standing| (standing.log_id, standing))).collect()
}

/// Notes that a witness took a checkpoint, perhaps with its signature. A node that no longer sends to the witness may say
/// so late: of two checkpoints of one log the larger one stays.
pub(super) async fn took(
    connection: &mut PgConnection,
    witness: &str,
    log_id: LogId,
    (checkpoint, cosignature): (&Checkpoint, Option<&Cosignature>),
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO audit_witnesses AS known (witness, log_id, origin, size, root, taken_at, cosignature)
         VALUES ($1, $2, $3, $4, $5, clock_timestamp(), $6)
         ON CONFLICT ON CONSTRAINT audit_witnesses_key DO UPDATE
         SET (origin, size, root, taken_at, cosignature, problem, problem_since, seen_at) =
             (excluded.origin, excluded.size, excluded.root, excluded.taken_at, excluded.cosignature, NULL, NULL,
              excluded.seen_at)
         WHERE known.origin IS DISTINCT FROM excluded.origin OR known.size <= excluded.size",
    )
    .bind(witness)
    .bind(log_id)
    .bind(&checkpoint.origin)
    .bind(checkpoint.size as i64)
    .bind(checkpoint.root.0.as_slice())
    .bind(cosignature.map(Cosignature::text))
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes why a witness has not taken the newest checkpoints of some logs.
pub(super) async fn failed(
    connection: &mut PgConnection,
    witness: &str,
    logs: &[LogId],
    problem: &str,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO audit_witnesses AS known (witness, log_id, problem, problem_since)
         SELECT $1, log_id, $3, clock_timestamp() FROM unnest($2::int[]) AS log_id
         ON CONFLICT ON CONSTRAINT audit_witnesses_key DO UPDATE
         SET (problem, problem_since, seen_at) =
             (excluded.problem, coalesce(known.problem_since, excluded.problem_since), excluded.seen_at)
         WHERE known.problem IS DISTINCT FROM excluded.problem",
    )
    .bind(witness)
    .bind(logs.iter().map(|log_id| log_id.0).collect::<Vec<_>>())
    .bind(problem)
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes that this witness is still sent to, and forgets those that no node has sent to for 90 days.
pub(super) async fn keep(connection: &mut PgConnection, witness: &str) -> Result<(), Error> {
    sqlx::query("UPDATE audit_witnesses SET seen_at = clock_timestamp() WHERE witness = $1")
        .bind(witness)
        .execute(&mut *connection)
        .await?;
    sqlx::query("DELETE FROM audit_witnesses WHERE seen_at < clock_timestamp() - interval '90 days'")
        .execute(connection)
        .await?;
    Ok(())
}
