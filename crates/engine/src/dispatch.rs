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
//! - `batch_runner`: requests the commands of all tenants' batches, at their rates

mod attempt;
mod batch_runner;
pub mod outlet;
mod schedule;
mod tenant;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use fleetlog_aggregates::identity::Tenant;
use fleetlog_event_log::backoff::Backoff;
use fleetlog_event_log::leadership::Leadership;
use fleetlog_event_log::{EventLog, Lane, LogId};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use batch_runner::Notice;
use outlet::CommandOutlet;
use tenant::TenantWorker;

/// The name of the advisory lock that a dispatching node holds.
const NAME: &str = "fleetlog dispatcher";
/// How often each node asks for the right to dispatch, or checks that it still has it.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// The dispatcher. Start it with [`Dispatcher::run`].
pub struct Dispatcher {
    log: EventLog,
    outlet: Arc<dyn CommandOutlet>,
}

impl Dispatcher {
    /// Prepares the dispatcher for all tenants.
    #[must_use]
    pub fn new(log: EventLog, outlet: Arc<dyn CommandOutlet>) -> Self {
        Self { log, outlet }
    }

    /// Dispatches, whenever this node has the right to, until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut backoff = Backoff::new(ASK_EVERY, Duration::from_secs(10));
        while !shutdown.is_cancelled() {
            match Leadership::acquire(self.log.pool(), NAME).await {
                Ok(Some(leadership)) => {
                    backoff.reset();
                    tracing::info!("this node dispatches commands");
                    self.dispatch(leadership, &shutdown).await;
                }
                Ok(None) => backoff.reset(),
                Err(error) => tracing::warn!(%error, "failed to ask for the right to dispatch; trying again"),
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
        let mut open: HashSet<LogId> = HashSet::new();
        let mut asks = tokio::time::interval(ASK_EVERY);
        while !stop.is_cancelled() {
            for log in self.log.heads().logs() {
                if log.lane == Lane::Control
                    && open.insert(log.log_id)
                    && let Ok(tenant) = log.tenant.parse()
                {
                    self.start_worker((log.log_id, tenant), batches.clone(), &stop, &mut workers);
                }
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                _ = asks.tick() => {
                    if !leadership.is_held().await {
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
        while workers.join_next().await.is_some() {}
        leadership.release().await;
    }

    fn start_worker(
        &self,
        log: (LogId, Tenant),
        batches: mpsc::UnboundedSender<Notice>,
        stop: &CancellationToken,
        workers: &mut JoinSet<()>,
    ) {
        let worker = TenantWorker::new(self.log.clone(), log, Arc::clone(&self.outlet), batches);
        workers.spawn(worker.run(stop.clone()));
    }
}
