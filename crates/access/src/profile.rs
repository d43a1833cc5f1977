//! One's own name and address. An address counts once it has proved to be the user's.

use std::net::IpAddr;

use chrono::Utc;
use fleetlog_aggregates::acts;
use fleetlog_event_log::TenantLog;
use fleetlog_event_log::control::{Actor, Metadata};
use sqlx::PgConnection;
use uuid::Uuid;

use super::Identity;
use super::accounts::Refused;
use super::attempts::Kind;
use super::directory;
use super::mail::letters::Letters;
use super::recovery::Oneself;
use super::tokens::{self, Holder, Purpose, Token};
use super::users::{Email, Name};

impl Identity {
    /// Gives oneself another name. `log` is one's own.
    pub async fn rename(
        &self,
        log: &TenantLog,
        oneself: Oneself,
        name: &str,
        metadata: Metadata,
    ) -> Result<(), Refused> {
        let name = Name::parse(name).ok_or(Refused::BadName)?;
        log.record(move |recorder| {
            Box::pin(async move {
                let Oneself { tenant, user_id, .. } = oneself;
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

    /// Asks at a new address whether it is the user's, who knows the password: whoever has the address can take over the
    /// account. That somebody else has it already shows only to its owner.
    pub async fn request_address(
        &self,
        oneself: Oneself,
        email: &str,
        current: String,
        peer: Option<IpAddr>,
        metadata: Metadata,
    ) -> Result<(), Refused> {
        let email = Email::parse(email).ok_or(Refused::BadEmail)?;
        self.confirm(&oneself, current, peer, &metadata).await?;
        self.ask_for_confirmation(oneself, email).await
    }

    /// Asks again at the address that the user has.
    pub async fn resend_verification(&self, oneself: Oneself, peer: Option<IpAddr>) -> Result<(), Refused> {
        let account = directory::get(&self.log.for_tenant(&oneself.tenant), oneself.user_id).await?;
        let account = account.ok_or(Refused::Unknown)?;
        if account.verified {
            return Err(Refused::AlreadyVerified);
        }
        let email = Email::parse(&account.email).ok_or(Refused::BadEmail)?;
        self.limiter.take(Kind::Forgot, Some(email.as_str()), peer, Utc::now()).await??;
        self.ask_for_confirmation(oneself, email).await
    }

    async fn ask_for_confirmation(&self, oneself: Oneself, email: Email) -> Result<(), Refused> {
        let (token, base) = (Token::new(), self.base());
        self.log
            .record(move |recorder| {
                Box::pin(async move {
                    let holder = (&oneself.tenant, oneself.user_id);
                    tokens::issue(recorder.connection(), &token, holder, Purpose::Address, &email).await?;
                    let mail = Letters::new(&base).confirm_address(&email, &token);
                    Ok(mail.post(recorder.connection(), &oneself.tenant).await?)
                })
            })
            .await
    }

    /// Takes the address that a token was sent to for its user's.
    pub async fn verify_address(&self, token: String, request_id: String) -> Result<(), Refused> {
        let base = self.base();
        self.log
            .record(move |recorder| {
                Box::pin(async move {
                    let holder = tokens::take(recorder.connection(), &token, Purpose::Address).await?;
                    let Holder { tenant, user_id, sent_to, email, .. } = holder.ok_or(Refused::BadToken)?;
                    let metadata = Metadata::within(request_id, Actor::User(user_id));
                    set_address(recorder.connection(), user_id, &sent_to).await?;
                    if sent_to != email {
                        // What went to the old address is not the user's any more.
                        tokens::forget(recorder.connection(), user_id).await?;
                        let notice = Letters::new(&base).address_changed(&email);
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
}

async fn set_address(connection: &mut PgConnection, user_id: Uuid, email: &str) -> Result<(), Refused> {
    let set = sqlx::query("UPDATE users SET email = $2, verified_at = clock_timestamp() WHERE user_id = $1")
        .bind(user_id)
        .bind(email)
        .execute(connection)
        .await;
    match set {
        // Somebody else has it, and this token is worth no more than any that is not.
        Err(sqlx::Error::Database(error)) if error.constraint() == Some("users_email") => {
            Err(Refused::BadToken)
        }
        other => Ok(other.map(|_| ())?),
    }
}
