//! Keeps the read models up to date: one task for each projection on each node, and one node at a time does the work.
//!
//! - `follow`: turn after turn of each log, for as long as this node leads
//! - `pace`: how often a log is written, and how many logs at once
//! - `apply`: one turn of a log: batches, each in one transaction with its checkpoint
//! - `pages`: reads events from the log into a fold
//! - `offline`: folds a log in memory and writes nothing
//! - `checkpoints`: what the runner keeps in the database
//! - `handle`: waits for a projection to reach a position

mod apply;
mod checkpoints;
mod follow;
mod handle;
mod offline;
mod pace;
mod pages;

use std::time::Duration;

use fleetlog_event_log::EventLog;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::read_model::ReadModel;
use crate::{alarms, commands, devices, rebuild, telemetry_windows};
pub(crate) use apply::{Applier, Unapplied};
pub(crate) use checkpoints::{BuiltSlice, Checkpoints};
use follow::Runner;
use handle::{Followed, Progress};
pub use handle::{Handle, WaitError};
pub use offline::fold;
use pace::Slots;

/// How much a projection reads and writes at once.
#[derive(Debug, Clone)]
pub struct Options {
    /// The most events in one read.
    pub page: i64,
    /// The most bytes of payload in one read. At worst, if every leaf is a metric of its own, their fold takes some
    /// thirty times as much.
    pub page_bytes: usize,
    /// The most events in one write, while a log is behind by that many. The more there are, the fewer writes each
    /// row takes, and the longer other logs wait for their turn. While one batch is written, the next is folded.
    pub batch: i64,
    /// The bytes at which a fold is written, whatever the number of its events. While one fold is written, memory
    /// also holds the next fold, and the columns that the first is written as.
    pub fold_bytes: usize,
    /// How long a checkpoint may stand while its log is ahead before the part `projections` is down.
    pub stands: Duration,
}

impl Default for Options {
    fn default() -> Self {
        let stands = Duration::from_secs(10);
        Self { page: 5_000, page_bytes: 4 << 20, batch: 100_000, fold_bytes: 16 << 20, stands }
    }
}

/// A projection ended by itself, which none should.
#[derive(Debug, thiserror::Error)]
#[error("keep the projections running: {0}")]
pub struct Error(#[from] tokio::task::JoinError);

type Start = Box<dyn FnOnce(CancellationToken, &mut JoinSet<()>) + Send>;

/// All projections, ready to run.
pub struct Projections {
    log: EventLog,
    options: Options,
    slots: Slots,
    starts: Vec<Start>,
    followed: Vec<Followed>,
    rebuilds: rebuild::Works,
}

impl Projections {
    /// The projections that fleetlog comes with.
    #[must_use]
    pub fn new(log: EventLog, options: Options) -> Self {
        Self::none(log, options)
            .with::<devices::Model>()
            .with::<commands::Model>()
            .with::<telemetry_windows::Model>()
            .with::<alarms::Model>()
    }

    /// No projections yet.
    #[must_use]
    pub fn none(log: EventLog, options: Options) -> Self {
        Self {
            log,
            options,
            slots: Slots::default(),
            starts: vec![],
            followed: vec![],
            rebuilds: rebuild::Works::new(),
        }
    }

    /// Adds a projection.
    #[must_use]
    pub fn with<M: ReadModel>(mut self) -> Self {
        let (progress, watched) = watch::channel(Progress::default());
        let runner = Runner::<M>::new(self.log.clone(), self.options.clone(), self.slots.clone(), progress);
        self.starts.push(Box::new(move |shutdown, tasks| {
            tasks.spawn(runner.run(shutdown));
        }));
        self.rebuilds.insert(M::NAME, rebuild::of::<M>());
        self.followed.push(Followed { facts: rebuild::Facts::of::<M>(), lanes: M::LANES, progress: watched });
        self
    }

    /// A handle with which others wait for the projections.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle::new(self.log.clone(), self.followed.clone())
    }

    /// Only works on rebuilds until `shutdown`, for a process that is not the service.
    pub async fn run_rebuilds(self, shutdown: CancellationToken) {
        rebuild::run(self.log, self.options, self.rebuilds, shutdown).await;
    }

    /// Runs until `shutdown`, and then until the batches in progress are done. Database errors are retried.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        let mut tasks = JoinSet::new();
        let stopping = shutdown.child_token();
        for start in self.starts {
            start(stopping.clone(), &mut tasks);
        }
        tasks.spawn(rebuild::run(self.log, self.options, self.rebuilds, stopping.clone()));
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                // The other projections finish their batches: a transaction must not be cut off.
                stopping.cancel();
                while tasks.join_next().await.is_some() {}
                return Err(error.into());
            }
        }
        Ok(())
    }
}
