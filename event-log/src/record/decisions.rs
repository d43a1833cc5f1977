//! What many aggregates of one type decide in one transaction: their streams are read in one statement, and their events
//! appended in another.

use std::collections::HashMap;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use fleetlog_aggregates::identity::StreamId;
use sqlx::Row;

use super::Recorder;
use crate::Result;
use crate::control::{Committed, ExecuteError, Metadata, Record};
use crate::event::decode;
use crate::group::{self, Append, Refused};

/// Aggregates that decide one after the other. What they decide is put on the record by [`Recorder::put_all`].
pub struct Decisions<A: Aggregate> {
    records: HashMap<StreamId, Record<A>>,
    appends: Vec<Append>,
}

impl<A: Aggregate<Services = ()>> Decisions<A> {
    /// Lets an aggregate decide on a command, after all that it has decided here before. Returns the events that follow,
    /// which its state has taken in.
    ///
    /// # Errors
    ///
    /// [`ExecuteError::Refused`], and then nothing follows.
    pub async fn decide(
        &mut self,
        stream: &StreamId,
        command: A::Command,
        metadata: &Metadata,
    ) -> Result<Vec<A::Event>, ExecuteError<A::Error>> {
        let record = self.records.entry(stream.clone()).or_default();
        let sink = EventSink::default();
        record.aggregate.handle(command, &(), &sink).await.map_err(ExecuteError::Refused)?;
        let events = sink.collect().await;
        if !events.is_empty() {
            self.appends.push(Append::new::<A>(stream, record.events, &events, metadata)?);
            record.events += events.len() as i64;
        }
        Ok(events)
    }

    /// Whether nothing was decided.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.appends.is_empty()
    }
}

impl Recorder {
    /// Loads the aggregates of these streams, to let them decide.
    pub async fn decisions<A: Aggregate>(&mut self, streams: &[StreamId]) -> Result<Decisions<A>> {
        let ids: HashMap<String, &StreamId> =
            streams.iter().map(|stream| (stream.to_string(), stream)).collect();
        let rows = sqlx::query(
            "SELECT aggregate_id, event_type, payload::text AS payload FROM control_events
             WHERE aggregate_type = $1 AND aggregate_id = ANY($2) ORDER BY aggregate_id, sequence",
        )
        .bind(A::TYPE)
        .bind(ids.keys().map(String::as_str).collect::<Vec<_>>())
        .fetch_all(self.connection())
        .await?;
        let mut records: HashMap<StreamId, Record<A>> = HashMap::new();
        for row in &rows {
            let (id, event_type): (String, String) =
                (row.try_get("aggregate_id")?, row.try_get("event_type")?);
            let payload: String = row.try_get("payload")?;
            if let Some(stream) = ids.get(&id) {
                let record = records.entry((*stream).clone()).or_default();
                record.add(decode(A::TYPE, &event_type, &payload)?);
            }
        }
        Ok(Decisions { records, appends: vec![] })
    }

    /// Appends all that was decided, in the order of the decisions, in one statement. If others have appended to one of the
    /// streams meanwhile, that is a conflict, which ends the transaction: all of it may be done again. Like
    /// [`Recorder::tell`], this comes last.
    pub async fn put_all<A: Aggregate>(
        &mut self,
        decisions: Decisions<A>,
    ) -> Result<Option<Committed>, ExecuteError<A::Error>> {
        let appends: Vec<&Append> = decisions.appends.iter().collect();
        if appends.is_empty() {
            return Ok(None);
        }
        let committed =
            group::insert(self.connection(), &appends).await.map_err(|refused| match refused {
                Refused::Log(error) => Refused::Log(self.noted(error)),
                conflict @ Refused::Conflict => conflict,
            })?;
        let last = committed.last().copied();
        self.appended.extend(last);
        Ok(last)
    }
}
