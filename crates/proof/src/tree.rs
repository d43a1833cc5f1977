//! A Merkle tree in tiles of 256 hashes, as [C2SP tlog-tiles](https://c2sp.org/tlog-tiles) lays them out.
//!
//! [`Growth`] appends leaves and returns the tiles that changed. [`Tiles`] are some of a tree's tiles: its root at any
//! size, and proofs. What they lack they name, so that a caller can fetch it and ask again.

use std::collections::HashMap;
use std::fmt;

use crate::hash::{Hash, LEN};

/// The hashes of a full tile.
pub const WIDTH: usize = 256;
/// A tile's height: it has 2 to the power of this many hashes.
const HEIGHT: u32 = 8;
/// No tree has a higher level: 256 to the power of 8 is more than there are positions.
pub const MAX_LEVEL: u8 = 7;

/// Which tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TileId {
    /// The level: 0 has the leaves' hashes.
    pub level: u8,
    /// The tile's number within its level, from 0.
    pub index: u64,
}

impl TileId {
    /// How many of the tile's hashes a tree of `size` leaves has.
    #[must_use]
    pub fn width(self, size: u64) -> usize {
        let hashes = size >> (HEIGHT * u32::from(self.level));
        hashes.saturating_sub(self.index.saturating_mul(WIDTH as u64)).min(WIDTH as u64) as usize
    }

    /// How many tiles of this level a tree of `size` leaves has.
    #[must_use]
    pub fn count(self, size: u64) -> u64 {
        (size >> (HEIGHT * u32::from(self.level))).div_ceil(WIDTH as u64)
    }

    /// The path of the tile's first `width` hashes: `tile/0/x001/234`, with `.p/W` behind it if they are not all.
    #[must_use]
    pub fn path(self, width: usize) -> String {
        let mut groups = vec![format!("{:03}", self.index % 1000)];
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups.push(format!("x{:03}", rest % 1000));
            rest /= 1000;
        }
        groups.reverse();
        let partial = if width < WIDTH { format!(".p/{width}") } else { String::new() };
        format!("tile/{}/{}{partial}", self.level, groups.join("/"))
    }

    /// Reads the part of a path after `tile/`, and returns the width, too. `None` if it is not of that form.
    #[must_use]
    pub fn parse(path: &str) -> Option<(Self, usize)> {
        let number = |text: &str| -> Option<u64> {
            let plain =
                text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
            text.parse().ok().filter(|_| plain)
        };
        let (path, width) = match path.split_once(".p/") {
            Some((path, width)) => (path, number(width).filter(|width| (1..256).contains(width))? as usize),
            None => (path, WIDTH),
        };
        let (level, groups) = path.split_once('/')?;
        let level = number(level).filter(|level| *level <= u64::from(MAX_LEVEL))? as u8;
        let mut index: u64 = 0;
        let mut groups = groups.split('/').peekable();
        while let Some(group) = groups.next() {
            let digits = if groups.peek().is_some() { group.strip_prefix('x')? } else { group };
            let three = digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit());
            index = index.checked_mul(1000)?.checked_add(digits.parse().ok().filter(|_| three)?)?;
        }
        let id = Self { level, index };
        // A group too many in front is another spelling of the same number.
        (id.path(width)
            == format!("tile/{path}{}", if width < WIDTH { format!(".p/{width}") } else { String::new() }))
        .then_some((id, width))
    }
}

/// Shown as the path of the full tile.
impl fmt::Display for TileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path(WIDTH))
    }
}

/// A tile that is needed and not there, or not wide enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{tile} has fewer than {width} hashes")]
pub struct Missing {
    /// The tile.
    pub tile: TileId,
    /// How many of its hashes are needed.
    pub width: usize,
}

/// Some of a tree's tiles.
#[derive(Debug, Clone, Default)]
pub struct Tiles(HashMap<TileId, Vec<Hash>>);

impl FromIterator<(TileId, Vec<Hash>)> for Tiles {
    fn from_iter<I: IntoIterator<Item = (TileId, Vec<Hash>)>>(tiles: I) -> Self {
        Self(tiles.into_iter().collect())
    }
}

impl Tiles {
    /// Adds a tile, or replaces it.
    pub fn insert(&mut self, tile: TileId, hashes: Vec<Hash>) {
        self.0.insert(tile, hashes);
    }

    /// The hashes of a tile that are there.
    #[must_use]
    pub fn get(&self, tile: TileId) -> Option<&[Hash]> {
        self.0.get(&tile).map(Vec::as_slice)
    }

    /// The hash at a place of a level.
    ///
    /// # Errors
    ///
    /// [`Missing`] if the tile is not there.
    pub fn hash(&self, level: u8, index: u64) -> Result<Hash, Missing> {
        let (tile, nth) = place(level, index);
        let found = self.get(tile).and_then(|hashes| hashes.get(nth));
        found.copied().ok_or(Missing { tile, width: nth + 1 })
    }

    /// The root of the tree's first `size` leaves.
    ///
    /// # Errors
    ///
    /// [`Missing`] if a tile is not there; [`tiles_of_root`] says which are needed.
    pub fn root(&self, size: u64) -> Result<Hash, Missing> {
        self.subtree(0, size)
    }

    /// The root of the leaves from `start` to before `end`, as RFC 6962 divides them. `start` is a multiple of the
    /// smallest power of two that is not below their number.
    pub(crate) fn subtree(&self, start: u64, end: u64) -> Result<Hash, Missing> {
        let mut peaks = Peaks::default();
        for (level, index) in cover(start, end) {
            peaks.push(HEIGHT * u32::from(level), self.hash(level, index)?);
        }
        Ok(peaks.root())
    }

    /// The proof that a tree of `size` leaves has a leaf at `index`: from its sibling to the root's child.
    ///
    /// # Errors
    ///
    /// [`Missing`] if a tile is not there.
    pub fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Hash>, Missing> {
        inclusion_ranges(index, size).into_iter().map(|(start, end)| self.subtree(start, end)).collect()
    }

    /// The proof that the first `old` leaves of a tree of `size` leaves are those of a tree of `old` leaves. Empty if
    /// `old` is 0 or `size`.
    ///
    /// # Errors
    ///
    /// [`Missing`] if a tile is not there.
    pub fn consistency(&self, old: u64, size: u64) -> Result<Vec<Hash>, Missing> {
        consistency_ranges(old, size).into_iter().map(|(start, end)| self.subtree(start, end)).collect()
    }
}

/// The tile that holds a level's hash, and the hash's place in it.
#[must_use]
pub fn place(level: u8, index: u64) -> (TileId, usize) {
    (TileId { level, index: index / WIDTH as u64 }, (index % WIDTH as u64) as usize)
}

/// The hashes, by level and index, that stand for the leaves from `start` to before `end`: few, because as many leaves
/// as possible are covered by one.
pub(crate) fn cover(start: u64, end: u64) -> Vec<(u8, u64)> {
    let (mut hashes, mut at) = (vec![], start);
    while at < end {
        let fits = |level: &u8| {
            let leaves = 1_u64 << (HEIGHT * u32::from(*level));
            at.is_multiple_of(leaves) && leaves <= end - at
        };
        let level = (0..=MAX_LEVEL).rev().find(fits).unwrap_or(0);
        hashes.push((level, at >> (HEIGHT * u32::from(level))));
        at += 1 << (HEIGHT * u32::from(level));
    }
    hashes
}

pub(crate) fn tiles_of(ranges: &[(u64, u64)]) -> Vec<TileId> {
    let hashes = ranges.iter().flat_map(|(start, end)| cover(*start, *end));
    let mut tiles: Vec<_> = hashes.map(|(level, index)| place(level, index).0).collect();
    tiles.sort_unstable();
    tiles.dedup();
    tiles
}

/// The tiles that the root of `size` leaves is computed from.
#[must_use]
pub fn tiles_of_root(size: u64) -> Vec<TileId> {
    tiles_of(&[(0, size)])
}

/// The tiles that [`Tiles::inclusion`] needs.
#[must_use]
pub fn tiles_of_inclusion(index: u64, size: u64) -> Vec<TileId> {
    tiles_of(&inclusion_ranges(index, size))
}

/// The tiles that [`Tiles::consistency`] needs.
#[must_use]
pub fn tiles_of_consistency(old: u64, size: u64) -> Vec<TileId> {
    tiles_of(&consistency_ranges(old, size))
}

/// The largest power of two below `leaves`, which are 2 or more.
pub(crate) fn split(leaves: u64) -> u64 {
    1 << (leaves - 1).ilog2()
}

/// RFC 6962, section 2.1.1.
fn inclusion_ranges(index: u64, size: u64) -> Vec<(u64, u64)> {
    let (mut start, mut end, mut siblings) = (0, size, vec![]);
    if index >= size {
        return siblings;
    }
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            siblings.push((middle, end));
            end = middle;
        } else {
            siblings.push((start, middle));
            start = middle;
        }
    }
    siblings.reverse();
    siblings
}

/// RFC 6962, section 2.1.2.
fn consistency_ranges(old: u64, size: u64) -> Vec<(u64, u64)> {
    let (mut start, mut end, mut known, mut ranges) = (0, size, true, vec![]);
    if old == 0 || old >= size {
        return ranges;
    }
    while old != end {
        let middle = start + split(end - start);
        if old <= middle {
            ranges.push((middle, end));
            end = middle;
        } else {
            ranges.push((start, middle));
            (start, known) = (middle, false);
        }
    }
    // The verifier has the root of the old tree itself.
    if !known {
        ranges.push((start, end));
    }
    ranges.reverse();
    ranges
}

/// The root that an inclusion proof leads to. `None` if the proof is too short or too long.
#[must_use]
pub fn root_of_inclusion(leaf: Hash, index: u64, size: u64, proof: &[Hash]) -> Option<Hash> {
    let ranges = inclusion_ranges(index, size);
    if index >= size || ranges.len() != proof.len() {
        return None;
    }
    let join = |hash, (range, sibling): (&(u64, u64), &Hash)| {
        if range.0 > index { Hash::node(hash, *sibling) } else { Hash::node(*sibling, hash) }
    };
    Some(ranges.iter().zip(proof).fold(leaf, join))
}

/// Whether a consistency proof shows that a tree of `size` leaves begins with one of `old` leaves.
#[must_use]
pub fn is_consistent(old: u64, size: u64, (old_root, root): (Hash, Hash), proof: &[Hash]) -> bool {
    if old == 0 || old >= size {
        return proof.is_empty() && (old != size || old_root == root) && old <= size;
    }
    let ranges = consistency_ranges(old, size);
    if ranges.len() != proof.len() {
        return false;
    }
    let mut hashes = ranges.iter().zip(proof).peekable();
    // The subtree in which the old tree ends: part of the proof, or the old tree itself.
    let first =
        if old.is_power_of_two() { old_root } else { hashes.next().map_or(old_root, |(_, hash)| *hash) };
    let (mut of_old, mut of_new) = (first, first);
    for ((start, _), hash) in hashes {
        if *start < old {
            of_old = Hash::node(*hash, of_old);
            of_new = Hash::node(*hash, of_new);
        } else {
            of_new = Hash::node(of_new, *hash);
        }
    }
    of_old == old_root && of_new == root
}

/// Joins subtrees, from left to right, the largest first.
#[derive(Default)]
pub(crate) struct Peaks(Vec<(u32, Hash)>);

impl Peaks {
    pub(crate) fn push(&mut self, mut height: u32, mut hash: Hash) {
        while let Some((_, left)) = self.0.pop_if(|(left, _)| *left == height) {
            (height, hash) = (height + 1, Hash::node(left, hash));
        }
        self.0.push((height, hash));
    }

    pub(crate) fn root(mut self) -> Hash {
        match self.0.pop() {
            None => Hash::empty(),
            Some((_, last)) => self.root_before(last),
        }
    }

    /// The root if a last subtree follows that is not full.
    pub(crate) fn root_before(self, last: Hash) -> Hash {
        self.0.into_iter().rev().fold(last, |right, (_, left)| Hash::node(left, right))
    }
}

/// The root of a full tile.
pub(crate) fn root_of_tile(hashes: &[Hash]) -> Hash {
    let mut peaks = Peaks::default();
    for hash in hashes {
        peaks.push(0, *hash);
    }
    peaks.root()
}

/// A tree that grows: it holds the partial tiles, one a level, and nothing else.
#[derive(Debug, Clone)]
pub struct Growth {
    size: u64,
    /// Each level's partial tile. The last one may be empty.
    edge: Vec<Vec<Hash>>,
    full: Vec<(TileId, Vec<Hash>)>,
}

impl Growth {
    /// A tree without leaves.
    #[must_use]
    pub fn new() -> Self {
        Self { size: 0, edge: vec![], full: vec![] }
    }

    /// A tree of `size` leaves, of which `tiles` has those of [`Growth::edge_of`].
    ///
    /// # Errors
    ///
    /// [`Missing`] if a tile is not there.
    pub fn from_tiles(size: u64, tiles: &Tiles) -> Result<Self, Missing> {
        let mut edge = vec![];
        for level in 0..=MAX_LEVEL {
            let hashes = size >> (HEIGHT * u32::from(level));
            let (tile, width) = place(level, hashes);
            let stored = tiles.get(tile).and_then(|stored| stored.get(..width));
            edge.push(if width == 0 { vec![] } else { stored.ok_or(Missing { tile, width })?.to_vec() });
        }
        Ok(Self { size, edge, full: vec![] })
    }

    /// The partial tiles of a tree of `size` leaves.
    #[must_use]
    pub fn edge_of(size: u64) -> Vec<TileId> {
        let edge = (0..=MAX_LEVEL).map(|level| place(level, size >> (HEIGHT * u32::from(level))));
        edge.filter(|(_, width)| *width > 0).map(|(tile, _)| tile).collect()
    }

    /// The number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf.
    pub fn push(&mut self, leaf: Hash) {
        self.size += 1;
        let mut hash = leaf;
        for level in 0..=MAX_LEVEL {
            if self.edge.len() == usize::from(level) {
                self.edge.push(Vec::with_capacity(WIDTH));
            }
            let partial = &mut self.edge[usize::from(level)];
            partial.push(hash);
            if partial.len() < WIDTH {
                return;
            }
            hash = root_of_tile(partial);
            let index = (self.size >> (HEIGHT * (u32::from(level) + 1))) - 1;
            let full = std::mem::replace(partial, Vec::with_capacity(WIDTH));
            self.full.push((TileId { level, index }, full));
        }
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut peaks = Peaks::default();
        for (level, hashes) in self.edge.iter().enumerate().rev() {
            for hash in hashes {
                peaks.push(HEIGHT * level as u32, *hash);
            }
        }
        peaks.root()
    }

    /// The tiles that have become full since this was called last, by level and index. Memory holds them until then.
    pub fn take_full(&mut self) -> Vec<(TileId, Vec<Hash>)> {
        std::mem::take(&mut self.full)
    }

    /// The partial tiles.
    pub fn partial(&self) -> impl Iterator<Item = (TileId, &[Hash])> {
        let edge = self.edge.iter().enumerate().filter(|(_, hashes)| !hashes.is_empty());
        edge.map(|(level, hashes)| {
            let level = level as u8;
            let index = self.size >> (HEIGHT * (u32::from(level) + 1));
            (TileId { level, index }, hashes.as_slice())
        })
    }
}

impl Default for Growth {
    fn default() -> Self {
        Self::new()
    }
}

/// A tile's hashes as its bytes.
#[must_use]
pub fn to_bytes(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

/// Reads a tile's bytes. `None` if they are no whole number of hashes, or more than a tile has.
#[must_use]
pub fn from_bytes(bytes: &[u8]) -> Option<Vec<Hash>> {
    let whole = bytes.len().is_multiple_of(LEN) && bytes.len() <= WIDTH * LEN;
    whole.then(|| bytes.chunks_exact(LEN).filter_map(Hash::from_slice).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::LeafHasher;

    fn leaf(number: u64) -> Hash {
        LeafHasher::default().leaf(&number.to_be_bytes())
    }

    /// The root by the words of RFC 6962.
    fn by_definition(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Hash::empty(),
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(split(leaves.len() as u64) as usize);
                Hash::node(by_definition(left), by_definition(right))
            }
        }
    }

    fn tree(size: u64) -> (Vec<Hash>, Growth, Tiles) {
        let leaves: Vec<_> = (0..size).map(leaf).collect();
        let (mut growth, mut tiles) = (Growth::new(), Tiles::default());
        for leaf in &leaves {
            growth.push(*leaf);
        }
        growth.take_full().into_iter().for_each(|(id, hashes)| tiles.insert(id, hashes));
        growth.partial().for_each(|(id, hashes)| tiles.insert(id, hashes.to_vec()));
        (leaves, growth, tiles)
    }

    const SIZES: [u64; 14] = [1, 2, 3, 7, 255, 256, 257, 511, 512, 1000, 65_535, 65_536, 65_537, 70_000];

    #[test]
    fn the_root_is_the_one_of_rfc_6962_at_each_size() {
        let (leaves, growth, tiles) = tree(70_000);
        for size in SIZES {
            let root = by_definition(&leaves[..size as usize]);
            assert_eq!(tiles.root(size), Ok(root), "{size}");
        }
        assert_eq!(growth.root(), tiles.root(70_000).expect("root"));
        assert_eq!(Growth::new().root(), Hash::empty());
    }

    #[test]
    fn a_tree_has_the_tiles_that_the_specification_counts() {
        let (_, _, tiles) = tree(70_000);
        let widths = |level, index| tiles.get(TileId { level, index }).map(<[Hash]>::len);
        assert_eq!(widths(0, 272), Some(256));
        assert_eq!(widths(0, 273), Some(112));
        assert_eq!((widths(1, 0), widths(1, 1), widths(2, 0)), (Some(256), Some(17), Some(1)));
        assert_eq!(TileId { level: 0, index: 273 }.width(70_000), 112);
    }

    #[test]
    fn a_tree_goes_on_from_its_partial_tiles() {
        for size in SIZES {
            let (_, mut grown, _) = tree(size);
            let mut tiles = Tiles::default();
            grown.partial().for_each(|(id, hashes)| tiles.insert(id, hashes.to_vec()));
            assert_eq!(Growth::edge_of(size).len(), grown.partial().count());
            let mut again = Growth::from_tiles(size, &tiles).expect("tiles");
            grown.take_full();
            for number in size..size + 600 {
                grown.push(leaf(number));
                again.push(leaf(number));
            }
            assert_eq!(grown.root(), again.root(), "{size}");
            assert_eq!(grown.take_full(), again.take_full());
        }
    }

    #[test]
    fn an_inclusion_proof_leads_to_the_root_and_no_other_does() {
        let (leaves, _, tiles) = tree(70_000);
        for size in SIZES {
            let root = tiles.root(size).expect("root");
            for index in [0, size / 3, size / 2, size - 1] {
                let needed = tiles_of_inclusion(index, size);
                assert!(needed.iter().all(|tile| tiles.get(*tile).is_some()));
                let mut proof = tiles.inclusion(index, size).expect("proof");
                let leaf = leaves[index as usize];
                assert_eq!(root_of_inclusion(leaf, index, size, &proof), Some(root), "{index} of {size}");
                assert_ne!(root_of_inclusion(Hash::empty(), index, size, &proof), Some(root));
                proof.push(Hash::empty());
                assert_eq!(root_of_inclusion(leaf, index, size, &proof), None);
            }
            assert_eq!(root_of_inclusion(leaves[0], size, size, &[]), None);
        }
    }

    #[test]
    fn a_consistency_proof_shows_that_a_tree_begins_with_an_older_one() {
        let (_, _, tiles) = tree(70_000);
        for size in SIZES {
            for old in SIZES.into_iter().filter(|old| *old <= size) {
                let roots = (tiles.root(old).expect("root"), tiles.root(size).expect("root"));
                let mut proof = tiles.consistency(old, size).expect("proof");
                assert!(is_consistent(old, size, roots, &proof), "{old} of {size}");
                assert!(!is_consistent(old, size, (Hash::empty(), roots.1), &proof));
                assert!(old == size || !is_consistent(old, size, (roots.0, Hash::empty()), &proof));
                assert!(!is_consistent(size + 1, size, roots, &[]));
                proof.push(Hash::empty());
                assert!(!is_consistent(old, size, roots, &proof));
            }
        }
    }

    #[test]
    fn a_tiles_path_is_read_as_it_is_written_and_not_otherwise() {
        let tile = TileId { level: 0, index: 1_234_067 };
        assert_eq!(tile.path(256), "tile/0/x001/x234/067");
        assert_eq!(TileId::parse("0/x001/x234/067"), Some((tile, 256)));
        assert_eq!(TileId::parse("1/000.p/3"), Some((TileId { level: 1, index: 0 }, 3)));
        for other in [
            "",
            "0",
            "0/",
            "0/0",
            "00/000",
            "0/000.p/0",
            "0/000.p/256",
            "0/x000/001",
            "0/001/002",
            "8/000",
            "0/000/",
            "0/+01",
        ] {
            assert_eq!(TileId::parse(other), None, "{other}");
        }
    }
}
