//! Tenants: made, suspended and given room by those who run the platform; their own settings by their own admins.

use chrono::{DateTime, Utc};
use fleetlog_aggregates::acts;
use fleetlog_aggregates::identity::Tenant as Name;
use fleetlog_aggregates::words;
use fleetlog_event_log::control::{Committed, Metadata};
use fleetlog_event_log::record::Recorder;
use fleetlog_event_log::{EventLog, Scope, TenantLog};
use serde_json::{Map, Value, json};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, QueryBuilder, Row};

use super::action::PLATFORM_TENANT;
use super::error::Error;
use super::password::{self, Passwords};
use super::quota::{ANONYMOUS, EVERYONE};
use super::role::Role;
use super::starter_types;
use super::users::{self, Email, NewUser};

/// Who may make themselves an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registration {
    /// Nobody can make themselves an account.
    Off,
    /// Whoever was invited.
    Invite,
    /// Everyone can make themselves an account.
    Open,
}

words! { Registration { Off = "off", Invite = "invite", Open = "open" } }

/// A tenant, and what is decided about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Its name, as topics and streams begin with it.
    pub tenant: String,
    /// Since when there is this tenant.
    pub created_at: DateTime<Utc>,
    /// Since when nobody of it is let in; null while they are.
    pub suspended_at: Option<DateTime<Utc>>,
    /// Which rate limits apply.
    pub tier: String,
    /// Whether the first telemetry of an unknown device registers it.
    pub self_registration: bool,
    /// Whether people may make themselves an account: `off`, `invite` or `open`.
    pub registration: String,
    /// Readings that are older are not shown; null: all are.
    pub retention_days: Option<i32>,
    /// How many devices may be in service; null: any number.
    pub max_devices: Option<i32>,
    /// How many users there may be; null: any number.
    pub max_users: Option<i32>,
}

impl FromRow<'_, PgRow> for Tenant {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            tenant: row.try_get("tenant")?,
            created_at: row.try_get("created_at")?,
            suspended_at: row.try_get("suspended_at")?,
            tier: row.try_get("tier")?,
            self_registration: row.try_get("self_registration")?,
            registration: row.try_get("registration")?,
            retention_days: row.try_get("retention_days")?,
            max_devices: row.try_get("max_devices")?,
            max_users: row.try_get("max_users")?,
        })
    }
}

/// What to change; the rest stays. What may be null is set to null by `Some(None)`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// Whether nobody of it is let in.
    pub suspended: Option<bool>,
    /// Which rate limits apply.
    pub tier: Option<String>,
    /// Whether unknown devices register themselves.
    pub self_registration: Option<bool>,
    /// Who may make themselves an account.
    pub registration: Option<Registration>,
    /// 1 to 36,500.
    pub retention_days: Option<Option<i32>>,
    /// 0 or more.
    pub max_devices: Option<Option<i32>>,
    /// 1 or more.
    pub max_users: Option<Option<i32>>,
}

impl Change {
    /// The part of the change that a tenant does not have already.
    fn against(&self, before: &Tenant) -> Self {
        let Self {
            suspended, self_registration, registration, retention_days, max_devices, max_users, ..
        } = *self;
        Self {
            suspended: suspended.filter(|suspended| *suspended != before.suspended_at.is_some()),
            tier: self.tier.clone().filter(|tier| *tier != before.tier),
            self_registration: self_registration.filter(|on| *on != before.self_registration),
            registration: registration.filter(|who| who.as_str() != before.registration),
            retention_days: retention_days.filter(|days| *days != before.retention_days),
            max_devices: max_devices.filter(|max| *max != before.max_devices),
            max_users: max_users.filter(|max| *max != before.max_users),
        }
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The changed settings by name, as the event has them. A suspension has an event of its own.
    fn settings(&self) -> Map<String, Value> {
        let settings = [
            ("tier", self.tier.as_ref().map(|tier| json!(tier))),
            ("self_registration", self.self_registration.map(Value::from)),
            ("registration", self.registration.map(|registration| json!(registration.as_str()))),
            ("retention_days", self.retention_days.map(|days| json!(days))),
            ("max_devices", self.max_devices.map(|max| json!(max))),
            ("max_users", self.max_users.map(|max| json!(max))),
        ];
        settings.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
}

/// A tenant's first admin.
pub struct FirstAdmin {
    /// The address to log in with.
    pub email: Email,
    /// Hard to guess, or it is refused.
    pub password: String,
}

/// Why a tenant was not made or changed.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The first admin's password is too easy to guess.
    #[error(transparent)]
    Weak(password::Weak),
    /// There is no such tenant.
    #[error("there is no such tenant")]
    Unknown,
    /// There is a tenant of that name already.
    #[error("there is a tenant of that name already")]
    Exists,
    /// The first admin's address is another user's.
    #[error("the address is another user's")]
    EmailTaken,
    /// There is no such tier, or it is no tenant's.
    #[error("there is no such tier for tenants")]
    NoSuchTier,
    /// The tenant that runs the platform would lock everybody out.
    #[error("the platform's own tenant cannot be suspended")]
    Platform,
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

const COLUMNS: &str =
    "tenant, created_at, suspended_at, tier, self_registration, registration, retention_days,
    max_devices, max_users";

/// The tenant whose log this is.
pub async fn get(log: &TenantLog) -> Result<Option<Tenant>, Error> {
    find(&mut *log.connection().await?, log.tenant()).await
}

async fn find(connection: &mut PgConnection, tenant: &Name) -> Result<Option<Tenant>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM tenants WHERE tenant = $1");
    Ok(sqlx::query_as(&sql).bind(tenant.as_str()).fetch_optional(connection).await?)
}

/// Changes a tenant, and records what has changed, if anything.
async fn change<S: Scope>(
    log: &EventLog<S>,
    tenant: Name,
    change: Change,
    metadata: Metadata,
) -> Result<(Tenant, Option<Committed>), Refused> {
    log.record(move |recorder| Box::pin(async move { write(recorder, &tenant, &change, &metadata).await }))
        .await
}

/// The platform's tenants, for its administrators. Cheap to clone.
#[derive(Clone)]
pub struct Tenants {
    log: EventLog,
    passwords: Passwords,
}

impl Tenants {
    pub(super) fn new(log: EventLog, passwords: Passwords) -> Self {
        Self { log, passwords }
    }

    /// The tenants by name, from behind `after` on, at most `limit`.
    pub async fn list(&self, after: Option<&str>, limit: i64) -> Result<Vec<Tenant>, Error> {
        let sql = format!(
            "SELECT {COLUMNS} FROM tenants WHERE $1::text IS NULL OR tenant COLLATE \"C\" > $1
             ORDER BY tenant COLLATE \"C\" LIMIT $2"
        );
        Ok(sqlx::query_as(&sql).bind(after).bind(limit).fetch_all(self.log.pool()).await?)
    }

    /// One tenant.
    pub async fn get(&self, tenant: &Name) -> Result<Option<Tenant>, Error> {
        find(&mut *self.log.connection().await?, tenant).await
    }

    /// Makes a tenant: its logs, the command types that come with fleetlog, and its first admin. It can be used here
    /// when this returns, and on other nodes as soon as they have heard of its logs: within half a second.
    pub async fn create(
        &self,
        tenant: Name,
        settings: Change,
        admin: Option<FirstAdmin>,
        metadata: Metadata,
    ) -> Result<(Tenant, Option<Committed>), Refused> {
        let admin = match admin {
            Some(FirstAdmin { email, password }) => {
                let known = vec![email.as_str().to_owned()];
                let accepted = self.passwords.accept(password, known).await?;
                Some((email, accepted.map_err(Refused::Weak)?))
            }
            None => None,
        };
        let created = self
            .log
            .record(move |recorder| {
                Box::pin(async move { create(recorder, &tenant, &settings, admin, &metadata).await })
            })
            .await?;
        self.log.heads().refresh(self.log.pool()).await?;
        self.log.terms().refresh(self.log.pool()).await?;
        Ok(created)
    }

    /// Changes a tenant. Its users are locked out on every node when a suspension returns; its devices on this node, and on
    /// the others within half a second.
    pub async fn change(
        &self,
        tenant: Name,
        wanted: Change,
        metadata: Metadata,
    ) -> Result<(Tenant, Option<Committed>), Refused> {
        let changed = change(&self.log, tenant, wanted, metadata).await?;
        self.log.terms().refresh(self.log.pool()).await?;
        Ok(changed)
    }

    /// Changes a tenant on behalf of its own admin: the database refuses changes of what is the platform's. The change
    /// holds on this node when it returns.
    pub async fn change_own(
        &self,
        own: &TenantLog,
        wanted: Change,
        metadata: Metadata,
    ) -> Result<(Tenant, Option<Committed>), Refused> {
        let changed = change(own, own.tenant().clone(), wanted, metadata).await?;
        self.log.terms().refresh(self.log.pool()).await?;
        Ok(changed)
    }
}

async fn create(
    recorder: &mut Recorder,
    tenant: &Name,
    settings: &Change,
    admin: Option<(Email, String)>,
    metadata: &Metadata,
) -> Result<(Tenant, Option<Committed>), Refused> {
    let inserted = sqlx::query("INSERT INTO tenants (tenant) VALUES ($1) ON CONFLICT DO NOTHING")
        .bind(tenant.as_str())
        .execute(recorder.connection())
        .await?;
    if inserted.rows_affected() == 0 {
        return Err(Refused::Exists);
    }
    let created = acts::Tenant::TenantCreated {};
    let mut at = recorder.tell(tenant, tenant.as_str(), &created, metadata).await?;
    let (row, changed) = write(recorder, tenant, settings, metadata).await?;
    at = changed.unwrap_or(at);
    at = starter_types::give_to(recorder, tenant).await?.unwrap_or(at);
    if let Some((email, password_hash)) = admin {
        let user = NewUser {
            tenant: tenant.clone(),
            email,
            name: None,
            password_hash: Some(password_hash),
            role: Role::Admin,
        };
        let user_id = users::add(recorder.connection(), &user).await?.ok_or(Refused::EmailTaken)?;
        let via = acts::Registration::Admin;
        let registered = acts::User::UserRegistered { role: Role::Admin.to_string(), via };
        at = recorder.tell(tenant, &user_id.to_string(), &registered, metadata).await?;
    }
    Ok((row, Some(at)))
}

async fn write(
    recorder: &mut Recorder,
    tenant: &Name,
    change: &Change,
    metadata: &Metadata,
) -> Result<(Tenant, Option<Committed>), Refused> {
    let sql = format!("SELECT {COLUMNS} FROM tenants WHERE tenant = $1 FOR NO KEY UPDATE");
    let before: Option<Tenant> =
        sqlx::query_as(&sql).bind(tenant.as_str()).fetch_optional(recorder.connection()).await?;
    let before = before.ok_or(Refused::Unknown)?;
    if change.suspended == Some(true) && tenant.as_str() == PLATFORM_TENANT {
        return Err(Refused::Platform);
    }
    if let Some(tier) = &change.tier {
        must_be_tier(recorder.connection(), tier).await?;
    }
    let change = change.against(&before);
    if change.is_empty() {
        return Ok((before, None));
    }
    let after = update(recorder.connection(), tenant, &change).await?;
    let settings = change.settings();
    let mut at = None;
    if !settings.is_empty() {
        let changed = acts::Tenant::TenantSettingsChanged { settings };
        at = Some(recorder.tell(tenant, tenant.as_str(), &changed, metadata).await?);
    }
    if let Some(suspended) = change.suspended {
        let act = if suspended { acts::Tenant::TenantSuspended {} } else { acts::Tenant::TenantResumed {} };
        at = Some(recorder.tell(tenant, tenant.as_str(), &act, metadata).await?);
    }
    Ok((after, at))
}

async fn must_be_tier(connection: &mut PgConnection, tier: &str) -> Result<(), Refused> {
    let known: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM tiers WHERE tier = $1)")
        .bind(tier)
        .fetch_one(connection)
        .await?;
    if known && ![EVERYONE, ANONYMOUS].contains(&tier) { Ok(()) } else { Err(Refused::NoSuchTier) }
}

/// Names only the columns that change: a tenant's own admins may not touch the others.
async fn update(connection: &mut PgConnection, tenant: &Name, change: &Change) -> Result<Tenant, Refused> {
    let mut sql = QueryBuilder::new("UPDATE tenants SET ");
    let mut set = sql.separated(", ");
    if let Some(tier) = &change.tier {
        set.push("tier = ").push_bind_unseparated(tier.clone());
    }
    if let Some(self_registration) = change.self_registration {
        set.push("self_registration = ").push_bind_unseparated(self_registration);
    }
    if let Some(registration) = change.registration {
        set.push("registration = ").push_bind_unseparated(registration.as_str());
    }
    if let Some(retention_days) = change.retention_days {
        set.push("retention_days = ").push_bind_unseparated(retention_days);
    }
    if let Some(max_devices) = change.max_devices {
        set.push("max_devices = ").push_bind_unseparated(max_devices);
    }
    if let Some(max_users) = change.max_users {
        set.push("max_users = ").push_bind_unseparated(max_users);
    }
    if let Some(suspended) = change.suspended {
        set.push(if suspended { "suspended_at = clock_timestamp()" } else { "suspended_at = NULL" });
    }
    sql.push(" WHERE tenant = ").push_bind(tenant.as_str());
    sql.push(format!(" RETURNING {COLUMNS}"));
    Ok(sql.build_query_as().fetch_one(connection).await?)
}
