//! Changes of the service's own tables, and the events that tell of them: both or neither.
//!
//! Users, sessions, policies and credentials are ordinary rows, because an immutable log is no place for secrets or
//! erasable personal data. What is done to them is on the record nevertheless.

use cqrs_es::{Aggregate, DomainEvent};
use fleetlog_aggregates::acts::Act;
use fleetlog_aggregates::identity::Tenant;
use futures::future::BoxFuture;
use sqlx::{PgConnection, Postgres, Row, Transaction};

use crate::control::{Committed, Metadata};
use crate::{Error, EventLog, scope};

/// A transaction that puts on the record what it does.
pub struct Recorder {
    transaction: Transaction<'static, Postgres>,
    appended: Vec<Committed>,
}

impl Recorder {
    /// The transaction, to do it.
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }

    /// An aggregate as this transaction sees it, its stream locked against whoever else does this or [appends](Self::append).
    pub async fn load<A: Aggregate>(&mut self, tenant: &Tenant, id: &str) -> Result<A, Error> {
        let aggregate_id = format!("{tenant}/{id}");
        self.lock(A::TYPE, &aggregate_id).await?;
        let payloads: Vec<String> = sqlx::query_scalar(
            "SELECT payload::text FROM control_events WHERE aggregate_type = $1 AND aggregate_id = $2 ORDER BY sequence",
        )
        .bind(A::TYPE)
        .bind(aggregate_id)
        .fetch_all(&mut *self.transaction)
        .await?;
        let mut aggregate = A::default();
        for payload in payloads {
            let event = serde_json::from_str(&payload);
            aggregate.apply(event.map_err(|error| Error::Database(sqlx::Error::Decode(Box::new(error))))?);
        }
        Ok(aggregate)
    }

    /// Whoever else does this to the stream waits until this transaction has ended, and then sees what it has appended.
    async fn lock(&mut self, aggregate_type: &str, aggregate_id: &str) -> Result<(), Error> {
        sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1 || ' ' || $2, 0))")
            .bind(aggregate_type)
            .bind(aggregate_id)
            .execute(&mut *self.transaction)
            .await?;
        Ok(())
    }

    /// Tells of an act in the stream of the tenant's thing `id`. The tenant's control log is locked from here to the
    /// commit: this comes last.
    pub async fn tell<A: Act>(
        &mut self,
        tenant: &Tenant,
        id: &str,
        act: &A,
        metadata: &Metadata,
    ) -> Result<Committed, Error> {
        self.append(A::TYPE, tenant, id, act, metadata).await
    }

    /// The same for an event of an aggregate's stream, on which others may decide at this moment: they do so anew, or
    /// this fails with a conflict and may be tried again.
    pub async fn append(
        &mut self,
        aggregate_type: &str,
        tenant: &Tenant,
        id: &str,
        event: &impl DomainEvent,
        metadata: &Metadata,
    ) -> Result<Committed, Error> {
        let aggregate_id = format!("{tenant}/{id}");
        let encode = |error: serde_json::Error| Error::Database(sqlx::Error::Encode(Box::new(error)));
        let payload = serde_json::to_string(event).map_err(encode)?;
        let metadata = serde_json::to_string(metadata).map_err(encode)?;
        self.lock(aggregate_type, &aggregate_id).await?;
        let row = sqlx::query(APPEND_NEXT)
            .bind(aggregate_type)
            .bind(&aggregate_id)
            .bind(event.event_type())
            .bind(event.event_version())
            .bind(payload)
            .bind(metadata)
            .fetch_one(&mut *self.transaction)
            .await?;
        let committed = Committed { log_id: row.try_get("log_id")?, position: row.try_get("position")? };
        self.appended.push(committed);
        Ok(committed)
    }
}

const APPEND_NEXT: &str = "
    INSERT INTO control_events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
    SELECT $1, $2, 1 + coalesce(max(sequence), 0), $3, $4, $5::json, $6::json
    FROM control_events WHERE aggregate_type = $1 AND aggregate_id = $2
    RETURNING log_id, position";

impl EventLog {
    /// Does something in a transaction of its own, which commits if it succeeds. It goes on if the caller is dropped: a
    /// transaction under a dropped future would go back to the pool open.
    pub async fn record<T, E, W>(&self, work: W) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
        W: for<'r> FnOnce(&'r mut Recorder) -> BoxFuture<'r, Result<T, E>> + Send + 'static,
    {
        let log = self.clone();
        let task = scope::spawn(async move {
            let transaction = log.pool().begin().await.map_err(Error::from)?;
            let mut recorder = Recorder { transaction, appended: vec![] };
            let done = work(&mut recorder).await?;
            let Recorder { transaction, appended } = recorder;
            transaction.commit().await.map_err(Error::from)?;
            for Committed { log_id, position } in appended {
                log.heads().moved(log_id, position);
            }
            Ok(done)
        });
        task.await.unwrap_or_else(|_| Err(Error::Unavailable(sqlx::Error::WorkerCrashed).into()))
    }
}
