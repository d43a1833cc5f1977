//! Brings readings that were removed back into the database, byte for byte.

use std::sync::Arc;

use fleetlog_event_log::archived::Archived;
use fleetlog_event_log::control::Metadata;
use fleetlog_event_log::{Event, EventLog};
use fleetlog_proof::note::VerifierKey;
use parking_lot::Mutex;
use tokio::task::spawn_blocking;

use crate::check::{self, Verified};
use crate::file::{self, Fingerprint, Reader};
use crate::place::{Local, Place};

/// How many days readings that were restored stay in the database, unless the operator says otherwise.
pub const KEEP_DAYS: i32 = 30;

/// Why a range was not restored. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is not what it was, or cannot be read.
    #[error(transparent)]
    File(#[from] file::Error),
    /// The database failed, or refused.
    #[error(transparent)]
    Log(#[from] fleetlog_event_log::Error),
    /// A task panicked.
    #[error("a part of the restoration ended by itself: {0}")]
    Panicked(#[from] tokio::task::JoinError),
}

/// Verifies the copy of a range, and stores its readings again, in one transaction. Until `keep_days` have passed they are
/// not removed. Returns what the copy was compared with: what these keys have signed.
pub async fn restore(
    log: &EventLog,
    keys: &[VerifierKey],
    place: Option<Place>,
    range: Archived,
    keep_days: i32,
    metadata: Metadata,
) -> Result<Verified, Error> {
    let (verified, local, fingerprint) = check::fingerprinted(log, keys, place.as_ref(), &range).await?;
    let of = (range.first, range.last);
    let opened =
        spawn_blocking(move || Ok::<_, file::Error>((Reader::open(local.path(), of, of.0 - 1)?, local)));
    let (reader, local) = opened.await??;
    let again = Again { reader, read: Fingerprint::new(), verified: fingerprint, _local: local };
    let again = Arc::new(Mutex::new(again));
    let next = move || -> futures::future::BoxFuture<'static, _> {
        let again = Arc::clone(&again);
        Box::pin(async move {
            let read = spawn_blocking(move || again.lock().batch()).await;
            read.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
        })
    };
    log.restore(range, keep_days, next, metadata).await?;
    Ok(verified)
}

/// A file that was verified and is read once more.
struct Again {
    reader: Reader,
    read: Fingerprint,
    /// The fingerprint of the events that were verified.
    verified: Vec<u8>,
    _local: Local,
}

impl Again {
    fn batch(&mut self) -> Result<Vec<Event>, file::Error> {
        let events = self.reader.batch()?;
        for event in &events {
            self.read.add(event)?;
        }
        if events.is_empty()
            && std::mem::replace(&mut self.read, Fingerprint::new()).finish() != self.verified
        {
            return Err(file::Error::Content("it was changed while it was restored".into()));
        }
        Ok(events)
    }
}
