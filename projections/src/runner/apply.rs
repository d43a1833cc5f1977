//! One page: fold it in memory, then write it in one transaction with its checkpoint, or not at all.
//!
//! An event that cannot be folded parks its stream. A page that the database refuses is written once more stream by
//! stream, and the one at fault event by event, so that nothing else suffers.

use std::collections::BTreeMap;

use fleetlog_event_log::{Error, Event, LogId, Position};
use sqlx::{Acquire, PgConnection, PgPool};

use super::checkpoints::{Checkpoints, Parked, ParkedStreams};
use crate::read_model::ReadModel;

/// How many events are folded before other tasks get their turn: about a millisecond's worth.
const FOLDED_AT_ONCE: usize = 512;

/// Some events of a log, in order.
pub(super) struct Page {
    pub(super) log_id: LogId,
    /// The position before the first.
    pub(super) after: Position,
    /// The position of the last.
    pub(super) to: Position,
    pub(super) events: Vec<Event>,
}

/// Why a page was not applied. Nothing of it was.
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

/// Applies a page, and returns the streams that had to be parked for it.
pub(super) async fn apply<M: ReadModel>(
    model: &mut M,
    checkpoints: Checkpoints,
    pool: &PgPool,
    page: &Page,
    parked_before: &ParkedStreams,
) -> Result<Vec<Parked>, Unapplied> {
    let (fold, parked) = fold::<M>(&page.events, parked_before).await;
    match write(model, checkpoints, pool, page, fold, &parked).await {
        Ok(()) => return Ok(parked),
        Err(Unapplied::Database(error)) if error.is_bad_data() => {
            let projection = checkpoints.projection;
            tracing::warn!(projection, log = page.log_id.0, %error, "a page was refused; writing it stream by stream");
        }
        Err(error) => {
            *model = M::new(checkpoints.version);
            return Err(error);
        }
    }
    *model = M::new(checkpoints.version);
    let applied = write_by_stream(model, checkpoints, pool, page, parked_before).await;
    if applied.is_err() {
        *model = M::new(checkpoints.version);
    }
    applied
}

async fn fold<M: ReadModel>(events: &[Event], parked_before: &ParkedStreams) -> (M::Fold, Vec<Parked>) {
    let (mut fold, mut parked, mut parked_here) = (M::Fold::default(), Vec::new(), ParkedStreams::default());
    for events in events.chunks(FOLDED_AT_ONCE) {
        for event in events {
            if parked_before.contains(event) || parked_here.contains(event) {
                continue;
            }
            if let Err(poison) = M::fold(&mut fold, event) {
                let stream = Parked::at(event, &poison);
                parked_here.insert(stream.aggregate_type.clone(), stream.aggregate_id.clone());
                parked.push(stream);
            }
        }
        tokio::task::yield_now().await;
    }
    (fold, parked)
}

async fn write<M: ReadModel>(
    model: &mut M,
    checkpoints: Checkpoints,
    pool: &PgPool,
    page: &Page,
    fold: M::Fold,
    parked: &[Parked],
) -> Result<(), Unapplied> {
    let mut transaction = pool.begin().await?;
    // First, because it also locks: what follows is this runner's alone.
    if !checkpoints.advance(&mut transaction, page.log_id, page.after, page.to).await? {
        transaction.rollback().await?;
        return Err(Unapplied::Moved);
    }
    model.write(&mut transaction, page.log_id, fold).await?;
    checkpoints.park(&mut transaction, page.log_id, parked).await?;
    Ok(transaction.commit().await?)
}

async fn write_by_stream<M: ReadModel>(
    model: &mut M,
    checkpoints: Checkpoints,
    pool: &PgPool,
    page: &Page,
    parked_before: &ParkedStreams,
) -> Result<Vec<Parked>, Unapplied> {
    let mut streams: BTreeMap<_, Vec<&Event>> = BTreeMap::new();
    for event in page.events.iter().filter(|event| !parked_before.contains(event)) {
        streams.entry((&event.aggregate_type, &event.aggregate_id)).or_default().push(event);
    }
    let mut transaction = pool.begin().await?;
    if !checkpoints.advance(&mut transaction, page.log_id, page.after, page.to).await? {
        transaction.rollback().await?;
        return Err(Unapplied::Moved);
    }
    let mut parked = Vec::new();
    for events in streams.values() {
        if try_write(model, checkpoints, &mut transaction, page.log_id, events).await?.is_none() {
            continue;
        }
        for event in events {
            if let Some(stream) =
                try_write(model, checkpoints, &mut transaction, page.log_id, &[event]).await?
            {
                parked.push(stream);
                break;
            }
        }
    }
    checkpoints.park(&mut transaction, page.log_id, &parked).await?;
    transaction.commit().await?;
    Ok(parked)
}

/// Writes some events of one stream, or none of them: then the stream as it is to be parked.
async fn try_write<M: ReadModel>(
    model: &mut M,
    checkpoints: Checkpoints,
    connection: &mut PgConnection,
    log_id: LogId,
    events: &[&Event],
) -> Result<Option<Parked>, Error> {
    let mut fold = M::Fold::default();
    for event in events {
        if let Err(poison) = M::fold(&mut fold, event) {
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
            *model = M::new(checkpoints.version);
            Ok(events.first().map(|event| Parked::at(event, &error)))
        }
        Err(error) => Err(error),
    }
}
