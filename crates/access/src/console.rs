//! Users of all tenants, for the operator on the machine itself: without a login, on the record as `cli`.

use fleetlog_aggregates::acts;
use fleetlog_aggregates::identity::Tenant;
use fleetlog_event_log::EventLog;
use fleetlog_event_log::control::{Actor, Metadata};
use sqlx::PgPool;

use super::accounts::{self, Refused};
use super::directory::{self, Account};
use super::password::{self, Passwords};
use super::recovery::set_password;
use super::role::Role;
use super::users::{self, Email, Name, NewUser};

/// All users, by tenant and address.
pub async fn list(pool: &PgPool) -> Result<Vec<Account>, Refused> {
    let rows = sqlx::query(
        "SELECT user_id, email, name, tenant, role, deactivated_at IS NOT NULL AS deactivated, invited,
             verified_at IS NOT NULL AS verified, created_at
         FROM users ORDER BY tenant, lower(email)",
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.iter().map(directory::read).collect::<sqlx::Result<_>>()?)
}

/// Adds a user with a new password, which is returned.
pub async fn add(
    log: &EventLog,
    tenant: Tenant,
    email: &str,
    name: Option<&str>,
    role: Role,
) -> Result<String, Refused> {
    let email = Email::parse(email).ok_or(Refused::BadEmail)?;
    let name = name.map(|name| Name::parse(name).ok_or(Refused::BadName)).transpose()?;
    let password = password::generate();
    let password_hash = Some(Passwords::default().hash(password.clone()).await?);
    let user = NewUser { tenant, email, name, password_hash, role };
    log.record(move |recorder| {
        Box::pin(async move {
            let rules = accounts::lock(recorder.connection(), &user.tenant).await?;
            rules.ok_or(Refused::NoTenant)?.check_room(recorder.connection(), &user.tenant).await?;
            let user_id = users::add(recorder.connection(), &user).await?.ok_or(Refused::Taken)?;
            let (role, via) = (user.role.to_string(), acts::Registration::Admin);
            let (registered, metadata) =
                (acts::User::UserRegistered { role, via }, Metadata::by(Actor::Console));
            recorder.tell(&user.tenant, &user_id.to_string(), &registered, &metadata).await?;
            Ok(())
        })
    })
    .await
    .map(|()| password)
}

/// Gives a user a new password, which is returned, and ends the user's sessions.
pub async fn reset_password(log: &EventLog, email: &str) -> Result<String, Refused> {
    let email = Email::parse(email).ok_or(Refused::BadEmail)?;
    let password = password::generate();
    let password_hash = Passwords::default().hash(password.clone()).await?;
    let user = users::find(log.pool(), &email).await?.ok_or(Refused::Unknown)?;
    log.record(move |recorder| {
        Box::pin(async move {
            let (user, how) = ((&user.tenant, user.user_id), acts::PasswordChange::Assigned);
            let metadata = Metadata::by(Actor::Console);
            set_password(recorder, user, &password_hash, how, None, &metadata).await?;
            Ok(())
        })
    })
    .await
    .map(|()| password)
}
