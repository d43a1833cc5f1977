//! A tenant's policies in the database. Each change is on the record, and holds from the next request on.

use chrono::{DateTime, Utc};
use fleetlog_aggregates::acts;
use fleetlog_aggregates::identity::{PolicyName, Tenant};
use fleetlog_event_log::control::{Committed, Metadata};
use fleetlog_event_log::{TenantLog, database};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, PgPool, Row};
use uuid::Uuid;

use super::source::{self, Invalid};

/// How many policies a tenant may have.
pub const MAX_POLICIES: usize = 100;
/// How long all of a tenant's policies may be together, in bytes. Each is evaluated for each device of each list.
pub const MAX_SOURCES: usize = 128 << 10;
/// How many patterns after `like` all of a tenant's policies may have together.
pub const MAX_PATTERNS: usize = 200;

/// A policy, as it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its name within the tenant.
    pub name: String,
    /// What it says, in Cedar.
    pub source: String,
    /// What it is for, for people.
    pub description: Option<String>,
    /// Since when it says that.
    pub updated_at: DateTime<Utc>,
    /// Who decided so.
    pub updated_by: String,
}

impl FromRow<'_, PgRow> for Stored {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            name: row.try_get("name")?,
            source: row.try_get("source")?,
            description: row.try_get("description")?,
            updated_at: row.try_get("updated_at")?,
            updated_by: row.try_get("updated_by")?,
        })
    }
}

/// Why a tenant's policies are not changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is no policy.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// There is no such policy.
    #[error("there is no such policy")]
    Unknown,
    /// There are as many as there may be.
    #[error("a tenant has at most {MAX_POLICIES} policies")]
    TooMany,
    /// Together they would take too long to evaluate.
    #[error(
        "a tenant's policies have at most {MAX_SOURCES} bytes and {MAX_PATTERNS} patterns after `like` together"
    )]
    TooLarge,
    /// The database.
    #[error(transparent)]
    Database(#[from] database::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

/// The version of a tenant's policies, and each one's name and source.
pub(super) async fn of_tenant(
    pool: &PgPool,
    tenant: &Tenant,
) -> Result<(i64, Vec<(String, String)>), sqlx::Error> {
    // One statement, so that both are of one moment.
    let rows = sqlx::query(
        "SELECT policy_version, name, source FROM tenants LEFT JOIN policies USING (tenant)
         WHERE tenant = $1 ORDER BY name",
    )
    .bind(tenant.as_str())
    .fetch_all(pool)
    .await?;
    let version = rows.first().ok_or(sqlx::Error::RowNotFound)?.try_get("policy_version")?;
    let sources = rows.iter().map(|row| Ok((row.try_get("name")?, row.try_get("source")?)));
    let sources: Vec<(Option<String>, Option<String>)> = sources.collect::<Result<_, sqlx::Error>>()?;
    Ok((version, sources.into_iter().filter_map(|(name, source)| name.zip(source)).collect()))
}

/// A tenant's policies, by name.
pub async fn list(log: &TenantLog) -> Result<Vec<Stored>, Error> {
    let sql = "SELECT name, source, description, updated_at, updated_by FROM policies WHERE tenant = $1 ORDER BY name";
    Ok(sqlx::query_as(sql).bind(log.tenant().as_str()).fetch_all(&mut *log.connection().await?).await?)
}

/// One of them.
pub async fn get(log: &TenantLog, name: &PolicyName) -> Result<Option<Stored>, Error> {
    let sql = "SELECT name, source, description, updated_at, updated_by FROM policies WHERE tenant = $1 AND name = $2";
    Ok(sqlx::query_as(sql)
        .bind(log.tenant().as_str())
        .bind(name.as_str())
        .fetch_optional(&mut *log.connection().await?)
        .await?)
}

/// The role of one of a tenant's users, about whom a question is.
pub async fn role_of(log: &TenantLog, user_id: Uuid) -> Result<Option<String>, Error> {
    let sql = "SELECT role FROM users WHERE tenant = $1 AND user_id = $2";
    Ok(sqlx::query_scalar(sql)
        .bind(log.tenant().as_str())
        .bind(user_id)
        .fetch_optional(&mut *log.connection().await?)
        .await?)
}

/// Makes a policy say this from here on. `None` if it says so already.
pub async fn define(
    log: &TenantLog,
    name: &PolicyName,
    source: String,
    description: Option<String>,
    metadata: Metadata,
) -> Result<Option<Committed>, Error> {
    source::check(name.as_str(), &source)?;
    let (tenant, name) = (log.tenant().clone(), name.clone());
    log.record(move |recorder| {
        Box::pin(async move {
            let connection = recorder.connection();
            raise_version(connection, &tenant).await?;
            let changed = sqlx::query(UPSERT)
                .bind(tenant.as_str())
                .bind(name.as_str())
                .bind(&source)
                .bind(&description)
                .bind(metadata.actor.to_string())
                .execute(&mut *connection)
                .await?;
            if changed.rows_affected() == 0 {
                return Ok(None);
            }
            let sources = sqlx::query_scalar("SELECT source FROM policies WHERE tenant = $1");
            bound(&sources.bind(tenant.as_str()).fetch_all(connection).await?)?;
            let defined = acts::Policy::PolicyDefined { source };
            Ok(Some(recorder.tell(&tenant, name.as_str(), &defined, &metadata).await?))
        })
    })
    .await
}

/// Refuses policies that would together take too long to evaluate.
fn bound(sources: &[String]) -> Result<(), Error> {
    if sources.len() > MAX_POLICIES {
        return Err(Error::TooMany);
    }
    let (bytes, patterns) = sources.iter().fold((0, 0), |(bytes, patterns), source| {
        (bytes + source.len(), patterns + source::patterns(source))
    });
    if bytes > MAX_SOURCES || patterns > MAX_PATTERNS { Err(Error::TooLarge) } else { Ok(()) }
}

const UPSERT: &str = "
    INSERT INTO policies AS old (tenant, name, source, description, updated_by) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (tenant, name) DO UPDATE
    SET source = $3, description = $4, updated_by = $5, updated_at = clock_timestamp()
    WHERE (old.source, old.description) IS DISTINCT FROM ($3, $4)";

/// Takes a policy away.
pub async fn remove(log: &TenantLog, name: &PolicyName, metadata: Metadata) -> Result<Committed, Error> {
    let (tenant, name) = (log.tenant().clone(), name.clone());
    log.record(move |recorder| {
        Box::pin(async move {
            raise_version(recorder.connection(), &tenant).await?;
            let removed = sqlx::query("DELETE FROM policies WHERE tenant = $1 AND name = $2")
                .bind(tenant.as_str())
                .bind(name.as_str())
                .execute(recorder.connection())
                .await?;
            if removed.rows_affected() == 0 {
                return Err(Error::Unknown);
            }
            Ok(recorder.tell(&tenant, name.as_str(), &acts::Policy::PolicyRemoved {}, &metadata).await?)
        })
    })
    .await
}

/// From the commit on, whoever has the policies in memory reads them again. Changes of one tenant's follow each other.
async fn raise_version(connection: &mut PgConnection, tenant: &Tenant) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE tenants SET policy_version = policy_version + 1 WHERE tenant = $1")
        .bind(tenant.as_str())
        .execute(connection)
        .await?;
    Ok(())
}
