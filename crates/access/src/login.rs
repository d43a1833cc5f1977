//! Logging in: an e-mail address and a password for a session.

use std::net::IpAddr;

use fleetlog_aggregates::acts;
use fleetlog_event_log::EventLog;
use fleetlog_event_log::control::{Actor, Metadata};

use super::attempts::{Attempts, Kind, TooMany};
use super::error::Error;
use super::known_origins::{KnownOrigins, Origin};
use super::password::{MAX_PASSWORD, Passwords};
use super::session_tokens::{Client, Tokens};
use super::sessions::Sessions;
use super::strangers;
use super::users::{self, Email, User};

/// Why nobody is logged in.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// No such user, or not the password. The answer does not tell which.
    #[error("the e-mail address or the password is wrong")]
    BadCredentials,
    /// Too many attempts.
    #[error(transparent)]
    TooMany(#[from] TooMany),
    /// Something failed.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// Logs users of all tenants in: which tenant a user belongs to is known only once the address has been looked up. Cheap
/// to clone.
#[derive(Clone)]
pub struct Logins {
    log: EventLog,
    sessions: Sessions,
    passwords: Passwords,
    attempts: Attempts,
    origins: KnownOrigins,
}

/// A login that has succeeded. Not `Debug`: all of it is secret.
pub struct LoggedIn {
    /// The tokens of the new session.
    pub tokens: Tokens,
    /// What a browser shows the next time, for as long as [`REMEMBERED`](super::known_origins::REMEMBERED).
    pub device: String,
}

impl Logins {
    pub(super) fn new(log: EventLog, sessions: Sessions, passwords: Passwords, attempts: Attempts) -> Self {
        let origins = KnownOrigins::new(log.pool().clone());
        Self { log, sessions, passwords, attempts, origins }
    }

    /// Begins a session of the user with this address and password.
    pub async fn log_in(
        &self,
        email: &str,
        password: &str,
        origin: Origin,
        client: Client,
        request_id: String,
    ) -> Result<LoggedIn, Refused> {
        // No user can have these: refusing them at once reveals nothing.
        let email = Email::parse(email).ok_or(Refused::BadCredentials)?;
        if password.len() > MAX_PASSWORD {
            return Err(Refused::BadCredentials);
        }
        let standing = self.origins.standing(&email, &origin).await?;
        let counted = (Some(standing.account.clone()), standing.address);
        self.attempts.take(Kind::Login, counted.0.as_deref(), counted.1).await??;
        let user = users::find(self.log.pool(), &email).await?;
        let hash = user.as_ref().and_then(|user| user.password_hash.clone());
        let matches = self.passwords.verify(password.to_owned(), hash).await?;
        let Some(user) = user.clone().filter(|_| matches) else {
            self.tell_refusal(user, origin.address, request_id).await?;
            return Err(Refused::BadCredentials);
        };
        self.attempts.give_back(Kind::Login, counted.0.as_deref(), counted.1).await?;
        let device = self.origins.note(&email, origin.address, standing).await?;
        let metadata = Metadata::within(request_id, Actor::User(user.user_id));
        let tokens = self.sessions.start(user, client, metadata).await?.ok_or(Refused::BadCredentials)?;
        Ok(LoggedIn { tokens, device })
    }

    /// Records a failed attempt in the log of the user's tenant, or counts it if there is no such user. Both are a
    /// transaction that writes, so that the time does not tell which.
    async fn tell_refusal(
        &self,
        user: Option<User>,
        address: Option<IpAddr>,
        request_id: String,
    ) -> Result<(), Error> {
        let metadata = Metadata::within(request_id, Actor::Nobody);
        self.log
            .record(move |recorder| {
                Box::pin(async move {
                    if let Some(User { user_id, tenant, .. }) = user {
                        let failed = acts::User::UserLoginFailed {};
                        recorder.tell(&tenant, &user_id.to_string(), &failed, &metadata).await?;
                    } else {
                        strangers::count(recorder, address).await?;
                    }
                    Ok(())
                })
            })
            .await
    }
}
