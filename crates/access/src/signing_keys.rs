//! The installation's signing keys in the database, and what this node knows of them.
//!
//! One key signs. Replacing it retires it: what it has signed stays good until it expires, and other nodes go on signing
//! with it until they look again, which they do every [`LOOK_EVERY`], and whenever they meet a key that they do not know.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::signature::Ed25519KeyPair;
use chrono::{DateTime, Utc};
use fleetlog_aggregates::acts;
use fleetlog_event_log::EventLog;
use fleetlog_event_log::control::{Committed, Metadata};
use parking_lot::{Mutex, RwLock};
use sqlx::{PgPool, Row};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::access_tokens::{self, Keys, StoredKey, Unverified};
use super::error::Error;
use super::sealing::{self, Secret};
use super::users::User;
use fleetlog_aggregates::identity::Tenant;

/// How often a node looks for a new key.
pub const LOOK_EVERY: Duration = Duration::from_secs(30);
/// The least time between two looks: tokens with made-up keys must not keep the database busy.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long a retired key verifies: what it has signed until the last node looked, for as long as that is good.
const OVERLAP: Duration = access_tokens::LIFETIME.saturating_add(LOOK_EVERY.saturating_mul(2));

/// The keys of this installation, as this node knows them, for the users of all tenants. Cheap to clone; clones share
/// what they know.
#[derive(Clone)]
pub struct SigningKeys {
    log: EventLog,
    secret: Option<Secret>,
    known: Arc<RwLock<Keys>>,
    looked_at: Arc<Mutex<Instant>>,
}

impl SigningKeys {
    /// The installation's keys; the first start makes one. Of several first starts at once one makes it, all use it.
    /// With a secret they are sealed; those that were not are from now on.
    pub async fn load(log: &EventLog, secret: Option<Secret>) -> Result<Self, Error> {
        let pool = log.pool();
        let mut stored = select(pool, secret.as_ref()).await?;
        if stored.iter().all(|key| key.retired) {
            let (kid, key) = make(secret.as_ref())?;
            sqlx::query("INSERT INTO signing_keys (kid, private_key) VALUES ($1, $2) ON CONFLICT DO NOTHING")
                .bind(kid)
                .bind(key)
                .execute(pool)
                .await?;
            stored = select(pool, secret.as_ref()).await?;
        }
        if let Some(secret) = &secret {
            seal_all(pool, secret).await?;
        }
        let known = Arc::new(RwLock::new(Keys::from_stored(&stored)?));
        let looked_at = Arc::new(Mutex::new(Instant::now()));
        Ok(Self { log: log.clone(), secret, known, looked_at })
    }

    /// Looks for new keys until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
            if let Err(error) = self.look().await {
                tracing::warn!(%error, "failed to look for new signing keys; trying again");
            }
        }
    }

    /// An access token for a user in a session, good from `now` on, which is Postgres's time.
    pub fn issue(&self, user: &User, session_id: Uuid, now: DateTime<Utc>) -> Result<String, Error> {
        self.known().issue(user, session_id, now)
    }

    /// The session that a token belongs to; `None` if the token is not good.
    pub async fn verify(&self, token: &str) -> Result<Option<Uuid>, Error> {
        match self.known().verify(token, self.log.now()) {
            Err(Unverified::UnknownKey) if self.may_look() => {
                self.look().await?;
                Ok(self.known().verify(token, self.log.now()).ok())
            }
            verified => Ok(verified.ok()),
        }
    }

    /// Replaces the key that signs. Returns its id and where that is on the record.
    pub async fn rotate(&self, metadata: Metadata) -> Result<(Uuid, Committed), Error> {
        let (kid, key) = make(self.secret.as_ref())?;
        let at = self
            .log
            .record(move |recorder| {
                Box::pin(async move {
                    for statement in [
                        "UPDATE signing_keys SET retired_at = clock_timestamp() WHERE retired_at IS NULL",
                        // Nothing that they have signed is valid any more; only a thief could still use them.
                        "DELETE FROM signing_keys WHERE retired_at < clock_timestamp() - interval '1 day'",
                    ] {
                        sqlx::query(statement).execute(recorder.connection()).await?;
                    }
                    sqlx::query("INSERT INTO signing_keys (kid, private_key) VALUES ($1, $2)")
                        .bind(kid)
                        .bind(key)
                        .execute(recorder.connection())
                        .await?;
                    let rotated = acts::Platform::SigningKeyRotated { kid };
                    Ok::<_, Error>(
                        recorder.tell(&Tenant::platform(), &kid.to_string(), &rotated, &metadata).await?,
                    )
                })
            })
            .await?;
        self.look().await?;
        Ok((kid, at))
    }

    fn known(&self) -> Keys {
        self.known.read().clone()
    }

    fn may_look(&self) -> bool {
        self.looked_at.lock().elapsed() >= LOOK_AGAIN
    }

    async fn look(&self) -> Result<(), Error> {
        *self.looked_at.lock() = Instant::now();
        let keys = Keys::from_stored(&select(self.log.pool(), self.secret.as_ref()).await?)?;
        *self.known.write() = keys;
        Ok(())
    }
}

/// A new key, as it is stored.
fn make(secret: Option<&Secret>) -> Result<(Uuid, Vec<u8>), Error> {
    let kid = Uuid::now_v7();
    let key =
        Ed25519KeyPair::generate().and_then(|key| key.to_pkcs8v1()).map_err(|e| access_tokens::crypto(&e))?;
    let key = match secret {
        Some(secret) => secret.seal(&kid.to_string(), key.as_ref())?,
        None => key.as_ref().to_vec(),
    };
    Ok((kid, key))
}

async fn select(pool: &PgPool, secret: Option<&Secret>) -> Result<Vec<StoredKey>, Error> {
    let rows = sqlx::query(
        "SELECT kid, private_key, retired_at IS NOT NULL AS retired FROM signing_keys
         WHERE retired_at IS NULL
            -- Not for longer because Postgres's clock was ahead when it was retired.
            OR retired_at BETWEEN clock_timestamp() - $1 * interval '1 second'
                AND clock_timestamp() + interval '1 minute'",
    )
    .bind(OVERLAP.as_secs() as f64)
    .fetch_all(pool)
    .await?;
    let keys = rows.into_iter().map(|row| {
        let kid: Uuid = row.try_get("kid")?;
        let private_key = sealing::open(secret, &kid.to_string(), row.try_get("private_key")?)?;
        Ok(StoredKey { kid, private_key, retired: row.try_get("retired")? })
    });
    keys.collect()
}

async fn seal_all(pool: &PgPool, secret: &Secret) -> Result<(), Error> {
    let stored: Vec<(Uuid, Vec<u8>)> =
        sqlx::query_as("SELECT kid, private_key FROM signing_keys").fetch_all(pool).await?;
    for (kid, plain) in stored.into_iter().filter(|(_, key)| !sealing::is_sealed(key)) {
        sqlx::query("UPDATE signing_keys SET private_key = $2 WHERE kid = $1")
            .bind(kid)
            .bind(secret.seal(&kid.to_string(), &plain)?)
            .execute(pool)
            .await?;
    }
    Ok(())
}
