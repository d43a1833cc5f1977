//! Keeps this process's knowledge of the logs, of the tenants' terms and of the time up to date. [`EventLog::run`] calls
//! it.
//!
//! One statement reads them all, over the connection that also listens for other nodes' appends. An idle log runs no
//! other statement, and the cost does not grow with the number of connections.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use sqlx::postgres::{PgListener, PgRow};
use sqlx::{Executor, Postgres, Row};
use tokio::time::{MissedTickBehavior, timeout};

use crate::EventLog;
use crate::LogId;
use crate::Result;
use crate::heads;
use crate::health::parts;
use crate::since_boot::SinceBoot;
use crate::terms::{self, TERMS};

/// How often heads and terms are read. It bounds how late another node's events and decisions are noticed.
const POLL: Duration = Duration::from_millis(500);
/// How long the connection may take to answer before another one replaces it.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the database may take to answer before the part `database` is down.
const SILENT: Duration = Duration::from_secs(2);

/// Each row is a log, or the terms of a tenant. The time is the same in all rows.
static LOGS_AND_TERMS: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT statement_timestamp() AS now, log_id, tenant, lane, shard, head, archived_until, NULL::boolean AS suspended,
                NULL::int AS retention_days, NULL::int AS max_devices, NULL::int AS messages_per_s,
                NULL::bigint AS bytes_per_s, NULL::int AS connection_messages_per_s,
                NULL::bigint AS connection_bytes_per_s, NULL::int AS new_devices_per_s
         FROM logs
         UNION ALL
         SELECT statement_timestamp(), NULL, tenant, NULL, NULL, NULL, NULL, suspended, retention_days, max_devices,
                messages_per_s, bytes_per_s, connection_messages_per_s, connection_bytes_per_s, new_devices_per_s
         FROM ({TERMS}) AS terms"
    )
});

impl EventLog {
    /// Listens for other nodes' appends, which is a hint, and polls, which is the guarantee. Never returns.
    pub(crate) async fn keep_informed(&self) {
        let mut ticks = tokio::time::interval(POLL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut listener: Option<PgListener> = None;
        let database = self.health().part(parts::DATABASE, SILENT);
        loop {
            if listener.is_none() {
                listener = timeout(PATIENCE, heads::listen(self.pool())).await.ok().and_then(Result::ok);
            }
            let heard = tokio::select! {
                _ = ticks.tick() => None,
                heard = self.heads().hear_another(listener.as_mut(), &self.inner.notices) => Some(heard.is_ok()),
            };
            let asked = database.wait(Instant::now(), "the database does not answer");
            let read = match (&mut listener, heard) {
                (_, Some(false)) => {
                    // The listener may have missed a notification: the next poll makes up for it.
                    listener = None;
                    ticks.tick().await;
                    in_time(self.poll(self.pool())).await
                }
                (Some(listener), Some(true)) => in_time(self.heads().refresh(&mut *listener)).await,
                (Some(listener), None) => in_time(self.poll(&mut *listener)).await,
                (None, _) => in_time(self.poll(self.pool())).await,
            };
            drop(asked);
            match &read {
                Ok(()) => database.up(),
                Err(error) => database.down(error.outline()),
            }
            if let Err(error) = read {
                tracing::warn!(%error, "failed to read the heads and the tenants' terms; trying again");
                listener = None;
            }
        }
    }

    /// Reads the heads, the terms and the time.
    async fn poll(&self, database: impl Executor<'_, Database = Postgres>) -> Result<()> {
        let asked = SinceBoot::now();
        let rows = sqlx::query(&LOGS_AND_TERMS).fetch_all(database).await?;
        if let Some(row) = rows.first() {
            self.clock().set(asked, row.try_get("now")?);
        }
        let is_log = |row: &PgRow| row.try_get("log_id").map(|log_id: Option<LogId>| log_id.is_some());
        let (mut logs, mut terms) = (heads::Logs::new(), terms::Known::new());
        for row in &rows {
            if is_log(row)? {
                let log = heads::log(row)?;
                logs.insert(log.log_id, log);
            } else {
                let (tenant, decided) = terms::decided(row)?;
                terms.insert(tenant, decided);
            }
        }
        self.heads().learn(logs);
        self.terms().learn(terms);
        Ok(())
    }
}

/// Bounds a read: a connection that has died silently must not hold up what the next one reads.
async fn in_time(read: impl Future<Output = Result<()>>) -> Result<()> {
    timeout(PATIENCE, read).await.unwrap_or(Err(sqlx::Error::PoolTimedOut.into()))
}
