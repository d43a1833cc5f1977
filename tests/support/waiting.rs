//! The one place where tests poll: for what tells nobody when it changes, such as another process or another node.

use std::fmt::Debug;
use std::time::Duration;

use fleetlog_event_log::backoff::Backoff;

/// Longer than anything takes that works, on a busy machine too.
pub(crate) const LIMIT: Duration = Duration::from_mins(1);

/// Asks again and again, with growing pauses, until there is an answer. Fails with what was there instead at last.
pub(crate) async fn eventually<T, E: Debug>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, E>) -> T {
    let mut last = None;
    let asking = async {
        let mut pauses = Backoff::new(Duration::from_millis(5), Duration::from_millis(100));
        loop {
            match ask().await {
                Ok(answer) => return answer,
                Err(instead) => last = Some(instead),
            }
            pauses.wait().await;
        }
    };
    let answer = tokio::time::timeout(LIMIT, asking).await;
    answer.unwrap_or_else(|_| panic!("{what}: not within {LIMIT:?}, but {last:?}"))
}

/// Waits until it is so.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    eventually(what, async || is_so().await.then_some(()).ok_or(false)).await;
}
