//! The pings of a WebSocket's client. Each is answered, and the answers of a client that sends many and reads little would wait in
//! memory.

use std::time::Duration;

use tokio::time::Instant;

/// How many pings and pongs a client may send in [`WITHIN`].
pub const MOST: u32 = 100;
/// The time in which they are counted.
const WITHIN: Duration = Duration::from_secs(10);

/// What a client has sent lately.
#[derive(Debug)]
pub struct Pings {
    since: Instant,
    count: u32,
}

impl Default for Pings {
    fn default() -> Self {
        Self { since: Instant::now(), count: 0 }
    }
}

impl Pings {
    /// Counts one. `true`: they are too many.
    pub fn are_too_many(&mut self) -> bool {
        self.are_too_many_at(Instant::now())
    }

    fn are_too_many_at(&mut self, now: Instant) -> bool {
        if now.duration_since(self.since) > WITHIN {
            *self = Self { since: now, count: 0 };
        }
        self.count += 1;
        self.count > MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_pings_in_ten_seconds_are_enough_and_then_a_hundred_more() {
        let (mut pings, start) = (Pings::default(), Instant::now());
        for now in [start, start + WITHIN + WITHIN] {
            assert!((0..MOST).all(|_| !pings.are_too_many_at(now)));
            assert!(pings.are_too_many_at(now));
        }
    }
}
