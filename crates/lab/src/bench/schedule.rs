//! When the requests of a constant rate are due, whether or not those before them have been answered.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;

/// Requests as they become due. Clones share them: each request goes to one clone.
#[derive(Clone)]
pub(super) struct Schedule(Arc<Mutex<mpsc::UnboundedReceiver<(Instant, u32)>>>);

impl Schedule {
    /// Starts now: `requests` requests, `rate` a second.
    pub(super) fn start(rate: u32, requests: u32) -> Self {
        let (schedule, due) = mpsc::unbounded_channel();
        tokio::task::spawn_blocking(move || keep_time(&schedule, rate, requests));
        Self(Arc::new(Mutex::new(due)))
    }

    /// The next request's due time, which is now or past, and its number from 0. `None` after the last.
    pub(super) async fn next(&self) -> Option<(Instant, u32)> {
        self.0.lock().await.recv().await
    }
}

/// Runs on its own thread: the runtime's timers are exact to a millisecond only, a fifth of the latency to be measured.
fn keep_time(schedule: &mpsc::UnboundedSender<(Instant, u32)>, rate: u32, requests: u32) {
    let started = Instant::now();
    for number in 0..requests {
        let due = started + Duration::from_secs(1) * number / rate;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if schedule.send((due, number)).is_err() {
            // The receivers are dropped after a wrong answer, which their task reports.
            return;
        }
    }
}
