//! Waits for projections to reach a position: for clients that read their own writes, and for tests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fleetlog_event_log::{EventLog, Lane, LogId, Position, Result};
use tokio::sync::watch;

use crate::rebuild::Facts;

/// How often the table is read while another node runs the projection.
const ASK_EVERY: Duration = Duration::from_millis(25);

/// How far a projection has got, as far as this node knows.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress {
    /// Whether this node runs the projection.
    pub(super) leading: bool,
    pub(super) positions: BTreeMap<LogId, Position>,
}

impl Progress {
    /// Whether this node runs the projection, and the last position of a log that it knows to be applied.
    fn at(&self, log_id: LogId) -> (bool, Position) {
        (self.leading, self.positions.get(&log_id).copied().unwrap_or(0))
    }
}

#[derive(Clone)]
pub(super) struct Followed {
    pub(super) facts: Facts,
    pub(super) lanes: &'static [Lane],
    pub(super) progress: watch::Receiver<Progress>,
}

/// A handle on the projections. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    log: EventLog,
    followed: Arc<[Followed]>,
}

/// Why a wait failed.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// There is no such projection.
    #[error("there is no projection of that name")]
    UnknownProjection,
    /// The projection did not get there in time.
    #[error("the projection has not got there in time")]
    TimedOut,
    /// The database failed.
    #[error(transparent)]
    Database(#[from] fleetlog_event_log::Error),
}

impl Handle {
    pub(super) fn new(log: EventLog, followed: Vec<Followed>) -> Self {
        Self { log, followed: followed.into() }
    }

    /// What must be known of a projection to rebuild it. `None`: there is no projection of that name.
    #[must_use]
    pub fn facts(&self, projection: &str) -> Option<Facts> {
        self.followed.iter().map(|followed| followed.facts).find(|facts| facts.name == projection)
    }

    pub(crate) fn log(&self) -> &EventLog {
        &self.log
    }

    /// The names of the projections.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.followed.iter().map(|followed| followed.facts.name)
    }

    /// Waits until a projection has applied a log up to `position`, on whichever node it runs. Returns at once if the
    /// projection does not read that log.
    pub async fn wait_for(
        &self,
        projection: &str,
        log_id: LogId,
        position: Position,
        timeout: Duration,
    ) -> Result<(), WaitError> {
        let mut followed = self.followed.iter().filter(|followed| followed.facts.name == projection);
        let followed = followed.next().ok_or(WaitError::UnknownProjection)?;
        let wait = self.wait(followed, log_id, position);
        tokio::time::timeout(timeout, wait).await.unwrap_or(Err(WaitError::TimedOut))
    }

    /// Waits until every projection has applied all events that are in the logs by now.
    pub async fn catch_up(&self, timeout: Duration) -> Result<(), WaitError> {
        let catch_up = async {
            self.log.heads().refresh(self.log.pool()).await?;
            let logs = self.log.heads().logs();
            for (followed, log) in
                self.followed.iter().flat_map(|followed| logs.iter().map(move |log| (followed, log)))
            {
                self.wait(followed, log.log_id, log.head).await?;
            }
            Ok(())
        };
        tokio::time::timeout(timeout, catch_up).await.unwrap_or(Err(WaitError::TimedOut))
    }

    async fn wait(&self, followed: &Followed, log_id: LogId, position: Position) -> Result<(), WaitError> {
        let lane = self.log.heads().log(log_id).map(|log| log.lane);
        if lane.is_some_and(|lane| !followed.lanes.contains(&lane)) {
            return Ok(());
        }
        let mut progress = followed.progress.clone();
        loop {
            let (leading, reached) = progress.borrow_and_update().at(log_id);
            if reached >= position {
                return Ok(());
            }
            if leading && progress.changed().await.is_ok() {
                continue;
            }
            // Another node runs the projection, or none does: the table knows its checkpoint.
            if self.checkpoint(followed, log_id).await? >= position {
                return Ok(());
            }
            tokio::select! {
                Ok(()) = progress.changed() => {}
                () = tokio::time::sleep(ASK_EVERY) => {}
            }
        }
    }

    async fn checkpoint(&self, followed: &Followed, log_id: LogId) -> Result<Position> {
        let position = sqlx::query_scalar(
            "SELECT position FROM projection_checkpoints JOIN projections USING (projection, version)
             WHERE projection = $1 AND live AND log_id = $2",
        )
        .bind(followed.facts.name)
        .bind(log_id)
        .fetch_optional(self.log.pool())
        .await?;
        Ok(position.unwrap_or(0))
    }
}
