//! A file of the archive: readings of one log and one week at positions without a gap, as Parquet.
//!
//! - `write`: writes events
//! - `read`: reads them back, from any position on
//! - `facts`: what stands in the metadata
//!
//! The columns are the stored ones, with their stored bytes: `payload` is the JSON text. Other programs read the files as
//! they are. What the file is about stands in its metadata, under keys that begin with `fleetlog.`, and so does what proves
//! that its events are the record's: `docs/PROOF.md`.

mod facts;
mod read;
mod write;

use aws_lc_rs::digest::{Context, SHA256};
use chrono::{DateTime, Utc};
use fleetlog_event_log::event::StoredMetadata;
use fleetlog_event_log::{Event, Position};
use fleetlog_proof::hash::{Hash, LeafHasher};
use fleetlog_proof::record::Reading;

pub use facts::Facts;
pub use read::Reader;
pub(crate) use read::hash;
pub use write::{Part, Written, write};

/// How many readings a row group holds at most.
pub const ROW_GROUP: usize = 100_000;
/// How many bytes of text the readings of a row group hold, about: 32 MiB. Memory holds one row group while it is written.
pub const ROW_GROUP_BYTES: usize = 32 << 20;

/// The columns, as Parquet's language for schemas has them.
const SCHEMA: &str = "message readings {
    REQUIRED INT32 log_id;
    REQUIRED INT64 position;
    REQUIRED INT64 occurred_at (TIMESTAMP(MICROS,true));
    REQUIRED INT64 recorded_at (TIMESTAMP(MICROS,true));
    REQUIRED INT32 flags (INTEGER(16,true));
    REQUIRED BYTE_ARRAY aggregate_id (STRING);
    REQUIRED BYTE_ARRAY msg_id (STRING);
    REQUIRED BYTE_ARRAY payload (STRING);
}";

/// Why a file cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system cannot read or write it.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// It is no Parquet, or is damaged.
    #[error("the file is damaged: {0}")]
    Parquet(#[from] parquet::errors::ParquetError),
    /// Its content is not what it must be.
    #[error("{0}")]
    Content(String),
    /// An event is not the one that was recorded.
    #[error("position {0} differs from what was recorded; everything before it is as it was recorded")]
    Differs(Position),
    /// An event, or the proof itself, was changed.
    #[error(
        "an event or the proof was changed: the events do not lead to the root that was signed. Nothing is left that says which one"
    )]
    Within,
    /// The events are right, and the tiles in the database are not.
    #[error(
        "the events are those that were signed, but the database's own proof differs at position {0}; `fleetlog audit verify` says \
         what was changed"
    )]
    Tiles(Position),
    /// The checkpoint in the file, or the one to compare with, is not what it must be.
    #[error("the checkpoint: {0}")]
    Note(#[from] fleetlog_proof::note::Error),
    /// The proof cannot be read from the database.
    #[error(transparent)]
    Proof(#[from] fleetlog_proof::Error),
}

/// A fingerprint of readings: whether two series are the same, byte for byte.
pub(crate) struct Fingerprint {
    hash: Context,
    leaves: LeafHasher,
    /// Kept from reading to reading.
    record: Vec<u8>,
}

impl Fingerprint {
    pub(crate) fn new() -> Self {
        Self { hash: Context::new(&SHA256), leaves: LeafHasher::default(), record: vec![] }
    }

    /// Adds an event, and returns its leaf.
    pub(crate) fn add(&mut self, event: &Event) -> Result<Hash, Error> {
        let no_reading = || Error::Content(format!("event {} is no reading", event.position));
        Reading::of(event).ok_or_else(no_reading)?.write(&mut self.record);
        self.hash.update(&self.record);
        Ok(self.leaves.leaf(&self.record))
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.hash.finish().as_ref().to_vec()
    }
}

/// The hash of some bytes, hash by hash.
pub(crate) fn sha256(mut from: impl std::io::Read) -> std::io::Result<Vec<u8>> {
    let (mut context, mut buffer) = (Context::new(&SHA256), vec![0; 1 << 18]);
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(context.finish().as_ref().to_vec()),
            read => context.update(&buffer[..read]),
        }
    }
}

fn flags(event: &Event) -> i16 {
    match event.metadata {
        StoredMetadata::Telemetry { flags } => flags.bits(),
        StoredMetadata::Control(_) => 0,
    }
}

fn moment(micros: i64) -> Result<DateTime<Utc>, Error> {
    DateTime::from_timestamp_micros(micros)
        .ok_or_else(|| Error::Content(format!("the file is damaged: {micros} is no time")))
}

/// Says that a file has other positions than it must have.
fn out_of_order(expected: Position, found: Position) -> Error {
    Error::Content(format!("event {expected} is missing; {found} is in its place"))
}

#[cfg(test)]
mod tests;
