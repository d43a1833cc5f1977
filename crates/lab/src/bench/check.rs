//! Checks at the end of a run, so that no figure comes from work that was lost, doubled or left undone.

use anyhow::ensure;
use sqlx::PgConnection;

use super::load::{self, METRICS};

/// About how many devices have all their windows compared with the result of SQL over their events.
const SAMPLE: u32 = 20;

/// Checks that this many different messages are in the log, each once, in positions without a gap.
pub(super) async fn events(owner: &mut PgConnection, messages: u64) -> anyhow::Result<String> {
    let (events, last, different): (i64, i64, i64) = sqlx::query_as(
        "SELECT count(DISTINCT position), coalesce(max(position), 0), count(DISTINCT (aggregate_id, msg_id))
         FROM telemetry_events",
    )
    .fetch_one(owner)
    .await?;
    let sent = messages as i64;
    ensure!(
        (events, last, different) == (sent, sent, sent),
        "{sent} different messages were sent; {different} are stored as {events} events up to position {last}"
    );
    Ok(format!("{messages} different messages are on the record, each once, in positions without a hole"))
}

/// Checks that this many repeats are counted.
pub(super) async fn repeats(owner: &mut PgConnection, repeats: u64) -> anyhow::Result<String> {
    let counted: i64 =
        sqlx::query_scalar("SELECT coalesce(sum(duplicates), 0)::bigint FROM telemetry_duplicates")
            .fetch_one(owner)
            .await?;
    ensure!(counted == repeats as i64, "{repeats} messages came again; {counted} are counted");
    Ok(format!("{repeats} repeats are counted"))
}

/// Checks that every reading is in the windows, and that a sample of devices has the windows that SQL computes.
pub(super) async fn windows(owner: &mut PgConnection, messages: u64, devices: u32) -> anyhow::Result<String> {
    let counted: Option<i64> =
        sqlx::query_scalar("SELECT sum(count)::bigint FROM telemetry_windows WHERE step = 60")
            .fetch_one(&mut *owner)
            .await?;
    let readings = messages * METRICS.len() as u64;
    ensure!(counted == Some(readings as i64), "{readings} readings, but {counted:?} in the windows");
    let sample: Vec<_> =
        (0..devices).step_by((devices / SAMPLE).max(1) as usize).map(load::aggregate_id).collect();
    let different: i64 = sqlx::query_scalar(DIFFERENT).bind(&sample).fetch_one(owner).await?;
    ensure!(different == 0, "{different} windows are not what SQL makes of the events");
    Ok(format!("{readings} readings are in the windows, and those of {} devices equal SQL's", sample.len()))
}

/// The number of windows that are on one side only, or differ. First and last are ordered by the device's clock, then
/// by position.
const DIFFERENT: &str = "
    WITH readings AS (
        SELECT aggregate_id, key AS metric, value::float8 AS value, occurred_at, position
        FROM telemetry_events CROSS JOIN LATERAL json_each_text(payload)
        WHERE aggregate_id COLLATE \"POSIX\" = ANY($1) AND key NOT IN ('msg_id', 'ts')
    ), expected AS (
        SELECT aggregate_id, metric, step, to_timestamp(floor(extract(epoch FROM occurred_at) / step) * step) AS start,
               count(*) AS count, sum(value) AS sum, min(value) AS min, max(value) AS max,
               (array_agg(value ORDER BY occurred_at, position))[1] AS first, min(occurred_at) AS first_at,
               (array_agg(value ORDER BY occurred_at DESC, position DESC))[1] AS last, max(occurred_at) AS last_at,
               max(position) AS position
        FROM readings CROSS JOIN (VALUES (60), (3600), (86400)) AS steps (step)
        GROUP BY aggregate_id, metric, step, start
    ), stored AS (
        SELECT aggregate_id, metric, step, start, count, sum, min, max, first, first_at, last, last_at, position
        FROM telemetry_windows WHERE aggregate_id = ANY($1)
    )
    SELECT count(*) FROM ((TABLE expected EXCEPT TABLE stored) UNION ALL (TABLE stored EXCEPT TABLE expected)) AS differing";
