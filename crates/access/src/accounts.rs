//! What all changes of accounts share: why one is refused, and how many users a tenant may have.
//!
//! The changes are in [`sign_up`](super::sign_up), [`invitations`](super::invitations), [`profile`](super::profile),
//! [`recovery`](super::recovery), [`administration`](super::administration) and [`console`](super::console).

use std::time::Duration;

use fleetlog_aggregates::identity::Tenant;
use fleetlog_event_log::database;
use sqlx::{PgConnection, Row};

use super::attempts::TooMany;
use super::error::Error;
use super::password::Weak;

/// Why an account is not made or changed.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// No e-mail address.
    #[error("expected an e-mail address: 3 to 254 characters, with an @ and without spaces")]
    BadEmail,
    /// No name.
    #[error("expected 1 to 200 characters, without control characters")]
    BadName,
    /// The password is too short, too long or too easy to guess.
    #[error(transparent)]
    Weak(#[from] Weak),
    /// The tenant's settings do not let people make accounts, or there is no such tenant. The answer does not tell which.
    #[error("nobody can register here")]
    RegistrationClosed,
    /// Another user has the address, in this tenant or another.
    #[error("there is an account with this e-mail address already")]
    Taken,
    /// The tenant has as many users as it may have.
    #[error("the tenant has as many users as it may have")]
    Full,
    /// Without this user the tenant would have no admin.
    #[error("this is the tenant's last active admin")]
    LastAdmin,
    /// No token, a used one or an old one. The answer does not tell which.
    #[error("the token is not valid, or not any more; ask for another one")]
    BadToken,
    /// Not the password that the user has now.
    #[error("this is not your password")]
    WrongPassword,
    /// The user has accepted, or is not let in.
    #[error("the user has no invitation to accept: they have accepted it, or are deactivated")]
    NotInvited,
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

/// The least time of an answer that must not tell by its timing whether there is an account: a hash and a commit take
/// less.
const EVEN: Duration = Duration::from_millis(250);

/// Does some work, and answers no sooner than after [`EVEN`], so that short and long work look alike.
pub(super) async fn evenly<T>(work: impl Future<Output = T>) -> T {
    tokio::join!(work, tokio::time::sleep(EVEN)).0
}

/// A tenant's settings for its users.
pub(super) struct Rules {
    /// Whether people may make themselves an account.
    pub(super) open: bool,
    max_users: Option<i32>,
}

impl Rules {
    /// Refuses one more user if the tenant has as many as it may have.
    pub(super) async fn check_room(
        &self,
        connection: &mut PgConnection,
        tenant: &Tenant,
    ) -> Result<(), Refused> {
        let Some(most) = self.max_users else { return Ok(()) };
        if counted(connection, tenant).await? < most.into() { Ok(()) } else { Err(Refused::Full) }
    }
}

/// How many of a tenant's users count towards the most that it may have: those who are let in, or invited.
pub(super) async fn counted(connection: &mut PgConnection, tenant: &Tenant) -> Result<i64, Error> {
    let sql = "SELECT count(*) FROM users WHERE tenant = $1 AND deactivated_at IS NULL";
    Ok(sqlx::query_scalar(sql).bind(tenant.as_str()).fetch_one(connection).await?)
}

/// Locks a tenant, so that one change of its users is made at a time, and returns its settings for them. `None` if there
/// is no such tenant, or it is suspended.
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
