//! Executes commands: loads an aggregate from its stream, lets it decide, and appends the events that follow.
//!
//! The snapshot and aggregate store modes of cqrs-es 0.5 apply events twice, and its `Query` runs after the commit
//! and loses updates in a crash, so neither is used. Its append is not used either: it holds the log's row from the
//! insert, over a round trip, to the commit. See `group`.

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use fleetlog_aggregates::identity::StreamId;
use sqlx::PgConnection;

use crate::event::decode;
use crate::group::{self, Append};
pub use crate::metadata::{Actor, Metadata};
use crate::probes::note_append;
use crate::scope::Scope;
use crate::{Corrupt, Error, Event, EventLog, LogId, Position};

/// How many times a command is decided in all, if others keep appending to the same stream.
const MAX_CONFLICTS: u32 = 5;

/// The place of a command's last event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// The log that holds the event.
    pub log_id: LogId,
    /// The event's position in the log.
    pub position: Position,
}

/// An aggregate as its stream leaves it. The default is an aggregate without events.
#[derive(Debug, Clone, Default)]
pub struct Record<A> {
    /// The aggregate's state.
    pub aggregate: A,
    /// How many events the stream has.
    pub(crate) events: i64,
}

/// An aggregate that can decide in a task of its own, and decide again after a conflict.
pub trait Deciding:
    Aggregate<
        Services = (),
        Command: Clone + Send + 'static,
        Event: Send + 'static,
        Error: Send + Sync + 'static,
    > + 'static
{
}

impl<A> Deciding for A where
    A: Aggregate<
            Services = (),
            Command: Clone + Send + 'static,
            Event: Send + 'static,
            Error: Send + Sync + 'static,
        > + 'static
{
}

/// Why a command has appended nothing.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError<E: std::error::Error> {
    /// The aggregate refused the command.
    #[error(transparent)]
    Refused(E),
    /// Others kept appending to the same stream. Trying again may help.
    #[error("append to a stream that others keep changing")]
    Conflict,
    /// The database failed. Unless the error is definite, the event may have been appended.
    #[error(transparent)]
    Log(#[from] Error),
}

impl<E: std::error::Error> From<group::Refused> for ExecuteError<E> {
    fn from(refused: group::Refused) -> Self {
        match refused {
            group::Refused::Conflict => Self::Conflict,
            group::Refused::Log(error) => Self::Log(error),
        }
    }
}

impl<S: Scope> EventLog<S> {
    /// Lets an aggregate decide on a command, and appends the events that follow. `None` if none followed.
    ///
    /// The work runs in a task of its own and goes on if the caller is dropped: a dropped future would give its
    /// connection back to the pool with the transaction still open.
    pub async fn execute<A: Deciding>(
        &self,
        stream: &StreamId,
        command: A::Command,
        metadata: Metadata,
    ) -> Result<Option<Committed>, ExecuteError<A::Error>> {
        self.execute_on(stream, None::<Record<A>>, command, metadata).await
    }

    /// Executes a command like [`EventLog::execute`], on a record that was loaded a moment ago, if the caller has
    /// one. The stream is read again only if it has grown since.
    pub async fn execute_on<A: Deciding>(
        &self,
        stream: &StreamId,
        mut record: Option<Record<A>>,
        command: A::Command,
        metadata: Metadata,
    ) -> Result<Option<Committed>, ExecuteError<A::Error>> {
        let (log, stream) = (self.clone(), stream.clone());
        let task = tokio::spawn(async move {
            for _ in 0..MAX_CONFLICTS {
                let record = match record.take() {
                    Some(record) => record,
                    None => log.load_record(&stream).await?,
                };
                match log.decide::<A>(&stream, record, command.clone(), &metadata).await {
                    Err(ExecuteError::Conflict) => {}
                    decided => return decided,
                }
            }
            Err(ExecuteError::Conflict)
        });
        task.await.unwrap_or_else(|_| Err(Error::task_ended().into()))
    }

    /// Loads an aggregate's current state, which is the default if the aggregate has no events.
    pub async fn load<A>(&self, stream: &StreamId) -> Result<A, ExecuteError<A::Error>>
    where
        A: Aggregate<Services = ()>,
        A::Error: Send + Sync + 'static,
    {
        Ok(self.load_record(stream).await?.aggregate)
    }

    /// Loads the current states of two aggregates in one statement, as of the same moment.
    pub async fn load_both<A: Aggregate, B: Aggregate>(
        &self,
        (one, other): (&StreamId, &StreamId),
    ) -> Result<(A, B), Error> {
        let mut connection = self.connection().await?;
        let read = sqlx::query_as(BOTH)
            .bind(A::TYPE)
            .bind(one.to_string())
            .bind(B::TYPE)
            .bind(other.to_string())
            .fetch_all(&mut *connection)
            .await;
        drop(connection);
        let rows: Vec<(bool, String, String)> = match read {
            Ok(rows) => rows,
            Err(error) => return Err(self.explained_of_control(&one.tenant, error.into()).await),
        };
        let (mut first, mut second) = (Record::default(), Record::default());
        for (is_one, event_type, payload) in &rows {
            if *is_one {
                first.add(decode(A::TYPE, event_type, payload)?);
            } else {
                second.add(decode(B::TYPE, event_type, payload)?);
            }
        }
        Ok((first.aggregate, second.aggregate))
    }

    /// Loads an aggregate's state and the number of its events.
    pub async fn load_record<A>(&self, stream: &StreamId) -> Result<Record<A>, ExecuteError<A::Error>>
    where
        A: Aggregate<Services = ()>,
        A::Error: Send + Sync + 'static,
    {
        let mut connection = self.connection().await?;
        let read = replay(&mut connection, stream).await;
        drop(connection);
        match read {
            Ok(record) => Ok(record),
            Err(error) => Err(self.explained_of_control(&stream.tenant, error).await.into()),
        }
    }

    async fn decide<A>(
        &self,
        stream: &StreamId,
        mut record: Record<A>,
        command: A::Command,
        metadata: &Metadata,
    ) -> Result<Option<Committed>, ExecuteError<A::Error>>
    where
        A: Aggregate<Services = ()>,
    {
        let sink = EventSink::default();
        record.aggregate.handle(command, &(), &sink).await.map_err(ExecuteError::Refused)?;
        let events = sink.collect().await;
        if events.is_empty() {
            return Ok(None);
        }
        let append = Append::new::<A>(stream, record.events, &events, metadata)?;
        let appended = self.inner.groups.append(&self.scope, append).await;
        match &appended {
            Ok(_) => note_append(&self.inner.appends, Ok(())),
            Err(group::Refused::Log(error)) => note_append(&self.inner.appends, Err(error)),
            Err(group::Refused::Conflict) => {}
        }
        let committed = appended?;
        self.heads().moved(committed.log_id, committed.position);
        Ok(Some(committed))
    }
}

/// Loads an aggregate as the connection's transaction sees it.
pub(crate) async fn replay<A: Aggregate>(
    connection: &mut PgConnection,
    stream: &StreamId,
) -> Result<Record<A>, Error> {
    let events: Vec<(String, String)> = sqlx::query_as(
        "SELECT event_type, payload::text FROM control_events
         WHERE aggregate_type = $1 AND aggregate_id = $2 ORDER BY sequence",
    )
    .bind(A::TYPE)
    .bind(stream.to_string())
    .fetch_all(connection)
    .await?;
    let mut record = Record::default();
    for (event_type, payload) in &events {
        record.add(decode(A::TYPE, event_type, payload)?);
    }
    Ok(record)
}

/// The events of two streams, each in its order.
const BOTH: &str = "
    SELECT is_one, event_type, payload FROM (
        SELECT true AS is_one, sequence, event_type, payload::text AS payload FROM control_events
        WHERE aggregate_type = $1 AND aggregate_id = $2
        UNION ALL
        SELECT false, sequence, event_type, payload::text FROM control_events
        WHERE aggregate_type = $3 AND aggregate_id = $4) AS events
    ORDER BY is_one, sequence";

impl<A: Aggregate> Record<A> {
    /// Folds the events of a whole stream, in their order.
    ///
    /// # Errors
    ///
    /// [`Corrupt`] if an event cannot be decoded.
    pub fn of(stream: &[Event]) -> Result<Self, Corrupt> {
        let mut record = Self::default();
        for event in stream {
            record.add(event.decode()?);
        }
        Ok(record)
    }

    pub(crate) fn add(&mut self, event: A::Event) {
        self.aggregate.apply(event);
        self.events += 1;
    }
}
