//! Tasks that only one node at a time may do. The leader is the node whose connection holds the task's advisory lock.
//!
//! The lock is a lease: Postgres ends the leader's connection, and with it the lease, once the connection has been
//! silent for [`LEASE`], by Postgres's own clock. Only the leader's work keeps it: the leader writes over this very
//! connection, or calls [`Leadership::is_held`] between two steps of its work. So a leader that is frozen, cut off or
//! stuck is replaced, however it came to that. A transaction that such a leader has left open ends as soon
//! (`idle_in_transaction_session_timeout`, see [`crate::database`]), so its locks hold up nobody.
//!
//! What a leader does must be right even while two nodes briefly believe that they lead. What it writes over its own
//! connection is: with the lease that connection is gone. [`Lease::is_current`] keeps a leader that has just woken
//! from effects that a database cannot undo.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sqlx::{ConnectOptions, Connection, Executor, PgConnection, PgPool};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::since_boot::SinceBoot;
use crate::{EventLog, Result};

/// How long a leader may be silent before Postgres ends its lease. With the time that another node needs to notice,
/// 0.5 s, a frozen leader is replaced within 10 s.
pub const LEASE: Duration = Duration::from_secs(7);
/// How often an idle leader renews its lease. Two renewals may fail before the lease ends.
pub const RENEW_EVERY: Duration = Duration::from_secs(2);
/// How old an answer about who leads may be. The nodes that wait to lead ask twice a second, for all tasks at once.
const FRESH: Duration = Duration::from_millis(400);
/// How long a node that wants to lead waits between two questions at most, while the database does not answer.
const ASK_AT_LEAST_EVERY: Duration = Duration::from_secs(10);
/// How long the database may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The right to do a task alone, until the connection is gone.
pub struct Leadership {
    connection: PgConnection,
    lease: Lease,
}

/// When a leader's lease was renewed last, by a clock that goes on while the process is frozen and while the machine
/// sleeps: Postgres, on another machine, does not wait. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Lease(Arc<Mutex<SinceBoot>>);

impl Lease {
    /// Whether no other node can have taken over yet. The lease counts from before its last renewal was sent, so it ends
    /// here before it ends in Postgres.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.age() < LEASE
    }

    fn age(&self) -> Duration {
        self.0.lock().elapsed()
    }
}

/// The tasks that this process waits to lead, and which of them are led by some node.
#[derive(Default)]
pub(crate) struct Rivals(tokio::sync::Mutex<Asked>);

#[derive(Default)]
struct Asked {
    tasks: BTreeSet<String>,
    at: Option<Instant>,
    taken: HashSet<String>,
}

impl EventLog {
    /// Tries to become the leader of the task called `name`. `None` if another node leads. Waiting to lead costs one
    /// statement for all tasks of the process each half second, over the pool, and no connection.
    pub async fn lead(&self, name: &str) -> Result<Option<Leadership>> {
        if self.inner.rivals.have_taken(self.pool(), name).await? {
            return Ok(None);
        }
        Leadership::acquire(self.pool(), name).await
    }

    /// Stands for the task called `name`, and asks this often whether this node leads.
    #[must_use]
    pub fn candidate(&self, name: impl Into<String>, ask_every: Duration) -> Candidate {
        let backoff = Backoff::new(ask_every, ASK_AT_LEAST_EVERY);
        Candidate { log: self.clone(), name: name.into(), backoff, has_led: false }
    }
}

/// A node that wants to lead a task, each time that it is free.
pub struct Candidate {
    log: EventLog,
    name: String,
    backoff: Backoff,
    has_led: bool,
}

impl Candidate {
    /// Waits until this node leads. `None`: `shutdown` came first.
    pub async fn elected(&mut self, shutdown: &CancellationToken) -> Option<Leadership> {
        while !shutdown.is_cancelled() {
            if std::mem::take(&mut self.has_led) {
                shutdown.run_until_cancelled(self.backoff.wait()).await?;
            }
            match self.log.lead(&self.name).await {
                Ok(leadership) => {
                    self.backoff.reset();
                    if leadership.is_some() {
                        self.has_led = true;
                        return leadership;
                    }
                }
                Err(error) => {
                    tracing::warn!(task = self.name, %error, "failed to ask whether this node leads; trying again");
                }
            }
            shutdown.run_until_cancelled(self.backoff.wait()).await?;
        }
        None
    }
}

impl Rivals {
    async fn have_taken(&self, pool: &PgPool, name: &str) -> Result<bool> {
        let mut asked = self.0.lock().await;
        let is_new = asked.tasks.insert(name.to_owned());
        if is_new || asked.at.is_none_or(|at| at.elapsed() >= FRESH) {
            let tasks: Vec<&str> = asked.tasks.iter().map(String::as_str).collect();
            // All tasks of the process wait for this one answer, so it must not take for ever.
            let taken = tokio::time::timeout(PATIENCE, sqlx::query_scalar(TAKEN).bind(tasks).fetch_all(pool));
            let taken: Vec<String> = taken.await.unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
            asked.taken = taken.into_iter().collect();
            asked.at = Some(Instant::now());
        }
        Ok(asked.taken.contains(name))
    }
}

/// Which of some tasks are led. A lock of one `bigint` is shown as two halves.
const TAKEN: &str = "
    WITH held AS MATERIALIZED (
        SELECT (classid::bigint << 32) | objid::bigint AS key FROM pg_locks
        WHERE locktype = 'advisory' AND objsubid = 1 AND granted
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    )
    SELECT task FROM unnest($1::text[]) AS task WHERE hashtextextended(task, 0) IN (SELECT key FROM held)";

impl Leadership {
    async fn acquire(pool: &PgPool, name: &str) -> Result<Option<Self>> {
        let acquire = async {
            // Not a connection of the pool: the pool would miss it, and it must never be handed to another caller.
            let mut connection = pool.connect_options().connect().await?;
            let lease = format!("SET idle_session_timeout = '{}ms'", LEASE.as_millis());
            connection.execute(lease.as_str()).await?;
            let asked = SinceBoot::now();
            let acquired: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtextextended($1, 0))")
                .bind(name)
                .fetch_one(&mut connection)
                .await?;
            Ok::<_, sqlx::Error>((connection, asked, acquired))
        };
        let acquired =
            tokio::time::timeout(PATIENCE, acquire).await.unwrap_or(Err(sqlx::Error::PoolTimedOut));
        let (connection, asked, acquired) = acquired?;
        Ok(acquired.then(|| Self { connection, lease: Lease(Arc::new(Mutex::new(asked))) }))
    }

    /// Renews the lease unless that was done within [`RENEW_EVERY`]. `false` if this node no longer leads.
    pub async fn is_held(&mut self) -> bool {
        self.is_fresh() || self.renew().await
    }

    /// Renews the lease. `false` if this node no longer leads.
    pub async fn renew(&mut self) -> bool {
        self.renew_by(async |connection| connection.ping().await).await.is_some()
    }

    /// Renews the lease by a question that the leader has anyway, and returns the answer. `None` if this node no longer leads.
    pub async fn renew_by<T>(
        &mut self,
        question: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
    ) -> Option<T> {
        let asked = SinceBoot::now();
        let answer = tokio::time::timeout(PATIENCE, question(&mut self.connection)).await.ok()?.ok()?;
        *self.lease.0.lock() = asked;
        Some(answer)
    }

    /// Whether the lease was renewed within [`RENEW_EVERY`].
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.lease.age() < RENEW_EVERY
    }

    /// Does work that may take longer than the lease lasts, and renews the lease beside it. `None` if this node no longer
    /// leads; the work is dropped where it stands then.
    pub async fn during<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let (mut work, mut ended) = (std::pin::pin!(work), None);
        loop {
            tokio::select! {
                done = &mut work => return Some(done),
                () = tokio::time::sleep(RENEW_EVERY) => {}
            }
            // A database that hangs must not hold up the work: it goes on while the lease is renewed. A renewal is never
            // dropped, because the connection would be left in the midst of an answer.
            let mut renewed = std::pin::pin!(self.renew());
            let held = loop {
                tokio::select! {
                    held = &mut renewed => break held,
                    done = &mut work, if ended.is_none() => ended = Some(done),
                }
            };
            if ended.is_some() || !held {
                return ended;
            }
        }
    }

    /// The connection that holds the lease. What is written over it is written by the leader, or not at all; a
    /// statement on it renews the lease in Postgres, but not in [`Leadership::lease`].
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// Tells parts of the leader's work whether they may still go on.
    #[must_use]
    pub fn lease(&self) -> Lease {
        self.lease.clone()
    }

    /// Lets another node lead at once. Closing the connection would too, but only after the server's process for it
    /// has ended.
    pub async fn release(mut self) {
        let released = async {
            sqlx::query("SELECT pg_advisory_unlock_all()").execute(&mut self.connection).await?;
            self.connection.close().await
        };
        let _ = tokio::time::timeout(PATIENCE, released).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_over_once_its_time_has_passed_though_the_leader_may_have_slept() {
        let renewed = |ago| Lease(Arc::new(Mutex::new(SinceBoot::now().minus(ago))));
        assert!(renewed(Duration::ZERO).is_current());
        assert!(!renewed(LEASE).is_current());
    }
}
