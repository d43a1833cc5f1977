//! Changes the service's own tables and appends the events that report the change: both or neither.
//!
//! Users, sessions, policies and credentials are ordinary rows, because an immutable log is no place for secrets or
//! erasable personal data. The log still records every change to them.
//!
//! - `decisions`: what many aggregates of one type decide in one transaction

mod decisions;

use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use fleetlog_aggregates::acts::Act;
use fleetlog_aggregates::identity::{StreamId, Tenant};
use futures::future::BoxFuture;
use sqlx::{PgConnection, Postgres, Row, Transaction};

use crate::control::{self, Committed, ExecuteError, Metadata, Record};
use crate::group::{self, Append, Refused};
use crate::health::Part;
use crate::probes::note_append;
use crate::scope::Scope;
use crate::{Error, EventLog, LogId, Position};

pub use decisions::Decisions;

/// A transaction that appends the events that report its changes.
pub struct Recorder {
    transaction: Transaction<'static, Postgres>,
    appended: Vec<Committed>,
    appends: Part,
}

impl Recorder {
    /// The transaction's connection, to make the changes with.
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }

    /// Appends an audit event to the stream `tenant/id`. The tenant's control log stays locked from here to the
    /// commit, so this comes last.
    pub async fn tell<A: Act>(
        &mut self,
        tenant: &Tenant,
        id: &str,
        act: &A,
        metadata: &Metadata,
    ) -> Result<Committed, Error> {
        self.append(A::TYPE, &StreamId::new(tenant, id), act, metadata).await
    }

    /// Appends an event to an aggregate's stream without asking the aggregate. A command that is being decided on the
    /// same stream is then decided again. Like [`Recorder::tell`], this comes last.
    pub async fn append(
        &mut self,
        aggregate_type: &str,
        stream: &StreamId,
        event: &impl DomainEvent,
        metadata: &Metadata,
    ) -> Result<Committed, Error> {
        let aggregate_id = stream.to_string();
        let payload = serde_json::to_string(event).map_err(Error::unwritable)?;
        let metadata = serde_json::to_string(metadata).map_err(Error::unwritable)?;
        // Another recorder that appends to this stream waits here, and then sees this event.
        sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1 || ' ' || $2, 0))")
            .bind(aggregate_type)
            .bind(&aggregate_id)
            .execute(&mut *self.transaction)
            .await?;
        let row = sqlx::query(APPEND_NEXT)
            .bind(aggregate_type)
            .bind(&aggregate_id)
            .bind(event.event_type())
            .bind(event.event_version())
            .bind(payload)
            .bind(metadata)
            .fetch_one(&mut *self.transaction)
            .await
            .map_err(|error| self.noted(error.into()))?;
        let committed = Committed { log_id: row.try_get("log_id")?, position: row.try_get("position")? };
        self.appended.push(committed);
        Ok(committed)
    }
}

/// The events that an aggregate has decided, which are not on the record yet.
pub struct Decision<A: Aggregate> {
    stream: StreamId,
    /// How many events the stream had at the decision.
    known: i64,
    events: Vec<A::Event>,
}

impl<A: Aggregate> Decision<A> {
    /// The decided events.
    #[must_use]
    pub fn events(&self) -> &[A::Event] {
        &self.events
    }

    /// The place of the last decided event in the aggregate's stream.
    #[must_use]
    pub fn sequence(&self) -> i64 {
        self.known + self.events.len() as i64
    }
}

impl Recorder {
    /// Lets an aggregate decide on a command. [`Recorder::put`] puts the events on the record at the transaction's
    /// end.
    pub async fn decide<A: Aggregate<Services = ()>>(
        &mut self,
        stream: StreamId,
        command: A::Command,
    ) -> Result<Decision<A>, ExecuteError<A::Error>> {
        let Record { mut aggregate, events: known } =
            control::replay::<A>(&mut self.transaction, &stream).await?;
        let sink = EventSink::default();
        aggregate.handle(command, &(), &sink).await.map_err(ExecuteError::Refused)?;
        Ok(Decision { stream, known, events: sink.collect().await })
    }

    /// Appends the decided events, or `None` if there are none. If others have appended to the stream meanwhile, that
    /// is a conflict, which ends the transaction: all of it may be done again. Like [`Recorder::tell`], this comes
    /// last.
    pub async fn put<A: Aggregate>(
        &mut self,
        decision: &Decision<A>,
        metadata: &Metadata,
    ) -> Result<Option<Committed>, ExecuteError<A::Error>> {
        let Decision { stream, known, events } = decision;
        if events.is_empty() {
            return Ok(None);
        }
        let append = Append::new::<A>(stream, *known, events, metadata)?;
        let committed =
            group::insert(&mut *self.transaction, &[&append]).await.map_err(|refused| match refused {
                Refused::Log(error) => Refused::Log(self.noted(error)),
                conflict @ Refused::Conflict => conflict,
            })?;
        self.appended.extend(&committed);
        Ok(committed.last().copied())
    }
}

impl Recorder {
    /// Begins streams with the same event, which happens now: the first `most` of the streams that do not exist yet.
    /// Returns the ids of the streams it began. No stream may be named twice, and all belong to the tenant whose
    /// control log this is.
    ///
    /// One statement begins them all, so the log is not locked for longer than for a few. Like [`Recorder::tell`],
    /// this comes last.
    pub async fn begin<A: Aggregate>(
        &mut self,
        control: LogId,
        streams: &[String],
        event: &A::Event,
        metadata: &Metadata,
        most: i64,
    ) -> Result<Vec<String>, Error> {
        let head: Position = sqlx::query_scalar("SELECT head FROM logs WHERE log_id = $1 FOR NO KEY UPDATE")
            .bind(control)
            .fetch_optional(&mut *self.transaction)
            .await?
            .ok_or(Error::NoSuchLog(control))?;
        let begun: Vec<String> = sqlx::query_scalar(BEGIN)
            .bind(control)
            .bind(head)
            .bind(A::TYPE)
            .bind(streams)
            .bind(event.event_type())
            .bind(event.event_version())
            .bind(serde_json::to_string(event).map_err(Error::unwritable)?)
            .bind(serde_json::to_string(metadata).map_err(Error::unwritable)?)
            .bind(most)
            // Planned again each time: a plan made for an empty log reads all of a large one.
            .persistent(false)
            .fetch_all(&mut *self.transaction)
            .await
            .map_err(|error| self.noted(error.into()))?;
        if !begun.is_empty() {
            let position = head + begun.len() as Position;
            self.appended.push(Committed { log_id: control, position });
        }
        Ok(begun)
    }

    /// Notes that an event could not be stored.
    fn noted(&self, error: Error) -> Error {
        note_append(&self.appends, Err(&error));
        error
    }
}

/// Every append to the log holds the log's row from its insert to its commit. A snapshot that is taken while this
/// transaction holds the row therefore shows every stream that exists, and no append begins one of these meanwhile.
const BEGIN: &str = "
    WITH fresh AS MATERIALIZED (
        SELECT aggregate_id, row_number() OVER (ORDER BY ordinal) AS number
        FROM unnest($4::text[]) WITH ORDINALITY AS stream (aggregate_id, ordinal)
        WHERE NOT EXISTS (
            SELECT FROM control_events AS earlier
            WHERE earlier.aggregate_type = $3 AND earlier.aggregate_id = stream.aggregate_id)
        ORDER BY ordinal LIMIT $9
    ), begun AS (
        INSERT INTO control_events
            (log_id, position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
             occurred_at, recorded_at)
        SELECT $1, $2 + number, $3, aggregate_id, 1, $5, $6, $7::json, $8::json,
               statement_timestamp(), statement_timestamp()
        FROM fresh
    ), moved AS (
        UPDATE logs SET head = $2 + (SELECT count(*) FROM fresh)
        WHERE log_id = $1 AND EXISTS (SELECT FROM fresh)
    )
    SELECT aggregate_id FROM fresh ORDER BY number";

const APPEND_NEXT: &str = "
    INSERT INTO control_events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
    SELECT $1, $2, 1 + coalesce(max(sequence), 0), $3, $4, $5::json, $6::json
    FROM control_events WHERE aggregate_type = $1 AND aggregate_id = $2
    RETURNING log_id, position";

impl<S: Scope> EventLog<S> {
    /// Runs `work` in a transaction, which commits if `work` succeeds. It goes on if the caller is dropped: a dropped
    /// future would give its connection back to the pool with the transaction still open.
    pub async fn record<T, E, W>(&self, work: W) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
        W: for<'r> FnOnce(&'r mut Recorder) -> BoxFuture<'r, Result<T, E>> + Send + 'static,
    {
        let log = self.clone();
        let task = tokio::spawn(async move {
            let transaction = log.scope.begin().await?;
            let appends = log.inner.appends.clone();
            let mut recorder = Recorder { transaction, appended: vec![], appends };
            let done = work(&mut recorder).await?;
            let Recorder { transaction, appended, appends } = recorder;
            let committed = transaction.commit().await.map_err(Error::from);
            if !appended.is_empty() {
                note_append(&appends, committed.as_ref().copied());
            }
            committed?;
            for Committed { log_id, position } in appended {
                log.heads().moved(log_id, position);
            }
            Ok(done)
        });
        task.await.unwrap_or_else(|_| Err(Error::task_ended().into()))
    }
}
