//! The rows of `alarm_standings`: how a condition stands for a device, and which alarm is open because of that.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use fleetlog_aggregates::alarm_rule::{Recent, Since, Standing};
use fleetlog_aggregates::identity::{Tenant, Uid};
use fleetlog_event_log::Result;
use fleetlog_event_log::database::parsed;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

/// A row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stood {
    pub(super) rule: String,
    pub(super) epoch: u32,
    /// The metric or the command type; empty for a silence.
    pub(super) subject: String,
    pub(super) standing: Standing,
    /// The alarm that is open.
    pub(super) alarm_id: Option<Uuid>,
    /// When the clock is asked again, at the latest.
    pub(super) due_at: Option<DateTime<Utc>>,
    pub(super) change: Change,
}

/// What is to be done with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Nothing,
    Write,
    Remove,
}

/// The rows of some devices.
pub(super) type OfDevices = HashMap<Uid, Vec<Stood>>;

const COLUMNS: &str =
    "device_uid, rule, epoch, subject, seen_at, value, since_at, since_recorded_at, since_position, raised,
    alarm_id, due_at, low_ats, lows, high_ats, highs";

/// The rows of these devices.
pub(super) async fn of_devices(pool: &PgPool, tenant: &Tenant, uids: &[&str]) -> Result<OfDevices> {
    let sql = format!("SELECT {COLUMNS} FROM alarm_standings WHERE tenant = $1 AND device_uid = ANY($2)");
    let rows = sqlx::query(&sql).bind(tenant.as_str()).bind(uids).fetch_all(pool).await?;
    Ok(by_device(&rows)?)
}

/// Which devices have a row of one of these rules that is due, the longest due first, at most `limit`.
pub(super) async fn due(
    pool: &PgPool,
    tenant: &Tenant,
    rules: &[&str],
    now: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Uid>> {
    let rows = sqlx::query(
        "SELECT device_uid FROM alarm_standings WHERE tenant = $1 AND due_at <= $2 AND rule = ANY($3)
         ORDER BY due_at LIMIT $4",
    );
    let rows = rows.bind(tenant.as_str()).bind(now).bind(rules).bind(limit).fetch_all(pool).await?;
    let mut uids: Vec<Uid> = rows.iter().map(|row| parsed(row, "device_uid")).collect::<Result<_, _>>()?;
    uids.sort_unstable();
    uids.dedup();
    Ok(uids)
}

/// When the clock is to be asked next.
pub(super) async fn next_due(pool: &PgPool, tenant: &Tenant) -> Result<Option<DateTime<Utc>>> {
    let next = sqlx::query_scalar(
        "SELECT min(due_at) FROM alarm_standings WHERE tenant = $1 AND due_at IS NOT NULL",
    );
    Ok(next.bind(tenant.as_str()).fetch_one(pool).await?)
}

/// How many alarms of a tenant are open.
pub(super) async fn open(pool: &PgPool, tenant: &Tenant) -> Result<usize> {
    let open =
        sqlx::query_scalar("SELECT count(*) FROM alarm_standings WHERE tenant = $1 AND alarm_id IS NOT NULL");
    let open: i64 = open.bind(tenant.as_str()).fetch_one(pool).await?;
    Ok(usize::try_from(open).unwrap_or(0))
}

/// The rules that have rows, with their epochs.
pub(super) async fn epochs(pool: &PgPool, tenant: &Tenant) -> Result<Vec<(String, u32)>> {
    // From one value of the index to the next: there may be a hundred thousand rows of each.
    let rows: Vec<(String, i32)> = sqlx::query_as(
        "WITH RECURSIVE found AS (
             (SELECT rule, epoch FROM alarm_standings WHERE tenant = $1 ORDER BY rule, epoch LIMIT 1)
             UNION ALL
             SELECT next.rule, next.epoch FROM found CROSS JOIN LATERAL (
                 SELECT rule, epoch FROM alarm_standings
                 WHERE tenant = $1 AND (rule, epoch) > (found.rule, found.epoch)
                 ORDER BY rule, epoch LIMIT 1) AS next
         )
         SELECT rule, epoch FROM found",
    )
    .bind(tenant.as_str())
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|(rule, epoch)| (rule, epoch.cast_unsigned())).collect())
}

/// Some rows of an epoch of a rule.
pub(super) async fn of_epoch(
    pool: &PgPool,
    tenant: &Tenant,
    (rule, epoch): (&str, u32),
    limit: i64,
) -> Result<OfDevices> {
    let sql = format!(
        "SELECT {COLUMNS} FROM alarm_standings WHERE tenant = $1 AND rule = $2 AND epoch = $3 LIMIT $4"
    );
    let rows = sqlx::query(&sql).bind(tenant.as_str()).bind(rule).bind(epoch.cast_signed()).bind(limit);
    Ok(by_device(&rows.fetch_all(pool).await?)?)
}

/// Lets a rule about silence know under its new epoch when devices were heard last. No alarm goes over with it.
pub(super) async fn carry_over(
    connection: &mut PgConnection,
    tenant: &Tenant,
    rule: &str,
    (from, to): (u32, u32),
    for_s: u32,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO alarm_standings
             (tenant, device_uid, rule, epoch, subject, since_at, since_recorded_at, since_position, raised, due_at)
         SELECT tenant, device_uid, rule, $4, subject, since_at, since_recorded_at, since_position, false,
                since_recorded_at + make_interval(secs => $5)
         FROM alarm_standings WHERE tenant = $1 AND rule = $2 AND epoch = $3 AND since_position IS NOT NULL
         ON CONFLICT ON CONSTRAINT alarm_standings_key DO NOTHING",
    )
    .bind(tenant.as_str())
    .bind(rule)
    .bind(from.cast_signed())
    .bind(to.cast_signed())
    .bind(f64::from(for_s))
    .execute(connection)
    .await?;
    Ok(())
}

/// Collects one column of the rows that are written.
macro_rules! column {
    ($rows:expr, $row:ident => $value:expr) => {
        $rows.iter().map(|$row| $value).collect::<Vec<_>>()
    };
}

/// Writes rows, one statement for all.
pub(super) async fn write(
    connection: &mut PgConnection,
    tenant: &Tenant,
    rows: &[(&Uid, &Stood)],
) -> Result<()> {
    // An array of arrays would have to be rectangular, so the points of rates are bound as the text of an array.
    let points = |points: &[(i64, f64)]| {
        let list =
            |each: &dyn Fn(&(i64, f64)) -> String| points.iter().map(each).collect::<Vec<_>>().join(",");
        let (ats, values) = (list(&|(at, _)| at.to_string()), list(&|(_, value)| value.to_string()));
        (!points.is_empty()).then(|| (format!("{{{ats}}}"), format!("{{{values}}}")))
    };
    let (low_ats, lows): (Vec<_>, Vec<_>) =
        rows.iter().map(|(_, row)| points(&row.standing.recent.lows).unzip()).unzip();
    let (high_ats, highs): (Vec<_>, Vec<_>) =
        rows.iter().map(|(_, row)| points(&row.standing.recent.highs).unzip()).unzip();
    sqlx::query(WRITE)
        .bind(tenant.as_str())
        .bind(column!(rows, row => row.0.as_str()))
        .bind(column!(rows, row => row.1.rule.as_str()))
        .bind(column!(rows, row => row.1.epoch.cast_signed()))
        .bind(column!(rows, row => row.1.subject.as_str()))
        .bind(column!(rows, row => row.1.standing.seen_at))
        .bind(column!(rows, row => row.1.standing.value))
        .bind(column!(rows, row => row.1.standing.since.map(|since| since.at)))
        .bind(column!(rows, row => row.1.standing.since.map(|since| since.recorded_at)))
        .bind(column!(rows, row => row.1.standing.since.map(|since| since.position)))
        .bind(column!(rows, row => row.1.standing.is_raised))
        .bind(column!(rows, row => row.1.alarm_id))
        .bind(column!(rows, row => row.1.due_at))
        .bind(low_ats)
        .bind(lows)
        .bind(high_ats)
        .bind(highs)
        .execute(connection)
        .await?;
    Ok(())
}

const WRITE: &str = "
    INSERT INTO alarm_standings
        (tenant, device_uid, rule, epoch, subject, seen_at, value, since_at, since_recorded_at, since_position, raised,
         alarm_id, due_at, low_ats, lows, high_ats, highs)
    SELECT $1, device_uid, rule, epoch, subject, seen_at, value, since_at, since_recorded_at, since_position, raised,
           alarm_id, due_at, low_ats::bigint[], lows::float8[], high_ats::bigint[], highs::float8[]
    FROM unnest($2::text[], $3::text[], $4::int[], $5::text[], $6::timestamptz[], $7::float8[], $8::timestamptz[],
                $9::timestamptz[], $10::bigint[], $11::boolean[], $12::uuid[], $13::timestamptz[], $14::text[],
                $15::text[], $16::text[], $17::text[])
        AS t (device_uid, rule, epoch, subject, seen_at, value, since_at, since_recorded_at, since_position, raised,
              alarm_id, due_at, low_ats, lows, high_ats, highs)
    ON CONFLICT ON CONSTRAINT alarm_standings_key DO UPDATE SET
        seen_at = excluded.seen_at, value = excluded.value, since_at = excluded.since_at,
        since_recorded_at = excluded.since_recorded_at, since_position = excluded.since_position,
        raised = excluded.raised, alarm_id = excluded.alarm_id, due_at = excluded.due_at, low_ats = excluded.low_ats,
        lows = excluded.lows, high_ats = excluded.high_ats, highs = excluded.highs";

/// Removes rows.
pub(super) async fn remove(
    connection: &mut PgConnection,
    tenant: &Tenant,
    rows: &[(&Uid, &Stood)],
) -> Result<()> {
    sqlx::query(
        "DELETE FROM alarm_standings AS standing
         USING unnest($2::text[], $3::text[], $4::int[], $5::text[]) AS gone (device_uid, rule, epoch, subject)
         WHERE standing.tenant = $1 AND standing.device_uid = gone.device_uid AND standing.rule = gone.rule
           AND standing.epoch = gone.epoch AND standing.subject = gone.subject",
    )
    .bind(tenant.as_str())
    .bind(column!(rows, row => row.0.as_str()))
    .bind(column!(rows, row => row.1.rule.as_str()))
    .bind(column!(rows, row => row.1.epoch.cast_signed()))
    .bind(column!(rows, row => row.1.subject.as_str()))
    .execute(connection)
    .await?;
    Ok(())
}

fn by_device(rows: &[PgRow]) -> Result<OfDevices, sqlx::Error> {
    let mut found = OfDevices::new();
    for row in rows {
        found.entry(parsed(row, "device_uid")?).or_default().push(stood(row)?);
    }
    Ok(found)
}

fn stood(row: &PgRow) -> Result<Stood, sqlx::Error> {
    let since: (Option<DateTime<Utc>>, Option<DateTime<Utc>>, Option<i64>) =
        (row.try_get("since_at")?, row.try_get("since_recorded_at")?, row.try_get("since_position")?);
    let since = match since {
        (Some(at), Some(recorded_at), Some(position)) => Some(Since { at, recorded_at, position }),
        _ => None,
    };
    let points = |ats: &str, values: &str| -> Result<Vec<(i64, f64)>, sqlx::Error> {
        let ats: Option<Vec<i64>> = row.try_get(ats)?;
        let values: Option<Vec<f64>> = row.try_get(values)?;
        Ok(ats.unwrap_or_default().into_iter().zip(values.unwrap_or_default()).collect())
    };
    let standing = Standing {
        seen_at: row.try_get("seen_at")?,
        value: row.try_get("value")?,
        since,
        is_raised: row.try_get("raised")?,
        recent: Recent { lows: points("low_ats", "lows")?, highs: points("high_ats", "highs")? },
    };
    Ok(Stood {
        rule: row.try_get("rule")?,
        epoch: row.try_get::<i32, _>("epoch")?.cast_unsigned(),
        subject: row.try_get("subject")?,
        standing,
        alarm_id: row.try_get("alarm_id")?,
        due_at: row.try_get("due_at")?,
        change: Change::Nothing,
    })
}
