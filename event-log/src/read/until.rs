//! Reads events up to a position, to fold them once more. Readings come without their payloads: of each device only one
//! payload is shown.

use std::borrow::Cow;
use std::ops::ControlFlow;

use cqrs_es::Aggregate;
use fleetlog_aggregates::identity::{StreamId, Uid, aggregate_id};
use fleetlog_aggregates::telemetry::{AGGREGATE_TYPE, EVENT_TYPE, EVENT_VERSION, Flags};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{Postgres, Row};

use super::{control_event, control_sql};
use crate::event::{Json, StoredMetadata};
use crate::page::Page;
use crate::{Error, Event, LogId, Position, Result, TenantLog};

impl TenantLog {
    /// The events of these control streams up to a position, in order.
    pub async fn streams_until<A: Aggregate>(
        &self,
        streams: &[StreamId],
        until: Position,
    ) -> Result<Vec<Event>> {
        let aggregate_ids: Vec<String> = streams.iter().map(StreamId::to_string).collect();
        let query = sqlx::query(STREAMS_UNTIL).bind(A::TYPE).bind(&aggregate_ids).bind(until);
        match self.fetch(query).await {
            Ok(rows) => Ok(rows.iter().map(control_event).collect::<Result<_, sqlx::Error>>()?),
            Err(error) => Err(self.explained_of_control(self.tenant(), error).await),
        }
    }

    /// Passes on the events of these types in a control log after a position and up to another one, in order, at most
    /// `limit`, until it is told to stop.
    pub async fn each_of_types(
        &self,
        log_id: LogId,
        event_types: &[&str],
        (after, until): (Position, Position),
        limit: usize,
        mut each: impl FnMut(Event) -> ControlFlow<()>,
    ) -> Result<()> {
        let query = sqlx::query(OF_TYPES_UNTIL).bind(log_id).bind(event_types).bind(until);
        let query = query.bind(limit as i64).bind(after);
        self.pass_on(log_id, query, |row| Ok(each(control_event(row)?))).await
    }

    /// Passes on the readings of a telemetry log after a position and up to another one, in order, without their payloads.
    pub async fn each_reading(
        &self,
        log_id: LogId,
        (after, until): (Position, Position),
        mut each: impl FnMut(&Event),
    ) -> Result<()> {
        let query = sqlx::query(READINGS).bind(log_id).bind(after).bind(until);
        let mut reading = blank(log_id);
        let each = |row: &PgRow| {
            reading.aggregate_id.clear();
            reading.aggregate_id.push_str(row.try_get(4)?);
            fill(&mut reading, row)?;
            each(&reading);
            Ok(ControlFlow::Continue(()))
        };
        self.pass_on(log_id, query, each).await
    }

    /// Passes on the readings of some devices up to a position, without their payloads, at most `limit`: device by device in
    /// the order given, each device's by the time at which they occurred, and at the same time by position. Returns of how
    /// many devices, from the first on, all readings were passed on.
    pub async fn each_reading_of(
        &self,
        log_id: LogId,
        uids: &[Uid],
        until: Position,
        limit: usize,
        mut each: impl FnMut(&Event),
    ) -> Result<usize> {
        let streams: Vec<String> = uids.iter().map(|uid| aggregate_id(self.tenant(), uid)).collect();
        let query = sqlx::query(READINGS_OF).bind(log_id).bind(&streams).bind(until);
        let query = query.bind(limit.saturating_add(1) as i64);
        let (mut reading, mut read, mut complete) = (blank(log_id), 0, streams.len());
        let each = |row: &PgRow| {
            let ordinal: i64 = row.try_get(4)?;
            let nth = usize::try_from(ordinal - 1).unwrap_or(0);
            read += 1;
            if read > limit {
                complete = nth;
                return Ok(ControlFlow::Break(()));
            }
            if let Some(stream) = streams.get(nth).filter(|stream| **stream != reading.aggregate_id) {
                reading.aggregate_id.clone_from(stream);
            }
            fill(&mut reading, row)?;
            each(&reading);
            Ok(ControlFlow::Continue(()))
        };
        self.pass_on(log_id, query, each).await?;
        Ok(complete)
    }

    /// The payloads of the readings at these positions, in this order, as many as a page holds.
    pub async fn payloads(&self, log_id: LogId, positions: &[Position]) -> Result<Page<(Position, Json)>> {
        let query = sqlx::query(PAYLOADS).bind(log_id).bind(positions);
        let payload = |row: &PgRow| Ok((row.try_get(0)?, row.try_get(1)?));
        match self.fill_page(query, positions.len(), payload).await {
            Err(error) => Err(self.explained_somewhere(log_id, error).await),
            page => page,
        }
    }

    /// Passes rows on as they arrive, until it is told to stop.
    async fn pass_on(
        &self,
        log_id: LogId,
        query: Query<'_, Postgres, PgArguments>,
        mut each: impl FnMut(&PgRow) -> Result<ControlFlow<()>, sqlx::Error>,
    ) -> Result<()> {
        let each = |row| match each(&row) {
            Ok(ControlFlow::Continue(())) => Ok(()),
            Ok(ControlFlow::Break(())) => Err(End::Told),
            Err(error) => Err(End::Failed(error.into())),
        };
        match self.fetch_each(query, each).await {
            Ok(()) | Err(End::Told) => Ok(()),
            Err(End::Failed(error)) => Err(self.explained_somewhere(log_id, error).await),
        }
    }
}

/// Why no more rows are passed on.
enum End {
    Told,
    Failed(Error),
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// A reading whose fields are filled in for each row: one allocation for all of them.
fn blank(log_id: LogId) -> Event {
    Event {
        log_id,
        position: 0,
        aggregate_type: Cow::Borrowed(AGGREGATE_TYPE),
        aggregate_id: String::new(),
        sequence: 0,
        event_type: Cow::Borrowed(EVENT_TYPE),
        event_version: Cow::Borrowed(EVENT_VERSION),
        payload: Json(String::new()),
        metadata: StoredMetadata::Telemetry { flags: Flags::default() },
        occurred_at: chrono::DateTime::UNIX_EPOCH,
        recorded_at: chrono::DateTime::UNIX_EPOCH,
        msg_id: None,
    }
}

fn fill(reading: &mut Event, row: &PgRow) -> Result<(), sqlx::Error> {
    reading.position = row.try_get(0)?;
    reading.sequence = reading.position;
    reading.occurred_at = row.try_get(1)?;
    reading.recorded_at = row.try_get(2)?;
    reading.metadata = StoredMetadata::Telemetry { flags: Flags::from_bits(row.try_get(3)?) };
    Ok(())
}

const STREAMS_UNTIL: &str = control_sql!(
    " WHERE aggregate_type = $1 AND aggregate_id = ANY($2) AND position <= $3
     ORDER BY aggregate_id, sequence"
);
const OF_TYPES_UNTIL: &str = control_sql!(
    " WHERE log_id = $1 AND event_type = ANY($2) AND position > $5 AND position <= $3
     ORDER BY position LIMIT $4"
);
const READINGS: &str = "SELECT position, occurred_at, recorded_at, flags, aggregate_id FROM telemetry_events
     WHERE log_id = $1 AND position > $2 AND position <= $3 ORDER BY position";
const READINGS_OF: &str =
    "SELECT reading.position, reading.occurred_at, reading.recorded_at, reading.flags, device.ordinal
     FROM unnest($2::text[]) WITH ORDINALITY AS device (id, ordinal)
     CROSS JOIN LATERAL (
         SELECT position, occurred_at, recorded_at, flags FROM telemetry_events
         WHERE log_id = $1 AND aggregate_id COLLATE \"POSIX\" = device.id AND position <= $3
         ORDER BY occurred_at, position LIMIT $4) AS reading
     ORDER BY device.ordinal, reading.occurred_at, reading.position LIMIT $4";
const PAYLOADS: &str = "SELECT wanted.position, reading.payload::text
     FROM unnest($2::bigint[]) WITH ORDINALITY AS wanted (position, ordinal)
     CROSS JOIN LATERAL (
         SELECT payload FROM telemetry_events WHERE log_id = $1 AND position = wanted.position LIMIT 1) AS reading
     ORDER BY wanted.ordinal";
