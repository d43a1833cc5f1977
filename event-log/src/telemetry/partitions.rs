//! The partitions that readings go into, made ahead so that none is missing.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;

use crate::{EventLog, Result};

/// How far ahead partitions are made, so that none is missing while the database is being migrated or is read-only.
const PARTITIONS_AHEAD: TimeDelta = TimeDelta::days(14);

/// The time until which there are partitions.
pub(crate) struct Partitions {
    /// Microseconds since the Unix epoch.
    until: AtomicI64,
}

impl Partitions {
    /// For a log that does not append.
    pub(crate) fn none() -> Self {
        Self { until: AtomicI64::new(0) }
    }

    pub(crate) async fn prepare(pool: &PgPool) -> Result<Self> {
        let partitions = Self::none();
        partitions.make(pool).await?;
        Ok(partitions)
    }

    pub(super) async fn make(&self, pool: &PgPool) -> Result<()> {
        let until: DateTime<Utc> =
            sqlx::query_scalar("SELECT telemetry_events_make_partitions(now(), now() + $1)")
                .bind(PARTITIONS_AHEAD)
                .fetch_one(pool)
                .await?;
        self.until.store(until.timestamp_micros(), Ordering::Relaxed);
        Ok(())
    }
}

impl EventLog {
    pub(crate) async fn keep_partitions(&self) {
        let mut hourly = tokio::time::interval(Duration::from_hours(1));
        loop {
            hourly.tick().await;
            let until = DateTime::from_timestamp_micros(self.inner.partitions.until.load(Ordering::Relaxed));
            if until.is_none_or(|until| until < self.now() + PARTITIONS_AHEAD / 2)
                && let Err(error) = self.inner.partitions.make(self.pool()).await
            {
                tracing::warn!(%error, "failed to make telemetry partitions; trying again in an hour");
            }
        }
    }
}
