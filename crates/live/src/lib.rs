//! Follows a tenant's logs, for many followers at a time.
//!
//! Everything comes from the log, by position: what was followed up to a position goes on after it, on any node, without a
//! gap and without a repeat. One reader of each log keeps the latest events of it in memory, for all who follow it there.
//! Whoever is slower than that reads the database, a page at a time: a slow follower costs no memory, and holds up nobody.
//!
//! - [`follower`]: one follower, its places in the logs, and the next step from there
//! - `tail`: the reader of one log, and the latest events
//! - [`entry`]: an event as followers get it, and what it is about
//! - [`selection`]: which events to follow
//! - [`places`]: how far a follower has come, as text that it can go on from

pub mod entry;
pub mod follower;
pub mod instruments;
pub mod places;
pub mod selection;
mod tail;

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use fleetlog_event_log::turns::Turns;
use fleetlog_event_log::{EventLog, LogId, TenantLog};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

pub use entry::Entry;
pub use follower::{Follower, Step};
pub use places::Places;
pub use selection::Selection;
use tail::Tail;

/// How many followers read a page from the database at once, and how many of one tenant.
const READS: (u32, u32) = (8, 2);

/// What is followed in this process. Cheap to clone.
#[derive(Clone)]
pub struct Live(Arc<Inner>);

struct Inner {
    log: EventLog,
    /// The readers of logs that are followed.
    tails: Mutex<HashMap<LogId, Weak<Tail>>>,
    reads: Turns,
    stop: CancellationToken,
}

impl Live {
    /// Lets followers follow these logs until `stop`.
    #[must_use]
    pub fn new(log: EventLog, stop: CancellationToken) -> Self {
        let reads = Turns::new(READS.0, READS.1);
        Self(Arc::new(Inner { log, tails: Mutex::default(), reads, stop }))
    }

    /// Follows the tenant's logs that `places` names, after those places. The places are of this tenant's logs: see
    /// [`Places::check`].
    #[must_use]
    pub fn follow(&self, log: &TenantLog, places: Places, selection: Selection) -> Follower {
        let tails = places.logs().map(|log_id| self.tail(log_id)).collect();
        Follower::new(self.clone(), log.tenant().clone(), places, tails, selection)
    }

    /// Is cancelled when followers are to end.
    #[must_use]
    pub fn stop(&self) -> &CancellationToken {
        &self.0.stop
    }

    /// The reader of a log: the one that runs, or a new one.
    fn tail(&self, log_id: LogId) -> Arc<Tail> {
        let mut tails = self.0.tails.lock();
        if let Some(tail) = tails.get(&log_id).and_then(Weak::upgrade) {
            return tail;
        }
        tails.retain(|_, tail| tail.strong_count() > 0);
        let tail = Tail::start(&self.0.log, log_id);
        tails.insert(log_id, Arc::downgrade(&tail));
        tail
    }
}
