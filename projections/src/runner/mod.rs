//! Keeps the read models up to date: one task a projection, and one runner a projection over all nodes.
//!
//! - [`leadership`]: who runs a projection
//! - [`follow`]: page after page of each log, for as long as there are any
//! - [`apply`]: one page, in one transaction with its checkpoint
//! - [`checkpoints`]: what the runner keeps in the database
//! - [`handle`]: waiting for a projection to get somewhere

mod apply;
mod checkpoints;
mod follow;
mod handle;
mod leadership;

use fleetlog_event_log::EventLog;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::read_model::ReadModel;
use crate::{devices, telemetry_windows};
use follow::Runner;
use handle::{Followed, Progress};
pub use handle::{Handle, WaitError};

/// How much is done at once.
#[derive(Debug, Clone)]
pub struct Options {
    /// Events a page.
    pub page: i64,
    /// Events a page while a log is further behind than that.
    pub page_behind: i64,
    /// Bytes of payload a page. It bounds the memory of a projection, which at worst (every reading another metric)
    /// takes some thirty times as much.
    pub page_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { page: 5_000, page_behind: 20_000, page_bytes: 8 << 20 }
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
    starts: Vec<Start>,
    followed: Vec<Followed>,
}

impl Projections {
    /// Those that fleetlog comes with.
    #[must_use]
    pub fn new(log: EventLog, options: Options) -> Self {
        Self::none(log, options).with::<devices::Model>().with::<telemetry_windows::Model>()
    }

    /// None yet.
    #[must_use]
    pub fn none(log: EventLog, options: Options) -> Self {
        Self { log, options, starts: vec![], followed: vec![] }
    }

    /// One more.
    #[must_use]
    pub fn with<M: ReadModel>(mut self) -> Self {
        let (progress, watched) = watch::channel(Progress::default());
        let runner = Runner::<M>::new(self.log.clone(), self.options.clone(), progress);
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

    /// Runs until `shutdown`, and then to the end of the pages at hand. Database errors are waited out.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        let mut tasks = JoinSet::new();
        for start in self.starts {
            start(shutdown.clone(), &mut tasks);
        }
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                // The others finish what they are at; a transaction is not to be cut off.
                shutdown.cancel();
                while tasks.join_next().await.is_some() {}
                return Err(error.into());
            }
        }
        Ok(())
    }
}
