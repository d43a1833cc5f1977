//! The table of users.

use fleetlog_aggregates::identity::Tenant;
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use super::error::Error;
use super::parsed;
use super::role::Role;

/// A user, as it is stored.
#[derive(Debug, Clone)]
pub struct User {
    /// The user's id, as events name their actor.
    pub user_id: Uuid,
    /// Whose user it is.
    pub tenant: Tenant,
    /// What the user may do.
    pub role: Role,
    /// Absent until an invited user has chosen one.
    pub password_hash: Option<String>,
}

/// A user to be.
pub struct NewUser {
    /// Whose user it is: a tenant that exists.
    pub tenant: Tenant,
    /// The address to log in with.
    pub email: Email,
    /// What people call the user.
    pub name: Option<Name>,
    /// The password's hash; none before an invited user has chosen one.
    pub password_hash: Option<String>,
    /// What the user may do.
    pub role: Role,
}

/// An e-mail address, in lower case: what tells users apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Email(String);

impl Email {
    /// The address, or `None` if it is none. Only a mail server knows which addresses exist; this keeps out what
    /// cannot be stored or shown.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let email = text.trim().to_lowercase();
        let plain = !email.chars().any(|c| c.is_control() || c.is_whitespace());
        let shaped = email.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty());
        ((3..=254).contains(&email.len()) && plain && shaped).then_some(Self(email))
    }

    /// The address as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What people call a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// The name, or `None` if it is none: 1 to 200 characters, without control characters.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let name = text.trim();
        let plain = !name.chars().any(char::is_control);
        ((1..=200).contains(&name.chars().count()) && plain).then(|| Self(name.to_owned()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What is known of a user to be, whose password must not be guessable from it.
pub(super) fn known(email: &Email, name: Option<&Name>) -> Vec<String> {
    [Some(email.as_str()), name.map(Name::as_str)].into_iter().flatten().map(str::to_owned).collect()
}

/// Whether there is a user at all.
pub(super) async fn any(pool: &PgPool) -> Result<bool, Error> {
    Ok(sqlx::query_scalar("SELECT EXISTS (SELECT FROM users)").fetch_one(pool).await?)
}

/// Whether a user is invited, and stays so until the end of the transaction.
pub(super) async fn lock_invited(
    connection: &mut PgConnection,
    tenant: &Tenant,
    user_id: Uuid,
) -> Result<bool, Error> {
    let sql = "SELECT FROM users
         WHERE tenant = $1 AND user_id = $2 AND invited AND deactivated_at IS NULL FOR NO KEY UPDATE";
    Ok(sqlx::query(sql).bind(tenant.as_str()).bind(user_id).fetch_optional(connection).await?.is_some())
}

/// Adds a user. `None` if the address is taken.
pub(super) async fn add(connection: &mut PgConnection, user: &NewUser) -> Result<Option<Uuid>, Error> {
    let added = sqlx::query_scalar(
        "INSERT INTO users (user_id, tenant, email, name, password_hash, role) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (lower(email)) DO NOTHING RETURNING user_id",
    )
    .bind(Uuid::now_v7())
    .bind(user.tenant.as_str())
    .bind(user.email.as_str())
    .bind(user.name.as_ref().map(Name::as_str))
    .bind(&user.password_hash)
    .bind(user.role.as_str())
    .fetch_optional(connection)
    .await?;
    Ok(added)
}

/// The user with an address, if that user may log in.
pub(super) async fn find(pool: &PgPool, email: &Email) -> Result<Option<User>, Error> {
    let row = sqlx::query(
        "SELECT user_id, tenant, role, password_hash FROM users JOIN tenants USING (tenant)
         WHERE lower(email) = $1 AND deactivated_at IS NULL AND suspended_at IS NULL",
    )
    .bind(email.as_str())
    .fetch_optional(pool)
    .await?;
    row.map(|row| {
        Ok(User {
            user_id: row.try_get("user_id")?,
            tenant: parsed(&row, "tenant")?,
            role: parsed(&row, "role")?,
            password_hash: row.try_get("password_hash")?,
        })
    })
    .transpose()
}

/// How many of these users the tenant has.
pub async fn count(
    connection: &mut PgConnection,
    tenant: &Tenant,
    user_ids: &[Uuid],
) -> Result<usize, Error> {
    let count = sqlx::query_scalar("SELECT count(*) FROM users WHERE tenant = $1 AND user_id = ANY($2)");
    let count: i64 = count.bind(tenant.as_str()).bind(user_ids).fetch_one(connection).await?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// The addresses of those of these users who may log in and have confirmed their address.
pub async fn addresses(
    connection: &mut PgConnection,
    tenant: &Tenant,
    user_ids: &[Uuid],
) -> Result<Vec<String>, Error> {
    let addresses = sqlx::query_scalar(
        "SELECT email FROM users
         WHERE tenant = $1 AND user_id = ANY($2) AND deactivated_at IS NULL AND verified_at IS NOT NULL
         ORDER BY email",
    );
    Ok(addresses.bind(tenant.as_str()).bind(user_ids).fetch_all(connection).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_compared_without_regard_to_case() {
        assert_eq!(Email::parse(" Admin@LocalHost "), Email::parse("admin@localhost"));
        for bad in ["", "@", "a@", "@b", "admin", "a b@c", "a\0@c", &format!("{}@c", "x".repeat(260))] {
            assert_eq!(Email::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_name_is_what_can_be_shown_on_a_line() {
        assert_eq!(Name::parse(" Jo Smith ").as_ref().map(Name::as_str), Some("Jo Smith"));
        for bad in ["", " ", "a\nb", "a\0b", &"x".repeat(201)] {
            assert_eq!(Name::parse(bad), None, "{bad:?}");
        }
    }
}
