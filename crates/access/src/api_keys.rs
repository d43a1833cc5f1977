//! API keys: what programs call with. Each is good for some actions of its tenant, until it expires or is revoked.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use fleetlog_aggregates::acts;
use fleetlog_event_log::control::{Committed, Metadata};
use fleetlog_event_log::{EventLog, TenantLog, database};
use futures::future::BoxFuture;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, Row};
use uuid::Uuid;

use super::action::Action;
use super::coalesce::Coalesced;
use super::error::Error;
use super::parsed;
use super::principal::Principal;
use super::secret;
use super::who::Who;

/// What every API key begins with.
pub(super) const PREFIX: &str = "flk_";

/// What a tenant may know of a key: all but its secret.
#[derive(Debug)]
pub struct ApiKey {
    /// The key's id; events name it as their actor with `key:` before it.
    pub key_id: Uuid,
    /// What people call it.
    pub name: String,
    /// What it is good for.
    pub actions: Vec<String>,
    /// Who issued it.
    pub created_by: String,
    /// When it was issued.
    pub created_at: DateTime<Utc>,
    /// Until when it is good; null: until it is revoked.
    pub expires_at: Option<DateTime<Utc>>,
    /// Since when it is good no more.
    pub revoked_at: Option<DateTime<Utc>>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<DateTime<Utc>>,
}

impl FromRow<'_, PgRow> for ApiKey {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            key_id: row.try_get("key_id")?,
            name: row.try_get("name")?,
            actions: row.try_get("actions")?,
            created_by: row.try_get("created_by")?,
            created_at: row.try_get("created_at")?,
            expires_at: row.try_get("expires_at")?,
            revoked_at: row.try_get("revoked_at")?,
            last_used_at: row.try_get("last_used_at")?,
        })
    }
}

/// A key to be.
pub struct NewKey {
    /// What people call it: 1 to 200 characters.
    pub name: String,
    /// What it is good for.
    pub actions: Vec<Action>,
    /// Until when.
    pub expires_at: Option<DateTime<Utc>>,
}

/// A key that has just been issued.
pub struct Issued {
    /// Its id.
    pub key_id: Uuid,
    /// The key itself, to be shown once: only a hash of it is stored.
    pub key: String,
    /// Where it is on the record.
    pub at: Committed,
}

/// Issues a key.
pub async fn issue(
    log: &TenantLog,
    new: NewKey,
    created_by: String,
    metadata: Metadata,
) -> Result<Issued, Error> {
    let (key_id, secret, tenant) = (Uuid::now_v7(), secret::random(), log.tenant().clone());
    let at = log
        .record(move |recorder| {
            Box::pin(async move {
                let actions: Vec<String> = new.actions.iter().map(|action| action.as_str().into()).collect();
                sqlx::query(
                    "INSERT INTO api_keys (key_id, tenant, name, secret_hash, actions, created_by, expires_at)
                     VALUES ($1, $2, $3, $4, $5, $6, $7)",
                )
                .bind(key_id)
                .bind(tenant.as_str())
                .bind(new.name)
                .bind(secret::digest_of(&secret))
                .bind(&actions)
                .bind(created_by)
                .bind(new.expires_at)
                .execute(recorder.connection())
                .await?;
                let issued = acts::ApiKey::ApiKeyIssued { actions, expires_at: new.expires_at };
                Ok::<_, Error>(recorder.tell(&tenant, &key_id.to_string(), &issued, &metadata).await?)
            })
        })
        .await?;
    Ok(Issued { key_id, key: secret::text(&format!("{PREFIX}{}_", key_id.simple()), &secret), at })
}

/// A tenant's keys, the newest first; those that are good no more, too.
pub async fn list(log: &TenantLog) -> Result<Vec<ApiKey>, Error> {
    let keys = sqlx::query_as(&format!("{SELECT} WHERE tenant = $1 ORDER BY key_id DESC"))
        .bind(log.tenant().as_str())
        .fetch_all(&mut *log.connection().await?)
        .await?;
    Ok(keys)
}

/// One key.
pub async fn get(log: &TenantLog, key_id: Uuid) -> Result<Option<ApiKey>, Error> {
    let key = sqlx::query_as(&format!("{SELECT} WHERE tenant = $1 AND key_id = $2"))
        .bind(log.tenant().as_str())
        .bind(key_id)
        .fetch_optional(&mut *log.connection().await?)
        .await?;
    Ok(key)
}

const SELECT: &str =
    "SELECT key_id, name, actions, created_by, created_at, expires_at, revoked_at, last_used_at
     FROM api_keys";

/// Revokes a key. `None` if there is none that is not revoked.
pub async fn revoke(log: &TenantLog, key_id: Uuid, metadata: Metadata) -> Result<Option<Committed>, Error> {
    let tenant = log.tenant().clone();
    log.record(move |recorder| {
        Box::pin(async move {
            let revoked = sqlx::query(
                "UPDATE api_keys SET revoked_at = clock_timestamp()
                 WHERE tenant = $1 AND key_id = $2 AND revoked_at IS NULL",
            )
            .bind(tenant.as_str())
            .bind(key_id)
            .execute(recorder.connection())
            .await?;
            if revoked.rows_affected() == 0 {
                return Ok(None);
            }
            let act = acts::ApiKey::ApiKeyRevoked {};
            Ok::<_, Error>(Some(recorder.tell(&tenant, &key_id.to_string(), &act, &metadata).await?))
        })
    })
    .await
}

/// The keys of all tenants: which tenant a key belongs to is known only once it has been looked up. Cheap to clone;
/// clones share their look-ups.
#[derive(Clone)]
pub struct ApiKeys {
    log: EventLog,
    kept: Coalesced<Uuid, Kept>,
}

impl ApiKeys {
    pub(super) fn new(log: EventLog) -> Self {
        Self { kept: Coalesced::new(log.clone(), kept), log }
    }

    /// The principal of the key with this id. `None` if the key is not good.
    pub(super) async fn of(&self, key_id: Uuid) -> Result<Option<Principal>, Error> {
        Ok(self.kept.ask(key_id).await?.map(|kept| kept.principal))
    }

    /// The principal of a key; `None` if it is not good.
    pub(super) async fn with_key(&self, key: &str) -> Result<Option<Principal>, Error> {
        let Some((key_id, given)) = key.strip_prefix(PREFIX).and_then(|key| key.split_once('_')) else {
            return Ok(None);
        };
        let (Ok(key_id), Some(given)) = (Uuid::try_parse(key_id), secret::bits("", given)) else {
            return Ok(None);
        };
        let Some(kept) = self.kept.ask(key_id).await? else { return Ok(None) };
        if !secret::matches(&given, &kept.secret_hash) {
            return Ok(None);
        }
        if kept.is_stale {
            sqlx::query("UPDATE api_keys SET last_used_at = clock_timestamp() WHERE key_id = $1")
                .bind(key_id)
                .execute(self.log.pool())
                .await?;
        }
        Ok(Some(kept.principal))
    }
}

/// A key that is neither revoked nor expired.
#[derive(Clone)]
struct Kept {
    secret_hash: Arc<[u8]>,
    /// Whether its last use was noted too long ago.
    is_stale: bool,
    principal: Principal,
}

/// The most keys of which each was issued with the next one, back to a user's session. A longer line is good for nothing.
pub const LINE: usize = 8;

/// Those of these keys that are good, each in a line with the keys that it was issued with, back to a user. A line breaks
/// where one of the keys is not good any more, or the user is deactivated.
fn kept(
    connection: &mut PgConnection,
    keys: Vec<Uuid>,
) -> BoxFuture<'_, database::Result<HashMap<Uuid, Kept>>> {
    Box::pin(async move {
        let rows = sqlx::query(
            "WITH RECURSIVE good AS NOT MATERIALIZED (
                 SELECT key_id, tenant, secret_hash, actions, last_used_at,
                        CASE WHEN created_by ~ '^[0-9a-f-]{36}$' THEN created_by::uuid END AS user_id,
                        CASE WHEN created_by ~ '^key:[0-9a-f-]{36}$' THEN substr(created_by, 5)::uuid END AS issuer
                 FROM api_keys
                 WHERE revoked_at IS NULL AND coalesce(expires_at > clock_timestamp(), true)),
             line AS (
                 SELECT key_id AS asked, 1 AS place, good.* FROM good WHERE key_id = ANY($1)
                 UNION ALL
                 SELECT line.asked, line.place + 1, good.*
                 FROM line JOIN good ON good.key_id = line.issuer AND good.tenant = line.tenant
                 WHERE line.place < $2)
             SELECT asked, key_id, line.tenant, secret_hash, actions, tier, policy_version, users.user_id, users.role,
                    coalesce(last_used_at NOT BETWEEN clock_timestamp() - interval '1 minute'
                        AND clock_timestamp(), true) AS stale
             FROM line JOIN tenants ON tenants.tenant = line.tenant AND suspended_at IS NULL
                  LEFT JOIN users ON users.user_id = line.user_id AND users.tenant = line.tenant
                      AND deactivated_at IS NULL
             ORDER BY asked, place",
        )
        .bind(keys)
        .bind(LINE as i32)
        .fetch_all(connection)
        .await?;
        let mut kept = HashMap::new();
        for line in rows.chunk_by(|a, b| a.try_get::<Uuid, _>("asked").ok() == b.try_get("asked").ok()) {
            if let Some((key_id, key)) = Kept::read(line)? {
                kept.insert(key_id, key);
            }
        }
        Ok(kept)
    })
}

impl Kept {
    /// Reads a key from its line. `None` if the line does not go back to a user who is let in.
    fn read(line: &[PgRow]) -> sqlx::Result<Option<(Uuid, Self)>> {
        let (Some(row), Some(last)) = (line.first(), line.last()) else { return Ok(None) };
        let Some(user_id) = last.try_get("user_id")? else { return Ok(None) };
        let mut issuers = line[1..].iter().map(key).collect::<sqlx::Result<Vec<_>>>()?;
        // The session in which the key was issued may be over.
        issuers.push(Who::User { user_id, role: parsed(last, "role")?, session_id: Uuid::nil() });
        let kept = Self {
            secret_hash: row.try_get::<&[u8], _>("secret_hash")?.into(),
            is_stale: row.try_get("stale")?,
            principal: Principal::read(key(row)?, row)?.issued_by(issuers),
        };
        Ok(Some((row.try_get("key_id")?, kept)))
    }
}

/// Reads a key as a caller.
fn key(row: &PgRow) -> sqlx::Result<Who> {
    let actions: Vec<String> = row.try_get("actions")?;
    // An action that no longer exists allows nothing.
    let actions = actions.iter().filter_map(|action| Action::from_str(action).ok()).collect();
    Ok(Who::Key { key_id: row.try_get("key_id")?, actions })
}
