//! Sessions: from a login to its end. No token of a session outlives it, nor the user, nor the tenant.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use fleetlog_aggregates::acts;
use fleetlog_aggregates::identity::Tenant;
use fleetlog_event_log::control::Metadata;
use fleetlog_event_log::record::Recorder;
use fleetlog_event_log::{TenantLog, database};
use futures::future::BoxFuture;
use serde::Serialize;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, Row};
use utoipa::ToSchema;
use uuid::Uuid;

use super::secret::{self, Bits};
use super::users::User;
use super::{Error, Identity, Principal, Who, parsed, refresh};

/// How long a session lasts at most, whatever happens in it.
pub const LIFETIME: Duration = Duration::from_hours(7 * 24);

/// Where a session is used from, as its user may recognise it.
#[derive(Debug, Clone, Default)]
pub struct Client {
    /// The address.
    pub address: Option<String>,
    /// The program, as it calls itself.
    pub user_agent: Option<String>,
}

impl Client {
    /// Tells one client from another, in short.
    pub(super) fn digest(&self) -> Bits {
        secret::digest_of(format!("{:?}\n{:?}", self.address, self.user_agent).as_bytes())
    }
}

/// What a client gets for a login, and for each refresh.
pub struct Tokens {
    /// Says which session a request belongs to, for a quarter of an hour.
    pub access: String,
    /// Good once, for the next two.
    pub refresh: String,
    /// The id of the session.
    pub session_id: Uuid,
    /// When it ends at the latest.
    pub expires_at: DateTime<Utc>,
}

/// A session that is not over.
#[derive(Debug, Serialize, ToSchema)]
pub struct Session {
    /// The id of the session.
    pub session_id: Uuid,
    /// When its user logged in.
    pub created_at: DateTime<Utc>,
    /// When a token of it was last refreshed.
    pub last_used_at: DateTime<Utc>,
    /// When it ends at the latest.
    pub expires_at: DateTime<Utc>,
    /// The address that its user logged in from.
    pub address: Option<String>,
    /// The program, as it called itself.
    pub user_agent: Option<String>,
}

impl FromRow<'_, PgRow> for Session {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            session_id: row.try_get("session_id")?,
            created_at: row.try_get("created_at")?,
            last_used_at: row.try_get("last_used_at")?,
            expires_at: row.try_get("expires_at")?,
            address: row.try_get("address")?,
            user_agent: row.try_get("user_agent")?,
        })
    }
}

impl Identity {
    /// Begins a session of a user who has proved to be that. `None` if the user's password was changed meanwhile, or the
    /// user deactivated: that has ended all sessions, and must not have missed this one.
    pub(super) async fn start_session(
        &self,
        user: User,
        client: Client,
        metadata: Metadata,
    ) -> Result<Option<Tokens>, Error> {
        let session_id = Uuid::now_v7();
        let started = acts::Session::SessionStarted { user_id: user.user_id };
        let of = user.clone();
        let begun = self
            .log
            .record(move |recorder| {
                Box::pin(async move {
                    let begun = insert(recorder.connection(), session_id, &of, &client).await?;
                    let Some(expires_at) = begun else { return Ok(None) };
                    let refresh = refresh::begin(recorder.connection(), session_id).await?;
                    recorder.tell(&of.tenant, &session_id.to_string(), &started, &metadata).await?;
                    Ok::<_, Error>(Some((expires_at, refresh)))
                })
            })
            .await?;
        let Some((expires_at, refresh)) = begun else { return Ok(None) };
        let access = self.keys.issue(&user, session_id, Utc::now())?;
        Ok(Some(Tokens { access, refresh, session_id, expires_at }))
    }

    /// Ends sessions of a user, in a transaction that does what they end for: all of them but `except`.
    pub(super) async fn end_sessions(
        recorder: &mut Recorder,
        (tenant, user_id): (&Tenant, Uuid),
        except: Option<Uuid>,
        why: acts::SessionEnd,
        metadata: &Metadata,
    ) -> Result<usize, Error> {
        let ended: Vec<Uuid> = sqlx::query_scalar(
            "UPDATE sessions SET ended_at = clock_timestamp()
             WHERE tenant = $1 AND user_id = $2 AND ended_at IS NULL AND expires_at > clock_timestamp()
               AND session_id IS DISTINCT FROM $3
             RETURNING session_id",
        )
        .bind(tenant.as_str())
        .bind(user_id)
        .bind(except)
        .fetch_all(recorder.connection())
        .await?;
        let act = acts::Session::SessionEnded { user_id, why };
        for session_id in &ended {
            recorder.tell(tenant, &session_id.to_string(), &act, metadata).await?;
        }
        Ok(ended.len())
    }

    /// Ends one session of a user, whoever is calling. Says whether there was one to end.
    pub async fn end_session(
        &self,
        (tenant, user_id): (Tenant, Uuid),
        session_id: Uuid,
        why: acts::SessionEnd,
        metadata: Metadata,
    ) -> Result<bool, Error> {
        end_one(&self.log.for_tenant(&tenant), user_id, session_id, why, metadata).await
    }

    /// Who is calling in a session; nobody once it is over.
    pub async fn in_session(&self, session_id: Uuid) -> Result<Option<Principal>, Error> {
        Ok(self.sessions.ask(session_id).await?)
    }
}

/// Who is calling in which of these sessions that are not over.
pub(super) fn callers(
    connection: &mut PgConnection,
    sessions: Vec<Uuid>,
) -> BoxFuture<'_, database::Result<HashMap<Uuid, Principal>>> {
    Box::pin(async move {
        let rows = sqlx::query(
            "SELECT session_id, users.user_id, users.tenant, users.role, tenants.tier, tenants.policy_version
             FROM sessions JOIN users USING (user_id) JOIN tenants ON tenants.tenant = users.tenant
             WHERE session_id = ANY($1) AND ended_at IS NULL AND expires_at > clock_timestamp()
               AND deactivated_at IS NULL AND suspended_at IS NULL",
        )
        .bind(sessions)
        .fetch_all(connection)
        .await?;
        let callers = rows.iter().map(|row| {
            let (session_id, role) = (row.try_get("session_id")?, parsed(row, "role")?);
            let who = Who::User { user_id: row.try_get("user_id")?, role, session_id };
            Ok((session_id, Principal::read(who, row)?))
        });
        Ok(callers.collect::<sqlx::Result<_>>()?)
    })
}

/// A user's sessions that are not over, the newest first.
pub async fn list(log: &TenantLog, user_id: Uuid) -> Result<Vec<Session>, Error> {
    let sessions = sqlx::query_as(
        "SELECT session_id, created_at, last_used_at, expires_at, address, user_agent FROM sessions
         WHERE tenant = $1 AND user_id = $2 AND ended_at IS NULL AND expires_at > clock_timestamp()
         ORDER BY session_id DESC",
    )
    .bind(log.tenant().as_str())
    .bind(user_id)
    .fetch_all(&mut *log.connection().await?)
    .await?;
    Ok(sessions)
}

/// Ends one session of a user. Says whether there was one to end.
pub async fn end_one(
    log: &TenantLog,
    user_id: Uuid,
    session_id: Uuid,
    why: acts::SessionEnd,
    metadata: Metadata,
) -> Result<bool, Error> {
    let tenant = log.tenant().clone();
    log.record(move |recorder| {
        Box::pin(async move { end(recorder, (&tenant, user_id), session_id, why, &metadata).await })
    })
    .await
}

/// Ends all sessions of a user but `except`. Says how many there were.
pub async fn end_all(
    log: &TenantLog,
    user_id: Uuid,
    except: Option<Uuid>,
    metadata: Metadata,
) -> Result<usize, Error> {
    let tenant = log.tenant().clone();
    log.record(move |recorder| {
        Box::pin(async move {
            let why = acts::SessionEnd::Revoked;
            Identity::end_sessions(recorder, (&tenant, user_id), except, why, &metadata).await
        })
    })
    .await
}

pub(super) async fn end(
    recorder: &mut Recorder,
    (tenant, user_id): (&Tenant, Uuid),
    session_id: Uuid,
    why: acts::SessionEnd,
    metadata: &Metadata,
) -> Result<bool, Error> {
    let ended = sqlx::query(
        "UPDATE sessions SET ended_at = clock_timestamp()
         WHERE tenant = $1 AND user_id = $2 AND session_id = $3 AND ended_at IS NULL
           AND expires_at > clock_timestamp()",
    )
    .bind(tenant.as_str())
    .bind(user_id)
    .bind(session_id)
    .execute(recorder.connection())
    .await?;
    if ended.rows_affected() == 0 {
        return Ok(false);
    }
    let act = acts::Session::SessionEnded { user_id, why };
    recorder.tell(tenant, &session_id.to_string(), &act, metadata).await?;
    Ok(true)
}

async fn insert(
    connection: &mut PgConnection,
    session_id: Uuid,
    user: &User,
    client: &Client,
) -> Result<Option<DateTime<Utc>>, Error> {
    let expires_at = sqlx::query_scalar(
        "INSERT INTO sessions (session_id, tenant, user_id, expires_at, address, user_agent)
         SELECT $1, $2, user_id, clock_timestamp() + $4 * interval '1 second', $5, left($6, 200)
         FROM users
         WHERE user_id = $3 AND password_hash IS NOT DISTINCT FROM $7 AND deactivated_at IS NULL
         FOR SHARE
         RETURNING expires_at",
    )
    .bind(session_id)
    .bind(user.tenant.as_str())
    .bind(user.user_id)
    .bind(LIFETIME.as_secs() as f64)
    .bind(&client.address)
    .bind(&client.user_agent)
    .bind(&user.password_hash)
    .fetch_optional(connection)
    .await?;
    Ok(expires_at)
}
