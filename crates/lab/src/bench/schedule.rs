//! When requests are due that come at a rate, whether or not those before them have been answered.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;

/// Requests as they become due, shared out among those who send them. Clones share.
#[derive(Clone)]
pub(super) struct Schedule(Arc<Mutex<mpsc::UnboundedReceiver<(Instant, u32)>>>);

impl Schedule {
    /// So many requests, so many a second, from now on.
    pub(super) fn start(rate: u32, requests: u32) -> Self {
        let (schedule, due) = mpsc::unbounded_channel();
        tokio::task::spawn_blocking(move || keep_time(&schedule, rate, requests));
        Self(Arc::new(Mutex::new(due)))
    }

    /// When the next one is due, which is now or before, and its number, counted from 0. `None` after the last.
    pub(super) async fn next(&self) -> Option<(Instant, u32)> {
        self.0.lock().await.recv().await
    }
}

/// On a thread of its own: the runtime's timers are true to a millisecond only, which is a fifth of what is looked for.
fn keep_time(schedule: &mpsc::UnboundedSender<(Instant, u32)>, rate: u32, requests: u32) {
    let started = Instant::now();
    for number in 0..requests {
        let due = started + Duration::from_secs(1) * number / rate;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if schedule.send((due, number)).is_err() {
            // Nobody listens once an answer was wrong, which is told there.
            return;
        }
    }
}
