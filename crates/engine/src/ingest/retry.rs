//! Repeats a database call until it succeeds: a received message must not be given up.

use std::time::Duration;

use fleetlog_event_log::Error;
use fleetlog_event_log::backoff::Backoff;

use crate::instruments;

/// The pauses between attempts on a failing database.
pub(crate) fn patience() -> Backoff {
    Backoff::new(Duration::from_millis(50), Duration::from_secs(2))
}

/// Repeats a call until it succeeds.
pub(crate) async fn until_done<T, F>(what: &'static str, attempt: impl Fn() -> F) -> T
where
    F: Future<Output = Result<T, Error>>,
{
    let mut backoff = patience();
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(error) => failed(what, &error),
        }
        backoff.wait().await;
    }
}

/// Logs and counts an attempt that failed and will be repeated.
pub(crate) fn failed(what: &'static str, error: &Error) {
    instruments::RETRIES.with([what.into()]).increment(1);
    tracing::warn!(%error, "failed to {what}; trying again");
}
