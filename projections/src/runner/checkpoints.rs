//! What the runner keeps in the database: its row, its checkpoints, and the streams that it has parked.

use std::collections::{BTreeMap, HashMap};

use fleetlog_event_log::{Event, Lane, LogId, Position, Result};
use sqlx::{PgConnection, PgPool, Row};

use crate::status::State;

/// The rows that belong to a runner.
#[derive(Debug, Clone, Copy)]
pub(super) struct Checkpoints {
    pub(super) projection: &'static str,
    pub(super) version: i32,
}

/// A stream that is parked from an event on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parked {
    pub(super) aggregate_type: String,
    pub(super) aggregate_id: String,
    pub(super) position: Position,
    pub(super) error: String,
}

impl Parked {
    pub(super) fn at(event: &Event, error: &impl ToString) -> Self {
        Self {
            aggregate_type: event.aggregate_type.to_string(),
            aggregate_id: event.aggregate_id.clone(),
            position: event.position,
            // Postgres takes no text with U+0000, and an error may quote some.
            error: error.to_string().replace('\0', "\u{fffd}"),
        }
    }
}

/// The parked streams of one log.
#[derive(Debug, Clone, Default)]
pub(super) struct ParkedStreams {
    types_by_id: HashMap<String, Vec<String>>,
}

impl ParkedStreams {
    pub(super) fn contains(&self, event: &Event) -> bool {
        let types = self.types_by_id.get(event.aggregate_id.as_str());
        types.is_some_and(|types| types.iter().any(|parked| *parked == event.aggregate_type))
    }

    pub(super) fn insert(&mut self, aggregate_type: String, aggregate_id: String) {
        self.types_by_id.entry(aggregate_id).or_default().push(aggregate_type);
    }

    pub(super) fn len(&self) -> usize {
        self.types_by_id.values().map(Vec::len).sum()
    }
}

impl Checkpoints {
    /// Registers the projection. The first version of a projection becomes the live one.
    pub(super) async fn register(self, pool: &PgPool, lanes: &[Lane]) -> Result<()> {
        let lanes: Vec<&str> = lanes.iter().map(|lane| lane.as_str()).collect();
        sqlx::query(
            "INSERT INTO projections (projection, version, live, lanes, state)
             SELECT $1, $2, NOT EXISTS (SELECT FROM projections WHERE projection = $1 AND live), $3, 'following'
             ON CONFLICT (projection, version) DO UPDATE SET lanes = excluded.lanes",
        )
        .bind(self.projection)
        .bind(self.version)
        .bind(lanes)
        .execute(pool)
        .await?;
        Ok(())
    }

    pub(super) async fn set_state(
        self,
        connection: &mut PgConnection,
        state: State,
        error: Option<&str>,
    ) -> Result<()> {
        sqlx::query(
            "UPDATE projections SET state = $3, error = $4, updated_at = clock_timestamp()
             WHERE projection = $1 AND version = $2",
        )
        .bind(self.projection)
        .bind(self.version)
        .bind(state.as_str())
        .bind(error.map(|error| error.replace('\0', "\u{fffd}")))
        .execute(connection)
        .await?;
        Ok(())
    }

    pub(super) async fn positions(self, pool: &PgPool) -> Result<BTreeMap<LogId, Position>> {
        let rows = sqlx::query_as(
            "SELECT log_id, position FROM projection_checkpoints WHERE projection = $1 AND version = $2",
        )
        .bind(self.projection)
        .bind(self.version)
        .fetch_all(pool)
        .await?;
        Ok(rows.into_iter().collect())
    }

    pub(super) async fn parked(self, pool: &PgPool) -> Result<HashMap<LogId, ParkedStreams>> {
        let rows = sqlx::query(
            "SELECT log_id, aggregate_type, aggregate_id FROM parked_streams
             WHERE projection = $1 AND version = $2",
        )
        .bind(self.projection)
        .bind(self.version)
        .fetch_all(pool)
        .await?;
        let mut parked: HashMap<LogId, ParkedStreams> = HashMap::new();
        for row in rows {
            let streams = parked.entry(row.try_get("log_id")?).or_default();
            streams.insert(row.try_get("aggregate_type")?, row.try_get("aggregate_id")?);
        }
        Ok(parked)
    }

    /// Moves a checkpoint, and keeps every other runner off that log until the transaction ends. `false` if the
    /// checkpoint is not at `from`: another runner has moved it.
    pub(super) async fn advance(
        self,
        connection: &mut PgConnection,
        log_id: LogId,
        from: Position,
        to: Position,
    ) -> Result<bool> {
        if from == 0 {
            sqlx::query(
                "INSERT INTO projection_checkpoints (projection, version, log_id, position) VALUES ($1, $2, $3, 0)
                 ON CONFLICT (projection, version, log_id) DO NOTHING",
            )
            .bind(self.projection)
            .bind(self.version)
            .bind(log_id)
            .execute(&mut *connection)
            .await?;
        }
        let moved = sqlx::query(
            "UPDATE projection_checkpoints SET position = $5
             WHERE projection = $1 AND version = $2 AND log_id = $3 AND position = $4",
        )
        .bind(self.projection)
        .bind(self.version)
        .bind(log_id)
        .bind(from)
        .bind(to)
        .execute(connection)
        .await?;
        Ok(moved.rows_affected() == 1)
    }

    pub(super) async fn park(
        self,
        connection: &mut PgConnection,
        log_id: LogId,
        parked: &[Parked],
    ) -> Result<()> {
        if parked.is_empty() {
            return Ok(());
        }
        let column = |value: fn(&Parked) -> &str| parked.iter().map(value).collect::<Vec<_>>();
        sqlx::query(
            "INSERT INTO parked_streams
                 (projection, version, log_id, aggregate_type, aggregate_id, position, error)
             SELECT $1, $2, $3, page.* FROM unnest($4::text[], $5::text[], $6::bigint[], $7::text[]) AS page",
        )
        .bind(self.projection)
        .bind(self.version)
        .bind(log_id)
        .bind(column(|parked| &parked.aggregate_type))
        .bind(column(|parked| &parked.aggregate_id))
        .bind(parked.iter().map(|parked| parked.position).collect::<Vec<_>>())
        .bind(column(|parked| &parked.error))
        .execute(connection)
        .await?;
        Ok(())
    }
}
