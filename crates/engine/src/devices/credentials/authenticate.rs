//! Checks a device's user name and its password, or its certificate, with one indexed query. A wrong password and a device
//! that does not exist take the same path.

use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, Utc};
use fleetlog_access::Error;
use fleetlog_aggregates::device::EventType;
use fleetlog_aggregates::gateway::Behind;
use sqlx::Row;
use sqlx::types::Json;
use uuid::Uuid;

use super::known::{Known, Shown};
use super::secret::Hash;
use super::{Credentials, Device, Speaker};
use crate::instruments;

/// A device that has logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// The device, and those behind it.
    pub speaker: Speaker,
    /// The credential that the device used.
    pub credential_id: Uuid,
    /// When the credential expires; `None` means never.
    pub expires_at: Option<DateTime<Utc>>,
    /// Whether a session is kept for the device, from a connection of any client id.
    pub has_session: bool,
}

/// A credential that is valid now.
struct Good {
    known: Known,
    credential_id: Uuid,
    expires_at: Option<DateTime<Utc>>,
    has_session: bool,
    speaker: Speaker,
}

impl Credentials {
    /// Checks a user name and a password. `None` if they are wrong, or the tenant is suspended.
    pub async fn authenticate(&self, username: &str, password: &[u8]) -> Result<Option<Admitted>, Error> {
        match Hash::of_password(password) {
            Some(hash) => self.admit(username, Shown::Password(hash)).await,
            None => Ok(None),
        }
    }

    /// Checks a user name, and a certificate whose key the device has: its fingerprint, and its subject if that can be
    /// believed. `None` if it is not this device's, or the tenant is suspended.
    pub async fn authenticate_by_certificate(
        &self,
        username: &str,
        sha256: &str,
        subject: Option<&str>,
    ) -> Result<Option<Admitted>, Error> {
        self.admit(username, Shown::Certificate { sha256, subject }).await
    }

    async fn admit(&self, username: &str, shown: Shown<'_>) -> Result<Option<Admitted>, Error> {
        let Ok(device) = username.parse() else { return Ok(None) };
        if self.0.guesses.is_known_wrong(&device, &shown, Instant::now()) {
            instruments::GUESSES_NOT_LOOKED_UP.increment(1);
            return Ok(None);
        }
        let (mut admitted, mut all) = (None, vec![]);
        // Compare every one, so that the time does not reveal which one matched.
        for Good { known, credential_id, expires_at, has_session, speaker } in self.good(&device).await? {
            if shown.is(&known) {
                admitted = Some(Admitted { speaker, credential_id, expires_at, has_session });
            }
            all.push(known);
        }
        match &admitted {
            Some(Admitted { credential_id, .. }) => drop(self.0.used.lock().insert(*credential_id)),
            None => self.0.guesses.was_wrong(&device, all, Instant::now()),
        }
        Ok(admitted)
    }

    /// Whom the valid credentials of a device speak for, each. None if it has none.
    pub async fn speakers(&self, device: &Device) -> Result<Vec<Speaker>, Error> {
        Ok(self.good(device).await?.into_iter().map(|good| good.speaker).collect())
    }

    /// The credentials of a device that are valid now.
    async fn good(&self, device: &Device) -> Result<Vec<Good>, Error> {
        let _place = self.0.lookups.take(device.tenant.as_str(), 1).await;
        let rows = sqlx::query(GOOD)
            .bind(device.tenant.as_str())
            .bind(device.uid.as_str())
            .bind(EventType::that_end_service())
            .fetch_all(self.0.log.pool())
            .await?;
        let read = |row: sqlx::postgres::PgRow| {
            let behind: Option<Json<Behind>> = row.try_get("behind")?;
            Ok(Good {
                known: Known::from_row(&row)?,
                credential_id: row.try_get("credential_id")?,
                expires_at: row.try_get("expires_at")?,
                has_session: row.try_get("has_session")?,
                speaker: Speaker {
                    device: device.clone(),
                    behind: behind.map(|Json(behind)| Arc::new(behind)),
                },
            })
        };
        rows.into_iter().map(read).collect()
    }
}

/// Finds the device's rows by their index first; the function then checks each by its key.
const GOOD: &str = "
    SELECT credential.secret_hash, credential.certificate_sha256, credential.certificate_subject, credential_id,
        good.expires_at, credential.behind,
        EXISTS (SELECT FROM device_sessions WHERE username = $1 || '/' || $2) AS has_session
    FROM device_credentials AS credential JOIN good_device_credentials($3) AS good USING (credential_id)
    WHERE credential.tenant = $1 AND credential.uid = $2 AND credential.revoked_at IS NULL";
