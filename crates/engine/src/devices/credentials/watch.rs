//! Whose access has ended lately, for those who hold connections; and when each credential was used.

use std::collections::HashSet;
use std::sync::PoisonError;
use std::time::Duration;

use chrono::{DateTime, Utc};
use fleetlog_access::Error;
use fleetlog_aggregates::device::EventType;
use sqlx::Row;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Credentials;

/// How far each look goes back behind the one before, in seconds. A change bears the time at which it was made, and is
/// seen when it commits: after 60 s at most, when the database gives up a statement or an idle transaction.
const OVERLAP_S: f64 = 120.0;
/// How often it is written down what was used.
const WRITE_EVERY: Duration = Duration::from_secs(5);

/// Whose access has ended.
#[derive(Debug, Default)]
pub struct Ended {
    /// When the database was asked, by its own clock.
    pub as_of: DateTime<Utc>,
    /// What was revoked, has expired, or belongs to a device that was decommissioned.
    pub credentials: HashSet<Uuid>,
    /// Who was suspended, and is.
    pub tenants: HashSet<String>,
}

impl Credentials {
    /// Whose access has ended since a moment of the database's clock, and a while before; since now where none is given.
    pub async fn ended_since(&self, since: Option<DateTime<Utc>>) -> Result<Ended, Error> {
        let row = sqlx::query(ENDED)
            .bind(since)
            .bind(OVERLAP_S)
            .bind(EventType::that_end_service())
            // Planned anew each time: only a plan that knows the types can use the index on these events.
            .persistent(false)
            .fetch_one(self.0.log.pool())
            .await?;
        let (credentials, tenants): (Vec<Uuid>, Vec<String>) =
            (row.try_get("credentials")?, row.try_get("tenants")?);
        Ok(Ended {
            as_of: row.try_get("as_of")?,
            credentials: credentials.into_iter().collect(),
            tenants: tenants.into_iter().collect(),
        })
    }

    /// Writes down what is used until `shutdown`.
    pub async fn run(&self, shutdown: CancellationToken) {
        while shutdown.run_until_cancelled(tokio::time::sleep(WRITE_EVERY)).await.is_some() {
            self.write_used().await;
        }
        self.write_used().await;
    }

    /// Each at most once a minute. What cannot be written is forgotten: it is a note for people, not a fact.
    async fn write_used(&self) {
        let used = std::mem::take(&mut *self.0.used.lock().unwrap_or_else(PoisonError::into_inner));
        if used.is_empty() {
            return;
        }
        let written = sqlx::query(USED).bind(Vec::from_iter(used)).execute(self.0.log.pool()).await;
        if let Err(error) = written {
            tracing::warn!(%error, "failed to write down which devices' credentials were used");
        }
    }
}

/// Each part reads an index of what has ended, from `since` on. A new type of event that ends service has to join the
/// index `control_events_decommissioned`.
const ENDED: &str = "
    WITH since AS (SELECT coalesce($1, now()) - $2 * interval '1 second' AS since)
    SELECT now() AS as_of,
        ARRAY(
            SELECT credential_id FROM device_credentials WHERE revoked_at > (SELECT since FROM since)
            UNION ALL
            SELECT credential_id FROM device_credentials
            WHERE expires_at > (SELECT since FROM since) AND expires_at <= now()
            UNION ALL
            SELECT credential_id
            FROM control_events AS event JOIN device_credentials AS credential
              ON credential.tenant = split_part(event.aggregate_id, '/', 1)
             AND credential.uid = split_part(event.aggregate_id, '/', 2)
            WHERE event.event_type = ANY($3) AND event.recorded_at > (SELECT since FROM since)
              AND event.sequence > credential.sequence) AS credentials,
        ARRAY(SELECT tenant FROM tenants WHERE suspended_at > (SELECT since FROM since)) AS tenants";

const USED: &str = "
    UPDATE device_credentials SET last_used_at = clock_timestamp()
    WHERE credential_id = ANY($1)
      AND (last_used_at IS NULL OR last_used_at < clock_timestamp() - interval '1 minute')";
