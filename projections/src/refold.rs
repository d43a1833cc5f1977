//! Folds a part of the log once more, in memory, for an answer as of a moment of the past: with the fold that keeps the read
//! model, and without what the live version has parked.

use std::collections::HashMap;

use fleetlog_event_log::sources::Sources;
use fleetlog_event_log::{Event, Position, Result, TenantLog};
use sqlx::Row;

use crate::read_model::ReadModel;

/// An answer that was folded from the log, and how many events that took.
#[derive(Debug, Clone, PartialEq)]
pub struct Refolded<T> {
    /// What was asked for.
    pub found: T,
    /// How many events were read.
    pub events: usize,
}

/// A fold of a part of a tenant's log.
pub(crate) struct Refold<M: ReadModel> {
    pub(crate) fold: M::Fold,
    pub(crate) events: usize,
    parked: Parked,
}

/// The streams that a read model does not fold any further, and each one's first event that it leaves out: by type and id.
#[derive(Clone, Default)]
struct Parked(HashMap<String, HashMap<String, Position>>);

impl<M: ReadModel> Refold<M> {
    /// An empty fold, which leaves out what the live version of the read model leaves out.
    pub(crate) async fn of(log: &TenantLog) -> Result<Self> {
        let parked = sqlx::query(
            "SELECT aggregate_type, aggregate_id, position
             FROM parked_streams JOIN projections USING (projection, version) WHERE projection = $1 AND live",
        );
        let mut streams = Parked::default();
        for row in log.fetch(parked.bind(M::NAME)).await? {
            let (aggregate_type, aggregate_id): (String, String) = (row.try_get(0)?, row.try_get(1)?);
            streams.0.entry(aggregate_type).or_default().insert(aggregate_id, row.try_get(2)?);
        }
        Ok(Self { fold: M::Fold::default(), events: 0, parked: streams })
    }

    /// Another empty fold, which leaves out the same.
    pub(crate) fn another(&self) -> Self {
        Self { fold: M::Fold::default(), events: 0, parked: self.parked.clone() }
    }

    /// Adds an event. What cannot be folded parks its stream, as it does in the read model.
    pub(crate) fn add(&mut self, event: &Event) {
        self.events += 1;
        // Of what is folded here, nothing reads metrics.
        let sources = Sources::default();
        if !self.parked.leaves_out(event) && M::fold(&mut self.fold, event, &sources).is_err() {
            self.parked.park(event);
        }
    }
}

impl Parked {
    fn leaves_out(&self, event: &Event) -> bool {
        let streams = self.0.get(&*event.aggregate_type);
        let since = streams.and_then(|streams| streams.get(&event.aggregate_id));
        since.is_some_and(|since| event.position >= *since)
    }

    fn park(&mut self, event: &Event) {
        let streams = self.0.entry(event.aggregate_type.to_string()).or_default();
        streams.insert(event.aggregate_id.clone(), event.position);
    }
}
