//! Sessions: from a login to its end. No token of a session outlives it, nor the user, nor the tenant.
//!
//! [`Sessions`] begins and refreshes them, and tells who is calling in one. Users see and end their own through the
//! functions below, each with their tenant's log.

use chrono::{DateTime, Utc};
use fleetlog_aggregates::acts;
use fleetlog_event_log::control::Metadata;
use fleetlog_event_log::{EventLog, TenantLog, crash};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row};
use uuid::Uuid;

use super::coalesce::Coalesced;
use super::error::Error;
use super::principal::Principal;
use super::refresh::{self, Refused, Worth};
use super::secret;
use super::session_rows;
use super::session_tokens::{self, Client, PREFIX, Tokens};
use super::signing_keys::SigningKeys;
use super::users::User;
use super::who::Who;

/// A session that is not over.
#[derive(Debug)]
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

/// The sessions of all tenants: which tenant a token belongs to is known only once it has been looked up. Cheap to
/// clone; clones share their look-ups.
#[derive(Clone)]
pub struct Sessions {
    log: EventLog,
    keys: SigningKeys,
    callers: Coalesced<Uuid, Principal>,
}

impl Sessions {
    pub(super) fn new(log: EventLog, keys: SigningKeys) -> Self {
        let callers = Coalesced::new(log.clone(), session_rows::callers);
        Self { log, keys, callers }
    }

    /// Begins a session of a user who has proved to be that. `None` if the user's password was changed meanwhile, or the
    /// user was deactivated.
    pub(super) async fn start(
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
                    let begun = session_rows::insert(recorder.connection(), session_id, &of, &client).await?;
                    let Some(expires_at) = begun else { return Ok(None) };
                    let refresh = session_tokens::begin(recorder.connection(), session_id).await?;
                    recorder.tell(&of.tenant, &session_id.to_string(), &started, &metadata).await?;
                    Ok::<_, Error>(Some((expires_at, refresh)))
                })
            })
            .await?;
        let Some((expires_at, refresh)) = begun else { return Ok(None) };
        let access = self.keys.issue(&user, session_id, self.log.now())?;
        Ok(Some(Tokens { access, refresh, session_id, expires_at }))
    }

    /// A new access token and the successor of a refresh token.
    pub async fn refresh(&self, token: &str, client: Client, request_id: String) -> Result<Tokens, Refused> {
        let token = secret::bits(PREFIX, token).ok_or(Refused::Invalid)?;
        let worth = self
            .log
            .record(move |recorder| {
                Box::pin(async move { refresh::rotate(recorder, token, &client.digest(), request_id).await })
            })
            .await?;
        crash::point("refresh.rotated");
        match worth {
            Worth::Nothing => Err(Refused::Invalid),
            Worth::Successor(whose, successor) => {
                let (user, session_id, expires_at) = *whose;
                let access = self.keys.issue(&user, session_id, self.log.now())?;
                Ok(Tokens { access, refresh: secret::text(PREFIX, &successor), session_id, expires_at })
            }
        }
    }

    /// Ends the session that a principal is in; nothing, if the principal is a program with a key.
    pub async fn log_out(&self, principal: &Principal, metadata: Metadata) -> Result<(), Error> {
        let Who::User { user_id, session_id, .. } = principal.who else { return Ok(()) };
        let log = self.log.for_tenant(&principal.tenant);
        end_one(&log, user_id, session_id, acts::SessionEnd::Logout, metadata).await?;
        Ok(())
    }

    /// The principal of a session; `None` once it is over.
    pub async fn in_session(&self, session_id: Uuid) -> Result<Option<Principal>, Error> {
        Ok(self.callers.ask(session_id).await?)
    }

    /// The principal of an access token's session; `None` if the token is not good or the session is over.
    pub async fn with_access_token(&self, token: &str) -> Result<Option<Principal>, Error> {
        match self.keys.verify(token).await? {
            Some(session_id) => self.in_session(session_id).await,
            None => Ok(None),
        }
    }

    /// The principal of the session of a refresh token that is good, or was until [`refresh::GRACE`] ago.
    pub async fn with_refresh_token(&self, token: &str) -> Result<Option<Principal>, Error> {
        match refresh::session_of(self.log.pool(), token).await? {
            Some(session_id) => self.in_session(session_id).await,
            None => Ok(None),
        }
    }
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

/// Ends one session of a user. Returns whether there was one to end.
pub async fn end_one(
    log: &TenantLog,
    user_id: Uuid,
    session_id: Uuid,
    why: acts::SessionEnd,
    metadata: Metadata,
) -> Result<bool, Error> {
    let tenant = log.tenant().clone();
    log.record(move |recorder| {
        Box::pin(
            async move { session_rows::end(recorder, (&tenant, user_id), session_id, why, &metadata).await },
        )
    })
    .await
}

/// Ends all sessions of a user but `except`. Returns how many there were.
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
            session_rows::end_all(recorder, (&tenant, user_id), except, why, &metadata).await
        })
    })
    .await
}
