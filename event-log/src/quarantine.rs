//! Keeps messages that could not become events: whole, with the reason, before they are acknowledged.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row};

use crate::{EventLog, Result, TenantLog};

/// A message on its way into quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The tenant, if the topic names one that exists.
    pub tenant: Option<String>,
    /// The message's topic.
    pub topic: String,
    /// The message's payload.
    pub payload: Vec<u8>,
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
    /// The size of the payload, in bytes.
    pub bytes: i32,
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

impl EventLog {
    /// Puts messages into quarantine. All of them are committed when this returns.
    pub async fn quarantine(&self, refused: &[Refused]) -> Result<()> {
        // One statement is one transaction, so none can be left open.
        sqlx::query(
            "INSERT INTO quarantine (tenant, topic, payload, reason, detail, received_at)
             SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[], $4::text[], $5::text[], $6::timestamptz[])",
        )
        .bind(refused.iter().map(|message| message.tenant.as_deref()).collect::<Vec<_>>())
        // Text in Postgres holds no NUL, and MQTT forbids it in topics. A NUL that arrives nonetheless is made
        // visible.
        .bind(refused.iter().map(|message| message.topic.replace('\0', "\u{fffd}")).collect::<Vec<_>>())
        .bind(refused.iter().map(|message| message.payload.as_slice()).collect::<Vec<_>>())
        .bind(refused.iter().map(|message| message.reason).collect::<Vec<_>>())
        .bind(refused.iter().map(|message| message.detail.replace('\0', "\u{fffd}")).collect::<Vec<_>>())
        .bind(refused.iter().map(|message| message.received_at).collect::<Vec<_>>())
        .execute(self.pool())
        .await?;
        Ok(())
    }
}

impl TenantLog {
    /// The tenant's quarantined messages with an id below `before`, newest first, at most `limit`. `everyones` adds
    /// the messages whose topic names no tenant.
    pub async fn quarantined(
        &self,
        everyones: bool,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<Quarantined>> {
        let rows = sqlx::query_as(
            "SELECT quarantine_id, topic, octet_length(payload) AS bytes, substring(payload FOR 256) AS excerpt,
                    reason, detail, received_at
             FROM quarantine
             WHERE (tenant = $1 OR $2 AND tenant IS NULL) AND quarantine_id < coalesce($3, 9223372036854775807)
             ORDER BY quarantine_id DESC LIMIT $4",
        )
        .bind(self.tenant().as_str())
        .bind(everyones)
        .bind(before)
        .bind(limit)
        .fetch_all(&mut *self.connection().await?)
        .await?;
        Ok(rows)
    }
}
