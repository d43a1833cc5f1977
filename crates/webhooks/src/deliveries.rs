//! What was sent to a webhook, or is being sent, for people.

use chrono::{DateTime, Utc};
use fleetlog_event_log::page::Page;
use fleetlog_event_log::{LogId, Position, TenantLog};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgPool, Row};
use uuid::Uuid;

use crate::deliverer::Hook;
use crate::error::Error;
use crate::message;
use crate::receiver::Reply;
use crate::standing;

/// What came of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It is being sent, or is sent again.
    Pending,
    /// The webhook took it.
    Delivered,
    /// The webhook did not take it, and it is not sent again by itself: a test, or a replay of one delivery.
    Failed,
    /// What the webhook follows has changed: the events are in other deliveries.
    Superseded,
}

fleetlog_aggregates::words! {
    Status { Pending = "pending", Delivered = "delivered", Failed = "failed", Superseded = "superseded" }
}

/// A delivery: a batch of events of one log, or a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its id.
    pub delivery_id: Uuid,
    /// Its place in the order in which deliveries began.
    pub number: i64,
    /// The log; none for a test.
    pub log_id: Option<LogId>,
    /// The position after which its events begin.
    pub after: Option<Position>,
    /// The position up to which they go.
    pub last: Option<Position>,
    /// How many events there are that the webhook follows.
    pub events: i32,
    /// What came of it.
    pub status: Status,
    /// How often it was sent.
    pub attempts: i32,
    /// The status of the last answer.
    pub code: Option<i32>,
    /// Why the last attempt failed.
    pub error: Option<String>,
    /// How long the last attempt took.
    pub duration_ms: Option<i32>,
    /// When it began.
    pub created_at: DateTime<Utc>,
    /// When it was last sent.
    pub attempted_at: Option<DateTime<Utc>>,
    /// When the webhook took it.
    pub delivered_at: Option<DateTime<Utc>>,
    /// When it is sent again.
    pub next_attempt_at: Option<DateTime<Utc>>,
}

impl Delivery {
    /// The header `webhook-id` of its requests.
    #[must_use]
    pub fn webhook_id(&self) -> String {
        message::webhook_id(self.delivery_id)
    }

    pub(crate) fn range(&self) -> Option<(LogId, (Position, Position))> {
        Some((self.log_id?, (self.after?, self.last?)))
    }
}

impl FromRow<'_, PgRow> for Delivery {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let status: &str = row.try_get("status")?;
        Ok(Self {
            delivery_id: row.try_get("delivery_id")?,
            number: row.try_get("number")?,
            log_id: row.try_get("log_id")?,
            after: row.try_get("after_position")?,
            last: row.try_get("last_position")?,
            events: row.try_get("events")?,
            status: status.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
            attempts: row.try_get("attempts")?,
            code: row.try_get("code")?,
            error: row.try_get("error")?,
            duration_ms: row.try_get("duration_ms")?,
            created_at: row.try_get("created_at")?,
            attempted_at: row.try_get("attempted_at")?,
            delivered_at: row.try_get("delivered_at")?,
            next_attempt_at: row.try_get("next_attempt_at")?,
        })
    }
}

const COLUMNS: &str =
    "delivery_id, number, sent.log_id, after_position, last_position, events, status, attempts, code,
    error, duration_ms, created_at, attempted_at, delivered_at";

/// Which deliveries of a webhook are listed.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// Only those of this status.
    pub status: Option<Status>,
    /// Only those that began before this one.
    pub beyond: Option<i64>,
}

/// A page of a webhook's deliveries, the newest first.
pub async fn list(
    log: &TenantLog,
    webhook_id: Uuid,
    listing: &Listing,
    limit: usize,
) -> Result<Page<Delivery>, Error> {
    let sql = format!(
        "SELECT {COLUMNS}, CASE WHEN status = 'pending' AND after_position = position THEN next_attempt_at END
             AS next_attempt_at
         FROM webhook_deliveries AS sent LEFT JOIN webhook_places AS place
             ON place.webhook_id = sent.webhook_id AND place.log_id = sent.log_id
         WHERE sent.tenant = $1 AND sent.webhook_id = $2 AND ($3::text IS NULL OR status = $3)
           AND number < $4
         ORDER BY number DESC LIMIT $5"
    );
    let rows = sqlx::query_as(&sql)
        .bind(log.tenant().as_str())
        .bind(webhook_id)
        .bind(listing.status.map(Status::as_str))
        .bind(listing.beyond.unwrap_or(i64::MAX))
        .bind(limit as i64 + 1)
        .fetch_all(&mut *log.connection().await?)
        .await?;
    Ok(Page::cut(rows, limit))
}

/// One of them.
pub(crate) async fn get(
    log: &TenantLog,
    webhook_id: Uuid,
    delivery_id: Uuid,
) -> Result<Option<Delivery>, Error> {
    let sql = format!(
        "SELECT {COLUMNS}, NULL::timestamptz AS next_attempt_at FROM webhook_deliveries AS sent
         WHERE tenant = $1 AND webhook_id = $2 AND delivery_id = $3"
    );
    let get = sqlx::query_as(&sql).bind(log.tenant().as_str()).bind(webhook_id).bind(delivery_id);
    Ok(get.fetch_optional(&mut *log.connection().await?).await?)
}

/// Notes a test before it is sent.
pub(crate) async fn begin_test(pool: &PgPool, hook: &Hook, delivery_id: Uuid) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO webhook_deliveries (delivery_id, webhook_id, tenant, revision, status)
         VALUES ($1, $2, $3, $4, 'failed')",
    )
    .bind(delivery_id)
    .bind(hook.webhook_id)
    .bind(hook.tenant.as_str())
    .bind(hook.revision)
    .execute(pool)
    .await?;
    Ok(())
}

/// Notes what came of a test, or of a replay of one delivery. One that is sent again by itself anyway stays as it is. `None`: the
/// delivery was removed meanwhile, with its webhook or for its age.
pub(crate) async fn sent(pool: &PgPool, delivery_id: Uuid, reply: &Reply) -> Result<Option<Delivery>, Error> {
    let sql = format!(
        "UPDATE webhook_deliveries AS sent
         SET attempts = attempts + 1, code = $3, error = $4, duration_ms = $5, attempted_at = clock_timestamp(),
             status = CASE WHEN status = 'pending' THEN status WHEN $2 THEN 'delivered' ELSE 'failed' END,
             delivered_at = CASE WHEN $2 THEN clock_timestamp() ELSE delivered_at END
         WHERE delivery_id = $1
         RETURNING {COLUMNS}, NULL::timestamptz AS next_attempt_at"
    );
    let sent = sqlx::query_as(&sql).bind(delivery_id).bind(reply.said.is_success()).bind(reply.code());
    Ok(sent.bind(standing::error(reply)).bind(reply.milliseconds()).fetch_optional(pool).await?)
}
