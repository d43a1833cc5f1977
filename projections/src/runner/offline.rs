//! Folds a log in memory and writes nothing: for a log that is open for reading only.

use fleetlog_event_log::{EventLog, LogId, Result};

use super::Options;
use super::checkpoints::ParkedStreams;
use super::pages::Pages;
use crate::read_model::ReadModel;

/// Folds every log that a read model reads from position 1 to the head, as it is now. `each` gets what some neighbouring
/// events of a log add up to, in their order. Returns how many events were folded. Events that cannot be folded, and
/// the later ones of their streams, are left out, with a warning in the process's log.
pub async fn fold<M: ReadModel>(log: &EventLog, mut each: impl FnMut(LogId, M::Fold)) -> Result<u64> {
    let options = Options::default();
    let mut events = 0;
    for of in log.heads().logs().into_iter().filter(|log| M::LANES.contains(&log.lane)) {
        let none = ParkedStreams::default();
        let pages = Pages { log, options: &options, log_id: of.log_id, parked: &none, slice: None };
        let (mut position, mut parked) = (0, ParkedStreams::default());
        while position < of.head {
            let folded = pages.fold::<M>(position, of.head, parked).await?;
            for stream in &folded.batch.parked {
                let (stream_id, position) = (&stream.aggregate_id, stream.position);
                tracing::warn!(
                    projection = M::NAME,
                    stream_id,
                    position,
                    error = stream.error,
                    "left a stream out"
                );
            }
            if folded.batch.to == position {
                break;
            }
            position = folded.batch.to;
            events += folded.batch.events;
            parked = folded.parked;
            each(of.log_id, folded.fold);
        }
    }
    Ok(events)
}
