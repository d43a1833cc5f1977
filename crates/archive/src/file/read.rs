//! Reads a file back.

use std::fs::File;
use std::path::Path;

use fleetlog_aggregates::telemetry::{AGGREGATE_TYPE, EVENT_TYPE, EVENT_VERSION, Flags};
use fleetlog_event_log::event::{Json, StoredMetadata};
use fleetlog_event_log::{Event, LogId, Position};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_typed_column_reader};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::{FileReader, RowGroupReader};
use parquet::file::serialized_reader::SerializedFileReader;

use super::{Error, Facts, moment, out_of_order, sha256};

/// How many readings are read at once at most, and about how many bytes of text they have.
const BATCH: (usize, i64) = (8_192, 4 << 20);

/// A file that is read from some position on.
pub struct Reader {
    file: SerializedFileReader<File>,
    /// The next row group.
    group: usize,
    columns: Option<Columns>,
    /// The position of the next event.
    next: Position,
    last: Position,
}

impl Reader {
    /// Opens the file that has these positions, to read what comes after a position.
    pub fn open(path: &Path, (first, last): (Position, Position), after: Position) -> Result<Self, Error> {
        let file = SerializedFileReader::new(File::open(path)?)?;
        let rows = file.metadata().file_metadata().num_rows();
        if rows != last - first + 1 {
            return Err(Error::Content(format!(
                "the file has {rows} events instead of {}",
                last - first + 1
            )));
        }
        let mut reader = Self { file, group: 0, columns: None, next: first, last };
        reader.skip(after.max(first - 1) + 1 - first)?;
        Ok(reader)
    }

    /// What the file says of itself.
    pub fn facts(&self) -> Result<Facts, Error> {
        Facts::read(self.file.metadata().file_metadata())
    }

    fn skip(&mut self, mut rows: i64) -> Result<(), Error> {
        self.next += rows;
        while let Some(group) = self.file.metadata().row_groups().get(self.group) {
            if rows < group.num_rows() {
                if rows > 0 {
                    self.open_group()?.skip(rows as usize)?;
                }
                break;
            }
            rows -= group.num_rows();
            self.group += 1;
        }
        Ok(())
    }

    fn open_group(&mut self) -> Result<&mut Columns, Error> {
        let group = self.file.get_row_group(self.group)?;
        self.group += 1;
        let columns = Columns::open(&*group)?;
        Ok(self.columns.insert(columns))
    }

    /// The next events, in order. None at the end.
    pub fn batch(&mut self) -> Result<Vec<Event>, Error> {
        while self.next <= self.last {
            let columns = match &mut self.columns {
                Some(columns) => columns,
                None => self.open_group()?,
            };
            let events = columns.read()?;
            if events.is_empty() {
                self.columns = None;
                continue;
            }
            for event in &events {
                if event.position != self.next {
                    return Err(out_of_order(self.next, event.position));
                }
                self.next += 1;
            }
            return Ok(events);
        }
        Ok(vec![])
    }
}

/// The hash of a file's bytes.
pub(crate) fn hash(path: &Path) -> Result<Vec<u8>, Error> {
    Ok(sha256(File::open(path)?)?)
}

/// The columns of a row group, each at the same row.
struct Columns {
    log_id: ColumnReaderImpl<Int32Type>,
    position: ColumnReaderImpl<Int64Type>,
    occurred_at: ColumnReaderImpl<Int64Type>,
    recorded_at: ColumnReaderImpl<Int64Type>,
    flags: ColumnReaderImpl<Int32Type>,
    aggregate_id: ColumnReaderImpl<ByteArrayType>,
    msg_id: ColumnReaderImpl<ByteArrayType>,
    payload: ColumnReaderImpl<ByteArrayType>,
    /// How many rows are read at once.
    rows: usize,
}

impl Columns {
    fn open(group: &dyn RowGroupReader) -> Result<Self, Error> {
        let facts = group.metadata();
        let payload = facts.columns().last().map_or(0, ColumnChunkMetaData::uncompressed_size);
        let of_one = payload / facts.num_rows().max(1) + 1;
        Ok(Self {
            log_id: typed(group, 0)?,
            position: typed(group, 1)?,
            occurred_at: typed(group, 2)?,
            recorded_at: typed(group, 3)?,
            flags: typed(group, 4)?,
            aggregate_id: typed(group, 5)?,
            msg_id: typed(group, 6)?,
            payload: typed(group, 7)?,
            rows: ((BATCH.1 / of_one) as usize).clamp(1, BATCH.0),
        })
    }

    fn skip(&mut self, rows: usize) -> Result<(), Error> {
        self.log_id.skip_records(rows)?;
        self.position.skip_records(rows)?;
        self.occurred_at.skip_records(rows)?;
        self.recorded_at.skip_records(rows)?;
        self.flags.skip_records(rows)?;
        self.aggregate_id.skip_records(rows)?;
        self.msg_id.skip_records(rows)?;
        self.payload.skip_records(rows)?;
        Ok(())
    }

    /// The next rows as events. None at the end of the row group.
    fn read(&mut self) -> Result<Vec<Event>, Error> {
        let rows = self.rows;
        let position = values(&mut self.position, rows)?;
        let log_id = exactly(&mut self.log_id, position.len())?;
        let occurred_at = exactly(&mut self.occurred_at, position.len())?;
        let recorded_at = exactly(&mut self.recorded_at, position.len())?;
        let flags = exactly(&mut self.flags, position.len())?;
        let aggregate_id = exactly(&mut self.aggregate_id, position.len())?;
        let msg_id = exactly(&mut self.msg_id, position.len())?;
        let payload = exactly(&mut self.payload, position.len())?;
        let mut events = Vec::with_capacity(position.len());
        for at in 0..position.len() {
            let flags = i16::try_from(flags[at])
                .map_err(|_| Error::Content(format!("the file is damaged: {} are no flags", flags[at])))?;
            events.push(Event {
                log_id: LogId(log_id[at]),
                position: position[at],
                aggregate_type: AGGREGATE_TYPE.into(),
                aggregate_id: text(&aggregate_id[at])?,
                sequence: position[at],
                event_type: EVENT_TYPE.into(),
                event_version: EVENT_VERSION.into(),
                payload: Json(text(&payload[at])?),
                metadata: StoredMetadata::Telemetry { flags: Flags::from_bits(flags) },
                occurred_at: moment(occurred_at[at])?,
                recorded_at: moment(recorded_at[at])?,
                msg_id: Some(text(&msg_id[at])?),
            });
        }
        Ok(events)
    }
}

fn typed<T: DataType>(group: &dyn RowGroupReader, column: usize) -> Result<ColumnReaderImpl<T>, Error> {
    // A column of another type would be a panic of the library.
    let found = group.metadata().columns().get(column).map(ColumnChunkMetaData::column_type);
    if found != Some(T::get_physical_type()) {
        return Err(Error::Content(format!("column {column} of the file is not of its type")));
    }
    let reader: ColumnReader = group.get_column_reader(column)?;
    Ok(get_typed_column_reader(reader))
}

/// The next values of a column: fewer than asked for at the end of the row group.
fn values<T: DataType>(column: &mut ColumnReaderImpl<T>, rows: usize) -> Result<Vec<T::T>, Error> {
    let mut values = Vec::with_capacity(rows);
    while values.len() < rows {
        let (read, _, _) = column.read_records(rows - values.len(), None, None, &mut values)?;
        if read == 0 {
            break;
        }
    }
    Ok(values)
}

fn exactly<T: DataType>(column: &mut ColumnReaderImpl<T>, rows: usize) -> Result<Vec<T::T>, Error> {
    let values = values(column, rows)?;
    if values.len() == rows {
        return Ok(values);
    }
    Err(Error::Content("the columns of the file are not of one length".into()))
}

fn text(bytes: &ByteArray) -> Result<String, Error> {
    Ok(bytes.as_utf8()?.to_owned())
}
