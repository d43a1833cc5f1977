//! How many requests may be made, by whom, in how long. Knows no HTTP but paths and methods.
//!
//! Counted in windows of time that begin together on all nodes, by Postgres's clock. A node counts in memory, adds what it has counted to
//! Postgres twice a second and learns there what the others have; limits of few requests ask Postgres each time. What
//! is held in memory is bounded, and without Postgres each node still limits by what it has counted itself. A node that
//! is asked for nothing asks Postgres for nothing: the first request after such a while reads the tiers before it is let in.
//!
//! - [`rule`]: which limit holds for a request
//! - [`counters`]: what this node has counted, and heard
//! - `shared`: what all nodes have
//! - [`standing`]: how a limit stands after a request
//! - [`key`]: names for what is counted, from which nothing can be read back
//!
//! How often somebody may try to guess a secret is another matter: [`crate::attempts`].

pub mod counters;
pub mod key;
pub mod rule;
mod shared;
pub mod standing;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fleetlog_event_log::Error;
use fleetlog_event_log::clock::Clock;
use parking_lot::RwLock;
use sqlx::PgPool;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use counters::Counters;
use key::{Key, network};
use rule::{Call, Rule, Tiers};

pub use key::Requester;
pub use standing::{Exceeded, Standing};

/// How often counts are shared and the tiers read anew, while there are requests.
pub const SHARE_EVERY: Duration = Duration::from_millis(500);
/// The longest that a change of a tier may go unnoticed by a request, unless Postgres fails.
const FRESH: Duration = Duration::from_secs(1);
/// How often what is over is deleted.
const SWEEP_EVERY: Duration = Duration::from_mins(1);
/// How long Postgres may take over a single count, before this node's own has to do.
const PATIENCE: Duration = Duration::from_secs(1);

/// The tier that counts every request by its address, before anything else is known of it.
pub const EVERYONE: &str = "everyone";
/// The tier of those who are nobody.
pub const ANONYMOUS: &str = "anonymous";
/// The tier of a tenant that has no other.
pub const DEFAULT: &str = "free";

/// Counts requests, of all tenants and of those who are in none. [`Quota::run`] shares the counts with other nodes.
/// Cheap to clone; clones count together.
#[derive(Clone)]
pub struct Quota(Arc<Inner>);

struct Inner {
    pool: PgPool,
    clock: Clock,
    tiers: RwLock<Arc<Tiers>>,
    /// When the tiers were last asked for, with or without success.
    asked_at: RwLock<Option<Instant>>,
    /// Held while a request asks for them: those that come meanwhile wait for the same answer.
    asking: tokio::sync::Mutex<()>,
    /// Whether there was a request since the last share.
    requested: AtomicBool,
    /// Of addresses, before anything is known; never shared.
    floods: Counters,
    /// Apart, so that no flood of addresses makes this node forget what callers have used.
    strangers: Counters,
    callers: Counters,
}

impl Quota {
    /// Over a database, as the service, by its clock. The tiers are read by [`Quota::load`], or for the first request.
    #[must_use]
    pub fn new(pool: PgPool, clock: Clock) -> Self {
        let counters = Counters::default;
        Self(Arc::new(Inner {
            pool,
            clock,
            tiers: RwLock::default(),
            asked_at: RwLock::default(),
            asking: tokio::sync::Mutex::default(),
            requested: AtomicBool::new(false),
            floods: counters(),
            strangers: counters(),
            callers: counters(),
        }))
    }

    /// Reads the tiers and their limits: what others have decided holds here when this returns.
    pub async fn load(&self) -> Result<(), Error> {
        let asked_at = Instant::now();
        let tiers = rule::load(&self.0.pool).await.map(Arc::new);
        // Of the moment before the question: a change that was made after it may be missing in the answer.
        *self.0.asked_at.write() = Some(asked_at);
        let tiers = tiers?;
        *self.0.tiers.write() = tiers;
        Ok(())
    }

    /// Shares counts, learns the tiers' limits and deletes what is over, until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(SHARE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sweeps = tokio::time::interval(SWEEP_EVERY);
        sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let work = async {
            loop {
                tokio::select! {
                    _ = ticks.tick() => noted("share the counts of requests", self.share().await),
                    _ = sweeps.tick() => noted("delete old counts", shared::sweep(&self.0.pool).await),
                }
            }
        };
        let _ = shutdown.run_until_cancelled(work).await;
    }

    /// Lets a request in from an address, of which nothing else is known yet. Comes before [`Quota::take`], and reads the
    /// tiers if nobody has for a while.
    pub async fn admit(&self, address: IpAddr, call: Call<'_>) -> Result<(), Exceeded> {
        self.0.requested.store(true, Ordering::Relaxed);
        self.freshen().await;
        let Some(rule) = self.tiers().find(EVERYONE, call) else { return Ok(()) };
        let key = Key::request(&Requester::Address(network(address)), &rule);
        self.0.floods.take(key, &rule, self.0.clock.now()).map(|_| ())
    }

    /// Counts a requester's request, or refuses it. `None` where the tier has no limit for it.
    pub async fn take(
        &self,
        requester: Requester,
        tier: &str,
        call: Call<'_>,
    ) -> Result<Option<Standing>, Exceeded> {
        let Some(rule) = self.tiers().find(tier, call) else { return Ok(None) };
        let (requester, counters) = self.counted(requester);
        let key = Key::request(&requester, &rule);
        let standing = if rule.is_exact() {
            self.take_exactly(counters, key, &rule).await
        } else {
            counters.take(key, &rule, self.0.clock.now())
        };
        standing.map(Some)
    }

    /// Counts a request that was let in as `further` requests more, because answering it took as much as they would.
    #[must_use]
    pub fn charge(&self, requester: Requester, standing: &Standing, further: u64) -> Standing {
        let (requester, counters) = self.counted(requester);
        let key = Key::request(&requester, &standing.rule);
        counters.charge(key, &standing.rule, further, self.0.clock.now())
    }

    /// The requester as it is counted, and where.
    fn counted(&self, requester: Requester) -> (Requester, &Counters) {
        match requester {
            Requester::Address(address) => (Requester::Address(network(address)), &self.0.strangers),
            caller => (caller, &self.0.callers),
        }
    }

    /// Asks Postgres, unless this node knows already that nothing is left.
    async fn take_exactly(
        &self,
        counters: &Counters,
        key: Key,
        rule: &Arc<Rule>,
    ) -> Result<Standing, Exceeded> {
        let now = self.0.clock.now();
        counters.look(key, rule, now)?;
        let window = rule.window_at(now);
        let asked = tokio::time::timeout(PATIENCE, shared::take(&self.0.pool, key, rule, window)).await;
        match asked {
            Ok(Ok(used)) => counters.heard(key, rule, (window, now), used),
            Ok(Err(error)) => {
                tracing::warn!(%error, "failed to count a request with the other nodes");
                counters.take(key, rule, now)
            }
            Err(_) => counters.take(key, rule, now),
        }
    }

    /// Reads the tiers, unless that was done lately. Where Postgres fails, what was known holds.
    async fn freshen(&self) {
        let is_fresh = || {
            let asked_at = *self.0.asked_at.read();
            asked_at.is_some_and(|at| at.elapsed() < FRESH)
        };
        if is_fresh() {
            return;
        }
        let load = async {
            let _asking = self.0.asking.lock().await;
            if is_fresh() { Ok(()) } else { self.load().await }
        };
        match tokio::time::timeout(PATIENCE, load).await {
            Ok(loaded) => noted("read the tiers", loaded),
            Err(_) => {
                // The next second's requests need not wait for the same failure.
                *self.0.asked_at.write() = Some(Instant::now());
            }
        }
    }

    async fn share(&self) -> Result<(), Error> {
        if self.0.requested.swap(false, Ordering::Relaxed) {
            self.load().await?;
        }
        for counters in [&self.0.callers, &self.0.strangers] {
            let due = counters.due(self.0.clock.now());
            if !due.is_empty() {
                let totals = shared::add(&self.0.pool, &due).await?;
                counters.learn(&due, &totals);
            }
        }
        self.0.floods.forget_past(self.0.clock.now());
        Ok(())
    }

    fn tiers(&self) -> Arc<Tiers> {
        Arc::clone(&self.0.tiers.read())
    }
}

fn noted(what: &'static str, done: Result<(), Error>) {
    if let Err(error) = done {
        tracing::warn!(%error, "failed to {what}; trying again");
    }
}
