//! What people and their admins do with accounts, and why they cannot.
//!
//! - [`registration`](super::registration): an account of one's own making
//! - [`invitations`](super::invitations): an account of an admin's making
//! - [`profile`](super::profile): one's own name and address
//! - [`recovery`](super::recovery): another password, with the old one or without
//! - [`administration`](super::administration): roles, and who is let in
//! - [`console`](super::console): the same for whoever runs the service, on the machine itself

use std::time::Duration;

use fleetlog_aggregates::identity::Tenant;
use fleetlog_event_log::database;
use sqlx::{PgConnection, Row};

use super::Error;
use super::attempts::TooMany;
use super::password::Weak;

/// Why an account is not made or changed as was hoped.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// No e-mail address.
    #[error("expected an e-mail address: 3 to 254 characters, with an @ and without spaces")]
    BadEmail,
    /// No name.
    #[error("expected 1 to 200 characters, without control characters")]
    BadName,
    /// Not a password to trust.
    #[error(transparent)]
    Weak(#[from] Weak),
    /// The tenant's settings do not let people make accounts, or there is no such tenant: nobody learns which.
    #[error("nobody can register here")]
    RegistrationClosed,
    /// Somebody has the address, here or elsewhere.
    #[error("there is an account with this e-mail address already")]
    Taken,
    /// The tenant has as many users as it may have.
    #[error("the tenant has as many users as it may have")]
    Full,
    /// Without this user nobody could decide anything for the tenant any more.
    #[error("this is the tenant's last active admin")]
    LastAdmin,
    /// No token, a used one, an old one: nobody learns which.
    #[error("the token is not valid, or not any more; ask for another one")]
    BadToken,
    /// Not the password that the user has now.
    #[error("this is not your password")]
    WrongPassword,
    /// There is nothing to confirm.
    #[error("the e-mail address is confirmed already")]
    AlreadyVerified,
    /// There is no such user in the tenant.
    #[error("there is no such user")]
    Unknown,
    /// There is no such tenant.
    #[error("there is no such tenant")]
    NoTenant,
    /// Too many attempts.
    #[error(transparent)]
    TooMany(#[from] TooMany),
    /// Something failed.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl From<sqlx::Error> for Refused {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<database::Error> for Refused {
    fn from(error: database::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// How long an answer takes that must not say by its time whether there is an account: a hash, a commit, and then some.
const EVEN: Duration = Duration::from_millis(250);

/// Does something that takes sometimes longer and sometimes not, and always answers after the same time.
pub(super) async fn evenly<T>(work: impl Future<Output = T>) -> T {
    tokio::join!(work, tokio::time::sleep(EVEN)).0
}

/// What a tenant says about its users.
pub(super) struct Rules {
    /// Whether people may make themselves an account.
    pub(super) open: bool,
    max_users: Option<i32>,
}

impl Rules {
    /// Refuses one more user where there are as many as there may be.
    pub(super) async fn check_room(
        &self,
        connection: &mut PgConnection,
        tenant: &Tenant,
    ) -> Result<(), Refused> {
        let Some(most) = self.max_users else { return Ok(()) };
        let there: i64 =
            sqlx::query_scalar("SELECT count(*) FROM users WHERE tenant = $1 AND deactivated_at IS NULL")
                .bind(tenant.as_str())
                .fetch_one(connection)
                .await?;
        if there < most.into() { Ok(()) } else { Err(Refused::Full) }
    }
}

/// Locks a tenant's users, so that one change of who they are is made at a time, and says what holds for them. `None` if
/// there is no such tenant, or it is suspended.
pub(super) async fn lock(connection: &mut PgConnection, tenant: &Tenant) -> Result<Option<Rules>, Error> {
    let row = sqlx::query(
        "SELECT registration = 'open' AS open, max_users FROM tenants
         WHERE tenant = $1 AND suspended_at IS NULL FOR NO KEY UPDATE",
    )
    .bind(tenant.as_str())
    .fetch_optional(connection)
    .await?;
    let read = |row: sqlx::postgres::PgRow| {
        Ok(Rules { open: row.try_get("open")?, max_users: row.try_get("max_users")? })
    };
    row.map(read).transpose()
}
