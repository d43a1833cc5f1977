//! An e-mail address and a password against a session.

use std::net::IpAddr;
use std::time::Instant;

use chrono::Utc;

use super::limiter::TooMany;
use super::password::MAX_PASSWORD;
use super::sessions::Client;
use super::users::{self, Email};
use super::{Error, Identity};
use fleetlog_event_log::control::metadata;

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

impl Identity {
    /// An access token for whoever has this address and password. `peer` is where the attempt comes from.
    pub async fn log_in(
        &self,
        email: &str,
        password: &str,
        peer: Option<IpAddr>,
        client: Client,
        request_id: String,
    ) -> Result<String, Refused> {
        // What no user can have is nobody's: it costs nothing and reveals nothing.
        let email = Email::parse(email).ok_or(Refused::BadCredentials)?;
        if password.len() > MAX_PASSWORD {
            return Err(Refused::BadCredentials);
        }
        self.limiter.take(&email, peer, Instant::now())?;
        let user = users::find(self.log.pool(), &email).await?;
        let hash = user.as_ref().and_then(|user| user.password_hash.clone());
        let matches = self.passwords.verify(password.to_owned(), hash).await?;
        let user = user.filter(|_| matches).ok_or(Refused::BadCredentials)?;
        self.limiter.give_back(&email, peer);
        let metadata = metadata(user.user_id, Some(request_id), None);
        let session_id = self.start_session(&user, client, metadata).await?;
        Ok(self.keys.issue(&user, session_id, Utc::now())?)
    }
}
