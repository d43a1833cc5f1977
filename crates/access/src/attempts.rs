//! How often one may try what could be a guess at a secret: by account and by address, counted before anything is
//! computed, over all nodes at once, by Postgres's clock.
//!
//! Without Postgres nobody may try: nothing could be checked either. Accounts and addresses are stored as hashes.

use std::net::IpAddr;
use std::time::Duration;

use sqlx::{PgPool, Row};

use super::error::Error;
use super::quota::key::{Key, network};

/// What is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// To log in; the account is an e-mail address, and where it was logged in to before: [`super::known_origins`].
    Login,
    /// To prove one's password in order to change something; the account is a user's id.
    Password,
    /// To have a mail sent that lets one choose a new password; the account is an e-mail address.
    Forgot,
    /// To make oneself an account; the account is an e-mail address.
    Register,
}

/// How often something may be tried before one has to wait, and how soon there is one more.
#[derive(Debug, Clone, Copy)]
struct Allowance {
    burst: u32,
    every: Duration,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Password => "password",
            Self::Forgot => "forgot",
            Self::Register => "register",
        }
    }

    /// Attempts on one account.
    fn of_account(self) -> Allowance {
        match self {
            Self::Login | Self::Password => Allowance { burst: 10, every: Duration::from_secs(30) },
            Self::Forgot | Self::Register => Allowance { burst: 3, every: Duration::from_mins(10) },
        }
    }

    /// Attempts from one address, which may be an office's. Larger, so that a colleague still gets through.
    fn of_address(self) -> Allowance {
        match self {
            Self::Login | Self::Password => Allowance { burst: 30, every: Duration::from_secs(10) },
            Self::Forgot | Self::Register => Allowance { burst: 30, every: Duration::from_mins(1) },
        }
    }
}

/// Too many attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many attempts; try again in {} s", retry_after.as_secs())]
pub struct TooMany {
    /// When the next one is allowed.
    pub retry_after: Duration,
}

/// Counts attempts, of all tenants and of those who are in none. Cheap to clone.
#[derive(Clone)]
pub struct Attempts {
    pool: PgPool,
}

impl Attempts {
    /// Counts in a database, as the service.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// Takes an attempt on an account from an address, or refuses it. What is not known is not counted.
    pub async fn take(
        &self,
        kind: Kind,
        account: Option<&str>,
        address: Option<IpAddr>,
    ) -> Result<Result<(), TooMany>, Error> {
        // The address first: one that tries too much must not use up the accounts of others.
        if let Some(address) = address
            && let Err(refused) = self.take_one(by_address(kind, address), kind.of_address()).await?
        {
            return Ok(Err(refused));
        }
        match account {
            Some(account) => self.take_one(by_account(kind, account), kind.of_account()).await,
            None => Ok(Ok(())),
        }
    }

    /// Gives an attempt back that succeeded: the account has its whole allowance again.
    pub async fn give_back(
        &self,
        kind: Kind,
        account: Option<&str>,
        address: Option<IpAddr>,
    ) -> Result<(), Error> {
        sqlx::query(
            "WITH forgiven AS (DELETE FROM attempts WHERE key = $1)
             UPDATE attempts SET whole_at = whole_at - $3 * interval '1 second' WHERE key = $2",
        )
        .bind(account.map(|account| by_account(kind, account).as_bytes().to_vec()))
        .bind(address.map(|address| by_address(kind, address).as_bytes().to_vec()))
        .bind(kind.of_address().every.as_secs_f64())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The generic cell rate algorithm: one moment a key is all there is to remember.
    async fn take_one(
        &self,
        key: Key,
        Allowance { burst, every }: Allowance,
    ) -> Result<Result<(), TooMany>, Error> {
        let row = sqlx::query(TAKE)
            .bind(key.as_bytes())
            .bind(every.as_secs_f64())
            .bind((every * burst).as_secs_f64())
            .fetch_one(&self.pool)
            .await?;
        if row.try_get("taken")? {
            return Ok(Ok(()));
        }
        // Rounded up, so that whoever comes then is let in.
        let seconds = row.try_get::<f64, _>("over")?.ceil().max(1.0);
        Ok(Err(TooMany { retry_after: Duration::from_secs(seconds as u64) }))
    }
}

/// `$2` is how soon there is one more, `$3` how long until all are there again, both in seconds. A moment further ahead
/// than that was stored while the clock was ahead: what it allows is counted from now.
const TAKE: &str = "
    WITH took AS (
        INSERT INTO attempts AS attempt (key, whole_at) VALUES ($1, clock_timestamp() + $2 * interval '1 second')
        ON CONFLICT (key) DO UPDATE
            SET whole_at = least(greatest(attempt.whole_at, clock_timestamp()) + $2 * interval '1 second',
                                 clock_timestamp() + $3 * interval '1 second')
            WHERE greatest(attempt.whole_at, clock_timestamp())
                    <= clock_timestamp() + ($3 - $2) * interval '1 second'
               OR attempt.whole_at > clock_timestamp() + $3 * interval '1 second'
        RETURNING true)
    SELECT EXISTS (SELECT FROM took) AS taken,
        coalesce(extract(epoch FROM (SELECT whole_at FROM attempts WHERE key = $1) - clock_timestamp())::float8
            + $2 - $3, 0) AS over";

fn by_account(kind: Kind, account: &str) -> Key {
    Key::hash(&format!("{} account {account}", kind.word()))
}

fn by_address(kind: Kind, address: IpAddr) -> Key {
    Key::hash(&format!("{} address {}", kind.word(), network(address)))
}
