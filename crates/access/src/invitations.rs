//! Accounts that admins make: with a password, or with an invitation to choose one.

use fleetlog_aggregates::acts;
use fleetlog_event_log::control::{Actor, Metadata};
use fleetlog_event_log::{EventLog, TenantLog};
use uuid::Uuid;

use super::accounts::{self, Refused};
use super::attempts::{Attempts, Kind};
use super::directory;
use super::mail::letters::Letters;
use super::password::Passwords;
use super::role::Role;
use super::tokens::{self, Holder, Purpose, Token};
use super::users::{self, Email, Name, NewUser};

/// A user that an admin adds.
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

/// Adds users to tenants. Accepting an invitation sees all tenants: which one a token belongs to is known only once it
/// has been looked up. Cheap to clone.
#[derive(Clone)]
pub struct Invitations {
    log: EventLog,
    passwords: Passwords,
    attempts: Attempts,
    letters: Letters,
}

impl Invitations {
    pub(super) fn new(log: EventLog, passwords: Passwords, attempts: Attempts, letters: Letters) -> Self {
        Self { log, passwords, attempts, letters }
    }

    /// Adds a user to the tenant.
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
            Some(password) => {
                Some(self.passwords.accept(password, users::known(&email, name.as_ref())).await??)
            }
            None => None,
        };
        let invited = password_hash.is_none().then(Token::new);
        let tenant = log.tenant().clone();
        let (user, letters) = (NewUser { tenant, email, name, password_hash, role }, self.letters.clone());
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
                    letters.invite(email, &token).post(recorder.connection(), tenant).await?;
                    via = acts::Registration::Invitation;
                }
                let registered = acts::User::UserRegistered { role: role.to_string(), via };
                recorder.tell(tenant, &user_id.to_string(), &registered, &metadata).await?;
                Ok(user_id)
            })
        })
        .await
    }

    /// Mails another invitation to a user who has not accepted yet. The one before is worth nothing from then on. A user gets
    /// three in a row, and one more each 10 minutes.
    pub async fn invite_again(
        &self,
        log: &TenantLog,
        user_id: Uuid,
        metadata: Metadata,
    ) -> Result<(), Refused> {
        let account = directory::get(log, user_id).await?.ok_or(Refused::Unknown)?;
        if account.status != directory::Status::Invited {
            return Err(Refused::NotInvited);
        }
        let email = Email::parse(&account.email).ok_or(Refused::BadEmail)?;
        self.attempts.take(Kind::Forgot, Some(email.as_str()), None).await??;
        let (tenant, token, letters) = (log.tenant().clone(), Token::new(), self.letters.clone());
        log.record(move |recorder| {
            Box::pin(async move {
                if !users::lock_invited(recorder.connection(), &tenant, user_id).await? {
                    return Err(Refused::NotInvited);
                }
                let holder = (&tenant, user_id);
                tokens::issue(recorder.connection(), &token, holder, Purpose::Invitation, &email).await?;
                letters.invite(&email, &token).post(recorder.connection(), &tenant).await?;
                let again = acts::User::UserReinvited {};
                recorder.tell(&tenant, &user_id.to_string(), &again, &metadata).await?;
                Ok(())
            })
        })
        .await
    }

    /// Gives an invited user a password of their choice.
    pub async fn accept(
        &self,
        token: String,
        password: String,
        name: Option<String>,
        request_id: String,
    ) -> Result<(), Refused> {
        let name = name.map(|name| Name::parse(&name).ok_or(Refused::BadName)).transpose()?;
        // The token stays good if the password is refused.
        let holder = tokens::holder(self.log.pool(), &token, Purpose::Invitation).await?;
        let known = holder.ok_or(Refused::BadToken)?.known(name.as_ref());
        let password_hash = self.passwords.accept(password, known).await??;
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
}
