//! The first start: the signing key and the first admin. There is no default password and no default key.

use fleetlog_aggregates::acts;
use fleetlog_event_log::EventLog;
use fleetlog_event_log::control::{Actor, Metadata};

use super::error;
use super::password::{self, Passwords, Weak};
use super::role::Role;
use super::sealing::Secret;
use super::signing_keys::SigningKeys;
use super::users::{self, Email, NewUser};
use fleetlog_aggregates::identity::Tenant;

/// The first admin's address, unless another is given.
pub const DEFAULT_EMAIL: &str = "admin@localhost";

/// What a start has made.
pub struct FirstStart {
    /// The installation's keys.
    pub keys: SigningKeys,
    /// The admin that this start has made; `None` if there were users already, or another start was faster.
    pub admin: Option<Admin>,
}

/// Why there is no key or no first admin.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The password is too easy to guess.
    #[error("take the first admin's password: {0}")]
    Weak(#[from] Weak),
    /// The e-mail address is none.
    #[error("take the first admin's e-mail address: 3 to 254 characters, with an @ and without spaces")]
    BadEmail,
    /// Something failed.
    #[error(transparent)]
    Failed(#[from] error::Error),
}

/// An admin who has just been made.
pub struct Admin {
    /// The address to log in with.
    pub email: String,
    /// The password, if it was made here: for the caller to show once, as only its hash is kept.
    pub generated_password: Option<String>,
}

/// Makes the signing key and the first admin, or finds them. `email` and `password` only count while there is no user.
/// `secret` seals the keys.
pub async fn first_start(
    log: &EventLog,
    email: Option<String>,
    password: Option<String>,
    secret: Option<Secret>,
) -> Result<FirstStart, Error> {
    let keys = SigningKeys::load(log, secret).await?;
    let admin = if users::any(log.pool()).await? {
        None
    } else {
        first_admin(log, email.as_deref(), password).await?
    };
    Ok(FirstStart { keys, admin })
}

async fn first_admin(
    log: &EventLog,
    email: Option<&str>,
    given: Option<String>,
) -> Result<Option<Admin>, Error> {
    let email = Email::parse(email.unwrap_or(DEFAULT_EMAIL)).ok_or(Error::BadEmail)?;
    let generated = given.is_none();
    let password = given.unwrap_or_else(password::generate);
    let known = vec![email.as_str().to_owned()];
    let password_hash = Passwords::default().accept(password.clone(), known).await??;
    // The address is unique: of two first starts at once, one adds the admin, and only that one shows a password.
    let address = email.clone();
    let added = log
        .record(move |recorder| {
            Box::pin(async move {
                let user = NewUser {
                    tenant: Tenant::platform(),
                    email: address,
                    name: None,
                    password_hash: Some(password_hash),
                    role: Role::Admin,
                };
                let Some(user_id) = users::add(recorder.connection(), &user).await? else { return Ok(None) };
                let via = acts::Registration::FirstStart;
                let registered = acts::User::UserRegistered { role: Role::Admin.to_string(), via };
                let metadata = Metadata::by(Actor::Fleetlog);
                recorder.tell(&Tenant::platform(), &user_id.to_string(), &registered, &metadata).await?;
                Ok::<_, error::Error>(Some(user_id))
            })
        })
        .await?;
    Ok(added.map(|_| Admin {
        email: email.as_str().to_owned(),
        generated_password: generated.then_some(password),
    }))
}
