//! Follows the logs, grows their trees and signs their roots. One node at a time does it, and never on the path of an
//! append.
//!
//! 1. **Grow.** The records of new events are read by COPY and hashed; the tiles that changed and the tree's new size
//!    are stored in one transaction over the connection that holds the lease.
//! 2. **Settle.** The root of a size is said once and for all in `audit_checkpoints`.
//! 3. **Sign.** The root is signed if it follows from the last checkpoint that this node keeps outside the database. It is
//!    kept there before anybody sees it.
//! 4. **Publish.** The note is stored.
//!
//! A node that dies between two steps leaves nothing that the next one would do differently. A frozen node that wakes
//! can settle nothing, because its connection is gone; what it still signs is the root that was settled.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use fleetlog_event_log::backoff::Backoff;
use fleetlog_event_log::leadership::Leadership;
use fleetlog_event_log::{EventLog, Log, LogId, Position, crash};
use sqlx::{Connection, PgConnection};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::custody::Custody;
use crate::hash::{Hash, LeafHasher};
use crate::note::{Checkpoint, SignedCheckpoint, origin};
use crate::record::{self, Range};
use crate::store::{self, Tree};
use crate::tree::{self, Growth};
use crate::{Error, instruments};

/// The name of the advisory lock that the node holds that grows the trees.
const NAME: &str = "fleetlog proof";
/// How often a node that does not lead tries to.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// The least time between two rounds over all logs that have grown.
const REST: Duration = Duration::from_millis(500);
/// How often an idle leader renews its lease.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// The most events of a log in one transaction. Others have their turn in between.
const BATCH: Position = 20_000;
/// How often logs that have grown get a checkpoint. At least every 10 s was asked for.
pub const SIGN_EVERY: Duration = Duration::from_secs(5);
/// How often a node that does not lead takes in the leader's checkpoints.
const WATCH_EVERY: Duration = Duration::from_secs(10);
/// How often checkpoints are thinned out.
const THIN_EVERY: Duration = Duration::from_hours(1);
/// How often progress is told while a tree is far behind.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// How long a log rests whose proof stands still.
const BROKEN_REST: Duration = Duration::from_secs(30);

/// Grows and signs, whenever this node leads.
pub struct Sequencer {
    log: EventLog,
    /// Without it the trees grow, and nothing is signed.
    custody: Option<Custody>,
    broken: Broken,
}

/// What a log's proof can stand still in. The other one goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    Grow,
    Sign,
}

/// The logs whose proof stands still, and in what: why, and until when that rests.
#[derive(Default)]
struct Broken(HashMap<(LogId, Step), (String, Instant)>);

/// What the leader knows of a log.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    size: Position,
    signed: Position,
}

impl Sequencer {
    /// Prepares the sequencer. Without a folder nothing is signed.
    #[must_use]
    pub fn new(log: EventLog, custody: Option<Custody>) -> Self {
        Self { log, custody, broken: Broken::default() }
    }

    /// Runs until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let (mut backoff, mut watched) = (Backoff::new(ASK_EVERY, Duration::from_secs(10)), None);
        while !shutdown.is_cancelled() {
            match self.log.lead(NAME).await {
                Ok(Some(mut leadership)) => {
                    backoff.reset();
                    if let Err(error) = self.follow(&mut leadership, &shutdown).await {
                        tracing::warn!(error = %error, "failed to keep the proof of the logs up to date; trying again");
                    }
                    leadership.release().await;
                }
                Ok(None) => {
                    backoff.reset();
                    if watched.is_none_or(|at: Instant| at.elapsed() >= WATCH_EVERY) {
                        watched = Some(Instant::now());
                        if let Err(error) = self.watch().await {
                            tracing::warn!(error = %error, "failed to take in the logs' checkpoints; trying again");
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "failed to ask who keeps the proof of the logs; trying again");
                }
            }
            let _ = shutdown.run_until_cancelled(backoff.wait()).await;
        }
    }

    /// Takes in what the leader has signed, so that this node would not sign anything else. Tells of a history that was
    /// changed.
    async fn watch(&mut self) -> Result<(), Error> {
        let Some(custody) = &mut self.custody else { return Ok(()) };
        let mut connection = self.log.connection().await?;
        let mut notes = vec![];
        for (log_id, stored) in store::newest_of_all(&mut connection).await? {
            let known = custody.last(log_id).map(|note| note.checkpoint.clone());
            if known.as_ref() == Some(&stored.note.checkpoint) {
                continue;
            }
            let follows = match stored.note.verify(&[custody.verifier()]) {
                Err(error) => Err(Error::Foreign(log_id, error)),
                Ok(_) => follows(&mut connection, log_id, known.as_ref(), &stored.note.checkpoint).await,
            };
            match follows {
                Ok(()) => {
                    self.broken.mend(log_id, Step::Sign);
                    notes.push((log_id, stored.note));
                }
                Err(error) => self.broken.note(log_id, Step::Sign, &error),
            }
        }
        if !notes.is_empty() {
            custody.keep(notes)?;
        }
        Ok(())
    }

    async fn follow(
        &mut self,
        leadership: &mut Leadership,
        shutdown: &CancellationToken,
    ) -> Result<(), Error> {
        let signs = self.signs(leadership.connection()).await?;
        let mut known = known(leadership.connection()).await?;
        let mut heads = self.log.heads().watch();
        let now = Instant::now();
        let (mut sign_at, mut thin_at, mut tell_at) = (now, now, now + TELL_EVERY);
        while !shutdown.is_cancelled() && leadership.is_held().await {
            let round = Instant::now();
            let logs: Vec<Log> = heads.borrow_and_update().values().cloned().collect();
            let behind = self.grow_all(leadership, &logs, &mut known, shutdown).await?;
            if signs && Instant::now() >= sign_at {
                self.sign_all(leadership.connection(), &mut known).await?;
                sign_at = Instant::now() + SIGN_EVERY;
            }
            if Instant::now() >= thin_at {
                store::thin_out(leadership.connection()).await?;
                thin_at = Instant::now() + THIN_EVERY;
            }
            if behind > 0 {
                if Instant::now() >= tell_at {
                    tracing::info!(
                        events = behind,
                        "the proof of the logs takes in events that are not proved yet"
                    );
                    tell_at = Instant::now() + TELL_EVERY;
                }
                // Appends and reads have precedence: at most half of the time is spent here.
                rest(shutdown, round.elapsed()).await;
                continue;
            }
            tell_at = Instant::now() + TELL_EVERY;
            let unsigned = signs && known.values().any(|log| log.size > log.signed);
            let until =
                if unsigned { sign_at.min(Instant::now() + LOOK_EVERY) } else { Instant::now() + LOOK_EVERY };
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep_until(until) => {}
                _ = heads.changed() => rest(shutdown, REST).await,
            }
        }
        // What was appended until now is signed before this node stops.
        self.finish(leadership, &mut known, signs).await
    }

    /// Grows the trees of all logs up to their heads, signs them, and returns. `false` if another node leads.
    pub async fn catch_up(&mut self) -> Result<bool, Error> {
        let Some(mut leadership) = self.log.lead(NAME).await? else { return Ok(false) };
        let caught_up = async {
            let signs = self.signs(leadership.connection()).await?;
            let mut known = known(leadership.connection()).await?;
            self.log.heads().refresh(leadership.connection()).await?;
            self.finish(&mut leadership, &mut known, signs).await
        };
        let caught_up = caught_up.await;
        leadership.release().await;
        caught_up.map(|()| true)
    }

    async fn finish(
        &mut self,
        leadership: &mut Leadership,
        known: &mut BTreeMap<LogId, Known>,
        signs: bool,
    ) -> Result<(), Error> {
        let (logs, never) = (self.log.heads().logs(), CancellationToken::new());
        while leadership.is_held().await && self.grow_all(leadership, &logs, known, &never).await? > 0 {}
        if signs && leadership.is_held().await {
            self.sign_all(leadership.connection(), known).await?;
        }
        Ok(())
    }

    /// Whether this node's key is the installation's. The first node that leads makes its own key the installation's.
    async fn signs(&self, connection: &mut PgConnection) -> Result<bool, Error> {
        let Some(custody) = &self.custody else {
            tracing::warn!(
                "checkpoints of the logs are not signed: name a folder for the key with --audit-dir"
            );
            return Ok(false);
        };
        let own = custody.verifier().to_string();
        let current = store::key(connection).await?;
        if current.as_ref().is_none_or(|current| *current == own) {
            store::add_key(connection, &own).await?;
            return Ok(true);
        }
        tracing::error!(
            folder = %custody.folder().display(),
            "checkpoints of the logs are not signed: this node's key is not the installation's; copy another node's \
             folder, or, to begin anew after a restored backup, see `fleetlog audit new-key --help`"
        );
        Ok(false)
    }

    /// Gives each log that has grown its turn. Returns how many events are still missing.
    async fn grow_all(
        &mut self,
        leadership: &mut Leadership,
        logs: &[Log],
        known: &mut BTreeMap<LogId, Known>,
        shutdown: &CancellationToken,
    ) -> Result<Position, Error> {
        let mut behind = 0;
        for log in logs {
            let tree = known.entry(log.log_id).or_default();
            if log.head == tree.size || self.broken.rests(log.log_id, Step::Grow) {
                continue;
            }
            if shutdown.is_cancelled() || !leadership.is_held().await {
                break;
            }
            match grow(leadership.connection(), log).await {
                Ok(size) => {
                    instruments::LEAVES.increment((size - tree.size).max(0) as u64);
                    tree.size = size;
                    behind += (log.head - size).max(0);
                    instruments::BEHIND.with([log.log_id.to_string().into()]).set((log.head - size) as f64);
                    self.broken.mend(log.log_id, Step::Grow);
                }
                Err(error @ (Error::Hole { .. } | Error::Shrunk { .. } | Error::Missing { .. })) => {
                    self.broken.note(log.log_id, Step::Grow, &error);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(behind)
    }

    /// Signs the roots of the logs that have grown since their last checkpoint.
    async fn sign_all(
        &mut self,
        connection: &mut PgConnection,
        known: &mut BTreeMap<LogId, Known>,
    ) -> Result<(), Error> {
        let Some(custody) = &mut self.custody else { return Ok(()) };
        let mut notes = vec![];
        for (log_id, log) in known.iter().filter(|(_, log)| log.size > log.signed) {
            if self.broken.rests(*log_id, Step::Sign) {
                continue;
            }
            match sign(connection, custody, *log_id, log.size).await {
                Ok(note) => notes.push((*log_id, note)),
                Err(error @ (Error::Changed { .. } | Error::Missing { .. } | Error::Settled(_))) => {
                    self.broken.note(*log_id, Step::Sign, &error);
                }
                Err(error) => return Err(error),
            }
        }
        crash::point("proof: signed");
        if notes.is_empty() {
            return Ok(());
        }
        custody.keep(notes.clone())?;
        crash::point("proof: kept");
        for (log_id, note) in notes {
            store::publish(connection, log_id, &note).await?;
            instruments::SIGNED.increment(1);
            known.entry(log_id).or_default().signed = note.checkpoint.size as Position;
            self.broken.mend(log_id, Step::Sign);
        }
        crash::point("proof: published");
        Ok(())
    }
}

/// What is stored of each log.
async fn known(connection: &mut PgConnection) -> Result<BTreeMap<LogId, Known>, Error> {
    let mut known: BTreeMap<LogId, Known> = BTreeMap::new();
    for (log_id, size) in store::sizes(connection).await? {
        known.entry(log_id).or_default().size = size;
    }
    for (log_id, stored) in store::newest_of_all(connection).await? {
        known.entry(log_id).or_default().signed = stored.note.checkpoint.size as Position;
    }
    Ok(known)
}

impl Broken {
    /// Says once why a log's proof stands still, and lets it rest.
    fn note(&mut self, log_id: LogId, step: Step, error: &Error) {
        let (text, until) = (error.to_string(), Instant::now() + BROKEN_REST);
        let told = self.0.insert((log_id, step), (text.clone(), until));
        instruments::BROKEN.with([log_id.to_string().into()]).set(1.0);
        if told.is_none_or(|(told, _)| told != text) {
            tracing::error!(log = log_id.0, "the proof of a log stands still: {text}");
        }
    }

    fn rests(&self, log_id: LogId, step: Step) -> bool {
        self.0.get(&(log_id, step)).is_some_and(|(_, until)| Instant::now() < *until)
    }

    /// Says that a step goes on, and that the log's proof does if the other one did not stop.
    fn mend(&mut self, log_id: LogId, step: Step) {
        if self.0.remove(&(log_id, step)).is_some() && !self.0.keys().any(|(broken, _)| *broken == log_id) {
            tracing::info!(log = log_id.0, "the proof of the log goes on");
            instruments::BROKEN.with([log_id.to_string().into()]).set(0.0);
        }
    }
}

async fn rest(shutdown: &CancellationToken, time: Duration) {
    let _ = shutdown.run_until_cancelled(tokio::time::sleep(time)).await;
}

/// Adds a log's next events to its tree, and returns the tree's size.
async fn grow(connection: &mut PgConnection, log: &Log) -> Result<Position, Error> {
    let mut transaction = connection.begin().await?;
    let tree = store::lock_tree(&mut transaction, log.log_id).await?;
    if tree.size > log.head {
        return Err(Error::Shrunk { log_id: log.log_id, head: log.head, size: tree.size });
    }
    let edge = store::tiles(&mut transaction, log.log_id, &Growth::edge_of(tree.size as u64)).await?;
    let missing = |missing| Error::Missing { log_id: log.log_id, missing };
    let mut growth = Growth::from_tiles(tree.size as u64, &edge).map_err(missing)?;
    let until = log.head.min(tree.size + BATCH);
    let mut recorded_at = tree.recorded_at;
    let range =
        Range { log_id: log.log_id, lane: log.lane, after: tree.size, until, since: tree.recorded_at };
    let mut read = read_into(&mut transaction, &mut growth, &mut recorded_at, range).await;
    if matches!(read, Err(Error::Hole { .. })) && range.since.is_some() {
        // An event whose time was changed lies in another partition than it should.
        let range = Range { after: growth.size() as Position, since: None, ..range };
        read = read_into(&mut transaction, &mut growth, &mut recorded_at, range).await;
    }
    read?;
    let full = growth.take_full();
    let tiles = full.iter().map(|(tile, hashes)| (*tile, hashes.as_slice())).chain(growth.partial());
    store::keep_tiles(&mut transaction, log.log_id, tiles).await?;
    store::move_tree(&mut transaction, log.log_id, &Tree { size: until, recorded_at }).await?;
    crash::point("proof: grown");
    transaction.commit().await?;
    crash::point("proof: stored");
    Ok(until)
}

async fn read_into(
    connection: &mut PgConnection,
    growth: &mut Growth,
    recorded_at: &mut Option<chrono::DateTime<chrono::Utc>>,
    range: Range,
) -> Result<(), Error> {
    let (mut hasher, mut last) = (LeafHasher::default(), None);
    record::read(connection, &range, |record| {
        let expected = growth.size() as Position + 1;
        if record.position() != expected {
            return Err(Error::Hole { log_id: range.log_id, position: expected.min(record.position()) });
        }
        growth.push(hasher.leaf(&record.0));
        last = Some(record);
        Ok(())
    })
    .await?;
    *recorded_at = last.and_then(|record| record.recorded_at()).or(*recorded_at);
    if growth.size() == range.until as u64 {
        Ok(())
    } else {
        Err(Error::Hole { log_id: range.log_id, position: growth.size() as Position + 1 })
    }
}

/// Settles the root of a size, and signs it if it follows from the last checkpoint that this node keeps.
async fn sign(
    connection: &mut PgConnection,
    custody: &Custody,
    log_id: LogId,
    size: Position,
) -> Result<SignedCheckpoint, Error> {
    let tiles = store::tiles(connection, log_id, &tree::tiles_of_root(size as u64)).await?;
    let root = tiles.root(size as u64).map_err(|missing| Error::Missing { log_id, missing })?;
    if store::settle_root(connection, log_id, size, root).await? != root {
        return Err(Error::Settled(log_id));
    }
    crash::point("proof: settled");
    let origin = origin(custody.key().name(), log_id);
    let checkpoint = Checkpoint { origin, size: size as u64, root };
    let last = custody.last(log_id).map(|note| &note.checkpoint);
    follows(connection, log_id, last, &checkpoint).await?;
    Ok(custody.key().sign(&checkpoint).parse()?)
}

/// Checks, with the tiles that are stored, that a log at one checkpoint is the beginning of the log at another.
pub(crate) async fn follows(
    connection: &mut PgConnection,
    log_id: LogId,
    last: Option<&Checkpoint>,
    checkpoint: &Checkpoint,
) -> Result<(), Error> {
    let Some(last) = last else { return Ok(()) };
    let (old, size) = (last.size, checkpoint.size);
    let tiles = store::tiles(connection, log_id, &tree::tiles_of_consistency(old, size)).await?;
    let proof = tiles.consistency(old, size).map_err(|missing| Error::Missing { log_id, missing })?;
    let roots: (Hash, Hash) = (last.root, checkpoint.root);
    if tree::is_consistent(old, size, roots, &proof) {
        Ok(())
    } else {
        Err(Error::Changed { log_id, size: old })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_grows_again_is_not_signed_again_before_its_history_is_right() {
        let (log_id, mut broken) = (LogId(2), Broken::default());
        broken.note(log_id, Step::Sign, &Error::Changed { log_id, size: 7 });
        assert!(broken.rests(log_id, Step::Sign) && !broken.rests(log_id, Step::Grow));
        broken.note(log_id, Step::Grow, &Error::Hole { log_id, position: 9 });
        broken.mend(log_id, Step::Grow);
        assert!(broken.rests(log_id, Step::Sign) && !broken.rests(log_id, Step::Grow));
        broken.mend(log_id, Step::Sign);
        assert!(!broken.rests(log_id, Step::Sign));
    }
}
