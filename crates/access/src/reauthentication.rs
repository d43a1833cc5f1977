//! Re-authentication: a user in a session proves the password again before a change that could take the account over.

use std::net::IpAddr;

use fleetlog_aggregates::acts;
use fleetlog_event_log::EventLog;
use fleetlog_event_log::control::Metadata;
use sqlx::Row;

use super::accounts::Refused;
use super::attempts::{Attempts, Kind};
use super::password::{MAX_PASSWORD, Passwords};
use super::principal::Oneself;
use super::users::Email;

/// Checks users' passwords, as the service. Cheap to clone.
#[derive(Clone)]
pub(super) struct Reauthentication {
    log: EventLog,
    passwords: Passwords,
    attempts: Attempts,
}

impl Reauthentication {
    pub(super) fn new(log: EventLog, passwords: Passwords, attempts: Attempts) -> Self {
        Self { log, passwords, attempts }
    }

    /// Makes sure that the session is used by its user, who knows the password. Returns the user's address and name. A
    /// failed attempt is recorded.
    pub(super) async fn confirm(
        &self,
        oneself: &Oneself,
        password: String,
        peer: Option<IpAddr>,
        metadata: &Metadata,
    ) -> Result<(Email, Option<String>), Refused> {
        let row =
            sqlx::query("SELECT email, name, password_hash FROM users WHERE user_id = $1 AND tenant = $2")
                .bind(oneself.user_id)
                .bind(oneself.tenant.as_str())
                .fetch_optional(self.log.pool())
                .await?
                .ok_or(Refused::Unknown)?;
        let email = Email::parse(row.try_get("email")?).ok_or(Refused::BadEmail)?;
        let account = oneself.user_id.to_string();
        self.attempts.take(Kind::Password, Some(&account), peer).await??;
        let matches = password.len() <= MAX_PASSWORD
            && self.passwords.verify(password, row.try_get("password_hash")?).await?;
        if !matches {
            self.tell_failure(oneself.clone(), metadata.clone()).await?;
            return Err(Refused::WrongPassword);
        }
        self.attempts.give_back(Kind::Password, Some(&account), peer).await?;
        Ok((email, row.try_get("name")?))
    }

    async fn tell_failure(&self, oneself: Oneself, metadata: Metadata) -> Result<(), Refused> {
        self.log
            .record(move |recorder| {
                Box::pin(async move {
                    let (id, failed) = (oneself.user_id.to_string(), acts::User::UserLoginFailed {});
                    recorder.tell(&oneself.tenant, &id, &failed, &metadata).await?;
                    Ok(())
                })
            })
            .await
    }
}
