//! What a session's client holds: an access token and a refresh token.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::error::Error;
use super::secret::{self, Bits};

/// What every refresh token begins with: no other secret passes for one.
pub(super) const PREFIX: &str = "flr_";

/// Where a session is used from, as its user may recognise it.
#[derive(Debug, Clone, Default)]
pub struct Client {
    /// The address.
    pub address: Option<String>,
    /// The program, as it calls itself.
    pub user_agent: Option<String>,
}

impl Client {
    /// A hash that tells one client from another.
    pub(super) fn digest(&self) -> Bits {
        secret::digest_of(format!("{:?}\n{:?}", self.address, self.user_agent).as_bytes())
    }
}

/// What a client gets for a login, and for each refresh. Not `Debug`: both tokens are secrets.
pub struct Tokens {
    /// The access token: says which session a request belongs to, for a quarter of an hour.
    pub access: String,
    /// The refresh token: good once, for the next two tokens.
    pub refresh: String,
    /// The id of the session.
    pub session_id: Uuid,
    /// When it ends at the latest.
    pub expires_at: DateTime<Utc>,
}

/// The first token of a session.
pub(super) async fn begin(connection: &mut PgConnection, session_id: Uuid) -> Result<String, Error> {
    let token = secret::random();
    insert(connection, &token, session_id).await?;
    Ok(secret::text(PREFIX, &token))
}

/// Stores a token of a session, with the secret that its successor is derived from.
pub(super) async fn insert(
    connection: &mut PgConnection,
    token: &Bits,
    session_id: Uuid,
) -> Result<(), Error> {
    sqlx::query("INSERT INTO refresh_tokens (token_hash, session_id, successor_secret) VALUES ($1, $2, $3)")
        .bind(secret::digest_of(token))
        .bind(session_id)
        .bind(secret::random())
        .execute(connection)
        .await?;
    Ok(())
}
