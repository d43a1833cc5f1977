//! Tokens in mails: 256 random bits, stored as their SHA-256, good once, for one purpose and for a while.

use std::time::Duration;

use fleetlog_aggregates::identity::Tenant;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use super::error::Error;
use super::users::{Email, Name};
use super::{parsed, secret};

/// What a token allows its holder to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Prove that an address is the holder's. A new address counts from then on.
    Address,
    /// Choose a new password without the old one.
    Reset,
    /// Choose the first password.
    Invitation,
}

impl Purpose {
    fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Reset => "reset",
            Self::Invitation => "invitation",
        }
    }

    fn lifetime(self) -> Duration {
        match self {
            Self::Address | Self::Invitation => Duration::from_hours(7 * 24),
            Self::Reset => Duration::from_hours(1),
        }
    }
}

/// Whether a token has not expired; `$3` is the lifetime of its kind in seconds. One that would last longer from now was
/// issued while Postgres's clock was ahead, and is worth nothing.
const GOOD: &str = "expires_at > clock_timestamp()
    AND expires_at <= clock_timestamp() + $3 * interval '1 second' + interval '1 minute'";

/// A token as its holder has it. Only in a mail, and not in anything's `Debug`.
pub(super) struct Token(String);

impl Token {
    pub(super) fn new() -> Self {
        Self(secret::text("", &secret::random()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The user a token was sent to.
pub(super) struct Holder {
    pub(super) user_id: Uuid,
    pub(super) tenant: Tenant,
    /// Where the token was sent.
    pub(super) sent_to: String,
    /// The user's address now.
    pub(super) email: String,
    pub(super) name: Option<String>,
    pub(super) verified: bool,
}

impl Holder {
    fn read(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            user_id: row.try_get("user_id")?,
            tenant: parsed(row, "tenant")?,
            sent_to: row.try_get("sent_to")?,
            email: row.try_get("email")?,
            name: row.try_get("name")?,
            verified: row.try_get("verified")?,
        })
    }

    /// What is known of the user, whose password must not be guessable from it; `name` is the name to be, if any.
    pub(super) fn known(self, name: Option<&Name>) -> Vec<String> {
        let name = name.map(|name| name.as_str().to_owned());
        [Some(self.email), self.name, name].into_iter().flatten().collect()
    }
}

/// Stores a token that is sent to `email`. It replaces an older one of the user for the same purpose.
pub(super) async fn issue(
    connection: &mut PgConnection,
    token: &Token,
    (tenant, user_id): (&Tenant, Uuid),
    purpose: Purpose,
    email: &Email,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO mail_tokens (tenant, user_id, purpose, token_hash, email, expires_at)
         VALUES ($1, $2, $3, $4, $5, clock_timestamp() + $6 * interval '1 second')
         ON CONFLICT (user_id, purpose) DO UPDATE
         SET token_hash = $4, email = $5, expires_at = clock_timestamp() + $6 * interval '1 second'",
    )
    .bind(tenant.as_str())
    .bind(user_id)
    .bind(purpose.as_str())
    .bind(secret::digest_of(token.as_str().as_bytes()))
    .bind(email.as_str())
    .bind(purpose.lifetime().as_secs() as f64)
    .execute(connection)
    .await?;
    Ok(())
}

/// The holder of a token, if it is good. The token stays good.
pub(super) async fn holder(pool: &PgPool, token: &str, purpose: Purpose) -> Result<Option<Holder>, Error> {
    let row = sqlx::query(&format!(
        "SELECT user_id, users.tenant, mail_tokens.email AS sent_to, users.email, name,
             verified_at IS NOT NULL AS verified
         FROM mail_tokens JOIN users USING (user_id) JOIN tenants ON tenants.tenant = users.tenant
         WHERE token_hash = $1 AND purpose = $2 AND {GOOD} AND deactivated_at IS NULL AND suspended_at IS NULL",
    ))
    .bind(secret::digest_of(token.as_bytes()))
    .bind(purpose.as_str())
    .bind(purpose.lifetime().as_secs() as f64)
    .fetch_optional(pool)
    .await?;
    Ok(row.as_ref().map(Holder::read).transpose()?)
}

/// Uses a token up: of any number of requests with it at once, one gets its holder.
pub(super) async fn take(
    connection: &mut PgConnection,
    token: &str,
    purpose: Purpose,
) -> Result<Option<Holder>, Error> {
    let row = sqlx::query(&format!(
        "DELETE FROM mail_tokens USING users JOIN tenants ON tenants.tenant = users.tenant
         WHERE token_hash = $1 AND purpose = $2 AND {GOOD}
           AND users.user_id = mail_tokens.user_id AND deactivated_at IS NULL AND suspended_at IS NULL
         RETURNING users.user_id, users.tenant, mail_tokens.email AS sent_to, users.email, name,
             verified_at IS NOT NULL AS verified",
    ))
    .bind(secret::digest_of(token.as_bytes()))
    .bind(purpose.as_str())
    .bind(purpose.lifetime().as_secs() as f64)
    .fetch_optional(connection)
    .await?;
    Ok(row.as_ref().map(Holder::read).transpose()?)
}

/// Deletes every token of a user: the address or the password that they were sent for has changed.
pub(super) async fn forget(connection: &mut PgConnection, user_id: Uuid) -> Result<(), Error> {
    sqlx::query("DELETE FROM mail_tokens WHERE user_id = $1").bind(user_id).execute(connection).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;

    use super::*;

    #[test]
    fn a_token_is_256_random_bits_that_fit_into_a_link() {
        let (one, other) = (Token::new(), Token::new());
        assert_eq!(BASE64_URL_SAFE_NO_PAD.decode(one.as_str()).map(|bits| bits.len()), Ok(32));
        assert_ne!(one.as_str(), other.as_str());
        assert!(one.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')));
    }
}
