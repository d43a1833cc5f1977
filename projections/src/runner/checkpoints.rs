//! What the runner keeps in the database: its row, its checkpoints, and the streams that it has parked.

use std::collections::{BTreeMap, HashMap};

use fleetlog_event_log::read::Slice;
use fleetlog_event_log::{Event, Lane, LogId, Position, Result};
use sqlx::{Executor, PgConnection, PgPool, Postgres, Row};
use uuid::Uuid;

use crate::status::State;

/// The rows that belong to a version of a projection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Checkpoints {
    pub(crate) projection: &'static str,
    pub(crate) version: i32,
    /// While the version is being built: the slice whose checkpoint is moved.
    pub(crate) slice: Option<BuiltSlice>,
}

/// A slice of a log that a rebuild has not finished.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BuiltSlice {
    pub(crate) rebuild_id: Uuid,
    pub(crate) slice: Slice,
}

/// A stream that is parked from an event on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parked {
    pub(crate) aggregate_type: String,
    pub(crate) aggregate_id: String,
    pub(crate) position: Position,
    pub(crate) error: String,
}

impl Parked {
    pub(crate) fn at(event: &Event, error: &impl ToString) -> Self {
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
pub(crate) struct ParkedStreams {
    types_by_id: HashMap<String, Vec<String>>,
}

impl ParkedStreams {
    pub(crate) fn contains(&self, event: &Event) -> bool {
        let types = self.types_by_id.get(event.aggregate_id.as_str());
        types.is_some_and(|types| types.iter().any(|parked| *parked == event.aggregate_type))
    }

    pub(crate) fn insert(&mut self, aggregate_type: String, aggregate_id: String) {
        self.types_by_id.entry(aggregate_id).or_default().push(aggregate_type);
    }

    pub(crate) fn len(&self) -> usize {
        self.types_by_id.values().map(Vec::len).sum()
    }
}

impl Checkpoints {
    /// Registers the projection, and returns the version that its runner keeps up to date: the live one or, while the
    /// live one has another format, the newest one of this format. The first version of a projection is live.
    pub(crate) async fn register(
        pool: &PgPool,
        projection: &str,
        format: i32,
        lanes: &[Lane],
    ) -> Result<i32> {
        let lanes: Vec<&str> = lanes.iter().map(|lane| lane.as_str()).collect();
        let known: Option<(i32, Vec<String>)> = Self::followed(pool, projection, format).await?;
        if let Some((version, known)) = known
            && known == lanes
        {
            return Ok(version);
        }
        sqlx::query(
            "INSERT INTO projections (projection, version, format, live, lanes, state)
             SELECT $1, $2, $2, NOT EXISTS (SELECT FROM projections WHERE projection = $1 AND live), $3, 'following'
             WHERE NOT EXISTS (SELECT FROM projections WHERE projection = $1 AND coalesce(format, version) = $2)
             ON CONFLICT (projection, version) DO NOTHING",
        )
        .bind(projection)
        .bind(format)
        .bind(&lanes)
        .execute(pool)
        .await?;
        sqlx::query(
            "UPDATE projections SET lanes = $3 WHERE projection = $1 AND coalesce(format, version) = $2",
        )
        .bind(projection)
        .bind(format)
        .bind(&lanes)
        .execute(pool)
        .await?;
        let registered = Self::followed(pool, projection, format).await?;
        registered.map(|(version, _)| version).ok_or(sqlx::Error::RowNotFound.into())
    }

    /// The version to keep up to date, and its lanes. `None`: there is none of this format.
    pub(crate) async fn followed(
        database: impl Executor<'_, Database = Postgres>,
        projection: &str,
        format: i32,
    ) -> sqlx::Result<Option<(i32, Vec<String>)>> {
        let followed = sqlx::query_as(
            "SELECT version, lanes FROM projections
             WHERE projection = $1 AND coalesce(format, version) = $2 AND state NOT IN ('building', 'kept')
             ORDER BY live DESC, version DESC LIMIT 1",
        )
        .bind(projection)
        .bind(format);
        followed.fetch_optional(database).await
    }

    pub(crate) async fn set_state(
        self,
        connection: &mut PgConnection,
        state: State,
        error: Option<&str>,
    ) -> Result<()> {
        sqlx::query(
            "UPDATE projections SET state = $3, error = $4, updated_at = clock_timestamp()
             WHERE projection = $1 AND version = $2 AND state NOT IN ('building', 'kept')",
        )
        .bind(self.projection)
        .bind(self.version)
        .bind(state.as_str())
        .bind(error.map(|error| error.replace('\0', "\u{fffd}")))
        .execute(connection)
        .await?;
        Ok(())
    }

    pub(crate) async fn positions(self, pool: &PgPool) -> Result<BTreeMap<LogId, Position>> {
        let rows = sqlx::query_as(
            "SELECT log_id, position FROM projection_checkpoints WHERE projection = $1 AND version = $2",
        )
        .bind(self.projection)
        .bind(self.version)
        .fetch_all(pool)
        .await?;
        Ok(rows.into_iter().collect())
    }

    pub(crate) async fn parked(self, pool: &PgPool) -> Result<HashMap<LogId, ParkedStreams>> {
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
    /// checkpoint is not at `from`, or the version was taken out of service: this runner has no say there any more.
    pub(crate) async fn advance(
        self,
        connection: &mut PgConnection,
        log_id: LogId,
        from: Position,
        to: Position,
    ) -> Result<bool> {
        if let Some(BuiltSlice { rebuild_id, slice }) = self.slice {
            let moved = sqlx::query(
                "UPDATE projection_rebuild_parts SET position = $5
                 WHERE rebuild_id = $1 AND log_id = $2 AND part = $3 AND position = $4",
            )
            .bind(rebuild_id)
            .bind(log_id)
            .bind(slice.nth)
            .bind(from)
            .bind(to);
            return Ok(moved.execute(connection).await?.rows_affected() == 1);
        }
        if from == 0 {
            sqlx::query(
                "INSERT INTO projection_checkpoints (projection, version, log_id, position)
                 SELECT projection, version, $3, 0 FROM projections
                 WHERE projection = $1 AND version = $2 AND state <> 'kept'
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
             WHERE projection = $1 AND version = $2 AND log_id = $3 AND position = $4 AND NOT sealed",
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

    pub(crate) async fn park(
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
