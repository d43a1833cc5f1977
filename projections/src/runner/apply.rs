//! One turn of a log: batch after batch. Each batch is folded in memory, then written in one transaction with its
//! checkpoint, or not at all. While one batch is written, the next is folded.
//!
//! An event that cannot be folded parks its stream. If the database refuses a batch, its first page is written stream
//! by stream, and the stream at fault event by event, so that no other stream suffers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fleetlog_event_log::read::Slice;
use fleetlog_event_log::sources::Sources;
use fleetlog_event_log::{Error, Event, EventLog, LogId, Position};
use sqlx::{Acquire, Executor, PgConnection, Postgres, Transaction};

use super::Options;
use super::checkpoints::{Checkpoints, Parked, ParkedStreams};
use super::pages::{Folded, Pages};
use crate::read_model::ReadModel;

/// How long a turn may take while other logs wait. After that, no further batch begins.
const TURN: Duration = Duration::from_secs(2);

/// Applies the events of one log.
pub(crate) struct Applier<'r, M> {
    pub(crate) log: &'r EventLog,
    /// The connection that holds the runner's lease: what is written over it is written by the leader.
    pub(crate) leader: &'r mut PgConnection,
    pub(crate) options: &'r Options,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) model: &'r mut M,
    pub(crate) log_id: LogId,
    /// The log's parked streams.
    pub(crate) parked: &'r ParkedStreams,
    /// The slice of the log to apply; `None` for all of it.
    pub(crate) slice: Option<Slice>,
}

/// What has been applied.
#[derive(Debug)]
pub(crate) struct Applied {
    /// The position of the last event.
    pub(crate) to: Position,
    /// How many events were applied.
    pub(crate) events: u64,
    /// The streams that these events parked.
    pub(crate) parked: Vec<Parked>,
}

impl Applied {
    /// Adds the batch that was applied next.
    fn add(&mut self, next: Self) {
        self.to = next.to;
        self.events += next.events;
        self.parked.extend(next.parked);
    }
}

/// Why nothing was applied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unapplied {
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

impl<'r, M: ReadModel> Applier<'r, M> {
    /// Applies events after `after`, up to `head` or as many as a turn has time for.
    pub(crate) async fn apply(mut self, after: Position, head: Position) -> Result<Applied, Unapplied> {
        let (pages, began) = (self.pages(), Instant::now());
        let mut applied = Applied { to: after, events: 0, parked: vec![] };
        let mut next = Some(pages.fold::<M>(after, head, ParkedStreams::default()).await?);
        while let Some(Folded { fold, batch, parked }) = next.take().filter(|next| next.batch.to > applied.to)
        {
            let goes_on = batch.to < head && began.elapsed() < TURN;
            let ahead = async {
                if goes_on { pages.fold::<M>(batch.to, head, parked).await.map(Some) } else { Ok(None) }
            };
            let (written, ahead) = tokio::join!(self.write_or_isolate(applied.to, fold, &batch), ahead);
            match written {
                Ok(None) => applied.add(batch),
                // Only a part was written, and it parked other streams than the next batch was folded without.
                Ok(Some(isolated)) => {
                    applied.add(isolated);
                    break;
                }
                Err(error) if applied.to == after => return Err(error),
                // The next turn meets the error again, if it persists.
                Err(_) => break,
            }
            // An error of the read-ahead is dropped too: the next turn meets it.
            next = ahead.unwrap_or_default();
        }
        Ok(applied)
    }

    /// Writes a batch. If the database refuses it, writes its first page stream by stream and returns what that
    /// applied.
    async fn write_or_isolate(
        &mut self,
        after: Position,
        fold: M::Fold,
        batch: &Applied,
    ) -> Result<Option<Applied>, Unapplied> {
        let written = match self.write(after, fold, batch).await {
            Ok(()) => Ok(None),
            Err(Unapplied::Database(error)) if error.is_bad_data() => {
                let (projection, log) = (M::NAME, self.log_id.0);
                tracing::warn!(projection, log, after, %error, "a batch was refused; writing stream by stream");
                self.forget();
                self.write_by_stream(after).await.map(Some)
            }
            Err(error) => Err(error),
        };
        if written.is_err() {
            self.forget();
        }
        written
    }

    fn pages(&self) -> Pages<'r> {
        Pages {
            log: self.log,
            options: self.options,
            log_id: self.log_id,
            parked: self.parked,
            slice: self.slice,
        }
    }

    /// Forgets what the model remembers: it may have been rolled back.
    fn forget(&mut self) {
        *self.model = M::new(self.checkpoints.version);
    }

    async fn write(&mut self, after: Position, fold: M::Fold, batch: &Applied) -> Result<(), Unapplied> {
        let mut transaction = begin(self.leader, self.checkpoints, self.log_id, after, batch.to).await?;
        self.model.write(&mut transaction, self.log_id, fold).await?;
        self.checkpoints.park(&mut transaction, self.log_id, &batch.parked).await?;
        Ok(transaction.commit().await?)
    }

    async fn write_by_stream(&mut self, after: Position) -> Result<Applied, Unapplied> {
        let events = self.pages().first(after).await?;
        let end = self.slice.map_or(after, |slice| slice.until);
        let to = events.last().map_or(end, |last| last.position);
        let sources = self.log.sources_of_readings(self.log_id, &events).await?;
        let mut streams: BTreeMap<_, Vec<&Event>> = BTreeMap::new();
        for event in events.iter().filter(|event| !self.parked.contains(event)) {
            streams.entry((&event.aggregate_type, &event.aggregate_id)).or_default().push(event);
        }
        let mut transaction = begin(self.leader, self.checkpoints, self.log_id, after, to).await?;
        let mut parked = Vec::new();
        let (version, log_id) = (self.checkpoints.version, self.log_id);
        for stream in streams.values() {
            let written =
                try_write(self.model, (version, log_id), &mut transaction, stream, &sources).await?;
            if written.is_none() {
                continue;
            }
            for event in stream {
                let written =
                    try_write(self.model, (version, log_id), &mut transaction, &[event], &sources).await?;
                if let Some(at_fault) = written {
                    parked.push(at_fault);
                    break;
                }
            }
        }
        self.checkpoints.park(&mut transaction, self.log_id, &parked).await?;
        transaction.commit().await?;
        Ok(Applied { to, events: events.len() as u64, parked })
    }
}

/// Begins a transaction that has moved the checkpoint. The checkpoint comes first, because moving it also locks it: what
/// follows is this runner's alone.
async fn begin(
    leader: &mut PgConnection,
    checkpoints: Checkpoints,
    log_id: LogId,
    after: Position,
    to: Position,
) -> Result<Transaction<'_, Postgres>, Unapplied> {
    let mut transaction = leader.begin().await?;
    // Rows and checkpoint can only be lost together, and are then folded again from the log, so no commit needs to wait
    // for the disk. A lost checkpoint is noticed, because it is not where this runner left it.
    //
    // Read models write with one index look-up for each row. A plan that was made while a table was small, and reads
    // all of it, would be kept while the table grows.
    //
    // Triggers clear the positions of rows that a program changes which does not know of them (migration 0044).
    transaction
        .execute(
            "SET LOCAL synchronous_commit = off; SET LOCAL enable_seqscan = off;
             SET LOCAL fleetlog.names_positions = on",
        )
        .await?;
    if checkpoints.advance(&mut transaction, log_id, after, to).await? {
        return Ok(transaction);
    }
    transaction.rollback().await?;
    Err(Unapplied::Moved)
}

/// Writes some events of one stream. If the database refuses them, writes none and returns the stream to be parked.
async fn try_write<M: ReadModel>(
    model: &mut M,
    (version, log_id): (i32, LogId),
    connection: &mut PgConnection,
    events: &[&Event],
    sources: &Sources,
) -> Result<Option<Parked>, Error> {
    let mut fold = M::Fold::default();
    for event in events {
        if let Err(poison) = M::fold(&mut fold, event, sources) {
            return Ok(Some(Parked::at(event, &poison)));
        }
    }
    let mut savepoint = connection.begin().await?;
    match model.write(&mut savepoint, log_id, fold).await {
        Ok(()) => {
            savepoint.commit().await?;
            Ok(None)
        }
        Err(error) if error.is_bad_data() => {
            savepoint.rollback().await?;
            // It remembers what has just been rolled back.
            *model = M::new(version);
            Ok(events.first().map(|event| Parked::at(event, &error)))
        }
        Err(error) => Err(error),
    }
}
