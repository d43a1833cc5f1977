//! Trees, tiles and checkpoints as Postgres keeps them.

use chrono::{DateTime, Utc};
use fleetlog_event_log::{Log, LogId, Position};
use sqlx::{PgConnection, Row};

use crate::Error;
use crate::hash::Hash;
use crate::note::SignedCheckpoint;
use crate::record;
use crate::tree::{self, TileId, Tiles};

/// How far a log's tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tree {
    /// The number of leaves, and so the last position.
    pub size: Position,
    /// When the event of the last leaf was recorded.
    pub recorded_at: Option<DateTime<Utc>>,
}

/// A checkpoint as it is stored.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The checkpoint, with the log's signature and those of witnesses.
    pub note: SignedCheckpoint,
    /// When it was signed, by Postgres's clock.
    pub signed_at: DateTime<Utc>,
}

/// The size of each log's tree. A log without one has none.
pub async fn sizes(connection: &mut PgConnection) -> Result<Vec<(LogId, Position)>, Error> {
    let rows = sqlx::query("SELECT log_id, size FROM audit_trees").fetch_all(connection).await?;
    rows.iter().map(|row| Ok((row.try_get("log_id")?, row.try_get("size")?))).collect()
}

/// A log's tree, locked until the transaction ends.
pub(crate) async fn lock_tree(connection: &mut PgConnection, log_id: LogId) -> Result<Tree, Error> {
    sqlx::query("INSERT INTO audit_trees (log_id, size) VALUES ($1, 0) ON CONFLICT (log_id) DO NOTHING")
        .bind(log_id)
        .execute(&mut *connection)
        .await?;
    let row = sqlx::query("SELECT size, recorded_at FROM audit_trees WHERE log_id = $1 FOR UPDATE")
        .bind(log_id)
        .fetch_one(connection)
        .await?;
    Ok(Tree { size: row.try_get("size")?, recorded_at: row.try_get("recorded_at")? })
}

pub(crate) async fn move_tree(
    connection: &mut PgConnection,
    log_id: LogId,
    tree: &Tree,
) -> Result<(), Error> {
    sqlx::query("UPDATE audit_trees SET size = $2, recorded_at = $3 WHERE log_id = $1")
        .bind(log_id)
        .bind(tree.size)
        .bind(tree.recorded_at)
        .execute(connection)
        .await?;
    Ok(())
}

/// Those of some tiles that are stored.
pub async fn tiles(connection: &mut PgConnection, log_id: LogId, wanted: &[TileId]) -> Result<Tiles, Error> {
    let levels: Vec<i16> = wanted.iter().map(|tile| i16::from(tile.level)).collect();
    let indexes: Vec<i64> = wanted.iter().map(|tile| tile.index as i64).collect();
    let rows = sqlx::query(
        "SELECT level, index, hashes FROM audit_tiles JOIN unnest($2::smallint[], $3::bigint[])
             AS wanted (level, index) USING (level, index)
         WHERE log_id = $1",
    )
    .bind(log_id)
    .bind(levels)
    .bind(indexes)
    .fetch_all(connection)
    .await?;
    rows.iter().map(tile).collect()
}

/// The tiles of a level from one index to another, both included.
pub async fn level(
    connection: &mut PgConnection,
    log_id: LogId,
    level: u8,
    (first, last): (u64, u64),
) -> Result<Tiles, Error> {
    let rows = sqlx::query(
        "SELECT level, index, hashes FROM audit_tiles
         WHERE log_id = $1 AND level = $2 AND index BETWEEN $3 AND $4",
    )
    .bind(log_id)
    .bind(i16::from(level))
    .bind(first as i64)
    .bind(i64::try_from(last).unwrap_or(i64::MAX))
    .fetch_all(connection)
    .await?;
    rows.iter().map(tile).collect()
}

fn tile(row: &sqlx::postgres::PgRow) -> Result<(TileId, Vec<Hash>), Error> {
    let (level, index): (i16, i64) = (row.try_get("level")?, row.try_get("index")?);
    let hashes = tree::from_bytes(row.try_get("hashes")?).unwrap_or_default();
    Ok((TileId { level: level as u8, index: index as u64 }, hashes))
}

pub(crate) async fn keep_tiles<'a>(
    connection: &mut PgConnection,
    log_id: LogId,
    tiles: impl Iterator<Item = (TileId, &'a [Hash])>,
) -> Result<(), Error> {
    let (mut levels, mut indexes, mut bytes): (Vec<i16>, Vec<i64>, Vec<Vec<u8>>) = Default::default();
    for (tile, hashes) in tiles {
        levels.push(i16::from(tile.level));
        indexes.push(tile.index as i64);
        bytes.push(tree::to_bytes(hashes));
    }
    sqlx::query(
        "INSERT INTO audit_tiles (log_id, level, index, hashes)
         SELECT $1, * FROM unnest($2::smallint[], $3::bigint[], $4::bytea[])
         ON CONFLICT ON CONSTRAINT audit_tiles_key DO UPDATE SET hashes = excluded.hashes",
    )
    .bind(log_id)
    .bind(levels)
    .bind(indexes)
    .bind(bytes)
    .execute(connection)
    .await?;
    Ok(())
}

/// Positions of a log that are none: below 1, or beyond its head. At most 100.
pub(crate) async fn strays(connection: &mut PgConnection, log: &Log) -> Result<Vec<Position>, Error> {
    let sql = format!(
        "SELECT position FROM {} WHERE log_id = $1
           AND (position < 1 OR position > (SELECT head FROM logs WHERE log_id = $1))
         ORDER BY position LIMIT 100",
        record::table(log.lane)
    );
    Ok(sqlx::query_scalar(&sql).bind(log.log_id).fetch_all(connection).await?)
}

/// Says which root a size has, once and for all, before anything is signed. Returns the root that was said first.
pub(crate) async fn settle_root(
    connection: &mut PgConnection,
    log_id: LogId,
    size: Position,
    root: Hash,
) -> Result<Hash, Error> {
    sqlx::query(
        "INSERT INTO audit_checkpoints (log_id, size, root) VALUES ($1, $2, $3)
         ON CONFLICT ON CONSTRAINT audit_checkpoints_key DO NOTHING",
    )
    .bind(log_id)
    .bind(size)
    .bind(root.0.as_slice())
    .execute(&mut *connection)
    .await?;
    let settled: Vec<u8> =
        sqlx::query_scalar("SELECT root FROM audit_checkpoints WHERE log_id = $1 AND size = $2")
            .bind(log_id)
            .bind(size)
            .fetch_one(connection)
            .await?;
    Hash::from_slice(&settled).ok_or(Error::Malformed(crate::record::Malformed))
}

pub(crate) async fn publish(
    connection: &mut PgConnection,
    log_id: LogId,
    note: &SignedCheckpoint,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE audit_checkpoints SET note = $3, signed_at = clock_timestamp()
         WHERE log_id = $1 AND size = $2 AND note IS NULL",
    )
    .bind(log_id)
    .bind(note.checkpoint.size as i64)
    .bind(note.text())
    .execute(connection)
    .await?;
    Ok(())
}

/// Adds a line to a checkpoint that still is this note.
pub(crate) async fn add_cosignature(
    connection: &mut PgConnection,
    log_id: LogId,
    note: &SignedCheckpoint,
    line: &str,
) -> Result<bool, Error> {
    let added = sqlx::query(
        "UPDATE audit_checkpoints SET cosignatures = cosignatures || $4
         WHERE log_id = $1 AND size = $2 AND note || cosignatures = $3",
    )
    .bind(log_id)
    .bind(note.checkpoint.size as i64)
    .bind(note.text())
    .bind(line)
    .execute(connection)
    .await?;
    Ok(added.rows_affected() > 0)
}

/// The columns of [`Stored`].
const STORED: &str = "SELECT log_id, note || cosignatures AS note, signed_at FROM audit_checkpoints";

fn stored(row: &sqlx::postgres::PgRow) -> Result<Stored, Error> {
    let note: String = row.try_get("note")?;
    Ok(Stored { note: note.parse()?, signed_at: row.try_get("signed_at")? })
}

/// A log's newest checkpoint.
pub async fn newest(connection: &mut PgConnection, log_id: LogId) -> Result<Option<Stored>, Error> {
    let sql = format!("{STORED} WHERE log_id = $1 AND note IS NOT NULL ORDER BY size DESC LIMIT 1");
    let row = sqlx::query(&sql).bind(log_id).fetch_optional(connection).await?;
    row.as_ref().map(stored).transpose()
}

/// A log's checkpoint of exactly this size.
pub async fn of_size(
    connection: &mut PgConnection,
    log_id: LogId,
    size: u64,
) -> Result<Option<Stored>, Error> {
    let Ok(size) = i64::try_from(size) else { return Ok(None) };
    let sql = format!("{STORED} WHERE log_id = $1 AND note IS NOT NULL AND size = $2");
    let row = sqlx::query(&sql).bind(log_id).bind(size).fetch_optional(connection).await?;
    row.as_ref().map(stored).transpose()
}

/// A log's checkpoints above a size, smallest first, at most `limit`.
pub async fn above(
    connection: &mut PgConnection,
    log_id: LogId,
    size: u64,
    limit: i64,
) -> Result<Vec<Stored>, Error> {
    let sql = format!("{STORED} WHERE log_id = $1 AND note IS NOT NULL AND size > $2 ORDER BY size LIMIT $3");
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    let rows = sqlx::query(&sql).bind(log_id).bind(size).bind(limit).fetch_all(connection).await?;
    rows.iter().map(stored).collect()
}

/// The newest checkpoint of each log that has one.
pub async fn newest_of_all(connection: &mut PgConnection) -> Result<Vec<(LogId, Stored)>, Error> {
    let rows = sqlx::query(
        "SELECT log_id, newest.* FROM audit_trees CROSS JOIN LATERAL (
             SELECT note || cosignatures AS note, signed_at FROM audit_checkpoints
             WHERE audit_checkpoints.log_id = audit_trees.log_id AND note IS NOT NULL
             ORDER BY audit_checkpoints.size DESC LIMIT 1) AS newest",
    )
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| Ok((row.try_get("log_id")?, stored(row)?))).collect()
}

/// When the oldest checkpoint was signed that lies above a size, of some logs with a size each.
pub(crate) async fn oldest_above(
    connection: &mut PgConnection,
    sizes: impl Iterator<Item = (LogId, u64)>,
) -> Result<Option<DateTime<Utc>>, Error> {
    let (logs, sizes): (Vec<i32>, Vec<i64>) = sizes.map(|(log_id, size)| (log_id.0, size as i64)).unzip();
    let oldest = sqlx::query_scalar(
        "SELECT min(next.signed_at) FROM unnest($1::int[], $2::bigint[]) AS of (log_id, size) CROSS JOIN LATERAL (
             SELECT signed_at FROM audit_checkpoints
             WHERE audit_checkpoints.log_id = of.log_id AND audit_checkpoints.size > of.size AND note IS NOT NULL
             ORDER BY audit_checkpoints.size LIMIT 1) AS next",
    );
    Ok(oldest.bind(logs).bind(sizes).fetch_one(connection).await?)
}

/// The installation's verifier key that signs now. `None` before the first one.
pub async fn key(connection: &mut PgConnection) -> Result<Option<String>, Error> {
    let newest = "SELECT vkey FROM audit_keys ORDER BY since DESC LIMIT 1";
    Ok(sqlx::query_scalar(newest).fetch_optional(connection).await?)
}

/// All of the installation's verifier keys, newest first.
pub async fn keys(connection: &mut PgConnection) -> Result<Vec<String>, Error> {
    let keys = "SELECT vkey FROM audit_keys ORDER BY since DESC";
    Ok(sqlx::query_scalar(keys).fetch_all(connection).await?)
}

/// Makes a verifier key the one that signs.
pub async fn add_key(connection: &mut PgConnection, vkey: &str) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO audit_keys (vkey) VALUES ($1) ON CONFLICT ON CONSTRAINT audit_keys_key DO NOTHING",
    )
    .bind(vkey)
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes checkpoints that are a day old, except the last of each hour, and those that are a year old, except the last
/// of each day: some 9,000 a log for the first year, 400 for each further one.
pub(crate) async fn thin_out(connection: &mut PgConnection) -> Result<u64, Error> {
    let thinned = sqlx::query(
        "DELETE FROM audit_checkpoints USING (
             SELECT log_id, size, row_number() OVER (
                 PARTITION BY log_id, date_trunc(CASE WHEN signed_at < now() - interval '1 year' THEN 'day' ELSE 'hour' END, signed_at)
                 ORDER BY size DESC) AS nth
             FROM audit_checkpoints WHERE signed_at < now() - interval '1 day'
         ) AS old
         WHERE old.nth > 1 AND old.log_id = audit_checkpoints.log_id AND old.size = audit_checkpoints.size",
    )
    .execute(connection)
    .await?;
    Ok(thinned.rows_affected())
}
