//! How long to wait before a retry: exponentially longer, with jitter, up to a ceiling.
//!
//! Jitter spreads the retries, because all devices of a fleet, or all batches of a node, lose the same server at the
//! same moment.

use std::time::Duration;

/// The waits of one sequence of failures.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    /// Waits of at most `first`, doubling with each failure up to `longest`. A wait lasts at least half of that.
    #[must_use]
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failures: 0 }
    }

    /// Starts over after a success: the next failure counts as the first.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Counts a failure and says how long to wait.
    #[must_use]
    pub fn next_wait(&mut self) -> Duration {
        let ceiling = self.first.saturating_mul(1 << self.failures.min(20)).min(self.longest);
        self.failures = self.failures.saturating_add(1);
        ceiling.mul_f64(rand::random_range(0.5..=1.0))
    }

    /// Counts a failure and waits.
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.next_wait()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_ceiling_and_start_over_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(4));
        for ceiling in [1, 2, 4, 4] {
            let wait = backoff.next_wait();
            let ceiling = Duration::from_secs(ceiling);
            assert!(ceiling / 2 <= wait && wait <= ceiling, "{wait:?} within {ceiling:?}");
        }
        backoff.reset();
        assert!(backoff.next_wait() <= Duration::from_secs(1));
    }
}
