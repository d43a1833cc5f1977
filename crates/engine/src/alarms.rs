//! Evaluates tenants' alarm rules: raises alarms, clears them, and tells people by mail.
//!
//! One node evaluates for all tenants; another takes over when it ends. It follows each tenant's control log, and, of tenants
//! with rules about readings, the telemetry log. All that follows from a page of events is one transaction: how the
//! conditions stand, the alarms' events, the mails, and how far the logs are evaluated. A node that was replaced without
//! noticing finds another number of turns than it left, and writes nothing. The modules, in the order in which an event
//! passes through them:
//!
//! - [`rules`]: rules as people define them
//! - [`people`]: alarms as people acknowledge and clear them
//! - [`preview`]: what a rule would have raised
//! - `tenant`, `begin`, `control`: one tenant's logs, turn after turn; where that begins; turns of the control log
//! - `rulebook`: the rules that hold, by what they are about
//! - `labels`: the labels of devices, for rules that choose devices by them
//! - `board`: how conditions stand for the devices of a page, and what facts make of that
//! - `readings`, `changes`: the facts in a page of the telemetry log, and in a page of the control log
//! - `due`: what is due by the clock
//! - `turn`: writes all that follows, in one transaction
//! - `standings`, `remembered`: the rows of conditions; those that were used last
//! - `mails`: who is told, and how often

mod begin;
mod board;
mod changes;
mod control;
mod due;
mod labels;
mod mails;
pub mod people;
pub mod preview;
mod readings;
mod remembered;
mod rulebook;
pub mod rules;
mod standings;
mod tenant;
mod turn;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use fleetlog_access::mail::Letters;
use fleetlog_event_log::leadership::Leadership;
use fleetlog_event_log::{EventLog, Lane, LogId};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use board::MAX_OPEN;
pub use mails::MAILS;
use tenant::TenantWorker;

/// The name of the advisory lock that the evaluating node holds.
const NAME: &str = "fleetlog alarms";
/// How often each node asks for the right to evaluate, or checks that it still has it.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// How long workers may take to end after they were told to.
const END_WITHIN: Duration = Duration::from_secs(15);
/// How many tenants' pages are evaluated at once.
const AT_ONCE: usize = 2;

/// The evaluator. Start it with [`Evaluator::run`].
pub struct Evaluator {
    log: EventLog,
    letters: Letters,
}

/// What all workers of a node share.
#[derive(Clone)]
struct Shared {
    log: EventLog,
    letters: Letters,
    turns: Arc<Semaphore>,
    /// How many rows all workers remember.
    remembered: Arc<AtomicUsize>,
}

impl Evaluator {
    /// Prepares the evaluator for all tenants.
    #[must_use]
    pub fn new(log: EventLog, letters: Letters) -> Self {
        Self { log, letters }
    }

    /// Evaluates, whenever this node has the right to, until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut candidate = self.log.candidate(NAME, ASK_EVERY);
        while let Some(leadership) = candidate.elected(&shutdown).await {
            tracing::info!("this node evaluates alarm rules");
            self.evaluate(leadership, &shutdown).await;
        }
    }

    /// Runs a worker for each control log while this node has the right to evaluate.
    async fn evaluate(&self, mut leadership: Leadership, shutdown: &CancellationToken) {
        let stop = shutdown.child_token();
        let shared = Shared {
            log: self.log.clone(),
            letters: self.letters.clone(),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            remembered: Arc::default(),
        };
        let mut workers = JoinSet::new();
        let mut open: HashSet<LogId> = HashSet::new();
        let mut asks = tokio::time::interval(ASK_EVERY);
        while !stop.is_cancelled() {
            for log in self.log.heads().logs() {
                if log.lane == Lane::Control
                    && !open.contains(&log.log_id)
                    && let Ok(tenant) = log.tenant.parse()
                    && let Some(telemetry) = self.log.heads().of(&log.tenant, Lane::Telemetry)
                {
                    open.insert(log.log_id);
                    let worker = TenantWorker::new(shared.clone(), tenant, (log.log_id, telemetry));
                    workers.spawn(worker.run(stop.clone()));
                }
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                _ = asks.tick() => {
                    if !leadership.is_held().await {
                        tracing::warn!("this node no longer evaluates alarm rules");
                        stop.cancel();
                    }
                }
                Some(ended) = workers.join_next() => {
                    // No task ends by itself. Starting over restores the state from the database.
                    tracing::error!(?ended, "a worker ended; the evaluation of alarm rules starts over");
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
