//! Writes the weeks that are over to files, verifies them, and removes them from the database. One node does so for all.
//!
//! Each step may be the last before a crash. Until the removal, which is one transaction, nothing has happened but that a
//! file was written, and the next try writes it again. Each file has the proof of its events, and is read back and compared with
//! it before anything is removed. Memory holds one row group of one file. Ingest has precedence: while
//! events come in, the archiver rests for as long as it has worked.

use std::path::Path;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use fleetlog_event_log::archived::{InWeek, Removal};
use fleetlog_event_log::control::{Actor, Metadata};
use fleetlog_event_log::leadership::Leadership;
use fleetlog_event_log::{Event, EventLog, LogId, Position, crash};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle, spawn_blocking};
use tokio_util::sync::CancellationToken;

use fleetlog_proof::note::VerifierKey;
use fleetlog_proof::range::{self, RangeProof};
use parking_lot::Mutex;
use tempfile::TempDir;

use crate::bucket::Object;
use crate::file::{self, Part, Written};
use crate::place::{self, Place};
use crate::{check, instruments};

/// How often a node looks whether a week is over.
pub const LOOK_EVERY: Duration = Duration::from_mins(10);
/// How often the lease is renewed while a week is being written.
const RENEW_EVERY: Duration = Duration::from_secs(1);
/// How many readings, and how many bytes of payload, are read at once.
const PAGE: (i64, usize) = (10_000, 4 << 20);
/// How long the archiver rests at most after a page while events come in.
const LONGEST_REST: Duration = Duration::from_secs(2);
/// How often a removal is tried while other statements use the readings, and how long after another.
const TRIES: (u32, Duration) = (20, Duration::from_secs(1));

/// Why a week was not removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database failed, or refused.
    #[error(transparent)]
    Log(#[from] fleetlog_event_log::Error),
    /// The proof cannot be read.
    #[error(transparent)]
    Proof(#[from] fleetlog_proof::Error),
    /// A file could not be written or verified.
    #[error("write the readings of log {log_id} to a file: {why}")]
    File {
        /// The log.
        log_id: LogId,
        /// What is wrong.
        why: file::Error,
    },
    /// A task panicked.
    #[error("a part of the archiver ended by itself: {0}")]
    Panicked(#[from] JoinError),
    /// It was told to stop.
    #[error("the archiver was told to stop")]
    Stopped,
}

/// Removes what is over age.
pub struct Archiver {
    log: EventLog,
    place: Place,
    /// The installation's key, if this node has it.
    key: Option<VerifierKey>,
    /// Which week stays, and why, as it was told last.
    told: Mutex<Option<(DateTime<Utc>, String)>>,
}

impl Archiver {
    /// An archiver that writes its files to a place.
    #[must_use]
    pub fn new(log: EventLog, place: Place) -> Self {
        Self { log, place, key: None, told: Mutex::default() }
    }

    /// Trusts no checkpoint but those that this key has signed. Without it, those of the keys in the database are.
    #[must_use]
    pub fn trusting(self, key: Option<VerifierKey>) -> Self {
        Self { key, ..self }
    }

    /// Looks for weeks that are over, until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            match self.log.lead("fleetlog archive").await {
                Ok(Some(leadership)) => self.lead(leadership, &shutdown).await,
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "failed to look for weeks that are over age; trying again later");
                }
            }
            shutdown.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await;
        }
    }

    /// Removes all weeks that are over while the lease is held.
    async fn lead(&self, mut leadership: Leadership, shutdown: &CancellationToken) {
        let stop = shutdown.child_token();
        let mut removing = std::pin::pin!(self.remove_due(&stop));
        let removed = loop {
            tokio::select! {
                removed = &mut removing => break removed,
                () = tokio::time::sleep(RENEW_EVERY) => {}
            }
            if !leadership.renew().await {
                // Another node may have begun already, which does no harm.
                stop.cancel();
            }
        };
        match removed {
            Err(Error::Stopped) | Ok(_) => {}
            Err(error) => {
                instruments::FAILURES.with([]).increment(1);
                tracing::warn!(%error, "failed to remove a week that is over age; trying again later");
            }
        }
        leadership.release().await;
    }

    /// Removes all weeks that are over, and returns when each began.
    pub async fn remove_due(&self, stop: &CancellationToken) -> Result<Vec<DateTime<Utc>>, Error> {
        let copied = self.place.keeps_copies();
        let (keys, mut removed) = (self.keys().await?, vec![]);
        for week in self.log.removable_weeks(copied).await? {
            let mut removals = vec![];
            for of_log in self.log.in_week(week).await? {
                removals.extend(self.copy(week, of_log, &keys, stop).await?);
            }
            let (readings, logs) =
                (removals.iter().map(|of| of.last - of.first + 1).sum::<i64>(), removals.len());
            crash::point("archive.verified");
            self.remove(week, removals, stop).await?;
            crash::point("archive.removed");
            instruments::REMOVED.with([]).increment(readings as u64);
            tracing::info!(%week, readings, logs, "removed a week of readings that are over age");
            removed.push(week);
        }
        self.tell(self.log.kept_week(copied).await?);
        Ok(removed)
    }

    /// Says, once for each, which is the oldest week that stays, and why.
    fn tell(&self, kept: Option<(DateTime<Utc>, String)>) {
        let mut told = self.told.lock();
        if *told != kept
            && let Some((week, reason)) = &kept
        {
            tracing::info!(%week, reason, "the oldest week of readings stays for now");
        }
        *told = kept;
    }

    async fn keys(&self) -> Result<Vec<VerifierKey>, Error> {
        Ok(match &self.key {
            Some(key) => vec![key.clone()],
            None => fleetlog_proof::read::keys(&self.log).await?,
        })
    }

    /// Waits for a moment in which no other statement uses the readings.
    async fn remove(
        &self,
        week: DateTime<Utc>,
        removals: Vec<Removal>,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        let mut tries = 1;
        loop {
            let removed = self.log.remove(week, removals.clone(), Metadata::by(Actor::Fleetlog)).await;
            match removed {
                Err(error) if error.is_lock_timeout() && tries < TRIES.0 => tries += 1,
                ended => return Ok(ended?),
            }
            if stop.run_until_cancelled(tokio::time::sleep(TRIES.1)).await.is_none() {
                return Err(Error::Stopped);
            }
        }
    }

    /// Writes what a log has in a week, and verifies it: a file for each unbroken range of positions.
    async fn copy(
        &self,
        week: DateTime<Utc>,
        InWeek { log_id, first, .. }: InWeek,
        keys: &[VerifierKey],
        stop: &CancellationToken,
    ) -> Result<Vec<Removal>, Error> {
        let (log, place) = (&self.log, &self.place);
        let mut ranges = Ranges { log, place, keys, log_id, week, done: vec![], open: None };
        let mut after = first - 1;
        loop {
            if stop.is_cancelled() {
                return Err(Error::Stopped);
            }
            let (began, heads) = (Instant::now(), self.log.heads().total());
            let page = self.log.week_page(week, log_id, after, PAGE.0, PAGE.1).await?;
            let Some(last) = page.last() else { break };
            after = last.position;
            ranges.add(page).await?;
            if self.log.heads().total() > heads {
                let rest = began.elapsed().min(LONGEST_REST);
                stop.run_until_cancelled(tokio::time::sleep(rest)).await;
            }
        }
        ranges.finish().await
    }
}

/// The unbroken ranges of a log in a week, as they are found.
struct Ranges<'a> {
    log: &'a EventLog,
    place: &'a Place,
    keys: &'a [VerifierKey],
    log_id: LogId,
    week: DateTime<Utc>,
    done: Vec<Removal>,
    open: Option<Open>,
}

/// A range that is being read, and written if copies are kept.
struct Open {
    first: Position,
    last: Position,
    writing: Option<Writing>,
}

impl Ranges<'_> {
    async fn add(&mut self, page: Vec<Event>) -> Result<(), Error> {
        let mut rest = page;
        while let Some(first) = rest.first().map(|event| event.position) {
            let unbroken = rest.iter().zip(first..).take_while(|(event, at)| event.position == *at).count();
            let behind = rest.split_off(unbroken);
            if self.open.as_ref().is_some_and(|open| open.last + 1 != first) {
                self.close().await?;
            }
            let open = match &mut self.open {
                Some(open) => open,
                none => {
                    let writing = Writing::begin(self.place, (self.log_id, self.week, first));
                    let writing = writing.map_err(|why| Error::File { log_id: self.log_id, why })?;
                    none.insert(Open { first, last: first - 1, writing })
                }
            };
            open.last += rest.len() as Position;
            if let Some(writing) = &mut open.writing {
                writing.add(rest).await;
            }
            rest = behind;
        }
        Ok(())
    }

    async fn close(&mut self) -> Result<(), Error> {
        let Some(Open { first, last, writing }) = self.open.take() else { return Ok(()) };
        let Self { log_id, log, keys, .. } = *self;
        let mut removal = Removal { log_id, first, last, copy: None, proved_size: None };
        if let Some(mut writing) = writing {
            let failed = |why| Error::File { log_id, why };
            let scratch = writing.scratch.take();
            let proof = range::prove(log, log_id, (first, last)).await?;
            let written = writing.finish(proof).await?.map_err(failed)?;
            removal.proved_size = written.proved_size.map(|size| size as i64);
            let mut copy = check::just_written(written, log_id, log, keys).await.map_err(failed)?;
            if let Some((_scratch, object)) = scratch {
                object.put(Path::new(&copy.location), &copy).await.map_err(failed)?;
                copy.location = object.to_string();
            }
            instruments::BYTES.with([]).increment(copy.bytes as u64);
            removal.copy = Some(copy);
        }
        self.done.push(removal);
        Ok(())
    }

    async fn finish(mut self) -> Result<Vec<Removal>, Error> {
        self.close().await?;
        Ok(self.done)
    }
}

/// A file that is being written by a thread of its own.
struct Writing {
    /// Without an end, the file is given up.
    parts: mpsc::Sender<Part>,
    written: JoinHandle<Result<Written, file::Error>>,
    /// Of a bucket: where the file lies until it is sent, and the object that it becomes.
    scratch: Option<(TempDir, Object)>,
}

impl Writing {
    /// `None` if no copies are kept.
    fn begin(place: &Place, of: (LogId, DateTime<Utc>, Position)) -> Result<Option<Self>, file::Error> {
        let (directory, scratch) = match place {
            Place::Nowhere => return Ok(None),
            Place::Directory(directory) => (directory.clone(), None),
            Place::Bucket(bucket) => {
                let scratch = TempDir::new()?;
                let object = Object::named(bucket, &place::name(of.0, of.1, of.2));
                (scratch.path().to_owned(), Some((scratch, object)))
            }
        };
        let (parts, mut received) = mpsc::channel(1);
        let written = spawn_blocking(move || {
            let stopped = || file::Error::Content("the archiver was told to stop".into());
            file::write(&directory, of, || received.blocking_recv().ok_or_else(stopped))
        });
        Ok(Some(Self { parts, written, scratch }))
    }

    async fn add(&mut self, page: Vec<Event>) {
        // If the thread has ended, its error is met at the end.
        let _ = self.parts.send(Part::Page(page)).await;
    }

    /// Ends the file with its proof.
    async fn finish(self, proof: Option<RangeProof>) -> Result<Result<Written, file::Error>, JoinError> {
        let _ = self.parts.send(Part::End(proof)).await;
        self.written.await
    }
}
