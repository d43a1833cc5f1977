//! The tenant's users, for their admins and themselves to see.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use fleetlog_aggregates::identity::Tenant;
use fleetlog_aggregates::words;
use fleetlog_event_log::TenantLog;
use fleetlog_projections::paging::{self, BadCursor, Page};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{Postgres, Row};
use uuid::Uuid;

use super::accounts;
use super::error::Error;
use super::parsed;
use super::role::Role;

/// A user, as seen from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The user's id, as events name their actor.
    pub user_id: Uuid,
    /// The address to log in with.
    pub email: String,
    /// What people call the user.
    pub name: Option<String>,
    /// Whose things the user sees.
    pub tenant: String,
    /// What the user may do.
    pub role: Role,
    /// Whether the user is let in.
    pub status: Status,
    /// Whether the address has proved to be the user's.
    pub verified: bool,
    /// Since when there is this user.
    pub created_at: DateTime<Utc>,
}

/// Whether a user is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The user is let in.
    Active,
    /// Once the user has chosen a password.
    Invited,
    /// The user is let in no more, and has no session left.
    Deactivated,
}

words! { Status { Active = "active", Invited = "invited", Deactivated = "deactivated" } }

/// Which users to list.
#[derive(Debug, Clone)]
pub struct Query {
    /// Part of the address or the name, in any case.
    pub q: Option<String>,
    /// Only those of this role.
    pub role: Option<Role>,
    /// Only these.
    pub status: Option<Status>,
    /// Behind this user.
    pub after: Option<Cursor>,
    /// At most so many.
    pub limit: usize,
}

/// The place of a user in a list: a list is in the order in which they were added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor(pub Uuid);

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&paging::encode(&self.0))
    }
}

impl FromStr for Cursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        paging::decode(text).map(Self)
    }
}

const SELECT: &str = "
    SELECT user_id, email, name, tenant, role, deactivated_at IS NOT NULL AS deactivated, invited,
        verified_at IS NOT NULL AS verified, created_at
    FROM users WHERE tenant = $1";

const MATCHING: &str = "
    AND ($2::text IS NULL OR strpos(lower(email), lower($2)) > 0 OR strpos(lower(name), lower($2)) > 0)
    AND ($3::text IS NULL OR role = $3)
    AND ($4::text IS NULL OR $4 = CASE WHEN deactivated_at IS NOT NULL THEN 'deactivated'
                                       WHEN invited THEN 'invited' ELSE 'active' END)";

/// A page of a tenant's users.
pub async fn list(log: &TenantLog, query: &Query) -> Result<Page<Account>, Error> {
    let after = "AND ($5::uuid IS NULL OR user_id > $5) ORDER BY user_id LIMIT $6";
    let rows = matching(&format!("{SELECT} {MATCHING} {after}"), log.tenant(), query)
        .bind(query.after.map(|cursor| cursor.0))
        .bind(query.limit as i64 + 1)
        .fetch_all(&mut *log.connection().await?)
        .await?;
    let accounts = rows.iter().map(read).collect::<sqlx::Result<_>>()?;
    Ok(Page::cut(accounts, query.limit))
}

/// How many users all pages have.
pub async fn count(log: &TenantLog, query: &Query) -> Result<i64, Error> {
    let count = format!("SELECT count(*) FROM users WHERE tenant = $1 {MATCHING}");
    Ok(matching(&count, log.tenant(), query).fetch_one(&mut *log.connection().await?).await?.try_get(0)?)
}

/// How many of a tenant's users count towards the most that it may have.
pub async fn counted(log: &TenantLog) -> Result<i64, Error> {
    accounts::counted(&mut *log.connection().await?, log.tenant()).await
}

/// One of a tenant's users.
pub async fn get(log: &TenantLog, user_id: Uuid) -> Result<Option<Account>, Error> {
    let select = format!("{SELECT} AND user_id = $2");
    let row = sqlx::query(&select)
        .bind(log.tenant().as_str())
        .bind(user_id)
        .fetch_optional(&mut *log.connection().await?)
        .await?;
    Ok(row.as_ref().map(read).transpose()?)
}

fn matching<'q>(
    sql: &'q str,
    tenant: &'q Tenant,
    query: &'q Query,
) -> sqlx::query::Query<'q, Postgres, PgArguments> {
    sqlx::query(sql)
        .bind(tenant.as_str())
        .bind(&query.q)
        .bind(query.role.map(Role::as_str))
        .bind(query.status.map(Status::as_str))
}

pub(super) fn read(row: &PgRow) -> sqlx::Result<Account> {
    let status = match (row.try_get("deactivated")?, row.try_get("invited")?) {
        (true, _) => Status::Deactivated,
        (false, true) => Status::Invited,
        (false, false) => Status::Active,
    };
    Ok(Account {
        user_id: row.try_get("user_id")?,
        email: row.try_get("email")?,
        name: row.try_get("name")?,
        tenant: row.try_get("tenant")?,
        role: parsed(row, "role")?,
        status,
        verified: row.try_get("verified")?,
        created_at: row.try_get("created_at")?,
    })
}
