//! The logs and their heads. Followers of a log wait here for it to grow.
//!
//! This process's own appends are known at once. Those of other nodes are learnt from a notification, which is a
//! hint, or from polling, which is the guarantee: see `upkeep`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use sqlx::postgres::{PgListener, PgRow};
use sqlx::{Executor, PgPool, Postgres, Row};
use tokio::sync::{Notify, watch};

use crate::database::parsed;
use crate::notices::{self, Notices};
use crate::{EventLog, Lane, Log, LogId, Position, Result};

/// The notification channel that says "some head has moved".
const CHANNEL: &str = "fleetlog_heads";
/// The least time between two notifications. One notification covers all appends in that time.
const NOTIFY_EVERY: Duration = Duration::from_millis(20);

/// The logs, by id.
pub type Logs = BTreeMap<LogId, Log>;

/// The ids of each tenant's logs, by lane.
type Places = HashMap<String, HashMap<Lane, LogId>>;

/// The known heads. Cheap to clone.
#[derive(Clone)]
pub struct Heads {
    logs: Arc<watch::Sender<Logs>>,
    /// Finds a tenant's log for each request and each message without a scan of all logs.
    places: Arc<RwLock<Places>>,
    moved_here: Arc<Notify>,
    /// This process's name in its notifications, so that it ignores its own.
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

    /// How many events there are in all logs.
    #[must_use]
    pub fn total(&self) -> Position {
        self.logs.borrow().values().map(|log| log.head).sum()
    }

    /// How many events there are in all logs of a lane.
    #[must_use]
    pub fn total_of(&self, lane: Lane) -> Position {
        self.logs.borrow().values().filter(|log| log.lane == lane).map(|log| log.head).sum()
    }

    /// All logs that are known now.
    #[must_use]
    pub fn logs(&self) -> Vec<Log> {
        self.logs.borrow().values().cloned().collect()
    }

    /// One log, if it is known.
    #[must_use]
    pub fn log(&self, log_id: LogId) -> Option<Log> {
        self.logs.borrow().get(&log_id).cloned()
    }

    /// A tenant's log in a lane. `None` if the tenant is not known.
    #[must_use]
    pub fn of(&self, tenant: &str, lane: Lane) -> Option<LogId> {
        self.places.read().get(tenant)?.get(&lane).copied()
    }

    /// A receiver that is woken when a head has moved or a log was added.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Logs> {
        self.logs.subscribe()
    }

    /// Notes a head that this process has moved, and has the other nodes notified.
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

    /// Reads the heads from the database: a head that another node has moved is known when this returns.
    pub async fn refresh(&self, database: impl Executor<'_, Database = Postgres>) -> Result<()> {
        let rows = sqlx::query("SELECT log_id, tenant, lane, shard, head, archived_until FROM logs")
            .fetch_all(database)
            .await?;
        let logs = rows.iter().map(|row| log(row).map(|log| (log.log_id, log)));
        self.learn(logs.collect::<Result<_>>()?);
        Ok(())
    }

    /// Takes in heads that were just read.
    pub(crate) fn learn(&self, fresh: Logs) {
        let is_new = {
            let known = self.logs.borrow();
            fresh.keys().any(|log_id| !known.contains_key(log_id))
        };
        if is_new {
            // Before the log itself is shown, so that a log that is shown can be found.
            let mut places = self.places.write();
            for log in fresh.values() {
                places.entry(log.tenant.clone()).or_default().entry(log.lane).or_insert(log.log_id);
            }
        }
        self.logs.send_if_modified(|logs| {
            let mut modified = false;
            for (log_id, log) in fresh {
                // A smaller head was read before a local append was noted.
                let Some(known) = logs.get_mut(&log_id) else {
                    logs.insert(log_id, log);
                    modified = true;
                    continue;
                };
                modified |= known.head < log.head;
                known.head = known.head.max(log.head);
                known.archived_until = known.archived_until.max(log.archived_until);
            }
            modified
        });
    }

    /// Notifies the other nodes of this node's appends. Never returns.
    pub(crate) async fn tell(&self, pool: &PgPool) {
        loop {
            self.moved_here.notified().await;
            // A lost notification costs the other nodes one poll interval, nothing else.
            let notify = sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(&*self.node);
            let _ = notify.execute(pool).await;
            tokio::time::sleep(NOTIFY_EVERY).await;
        }
    }

    /// Returns when another node reports that a head has moved, and passes notices on meanwhile. Without a listener it never
    /// returns.
    pub(crate) async fn hear_another(
        &self,
        listener: Option<&mut PgListener>,
        notices: &Notices,
    ) -> Result<()> {
        let Some(listener) = listener else { return std::future::pending().await };
        loop {
            let heard = listener.recv().await?;
            if heard.channel() == notices::CHANNEL {
                notices.heard(heard.payload());
            } else if heard.payload() != &*self.node {
                return Ok(());
            }
        }
    }
}

impl EventLog {
    /// The heads of some logs, read now, once every append to them that has taken its positions by now has ended. So whatever
    /// was stored before this was called is at these heads or before.
    pub async fn heads_after_appends(&self, logs: &[LogId]) -> Result<HashMap<LogId, Position>> {
        let rows =
            sqlx::query_as("SELECT log_id, head FROM logs WHERE log_id = ANY($1) ORDER BY log_id FOR SHARE");
        Ok(rows.bind(logs).fetch_all(self.pool()).await?.into_iter().collect())
    }
}

/// Opens a connection that listens for other nodes' appends and notices.
pub(crate) async fn listen(pool: &PgPool) -> Result<PgListener> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen_all([CHANNEL, notices::CHANNEL]).await?;
    Ok(listener)
}

/// Reads a log from its row.
pub(crate) fn log(row: &PgRow) -> Result<Log> {
    Ok(Log {
        log_id: row.try_get("log_id")?,
        tenant: row.try_get("tenant")?,
        lane: parsed(row, "lane")?,
        shard: row.try_get("shard")?,
        head: row.try_get("head")?,
        archived_until: row.try_get("archived_until")?,
    })
}
