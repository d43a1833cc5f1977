//! Refresh tokens: each is good once, for the next one. A second use means that two clients have it, and ends the session.
//!
//! A successor is derived from the token and a secret that only the database has. So a client whose answer was lost may
//! ask again within [`GRACE`] and gets the same successor: however many requests ask at once, there is one successor.

use std::time::Duration;

use chrono::{DateTime, Utc};
use fleetlog_aggregates::acts;
use fleetlog_event_log::control::{Actor, Metadata};
use fleetlog_event_log::record::Recorder;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, PgPool, Row};
use uuid::Uuid;

use super::error::Error;
use super::secret::{self, Bits};
use super::session_rows::{self, GOING_ON};
use super::session_tokens::{PREFIX, insert};
use super::users::User;

/// How long the same client may ask again for a successor that it has not used.
pub const GRACE: Duration = Duration::from_secs(10);

/// Whether a token was used within [`GRACE`], which is `$2` seconds. A use in the future was while Postgres's clock was
/// ahead.
const IN_GRACE: &str = "used_at BETWEEN clock_timestamp() - $2 * interval '1 second'
    AND clock_timestamp() + $2 * interval '1 second'";

/// Why there is no successor.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It is none of ours, used up, or its session is over.
    #[error("the refresh token is not valid")]
    Invalid,
    /// Something failed.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl From<fleetlog_event_log::Error> for Refused {
    fn from(error: fleetlog_event_log::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// A token as it is stored, with its session and user.
struct Kept {
    session_id: Uuid,
    successor_secret: Vec<u8>,
    used_at: Option<DateTime<Utc>>,
    used_by: Option<Vec<u8>>,
    in_grace: bool,
    session_expires_at: DateTime<Utc>,
    over: bool,
    user_id: Uuid,
    tenant: String,
    role: String,
}

impl FromRow<'_, PgRow> for Kept {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            session_id: row.try_get("session_id")?,
            successor_secret: row.try_get("successor_secret")?,
            used_at: row.try_get("used_at")?,
            used_by: row.try_get("used_by")?,
            in_grace: row.try_get("in_grace")?,
            session_expires_at: row.try_get("session_expires_at")?,
            over: row.try_get("over")?,
            user_id: row.try_get("user_id")?,
            tenant: row.try_get("tenant")?,
            role: row.try_get("role")?,
        })
    }
}

/// What a token turned out to be worth.
pub(super) enum Worth {
    /// A successor, and whose it is: the user, the session, and when that ends at the latest.
    Successor(Box<(User, Uuid, DateTime<Utc>)>, Bits),
    /// Nothing: unknown, used up, or its session is over.
    Nothing,
}

/// The session of a refresh token that is good, or was until [`GRACE`] ago.
pub(super) async fn session_of(pool: &PgPool, token: &str) -> Result<Option<Uuid>, Error> {
    let Some(token) = secret::bits(PREFIX, token) else { return Ok(None) };
    // While one request of a page rotates the token, others may be under way with the same cookie.
    let session = sqlx::query_scalar(&format!(
        "SELECT session_id FROM refresh_tokens WHERE token_hash = $1 AND (used_at IS NULL OR {IN_GRACE})",
    ))
    .bind(secret::digest_of(&token))
    .bind(GRACE.as_secs() as f64)
    .fetch_optional(pool)
    .await?;
    Ok(session)
}

/// Uses a token up and stores its successor, or, at its second use, ends its session.
pub(super) async fn rotate(
    recorder: &mut Recorder,
    token: Bits,
    client: &Bits,
    request_id: String,
) -> Result<Worth, Refused> {
    let Some(kept) = lock(recorder.connection(), &token).await? else { return Ok(Worth::Nothing) };
    if kept.over {
        return Ok(Worth::Nothing);
    }
    let user = kept.user()?;
    let successor = secret::derive(&kept.successor_secret, &token);
    let may_have_it = if kept.used_at.is_none() {
        use_up(recorder.connection(), &token, client, kept.session_id).await?;
        insert(recorder.connection(), &successor, kept.session_id).await?;
        true
    } else {
        let retried = kept.in_grace && kept.used_by.as_deref() == Some(client);
        retried && is_unused(recorder.connection(), &successor).await?
    };
    if may_have_it {
        let whose = Box::new((user, kept.session_id, kept.session_expires_at));
        return Ok(Worth::Successor(whose, successor));
    }
    tracing::warn!(session_id = %kept.session_id, "a refresh token came a second time; its session ends");
    let (whose, why) = ((&user.tenant, user.user_id), acts::SessionEnd::Reuse);
    let metadata = Metadata::within(request_id, Actor::Fleetlog);
    session_rows::end(recorder, whose, kept.session_id, why, &metadata).await?;
    Ok(Worth::Nothing)
}

/// Reads and locks a token: other requests with it wait until the transaction ends.
async fn lock(connection: &mut PgConnection, token: &Bits) -> Result<Option<Kept>, Error> {
    let kept = sqlx::query_as(&format!(
        "SELECT session_id, successor_secret, used_at, used_by, users.user_id, users.tenant, users.role,
                sessions.expires_at AS session_expires_at,
                coalesce({IN_GRACE}, false) AS in_grace,
                NOT ({GOING_ON}) OR deactivated_at IS NOT NULL OR suspended_at IS NOT NULL AS over
         FROM refresh_tokens JOIN sessions USING (session_id) JOIN users USING (user_id)
              JOIN tenants ON tenants.tenant = users.tenant
         WHERE token_hash = $1
         FOR UPDATE OF refresh_tokens",
    ))
    .bind(secret::digest_of(token))
    .bind(GRACE.as_secs() as f64)
    .fetch_optional(connection)
    .await?;
    Ok(kept)
}

async fn use_up(
    connection: &mut PgConnection,
    token: &Bits,
    client: &Bits,
    session_id: Uuid,
) -> Result<(), Error> {
    sqlx::query(
        "WITH used AS (UPDATE refresh_tokens SET used_at = clock_timestamp(), used_by = $2 WHERE token_hash = $1)
         UPDATE sessions SET last_used_at = clock_timestamp() WHERE session_id = $3",
    )
    .bind(secret::digest_of(token))
    .bind(client)
    .bind(session_id)
    .execute(connection)
    .await?;
    Ok(())
}

async fn is_unused(connection: &mut PgConnection, token: &Bits) -> Result<bool, Error> {
    let unused = sqlx::query_scalar("SELECT used_at IS NULL FROM refresh_tokens WHERE token_hash = $1")
        .bind(secret::digest_of(token))
        .fetch_optional(connection)
        .await?;
    Ok(unused.unwrap_or(false))
}

impl Kept {
    fn user(&self) -> Result<User, Error> {
        let decode = |error: Box<dyn std::error::Error + Send + Sync>| sqlx::Error::Decode(error);
        Ok(User {
            user_id: self.user_id,
            tenant: self.tenant.parse().map_err(|error| decode(Box::new(error)))?,
            role: self.role.parse().map_err(|error| decode(Box::new(error)))?,
            password_hash: None,
        })
    }
}
