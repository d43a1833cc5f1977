//! Sends commands to devices, and gives them up in time.
//!
//! The control log is the outbox: what it says of a command decides what is to happen next and when, so nothing here
//! needs to be remembered over a restart. One node dispatches for all; another takes over when it ends. A crash between
//! a publish and the event that records it leads to one more delivery of the same command, never to none. The modules,
//! in the order in which a command passes through:
//!
//! - [`tenant`]: one log's open commands: follows the log, and does what is due
//! - `schedule`: which of them are open, in whose turn, and when each is to be looked at
//! - `attempt`: one attempt, or one end, of one command
//! - [`outlet`]: through which broker
//! - `batch_runner`: requests the commands of all tenants' batches, at their rate

mod attempt;
mod batch_runner;
pub mod outlet;
mod schedule;
mod tenant;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use fleetlog_event_log::backoff::Backoff;
use fleetlog_event_log::leadership::Leadership;
use fleetlog_event_log::{EventLog, Lane, Log, LogId};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use batch_runner::Notice;
use outlet::CommandOutlet;
use tenant::Desk;

/// What the right to dispatch is called, among the advisory locks.
const NAME: &str = "fleetlog dispatcher";
/// How often a node that does not dispatch asks whether it may, and one that does whether it still may.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// The component. [`Dispatcher::run`] it.
pub struct Dispatcher {
    log: EventLog,
    outlet: Arc<dyn CommandOutlet>,
}

impl Dispatcher {
    /// Prepares a dispatcher for all tenants.
    #[must_use]
    pub fn new(log: EventLog, outlet: Arc<dyn CommandOutlet>) -> Self {
        Self { log, outlet }
    }

    /// Dispatches, whenever it is this node's turn, until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut backoff = Backoff::new(ASK_EVERY, Duration::from_secs(10));
        while !shutdown.is_cancelled() {
            match Leadership::acquire(self.log.pool(), NAME).await {
                Ok(Some(leadership)) => {
                    backoff.reset();
                    tracing::info!("commands are dispatched here");
                    self.dispatch(leadership, &shutdown).await;
                }
                Ok(None) => backoff.reset(),
                Err(error) => tracing::warn!(%error, "failed to ask for the right to dispatch; trying again"),
            }
            let _ = shutdown.run_until_cancelled(backoff.wait()).await;
        }
    }

    /// A desk for each control log, and one runner for the batches of all, for as long as this node leads.
    async fn dispatch(&self, mut leadership: Leadership, shutdown: &CancellationToken) {
        let stop = shutdown.child_token();
        let mut desks = JoinSet::new();
        let (batches, notices) = mpsc::unbounded_channel();
        desks.spawn(batch_runner::run(self.log.clone(), notices, stop.clone()));
        let mut open: HashSet<LogId> = HashSet::new();
        let mut asks = tokio::time::interval(ASK_EVERY);
        while !stop.is_cancelled() {
            for log in self.log.heads().logs() {
                if log.lane == Lane::Control && open.insert(log.log_id) {
                    self.open_desk(log, batches.clone(), &stop, &mut desks);
                }
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                _ = asks.tick() => {
                    if !leadership.is_held().await {
                        tracing::warn!("commands are no longer dispatched here");
                        stop.cancel();
                    }
                }
                Some(ended) = desks.join_next() => {
                    // None ends by itself. Starting over brings it back to what the log says.
                    tracing::error!(?ended, "a desk ended; dispatching starts over");
                    stop.cancel();
                }
            }
        }
        while desks.join_next().await.is_some() {}
        leadership.release().await;
    }

    fn open_desk(
        &self,
        log: Log,
        batches: mpsc::UnboundedSender<Notice>,
        stop: &CancellationToken,
        desks: &mut JoinSet<()>,
    ) {
        let desk = Desk::new(self.log.clone(), log, Arc::clone(&self.outlet), batches);
        desks.spawn(desk.run(stop.clone()));
    }
}
