//! Follows a log from a position, for as long as the log grows.

use tokio::sync::watch;

use crate::heads::Logs;
use crate::page::PAGE_BYTES;
use crate::{Error, Event, EventLog, LogId, Position, Result};

/// A reader that follows one log: it reads up to the head and waits there for more. Dropping a call to it loses no
/// event. Where that happens often, keep the call instead, because a dropped call may cost the pool a connection.
pub struct Follower {
    log: EventLog,
    log_id: LogId,
    after: Position,
    heads: watch::Receiver<Logs>,
}

impl EventLog {
    /// Follows a log from the event after `after`.
    #[must_use]
    pub fn follow(&self, log_id: LogId, after: Position) -> Follower {
        Follower { log: self.clone(), log_id, after, heads: self.heads().watch() }
    }
}

impl Follower {
    /// The last position that was returned.
    #[must_use]
    pub fn position(&self) -> Position {
        self.after
    }

    /// The next events in order, at least one and at most `limit`. Waits if there are none yet. Events that were removed come
    /// from their copies, or fail with [`Error::Archived`]: the follower stays before them.
    pub async fn next(&mut self, limit: i64) -> Result<Vec<Event>> {
        loop {
            let after = self.after;
            let grown = |logs: &Logs| logs.get(&self.log_id).is_none_or(|log| log.head > after);
            // `wait_for` returns a borrow of the heads, which must not be held over the reads that follow.
            if self.heads.wait_for(grown).await.is_err() {
                // This cannot happen: the sender lives as long as `self.log`.
                return Err(Error::NoSuchLog(self.log_id));
            }
            // A page, which ends before a damaged one: what comes first is followed.
            let events = self.log.page(self.log_id, after, limit, PAGE_BYTES).await?;
            if let Some(last) = events.last() {
                self.after = last.position;
                return Ok(events);
            }
            // Only events that were lost leave a grown log with nothing to read. Wait for the next append.
            let _ = self.heads.changed().await;
        }
    }
}
