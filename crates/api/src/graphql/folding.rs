//! How much of the log one question folds, for its answers as of moments of the past.

use std::sync::Arc;

use fleetlog_projections::Refolded;
use fleetlog_projections::devices::as_of::READINGS;
use tokio::sync::Mutex;

use super::as_of::{argument, blamed};
use crate::rest::Error;
use crate::rest::parameters::AsOf;

/// Counts the events that are folded for one question. Folds of one question follow each other, so that the question
/// holds one connection, and none begins once [`READINGS`] events are folded.
#[derive(Clone, Default)]
pub(super) struct Folding(Arc<Mutex<usize>>);

impl Folding {
    /// Does a fold as of a moment, if the question may have another.
    pub(super) async fn fold<T>(
        &self,
        moment: AsOf,
        fold: impl Future<Output = Result<Refolded<T>, Error>>,
    ) -> Result<T, Error> {
        let mut events = self.0.lock().await;
        if *events >= READINGS {
            let why =
                format!("the question's other fields fold {READINGS} events: ask for this one by itself");
            return Err(Error::field(argument(moment), why));
        }
        let folded = fold.await.map_err(blamed(moment))?;
        *events += folded.events;
        Ok(folded.found)
    }

    /// How many events were folded.
    pub(super) async fn events(&self) -> usize {
        *self.0.lock().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_question_folds_up_to_its_bound_and_then_no_more() {
        let folding = Folding::default();
        let moment: AsOf = "1:42".parse().expect("a moment");
        let fold =
            async |events| folding.fold(moment, async move { Ok(Refolded { found: events, events }) }).await;
        assert_eq!(fold(READINGS - 1).await.ok(), Some(READINGS - 1));
        assert_eq!(fold(5).await.ok(), Some(5), "it was within the bound when it began");
        let refused = fold(0).await.map_err(|error| error.message());
        let told =
            "as_of_position: the question's other fields fold 500000 events: ask for this one by itself";
        assert_eq!(refused, Err(told.to_owned()));
        assert_eq!(folding.events().await, READINGS + 4);
    }
}
