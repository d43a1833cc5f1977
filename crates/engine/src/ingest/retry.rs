//! Does it again until the database takes it: what was received must not be given up.

use std::time::Duration;

use fleetlog_event_log::Error;
use fleetlog_event_log::backoff::Backoff;

/// The waits between attempts on a database that fails.
pub(crate) fn patience() -> Backoff {
    Backoff::new(Duration::from_millis(50), Duration::from_secs(2))
}

/// Does it again until it works.
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

/// Notes an attempt that failed and will be repeated.
pub(crate) fn failed(what: &'static str, error: &Error) {
    metrics::counter!("fleetlog_ingest_retries_total", "step" => what).increment(1);
    tracing::warn!(%error, "failed to {what}; trying again");
}
