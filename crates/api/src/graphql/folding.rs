//! How much of the log one question folds, for its answers as of moments of the past.

use std::sync::Arc;

use fleetlog_projections::Refolded;
use fleetlog_projections::devices::as_of::READINGS;
use tokio::sync::Mutex;

use crate::rest::Error;

/// Counts the events that are folded for one question. Folds of one question follow each other, so that the question
/// holds one connection, and none begins once [`READINGS`] events are folded.
#[derive(Clone, Default)]
pub(super) struct Folding(Arc<Mutex<usize>>);

impl Folding {
    /// Does a fold, if the question may have another.
    pub(super) async fn fold<T>(
        &self,
        fold: impl Future<Output = Result<Refolded<T>, Error>>,
    ) -> Result<T, Error> {
        let mut events = self.0.lock().await;
        if *events >= READINGS {
            let why =
                format!("the question's other fields fold {READINGS} events: ask for this one by itself");
            return Err(Error::field("as_of", why));
        }
        let folded = fold.await?;
        *events += folded.events;
        Ok(folded.found)
    }

    /// How many events were folded.
    pub(super) async fn events(&self) -> usize {
        *self.0.lock().await
    }
}
