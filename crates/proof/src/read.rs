//! What others ask about a log's proof: its checkpoint, its tiles, proofs.

use fleetlog_event_log::scope::Scope;
use fleetlog_event_log::{EventLog, LogId, Position};

use crate::hash::Hash;
use crate::note::{VerifierKey, origin};
use crate::store::{self, Stored};
use crate::tree::{self, TileId};
use crate::witness::store::{self as witnesses, Standing};
use crate::{Error, note};

/// The proof that a log has an event, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inclusion {
    /// The proof, as the text of a [C2SP tlog-proof](https://c2sp.org/tlog-proof).
    Proof(String),
    /// The event is newer than the newest checkpoint, which has this size; 0 if there is none yet. It will be proved
    /// within seconds, if this installation signs checkpoints.
    NotYet(u64),
    /// The log has no such position.
    None,
}

/// The proof that a log at one size is the beginning of the log at another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consistency {
    /// The smaller size.
    pub old: u64,
    /// The larger size.
    pub size: u64,
    /// The root at the larger size.
    pub root: Hash,
    /// The proof of RFC 6962, section 2.1.2.
    pub hashes: Vec<Hash>,
}

/// How far the proof of a log is.
#[derive(Debug, Clone)]
pub struct Progress {
    /// The log.
    pub log_id: LogId,
    /// The last position that the tree has.
    pub size: Position,
    /// The newest checkpoint.
    pub newest: Option<Stored>,
}

/// How far the proof is of each log that this handle shows.
pub async fn progress<S: Scope>(log: &EventLog<S>) -> Result<Vec<Progress>, Error> {
    let mut connection = log.connection().await?;
    let sizes = store::sizes(&mut connection).await?;
    let mut newest: std::collections::BTreeMap<_, _> =
        store::newest_of_all(&mut connection).await?.into_iter().collect();
    let progress = |(log_id, size)| Progress { log_id, size, newest: newest.remove(&log_id) };
    Ok(sizes.into_iter().map(progress).collect())
}

/// A log's newest checkpoint. `None` before the first one.
pub async fn checkpoint<S: Scope>(log: &EventLog<S>, log_id: LogId) -> Result<Option<Stored>, Error> {
    store::newest(&mut *log.connection().await?, log_id).await
}

/// The first `width` hashes of a tile, as bytes. `None` if the log's newest checkpoint does not have as many.
pub async fn tile<S: Scope>(
    log: &EventLog<S>,
    log_id: LogId,
    tile: TileId,
    width: usize,
) -> Result<Option<Vec<u8>>, Error> {
    let mut connection = log.connection().await?;
    let Some(newest) = store::newest(&mut connection, log_id).await? else { return Ok(None) };
    if tile.width(newest.note.checkpoint.size) < width {
        return Ok(None);
    }
    let tiles = store::tiles(&mut connection, log_id, &[tile]).await?;
    Ok(tiles.get(tile).and_then(|hashes| hashes.get(..width)).map(tree::to_bytes))
}

/// The proof that a log has an event at a position.
pub async fn inclusion<S: Scope>(
    log: &EventLog<S>,
    log_id: LogId,
    position: Position,
) -> Result<Inclusion, Error> {
    let Some(index) = position.checked_sub(1).and_then(|index| u64::try_from(index).ok()) else {
        return Ok(Inclusion::None);
    };
    let mut connection = log.connection().await?;
    let newest = store::newest(&mut connection, log_id).await?;
    let size = newest.as_ref().map_or(0, |newest| newest.note.checkpoint.size);
    let Some(newest) = newest.filter(|_| index < size) else {
        let head = log.heads().log(log_id).map_or(0, |log| log.head);
        return Ok(if position <= head { Inclusion::NotYet(size) } else { Inclusion::None });
    };
    let tiles = store::tiles(&mut connection, log_id, &tree::tiles_of_inclusion(index, size)).await?;
    let hashes = tiles.inclusion(index, size).map_err(|missing| Error::Missing { log_id, missing })?;
    let hashes = hashes.iter().fold(String::new(), |text, hash| text + &hash.to_string() + "\n");
    let note = newest.note.text();
    Ok(Inclusion::Proof(format!("c2sp.org/tlog-proof@v1\nindex {index}\n{hashes}\n{note}")))
}

/// The proof that a log at `old` events is the beginning of the log at `size` events; by default at its newest
/// checkpoint. `None` if the newest checkpoint has fewer, or `old` is more than `size`.
pub async fn consistency<S: Scope>(
    log: &EventLog<S>,
    log_id: LogId,
    old: u64,
    size: Option<u64>,
) -> Result<Option<Consistency>, Error> {
    let mut connection = log.connection().await?;
    let Some(newest) = store::newest(&mut connection, log_id).await? else { return Ok(None) };
    let newest = newest.note.checkpoint.size;
    let size = size.unwrap_or(newest);
    if size > newest || old > size {
        return Ok(None);
    }
    let mut wanted = tree::tiles_of_consistency(old, size);
    wanted.extend(tree::tiles_of_root(size));
    let tiles = store::tiles(&mut connection, log_id, &wanted).await?;
    let missing = |missing| Error::Missing { log_id, missing };
    let hashes = tiles.consistency(old, size).map_err(missing)?;
    let root = tiles.root(size).map_err(missing)?;
    Ok(Some(Consistency { old, size, root, hashes }))
}

/// The installation's verifier key. `None` before the first checkpoint.
pub async fn key<S: Scope>(log: &EventLog<S>) -> Result<Option<VerifierKey>, Error> {
    let key = store::key(&mut *log.connection().await?).await?;
    Ok(key.map(|key| key.parse::<VerifierKey>()).transpose()?)
}

/// All verifier keys that the installation has signed with, newest first.
pub async fn keys<S: Scope>(log: &EventLog<S>) -> Result<Vec<VerifierKey>, Error> {
    let keys = store::keys(&mut *log.connection().await?).await?;
    Ok(keys.iter().map(|key| key.parse()).collect::<Result<_, _>>()?)
}

/// The verifier key of one log.
#[must_use]
pub fn key_of(key: &VerifierKey, log_id: LogId) -> VerifierKey {
    key.of_log(&origin(key.name(), log_id))
}

/// What each of the service's witnesses took of a log.
pub async fn witnesses<S: Scope>(log: &EventLog<S>, log_id: LogId) -> Result<Vec<Standing>, Error> {
    witnesses::of_log(&mut *log.connection().await?, log_id).await
}

/// What [`cosign`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cosigned {
    /// The line was added, or the checkpoint had one by this key.
    Added,
    /// The log has no such checkpoint, or none any more.
    NoCheckpoint,
    /// The checkpoint has as many signatures as it may have.
    Full,
    /// The line is no cosignature, or one in the log's own name.
    Malformed,
}

/// Adds a witness's line to a checkpoint: one for each key, and the first one stays. The signature is not checked:
/// readers of the checkpoint check those of the witnesses that they trust. A line in the log's own name is refused, because it would
/// make the log's own signature look wrong.
pub async fn cosign<S: Scope>(
    log: &EventLog<S>,
    log_id: LogId,
    size: u64,
    line: &str,
) -> Result<Cosigned, Error> {
    let Some(line) = note::Cosignature::parse(line) else { return Ok(Cosigned::Malformed) };
    let mut connection = log.connection().await?;
    // Another witness may add its line meanwhile. Then the checkpoint is looked at again: it has room for few.
    loop {
        let Some(stored) = store::of_size(&mut connection, log_id, size).await? else {
            return Ok(Cosigned::NoCheckpoint);
        };
        let note = &stored.note;
        if line.name() == note.checkpoint.origin {
            return Ok(Cosigned::Malformed);
        }
        if line.is_on(note) {
            return Ok(Cosigned::Added);
        }
        if note.signatures() >= note::SIGNATURES {
            return Ok(Cosigned::Full);
        }
        if store::add_cosignature(&mut connection, log_id, note, line.text()).await? {
            return Ok(Cosigned::Added);
        }
    }
}
