//! Brings readings that were removed back into the database, byte for byte.

use std::sync::Arc;

use fleetlog_event_log::EventLog;
use fleetlog_event_log::archived::Archived;
use fleetlog_event_log::control::Metadata;
use parking_lot::Mutex;
use tokio::task::spawn_blocking;

use crate::check::unchanged;
use crate::file::Reader;
use crate::place::Place;

/// How many days readings that were restored stay in the database, unless the operator says otherwise.
pub const KEEP_DAYS: i32 = 30;

/// Why a range was not restored. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is not what it was, or cannot be read.
    #[error(transparent)]
    File(#[from] crate::file::Error),
    /// The database failed, or refused.
    #[error(transparent)]
    Log(#[from] fleetlog_event_log::Error),
    /// A task panicked.
    #[error("a part of the restoration ended by itself: {0}")]
    Panicked(#[from] tokio::task::JoinError),
}

/// Verifies the copy of a range, and stores its readings again, in one transaction. Until `keep_days` have passed they are
/// not removed.
pub async fn restore(
    log: &EventLog,
    place: Option<Place>,
    range: Archived,
    keep_days: i32,
    metadata: Metadata,
) -> Result<(), Error> {
    let of = range.clone();
    let reader = spawn_blocking(move || {
        let path = unchanged(place.as_ref(), &of)?;
        Reader::open(&path, (of.first, of.last), of.first - 1)
    });
    let reader = Arc::new(Mutex::new(reader.await??));
    let next = move || -> futures::future::BoxFuture<'static, _> {
        let reader = Arc::clone(&reader);
        Box::pin(async move {
            let read = spawn_blocking(move || reader.lock().batch()).await;
            read.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
        })
    };
    Ok(log.restore(range, keep_days, next, metadata).await?)
}
