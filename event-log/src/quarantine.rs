//! Keeps messages that could not become events: whole, with the reason, before they are acknowledged.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row};

use crate::{EventLog, Result, TenantLog};

/// A message on its way into quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Whose it is, where the topic names a tenant of ours.
    pub tenant: Option<String>,
    /// Its topic.
    pub topic: String,
    /// Its bytes.
    pub payload: Vec<u8>,
    /// A stable word for programs.
    pub reason: &'static str,
    /// A sentence for people.
    pub detail: String,
    /// When it reached the server.
    pub received_at: DateTime<Utc>,
}

/// A message in quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Quarantined {
    /// Its number, in the order of arrival.
    pub quarantine_id: i64,
    /// Its topic.
    pub topic: String,
    /// How many bytes it has.
    pub bytes: i32,
    /// Its beginning, as text; bytes that are none are shown as U+FFFD.
    pub excerpt: Excerpt,
    /// A stable word for programs.
    pub reason: String,
    /// A sentence for people.
    pub detail: String,
    /// When it reached the server.
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
        // One statement is one transaction; there is none to leave open.
        sqlx::query(
            "INSERT INTO quarantine (tenant, topic, payload, reason, detail, received_at)
             SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[], $4::text[], $5::text[], $6::timestamptz[])",
        )
        .bind(refused.iter().map(|message| message.tenant.as_deref()).collect::<Vec<_>>())
        // Text in Postgres holds no NUL, and MQTT forbids it in topics; what came nonetheless is made visible.
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
    /// The tenant's quarantined messages, newest first, from before `before` on. `everyones` adds those whose topic
    /// names no tenant.
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
