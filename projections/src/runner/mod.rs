//! Keeps the read models up to date: one task a projection, and one runner a projection over all nodes.
//!
//! - `follow`: batch after batch of each log, for as long as there are any
//! - `pace`: how often, and how many at once
//! - `apply`: some batches, each in one transaction with its checkpoint
//! - `pages`: from the log into a fold
//! - `checkpoints`: what the runner keeps in the database
//! - `handle`: waiting for a projection to get somewhere

mod apply;
mod checkpoints;
mod follow;
mod handle;
mod pace;
mod pages;

use fleetlog_event_log::EventLog;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::read_model::ReadModel;
use crate::{commands, devices, telemetry_windows};
use follow::Runner;
use handle::{Followed, Progress};
pub use handle::{Handle, WaitError};
use pace::Turns;

/// How much is done at once.
#[derive(Debug, Clone)]
pub struct Options {
    /// Events that are read at once.
    pub page: i64,
    /// Bytes of payload that are read at once. At worst (every leaf a metric of its own) their fold takes some thirty
    /// times as much.
    pub page_bytes: usize,
    /// Events that are written at once, while a log is behind by so many. The more there are, the fewer writes each
    /// row takes, and the longer other logs wait for their turn. While one batch is written, the next is folded.
    pub batch: i64,
    /// Bytes that a fold takes before it is written, whatever the number of its events. While one is written there is
    /// another, and the columns that it is written as.
    pub fold_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { page: 5_000, page_bytes: 4 << 20, batch: 100_000, fold_bytes: 16 << 20 }
    }
}

/// A projection ended by itself, which none does.
#[derive(Debug, thiserror::Error)]
#[error("keep the projections running: {0}")]
pub struct Error(#[from] tokio::task::JoinError);

type Start = Box<dyn FnOnce(CancellationToken, &mut JoinSet<()>) + Send>;

/// All projections, ready to run.
pub struct Projections {
    log: EventLog,
    options: Options,
    turns: Turns,
    starts: Vec<Start>,
    followed: Vec<Followed>,
}

impl Projections {
    /// Those that fleetlog comes with.
    #[must_use]
    pub fn new(log: EventLog, options: Options) -> Self {
        Self::none(log, options)
            .with::<devices::Model>()
            .with::<commands::Model>()
            .with::<telemetry_windows::Model>()
    }

    /// None yet.
    #[must_use]
    pub fn none(log: EventLog, options: Options) -> Self {
        Self { log, options, turns: Turns::default(), starts: vec![], followed: vec![] }
    }

    /// One more.
    #[must_use]
    pub fn with<M: ReadModel>(mut self) -> Self {
        let (progress, watched) = watch::channel(Progress::default());
        let runner = Runner::<M>::new(self.log.clone(), self.options.clone(), self.turns.clone(), progress);
        self.starts.push(Box::new(move |shutdown, tasks| {
            tasks.spawn(runner.run(shutdown));
        }));
        self.followed.push(Followed {
            name: M::NAME,
            version: M::VERSION,
            lanes: M::LANES,
            progress: watched,
        });
        self
    }

    /// What others need of the projections.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle::new(self.log.clone(), self.followed.clone())
    }

    /// Runs until `shutdown`, and then to the end of the batches at hand. Database errors are waited out.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        let mut tasks = JoinSet::new();
        let stopping = shutdown.child_token();
        for start in self.starts {
            start(stopping.clone(), &mut tasks);
        }
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                // The others finish what they are at; a transaction is not to be cut off.
                stopping.cancel();
                while tasks.join_next().await.is_some() {}
                return Err(error.into());
            }
        }
        Ok(())
    }
}
