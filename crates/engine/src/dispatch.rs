//! Sends commands to devices, and times them out.
//!
//! The control log is the outbox: the events of a command decide what is due next and when, so the dispatcher has no
//! state to keep over a restart. One node dispatches for all tenants; another takes over when it ends. A crash between
//! a publish and the event that records it leads to one more delivery of the same command, never to none. The modules,
//! in the order in which a command passes through them:
//!
//! - [`tenant`]: the open commands of one log: follows the log, and does what is due
//! - `schedule`: which commands are open, whose turn it is, and when each is due
//! - `attempt`: one attempt, or the time-out, of one command
//! - [`outlet`]: the way to the devices
//! - [`handover`]: the way to the devices of all nodes
//! - `batch_runner`: requests the commands of all tenants' batches, at their rates
//! - `prune`: removes old messages from quarantine, a chore for one node

mod attempt;
mod batch_runner;
pub mod handover;
pub mod outlet;
mod prune;
mod schedule;
mod tenant;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fleetlog_event_log::backoff::Backoff;
use fleetlog_event_log::health::{Part, parts};
use fleetlog_event_log::leadership::Leadership;
use fleetlog_event_log::{EventLog, Lane, LogId};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use outlet::CommandOutlet;
use tenant::TenantWorker;

/// The name of the advisory lock that a dispatching node holds.
const NAME: &str = "fleetlog dispatcher";
/// How often each node asks for the right to dispatch, or checks that it still has it.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// How long the work may stand still before the part `dispatcher` is down, and the node gives up the right to dispatch.
const STANDS: Duration = Duration::from_secs(10);
/// How long workers may take to end after they were told to.
const END_WITHIN: Duration = Duration::from_secs(15);

/// The dispatcher. Start it with [`Dispatcher::run`].
pub struct Dispatcher {
    log: EventLog,
    outlet: Arc<dyn CommandOutlet>,
    health: Part,
}

impl Dispatcher {
    /// Prepares the dispatcher for all tenants.
    #[must_use]
    pub fn new(log: EventLog, outlet: Arc<dyn CommandOutlet>) -> Self {
        let health = log.health().part(parts::DISPATCHER, STANDS);
        Self { log, outlet, health }
    }

    /// Dispatches, whenever this node has the right to, until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut backoff = Backoff::new(ASK_EVERY, Duration::from_secs(10));
        let mut trouble = None;
        while !shutdown.is_cancelled() {
            match self.log.lead(NAME).await {
                Ok(Some(leadership)) => {
                    backoff.reset();
                    trouble = None;
                    tracing::info!("this node dispatches commands");
                    self.dispatch(leadership, &shutdown).await;
                }
                Ok(None) => {
                    backoff.reset();
                    trouble = None;
                }
                Err(error) => {
                    tracing::warn!(%error, "failed to ask for the right to dispatch; trying again");
                    let nobody = || self.health.wait(Instant::now(), "this node cannot ask who dispatches");
                    trouble.get_or_insert_with(nobody).failed(error.outline());
                }
            }
            let _ = shutdown.run_until_cancelled(backoff.wait()).await;
        }
    }

    /// Runs a worker for each control log, and one runner for the batches of all tenants, while this node has the right
    /// to dispatch.
    async fn dispatch(&self, mut leadership: Leadership, shutdown: &CancellationToken) {
        let stop = shutdown.child_token();
        let mut workers = JoinSet::new();
        let (batches, notices) = mpsc::unbounded_channel();
        workers.spawn(batch_runner::run(self.log.clone(), notices, stop.clone()));
        workers.spawn(prune::run(self.log.clone(), stop.clone()));
        let mut open: HashSet<LogId> = HashSet::new();
        let mut asks = tokio::time::interval(ASK_EVERY);
        while !stop.is_cancelled() {
            for log in self.log.heads().logs() {
                if log.lane == Lane::Control
                    && open.insert(log.log_id)
                    && let Ok(tenant) = log.tenant.parse()
                {
                    let worker = TenantWorker::new(
                        self.log.clone(),
                        (log.log_id, tenant),
                        Arc::clone(&self.outlet),
                        batches.clone(),
                        (self.health.clone(), leadership.lease()),
                    );
                    workers.spawn(worker.run(stop.clone()));
                }
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                _ = asks.tick() => {
                    // Only work that moves keeps the lease.
                    if !self.health.is_up() {
                        tracing::error!("dispatching stands still; another node may take over");
                        stop.cancel();
                    } else if !leadership.is_held().await {
                        tracing::warn!("this node no longer dispatches commands");
                        stop.cancel();
                    }
                }
                Some(ended) = workers.join_next() => {
                    // No task ends by itself. Starting over restores the state from the log.
                    tracing::error!(?ended, "a worker ended; dispatching starts over");
                    stop.cancel();
                }
            }
        }
        let ended = async { while workers.join_next().await.is_some() {} };
        if tokio::time::timeout(END_WITHIN, ended).await.is_err() {
            workers.shutdown().await;
        }
        leadership.release().await;
    }
}
