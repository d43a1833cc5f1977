//! The first start: the signing key and the first admin. There is no default password and no default key.

use sqlx::PgPool;

use super::authorize::PLATFORM_TENANT;
use super::password::{self, Passwords};
use super::users::{self, Email, NewUser};
use super::{Error, Keys, Role};

/// The first admin's address, unless another is given.
pub const DEFAULT_EMAIL: &str = "admin@localhost";

/// What a start has made.
pub struct FirstStart {
    /// The installation's keys.
    pub keys: Keys,
    /// The admin that this start has made; `None` if there were users already, or another start was faster.
    pub admin: Option<Admin>,
}

/// An admin who has just been made.
pub struct Admin {
    /// The address to log in with.
    pub email: String,
    /// The password, if it was made here: for the caller to show once, as only its hash is kept.
    pub generated_password: Option<String>,
}

/// Makes what the first start has to make, and finds it on every other. `email` and `password` only matter while
/// there is no user.
pub async fn first_start(
    pool: &PgPool,
    email: Option<String>,
    password: Option<String>,
) -> Result<FirstStart, Error> {
    let keys = Keys::load(pool).await?;
    let admin =
        if users::any(pool).await? { None } else { first_admin(pool, email.as_deref(), password).await? };
    Ok(FirstStart { keys, admin })
}

async fn first_admin(
    pool: &PgPool,
    email: Option<&str>,
    given: Option<String>,
) -> Result<Option<Admin>, Error> {
    let email = Email::parse(email.unwrap_or(DEFAULT_EMAIL)).ok_or(Error::BadEmail)?;
    let generated = given.is_none();
    let password = given.unwrap_or_else(password::generate);
    password::check(&password)?;
    let user = NewUser {
        tenant: PLATFORM_TENANT,
        email: email.clone(),
        password_hash: Passwords::default().hash(password.clone()).await?,
        role: Role::Admin,
    };
    // The address is unique: of two first starts at once, one adds the admin, and only that one shows a password.
    let added = users::add(pool, &user).await?;
    Ok(added.map(|_| Admin {
        email: email.as_str().to_owned(),
        generated_password: generated.then_some(password),
    }))
}
