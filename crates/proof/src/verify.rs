//! Hashes a log again and compares it with signed checkpoints.
//!
//! One pass reads every event and keeps the hashes of level 1 and above: one for 256 events. If the roots are those of the
//! checkpoints, no event was touched. If one is not, the stored tiles say where: those that hash up to the signed root
//! are as good as signed, and the search goes down where they differ from what was computed.

use std::fmt;

use fleetlog_event_log::{Log, LogId, Position};
use sqlx::PgConnection;

use crate::Error;
use crate::hash::{Hash, LeafHasher};
use crate::note::Checkpoint;
use crate::record::{self, Range, Record};
use crate::store;
use crate::tree::{self, Growth, TileId, Tiles, WIDTH};

/// Events that are read by one statement.
const CHUNK: Position = 100_000;
/// Tiles that are read by one statement.
const TILES: u64 = 1024;
/// The most findings that are kept.
pub const FINDINGS: usize = 20;
/// The most events that differ that are looked for, and compared with each other to tell which were swapped.
const COMPARED: usize = 1000;

/// Something that is not as it was recorded. Shown without the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// An event is not the one that was recorded.
    Differs(Position),
    /// An event is one that was recorded at another position.
    Moved {
        /// Where it is.
        position: Position,
        /// Where it was recorded.
        from: Position,
    },
    /// Events are not there any more: from the first to the last position.
    Missing(Position, Position),
    /// A second event at a position, or one beyond the log's head.
    Extra(Position),
    /// Some event from the first to the last position was changed. The tiles were, too, so nobody can say which.
    Within(Position, Position),
    /// The events are as they were recorded, but a tile is not: proofs that need it are wrong.
    Tile(TileId),
    /// Two checkpoints contradict each other: somebody signed two histories.
    Fork(u64),
}

impl Finding {
    /// The first position that is concerned. 0 for those that concern no event.
    #[must_use]
    pub fn position(&self) -> Position {
        match self {
            Self::Differs(position)
            | Self::Moved { position, .. }
            | Self::Missing(position, _)
            | Self::Extra(position)
            | Self::Within(position, _) => *position,
            Self::Tile(_) | Self::Fork(_) => 0,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Differs(position) => write!(f, "position {position} differs"),
            Self::Moved { position, from } => {
                write!(f, "position {position} holds the event of position {from}")
            }
            Self::Missing(first, last) if first == last => write!(f, "position {first} is missing"),
            Self::Missing(first, last) => write!(f, "positions {first} to {last} are missing"),
            Self::Extra(position) => write!(f, "position {position} is extra"),
            Self::Within(first, last) => write!(
                f,
                "a position from {first} to {last} differs; the tiles were changed as well, so nobody can say which"
            ),
            Self::Tile(tile) => {
                write!(f, "the events are as recorded, but {tile} was changed: proofs are wrong")
            }
            Self::Fork(size) => {
                write!(f, "a fork: the signed checkpoint of {size} events belongs to another history")
            }
        }
    }
}

/// What was found out about a log.
#[derive(Debug, Clone)]
pub struct Report {
    /// The log.
    pub log_id: LogId,
    /// The log's head, when it was read.
    pub head: Position,
    /// How many events were read.
    pub events: u64,
    /// The size of the largest checkpoint. Events after it are not proved yet.
    pub signed: u64,
    /// All events up to here are as they were recorded: the size of the largest checkpoint before anything that is wrong.
    pub verified: u64,
    /// The first findings, by position.
    pub findings: Vec<Finding>,
    /// Whether there are more.
    pub more: bool,
}

impl Report {
    fn new(log: &Log, trusted: &[Checkpoint]) -> Self {
        let signed = trusted.iter().map(|checkpoint| checkpoint.size).max().unwrap_or(0);
        Self {
            log_id: log.log_id,
            head: log.head,
            events: 0,
            signed,
            verified: 0,
            findings: vec![],
            more: false,
        }
    }

    /// Whether everything that was signed is as it was.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.findings.is_empty()
    }

    fn add(&mut self, finding: Finding) {
        if let (Some(Finding::Missing(_, last)), Finding::Missing(first, until)) =
            (self.findings.last_mut(), &finding)
            && *last + 1 == *first
        {
            *last = *until;
        } else if self.findings.len() < FINDINGS {
            self.findings.push(finding);
        } else {
            self.more = true;
        }
    }
}

/// Reads all events of a log, and compares it with checkpoints that are trusted: their signatures were checked, or
/// somebody has kept them. `removed` are ranges of positions that were archived, in order: their tiles stand for them.
/// `progress` is told how many events were read so far.
pub async fn verify(
    connection: &mut PgConnection,
    log: &Log,
    trusted: &[Checkpoint],
    removed: &[(Position, Position)],
    mut progress: impl FnMut(u64),
) -> Result<Report, Error> {
    let mut report = Report::new(log, trusted);
    let mut pass = Pass::new(trusted);
    let until = log.head.max(report.signed as Position);
    while pass.next <= until {
        if let Some((_, last)) = removed.iter().find(|(first, last)| (*first..=*last).contains(&pass.next)) {
            pass.take_tiles(connection, log.log_id, *last).await?;
            continue;
        }
        let kept = removed.iter().map(|(first, _)| *first - 1).find(|before| *before >= pass.next);
        let range = Range {
            log_id: log.log_id,
            lane: log.lane,
            after: pass.next - 1,
            until: (pass.next - 1 + CHUNK).min(kept.unwrap_or(until)).min(until),
            since: None,
        };
        record::read(connection, &range, |record| {
            pass.take(&record, &mut report);
            Ok::<_, Error>(())
        })
        .await?;
        pass.skip_to(range.until + 1, &mut report);
        progress(report.events);
    }
    for position in store::strays(connection, log).await? {
        report.add(Finding::Extra(position));
    }
    pass.close();
    report.verified = pass.good;
    for size in &pass.forks {
        report.add(Finding::Fork(*size));
    }
    let search = Search { log, computed: &pass.computed };
    match pass.bad {
        Some((size, root)) => search.run(connection, size, root, &mut report).await?,
        None => search.check_tiles(connection, report.signed, &mut report).await?,
    }
    report.findings.sort_by_key(Finding::position);
    Ok(report)
}

/// The one pass over all events.
struct Pass {
    /// The next position.
    next: Position,
    growth: Growth,
    hasher: LeafHasher,
    /// What was computed: tiles of level 1 and above, and at the end the partial ones.
    computed: Tiles,
    /// The roots that are signed, the largest size first.
    roots: Vec<(u64, Hash)>,
    signed: u64,
    /// The largest size whose root is right.
    good: u64,
    /// The first size whose root is wrong.
    bad: Option<(u64, Hash)>,
    /// The sizes above [`Pass::good`] whose roots are wrong.
    wrong: Vec<u64>,
    /// Sizes whose roots are wrong although another one of the same size or of a larger one is right.
    forks: Vec<u64>,
}

impl Pass {
    fn new(trusted: &[Checkpoint]) -> Self {
        let mut roots: Vec<_> = trusted.iter().map(|checkpoint| (checkpoint.size, checkpoint.root)).collect();
        roots.sort_unstable_by_key(|(size, root)| std::cmp::Reverse((*size, root.0)));
        roots.dedup();
        let signed = roots.first().map_or(0, |(size, _)| *size);
        let (growth, hasher, computed) = (Growth::new(), LeafHasher::default(), Tiles::default());
        let mut pass = Self {
            next: 1,
            growth,
            hasher,
            computed,
            roots,
            signed,
            good: 0,
            bad: None,
            forks: vec![],
            wrong: vec![],
        };
        pass.compare();
        pass
    }

    fn take(&mut self, record: &Record, report: &mut Report) {
        report.events += 1;
        let position = record.position();
        if position < self.next {
            report.add(Finding::Extra(position));
            return;
        }
        self.skip_to(position, report);
        let leaf = self.hasher.leaf(&record.0);
        self.push(leaf);
    }

    /// Notes that all positions before this one are missing that were not read.
    fn skip_to(&mut self, position: Position, report: &mut Report) {
        if self.next < position {
            report.add(Finding::Missing(self.next, position - 1));
        }
        while self.next < position {
            self.push(Hash::empty());
        }
    }

    /// Takes the leaves of a removed range from its tiles.
    async fn take_tiles(
        &mut self,
        connection: &mut PgConnection,
        log_id: LogId,
        last: Position,
    ) -> Result<(), Error> {
        while self.next <= last {
            let first = (self.next as u64 - 1) / WIDTH as u64;
            let tiles = store::level(connection, log_id, 0, (first, first + TILES - 1)).await?;
            let until = last.min(((first + TILES) * WIDTH as u64) as Position);
            while self.next <= until {
                // A tile that is not there makes the roots wrong, and is found so.
                self.push(tiles.hash(0, self.next as u64 - 1).unwrap_or_else(|_| Hash::empty()));
            }
        }
        Ok(())
    }

    fn push(&mut self, leaf: Hash) {
        self.next += 1;
        // What is not signed yet has nothing to be compared with.
        if self.growth.size() < self.signed {
            self.growth.push(leaf);
            self.keep();
            self.compare();
        }
    }

    fn keep(&mut self) {
        for (tile, hashes) in self.growth.take_full() {
            if tile.level > 0 {
                self.computed.insert(tile, hashes);
            }
        }
    }

    fn compare(&mut self) {
        while let Some((size, root)) = self.roots.pop_if(|(size, _)| *size == self.growth.size()) {
            if self.growth.root() == root {
                // Wrong roots below a right one are no event's fault.
                self.forks.append(&mut self.wrong);
                (self.good, self.bad) = (size, None);
            } else if self.bad.is_none() && self.good == size && size > 0 {
                self.forks.push(size);
            } else {
                self.wrong.push(size);
                self.bad = self.bad.or(Some((size, root)));
            }
        }
    }

    fn close(&mut self) {
        for (tile, hashes) in self.growth.partial() {
            self.computed.insert(tile, hashes.to_vec());
        }
    }
}

/// An event whose leaf is not the signed one.
struct Different {
    record: Record,
    signed: Hash,
}

/// Finds what was changed.
struct Search<'a> {
    log: &'a Log,
    computed: &'a Tiles,
}

impl Search<'_> {
    /// Finds the events because of which a root is wrong.
    async fn run(
        &self,
        connection: &mut PgConnection,
        size: u64,
        root: Hash,
        report: &mut Report,
    ) -> Result<(), Error> {
        let log_id = self.log.log_id;
        let stored = store::tiles(connection, log_id, &tree::tiles_of_root(size)).await?;
        if stored.root(size) != Ok(root) {
            // The tiles were changed, too, or cut off with the events that are missing.
            if !report.findings.is_empty() {
                return Ok(());
            }
            report.add(Finding::Within(report.verified as Position + 1, size as Position));
            return Ok(());
        }
        let mut different: Vec<Different> = vec![];
        // What is on this stack hashes up to the signed root.
        let mut signed: Vec<(u8, u64, Hash)> = vec![];
        for (level, index) in tree::cover(0, size) {
            signed.push((level, index, stored.hash(level, index).unwrap_or_else(|_| Hash::empty())));
        }
        while let Some((level, index, hash)) = signed.pop() {
            if different.len() >= COMPARED {
                report.more = true;
                break;
            }
            if level == 0 {
                different.extend(self.between(connection, index, &[hash]).await?);
                continue;
            }
            if self.computed.hash(level, index) == Ok(hash) {
                continue;
            }
            let child = TileId { level: level - 1, index };
            let tiles = store::tiles(connection, log_id, &[child]).await?;
            let hashes = tiles.get(child).unwrap_or_default();
            if hashes.len() != WIDTH || tree::root_of_tile(hashes) != hash {
                let leaves = 1_u64 << (8 * u32::from(level));
                report.add(Finding::Within(
                    (index * leaves + 1) as Position,
                    ((index + 1) * leaves) as Position,
                ));
            } else if level == 1 {
                different.extend(self.between(connection, index * WIDTH as u64, hashes).await?);
            } else {
                let children = hashes.iter().zip(index * WIDTH as u64..);
                signed.extend(children.map(|(hash, index)| (level - 1, index, *hash)));
            }
        }
        different.sort_by_key(|different| different.record.position());
        for one in &different {
            report.add(moved(one, &different));
        }
        if report.findings.is_empty() {
            report.add(Finding::Within(report.verified as Position + 1, size as Position));
        }
        Ok(())
    }

    /// Those events from an index on that have other hashes than these.
    async fn between(
        &self,
        connection: &mut PgConnection,
        index: u64,
        signed: &[Hash],
    ) -> Result<Vec<Different>, Error> {
        let mut different = vec![];
        let (after, count) = (index as Position, signed.len() as Position);
        let (log_id, lane) = (self.log.log_id, self.log.lane);
        let range = Range { log_id, lane, after, until: after + count, since: None };
        record::read(connection, &range, |record| {
            let signed = usize::try_from(record.position() - after - 1).ok().and_then(|nth| signed.get(nth));
            if let Some(signed) = signed.filter(|signed| **signed != record.leaf()) {
                different.push(Different { record, signed: *signed });
            }
            Ok::<_, Error>(())
        })
        .await?;
        Ok(different)
    }

    /// Compares the stored tiles with those that were computed from events that are as they were recorded.
    async fn check_tiles(
        &self,
        connection: &mut PgConnection,
        size: u64,
        report: &mut Report,
    ) -> Result<(), Error> {
        for level in 0..=tree::MAX_LEVEL {
            let count = (TileId { level, index: 0 }).count(size);
            for first in (0..count).step_by(TILES as usize) {
                let last = (first + TILES - 1).min(count - 1);
                let stored = store::level(connection, self.log.log_id, level, (first, last)).await?;
                for index in first..=last {
                    let tile = TileId { level, index };
                    let stored = stored.get(tile).and_then(|hashes| hashes.get(..tile.width(size)));
                    let is_right = match self.computed.get(tile) {
                        Some(computed) => stored == Some(computed),
                        // Of level 0 only the roots of full tiles were kept.
                        None => stored.map(tree::root_of_tile) == self.computed.hash(level + 1, index).ok(),
                    };
                    if !is_right {
                        report.add(Finding::Tile(tile));
                    }
                }
            }
        }
        Ok(())
    }
}

fn moved(one: &Different, all: &[Different]) -> Finding {
    let position = one.record.position();
    let from = all.iter().find(|other| {
        let from = other.record.position();
        from != position && one.record.moved_to(from).leaf() == other.signed
    });
    from.map_or(Finding::Differs(position), |from| Finding::Moved { position, from: from.record.position() })
}
