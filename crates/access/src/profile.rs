//! What users change of their own accounts: the name, the e-mail address and the password. An address counts once it has
//! proved to be the user's.

use std::net::IpAddr;

use fleetlog_aggregates::acts;
use fleetlog_event_log::control::{Actor, Metadata};
use fleetlog_event_log::{EventLog, TenantLog};
use sqlx::PgConnection;
use uuid::Uuid;

use super::accounts::Refused;
use super::attempts::{Attempts, Kind};
use super::directory;
use super::mail::letters::Letters;
use super::password::Passwords;
use super::principal::Oneself;
use super::reauthentication::Reauthentication;
use super::recovery::set_password;
use super::tokens::{self, Holder, Purpose, Token};
use super::users::{Email, Name};

/// Changes a user's name.
pub async fn rename(log: &TenantLog, user_id: Uuid, name: &str, metadata: Metadata) -> Result<(), Refused> {
    let (name, tenant) = (Name::parse(name).ok_or(Refused::BadName)?, log.tenant().clone());
    log.record(move |recorder| {
        Box::pin(async move {
            let changed = sqlx::query(
                "UPDATE users SET name = $3
                 WHERE tenant = $1 AND user_id = $2 AND name IS DISTINCT FROM $3",
            )
            .bind(tenant.as_str())
            .bind(user_id)
            .bind(name.as_str())
            .execute(recorder.connection())
            .await?;
            if changed.rows_affected() > 0 {
                let act = acts::User::UserProfileChanged {};
                recorder.tell(&tenant, &user_id.to_string(), &act, &metadata).await?;
            }
            Ok(())
        })
    })
    .await
}

/// Changes users' addresses and passwords, in all tenants: which tenant a mailed token belongs to is known only once it
/// has been looked up. Cheap to clone.
#[derive(Clone)]
pub struct Profile {
    log: EventLog,
    passwords: Passwords,
    attempts: Attempts,
    reauthentication: Reauthentication,
    letters: Letters,
}

impl Profile {
    pub(super) fn new(log: EventLog, passwords: Passwords, attempts: Attempts, letters: Letters) -> Self {
        let reauthentication = Reauthentication::new(log.clone(), passwords.clone(), attempts.clone());
        Self { log, passwords, attempts, reauthentication, letters }
    }

    /// Mails a token to a new address, to prove that it is the user's. The user proves the password first: the owner of the
    /// address can take the account over. Only the owner learns that another account has the address already.
    pub async fn request_address(
        &self,
        oneself: Oneself,
        email: &str,
        current: String,
        peer: Option<IpAddr>,
        metadata: Metadata,
    ) -> Result<(), Refused> {
        let email = Email::parse(email).ok_or(Refused::BadEmail)?;
        self.reauthentication.confirm(&oneself, current, peer, &metadata).await?;
        self.ask_for_confirmation(oneself, email).await
    }

    /// Mails another token to the address that the user has.
    pub async fn resend_verification(&self, oneself: Oneself, peer: Option<IpAddr>) -> Result<(), Refused> {
        let account = directory::get(&self.log.for_tenant(&oneself.tenant), oneself.user_id).await?;
        let account = account.ok_or(Refused::Unknown)?;
        if account.verified {
            return Err(Refused::AlreadyVerified);
        }
        let email = Email::parse(&account.email).ok_or(Refused::BadEmail)?;
        self.attempts.take(Kind::Forgot, Some(email.as_str()), peer).await??;
        self.ask_for_confirmation(oneself, email).await
    }

    async fn ask_for_confirmation(&self, oneself: Oneself, email: Email) -> Result<(), Refused> {
        let (token, letters) = (Token::new(), self.letters.clone());
        self.log
            .record(move |recorder| {
                Box::pin(async move {
                    let holder = (&oneself.tenant, oneself.user_id);
                    tokens::issue(recorder.connection(), &token, holder, Purpose::Address, &email).await?;
                    let mail = letters.confirm_address(&email, &token);
                    Ok(mail.post(recorder.connection(), &oneself.tenant).await?)
                })
            })
            .await
    }

    /// Gives a user the address that a token was sent to.
    pub async fn verify_address(&self, token: String, request_id: String) -> Result<(), Refused> {
        let letters = self.letters.clone();
        self.log
            .record(move |recorder| {
                Box::pin(async move {
                    let holder = tokens::take(recorder.connection(), &token, Purpose::Address).await?;
                    let Holder { tenant, user_id, sent_to, email, .. } = holder.ok_or(Refused::BadToken)?;
                    let metadata = Metadata::within(request_id, Actor::User(user_id));
                    set_address(recorder.connection(), user_id, &sent_to).await?;
                    if sent_to != email {
                        // Tokens that were sent to the old address must not work any more.
                        tokens::forget(recorder.connection(), user_id).await?;
                        let notice = letters.address_changed(&email);
                        notice.post(recorder.connection(), &tenant).await?;
                        let changed = acts::User::UserProfileChanged {};
                        recorder.tell(&tenant, &user_id.to_string(), &changed, &metadata).await?;
                    }
                    let verified = acts::User::UserVerified {};
                    recorder.tell(&tenant, &user_id.to_string(), &verified, &metadata).await?;
                    Ok(())
                })
            })
            .await
    }

    /// Sets a new password for a user who knows the old one, and ends the user's other sessions.
    pub async fn change_password(
        &self,
        oneself: Oneself,
        current: String,
        new: String,
        peer: Option<IpAddr>,
        metadata: Metadata,
    ) -> Result<(), Refused> {
        let (email, name) = self.reauthentication.confirm(&oneself, current, peer, &metadata).await?;
        let known = [Some(email.as_str().to_owned()), name].into_iter().flatten().collect();
        let password_hash = self.passwords.accept(new, known).await??;
        let letters = self.letters.clone();
        self.log
            .record(move |recorder| {
                Box::pin(async move {
                    let Oneself { tenant, user_id, session_id } = oneself;
                    let mail = letters.password_changed(email.as_str());
                    mail.post(recorder.connection(), &tenant).await?;
                    let (how, user) = (acts::PasswordChange::Changed, (&tenant, user_id));
                    set_password(recorder, user, &password_hash, how, Some(session_id), &metadata).await?;
                    Ok(())
                })
            })
            .await
    }
}

async fn set_address(connection: &mut PgConnection, user_id: Uuid, email: &str) -> Result<(), Refused> {
    let set = sqlx::query("UPDATE users SET email = $2, verified_at = clock_timestamp() WHERE user_id = $1")
        .bind(user_id)
        .bind(email)
        .execute(connection)
        .await;
    match set {
        // Another account has the address by now: the token is refused like any bad one.
        Err(sqlx::Error::Database(error)) if error.constraint() == Some("users_email") => {
            Err(Refused::BadToken)
        }
        other => Ok(other.map(|_| ())?),
    }
}
