//! Puts appends that wait for the same control log into one transaction.
//!
//! An append holds the log's row until it has reached the disk, so one by one a log takes only as many appends as the
//! disk takes flushes. Here an append that finds the log busy joins a queue. When the log is free, one of the waiting
//! appends writes the whole queue, in the order of arrival. No append waits for others to arrive.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use cqrs_es::{Aggregate, DomainEvent};
use fleetlog_aggregates::identity::{StreamId, Tenant};
use parking_lot::{Mutex, MutexGuard};
use sqlx::{PgExecutor, Row};
use tokio::sync::oneshot;

use crate::Error;
use crate::control::{Committed, Metadata};
use crate::scope::Scope;

/// The most appends in one transaction, which bounds how long the transaction holds the log's row.
const GROUP: usize = 256;
/// The unique key that two simultaneous appends to one stream violate.
const STREAM: &str = "control_events_stream";

/// Events for the end of one stream, appended all or none.
pub(crate) struct Append {
    aggregate_type: &'static str,
    tenant: Tenant,
    aggregate_id: String,
    metadata: String,
    /// Sequence, type, version and payload of each event. At least one.
    events: Vec<(i64, String, String, String)>,
}

/// Why an append was refused.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The stream has grown since it was read.
    Conflict,
    /// The database failed.
    Log(Error),
}

/// The queues of appends that wait for their turn.
#[derive(Default)]
pub(crate) struct Groups {
    queues: Mutex<HashMap<Key, Arc<Queue>>>,
}

/// The appends that share a transaction: those to one log, on behalf of the same tenant.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    on_behalf_of: Option<Tenant>,
    tenant: Tenant,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Vec<Waiting>>,
    turn: tokio::sync::Mutex<()>,
}

struct Waiting {
    append: Append,
    answer: oneshot::Sender<Result<Committed, Refused>>,
}

impl Append {
    /// An append of these events after the first `known` events of a stream.
    pub(crate) fn new<A: Aggregate>(
        stream: &StreamId,
        known: i64,
        events: &[A::Event],
        metadata: &Metadata,
    ) -> Result<Self, Error> {
        let numbered = (known + 1..).zip(events).map(|(sequence, event)| {
            let payload = serde_json::to_string(event).map_err(Error::unwritable)?;
            Ok((sequence, event.event_type(), event.event_version(), payload))
        });
        Ok(Self {
            aggregate_type: A::TYPE,
            tenant: stream.tenant.clone(),
            aggregate_id: stream.to_string(),
            metadata: serde_json::to_string(metadata).map_err(Error::unwritable)?,
            events: numbered.collect::<Result<_, Error>>()?,
        })
    }
}

impl Groups {
    /// Appends, together with the appends that wait. The caller must not be dropped meanwhile: it may be writing for
    /// others.
    pub(crate) async fn append(&self, scope: &impl Scope, append: Append) -> Result<Committed, Refused> {
        let queue = self.queue(scope.on_behalf_of().cloned(), &append);
        let (answer, mut answered) = oneshot::channel();
        lock(&queue.waiting).push(Waiting { append, answer });
        loop {
            tokio::select! {
                biased;
                answer = &mut answered => {
                    let gone = || Err(Refused::Log(Error::task_ended()));
                    return answer.unwrap_or_else(|_| gone());
                }
                _turn = queue.turn.lock() => {
                    let (group, late) = firsts(queue.next());
                    if !group.is_empty() {
                        write(scope, group).await;
                    }
                    for one in late {
                        one.tell(Err(Refused::Conflict));
                    }
                }
            }
        }
    }

    fn queue(&self, on_behalf_of: Option<Tenant>, append: &Append) -> Arc<Queue> {
        let tenant = append.tenant.clone();
        Arc::clone(lock(&self.queues).entry(Key { on_behalf_of, tenant }).or_default())
    }
}

impl Queue {
    fn next(&self) -> Vec<Waiting> {
        let mut waiting = lock(&self.waiting);
        let count = waiting.len().min(GROUP);
        waiting.drain(..count).collect()
    }
}

impl Waiting {
    /// Sends the answer. It is no error if the receiver is gone: the append is committed all the same.
    fn tell(self, answer: Result<Committed, Refused>) {
        let _ = self.answer.send(answer);
    }
}

/// The first append for each stream, and the appends that come too late for theirs.
fn firsts(waiting: Vec<Waiting>) -> (Vec<Waiting>, Vec<Waiting>) {
    let mut streams = HashSet::new();
    waiting.into_iter().partition(|Waiting { append, .. }| {
        streams.insert((append.aggregate_type, append.aggregate_id.clone()))
    })
}

/// Writes a group and answers each append in it. If the database refuses the data of one append, it refuses the whole
/// group: the group is then halved until the append at fault is alone.
async fn write(scope: &impl Scope, group: Vec<Waiting>) {
    let mut groups = vec![group];
    while let Some(mut group) = groups.pop() {
        let appends: Vec<&Append> = group.iter().map(|waiting| &waiting.append).collect();
        let inserted = match scope.connection().await {
            Ok(mut connection) => insert(&mut *connection, &appends).await,
            Err(error) => Err(Refused::Log(error)),
        };
        let refused = match inserted {
            Ok(committed) => {
                for (one, at) in group.into_iter().zip(committed) {
                    one.tell(Ok(at));
                }
                continue;
            }
            Err(refused) => refused,
        };
        match refused {
            Refused::Log(error) if !error.is_bad_data() => {
                for one in group {
                    one.tell(Err(Refused::Log(same(&error))));
                }
            }
            refused if group.len() < 2 => {
                if let Some(one) = group.pop() {
                    one.tell(Err(refused));
                }
            }
            _ => {
                groups.push(group.split_off(group.len() / 2));
                groups.push(group);
            }
        }
    }
}

/// Appends to streams of one log in one statement, and so without a round trip between taking the log's row and the
/// commit: every other append to the log waits for that long. Returns the place of each append's last event.
pub(crate) async fn insert(
    executor: impl PgExecutor<'_>,
    appends: &[&Append],
) -> Result<Vec<Committed>, Refused> {
    let rows = || appends.iter().flat_map(|append| append.events.iter().map(move |event| (*append, event)));
    let inserted = sqlx::query(INSERT)
        .bind(rows().map(|(append, _)| append.aggregate_type).collect::<Vec<_>>())
        .bind(rows().map(|(append, _)| append.aggregate_id.as_str()).collect::<Vec<_>>())
        .bind(rows().map(|(append, _)| append.metadata.as_str()).collect::<Vec<_>>())
        .bind(rows().map(|(_, event)| event.0).collect::<Vec<_>>())
        .bind(rows().map(|(_, event)| event.1.as_str()).collect::<Vec<_>>())
        .bind(rows().map(|(_, event)| event.2.as_str()).collect::<Vec<_>>())
        .bind(rows().map(|(_, event)| event.3.as_str()).collect::<Vec<_>>())
        .fetch_all(executor)
        .await
        .map_err(|error| match &error {
            sqlx::Error::Database(cause) if cause.constraint() == Some(STREAM) => Refused::Conflict,
            _ => Refused::Log(error.into()),
        })?;
    let mut next = 0;
    let last = appends.iter().map(|append| {
        next += append.events.len();
        let row = inserted.get(next.wrapping_sub(1)).ok_or(sqlx::Error::RowNotFound)?;
        Ok(Committed { log_id: row.try_get("log_id")?, position: row.try_get("position")? })
    });
    last.collect::<Result<_, sqlx::Error>>().map_err(|error| Refused::Log(error.into()))
}

const INSERT: &str = "
    INSERT INTO control_events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
    SELECT aggregate_type, aggregate_id, sequence, event_type, event_version, payload::json, metadata::json
    FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[]) WITH ORDINALITY
        AS event (aggregate_type, aggregate_id, metadata, sequence, event_type, event_version, payload, ordinal)
    ORDER BY ordinal
    RETURNING log_id, position";

/// The error for each waiter. Nothing else is refused to all of them.
fn same(error: &Error) -> Error {
    match error {
        Error::Unavailable(cause) => Error::Unavailable(Arc::clone(cause)),
        Error::Database(cause) => Error::Database(Arc::clone(cause)),
        other => sqlx::Error::Protocol(other.to_string()).into(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}
