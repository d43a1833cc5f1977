//! An e-mail address and a password against an access token.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use chrono::Utc;
use sqlx::PgPool;

use super::limiter::{Limiter, TooMany};
use super::password::{MAX_PASSWORD, Passwords};
use super::users::{self, Email};
use super::{Error, Keys};

/// Logs users in. Cheap to clone; clones share the limits.
#[derive(Clone)]
pub struct Logins {
    pool: PgPool,
    keys: Keys,
    passwords: Passwords,
    limiter: Arc<Limiter>,
}

/// Why nobody is logged in.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// No such user, or not the password. Which of the two is nobody's business.
    #[error("the e-mail address or the password is wrong")]
    BadCredentials,
    /// Too many attempts.
    #[error(transparent)]
    TooMany(#[from] TooMany),
    /// Something failed.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl Logins {
    /// Logs users of this database in, with tokens that `keys` signs.
    #[must_use]
    pub fn new(pool: PgPool, keys: Keys) -> Self {
        Self { pool, keys, passwords: Passwords::default(), limiter: Arc::default() }
    }

    /// An access token for whoever has this address and password. `peer` is where the attempt comes from.
    pub async fn log_in(&self, email: &str, password: &str, peer: Option<IpAddr>) -> Result<String, Refused> {
        // What no user can have is nobody's: it costs nothing and reveals nothing.
        let email = Email::parse(email).ok_or(Refused::BadCredentials)?;
        if password.len() > MAX_PASSWORD {
            return Err(Refused::BadCredentials);
        }
        self.limiter.take(&email, peer, Instant::now())?;
        let user = users::find(&self.pool, &email).await?;
        let hash = user.as_ref().map(|user| user.password_hash.clone());
        let matches = self.passwords.verify(password.to_owned(), hash).await?;
        let user = user.filter(|_| matches).ok_or(Refused::BadCredentials)?;
        self.limiter.give_back(&email, peer);
        Ok(self.keys.issue(&user.principal, Utc::now())?)
    }
}
