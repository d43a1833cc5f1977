//! Keeps messages that could not become events, with the reason, before they are acknowledged.
//!
//! A tenant's quarantine has so much room, and so has the quarantine of all. What finds no room is counted and not kept:
//! it could not become an event anyway, and nobody may fill the disk with it. Two batches at the same moment may both
//! find the same room, so the bounds are exceeded by a batch of each log at most.

use chrono::{DateTime, Utc};
use fleetlog_aggregates::identity::Tenant;
use serde::Serialize;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, Postgres, QueryBuilder, Row};

use crate::page::{COUNTED, Page, Total};
use crate::{EventLog, Result, TenantLog};

/// The most messages of one tenant in quarantine.
pub const TENANT_MESSAGES: i64 = 100_000;
/// The most bytes of payload of one tenant in quarantine.
pub const TENANT_BYTES: i64 = 128 << 20;
/// The most messages of all tenants in quarantine.
pub const ALL_MESSAGES: i64 = 1_000_000;
/// The most bytes of payload of all tenants in quarantine.
pub const ALL_BYTES: i64 = 1 << 30;
/// How many days a message stays in quarantine, by the database's clock.
pub const DAYS: i32 = 30;
/// How many messages one statement removes.
const REMOVED_AT_ONCE: i64 = 1000;

/// A message on its way into quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The tenant, if the topic names one that exists.
    pub tenant: Option<String>,
    /// The message's topic.
    pub topic: String,
    /// The message's payload, or its beginning.
    pub payload: Vec<u8>,
    /// The length and the SHA-256 of the whole payload, if only its beginning is kept.
    pub whole: Option<(i64, Vec<u8>)>,
    /// The reason, as a stable word for programs.
    pub reason: &'static str,
    /// The reason, as a sentence for people.
    pub detail: String,
    /// When the server received the message.
    pub received_at: DateTime<Utc>,
}

/// A message in quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Quarantined {
    /// The message's number, in the order of arrival.
    pub quarantine_id: i64,
    /// The message's topic.
    pub topic: String,
    /// The size of the whole payload, in bytes. Of a long one only the beginning is kept.
    pub bytes: i64,
    /// The first 256 bytes of the payload as text. Bytes that are not UTF-8 are shown as U+FFFD.
    pub excerpt: Excerpt,
    /// The reason, as a stable word for programs.
    pub reason: String,
    /// The reason, as a sentence for people.
    pub detail: String,
    /// When the server received the message.
    pub received_at: DateTime<Utc>,
}

impl FromRow<'_, PgRow> for Quarantined {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            quarantine_id: row.try_get("quarantine_id")?,
            topic: row.try_get("topic")?,
            bytes: row.try_get("bytes")?,
            excerpt: Excerpt::from(row.try_get::<Vec<u8>, _>("excerpt")?),
            reason: row.try_get("reason")?,
            detail: row.try_get("detail")?,
            received_at: row.try_get("received_at")?,
        })
    }
}

/// The beginning of a payload, as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Excerpt(pub String);

impl From<Vec<u8>> for Excerpt {
    fn from(bytes: Vec<u8>) -> Self {
        Self(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Keeps, of each tenant's messages, the first ones for which there is room.
const KEEP: &str = "
    WITH incoming AS (
        SELECT *, coalesce(tenant, '') AS owner
        FROM unnest($1::text[], $2::text[], $3::bytea[], $4::bigint[], $5::bytea[], $6::text[], $7::text[],
                    $8::timestamptz[]) WITH ORDINALITY
            AS message (tenant, topic, payload, bytes, sha256, reason, detail, received_at, ordinal)
    ), known AS (
        SELECT coalesce(sum(messages), 0) AS messages, coalesce(sum(bytes), 0) AS bytes FROM quarantine_totals
    ), added AS (
        SELECT incoming.*,
               row_number() OVER owners + coalesce(total.messages, 0) AS messages,
               sum(octet_length(payload)) OVER owners + coalesce(total.bytes, 0) AS total_bytes,
               row_number() OVER (ORDER BY ordinal) + known.messages AS all_messages,
               sum(octet_length(payload)) OVER (ORDER BY ordinal) + known.bytes AS all_bytes
        FROM incoming CROSS JOIN known LEFT JOIN quarantine_totals AS total ON total.tenant = owner
        WINDOW owners AS (PARTITION BY owner ORDER BY ordinal)
    ), judged AS (
        SELECT *, messages <= $9 AND total_bytes <= $10 AND all_messages <= $11 AND all_bytes <= $12 AS kept FROM added
    ), inserted AS (
        INSERT INTO quarantine (tenant, topic, payload, bytes, sha256, reason, detail, received_at)
        SELECT tenant, topic, payload, bytes, sha256, reason, detail, received_at FROM judged WHERE kept ORDER BY ordinal
    ), counted AS (
        INSERT INTO quarantine_totals AS known (tenant, messages, bytes, dropped)
        SELECT owner, count(*) FILTER (WHERE kept),
               coalesce(sum(octet_length(payload)) FILTER (WHERE kept), 0), count(*) FILTER (WHERE NOT kept)
        FROM judged GROUP BY owner ORDER BY owner
        ON CONFLICT ON CONSTRAINT quarantine_totals_key DO UPDATE SET
            messages = known.messages + excluded.messages, bytes = known.bytes + excluded.bytes,
            dropped = known.dropped + excluded.dropped
    )
    SELECT count(*) FILTER (WHERE NOT kept) FROM judged";

/// Ids are given in the order of storage, so the oldest messages are those with the lowest ids.
const REMOVE: &str = "
    WITH gone AS (
        DELETE FROM quarantine WHERE quarantine_id IN (
            SELECT quarantine_id FROM (
                SELECT quarantine_id, quarantined_at FROM quarantine ORDER BY quarantine_id LIMIT $1
            ) AS oldest WHERE quarantined_at < clock_timestamp() - make_interval(days => $2)
        ) RETURNING coalesce(tenant, '') AS owner, octet_length(payload) AS bytes
    ), per_tenant AS (
        SELECT owner, count(*) AS messages, sum(bytes) AS bytes FROM gone GROUP BY owner
    ), counted AS (
        UPDATE quarantine_totals AS known
        SET messages = greatest(known.messages - per_tenant.messages, 0),
            bytes = greatest(known.bytes - per_tenant.bytes, 0)
        FROM per_tenant WHERE tenant = owner
    )
    SELECT count(*) FROM gone";

impl EventLog {
    /// Puts messages into quarantine. When this returns, each of them is committed, or counted because there was no
    /// room for it. Returns how many found none.
    pub async fn quarantine(&self, refused: &[Refused]) -> Result<u64> {
        // One statement is one transaction, so none can be left open.
        let dropped: i64 = sqlx::query_scalar(KEEP)
            .bind(refused.iter().map(|message| message.tenant.as_deref()).collect::<Vec<_>>())
            // Text in Postgres holds no NUL, and MQTT forbids it in topics. A NUL that arrives nonetheless is made
            // visible.
            .bind(refused.iter().map(|message| message.topic.replace('\0', "\u{fffd}")).collect::<Vec<_>>())
            .bind(refused.iter().map(|message| message.payload.as_slice()).collect::<Vec<_>>())
            .bind(
                refused.iter().map(|message| message.whole.as_ref().map(|whole| whole.0)).collect::<Vec<_>>(),
            )
            .bind(
                refused
                    .iter()
                    .map(|message| message.whole.as_ref().map(|whole| &*whole.1))
                    .collect::<Vec<_>>(),
            )
            .bind(refused.iter().map(|message| message.reason).collect::<Vec<_>>())
            .bind(refused.iter().map(|message| message.detail.replace('\0', "\u{fffd}")).collect::<Vec<_>>())
            .bind(refused.iter().map(|message| message.received_at).collect::<Vec<_>>())
            .bind(TENANT_MESSAGES)
            .bind(TENANT_BYTES)
            .bind(ALL_MESSAGES)
            .bind(ALL_BYTES)
            .fetch_one(self.pool())
            .await?;
        Ok(dropped.unsigned_abs())
    }

    /// Removes the oldest messages from quarantine if they are older than [`DAYS`], a bounded number of them. Returns
    /// how many it removed: 0 says that none is left to remove.
    pub async fn remove_old_from_quarantine(&self) -> Result<u64> {
        let remove = sqlx::query_scalar(REMOVE).bind(REMOVED_AT_ONCE).bind(DAYS);
        let removed: i64 = remove.fetch_one(self.pool()).await?;
        Ok(removed.unsigned_abs())
    }
}

/// A message in quarantine, with its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole {
    /// The message's number.
    pub quarantine_id: i64,
    /// The message's topic.
    pub topic: String,
    /// The message's payload, or its beginning.
    pub payload: Vec<u8>,
    /// Whether all of the payload is there.
    pub is_whole: bool,
    /// When the server received the message.
    pub received_at: DateTime<Utc>,
}

impl FromRow<'_, PgRow> for Whole {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            quarantine_id: row.try_get("quarantine_id")?,
            topic: row.try_get("topic")?,
            payload: row.try_get("payload")?,
            is_whole: row.try_get("is_whole")?,
            received_at: row.try_get("received_at")?,
        })
    }
}

/// Takes messages out of quarantine, and what they weigh out of the totals.
const RELEASE: &str = "
    WITH gone AS (
        DELETE FROM quarantine WHERE quarantine_id = ANY($1) AND tenant IS NOT DISTINCT FROM $2
        RETURNING octet_length(payload) AS bytes
    )
    UPDATE quarantine_totals AS known
    SET messages = greatest(known.messages - gone.messages, 0), bytes = greatest(known.bytes - gone.bytes, 0)
    FROM (SELECT count(*) AS messages, coalesce(sum(bytes), 0) AS bytes FROM gone) AS gone
    WHERE tenant = coalesce($2, '')";

impl EventLog {
    /// A tenant's messages in quarantine with their bytes, the earliest first; of payload about `bytes`.
    pub async fn quarantined_whole(
        &self,
        tenant: &Tenant,
        wanted: &Wanted,
        bytes: i64,
    ) -> Result<Vec<Whole>> {
        let sql = "
            SELECT quarantine_id, topic, payload, bytes IS NULL AS is_whole, received_at FROM (
                SELECT *, sum(octet_length(payload)) OVER (ORDER BY quarantine_id) - octet_length(payload) AS before
                FROM quarantine
                WHERE tenant = $1 AND quarantine_id > $2 AND ($3::bigint[] IS NULL OR quarantine_id = ANY($3))
                ORDER BY quarantine_id LIMIT $4
            ) AS wanted WHERE before < $5 ORDER BY quarantine_id";
        let Wanted { ids, after, limit } = wanted;
        let wanted = sqlx::query_as(sql).bind(tenant.as_str()).bind(after).bind(ids).bind(limit).bind(bytes);
        Ok(wanted.fetch_all(self.pool()).await?)
    }
}

/// Takes a tenant's messages out of quarantine, in the transaction that says where they are now.
pub async fn release(connection: &mut PgConnection, tenant: &Tenant, ids: &[i64]) -> Result<()> {
    sqlx::query(RELEASE).bind(ids).bind(tenant.as_str()).execute(connection).await?;
    Ok(())
}

/// Which messages to take out of quarantine.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Their numbers. `None`: all of them.
    pub ids: Option<Vec<i64>>,
    /// Only those with a larger number.
    pub after: i64,
    /// The most messages.
    pub limit: i64,
}

/// Which messages of the quarantine to read.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// Also the messages whose topic names no tenant.
    pub everyones: bool,
    /// Only messages that the server received at this time or later.
    pub from: Option<DateTime<Utc>>,
    /// Only messages that the server received before this time.
    pub to: Option<DateTime<Utc>>,
    /// The message that was stored first comes first, instead of the last one.
    pub ascending: bool,
    /// Only messages beyond the one with this id, in the direction of the order.
    pub beyond: Option<i64>,
    /// Only messages that are there for this reason.
    pub reason: Option<String>,
    /// Only messages whose topic begins so.
    pub topic_prefix: Option<String>,
}

impl Listing {
    fn push<'q>(&'q self, sql: &mut QueryBuilder<'q, Postgres>, tenant: &'q Tenant) {
        sql.push(" WHERE (tenant = ").push_bind(tenant.as_str());
        sql.push(if self.everyones { " OR tenant IS NULL)" } else { ")" });
        if let Some(from) = self.from {
            sql.push(" AND received_at >= ").push_bind(from);
        }
        if let Some(to) = self.to {
            sql.push(" AND received_at < ").push_bind(to);
        }
        if let Some(reason) = &self.reason {
            sql.push(" AND reason = ").push_bind(reason);
        }
        if let Some(prefix) = &self.topic_prefix {
            sql.push(" AND starts_with(topic, ").push_bind(prefix).push(")");
        }
    }
}

impl TenantLog {
    /// A page of the tenant's quarantined messages, in the order in which they were stored or the reverse.
    pub async fn quarantined(&self, listing: &Listing, limit: usize) -> Result<Page<Quarantined>> {
        let mut sql = QueryBuilder::new(
            "SELECT quarantine_id, topic, coalesce(bytes, octet_length(payload)) AS bytes, substring(payload FOR 256) AS excerpt,
                    reason, detail, received_at
             FROM quarantine",
        );
        listing.push(&mut sql, self.tenant());
        let (beyond, order) = if listing.ascending { (">", "ASC") } else { ("<", "DESC") };
        if let Some(id) = listing.beyond {
            sql.push(format_args!(" AND quarantine_id {beyond} ")).push_bind(id);
        }
        sql.push(format_args!(" ORDER BY quarantine_id {order} LIMIT "));
        sql.push_bind(limit.saturating_add(1) as i64);
        self.fetch_page(sql.build(), limit).await
    }

    /// A quarantined message with its bytes; `everyones` as in a [`Listing`]. `None` if there is none of that number.
    pub async fn quarantined_payload(&self, quarantine_id: i64, everyones: bool) -> Result<Option<Whole>> {
        let mut sql = QueryBuilder::new(
            "SELECT quarantine_id, topic, payload, bytes IS NULL AS is_whole, received_at FROM quarantine",
        );
        let listing = Listing { everyones, ..Listing::default() };
        listing.push(&mut sql, self.tenant());
        sql.push(" AND quarantine_id = ").push_bind(quarantine_id);
        Ok(self.fetch_page(sql.build(), 1).await?.items.pop())
    }

    /// How many messages a listing has on all pages.
    pub async fn quarantined_total(&self, listing: &Listing) -> Result<Total> {
        let mut sql = QueryBuilder::new("SELECT count(*) FROM (SELECT FROM quarantine");
        listing.push(&mut sql, self.tenant());
        sql.push(" LIMIT ").push_bind(COUNTED + 1).push(") AS counted");
        self.fetch_total(sql.build()).await
    }
}
