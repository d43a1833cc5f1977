//! The proof that a log has a range of events: a checkpoint, and the hashes of everything left and right of the range. Whoever
//! has the events, the proof and the log's key needs nothing else. `docs/PROOF.md` says how.

use chrono::{DateTime, Utc};
use fleetlog_event_log::scope::Scope;
use fleetlog_event_log::{EventLog, LogId, Position};
use sqlx::PgConnection;

use crate::Error;
use crate::hash::Hash;
use crate::note::{self, SignedCheckpoint, VerifierKey};
use crate::store;
use crate::tree::{self, Missing, Peaks, TileId, Tiles, WIDTH};

/// The positions of a range: the first one and the last one.
pub type Positions = (Position, Position);

/// The proof that a log has a range of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeProof {
    /// The checkpoint that the range is proved against.
    pub note: SignedCheckpoint,
    /// When it was signed, by the database's clock. Nobody has signed this.
    pub signed_at: DateTime<Utc>,
    /// The hashes of the subtrees left and right of the range, from left to right.
    pub hashes: Vec<Hash>,
}

impl RangeProof {
    /// Begins to compute the root from the events. `None` if the proof has too many hashes or too few, or its checkpoint
    /// does not cover the range.
    #[must_use]
    pub fn begin(&self, (first, last): Positions) -> Option<RangeRoot> {
        let (start, end) = (u64::try_from(first.checked_sub(1)?).ok()?, u64::try_from(last).ok()?);
        RangeRoot::begin((start, end), self.note.checkpoint.size, &self.hashes)
    }

    /// Whether one of these keys has signed the checkpoint, and it is of this log.
    ///
    /// # Errors
    ///
    /// [`note::Error`]: the signature of a known key is wrong, or the checkpoint is another log's.
    pub fn is_signed(&self, log_id: LogId, keys: &[VerifierKey]) -> Result<bool, note::Error> {
        match self.note.verify(keys) {
            Err(note::Error::Unsigned) => Ok(false),
            Err(error) => Err(error),
            Ok(_) if note::log_of(&self.note.checkpoint.origin) == Some(log_id) => Ok(true),
            Ok(_) => Err(note::Error::NoCheckpoint),
        }
    }
}

/// The largest subtrees of a tree of `size` leaves that have no leaf from `start` to before `end`, from left to right.
fn beside((start, end): (u64, u64), size: u64) -> Vec<(u64, u64)> {
    let (mut open, mut beside) = (vec![(0, size)], vec![]);
    while let Some((from, to)) = open.pop() {
        if to <= start || from >= end {
            beside.push((from, to));
        } else if from < start || to > end {
            let middle = from + tree::split(to - from);
            // The left one comes off first.
            open.extend([(middle, to), (from, middle)]);
        }
    }
    beside
}

/// The root of a tree, computed from a range of its leaves and the hashes beside it. Memory holds a hash for each level.
pub struct RangeRoot {
    peaks: Peaks,
    /// How many leaves are missing.
    rest: u64,
    right: Vec<(u64, Hash)>,
}

impl RangeRoot {
    /// Begins with the hashes of the subtrees beside the leaves from `start` to before `end`, in a tree of `size` leaves.
    /// `None` if there are not as many as there must be.
    #[must_use]
    pub fn begin((start, end): (u64, u64), size: u64, hashes: &[Hash]) -> Option<Self> {
        if start >= end || end > size {
            return None;
        }
        let ranges = beside((start, end), size);
        if ranges.len() != hashes.len() {
            return None;
        }
        let (mut peaks, mut right) = (Peaks::default(), vec![]);
        for ((from, to), hash) in ranges.into_iter().zip(hashes) {
            if to <= start {
                // What lies left of a leaf is full.
                peaks.push((to - from).ilog2(), *hash);
            } else {
                right.push((to - from, *hash));
            }
        }
        Some(Self { peaks, rest: end - start, right })
    }

    /// Adds the next leaf of the range.
    pub fn push(&mut self, leaf: Hash) {
        self.rest = self.rest.saturating_sub(1);
        self.peaks.push(0, leaf);
    }

    /// The root. `None` if leaves are missing.
    #[must_use]
    pub fn root(mut self) -> Option<Hash> {
        if self.rest > 0 {
            return None;
        }
        let mut last = None;
        for (leaves, hash) in self.right {
            if leaves.is_power_of_two() {
                self.peaks.push(leaves.ilog2(), hash);
            } else {
                // Only the last subtree of a tree is not full.
                last = Some(hash);
            }
        }
        Some(match last {
            Some(last) => self.peaks.root_before(last),
            None => self.peaks.root(),
        })
    }
}

/// The proof of a range from a tree's tiles.
///
/// # Errors
///
/// [`Missing`] if a tile is not there.
pub fn from_tiles(tiles: &Tiles, range: (u64, u64), size: u64) -> Result<Vec<Hash>, Missing> {
    beside(range, size).into_iter().map(|(from, to)| tiles.subtree(from, to)).collect()
}

/// The proof that a log has a range of positions, against its newest checkpoint. `None` if no checkpoint covers them.
///
/// # Errors
///
/// [`Error`]
pub async fn prove<S: Scope>(
    log: &EventLog<S>,
    log_id: LogId,
    (first, last): Positions,
) -> Result<Option<RangeProof>, Error> {
    let mut connection = log.connection().await?;
    let newest = store::newest(&mut connection, log_id).await?;
    let covers = |stored: &store::Stored| stored.note.checkpoint.size >= last as u64;
    let Some(store::Stored { note, signed_at }) = newest.filter(covers) else { return Ok(None) };
    let (range, size) = ((first as u64 - 1, last as u64), note.checkpoint.size);
    let wanted = tree::tiles_of(&beside(range, size));
    let tiles = store::tiles(&mut connection, log_id, &wanted).await?;
    let hashes = from_tiles(&tiles, range, size).map_err(|missing| Error::Missing { log_id, missing })?;
    Ok(Some(RangeProof { note, signed_at, hashes }))
}

/// The first position, of the events from `first` on with these leaves, whose leaf is not the one in the stored tiles.
///
/// # Errors
///
/// [`Error`]
pub async fn first_different(
    connection: &mut PgConnection,
    log_id: LogId,
    first: Position,
    leaves: &[Hash],
) -> Result<Option<Position>, Error> {
    let tile = |position: Position| (position as u64 - 1) / WIDTH as u64;
    let last = first + leaves.len() as Position - 1;
    let tiles = store::level(connection, log_id, 0, (tile(first), tile(last))).await?;
    let is_stored = |position: Position, leaf: Hash| {
        let (id, nth) = tree::place(0, position as u64 - 1);
        debug_assert_eq!(id, TileId { level: 0, index: tile(position) });
        tiles.get(id).and_then(|hashes| hashes.get(nth)) == Some(&leaf)
    };
    let different = leaves.iter().zip(first..).find(|(leaf, position)| !is_stored(*position, **leaf));
    Ok(different.map(|(_, position)| position))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::LeafHasher;
    use crate::tree::Growth;

    fn leaf(number: u64) -> Hash {
        LeafHasher::default().leaf(&number.to_be_bytes())
    }

    fn tiles(size: u64) -> Tiles {
        let (mut growth, mut tiles) = (Growth::new(), Tiles::default());
        (0..size).for_each(|number| growth.push(leaf(number)));
        growth.take_full().into_iter().for_each(|(id, hashes)| tiles.insert(id, hashes));
        growth.partial().for_each(|(id, hashes)| tiles.insert(id, hashes.to_vec()));
        tiles
    }

    /// The root by the words of docs/PROOF.md.
    fn by_definition(
        (from, to): (u64, u64),
        (start, end): (u64, u64),
        hashes: &mut impl Iterator<Item = Hash>,
    ) -> Hash {
        if to <= start || from >= end {
            return hashes.next().expect("a hash");
        }
        if to - from == 1 {
            return leaf(from);
        }
        let middle = from + tree::split(to - from);
        let left = by_definition((from, middle), (start, end), hashes);
        Hash::node(left, by_definition((middle, to), (start, end), hashes))
    }

    fn root(range: (u64, u64), size: u64, hashes: &[Hash], of: impl Fn(u64) -> Hash) -> Option<Hash> {
        let mut root = RangeRoot::begin(range, size, hashes)?;
        (range.0..range.1).for_each(|number| root.push(of(number)));
        root.root()
    }

    #[test]
    fn a_range_and_what_lies_beside_it_lead_to_the_root_and_nothing_else_does() {
        for size in [1, 2, 3, 5, 8, 100, 255, 256, 257, 777, 66_000] {
            let tiles = tiles(size);
            let expected = tiles.root(size).expect("a root");
            let edges = [0, 1, 2, 3, size / 3, size / 2, 255, 256, 257, size - 1, size];
            let ranges = edges.iter().flat_map(|from| edges.iter().map(move |to| (*from, *to)));
            for range in ranges.filter(|(start, end)| start < end && *end <= size && end - start < 1000) {
                let mut hashes = from_tiles(&tiles, range, size).expect("tiles");
                assert_eq!(root(range, size, &hashes, leaf), Some(expected), "{range:?} of {size}");
                assert_eq!(by_definition((0, size), range, &mut hashes.iter().copied()), expected);
                for wrong in [range.0, range.1 - 1] {
                    let of = |number| leaf(if number == wrong { number + 1 } else { number });
                    assert_ne!(root(range, size, &hashes, of), Some(expected), "{range:?} of {size}");
                }
                let mut few = RangeRoot::begin(range, size, &hashes).expect("begun");
                (range.0 + 1..range.1).for_each(|number| few.push(leaf(number)));
                assert_eq!(few.root(), None, "one is missing");
                if let Some(first) = hashes.first_mut() {
                    *first = Hash::empty();
                    assert_ne!(root(range, size, &hashes, leaf), Some(expected), "{range:?} of {size}");
                }
                hashes.push(Hash::empty());
                assert_eq!(root(range, size, &hashes, leaf), None);
            }
            assert_eq!(root((0, size + 1), size, &[], leaf), None);
        }
    }
}
