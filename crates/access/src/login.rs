//! An e-mail address and a password against a session.

use std::net::IpAddr;

use chrono::Utc;
use fleetlog_aggregates::acts;
use fleetlog_event_log::control::{Actor, Metadata};
use uuid::Uuid;

use super::attempts::{Kind, TooMany};
use super::authorize::platform;
use super::password::MAX_PASSWORD;
use super::sessions::{Client, Tokens};
use super::users::{self, Email, User};
use super::{Error, Identity};

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
    /// A session of whoever has this address and password. `peer` is where the attempt comes from.
    pub async fn log_in(
        &self,
        email: &str,
        password: &str,
        peer: Option<IpAddr>,
        client: Client,
        request_id: String,
    ) -> Result<Tokens, Refused> {
        // What no user can have is nobody's: it costs nothing and reveals nothing.
        let email = Email::parse(email).ok_or(Refused::BadCredentials)?;
        if password.len() > MAX_PASSWORD {
            return Err(Refused::BadCredentials);
        }
        self.limiter.take(Kind::Login, Some(email.as_str()), peer, Utc::now()).await??;
        let user = users::find(self.log.pool(), &email).await?;
        let hash = user.as_ref().and_then(|user| user.password_hash.clone());
        let matches = self.passwords.verify(password.to_owned(), hash).await?;
        let Some(user) = user.clone().filter(|_| matches) else {
            self.tell_refusal(user, request_id).await?;
            return Err(Refused::BadCredentials);
        };
        self.limiter.give_back(Kind::Login, Some(email.as_str()), peer).await?;
        let metadata = Metadata::within(request_id, Actor::User(user.user_id));
        self.start_session(user, client, metadata).await?.ok_or(Refused::BadCredentials)
    }

    /// Puts a failed attempt on the record: the user's if there is one, else the platform's. Either way it takes as
    /// long.
    async fn tell_refusal(&self, user: Option<User>, request_id: String) -> Result<(), Error> {
        let metadata = Metadata::within(request_id, Actor::Nobody);
        self.log
            .record(move |recorder| {
                Box::pin(async move {
                    if let Some(User { user_id, tenant, .. }) = user {
                        let failed = acts::User::UserLoginFailed {};
                        recorder.tell(&tenant, &user_id.to_string(), &failed, &metadata).await?;
                    } else {
                        let (unknown, refused) = (Uuid::now_v7().to_string(), acts::Denial::LoginRefused {});
                        recorder.tell(&platform(), &unknown, &refused, &metadata).await?;
                    }
                    Ok(())
                })
            })
            .await
    }
}
