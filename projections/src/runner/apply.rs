//! One batch: some pages of a log folded in memory, then written in one transaction with their checkpoint, or not at
//! all.
//!
//! An event that cannot be folded parks its stream. Where the database refuses a batch, its first page is written
//! stream by stream, and the stream at fault event by event, so that nothing else suffers.

use std::collections::BTreeMap;

use fleetlog_event_log::{Error, Event, EventLog, LogId, Position};
use sqlx::{Acquire, Executor, PgConnection, PgTransaction};

use super::Options;
use super::checkpoints::{Checkpoints, Parked, ParkedStreams};
use crate::read_model::ReadModel;

/// How many events are read before it is known how large they are.
const FIRST_PAGE: i64 = 500;
/// How many events are folded before other tasks get their turn: about a millisecond's worth.
const FOLDED_AT_ONCE: usize = 512;

/// What it takes to apply the events of one log.
pub(super) struct Applier<'r, M> {
    pub(super) log: &'r EventLog,
    pub(super) options: &'r Options,
    pub(super) checkpoints: Checkpoints,
    pub(super) model: &'r mut M,
    pub(super) log_id: LogId,
    /// The streams of the log that are left aside.
    pub(super) parked: &'r ParkedStreams,
}

/// What has been applied.
#[derive(Debug)]
pub(super) struct Applied {
    /// The last event's position.
    pub(super) to: Position,
    /// How many events.
    pub(super) events: u64,
    /// The streams that had to be parked for it.
    pub(super) parked: Vec<Parked>,
}

/// Why nothing has been applied.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unapplied {
    /// The checkpoint is not where this runner left it.
    #[error("another runner has moved the checkpoint")]
    Moved,
    /// The database failed.
    #[error(transparent)]
    Database(#[from] Error),
}

impl From<sqlx::Error> for Unapplied {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

impl<M: ReadModel> Applier<'_, M> {
    /// Applies events after `after`, up to `head` or as many as a batch holds.
    pub(super) async fn apply(mut self, after: Position, head: Position) -> Result<Applied, Unapplied> {
        let (fold, batch) = self.fold(after, head).await?;
        if batch.to == after {
            return Ok(batch);
        }
        let written = match self.write(after, fold, &batch).await {
            Ok(()) => Ok(batch),
            Err(Unapplied::Database(error)) if error.is_bad_data() => {
                let (projection, log) = (M::NAME, self.log_id.0);
                tracing::warn!(projection, log, after, %error, "a batch was refused; writing stream by stream");
                self.forget();
                self.write_by_stream(after).await
            }
            Err(error) => Err(error),
        };
        if written.is_err() {
            self.forget();
        }
        written
    }

    /// What the model remembers may have been rolled back.
    fn forget(&mut self) {
        *self.model = M::new(self.checkpoints.version);
    }

    async fn page(&self, after: Position, limit: i64) -> Result<Vec<Event>, Error> {
        self.log.page(self.log_id, after, limit, self.options.page_bytes).await
    }

    /// How many events of that size a page holds. Those that are read beyond its bytes are sent in vain.
    fn limit(&self, events: &[Event]) -> i64 {
        let bytes: usize = events.iter().map(|event| event.payload.0.len()).sum();
        let fitting = self.options.page_bytes * events.len() / bytes.max(1);
        (fitting as i64).clamp(1, self.options.page.max(1))
    }

    async fn fold(&self, after: Position, head: Position) -> Result<(M::Fold, Applied), Error> {
        let (mut fold, mut parked_here) = (M::Fold::default(), ParkedStreams::default());
        let mut batch = Applied { to: after, events: 0, parked: vec![] };
        let full = self.options.batch.max(1) as u64;
        let mut limit = self.options.page.min(FIRST_PAGE);
        while batch.to < head && batch.events < full && M::size(&fold) < self.options.fold_bytes {
            let events = self.page(batch.to, limit).await?;
            limit = self.limit(&events);
            // Only a retired partition leaves a grown log with nothing to read.
            let Some(last) = events.last() else { break };
            (batch.to, batch.events) = (last.position, batch.events + events.len() as u64);
            for (nth, event) in events.iter().enumerate() {
                if nth % FOLDED_AT_ONCE == 0 {
                    tokio::task::yield_now().await;
                }
                if self.parked.contains(event) || parked_here.contains(event) {
                    continue;
                }
                if let Err(poison) = M::fold(&mut fold, event) {
                    batch.parked.push(Parked::at(event, &poison));
                    parked_here.insert(event.aggregate_type.to_string(), event.aggregate_id.clone());
                }
            }
        }
        Ok((fold, batch))
    }

    async fn write(&mut self, after: Position, fold: M::Fold, batch: &Applied) -> Result<(), Unapplied> {
        let mut transaction = self.begin(after, batch.to).await?;
        self.model.write(&mut transaction, self.log_id, fold).await?;
        self.checkpoints.park(&mut transaction, self.log_id, &batch.parked).await?;
        Ok(transaction.commit().await?)
    }

    /// A transaction that has moved the checkpoint. That comes first, because it also locks: what follows is this
    /// runner's alone.
    async fn begin(&self, after: Position, to: Position) -> Result<PgTransaction<'static>, Unapplied> {
        let mut transaction = self.log.pool().begin().await?;
        // Rows and checkpoint are lost together, if at all, and folded again from the log: nobody needs to wait for the
        // disk. A checkpoint that was lost is noticed, because it is not where this runner left it.
        transaction.execute("SET LOCAL synchronous_commit = off").await?;
        if self.checkpoints.advance(&mut transaction, self.log_id, after, to).await? {
            return Ok(transaction);
        }
        transaction.rollback().await?;
        Err(Unapplied::Moved)
    }

    async fn write_by_stream(&mut self, after: Position) -> Result<Applied, Unapplied> {
        let events = self.page(after, self.options.page.min(FIRST_PAGE)).await?;
        let to = events.last().map_or(after, |last| last.position);
        let mut streams: BTreeMap<_, Vec<&Event>> = BTreeMap::new();
        for event in events.iter().filter(|event| !self.parked.contains(event)) {
            streams.entry((&event.aggregate_type, &event.aggregate_id)).or_default().push(event);
        }
        let mut transaction = self.begin(after, to).await?;
        let mut parked = Vec::new();
        for stream in streams.values() {
            if self.try_write(&mut transaction, stream).await?.is_none() {
                continue;
            }
            for event in stream {
                if let Some(at_fault) = self.try_write(&mut transaction, &[event]).await? {
                    parked.push(at_fault);
                    break;
                }
            }
        }
        self.checkpoints.park(&mut transaction, self.log_id, &parked).await?;
        transaction.commit().await?;
        Ok(Applied { to, events: events.len() as u64, parked })
    }

    /// Writes some events of one stream, or none of them: then the stream as it is to be parked.
    async fn try_write(
        &mut self,
        connection: &mut PgConnection,
        events: &[&Event],
    ) -> Result<Option<Parked>, Error> {
        let mut fold = M::Fold::default();
        for event in events {
            if let Err(poison) = M::fold(&mut fold, event) {
                return Ok(Some(Parked::at(event, &poison)));
            }
        }
        let mut savepoint = connection.begin().await?;
        match self.model.write(&mut savepoint, self.log_id, fold).await {
            Ok(()) => {
                savepoint.commit().await?;
                Ok(None)
            }
            Err(error) if error.is_bad_data() => {
                savepoint.rollback().await?;
                self.forget();
                Ok(events.first().map(|event| Parked::at(event, &error)))
            }
            Err(error) => Err(error),
        }
    }
}
