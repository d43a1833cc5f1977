//! The tiers, and how many requests each allows: decided on across tenants, by those who run the platform.

use fleetlog_aggregates::acts;
use fleetlog_event_log::EventLog;
use fleetlog_event_log::control::{Committed, Metadata};
use fleetlog_event_log::terms::IngestLimits;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection};

use super::error::Error;
use super::quota::{ANONYMOUS, DEFAULT, EVERYONE, Quota};
use fleetlog_aggregates::identity::Tenant;

/// A limit of requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// For which requests: `*`, or the beginning of a path as this document writes it, with a method before it where
    /// only that counts. The most specific one holds, alone.
    pub path: String,
    /// How many requests: 1 to 1,000,000,000.
    pub requests: i32,
    /// In how many seconds: 1 to 86,400.
    pub window_s: i32,
}

/// A tier: which rate limits apply to the tenants that have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tier {
    /// The name of the tier: 1 to 64 of `a-z 0-9 _ -`.
    pub tier: String,
    /// Whom it is for.
    pub description: Option<String>,
    /// Its limits. What none is about is not limited.
    pub limits: Vec<Limit>,
    /// How much the devices of its tenants may send. `None`, where a tier is written, keeps what is.
    pub ingest: Option<IngestLimits>,
}

/// Why a tier stays.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// There is no such tier.
    #[error("there is no such tier")]
    Unknown,
    /// A tenant has it, or fleetlog itself needs it.
    #[error("the tier is in use")]
    InUse,
    /// Something failed.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl From<fleetlog_event_log::Error> for Refused {
    fn from(error: fleetlog_event_log::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<sqlx::Error> for Refused {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl FromRow<'_, PgRow> for Tier {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        use sqlx::Row;
        let sqlx::types::Json(limits) = row.try_get("limits")?;
        let ingest = Some(IngestLimits::from_row(row)?);
        Ok(Self { tier: row.try_get("tier")?, description: row.try_get("description")?, limits, ingest })
    }
}

const SELECT: &str = "
    SELECT tier, description, coalesce((
        SELECT json_agg(json_build_object('path', path, 'requests', requests, 'window_s', window_s)
                        ORDER BY path COLLATE \"C\")
        FROM rate_limits WHERE rate_limits.tier = tiers.tier), '[]') AS limits,
        messages_per_s, bytes_per_s, connection_messages_per_s, connection_bytes_per_s, new_devices_per_s
    FROM tiers WHERE $1::text IS NULL OR tier = $1 ORDER BY tier COLLATE \"C\"";

/// The platform's tiers: they belong to no tenant. Cheap to clone.
#[derive(Clone)]
pub struct Tiers {
    log: EventLog,
    quota: Quota,
}

impl Tiers {
    pub(super) fn new(log: EventLog, quota: Quota) -> Self {
        Self { log, quota }
    }

    /// All tiers, by name. There are few.
    pub async fn list(&self) -> Result<Vec<Tier>, Error> {
        Ok(sqlx::query_as(SELECT).bind(None::<&str>).fetch_all(self.log.pool()).await?)
    }

    /// One tier.
    pub async fn get(&self, tier: &str) -> Result<Option<Tier>, Error> {
        Ok(sqlx::query_as(SELECT).bind(tier).fetch_optional(self.log.pool()).await?)
    }

    /// Adds a tier or replaces it. `None` if there was nothing to change. The limits hold on this node when it returns.
    pub async fn put(&self, mut tier: Tier, metadata: Metadata) -> Result<Option<Committed>, Error> {
        tier.limits.sort_by(|a, b| a.path.cmp(&b.path));
        let written = self
            .log
            .record(move |recorder| {
                Box::pin(async move {
                    if !replace(recorder.connection(), &tier).await? {
                        return Ok(None);
                    }
                    let changed = acts::Platform::TierChanged {
                        tier: tier.tier.clone(),
                        limits: serde_json::json!(tier.limits),
                        ingest: tier.ingest.map(|ingest| serde_json::json!(ingest)),
                    };
                    Ok::<_, Error>(Some(
                        recorder.tell(&Tenant::platform(), &tier.tier, &changed, &metadata).await?,
                    ))
                })
            })
            .await?;
        self.quota.load().await?;
        Ok(written)
    }

    /// Removes a tier that no tenant has.
    pub async fn remove(&self, tier: String, metadata: Metadata) -> Result<Committed, Refused> {
        if [DEFAULT, ANONYMOUS, EVERYONE].contains(&tier.as_str()) {
            return Err(Refused::InUse);
        }
        let removed = self
            .log
            .record(move |recorder| {
                Box::pin(async move {
                    let deleted = sqlx::query("DELETE FROM tiers WHERE tier = $1").bind(&tier);
                    match deleted.execute(recorder.connection()).await {
                        Ok(deleted) if deleted.rows_affected() == 0 => return Err(Refused::Unknown),
                        Ok(_) => {}
                        Err(error) if is_in_use(&error) => return Err(Refused::InUse),
                        Err(error) => return Err(error.into()),
                    }
                    let removed = acts::Platform::TierRemoved { tier: tier.clone() };
                    Ok::<_, Refused>(recorder.tell(&Tenant::platform(), &tier, &removed, &metadata).await?)
                })
            })
            .await?;
        self.quota.load().await.map_err(Error::from)?;
        Ok(removed)
    }
}

fn is_in_use(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.constraint() == Some("tenants_tier"))
}

/// Whether anything has changed.
async fn replace(connection: &mut PgConnection, tier: &Tier) -> Result<bool, Error> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('fleetlog tiers', 0))")
        .execute(&mut *connection)
        .await?;
    let present: Option<Tier> =
        sqlx::query_as(SELECT).bind(&tier.tier).fetch_optional(&mut *connection).await?;
    let unchanged = |present: Tier| {
        let ingest = tier.ingest.or(present.ingest);
        present == Tier { ingest, ..tier.clone() }
    };
    if present.is_some_and(unchanged) {
        return Ok(false);
    }
    sqlx::query(
        "INSERT INTO tiers (tier, description) VALUES ($1, $2)
         ON CONFLICT (tier) DO UPDATE SET description = excluded.description",
    )
    .bind(&tier.tier)
    .bind(&tier.description)
    .execute(&mut *connection)
    .await?;
    if let Some(ingest) = tier.ingest {
        sqlx::query(
            "UPDATE tiers SET messages_per_s = $2, bytes_per_s = $3, connection_messages_per_s = $4,
                 connection_bytes_per_s = $5, new_devices_per_s = $6 WHERE tier = $1",
        )
        .bind(&tier.tier)
        .bind(ingest.messages_per_s)
        .bind(ingest.bytes_per_s)
        .bind(ingest.connection_messages_per_s)
        .bind(ingest.connection_bytes_per_s)
        .bind(ingest.new_devices_per_s)
        .execute(&mut *connection)
        .await?;
    }
    sqlx::query("DELETE FROM rate_limits WHERE tier = $1").bind(&tier.tier).execute(&mut *connection).await?;
    sqlx::query(
        "INSERT INTO rate_limits (tier, path, requests, window_s)
         SELECT $1, * FROM unnest($2::text[], $3::int[], $4::int[])",
    )
    .bind(&tier.tier)
    .bind(tier.limits.iter().map(|limit| limit.path.as_str()).collect::<Vec<_>>())
    .bind(tier.limits.iter().map(|limit| limit.requests).collect::<Vec<_>>())
    .bind(tier.limits.iter().map(|limit| limit.window_s).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(true)
}
