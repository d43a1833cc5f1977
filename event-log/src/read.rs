//! Reads events: a range of a log, or one device's readings by time. [`filter`] says which of a log's events; `until` reads
//! what there was up to a position.

mod filter;
mod until;

use std::borrow::Cow;
use std::collections::HashMap;

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use fleetlog_aggregates::identity::{StreamId, Uid, aggregate_id, split_aggregate_id};
use fleetlog_aggregates::telemetry::{AGGREGATE_TYPE, EVENT_TYPE, EVENT_VERSION, Flags, MAX_AHEAD};
use futures::TryStreamExt;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{Connection, FromRow, Postgres, QueryBuilder, Row};

use crate::damage;
use crate::event::{Json, StoredMetadata};
use crate::page::{COUNTED, FromPgRow, PAGE_BYTES, Page, Total};
use crate::probes::Range;
use crate::scope::Scope;
use crate::{Error, Event, EventLog, Lane, Log, LogId, Position, Result, TenantLog};

use filter::Bounds;
pub use filter::{Filter, SCANNED, Start};

/// A time before any that a reading may carry.
const EARLIEST: DateTime<Utc> = DateTime::from_timestamp(-62_200_000_000, 0).expect("in range");
/// A time after any that a reading may carry.
const LATEST: DateTime<Utc> = DateTime::from_timestamp(253_402_300_800, 0).expect("in range");

/// A slice of a log: the events of some of its streams, up to a position. Slices of a log share no stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// Which slice: 0 to `of` - 1.
    pub nth: i32,
    /// Into how many slices the log is divided; at least 1.
    pub of: i32,
    /// The last position that may be read.
    pub until: Position,
}

/// A reading as it is stored.
#[derive(Debug, Clone)]
pub struct Reading {
    /// The device that sent it.
    pub uid: Uid,
    /// The reading's position in the telemetry log.
    pub position: Position,
    /// The device's message id.
    pub msg_id: String,
    /// The payload, as it is stored.
    pub payload: Json,
    /// When the reading was taken, by the device's clock.
    pub occurred_at: DateTime<Utc>,
    /// When the reading was appended, by the database's clock.
    pub recorded_at: DateTime<Utc>,
    /// What ingest noticed about the reading.
    pub flags: Flags,
}

/// Which of a device's readings to read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Span {
    /// Only readings that occurred at this time or later.
    pub from: Option<DateTime<Utc>>,
    /// Only readings that occurred before this time.
    pub to: Option<DateTime<Utc>>,
    /// Oldest first instead of newest first.
    pub ascending: bool,
    /// Only readings beyond the one at this time and position, in the direction of the order.
    pub beyond: Option<(DateTime<Utc>, Position)>,
}

/// A page of a log's events.
#[derive(Debug)]
pub struct EventsPage {
    /// The events.
    pub page: Page<Event>,
    /// Where the next page begins, if there is one.
    pub next: Option<Position>,
    /// The positions that the page speaks of: after the first, and up to the second. Pages that follow each other speak of
    /// each position once.
    pub covered: (Position, Position),
}

impl<S: Scope> EventLog<S> {
    /// The events of a log after a position, in order, at most `limit`. Fewer than `limit` means that there were no
    /// more when it was read.
    pub async fn read(
        &self,
        log_id: LogId,
        after: Position,
        limit: i64,
        filter: &Filter,
    ) -> Result<Vec<Event>> {
        self.read_within(log_id, after, limit, usize::MAX, filter).await
    }

    /// A page of the events of a log that pass a filter, in the order of their positions or the reverse. A page may have no
    /// events although others have: see [`SCANNED`]. What was removed is not among them: see
    /// [`TenantLog::holes`](crate::TenantLog::holes).
    pub async fn events_page(
        &self,
        log_id: LogId,
        start: Start,
        limit: usize,
        filter: &Filter,
    ) -> Result<EventsPage> {
        let most = limit.saturating_add(1) as i64;
        let log = self.heads().log(log_id).ok_or(Error::NoSuchLog(log_id))?;
        let bounds = self.bounds(&log, filter).await?.beyond(start);
        let (bounds, cut) = bounds.scanned(&log, filter, start.descending);
        let with_next = |page: Page<Event>| {
            let next = if page.has_more { page.items.last().map(|event| event.position) } else { cut };
            let covered = bounds.covered(next, start.descending, log.head);
            EventsPage { page: Page { has_more: next.is_some(), ..page }, next, covered }
        };
        let (mut sql, event) = events(&log, bounds, start.descending, most, filter);
        let mut page = self.fill_page(planned(&mut sql, filter), limit, event).await;
        if start.descending {
            return match page {
                Err(error) => Err(self.explained_somewhere(log_id, error).await),
                Ok(page) => Ok(with_next(page)),
            };
        }
        let after = start.after.unwrap_or(0);
        let range = Range { log_id, after, limit: most, bytes: PAGE_BYTES };
        if let Err(error) = page {
            page = match self.again_by_index(&error, range, filter).await {
                Some((events, full)) => {
                    let page = Page::cut(events, limit);
                    Ok(Page { has_more: page.has_more || full, ..page })
                }
                None => Err(self.explained(log_id, after, error).await),
            };
        }
        self.inner.reads.note(range, &page);
        page.map(with_next)
    }

    /// The next events of a log after a position, in order: at most `limit`, and no more once their payloads reach
    /// `bytes`. At least one if there is one, so fewer than `limit` does not mean that there are no more. Events that were
    /// removed come from their copies, or fail with [`Error::Archived`].
    pub async fn page(&self, log_id: LogId, after: Position, limit: i64, bytes: usize) -> Result<Vec<Event>> {
        let all = Filter::default();
        let events = self.read_within(log_id, after, limit, bytes, &all).await?;
        match self.skipped(log_id, after, &events).await? {
            Some(range) => self.read_copy(range, after, limit, bytes).await,
            // What lacks its beginning may have been restored since it was read.
            None if events.first().is_some_and(|event| event.position != after + 1) => {
                self.read_within(log_id, after, limit, bytes, &all).await
            }
            None => Ok(events),
        }
    }

    /// The next events of one slice of a log, bounded as in [`EventLog::page`].
    pub async fn slice_page(
        &self,
        log_id: LogId,
        after: Position,
        slice: Slice,
        limit: i64,
        bytes: usize,
    ) -> Result<Vec<Event>> {
        let mut after = after;
        while after < slice.until {
            // Each time: that something is missing cannot be seen from a slice.
            let removed = self.archived(log_id, after, slice.until, 1).await?.into_iter().next();
            let (events, read) = match removed {
                Some(range) if range.first <= after + 1 => {
                    self.slice_of_copy(range, after, slice, limit, bytes).await?
                }
                Some(range) => {
                    let until = range.first - 1;
                    (self.stored_slice(log_id, after, Slice { until, ..slice }, limit, bytes).await?, until)
                }
                None => (self.stored_slice(log_id, after, slice, limit, bytes).await?, slice.until),
            };
            if !events.is_empty() {
                return Ok(events);
            }
            after = read;
        }
        Ok(vec![])
    }

    /// The next events of a slice that are in the database.
    async fn stored_slice(
        &self,
        log_id: LogId,
        after: Position,
        slice: Slice,
        limit: i64,
        bytes: usize,
    ) -> Result<Vec<Event>> {
        let log = self.heads().log(log_id).ok_or(Error::NoSuchLog(log_id))?;
        let (sql, event): (_, FromPgRow<Event>) = match log.lane {
            Lane::Control => (CONTROL_SLICE, control_event),
            Lane::Telemetry => (TELEMETRY_SLICE, telemetry_event),
        };
        let query = sqlx::query(sql).bind(log_id).bind(after).bind(limit);
        let query = query.bind(slice.until).bind(slice.nth).bind(slice.of);
        match self.up_to(bytes, query, event).await {
            Err(error) => Err(self.explained(log_id, after, error).await),
            events => events,
        }
    }

    /// The next events of some aggregate types in a control log after a position, in order, bounded as in
    /// [`EventLog::page`].
    pub async fn control_page(
        &self,
        log_id: LogId,
        after: Position,
        limit: i64,
        bytes: usize,
        aggregate_types: &[&str],
    ) -> Result<Vec<Event>> {
        let query = sqlx::query(CONTROL_OF_TYPES).bind(log_id).bind(after).bind(limit).bind(aggregate_types);
        let mut read = self.up_to(bytes, query, control_event).await;
        if let Err(error) = read {
            read = Err(self.explained(log_id, after, error).await);
        }
        self.inner.reads.note(Range { log_id, after, limit, bytes }, &read);
        read
    }

    /// Whether a range of a log can be read. Damage is not explained, which would take many statements.
    pub(crate) async fn can_read(&self, range: Range) -> Result<()> {
        let all = Filter::default();
        let (mut sql, event) = self.events_after(range.log_id, range.after, range.limit, &all)?;
        match self.up_to(range.bytes, planned(&mut sql, &all), event).await {
            Err(error) if self.again_by_index(&error, range, &all).await.is_none() => Err(error),
            _ => Ok(()),
        }
    }

    pub(crate) async fn read_within(
        &self,
        log_id: LogId,
        after: Position,
        limit: i64,
        bytes: usize,
        filter: &Filter,
    ) -> Result<Vec<Event>> {
        let (mut sql, event) = self.events_after(log_id, after, limit, filter)?;
        let range = Range { log_id, after, limit, bytes };
        let mut read = self.up_to(bytes, planned(&mut sql, filter), event).await;
        if let Err(error) = read {
            read = match self.again_by_index(&error, range, filter).await {
                // Who reads without a bound on bytes takes a short answer for the end.
                Some((events, more)) if !more || bytes < usize::MAX => Ok(events),
                _ => Err(self.explained(log_id, after, error).await),
            };
        }
        self.inner.reads.note(range, &read);
        read
    }

    /// Reads events once more after an error that damage explains: a plan that reads whole tables meets damage that is far from
    /// what it returns. Also says whether there
    /// is more, behind what `bytes` allows or at the damage. `None` if not even the first event can be read.
    async fn again_by_index(
        &self,
        error: &Error,
        Range { log_id, after, limit, bytes }: Range,
        filter: &Filter,
    ) -> Option<(Vec<Event>, bool)> {
        if !damage::is_told(error) {
            return None;
        }
        let (mut sql, event) = self.events_after(log_id, after, limit, filter).ok()?;
        // Closed afterwards, because of its settings.
        let mut connection = self.careful_connection().await.ok()?.detach();
        let mut rows = planned(&mut sql, filter).fetch(&mut connection);
        let (mut events, mut read, mut damaged) = (Vec::new(), 0, false);
        while read < bytes && !damaged {
            match rows.try_next().await {
                Ok(Some(row)) => {
                    let event = event(&row).ok()?;
                    read += event.payload.0.len();
                    events.push(event);
                }
                Ok(None) => break,
                // What comes before the damage arrives before the error.
                Err(_) if events.is_empty() => return None,
                Err(_) => damaged = true,
            }
        }
        drop(rows);
        let _ = connection.close().await;
        Some((events, damaged || read >= bytes))
    }

    /// The statement for the events of a log after a position, and what reads its rows.
    fn events_after<'f>(
        &self,
        log_id: LogId,
        after: Position,
        limit: i64,
        filter: &'f Filter,
    ) -> Result<(QueryBuilder<'f, Postgres>, FromPgRow<Event>)> {
        let log = self.heads().log(log_id).ok_or(Error::NoSuchLog(log_id))?;
        let bounds = Bounds::ALL.beyond(Start { after: Some(after), descending: false });
        Ok(events(&log, bounds, false, limit, filter))
    }

    /// Reads events until their payloads reach `bytes`.
    pub(crate) async fn up_to(
        &self,
        bytes: usize,
        query: Query<'_, Postgres, PgArguments>,
        event: FromPgRow<Event>,
    ) -> Result<Vec<Event>> {
        // A connection and not the pool, which would pass each row on through a stream of its own.
        let mut connection = self.connection().await?;
        let mut rows = query.fetch(&mut *connection);
        let (mut events, mut read) = (Vec::new(), 0);
        while read < bytes
            && let Some(row) = rows.try_next().await?
        {
            let event = event(&row)?;
            read += event.payload.0.len();
            events.push(event);
        }
        Ok(events)
    }

    /// Every event of these control streams of one aggregate type: stream by stream in the order of their ids, each
    /// in its own order.
    pub async fn streams<A: Aggregate>(&self, streams: &[StreamId]) -> Result<Vec<Event>> {
        let aggregate_ids: Vec<String> = streams.iter().map(StreamId::to_string).collect();
        let query = sqlx::query(STREAMS).bind(A::TYPE).bind(&aggregate_ids);
        self.of_streams(streams.first(), query).await
    }

    /// The events of a control stream after `sequence`, in order.
    pub async fn stream_after<A: Aggregate>(&self, stream: &StreamId, sequence: i64) -> Result<Vec<Event>> {
        let query = sqlx::query(STREAM_AFTER).bind(A::TYPE).bind(stream.to_string()).bind(sequence);
        self.of_streams(Some(stream), query).await
    }

    /// The control events that a statement returns, all of one tenant's, such as this stream's.
    async fn of_streams(
        &self,
        stream: Option<&StreamId>,
        query: Query<'_, Postgres, PgArguments>,
    ) -> Result<Vec<Event>> {
        let mut connection = self.connection().await?;
        let error = match query.fetch_all(&mut *connection).await {
            Ok(rows) => return Ok(rows.iter().map(control_event).collect::<Result<_, sqlx::Error>>()?),
            Err(error) => Error::from(error),
        };
        drop(connection);
        match stream {
            Some(stream) => Err(self.explained_of_control(&stream.tenant, error).await),
            None => Err(error),
        }
    }
}

impl TenantLog {
    /// A page of one device's readings within a span.
    pub async fn readings_page(
        &self,
        log_id: LogId,
        uid: &Uid,
        span: Span,
        limit: usize,
    ) -> Result<Page<Reading>> {
        let one = [aggregate_id(self.tenant(), uid)];
        match self.fetch_page(readings(log_id, &one, span, limit), limit).await {
            Err(error) => Err(self.explained_somewhere(log_id, error).await),
            page => page,
        }
    }

    /// How many readings of one device lie within a span. Neither its order matters nor where a page begins.
    pub async fn readings_total(&self, log_id: LogId, uid: &Uid, span: Span) -> Result<Total> {
        let mut sql = QueryBuilder::new("SELECT count(*) FROM (SELECT FROM telemetry_events WHERE log_id = ");
        sql.push_bind(log_id);
        sql.push(" AND aggregate_id COLLATE \"POSIX\" = ").push_bind(aggregate_id(self.tenant(), uid));
        if let Some(from) = span.from {
            sql.push(" AND occurred_at >= ").push_bind(from);
            // A reading is recorded at most `MAX_AHEAD` before it occurred, so older partitions are skipped.
            sql.push(" AND recorded_at >= ").push_bind(from - MAX_AHEAD);
        }
        if let Some(to) = span.to {
            sql.push(" AND occurred_at < ").push_bind(to);
        }
        sql.push(" LIMIT ").push_bind(COUNTED + 1).push(") AS counted");
        match self.fetch_total(sql.build()).await {
            Err(error) => Err(self.explained_somewhere(log_id, error).await),
            total => total,
        }
    }

    /// A page of readings within a span of each of some devices, in no order of the devices. Fails with
    /// [`Error::TooLarge`] if they hold too much together.
    pub async fn readings(
        &self,
        log_id: LogId,
        uids: &[Uid],
        span: Span,
        limit: usize,
    ) -> Result<HashMap<Uid, Page<Reading>>> {
        if let [one] = uids {
            let page = self.readings_page(log_id, one, span, limit).await?;
            return Ok([(one.clone(), page)].into());
        }
        let streams: Vec<String> = uids.iter().map(|uid| aggregate_id(self.tenant(), uid)).collect();
        let rows = match self.fetch(readings(log_id, &streams, span, limit)).await {
            Err(error) => return Err(self.explained_somewhere(log_id, error).await),
            Ok(rows) => rows,
        };
        let mut of_devices: HashMap<_, Vec<_>> = HashMap::new();
        for row in &rows {
            let reading = Reading::from_row(row)?;
            of_devices.entry(reading.uid.clone()).or_default().push(reading);
        }
        Ok(of_devices.into_iter().map(|(uid, readings)| (uid, Page::cut(readings, limit))).collect())
    }
}

/// The statement for the events of a log within some bounds, and what reads its rows.
fn events<'f>(
    log: &Log,
    bounds: Bounds,
    descending: bool,
    limit: i64,
    filter: &'f Filter,
) -> (QueryBuilder<'f, Postgres>, FromPgRow<Event>) {
    let (select, event): (_, FromPgRow<Event>) = match log.lane {
        Lane::Control => (CONTROL, control_event),
        Lane::Telemetry => (TELEMETRY, telemetry_event),
    };
    let mut sql = QueryBuilder::new(select);
    filter.push(&mut sql, log, bounds);
    sql.push(if descending { " ORDER BY position DESC LIMIT " } else { " ORDER BY position LIMIT " });
    sql.push_bind(limit);
    (sql, event)
}

/// A statement for events. One with a filter is planned for its values each time: the best plan for a rare actor is the worst
/// for a common one.
fn planned<'q>(sql: &'q mut QueryBuilder<'_, Postgres>, filter: &Filter) -> Query<'q, Postgres, PgArguments> {
    sql.build().persistent(filter.is_open())
}

/// The readings of some devices within a span: device by device, at most `limit` + 1 of each.
fn readings(
    log_id: LogId,
    aggregate_ids: &[String],
    span: Span,
    limit: usize,
) -> Query<'_, Postgres, PgArguments> {
    // One statement for each direction, so that the index answers each without a sort.
    let (sql, beyond) = match (span.ascending, span.beyond) {
        (true, beyond) => (READINGS_ASCENDING, beyond.unwrap_or((EARLIEST, 0))),
        (false, beyond) => (READINGS_DESCENDING, beyond.unwrap_or((LATEST, 0))),
    };
    let from = span.from.unwrap_or(EARLIEST);
    sqlx::query(sql)
        .bind(log_id)
        .bind(aggregate_ids)
        .bind(from)
        .bind(span.to.unwrap_or(LATEST))
        // A reading is recorded at most `MAX_AHEAD` before it occurred, so older partitions are skipped.
        .bind(from - MAX_AHEAD)
        .bind(beyond.0)
        .bind(beyond.1)
        .bind(limit.saturating_add(1) as i64)
}

/// A statement that returns control events, for [`control_event`], from its conditions on.
macro_rules! control_sql {
    ($rest:literal) => {
        concat!(
            "SELECT log_id, position, aggregate_type, aggregate_id, sequence, event_type, event_version,
                    payload::text AS payload, metadata::text AS metadata, occurred_at, recorded_at
             FROM control_events",
            $rest
        )
    };
}
use control_sql;

const CONTROL: &str = control_sql!("");
const CONTROL_OF_TYPES: &str = control_sql!(
    " WHERE log_id = $1 AND position > $2 AND aggregate_type = ANY($4)
     ORDER BY position LIMIT $3"
);
const CONTROL_SLICE: &str = control_sql!(
    " WHERE log_id = $1 AND position > $2 AND position <= $4 AND range_of(aggregate_id, $6) = $5
     ORDER BY position LIMIT $3"
);
const STREAM_AFTER: &str =
    control_sql!(" WHERE aggregate_type = $1 AND aggregate_id = $2 AND sequence > $3 ORDER BY sequence");
const STREAMS: &str =
    control_sql!(" WHERE aggregate_type = $1 AND aggregate_id = ANY($2) ORDER BY aggregate_id, sequence");
pub(crate) const TELEMETRY: &str =
    "SELECT log_id, position, aggregate_id, msg_id, payload::text AS payload, occurred_at, recorded_at, flags
     FROM telemetry_events";
const TELEMETRY_SLICE: &str =
    "SELECT log_id, position, aggregate_id, msg_id, payload::text AS payload, occurred_at, recorded_at, flags
     FROM telemetry_events
     WHERE log_id = $1 AND position > $2 AND position <= $4 AND range_of(aggregate_id, $6) = $5
     ORDER BY position LIMIT $3";

macro_rules! readings_sql {
    ($beyond:literal, $order:literal) => {
        concat!(
            "SELECT reading.* FROM unnest($2::text[]) WITH ORDINALITY AS device (id, ordinal)
             CROSS JOIN LATERAL (
                 SELECT aggregate_id, position, msg_id, payload::text AS payload, occurred_at, recorded_at, flags
                 FROM telemetry_events
                 WHERE log_id = $1 AND aggregate_id COLLATE \"POSIX\" = device.id AND occurred_at >= $3 AND occurred_at < $4
                   AND recorded_at >= $5 AND (occurred_at, position) ",
            $beyond,
            " ($6, $7)
                 ORDER BY occurred_at ",
            $order,
            ", position ",
            $order,
            " LIMIT $8) AS reading
             ORDER BY device.ordinal, reading.occurred_at ",
            $order,
            ", reading.position ",
            $order
        )
    };
}
const READINGS_ASCENDING: &str = readings_sql!(">", "ASC");
const READINGS_DESCENDING: &str = readings_sql!("<", "DESC");

fn control_event(row: &PgRow) -> Result<Event, sqlx::Error> {
    Ok(Event {
        log_id: row.try_get("log_id")?,
        position: row.try_get("position")?,
        aggregate_type: Cow::Owned(row.try_get("aggregate_type")?),
        aggregate_id: row.try_get("aggregate_id")?,
        sequence: row.try_get("sequence")?,
        event_type: Cow::Owned(row.try_get("event_type")?),
        event_version: Cow::Owned(row.try_get("event_version")?),
        payload: row.try_get("payload")?,
        metadata: StoredMetadata::Control(row.try_get("metadata")?),
        occurred_at: row.try_get("occurred_at")?,
        recorded_at: row.try_get("recorded_at")?,
        msg_id: None,
    })
}

/// Reads a row by the places of the columns in [`TELEMETRY`]: names would be looked up again for every row.
pub(crate) fn telemetry_event(row: &PgRow) -> Result<Event, sqlx::Error> {
    let position = row.try_get(1)?;
    Ok(Event {
        log_id: row.try_get(0)?,
        position,
        aggregate_type: Cow::Borrowed(AGGREGATE_TYPE),
        aggregate_id: row.try_get(2)?,
        sequence: position,
        event_type: Cow::Borrowed(EVENT_TYPE),
        event_version: Cow::Borrowed(EVENT_VERSION),
        msg_id: row.try_get(3)?,
        payload: row.try_get(4)?,
        occurred_at: row.try_get(5)?,
        recorded_at: row.try_get(6)?,
        metadata: StoredMetadata::Telemetry { flags: Flags::from_bits(row.try_get(7)?) },
    })
}

impl FromRow<'_, PgRow> for Reading {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let stream: &str = row.try_get("aggregate_id")?;
        let uid = split_aggregate_id(stream).map_or(stream, |(_, uid)| uid);
        Ok(Self {
            uid: uid.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
            position: row.try_get("position")?,
            msg_id: row.try_get("msg_id")?,
            payload: row.try_get("payload")?,
            occurred_at: row.try_get("occurred_at")?,
            recorded_at: row.try_get("recorded_at")?,
            flags: Flags::from_bits(row.try_get("flags")?),
        })
    }
}
