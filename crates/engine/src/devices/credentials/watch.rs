//! Reports which accesses have ended, so that connections can be closed, and writes when each credential was used.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use fleetlog_access::Error;
use fleetlog_aggregates::device::EventType;
use sqlx::Row;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Credentials;

/// How far each look reaches back before the last one, in seconds. A change carries the time at which it was made, but
/// is visible only when it commits: at most 60 s later, when the database aborts a statement or an idle transaction.
const OVERLAP_S: f64 = 120.0;
/// How often used credentials are written.
const WRITE_EVERY: Duration = Duration::from_secs(5);

/// The accesses that have ended.
#[derive(Debug, Default)]
pub struct Ended {
    /// The time of the query, by the database's clock.
    pub as_of: DateTime<Utc>,
    /// Credentials that were revoked, have expired, or belong to a device that was decommissioned.
    pub credentials: HashSet<Uuid>,
    /// Tenants that were suspended since then, and still are.
    pub tenants: HashSet<String>,
}

impl Credentials {
    /// The accesses that have ended since `since` minus an overlap, by the database's clock; `None` means now.
    pub async fn ended_since(&self, since: Option<DateTime<Utc>>) -> Result<Ended, Error> {
        let row = sqlx::query(ENDED)
            .bind(since)
            .bind(OVERLAP_S)
            .bind(EventType::that_end_service())
            // Planned for each call: only a plan that knows the event types can use the index on these events.
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

    /// Writes used credentials every 5 s until `shutdown`.
    pub async fn run(&self, shutdown: CancellationToken) {
        while shutdown.run_until_cancelled(tokio::time::sleep(WRITE_EVERY)).await.is_some() {
            self.write_used().await;
        }
        self.write_used().await;
    }

    /// Updates each credential at most once a minute. A failed write is dropped: the time of use is only information
    /// for people.
    async fn write_used(&self) {
        let used = std::mem::take(&mut *self.0.used.lock());
        if used.is_empty() {
            return;
        }
        let written = sqlx::query(USED).bind(Vec::from_iter(used)).execute(self.0.log.pool()).await;
        if let Err(error) = written {
            tracing::warn!(%error, "failed to write which devices' credentials were used; their last use stays out of date");
        }
    }
}

/// Each part reads an index of what has ended, from `since` on, or from now on if Postgres's clock was ahead at `since`. A new event type that ends a device's service must be
/// added to the index `control_events_decommissioned`.
const ENDED: &str = "
    WITH since AS (SELECT least($1, now()) - $2 * interval '1 second' AS since)
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
      AND coalesce(last_used_at NOT BETWEEN clock_timestamp() - interval '1 minute' AND clock_timestamp(), true)";
