//! The record of an event: every stored column, byte for byte, as `docs/PROOF.md` lays it out. It is what Postgres's
//! binary COPY writes for the row, so records are read from the database by COPY, and nothing is parsed but where each
//! of them ends.

use bytes::{Buf, Bytes, BytesMut};
use chrono::{DateTime, Utc};
use fleetlog_event_log::event::StoredMetadata;
use fleetlog_event_log::{Event, Lane, LogId, Position};
use futures::{StreamExt, TryStreamExt};
use sqlx::PgConnection;

use crate::hash::{Hash, LeafHasher};

/// The columns of a control event, in the order of its record.
const CONTROL: &str = "log_id, position, aggregate_type, aggregate_id, sequence, event_type, event_version, \
                       payload, metadata, occurred_at, recorded_at";
/// The columns of a reading, in the order of its record.
const TELEMETRY: &str = "log_id, position, occurred_at, recorded_at, flags, aggregate_id, msg_id, payload";
/// Where a record has its position: after the number of columns, the log's id and two lengths.
const POSITION: std::ops::Range<usize> = 14..22;
/// What a binary COPY begins with, before the length of what an extension may add.
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0";
/// No row of ours has as many columns. It marks the end of a COPY.
const END: i16 = -1;

/// A record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record(pub Bytes);

/// Bytes that are no record.
#[derive(Debug, thiserror::Error)]
#[error("the database's answer is not of the form that was asked for")]
pub struct Malformed;

impl Record {
    /// The event's position. 0 if these bytes are no record.
    #[must_use]
    pub fn position(&self) -> Position {
        let bytes = self.0.get(POSITION).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, Position::from_be_bytes)
    }

    /// This record with another position: what the event would be there.
    #[must_use]
    pub fn moved_to(&self, position: Position) -> Self {
        let mut bytes = self.0.to_vec();
        if let Some(place) = bytes.get_mut(POSITION) {
            place.copy_from_slice(&position.to_be_bytes());
        }
        Self(bytes.into())
    }

    /// The leaf's hash.
    #[must_use]
    pub fn leaf(&self) -> Hash {
        LeafHasher::default().leaf(&self.0)
    }

    /// The values of the columns, in order. `None` if these bytes are no record, or one of them is null.
    #[must_use]
    pub fn columns(&self) -> Option<Vec<&[u8]>> {
        let mut bytes = &self.0[..];
        let count = bytes.try_get_u16().ok()?;
        let mut columns = vec![];
        for _ in 0..count {
            let length = usize::try_from(bytes.try_get_i32().ok()?).ok()?;
            let (column, rest) = bytes.split_at_checked(length)?;
            columns.push(column);
            bytes = rest;
        }
        bytes.is_empty().then_some(columns)
    }

    /// When the event was appended. `None` if that is no time of the calendar.
    #[must_use]
    pub fn recorded_at(&self) -> Option<DateTime<Utc>> {
        let columns = self.columns()?;
        time(columns.get(if columns.len() == 8 { 3 } else { 10 })?)
    }
}

/// Reads a time's 8 bytes. `None` if it is no time of the calendar, such as `infinity`.
pub(crate) fn time(bytes: &[u8]) -> Option<DateTime<Utc>> {
    let micros = i64::from_be_bytes(bytes.try_into().ok()?);
    DateTime::from_timestamp_micros(micros.checked_add(SINCE_1970)?)
}

/// Microseconds from 1970 to 2000, where Postgres counts from.
const SINCE_1970: i64 = 946_684_800_000_000;

/// A reading's record from its columns.
#[derive(Debug, Clone, Copy)]
pub struct Reading<'a> {
    /// The log.
    pub log_id: LogId,
    /// The position.
    pub position: Position,
    /// Microseconds since 2000.
    pub occurred_at: i64,
    /// Microseconds since 2000.
    pub recorded_at: i64,
    /// What ingest noticed, as bits.
    pub flags: i16,
    /// The stream's id.
    pub aggregate_id: &'a str,
    /// The device's message id.
    pub msg_id: &'a str,
    /// The payload, as it is stored.
    pub payload: &'a [u8],
}

impl<'a> Reading<'a> {
    /// The columns of a reading. `None` if the event is none.
    #[must_use]
    pub fn of(event: &'a Event) -> Option<Self> {
        let StoredMetadata::Telemetry { flags } = event.metadata else { return None };
        let since_2000 = |at: DateTime<Utc>| at.timestamp_micros() - SINCE_1970;
        Some(Self {
            log_id: event.log_id,
            position: event.position,
            occurred_at: since_2000(event.occurred_at),
            recorded_at: since_2000(event.recorded_at),
            flags: flags.bits(),
            aggregate_id: &event.aggregate_id,
            msg_id: event.msg_id.as_deref()?,
            payload: event.payload.0.as_bytes(),
        })
    }

    /// The record.
    #[must_use]
    pub fn record(&self) -> Record {
        let mut record = vec![];
        self.write(&mut record);
        Record(record.into())
    }

    /// Writes the record.
    pub fn write(&self, record: &mut Vec<u8>) {
        record.clear();
        record.extend_from_slice(&8_u16.to_be_bytes());
        let mut column = |value: &[u8]| {
            record.extend_from_slice(&(value.len() as u32).to_be_bytes());
            record.extend_from_slice(value);
        };
        column(&self.log_id.0.to_be_bytes());
        column(&self.position.to_be_bytes());
        column(&self.occurred_at.to_be_bytes());
        column(&self.recorded_at.to_be_bytes());
        column(&self.flags.to_be_bytes());
        column(self.aggregate_id.as_bytes());
        column(self.msg_id.as_bytes());
        column(self.payload);
    }
}

/// The table of a lane.
pub(crate) const fn table(lane: Lane) -> &'static str {
    match lane {
        Lane::Control => "control_events",
        Lane::Telemetry => "telemetry_events",
    }
}

/// Which events of a log to read.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    /// The log.
    pub log_id: LogId,
    /// The log's lane.
    pub lane: Lane,
    /// Only events after this position.
    pub after: Position,
    /// Only events up to this position.
    pub until: Position,
    /// Only events recorded at this time or later: it spares a look at the partitions before.
    pub since: Option<DateTime<Utc>>,
}

impl Range {
    /// COPY takes no parameters. These are numbers and a time, and need no quoting.
    fn copy(&self) -> String {
        let table = table(self.lane);
        let columns = match self.lane {
            Lane::Control => CONTROL,
            Lane::Telemetry => TELEMETRY,
        };
        let since =
            self.since.map_or_else(String::new, |at| format!(" AND recorded_at >= '{}'", at.to_rfc3339()));
        let Self { log_id, after, until, .. } = self;
        format!(
            "COPY (SELECT {columns} FROM {table} WHERE log_id = {log_id} AND position > {after} \
             AND position <= {until}{since} ORDER BY position) TO STDOUT (FORMAT binary)"
        )
    }
}

/// Passes on the records of some events, in the order of their positions. If `each` fails, the rest is read from the
/// connection and dropped, so that the connection can be used again.
pub async fn read<E: From<sqlx::Error> + From<Malformed>>(
    connection: &mut PgConnection,
    range: &Range,
    mut each: impl FnMut(Record) -> Result<(), E>,
) -> Result<(), E> {
    let mut chunks = connection.copy_out_raw(&range.copy()).await?;
    let mut rows = Rows::default();
    let mut result = Ok(());
    while let Some(chunk) = chunks.next().await {
        rows.push(chunk?);
        while result.is_ok()
            && let Some(row) = rows.next().transpose()
        {
            result = row.map_err(E::from).and_then(&mut each);
        }
        if result.is_err() {
            while chunks.try_next().await?.is_some() {}
            return result;
        }
    }
    if rows.ended { Ok(()) } else { Err(Malformed.into()) }
}

/// Divides what a binary COPY writes into its rows.
#[derive(Default)]
struct Rows {
    bytes: BytesMut,
    begun: bool,
    ended: bool,
}

impl Rows {
    fn push(&mut self, chunk: Bytes) {
        // Postgres sends each row as a message of its own: nearly always there is nothing to join.
        if self.bytes.is_empty() {
            self.bytes = chunk.into();
        } else {
            self.bytes.extend_from_slice(&chunk);
        }
    }

    fn next(&mut self) -> Result<Option<Record>, Malformed> {
        if !self.begun {
            let header = SIGNATURE.len() + 4;
            if self.bytes.len() < header {
                return Ok(None);
            }
            let extension = self.bytes[SIGNATURE.len()..header].iter().any(|byte| *byte != 0);
            if !self.bytes.starts_with(SIGNATURE) || extension {
                return Err(Malformed);
            }
            self.bytes.advance(header);
            self.begun = true;
        }
        let Some(length) = self.row() else { return Ok(None) };
        let row = self.bytes.split_to(length?);
        if row.len() == 2 {
            self.ended = true;
            return Ok(None);
        }
        Ok(Some(Record(row.freeze())))
    }

    /// The length of the next row. `None` if it is not there as a whole.
    fn row(&self) -> Option<Result<usize, Malformed>> {
        let mut rest = &self.bytes[..];
        let columns = rest.try_get_i16().ok()?;
        if columns == END || self.ended {
            return Some(if rest.is_empty() && !self.ended { Ok(2) } else { Err(Malformed) });
        }
        for _ in 0..columns {
            let length = rest.try_get_i32().ok()?;
            // None of the columns may be null.
            let Ok(length) = usize::try_from(length) else { return Some(Err(Malformed)) };
            rest = rest.get(length..)?;
        }
        Some(Ok(self.bytes.len() - rest.len()))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The record of the first reading of the example in docs/PROOF.md.
    pub(crate) fn example() -> Vec<u8> {
        let mut record = vec![];
        let reading = Reading {
            log_id: LogId(2),
            position: 1,
            occurred_at: 848_496_767_000_000,
            recorded_at: 848_496_767_250_000,
            flags: 0,
            aggregate_id: "t0/dev-01",
            msg_id: "1",
            payload: br#"{"metrics":{"temp_c":21.5}}"#,
        };
        reading.write(&mut record);
        record
    }

    #[test]
    fn a_record_is_the_one_of_the_documents_example() {
        let document = include_str!("../../../docs/PROOF.md");
        let hex = |bytes: &[u8]| format!("{bytes:02x?}").replace(['[', ']', ',', ' '], "");
        let lines = document.lines().skip_while(|line| *line != "0008").take(9);
        assert_eq!(hex(&example()), lines.collect::<String>().replace(' ', ""));
        let record = Record(example().into());
        assert!(document.contains(&format!("leaf 0      {}", hex(&record.leaf().0))));
        assert_eq!(record.position(), 1);
        assert_eq!(record.recorded_at().map(|at| at.timestamp_millis()), Some(1_795_181_567_250));
        assert_eq!(record.columns().map(|columns| columns.len()), Some(8));
        assert_eq!(record.moved_to(7).position(), 7);
    }

    #[test]
    fn rows_are_the_same_however_the_stream_is_cut() {
        let mut stream = [SIGNATURE, &[0; 4]].concat();
        stream.extend(example());
        stream.extend(example());
        stream.extend(END.to_be_bytes());
        for size in [1, 7, 100, stream.len()] {
            let (mut rows, mut found) = (Rows::default(), 0);
            for chunk in stream.chunks(size) {
                rows.push(Bytes::copy_from_slice(chunk));
                while let Some(row) = rows.next().expect("rows") {
                    assert_eq!(row.0, example());
                    found += 1;
                }
            }
            assert!(rows.ended && found == 2, "{size}");
        }
    }

    #[test]
    fn what_is_no_copy_is_refused() {
        let header = [SIGNATURE, &[0; 4]].concat();
        for (tail, what) in
            [(&b"\0\x01\xff\xff\xff\xff"[..], "a null"), (b"\xff\xff\0\0", "more after the end")]
        {
            let mut rows = Rows::default();
            rows.push([&header[..], tail].concat().into());
            assert!(rows.next().is_err(), "{what}");
        }
        let mut rows = Rows::default();
        rows.push(Bytes::from_static(b"<html> and much else"));
        assert!(rows.next().is_err());
        assert_eq!(Record(Bytes::from_static(b"\0\x08")).columns(), None);
    }
}
