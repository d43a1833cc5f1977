//! Writes events to a file.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use fleetlog_event_log::{Event, LogId, Position};
use fleetlog_proof::range::RangeProof;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;

use super::{Error, Facts, Fingerprint, ROW_GROUP, ROW_GROUP_BYTES, SCHEMA, flags, out_of_order};
use crate::place::{self, Draft};

/// What comes next into a file.
#[derive(Debug)]
pub enum Part {
    /// Events.
    Page(Vec<Event>),
    /// Nothing more but the proof, if there is one.
    End(Option<RangeProof>),
}

/// A file that is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Where it lies.
    pub path: PathBuf,
    /// The first position.
    pub first: Position,
    /// The last position.
    pub last: Position,
    /// The size of the checkpoint whose proof is in the file, if there is one.
    pub proved_size: Option<u64>,
    /// The fingerprint of its readings, as they came.
    pub(crate) fingerprint: Vec<u8>,
}

/// Writes the readings of one log and one week below a directory. `next` yields them in order, at positions without a gap.
/// An error of `next` leaves no file.
pub fn write(
    directory: &Path,
    (log_id, week, first): (LogId, DateTime<Utc>, Position),
    mut next: impl FnMut() -> Result<Part, Error>,
) -> Result<Written, Error> {
    let (draft, file) = Draft::new(directory, &place::name(log_id, week, first))?;
    let schema = Arc::new(parse_message_type(SCHEMA)?);
    let mut out = SerializedFileWriter::new(file, schema, Arc::new(properties()?))?;
    let (mut group, mut fingerprint, mut last) = (Group::default(), Fingerprint::new(), first - 1);
    let proof = loop {
        let page = match next()? {
            Part::Page(page) => page,
            Part::End(proof) => break proof,
        };
        for event in page {
            if event.position != last + 1 {
                return Err(out_of_order(last + 1, event.position));
            }
            last = event.position;
            fingerprint.add(&event)?;
            group.add(event);
            if group.is_full() {
                std::mem::take(&mut group).write(&mut out)?;
            }
        }
    };
    if last < first {
        return Err(out_of_order(first, last));
    }
    group.write(&mut out)?;
    let facts = Facts { log_id, week, positions: (first, last), proof };
    for fact in facts.write() {
        out.append_key_value_metadata(fact);
    }
    let proved_size = facts.proof.map(|proof| proof.note.checkpoint.size);
    let file = out.into_inner()?;
    Ok(Written { path: draft.finish(&file)?, first, last, proved_size, fingerprint: fingerprint.finish() })
}

fn properties() -> Result<WriterProperties, Error> {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_created_by(concat!("fleetlog ", env!("CARGO_PKG_VERSION")).to_owned());
    // Numbers that grow by little are stored as their differences.
    for column in ["position", "occurred_at", "recorded_at"] {
        let column = ColumnPath::from(column);
        properties = properties
            .set_column_dictionary_enabled(column.clone(), false)
            .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED);
    }
    // No two are the same, so a dictionary would hold each once and save nothing.
    for column in ["msg_id", "payload"] {
        let column = ColumnPath::from(column);
        properties = properties
            .set_column_dictionary_enabled(column.clone(), false)
            .set_column_statistics_enabled(column, EnabledStatistics::None);
    }
    Ok(properties.build())
}

/// Readings that become a row group.
#[derive(Default)]
struct Group {
    log_id: Vec<i32>,
    position: Vec<i64>,
    occurred_at: Vec<i64>,
    recorded_at: Vec<i64>,
    flags: Vec<i32>,
    aggregate_id: Vec<ByteArray>,
    msg_id: Vec<ByteArray>,
    payload: Vec<ByteArray>,
    bytes: usize,
}

impl Group {
    fn add(&mut self, event: Event) {
        let flags = flags(&event);
        let Event { log_id, position, occurred_at, recorded_at, aggregate_id, msg_id, payload, .. } = event;
        let msg_id = msg_id.unwrap_or_default();
        self.bytes += aggregate_id.len() + msg_id.len() + payload.0.len();
        self.log_id.push(log_id.0);
        self.position.push(position);
        self.occurred_at.push(occurred_at.timestamp_micros());
        self.recorded_at.push(recorded_at.timestamp_micros());
        self.flags.push(flags.into());
        self.aggregate_id.push(aggregate_id.into_bytes().into());
        self.msg_id.push(msg_id.into_bytes().into());
        self.payload.push(payload.0.into_bytes().into());
    }

    fn is_full(&self) -> bool {
        self.position.len() >= ROW_GROUP || self.bytes >= ROW_GROUP_BYTES
    }

    fn write(self, out: &mut SerializedFileWriter<File>) -> Result<(), Error> {
        if self.position.is_empty() {
            return Ok(());
        }
        let mut group = out.next_row_group()?;
        column::<Int32Type, _>(&mut group, &self.log_id)?;
        column::<Int64Type, _>(&mut group, &self.position)?;
        column::<Int64Type, _>(&mut group, &self.occurred_at)?;
        column::<Int64Type, _>(&mut group, &self.recorded_at)?;
        column::<Int32Type, _>(&mut group, &self.flags)?;
        column::<ByteArrayType, _>(&mut group, &self.aggregate_id)?;
        column::<ByteArrayType, _>(&mut group, &self.msg_id)?;
        column::<ByteArrayType, _>(&mut group, &self.payload)?;
        group.close()?;
        Ok(())
    }
}

/// Writes the next column.
fn column<T: DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: &[T::T],
) -> Result<(), Error> {
    let column = group.next_column()?;
    let mut column = column.ok_or_else(|| Error::Content("the schema has too few columns".into()))?;
    column.typed::<T>().write_batch(values, None, None)?;
    column.close()?;
    Ok(())
}
