//! Appends single events: a command to an aggregate, through cqrs-es and postgres-es in event store mode.
//!
//! The snapshot and aggregate store modes of cqrs-es 0.5 apply events twice, and its `Query` runs after the commit
//! and loses updates in a crash; neither is used.

use std::collections::HashMap;

use cqrs_es::event_sink::EventSink;
use cqrs_es::persist::PersistedEventStore;
use cqrs_es::{Aggregate, AggregateContext, AggregateError, EventStore};
use postgres_es::PostgresEventRepository;
use sqlx::Row;

use crate::{Error, EventLog, LogId, Position};

/// How often a command is decided anew when another one was faster on the same stream.
const MAX_CONFLICTS: u32 = 5;

/// Who did it and why: `actor`, `correlation_id`, `causation_id`, and `occurred_at` (RFC 3339) where that is not the
/// moment of the append.
pub type Metadata = HashMap<String, String>;

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
        let task = tokio::spawn(async move {
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
        let store = self.store::<A>();
        let mut context = store.load_aggregate(aggregate_id).await.map_err(refine)?;
        let sink = EventSink::default();
        context.aggregate().handle(command, &(), &sink).await.map_err(ExecuteError::Refused)?;
        let committed = store.commit(sink.collect().await, context, metadata).await.map_err(refine)?;
        let Some(last) = committed.last() else { return Ok(None) };
        let row = sqlx::query(
            "SELECT log_id, position FROM control_events
             WHERE aggregate_type = $1 AND aggregate_id = $2 AND sequence = $3",
        )
        .bind(A::TYPE)
        .bind(aggregate_id)
        .bind(last.sequence as i64)
        .fetch_one(self.pool())
        .await
        .map_err(Error::from)?;
        let committed = Committed {
            log_id: row.try_get("log_id").map_err(Error::from)?,
            position: row.try_get("position").map_err(Error::from)?,
        };
        self.heads().moved(committed.log_id, committed.position);
        Ok(Some(committed))
    }
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
