//! What all nodes have counted: the table `rate_counters`.

use std::collections::HashMap;

use fleetlog_event_log::Error;
use sqlx::{PgPool, Row};

use super::counters::Due;
use super::key::Key;
use super::rule::{Rule, Window};

/// Adds what this node has counted, in one statement, and says what all have. Windows are told apart by their keys'
/// rows; a key is in one window at a time.
pub(super) async fn add(pool: &PgPool, due: &[Due]) -> Result<HashMap<Key, u64>, Error> {
    let rows = sqlx::query(
        "INSERT INTO rate_counters AS counter (key, window_start, window_end, used)
         SELECT key, to_timestamp(starts), to_timestamp(ends), used
         FROM unnest($1::bytea[], $2::float8[], $3::float8[], $4::bigint[]) AS due (key, starts, ends, used)
         ON CONFLICT (key, window_start) DO UPDATE SET used = counter.used + excluded.used
         RETURNING key, used",
    )
    .bind(due.iter().map(|due| due.key.as_bytes()).collect::<Vec<_>>())
    .bind(due.iter().map(|due| due.window.start as f64).collect::<Vec<_>>())
    .bind(due.iter().map(|due| due.window.end as f64).collect::<Vec<_>>())
    .bind(due.iter().map(|due| due.used as i64).collect::<Vec<_>>())
    .fetch_all(pool)
    .await?;
    let mut totals = HashMap::with_capacity(rows.len());
    for row in rows {
        if let Some(key) = Key::from_bytes(row.try_get("key")?) {
            totals.insert(key, row.try_get::<i64, _>("used")? as u64);
        }
    }
    Ok(totals)
}

/// Takes one request: how many that makes, or `None` where there was nothing left.
pub(super) async fn take(pool: &PgPool, key: Key, rule: &Rule, window: Window) -> Result<Option<u64>, Error> {
    let used: Option<i64> = sqlx::query_scalar(
        "INSERT INTO rate_counters AS counter (key, window_start, window_end, used)
         VALUES ($1, to_timestamp($2), to_timestamp($3), 1)
         ON CONFLICT (key, window_start) DO UPDATE SET used = counter.used + 1 WHERE counter.used < $4
         RETURNING used",
    )
    .bind(key.as_bytes())
    .bind(window.start as f64)
    .bind(window.end as f64)
    .bind(i64::from(rule.requests))
    .fetch_optional(pool)
    .await?;
    Ok(used.map(|used| used as u64))
}

/// Deletes the windows that are over, and the attempts that have been forgiven. What is more than a day ahead was
/// counted while Postgres's clock was ahead: no window is longer than that, and no allowance.
pub(super) async fn sweep(pool: &PgPool) -> Result<(), Error> {
    for over in [
        "DELETE FROM rate_counters
         WHERE window_end < clock_timestamp() OR window_start > clock_timestamp() + interval '1 day'",
        "DELETE FROM attempts
         WHERE whole_at < clock_timestamp() OR whole_at > clock_timestamp() + interval '1 day'",
    ] {
        sqlx::query(over).execute(pool).await?;
    }
    Ok(())
}
