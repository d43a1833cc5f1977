//! The queries over `command_batches`.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use fleetlog_aggregates::command::Status;
use fleetlog_aggregates::identity::Tenant;
use fleetlog_event_log::database::parsed;
use fleetlog_event_log::event::Json;
use fleetlog_event_log::{Position, TenantLog};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, PgPool, Row};
use uuid::Uuid;

use super::{Cursor, Error};
use crate::paging::Page;

/// A batch, and how many of its commands are in each state.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// The id of the batch.
    pub batch_id: Uuid,
    /// How the devices were chosen: the selector of the request.
    pub selector: Json,
    /// The command type of each command, such as `ping`.
    pub cmd: String,
    /// The parameters of each command: JSON, at most 32 KiB.
    pub params: Json,
    /// The state of the batch: `running`, `paused`, `completed`, `aborted` or `cancelled`.
    pub status: String,
    /// Who requested the batch: a user's id, or `key:` and an API key's id.
    pub requested_by: String,
    /// When it was requested, by the server's clock.
    pub requested_at: DateTime<Utc>,
    /// After this time no command of the batch is sent.
    pub expires_at: DateTime<Utc>,
    /// How many commands are requested per second: 1 to 1000.
    pub rate_per_s: i32,
    /// The batch ends once this many commands have failed or timed out. `null`: never.
    pub abort_after_failures: Option<i32>,
    /// How many devices the batch is for.
    pub devices: i32,
    /// How many of the batch's commands are in each state.
    pub commands: Counts,
    /// When the batch ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// Who cancelled the batch: a user's id, or `key:` and an API key's id.
    pub cancelled_by: Option<String>,
    /// Why it was cancelled, in the words of who did: 1 to 500 characters.
    pub cancel_reason: Option<String>,
    /// The position of the batch's request in the control log.
    pub position: Position,
    /// The position of the batch's own last event in the control log; its commands have theirs. `None` if it is not known.
    pub last_position: Option<Position>,
}

impl FromRow<'_, PgRow> for Batch {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            batch_id: row.try_get("batch_id")?,
            selector: row.try_get("selector")?,
            cmd: row.try_get("cmd")?,
            params: row.try_get("params")?,
            status: row.try_get("status")?,
            requested_by: row.try_get("requested_by")?,
            requested_at: row.try_get("requested_at")?,
            expires_at: row.try_get("expires_at")?,
            rate_per_s: row.try_get("rate_per_s")?,
            abort_after_failures: row.try_get("abort_after_failures")?,
            devices: row.try_get("devices")?,
            // A query of its own counts the commands.
            commands: Counts::default(),
            ended_at: row.try_get("ended_at")?,
            cancelled_by: row.try_get("cancelled_by")?,
            cancel_reason: row.try_get("cancel_reason")?,
            position: row.try_get("position")?,
            last_position: row.try_get("last_position")?,
        })
    }
}

/// How many of a batch's commands are in each state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// How many devices have no command yet; once the batch has ended, they get none.
    pub waiting: i64,
    /// How many commands no broker has taken over yet.
    pub requested: i64,
    /// How many commands a broker has taken over, without an answer so far.
    pub sent: i64,
    /// How many commands their devices did.
    pub acked: i64,
    /// How many commands failed, as their devices reported.
    pub failed: i64,
    /// How many commands got no answer in time.
    pub timed_out: i64,
    /// How many commands were cancelled.
    pub cancelled: i64,
}

impl Counts {
    /// How many commands have ended.
    #[must_use]
    pub fn ended(&self) -> i64 {
        self.acked + self.failed + self.timed_out + self.cancelled
    }

    /// How many commands failed or timed out.
    #[must_use]
    pub fn failures(&self) -> i64 {
        self.failed + self.timed_out
    }
}

const SELECT: &str = "
    SELECT batch_id, selector::text AS selector, cmd, params::text AS params, status, requested_by, requested_at,
           expires_at, rate_per_s, abort_after_failures, devices, ended_at, cancelled_by, cancel_reason, position,
           last_position
    FROM command_batches";

/// A tenant's batches, newest first, at most `limit`.
pub async fn batches(log: &TenantLog, after: Option<Cursor>, limit: usize) -> Result<Page<Batch>, Error> {
    let sql = format!("{SELECT} WHERE tenant = $1 AND position < $2 ORDER BY position DESC LIMIT $3");
    let statement = sqlx::query(&sql)
        .bind(log.tenant().as_str())
        .bind(after.map_or(Position::MAX, Cursor::position))
        .bind(limit.saturating_add(1) as i64);
    let mut page = log.fetch_page(statement, limit).await?;
    count_in(log, &mut page.items).await?;
    Ok(page)
}

/// One of the tenant's batches, by its id.
pub async fn batch(log: &TenantLog, batch_id: Uuid) -> Result<Option<Batch>, Error> {
    let sql = format!("{SELECT} WHERE tenant = $1 AND batch_id = $2");
    let mut batch: Option<Batch> = sqlx::query_as(&sql)
        .bind(log.tenant().as_str())
        .bind(batch_id)
        .fetch_optional(&mut *log.connection().await?)
        .await?;
    count_in(log, batch.as_mut_slice()).await?;
    Ok(batch)
}

/// Every tenant's batches that have not ended, the oldest of each tenant first. Needs a connection that sees all tenants.
pub async fn open_batches(pool: &PgPool) -> Result<Vec<(Tenant, Uuid)>, Error> {
    let sql = "SELECT tenant, batch_id FROM command_batches WHERE status IN ('running', 'paused') ORDER BY tenant, position";
    named(&sqlx::query(sql).fetch_all(pool).await?)
}

/// Every tenant's aborted or cancelled batches with commands that no broker has taken over. Needs a connection that
/// sees all tenants.
pub async fn ended_with_unsent(pool: &PgPool) -> Result<Vec<(Tenant, Uuid)>, Error> {
    let sql = "SELECT DISTINCT tenant, batch_id FROM commands JOIN command_batches AS batch USING (tenant, batch_id)
         WHERE commands.status = 'requested' AND batch.status IN ('aborted', 'cancelled')";
    named(&sqlx::query(sql).fetch_all(pool).await?)
}

/// The tenants and ids of batches.
fn named(rows: &[PgRow]) -> Result<Vec<(Tenant, Uuid)>, Error> {
    let named = |row: &PgRow| Ok((parsed(row, "tenant")?, row.try_get("batch_id")?));
    Ok(rows.iter().map(named).collect::<Result<_, sqlx::Error>>()?)
}

/// A batch's commands that no broker has taken over, at most `limit`.
pub async fn unsent(pool: &PgPool, tenant: &Tenant, batch_id: Uuid, limit: i64) -> Result<Vec<Uuid>, Error> {
    let sql =
        "SELECT cmd_id FROM commands WHERE tenant = $1 AND batch_id = $2 AND status = 'requested' LIMIT $3";
    Ok(sqlx::query_scalar(sql).bind(tenant.as_str()).bind(batch_id).bind(limit).fetch_all(pool).await?)
}

/// How many of a batch's commands are in each state, among those that have been requested.
pub async fn counts(pool: &PgPool, tenant: &Tenant, batch_id: Uuid) -> Result<Counts, Error> {
    let mut counted = counts_of(&mut *pool.acquire().await?, tenant, &[batch_id]).await?;
    Ok(counted.remove(&batch_id).unwrap_or_default())
}

/// Counts the commands of many batches. A batch without requested commands is absent.
async fn counts_of(
    connection: &mut PgConnection,
    tenant: &Tenant,
    batch_ids: &[Uuid],
) -> Result<HashMap<Uuid, Counts>, Error> {
    let rows = sqlx::query(
        "SELECT batch_id, status, count(*) AS count FROM commands
         WHERE tenant = $1 AND batch_id = ANY($2) GROUP BY batch_id, status",
    );
    let mut counted: HashMap<Uuid, Counts> = HashMap::new();
    for row in rows.bind(tenant.as_str()).bind(batch_ids).fetch_all(connection).await? {
        let counts = counted.entry(row.try_get("batch_id")?).or_default();
        let count = row.try_get("count")?;
        match parsed(&row, "status")? {
            Status::Requested => counts.requested = count,
            Status::Sent => counts.sent = count,
            Status::Acked => counts.acked = count,
            Status::Failed => counts.failed = count,
            Status::TimedOut => counts.timed_out = count,
            Status::Cancelled => counts.cancelled = count,
        }
    }
    Ok(counted)
}

async fn count_in(log: &TenantLog, batches: &mut [Batch]) -> Result<(), Error> {
    let batch_ids: Vec<Uuid> = batches.iter().map(|batch| batch.batch_id).collect();
    let counted = counts_of(&mut *log.connection().await?, log.tenant(), &batch_ids).await?;
    for batch in batches {
        let counts = counted.get(&batch.batch_id).copied().unwrap_or_default();
        let waiting = i64::from(batch.devices) - counts.ended() - counts.requested - counts.sent;
        batch.commands = Counts { waiting, ..counts };
    }
    Ok(())
}

impl Cursor {
    /// The place of a batch in a list.
    #[must_use]
    pub fn of_batch(batch: &Batch) -> Self {
        Self::at(batch.position)
    }
}
