//! When to look for work that events on the control logs announce.

use std::time::Duration;

use tokio::time::Instant;

use crate::{EventLog, Lane, Position};

/// Says when it is time to look again: once a control log has grown, and now and then in any case. Asks no database.
pub struct Looks {
    log: EventLog,
    at_least_every: Duration,
    /// How many events there were on the control logs at the last look, and when that was.
    last: Option<(Position, Instant)>,
}

impl EventLog {
    /// Prepares looking for work, at least this often.
    #[must_use]
    pub fn looks(&self, at_least_every: Duration) -> Looks {
        Looks { log: self.clone(), at_least_every, last: None }
    }
}

impl Looks {
    /// Whether it is time to look. If so, the look counts as made: what an event announces meanwhile is looked for next.
    pub fn is_due(&mut self) -> bool {
        let known = self.log.heads().total_of(Lane::Control);
        let is_over = |(then, at): (Position, Instant)| then == known && at.elapsed() < self.at_least_every;
        let is_due = !self.last.is_some_and(is_over);
        if is_due {
            self.last = Some((known, Instant::now()));
        }
        is_due
    }

    /// It is time to look again: the last look failed, or did not find everything.
    pub fn again(&mut self) {
        self.last = None;
    }
}
