//! Appends single events: a command to an aggregate, which cqrs-es and postgres-es load in event store mode.
//!
//! The snapshot and aggregate store modes of cqrs-es 0.5 apply events twice, and its `Query` runs after the commit
//! and loses updates in a crash; neither is used. Nor is its append: that holds the log's row from the insert, over a
//! round trip, to the commit.

use std::collections::HashMap;

use cqrs_es::event_sink::EventSink;
use cqrs_es::persist::PersistedEventStore;
use cqrs_es::{Aggregate, AggregateContext, AggregateError, DomainEvent, EventStore};
use postgres_es::PostgresEventRepository;
use sqlx::{PgConnection, PgExecutor, Row};

use crate::{Error, EventLog, LogId, Position, scope};

/// How often a command is decided anew when another one was faster on the same stream.
const MAX_CONFLICTS: u32 = 5;

/// Who did it and why: `actor`, `correlation_id`, `causation_id`, and `occurred_at` (RFC 3339) where that is not the
/// moment of the append.
pub type Metadata = HashMap<String, String>;

/// What goes on the record with what `actor` does: the requester's records that it belongs to, and the event that it
/// follows from, where there are such.
#[must_use]
pub fn metadata(
    actor: impl Into<String>,
    correlation_id: Option<String>,
    cause: Option<(LogId, Position)>,
) -> Metadata {
    let causation_id = cause.map(|(log_id, position)| format!("{log_id}:{position}"));
    let words =
        [("actor", Some(actor.into())), ("correlation_id", correlation_id), ("causation_id", causation_id)];
    words.into_iter().filter_map(|(word, value)| Some((word.to_owned(), value?))).collect()
}

/// Where a command's last event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// The log.
    pub log_id: LogId,
    /// The position there.
    pub position: Position,
}

/// Why a command has appended nothing.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError<E: std::error::Error> {
    /// The aggregate refused it.
    #[error(transparent)]
    Refused(E),
    /// Others kept changing the same stream. Trying again may help.
    #[error("append to a stream that others keep changing")]
    Conflict,
    /// The database failed. Unless the error is definite, the event may have been appended.
    #[error(transparent)]
    Log(#[from] Error),
}

impl EventLog {
    /// Has an aggregate decide on a command, and appends what follows. `None` if nothing did.
    ///
    /// The work goes on in a task of its own if the caller is dropped: a transaction under a dropped future would go
    /// back to the pool open.
    pub async fn execute<A>(
        &self,
        aggregate_id: &str,
        command: A::Command,
        metadata: Metadata,
    ) -> Result<Option<Committed>, ExecuteError<A::Error>>
    where
        A: Aggregate<Services = ()> + 'static,
        A::Command: Clone + Send + 'static,
        A::Event: Send + 'static,
        A::Error: Send + Sync + 'static,
    {
        let (log, aggregate_id) = (self.clone(), aggregate_id.to_owned());
        let task = scope::spawn(async move {
            for _ in 0..MAX_CONFLICTS {
                match log.try_execute::<A>(&aggregate_id, command.clone(), metadata.clone()).await {
                    Err(ExecuteError::Conflict) => {}
                    decided => return decided,
                }
            }
            Err(ExecuteError::Conflict)
        });
        task.await.unwrap_or_else(|_| Err(Error::Unavailable(sqlx::Error::WorkerCrashed).into()))
    }

    /// An aggregate's present state; its default if nothing has happened to it.
    pub async fn load<A>(&self, aggregate_id: &str) -> Result<A, ExecuteError<A::Error>>
    where
        A: Aggregate<Services = ()> + Clone,
        A::Error: Send + Sync + 'static,
    {
        let mut context = self.store::<A>().load_aggregate(aggregate_id).await.map_err(refine)?;
        Ok(context.aggregate().clone())
    }

    fn store<A: Aggregate>(&self) -> PersistedEventStore<PostgresEventRepository, A> {
        let repository = PostgresEventRepository::new(self.pool().clone());
        PersistedEventStore::new_event_store(repository.with_tables("control_events", "unused"))
    }

    async fn try_execute<A>(
        &self,
        aggregate_id: &str,
        command: A::Command,
        metadata: Metadata,
    ) -> Result<Option<Committed>, ExecuteError<A::Error>>
    where
        A: Aggregate<Services = ()>,
        A::Error: Send + Sync + 'static,
    {
        let mut context = self.store::<A>().load_aggregate(aggregate_id).await.map_err(refine)?;
        let known = context.current_sequence as i64;
        let sink = EventSink::default();
        context.aggregate().handle(command, &(), &sink).await.map_err(ExecuteError::Refused)?;
        let events = sink.collect().await;
        if events.is_empty() {
            return Ok(None);
        }
        let committed = append::<A>(self.pool(), aggregate_id, known, &events, &metadata).await?;
        self.heads().moved(committed.log_id, committed.position);
        Ok(Some(committed))
    }
}

/// An aggregate's present state, as a transaction sees it, and how many events made it.
pub(crate) async fn replay<A: Aggregate>(
    connection: &mut PgConnection,
    aggregate_id: &str,
) -> Result<(A, i64), Error> {
    let payloads: Vec<String> = sqlx::query_scalar(
        "SELECT payload::text FROM control_events WHERE aggregate_type = $1 AND aggregate_id = $2 ORDER BY sequence",
    )
    .bind(A::TYPE)
    .bind(aggregate_id)
    .fetch_all(connection)
    .await?;
    let mut aggregate = A::default();
    for payload in &payloads {
        let event = serde_json::from_str(payload);
        aggregate.apply(event.map_err(|error| Error::Database(sqlx::Error::Decode(Box::new(error))))?);
    }
    Ok((aggregate, payloads.len() as i64))
}

/// Appends events behind the `known` ones of a stream, all or none.
pub(crate) async fn append<A: Aggregate>(
    executor: impl PgExecutor<'_>,
    aggregate_id: &str,
    known: i64,
    events: &[A::Event],
    metadata: &Metadata,
) -> Result<Committed, ExecuteError<A::Error>> {
    let payloads: Result<Vec<String>, _> = events.iter().map(serde_json::to_string).collect();
    let (payloads, metadata) =
        (payloads.map_err(unwritable)?, serde_json::to_string(metadata).map_err(unwritable)?);
    let rows = sqlx::query(APPEND)
        .bind(A::TYPE)
        .bind(aggregate_id)
        .bind(metadata)
        .bind((1..).map(|nth| known + nth).take(events.len()).collect::<Vec<_>>())
        .bind(events.iter().map(DomainEvent::event_type).collect::<Vec<_>>())
        .bind(events.iter().map(DomainEvent::event_version).collect::<Vec<_>>())
        .bind(payloads)
        .fetch_all(executor)
        .await;
    let rows = rows.map_err(|error| match &error {
        sqlx::Error::Database(cause) if cause.constraint() == Some(STREAM) => ExecuteError::Conflict,
        _ => ExecuteError::Log(error.into()),
    })?;
    let last = rows.last().ok_or(Error::Database(sqlx::Error::RowNotFound))?;
    Ok(Committed {
        log_id: last.try_get("log_id").map_err(Error::from)?,
        position: last.try_get("position").map_err(Error::from)?,
    })
}

/// The key that two who append to one stream at once meet at.
pub const STREAM: &str = "control_events_stream";

/// One statement, and so one transaction, without a round trip between taking the log's row and the commit: every other
/// append to the log waits for that long.
const APPEND: &str = "
    INSERT INTO control_events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
    SELECT $1, $2, sequence, event_type, event_version, payload::json, $3::json
    FROM unnest($4::bigint[], $5::text[], $6::text[], $7::text[])
        AS event (sequence, event_type, event_version, payload)
    ORDER BY sequence
    RETURNING log_id, position";

fn unwritable(error: serde_json::Error) -> Error {
    Error::Database(sqlx::Error::Encode(Box::new(error)))
}

/// Finds the database's own error again under the layers of cqrs-es.
fn refine<E: std::error::Error>(error: AggregateError<E>) -> ExecuteError<E> {
    match error {
        AggregateError::UserError(refusal) => ExecuteError::Refused(refusal),
        AggregateError::AggregateConflict => ExecuteError::Conflict,
        AggregateError::DatabaseConnectionError(cause)
        | AggregateError::DeserializationError(cause)
        | AggregateError::UnexpectedError(cause) => match cause.downcast::<sqlx::Error>() {
            Ok(cause) => Error::from(*cause).into(),
            Err(cause) => Error::Database(sqlx::Error::Decode(cause)).into(),
        },
    }
}
