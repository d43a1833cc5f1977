//! Reads events from the log into a fold, page by page.

use fleetlog_event_log::read::Slice;
use fleetlog_event_log::sources::Sources;
use fleetlog_event_log::{Error, Event, EventLog, LogId, Position};

use super::Options;
use super::apply::Applied;
use super::checkpoints::{Parked, ParkedStreams};
use crate::read_model::ReadModel;

/// How many events the first page asks for, before the size of the events is known.
const FIRST_PAGE: i64 = 500;
/// How many events are folded before other tasks get their turn: about a millisecond's worth.
const FOLDED_AT_ONCE: usize = 512;

/// Reads the events of one log.
#[derive(Clone, Copy)]
pub(crate) struct Pages<'r> {
    pub(crate) log: &'r EventLog,
    pub(crate) options: &'r Options,
    pub(crate) log_id: LogId,
    /// The log's parked streams.
    pub(crate) parked: &'r ParkedStreams,
    /// The slice of the log to read; `None` for all of it.
    pub(crate) slice: Option<Slice>,
}

/// A batch that is folded, but not written yet.
pub(crate) struct Folded<F> {
    pub(crate) fold: F,
    pub(crate) batch: Applied,
    /// The streams that this batch parks, and those that the batches before it in this turn park.
    pub(crate) parked: ParkedStreams,
}

impl Pages<'_> {
    /// Folds events after `after`, up to `head` or as many as a batch holds, but not those of parked streams.
    pub(crate) async fn fold<M: ReadModel>(
        self,
        after: Position,
        head: Position,
        parked: ParkedStreams,
    ) -> Result<Folded<M::Fold>, Error> {
        let batch = Applied { to: after, events: 0, parked: vec![] };
        let mut folded = Folded { fold: M::Fold::default(), batch, parked };
        let full = self.options.batch.max(1) as u64;
        let mut limit = self.options.page.min(FIRST_PAGE);
        while folded.batch.to < head
            && folded.batch.events < full
            && M::size(&folded.fold) < self.options.fold_bytes
        {
            let events = match self.page(folded.batch.to, limit).await {
                // The operator keeps no copies, so nobody will ever read them again.
                Err(Error::Archived(range)) if range.copy.is_none() => {
                    tracing::warn!(projection = M::NAME, %range, "left events out");
                    folded.batch.to = range.last.min(head);
                    continue;
                }
                // What was read before is applied first. The next turn meets the error again.
                Err(_) if folded.batch.to > after => break,
                read => read?,
            };
            limit = self.limit(&events);
            let Some(last) = events.last() else {
                // A slice may have no more events. Otherwise only a retired partition leaves a grown log with nothing
                // to read.
                folded.batch.to = self.slice.map_or(folded.batch.to, |slice| slice.until);
                break;
            };
            let sources = match self.log.sources_of_readings(self.log_id, &events).await {
                Err(_) if folded.batch.to > after => break,
                read => read?,
            };
            folded.batch.to = last.position;
            folded.batch.events += events.len() as u64;
            self.add::<M>(&mut folded, &events, &sources).await;
        }
        Ok(folded)
    }

    /// The first events after a position, whatever their size.
    pub(crate) async fn first(self, after: Position) -> Result<Vec<Event>, Error> {
        self.page(after, self.options.page.min(FIRST_PAGE)).await
    }

    async fn add<M: ReadModel>(self, folded: &mut Folded<M::Fold>, events: &[Event], sources: &Sources) {
        let Folded { fold, batch, parked } = folded;
        for (nth, event) in events.iter().enumerate() {
            if nth % FOLDED_AT_ONCE == 0 {
                tokio::task::yield_now().await;
            }
            if self.parked.contains(event) || parked.contains(event) {
                continue;
            }
            if let Err(poison) = M::fold(fold, event, sources) {
                batch.parked.push(Parked::at(event, &poison));
                parked.insert(event.aggregate_type.to_string(), event.aggregate_id.clone());
            }
        }
    }

    async fn page(self, after: Position, limit: i64) -> Result<Vec<Event>, Error> {
        let bytes = self.options.page_bytes;
        match self.slice {
            Some(slice) => self.log.slice_page(self.log_id, after, slice, limit, bytes).await,
            None => self.log.page(self.log_id, after, limit, bytes).await,
        }
    }

    /// How many events of this size fit in a page. Events that are read beyond the page's bytes are sent in vain.
    fn limit(self, events: &[Event]) -> i64 {
        let bytes: usize = events.iter().map(|event| event.payload.0.len()).sum();
        let fitting = self.options.page_bytes * events.len() / bytes.max(1);
        (fitting as i64).clamp(1, self.options.page.max(1))
    }
}
