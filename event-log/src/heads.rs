//! The logs and how far each has got. Whoever follows a log waits here.
//!
//! What this process appends is known at once. What others append is learnt from a notification, which is a hint, or
//! from polling, which is the guarantee: see `upkeep`.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use sqlx::postgres::{PgListener, PgRow};
use sqlx::{Executor, PgPool, Postgres, Row};
use tokio::sync::{Notify, watch};

use crate::database::parsed;
use crate::{Lane, Log, LogId, Position, Result};

/// The notification channel that says "some head has moved".
const CHANNEL: &str = "fleetlog_heads";
/// The least time between two notifications: one serves every append in it.
const NOTIFY_EVERY: Duration = Duration::from_millis(20);

/// The logs, by number.
pub type Logs = BTreeMap<LogId, Log>;

/// Each tenant's logs, by lane.
type Places = HashMap<String, HashMap<Lane, LogId>>;

/// The known heads. Cheap to clone.
#[derive(Clone)]
pub struct Heads {
    logs: Arc<watch::Sender<Logs>>,
    /// Asked for each request and each message, so that neither looks through all logs.
    places: Arc<RwLock<Places>>,
    moved_here: Arc<Notify>,
    /// Names this process in its notifications, so that it does not act on its own.
    node: Arc<str>,
}

impl Heads {
    pub(crate) async fn load(pool: &PgPool) -> Result<Self> {
        let (logs, _) = watch::channel(Logs::new());
        let node = uuid::Uuid::now_v7().to_string().into();
        let heads =
            Self { logs: Arc::new(logs), places: Arc::default(), moved_here: Arc::new(Notify::new()), node };
        heads.refresh(pool).await?;
        Ok(heads)
    }

    /// All logs as they are known now.
    #[must_use]
    pub fn logs(&self) -> Vec<Log> {
        self.logs.borrow().values().cloned().collect()
    }

    /// One log as it is known now.
    #[must_use]
    pub fn log(&self, log_id: LogId) -> Option<Log> {
        self.logs.borrow().get(&log_id).cloned()
    }

    /// A tenant's log in a lane. `None` if there is no such tenant.
    #[must_use]
    pub fn of(&self, tenant: &str, lane: Lane) -> Option<LogId> {
        self.places.read().unwrap_or_else(PoisonError::into_inner).get(tenant)?.get(&lane).copied()
    }

    /// A receiver that is woken whenever some head has moved, or a log was added.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Logs> {
        self.logs.subscribe()
    }

    /// Notes what this process has committed, and lets the other nodes know.
    pub(crate) fn moved(&self, log_id: LogId, head: Position) {
        self.logs.send_if_modified(|logs| match logs.get_mut(&log_id) {
            Some(log) if log.head < head => {
                log.head = head;
                true
            }
            _ => false,
        });
        self.moved_here.notify_one();
    }

    /// Reads the heads anew: a head that others moved is known when this returns.
    pub async fn refresh(&self, database: impl Executor<'_, Database = Postgres>) -> Result<()> {
        let rows =
            sqlx::query("SELECT log_id, tenant, lane, shard, head FROM logs").fetch_all(database).await?;
        let logs = rows.iter().map(|row| log(row).map(|log| (log.log_id, log)));
        self.learn(logs.collect::<Result<_>>()?);
        Ok(())
    }

    /// Takes in heads that were read a moment ago.
    pub(crate) fn learn(&self, fresh: Logs) {
        let is_new = {
            let known = self.logs.borrow();
            fresh.keys().any(|log_id| !known.contains_key(log_id))
        };
        if is_new {
            // Before the log itself is shown: a log that is seen can be found.
            let mut places = self.places.write().unwrap_or_else(PoisonError::into_inner);
            for log in fresh.values() {
                places.entry(log.tenant.clone()).or_default().entry(log.lane).or_insert(log.log_id);
            }
        }
        self.logs.send_if_modified(|logs| {
            let mut modified = false;
            for (log_id, log) in fresh {
                // A smaller head is one that was read before a local append was noted.
                if logs.get(&log_id).is_none_or(|known| known.head < log.head) {
                    logs.insert(log_id, log);
                    modified = true;
                }
            }
            modified
        });
    }

    /// Never returns: lets the other nodes know what this one appends.
    pub(crate) async fn tell(&self, pool: &PgPool) {
        loop {
            self.moved_here.notified().await;
            // A lost hint costs the other nodes one poll interval, nothing else.
            let notify = sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(&*self.node);
            let _ = notify.execute(pool).await;
            tokio::time::sleep(NOTIFY_EVERY).await;
        }
    }

    /// Returns when another node says that a head has moved; never, where there is no listener.
    pub(crate) async fn hear_another(&self, listener: Option<&mut PgListener>) -> Result<()> {
        let Some(listener) = listener else { return std::future::pending().await };
        while listener.recv().await?.payload() == &*self.node {}
        Ok(())
    }
}

/// A connection that hears of other nodes' appends.
pub(crate) async fn listen(pool: &PgPool) -> Result<PgListener> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    Ok(listener)
}

/// A log's row.
pub(crate) fn log(row: &PgRow) -> Result<Log> {
    Ok(Log {
        log_id: row.try_get("log_id")?,
        tenant: row.try_get("tenant")?,
        lane: parsed(row, "lane")?,
        shard: row.try_get("shard")?,
        head: row.try_get("head")?,
    })
}
