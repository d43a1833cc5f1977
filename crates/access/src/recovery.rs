//! Recovery: a new password without the old one, by a token in a mail.

use std::net::IpAddr;

use fleetlog_aggregates::acts;
use fleetlog_aggregates::identity::Tenant;
use fleetlog_event_log::EventLog;
use fleetlog_event_log::control::{Actor, Metadata};
use fleetlog_event_log::record::Recorder;
use uuid::Uuid;

use super::accounts::{Refused, evenly};
use super::attempts::{Attempts, Kind};
use super::error::Error;
use super::mail::letters::Letters;
use super::password::Passwords;
use super::session_rows;
use super::tokens::{self, Purpose, Token};
use super::users::{self, Email};

/// Gives users of all tenants a new password: which tenant an address or a token belongs to is known only once it has
/// been looked up. Cheap to clone.
#[derive(Clone)]
pub struct Recovery {
    log: EventLog,
    passwords: Passwords,
    attempts: Attempts,
    letters: Letters,
}

impl Recovery {
    pub(super) fn new(log: EventLog, passwords: Passwords, attempts: Attempts, letters: Letters) -> Self {
        Self { log, passwords, attempts, letters }
    }

    /// Mails a token for a new password to this address, if it is a user's. The answer does not tell whether it is.
    pub async fn forgot_password(&self, email: &str, peer: Option<IpAddr>) -> Result<(), Refused> {
        let email = Email::parse(email).ok_or(Refused::BadEmail)?;
        self.attempts.take(Kind::Forgot, Some(email.as_str()), peer).await??;
        evenly(self.send_reset(email)).await
    }

    async fn send_reset(&self, email: Email) -> Result<(), Refused> {
        let Some(user) = users::find(self.log.pool(), &email).await? else { return Ok(()) };
        let (token, letters) = (Token::new(), self.letters.clone());
        self.log
            .record(move |recorder| {
                Box::pin(async move {
                    let holder = (&user.tenant, user.user_id);
                    tokens::issue(recorder.connection(), &token, holder, Purpose::Reset, &email).await?;
                    let mail = letters.reset_password(&email, &token);
                    Ok(mail.post(recorder.connection(), &user.tenant).await?)
                })
            })
            .await
    }

    /// Sets a new password for the holder of a token from such a mail, and ends all sessions. The token proves the address,
    /// too.
    pub async fn reset_password(
        &self,
        token: String,
        password: String,
        request_id: String,
    ) -> Result<(), Refused> {
        let holder = tokens::holder(self.log.pool(), &token, Purpose::Reset).await?;
        let known = holder.ok_or(Refused::BadToken)?.known(None);
        let password_hash = self.passwords.accept(password, known).await??;
        let letters = self.letters.clone();
        self.log
            .record(move |recorder| {
                Box::pin(async move {
                    let holder = tokens::take(recorder.connection(), &token, Purpose::Reset).await?;
                    let holder = holder.ok_or(Refused::BadToken)?;
                    let (tenant, user_id) = (holder.tenant, holder.user_id);
                    let metadata = Metadata::within(request_id, Actor::User(user_id));
                    let proved = !holder.verified && holder.sent_to == holder.email;
                    if proved {
                        sqlx::query("UPDATE users SET verified_at = clock_timestamp() WHERE user_id = $1")
                            .bind(user_id)
                            .execute(recorder.connection())
                            .await?;
                    }
                    let mail = letters.password_changed(&holder.email);
                    mail.post(recorder.connection(), &tenant).await?;
                    let how = acts::PasswordChange::Reset;
                    set_password(recorder, (&tenant, user_id), &password_hash, how, None, &metadata).await?;
                    if proved {
                        let verified = acts::User::UserVerified {};
                        recorder.tell(&tenant, &user_id.to_string(), &verified, &metadata).await?;
                    }
                    Ok(())
                })
            })
            .await
    }
}

/// Gives a user another password, and ends what the old one was good for: mailed tokens and all sessions but `except`.
pub(super) async fn set_password(
    recorder: &mut Recorder,
    (tenant, user_id): (&Tenant, Uuid),
    password_hash: &str,
    how: acts::PasswordChange,
    except: Option<Uuid>,
    metadata: &Metadata,
) -> Result<(), Error> {
    sqlx::query("UPDATE users SET password_hash = $3 WHERE tenant = $1 AND user_id = $2")
        .bind(tenant.as_str())
        .bind(user_id)
        .bind(password_hash)
        .execute(recorder.connection())
        .await?;
    tokens::forget(recorder.connection(), user_id).await?;
    let why = acts::SessionEnd::Password;
    session_rows::end_all(recorder, (tenant, user_id), except, why, metadata).await?;
    let changed = acts::User::UserPasswordChanged { how };
    recorder.tell(tenant, &user_id.to_string(), &changed, metadata).await?;
    Ok(())
}
