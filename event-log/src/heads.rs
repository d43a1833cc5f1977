//! The logs and how far each has got. Whoever follows a log waits here.
//!
//! What this process appends is known at once. What others append is learnt from a notification, which is a hint, or
//! from polling, which is the guarantee.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgListener;
use sqlx::{PgPool, Row};
use tokio::sync::{Notify, watch};
use tokio::time::MissedTickBehavior;

use crate::{Error, Lane, Log, LogId, Position, Result};

/// The notification channel that says "some head has moved".
const CHANNEL: &str = "fleetlog_heads";
/// How often heads are read when nothing was heard. The bound on how late another node's events are noticed.
const POLL: Duration = Duration::from_millis(500);
/// The least time between two notifications: one serves every append in it.
const NOTIFY_EVERY: Duration = Duration::from_millis(20);

/// The logs, by number.
pub type Logs = BTreeMap<LogId, Log>;

/// The known heads. Cheap to clone.
#[derive(Clone)]
pub struct Heads {
    logs: Arc<watch::Sender<Logs>>,
    moved_here: Arc<Notify>,
    /// Names this process in its notifications, so that it does not act on its own.
    node: Arc<str>,
}

impl Heads {
    pub(crate) async fn load(pool: &PgPool) -> Result<Self> {
        let (logs, _) = watch::channel(select(pool).await?);
        let node = uuid::Uuid::now_v7().to_string().into();
        Ok(Self { logs: Arc::new(logs), moved_here: Arc::new(Notify::new()), node })
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
        self.logs.borrow().values().find(|log| log.tenant == tenant && log.lane == lane).map(|log| log.log_id)
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
    pub async fn refresh(&self, pool: &PgPool) -> Result<()> {
        let fresh = select(pool).await?;
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
        Ok(())
    }

    /// Never returns: hears, polls, and tells.
    pub(crate) async fn keep(&self, pool: &PgPool) {
        tokio::join!(self.hear(pool), self.tell(pool));
    }

    async fn hear(&self, pool: &PgPool) {
        let mut ticks = tokio::time::interval(POLL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut listener: Option<PgListener> = None;
        loop {
            if listener.is_none() {
                listener = listen(pool).await.ok();
            }
            tokio::select! {
                _ = ticks.tick() => {}
                heard = hear_another(listener.as_mut(), &self.node) => {
                    if heard.is_err() {
                        listener = None;
                        ticks.tick().await;
                    }
                }
            }
            if let Err(error) = self.refresh(pool).await {
                tracing::warn!(%error, "failed to read the heads; trying again");
            }
        }
    }

    async fn tell(&self, pool: &PgPool) {
        loop {
            self.moved_here.notified().await;
            // A lost hint costs the other nodes one poll interval, nothing else.
            let notify = sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(&*self.node);
            let _ = notify.execute(pool).await;
            tokio::time::sleep(NOTIFY_EVERY).await;
        }
    }
}

/// Returns when another node says that a head has moved; never, where there is no listener.
async fn hear_another(listener: Option<&mut PgListener>, node: &str) -> Result<()> {
    let Some(listener) = listener else { return std::future::pending().await };
    while listener.recv().await?.payload() == node {}
    Ok(())
}

async fn listen(pool: &PgPool) -> Result<PgListener> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    Ok(listener)
}

async fn select(pool: &PgPool) -> Result<Logs> {
    let rows = sqlx::query("SELECT log_id, tenant, lane, shard, head FROM logs").fetch_all(pool).await?;
    rows.into_iter()
        .map(|row| {
            let log_id = row.try_get("log_id")?;
            let lane: String = row.try_get("lane")?;
            let lane = lane.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
            let log = Log {
                log_id,
                tenant: row.try_get("tenant")?,
                lane,
                shard: row.try_get("shard")?,
                head: row.try_get("head")?,
            };
            Ok((log_id, log))
        })
        .collect::<Result<_, sqlx::Error>>()
        .map_err(Error::from)
}
