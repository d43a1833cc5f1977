//! Writes what it takes to check events without fleetlog and without the database, as `docs/PROOF.md` lays it out.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use chrono::SecondsFormat;
use fleetlog_event_log::archived::Archived;
use fleetlog_event_log::{EventLog, Log, Position};
use serde_json::{Map, Value};
use sqlx::PgConnection;

use crate::note::{SignedCheckpoint, VerifierKey};
use crate::record::{self, Malformed, Range, Reading, Record};
use crate::store;
use crate::tree::{self, TileId, WIDTH};

/// Events that are read by one statement.
const CHUNK: Position = 100_000;
/// How many events, and how many bytes of payload, are read from a file at once.
const PAGE: (i64, usize) = (10_000, 4 << 20);
/// Tiles that are read by one statement.
const TILES: u64 = 256;

/// What to write of a log.
pub struct Bundle<'a> {
    /// The log.
    pub log: &'a Log,
    /// The checkpoint that everything is proved against.
    pub note: &'a SignedCheckpoint,
    /// The log's verifier key.
    pub key: &'a VerifierKey,
    /// The first position.
    pub from: Position,
    /// The last position. Not beyond the checkpoint.
    pub to: Position,
    /// The sizes of checkpoints that an auditor has kept.
    pub kept: &'a [u64],
    /// What was removed, in order, and what reads it from its copies.
    pub removed: Option<(&'a EventLog, &'a [Archived])>,
}

/// Why a bundle was not written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be written.
    #[error("{0}: {1}")]
    Io(PathBuf, #[source] io::Error),
    /// A tile is missing.
    #[error("{0} is missing or damaged; `fleetlog audit verify` says what else is")]
    Tile(TileId),
    /// The proof failed.
    #[error(transparent)]
    Proof(#[from] crate::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Proof(error.into())
    }
}

impl From<fleetlog_event_log::Error> for Error {
    fn from(error: fleetlog_event_log::Error) -> Self {
        Self::Proof(error.into())
    }
}

impl From<Malformed> for Error {
    fn from(error: Malformed) -> Self {
        Self::Proof(error.into())
    }
}

impl Bundle<'_> {
    /// Writes the log's folder into `folder`, and returns how many events it has. Events are written as they are, changed
    /// or missing: whoever checks the bundle finds it. Those that were removed come from their files.
    ///
    /// # Errors
    ///
    /// [`Error`]. What was written until then stays.
    pub async fn write(
        &self,
        connection: &mut PgConnection,
        folder: &Path,
        mut progress: impl FnMut(u64),
    ) -> Result<u64, Error> {
        let folder = folder.join(format!("log-{}", self.log.log_id));
        write_file(&folder.join("checkpoint"), self.note.text().as_bytes())?;
        write_file(&folder.join("key"), format!("{}\n", self.key).as_bytes())?;
        self.write_tiles(connection, &folder).await?;
        let path = folder.join("events.ndjson");
        let failed = |error| Error::Io(path.clone(), error);
        let mut file = BufWriter::new(File::create(&path).map_err(failed)?);
        let mut written = 0;
        let mut write = |record: &Record| {
            written += 1;
            write_event(&mut file, record)?.map_err(failed)
        };
        let mut after = self.from - 1;
        while after < self.to {
            let next = self.removed.and_then(|(archives, removed)| {
                removed.iter().find(|range| range.last > after).map(|range| (archives, range))
            });
            after = match next {
                Some((archives, range)) if range.first <= after + 1 => {
                    self.write_copy(archives, range, after, &mut write).await?
                }
                next => {
                    let before = next.map_or(self.to, |(_, range)| range.first - 1);
                    let until = (after + CHUNK).min(self.to).min(before);
                    let (log_id, lane) = (self.log.log_id, self.log.lane);
                    let range = Range { log_id, lane, after, until, since: None };
                    record::read(connection, &range, |record| write(&record)).await?;
                    until
                }
            };
            progress((after - self.from + 1) as u64);
        }
        file.into_inner()
            .map_err(io::IntoInnerError::into_error)
            .and_then(|file| file.sync_all())
            .map_err(failed)?;
        Ok(written)
    }

    /// Writes the next events of a file, and returns the last one's position.
    async fn write_copy(
        &self,
        archives: &EventLog,
        range: &Archived,
        after: Position,
        write: &mut impl FnMut(&Record) -> Result<(), Error>,
    ) -> Result<Position, Error> {
        let read = archives.read_copy(range.clone(), after, PAGE.0, PAGE.1).await?;
        let mut last = self.to;
        for event in read.iter().filter(|event| event.position <= self.to) {
            write(&Reading::of(event).ok_or(Malformed)?.record())?;
            last = event.position;
        }
        Ok(last)
    }

    async fn write_tiles(&self, connection: &mut PgConnection, folder: &Path) -> Result<(), Error> {
        let size = self.note.checkpoint.size;
        for level in 0..=tree::MAX_LEVEL {
            for (first, last) in self.tiles(level) {
                for from in (first..=last).step_by(TILES as usize) {
                    let until = last.min(from + TILES - 1);
                    let stored = store::level(connection, self.log.log_id, level, (from, until)).await?;
                    for index in from..=until {
                        let tile = TileId { level, index };
                        let width = tile.width(size);
                        let hashes = stored.get(tile).and_then(|hashes| hashes.get(..width));
                        let bytes = hashes.map(tree::to_bytes).ok_or(Error::Tile(tile))?;
                        write_file(&folder.join(tile.path(width)), &bytes)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The tiles of a level that a verifier needs, as ranges of their indexes.
    fn tiles(&self, level: u8) -> Vec<(u64, u64)> {
        let size = self.note.checkpoint.size;
        let count = TileId { level, index: 0 }.count(size);
        if count == 0 {
            return vec![];
        }
        if level > 0 {
            return vec![(0, count - 1)];
        }
        let tile_of = |position: u64| position.saturating_sub(1) / WIDTH as u64;
        let (from, to) = (tile_of(self.from.max(1) as u64), tile_of(self.to.max(1) as u64));
        let mut ranges = if self.from <= self.to { vec![(from, to)] } else { vec![] };
        let mut edges: Vec<u64> = self
            .kept
            .iter()
            .chain([&size])
            .filter(|size| !size.is_multiple_of(WIDTH as u64))
            .map(|size| tile_of(*size))
            .collect();
        edges.sort_unstable();
        edges.dedup();
        ranges.extend(
            edges
                .into_iter()
                .filter(|edge| *edge < count && !(from..=to).contains(edge))
                .map(|edge| (edge, edge)),
        );
        ranges
    }
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let write = || {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, bytes)
    };
    write().map_err(|error| Error::Io(path.to_owned(), error))
}

/// How a column is written as JSON.
#[derive(Clone, Copy)]
enum Form {
    Integer,
    Text,
    Time,
}

const CONTROL: [(&str, Form); 11] = [
    ("log_id", Form::Integer),
    ("position", Form::Integer),
    ("aggregate_type", Form::Text),
    ("aggregate_id", Form::Text),
    ("sequence", Form::Integer),
    ("event_type", Form::Text),
    ("event_version", Form::Text),
    ("payload", Form::Text),
    ("metadata", Form::Text),
    ("occurred_at", Form::Time),
    ("recorded_at", Form::Time),
];

const TELEMETRY: [(&str, Form); 8] = [
    ("log_id", Form::Integer),
    ("position", Form::Integer),
    ("occurred_at", Form::Time),
    ("recorded_at", Form::Time),
    ("flags", Form::Integer),
    ("aggregate_id", Form::Text),
    ("msg_id", Form::Text),
    ("payload", Form::Text),
];

fn write_event(file: &mut impl Write, record: &Record) -> Result<io::Result<()>, Error> {
    let columns = record.columns().ok_or(Malformed)?;
    let names: &[(&str, Form)] = if columns.len() == TELEMETRY.len() { &TELEMETRY } else { &CONTROL };
    if columns.len() != names.len() {
        return Err(Malformed.into());
    }
    let value = |form: Form, bytes: &[u8]| match form {
        Form::Integer => match bytes {
            [..] if bytes.len() <= 8 => {
                // The sign is that of the first byte.
                let first = if bytes.first().is_some_and(|byte| *byte >= 0x80) { -1 } else { 0 };
                Some(Value::from(bytes.iter().fold(first, |value: i64, byte| value << 8 | i64::from(*byte))))
            }
            _ => None,
        },
        Form::Text => String::from_utf8(bytes.to_vec()).ok().map(Value::from),
        Form::Time => Some(record::time(bytes).map_or(Value::Null, |at| {
            let text = at.to_rfc3339_opts(SecondsFormat::Micros, true);
            // A year of four digits, and no sign.
            if text.len() == "2026-11-20T13:32:47.000000Z".len() { Value::from(text) } else { Value::Null }
        })),
    };
    let mut event = Map::new();
    for ((name, form), bytes) in names.iter().zip(columns) {
        event.insert((*name).to_owned(), value(*form, bytes).ok_or(Malformed)?);
    }
    let write = serde_json::to_writer(&mut *file, &event).map_err(io::Error::from);
    Ok(write.and_then(|()| file.write_all(b"\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_written_as_in_the_documents_example() {
        let mut line = vec![];
        write_event(&mut line, &Record(record::tests::example().into())).expect("a record").expect("written");
        let document = include_str!("../../../docs/PROOF.md");
        let line = String::from_utf8(line).expect("text");
        assert!(document.contains(&line), "{line}");
    }
}
