//! Repeats a database call until it succeeds: a received message must not be given up.

use std::time::{Duration, Instant};

use fleetlog_event_log::Error;
use fleetlog_event_log::backoff::Backoff;
use fleetlog_event_log::health::{Health, UNSTORED, Wait, parts};

use crate::instruments;

/// The pauses between attempts on a failing database.
pub(crate) fn patience() -> Backoff {
    Backoff::new(Duration::from_millis(50), Duration::from_secs(2))
}

/// Notes that messages wait to be stored, the oldest since `since`, until the returned value is dropped.
pub(super) fn unstored(health: &Health, since: Instant) -> Wait {
    health.part(parts::APPENDS, UNSTORED).wait(since, "messages wait to be stored")
}

/// Repeats a call until it succeeds. `wait` learns what it failed with.
pub(crate) async fn until_done<T, F>(what: &'static str, wait: &Wait, attempt: impl Fn() -> F) -> T
where
    F: Future<Output = Result<T, Error>>,
{
    let mut backoff = patience();
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(error) => failed(what, wait, &error),
        }
        backoff.wait().await;
    }
}

/// Logs and counts an attempt that failed and will be repeated.
pub(crate) fn failed(what: &'static str, wait: &Wait, error: &Error) {
    wait.failed(format_args!("failed to {what}: {}", error.outline()));
    instruments::RETRIES.with([what.into()]).increment(1);
    tracing::warn!(%error, "failed to {what}; trying again");
}
