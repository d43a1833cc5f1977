//! Where accounts have been logged in to before, so that guesses by strangers do not keep their owners out.
//!
//! A browser shows it with a cookie that it got at a login (a device cookie, as OWASP calls it); a program without cookies
//! is known by its address. Whoever comes from such an origin has a count of attempts of its own. Everybody else shares
//! the account's. So all guesses at an account together are bounded by [`KEPT`] counts and the shared one. What is kept
//! are hashes.

use std::net::IpAddr;
use std::time::Duration;

use sqlx::PgPool;

use super::error::Error;
use super::quota::key::{Key, network};
use super::secret;
use super::users::Email;

/// How many origins of an account are kept; the one that was seen longest ago is forgotten first.
pub const KEPT: i64 = 20;
/// How long an origin is known after the last login from it.
pub const REMEMBERED: Duration = Duration::from_hours(90 * 24);

/// What every device cookie begins with.
const PREFIX: &str = "fld_";

/// Where a login comes from.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// The address.
    pub address: Option<IpAddr>,
    /// The device cookie that came along.
    pub device: Option<String>,
}

/// How a login is counted.
pub(super) struct Standing {
    /// What attempts are counted under.
    pub(super) account: String,
    /// The address that they are counted under as well; none for a known browser, whose neighbours may be guessing.
    pub(super) address: Option<IpAddr>,
    /// The browser's cookie, if it is known.
    device: Option<String>,
}

/// The origins of all tenants' accounts. Cheap to clone.
#[derive(Clone)]
pub(super) struct KnownOrigins {
    pool: PgPool,
}

impl KnownOrigins {
    pub(super) fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// How a login to an account from an origin is counted.
    pub(super) async fn standing(&self, email: &Email, origin: &Origin) -> Result<Standing, Error> {
        let device = origin.device.as_deref().filter(|device| secret::bits(PREFIX, device).is_some());
        let device = device.map(|device| (name(email, "device", device), device));
        let address = origin.address.map(|address| name(email, "address", network(address)));
        let known = self.known(device.iter().map(|(name, _)| name).chain(&address)).await?;
        let is_known = |name: &str| known.iter().any(|known| known == Key::hash(name).as_bytes());
        if let Some((account, device)) = device.filter(|(name, _)| is_known(name)) {
            return Ok(Standing { account, address: None, device: Some(device.to_owned()) });
        }
        let account = address.filter(|name| is_known(name)).unwrap_or_else(|| email.as_str().to_owned());
        Ok(Standing { account, address: origin.address, device: None })
    }

    async fn known(&self, names: impl Iterator<Item = &String>) -> Result<Vec<Vec<u8>>, Error> {
        let keys: Vec<_> = names.map(|name| Key::hash(name).as_bytes().to_vec()).collect();
        let known = sqlx::query_scalar(
            "SELECT key FROM known_origins
             WHERE key = ANY($1) AND seen_at > clock_timestamp() - $2 * interval '1 second'",
        )
        .bind(keys)
        .bind(REMEMBERED.as_secs_f64())
        .fetch_all(&self.pool)
        .await?;
        Ok(known)
    }

    /// Notes a login. Returns the browser's cookie: the one that it has, or a new one if it was not known. Somebody else's
    /// cookie, which may have been planted there, does not become known for this account.
    pub(super) async fn note(
        &self,
        email: &Email,
        address: Option<IpAddr>,
        standing: Standing,
    ) -> Result<String, Error> {
        // Where a known browser is, others may be guessing: that address does not become known.
        let address = address.filter(|_| standing.device.is_none());
        let device = standing.device.unwrap_or_else(|| secret::text(PREFIX, &secret::random()));
        let names = [
            Some(name(email, "device", &device)),
            address.map(|address| name(email, "address", network(address))),
        ];
        let mut keys: Vec<_> =
            names.iter().flatten().map(|name| Key::hash(name).as_bytes().to_vec()).collect();
        // In one order, so that two logins at once do not wait for each other's rows crosswise.
        keys.sort();
        let account = Key::hash(&format!("account {}", email.as_str()));
        sqlx::query(
            "INSERT INTO known_origins (key, account) SELECT key, $2 FROM unnest($1::bytea[]) AS new (key)
             ON CONFLICT (key) DO UPDATE SET seen_at = clock_timestamp()",
        )
        .bind(keys)
        .bind(account.as_bytes())
        .execute(&self.pool)
        .await?;
        sqlx::query(
            "DELETE FROM known_origins WHERE key IN (
                 SELECT key FROM known_origins WHERE account = $1 ORDER BY seen_at DESC OFFSET $2
                 FOR UPDATE SKIP LOCKED)",
        )
        .bind(account.as_bytes())
        .bind(KEPT)
        .execute(&self.pool)
        .await?;
        Ok(device)
    }
}

/// What an account and an origin of it are known by. An address has no space in it, so no account is another's origin.
fn name(email: &Email, kind: &str, origin: impl std::fmt::Display) -> String {
    format!("{} from {kind} {origin}", email.as_str())
}
