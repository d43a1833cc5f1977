//! Follows a log from a position on, for as long as it grows.

use tokio::sync::watch;

use crate::heads::Logs;
use crate::read::Filter;
use crate::{Error, Event, EventLog, LogId, Position, Result};

/// A reader that stays behind the head of one log and waits there. Dropping a call to it loses no event; where
/// that happens often, keep the call instead, because it may cost the pool a connection.
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
    /// The last position that was handed out.
    #[must_use]
    pub fn position(&self) -> Position {
        self.after
    }

    /// The next events, at least one and at most `limit`, in order; waits for them if there are none yet.
    pub async fn next(&mut self, limit: i64) -> Result<Vec<Event>> {
        loop {
            let after = self.after;
            let grown = |logs: &Logs| logs.get(&self.log_id).is_none_or(|log| log.head > after);
            // What it returns must not be held over the reads that follow.
            if self.heads.wait_for(grown).await.is_err() {
                // The sender lives as long as `self.log`.
                return Err(Error::NoSuchLog(self.log_id));
            }
            let events = self.log.read(self.log_id, after, limit, &Filter::default()).await?;
            if let Some(last) = events.last() {
                self.after = last.position;
                return Ok(events);
            }
            // Only a retired partition leaves a grown log with nothing to read: wait for what comes.
            let _ = self.heads.changed().await;
        }
    }
}
