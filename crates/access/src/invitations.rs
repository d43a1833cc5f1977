//! An account of an admin's making: with a password, or with an invitation to choose one.

use fleetlog_aggregates::acts;
use fleetlog_event_log::TenantLog;
use fleetlog_event_log::control::{Actor, Metadata};
use uuid::Uuid;

use super::accounts::{self, Refused};
use super::mail::letters::Letters;
use super::sign_up::known;
use super::tokens::{self, Holder, Purpose, Token};
use super::users::{self, Email, Name, NewUser};
use super::{Identity, Role};

/// Whom an admin wants in.
#[derive(Clone)]
pub struct Invitation {
    /// The address to log in with.
    pub email: String,
    /// What the user may do.
    pub role: Role,
    /// What people call the user.
    pub name: Option<String>,
    /// The password. Without one, the user chooses it, by the token that is mailed.
    pub password: Option<String>,
}

impl Identity {
    /// Adds a user to a tenant. `log` is the admin's.
    pub async fn invite(
        &self,
        log: &TenantLog,
        invitation: Invitation,
        metadata: Metadata,
    ) -> Result<Uuid, Refused> {
        let Invitation { email, role, name, password } = invitation;
        let email = Email::parse(&email).ok_or(Refused::BadEmail)?;
        let name = name.map(|name| Name::parse(&name).ok_or(Refused::BadName)).transpose()?;
        let password_hash = match password {
            Some(password) => Some(self.passwords.accept(password, known(&email, name.as_ref())).await??),
            None => None,
        };
        let invited = password_hash.is_none().then(Token::new);
        let tenant = log.tenant().clone();
        let (user, base) = (NewUser { tenant, email, name, password_hash, role }, self.base());
        log.record(move |recorder| {
            Box::pin(async move {
                let NewUser { tenant, email, role, .. } = &user;
                let rules = accounts::lock(recorder.connection(), tenant).await?;
                rules.ok_or(Refused::NoTenant)?.check_room(recorder.connection(), tenant).await?;
                let user_id = users::add(recorder.connection(), &user).await?.ok_or(Refused::Taken)?;
                let mut via = acts::Registration::Admin;
                if let Some(token) = invited {
                    let holder = (tenant, user_id);
                    tokens::issue(recorder.connection(), &token, holder, Purpose::Invitation, email).await?;
                    Letters::new(&base).invite(email, &token).post(recorder.connection(), tenant).await?;
                    via = acts::Registration::Invitation;
                }
                let registered = acts::User::UserRegistered { role: role.to_string(), via };
                recorder.tell(tenant, &user_id.to_string(), &registered, &metadata).await?;
                Ok(user_id)
            })
        })
        .await
    }

    /// Gives an invited user the password of their choice.
    pub async fn accept_invitation(
        &self,
        token: String,
        password: String,
        name: Option<String>,
        request_id: String,
    ) -> Result<(), Refused> {
        let name = name.map(|name| Name::parse(&name).ok_or(Refused::BadName)).transpose()?;
        let password_hash =
            self.accept_of_holder(&token, Purpose::Invitation, password, name.as_ref()).await?;
        self.log
            .record(move |recorder| {
                Box::pin(async move {
                    let holder = tokens::take(recorder.connection(), &token, Purpose::Invitation).await?;
                    let Holder { user_id, tenant, .. } = holder.ok_or(Refused::BadToken)?;
                    sqlx::query(
                        "UPDATE users SET password_hash = $2, name = coalesce($3, name),
                             verified_at = clock_timestamp()
                         WHERE user_id = $1",
                    )
                    .bind(user_id)
                    .bind(&password_hash)
                    .bind(name.as_ref().map(Name::as_str))
                    .execute(recorder.connection())
                    .await?;
                    tokens::forget(recorder.connection(), user_id).await?;
                    let metadata = Metadata::within(request_id, Actor::User(user_id));
                    let how = acts::PasswordChange::Invited;
                    for act in [acts::User::UserVerified {}, acts::User::UserPasswordChanged { how }] {
                        recorder.tell(&tenant, &user_id.to_string(), &act, &metadata).await?;
                    }
                    Ok(())
                })
            })
            .await
    }

    /// The hash of a token's holder's new password. The token stays good if the password is refused.
    pub(super) async fn accept_of_holder(
        &self,
        token: &str,
        purpose: Purpose,
        password: String,
        name: Option<&Name>,
    ) -> Result<String, Refused> {
        let holder = tokens::holder(self.log.pool(), token, purpose).await?.ok_or(Refused::BadToken)?;
        let name = name.map(|name| name.as_str().to_owned());
        let known = [Some(holder.email), holder.name, name].into_iter().flatten().collect();
        Ok(self.passwords.accept(password, known).await??)
    }
}
