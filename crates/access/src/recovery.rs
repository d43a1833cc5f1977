//! Another password: with the old one, or, where that is forgotten, with a mail.

use std::net::IpAddr;

use chrono::Utc;
use fleetlog_aggregates::acts;
use fleetlog_aggregates::identity::Tenant;
use fleetlog_event_log::control::{Actor, Metadata};
use fleetlog_event_log::record::Recorder;
use sqlx::Row;
use uuid::Uuid;

use super::accounts::{Refused, evenly};
use super::attempts::Kind;
use super::mail::letters::Letters;
use super::password::MAX_PASSWORD;
use super::tokens::{self, Purpose, Token};
use super::users::{self, Email};
use super::{Error, Identity};

/// A user who is in a session.
#[derive(Debug, Clone)]
pub struct Oneself {
    /// Whose user it is.
    pub tenant: Tenant,
    /// The user.
    pub user_id: Uuid,
    /// The session.
    pub session_id: Uuid,
}

impl Identity {
    /// Mails a token for a new password to whoever has this address. That nobody has it is nobody's business.
    pub async fn forgot_password(&self, email: &str, peer: Option<IpAddr>) -> Result<(), Refused> {
        let email = Email::parse(email).ok_or(Refused::BadEmail)?;
        self.limiter.take(Kind::Forgot, Some(email.as_str()), peer, Utc::now()).await??;
        evenly(self.send_reset(email)).await
    }

    async fn send_reset(&self, email: Email) -> Result<(), Refused> {
        let Some(user) = users::find(self.log.pool(), &email).await? else { return Ok(()) };
        let (token, base) = (Token::new(), self.base());
        self.log
            .record(move |recorder| {
                Box::pin(async move {
                    let holder = (&user.tenant, user.user_id);
                    tokens::issue(recorder.connection(), &token, holder, Purpose::Reset, &email).await?;
                    let mail = Letters::new(&base).reset_password(&email, &token);
                    Ok(mail.post(recorder.connection(), &user.tenant).await?)
                })
            })
            .await
    }

    /// Sets a new password for whoever has the token of such a mail, and ends all sessions. The address is theirs, too.
    pub async fn reset_password(
        &self,
        token: String,
        password: String,
        request_id: String,
    ) -> Result<(), Refused> {
        let password_hash = self.accept_of_holder(&token, Purpose::Reset, password, None).await?;
        let base = self.base();
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
                    let mail = Letters::new(&base).password_changed(&holder.email);
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

    /// Sets a new password for somebody who knows the old one, and ends all other sessions.
    pub async fn change_password(
        &self,
        oneself: Oneself,
        current: String,
        new: String,
        peer: Option<IpAddr>,
        metadata: Metadata,
    ) -> Result<(), Refused> {
        let (email, name) = self.confirm(&oneself, current, peer, &metadata).await?;
        let known = [Some(email.as_str().to_owned()), name].into_iter().flatten().collect();
        let password_hash = self.passwords.accept(new, known).await??;
        let base = self.base();
        self.log
            .record(move |recorder| {
                Box::pin(async move {
                    let Oneself { tenant, user_id, session_id } = oneself;
                    let mail = Letters::new(&base).password_changed(email.as_str());
                    mail.post(recorder.connection(), &tenant).await?;
                    let (how, user) = (acts::PasswordChange::Changed, (&tenant, user_id));
                    set_password(recorder, user, &password_hash, how, Some(session_id), &metadata).await?;
                    Ok(())
                })
            })
            .await
    }

    /// Makes sure that it is the user who is in the session: they know the password. Returns their address and name.
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
        self.limiter.take(Kind::Password, Some(&account), peer, Utc::now()).await??;
        let matches = password.len() <= MAX_PASSWORD
            && self.passwords.verify(password, row.try_get("password_hash")?).await?;
        if !matches {
            self.tell_failure(oneself.clone(), metadata.clone()).await?;
            return Err(Refused::WrongPassword);
        }
        self.limiter.give_back(Kind::Password, Some(&account), peer).await?;
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

/// Gives a user another password. What the old one was good for ends: sessions, but for `except`, and mailed tokens.
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
    Identity::end_sessions(recorder, (tenant, user_id), except, why, metadata).await?;
    let changed = acts::User::UserPasswordChanged { how };
    recorder.tell(tenant, &user_id.to_string(), &changed, metadata).await?;
    Ok(())
}
