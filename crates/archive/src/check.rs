//! Reads files again, and compares their events with what proves them: a signed checkpoint, and the tiles in the database.
//!
//! A thread reads the file and hashes its events. Each proof leads to a root; it is right if it is the one that was signed. The
//! tiles say which event is wrong, if one is.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use fleetlog_event_log::archived::{Archived, Copy};
use fleetlog_event_log::{EventLog, LogId, Position};
use fleetlog_proof::hash::Hash;
use fleetlog_proof::note::VerifierKey;
use fleetlog_proof::range::{self, RangeProof, RangeRoot};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use crate::file::{Error, Facts, Fingerprint, Reader, Written, hash};
use crate::place::{self, Local, Place, Spot};

/// What a file was compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verified {
    /// Its events are those of a log at a checkpoint that a trusted key has signed.
    Signed {
        /// The last position of the file.
        last: Position,
        /// When the checkpoint was signed.
        signed_at: DateTime<Utc>,
        /// Whether the checkpoint is in the file, so that the file proves itself.
        by_file: bool,
    },
    /// Its events are those of the database's tiles. Nothing was signed.
    Unsigned,
}

/// What was found in a file all of whose events are there.
struct Found {
    fingerprint: Vec<u8>,
    recorded: Option<(DateTime<Utc>, DateTime<Utc>)>,
    /// The root that the events lead to with each proof.
    roots: Vec<Option<Hash>>,
}

/// Leaves in the order of their positions, and the first one's position.
type Leaves = (Position, Vec<Hash>);

/// Reads every event of a file, and passes its leaf on.
fn read(
    reader: &mut Reader,
    log_id: LogId,
    mut roots: Vec<Option<RangeRoot>>,
    mut pass_on: impl FnMut(Leaves),
) -> Result<Found, Error> {
    let (mut fingerprint, mut recorded) = (Fingerprint::new(), None::<(DateTime<Utc>, DateTime<Utc>)>);
    loop {
        let events = reader.batch()?;
        let Some(first) = events.first().map(|event| event.position) else {
            let roots = roots.into_iter().map(|root| root.and_then(RangeRoot::root)).collect();
            return Ok(Found { fingerprint: fingerprint.finish(), recorded, roots });
        };
        let mut leaves = Vec::with_capacity(events.len());
        for event in &events {
            if event.log_id != log_id {
                return Err(Error::Content(format!("event {} is of log {}", event.position, event.log_id)));
            }
            let leaf = fingerprint.add(event)?;
            roots.iter_mut().flatten().for_each(|root| root.push(leaf));
            leaves.push(leaf);
            let (earliest, latest) = recorded.unwrap_or((event.recorded_at, event.recorded_at));
            recorded = Some((earliest.min(event.recorded_at), latest.max(event.recorded_at)));
        }
        pass_on((first, leaves));
    }
}

/// Reads a file, and compares its events with its own proof, with the proof in the database, and with the database's tiles.
async fn prove(
    path: PathBuf,
    (log_id, positions): (LogId, (Position, Position)),
    log: Option<&EventLog>,
    keys: &[VerifierKey],
) -> Result<(Found, Verified), Error> {
    let opened = spawn_blocking(move || {
        let reader = Reader::open(&path, positions, 0)?;
        Ok::<_, Error>((reader.facts()?, reader))
    });
    let (facts, mut reader) = opened.await.map_err(std::io::Error::from)??;
    let stored = match log {
        Some(log) => range::prove(log, log_id, positions).await?,
        None => None,
    };
    let mut proofs: Vec<(RangeProof, bool)> = facts.proof.map(|proof| (proof, true)).into_iter().collect();
    proofs.extend(stored.map(|proof| (proof, false)));
    let is_any = !proofs.is_empty();
    let (mut trusted, mut roots) = (vec![], vec![]);
    for (proof, by_file) in proofs {
        if proof.is_signed(log_id, keys)? {
            roots.push(proof.begin(positions));
            trusted.push((proof, by_file));
        }
    }
    if is_any && trusted.is_empty() {
        return Err(Error::Note(fleetlog_proof::note::Error::Unsigned));
    }
    let (sender, mut received) = mpsc::channel::<Leaves>(1);
    let reading = spawn_blocking(move || {
        // If nobody compares the leaves, they are not needed.
        read(&mut reader, log_id, roots, |leaves| drop(sender.blocking_send(leaves)))
    });
    let mut different = None;
    while let Some((first, leaves)) = received.recv().await {
        if let (Some(log), None) = (log, different) {
            let mut connection = log.connection().await.map_err(fleetlog_proof::Error::from)?;
            different = range::first_different(&mut connection, log_id, first, &leaves).await?;
        }
    }
    let found = reading.await.map_err(std::io::Error::from)??;
    let is_right = |(proof, root): (&RangeProof, &Option<Hash>)| *root == Some(proof.note.checkpoint.root);
    let is_signed =
        !trusted.is_empty() && trusted.iter().map(|(proof, _)| proof).zip(&found.roots).all(is_right);
    match different {
        Some(position) if is_signed => return Err(Error::Tiles(position)),
        Some(position) => return Err(Error::Differs(position)),
        None if !trusted.is_empty() && !is_signed => return Err(Error::Within),
        None => {}
    }
    let verified = trusted.first().map_or(Verified::Unsigned, |(proof, by_file)| Verified::Signed {
        last: positions.1,
        signed_at: proof.signed_at,
        by_file: *by_file,
    });
    Ok((found, verified))
}

/// Verifies a file that was just written: that it has exactly the events that went into it, and that these are the record's.
pub(crate) async fn just_written(
    written: Written,
    log_id: LogId,
    log: &EventLog,
    keys: &[VerifierKey],
) -> Result<Copy, Error> {
    let of = (log_id, (written.first, written.last));
    let (found, _) = prove(written.path.clone(), of, Some(log), keys).await?;
    if found.fingerprint != written.fingerprint {
        return Err(Error::Content("the file does not have the events that were written to it".into()));
    }
    let measured = spawn_blocking(move || {
        Ok(Copy {
            location: written.path.display().to_string(),
            bytes: std::fs::metadata(&written.path)?.len() as i64,
            sha256: hash(&written.path)?,
        })
    });
    measured.await.map_err(std::io::Error::from)?
}

/// Verifies the copy of a range: that its bytes are those that were verified when it was removed, that every event can be read
/// from it, and that these are the record's.
pub async fn copy(
    log: &EventLog,
    keys: &[VerifierKey],
    place: Option<&Place>,
    range: &Archived,
) -> Result<Verified, Error> {
    Ok(fingerprinted(log, keys, place, range).await?.0)
}

/// As [`copy`], with the file and the fingerprint of its events.
pub(crate) async fn fingerprinted(
    log: &EventLog,
    keys: &[VerifierKey],
    place: Option<&Place>,
    range: &Archived,
) -> Result<(Verified, Local, Vec<u8>), Error> {
    let local = unchanged(place, range).await?;
    let of = (range.log_id, (range.first, range.last));
    let (found, verified) = prove(local.path().to_owned(), of, Some(log), keys).await?;
    if found.recorded != Some((range.first_recorded_at, range.last_recorded_at)) {
        return Err(Error::Content("its events were recorded at other times than the database says".into()));
    }
    Ok((verified, local, found.fingerprint))
}

/// Verifies a file by itself, without a database: that its events are those of its checkpoint, which one of these keys has
/// signed.
pub async fn alone(path: PathBuf, keys: &[VerifierKey]) -> Result<(Facts, Verified), Error> {
    let of = path.clone();
    let facts = spawn_blocking(move || Facts::of(&of)).await.map_err(std::io::Error::from)??;
    if facts.proof.is_none() {
        return Err(Error::Content("the file has no proof: nothing was signed when it was written".into()));
    }
    let (_, verified) = prove(path, (facts.log_id, facts.positions), None, keys).await?;
    Ok((facts, verified))
}

/// Finds a range's copy, and checks that it has its length.
pub(crate) async fn sized(place: Option<&Place>, range: &Archived) -> Result<Spot, Error> {
    let copy = range.copy.as_ref().ok_or_else(|| Error::Content("no copy was kept".into()))?;
    let (found, bytes) = place::find(place, range, copy)
        .await
        .map_err(|error| Error::Content(format!("{error}; where the files are now is set with --archive")))?;
    if bytes as i64 == copy.bytes {
        return Ok(found);
    }
    Err(Error::Content(format!("{found} has {bytes} bytes instead of {}", copy.bytes)))
}

/// Has a range's copy on this machine, and checks that its bytes are the same as ever.
pub(crate) async fn unchanged(place: Option<&Place>, range: &Archived) -> Result<Local, Error> {
    let found = sized(place, range).await?;
    let (name, copy) = (found.to_string(), range.copy.as_ref());
    let (local, hash) = found.local(copy.map_or(0, |copy| copy.bytes as u64)).await?;
    if copy.is_some_and(|copy| copy.sha256 == hash) {
        return Ok(local);
    }
    // Which event is not as it was cannot be told from the hash; where the file cannot be read is.
    let of = range.clone();
    let read = spawn_blocking(move || every_event(local.path(), &of)).await.map_err(std::io::Error::from)?;
    let damage = read.err();
    let damage =
        damage.map_or_else(|| "though every event can be read".to_owned(), |error| error.to_string());
    Err(Error::Content(format!("{name} is not as it was written: {damage}")))
}

fn every_event(path: &Path, range: &Archived) -> Result<(), Error> {
    let mut reader = Reader::open(path, (range.first, range.last), 0)?;
    read(&mut reader, range.log_id, vec![], drop).map(drop)
}
