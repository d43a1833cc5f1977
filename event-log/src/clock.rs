//! The time, by Postgres's clock.
//!
//! Nodes compare moments that other nodes have stored, so they all take the time from the one clock that they share. A
//! node asks Postgres now and then (`upkeep` does, with what it reads anyway) and counts on from the answer by the time
//! since its start, which goes on while it sleeps. Its wall clock is never read: when that one jumps, nothing that is stored or compared is affected.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::RwLock;
use sqlx::{Executor, Postgres};

use crate::Result;
use crate::since_boot::SinceBoot;

/// The longest that a question may take for its answer to set the clock. The answer may be wrong by half of that.
const PROMPT: Duration = Duration::from_secs(1);

/// Postgres's clock, as this node knows it. Cheap to clone; clones tell the same time.
#[derive(Debug, Clone)]
pub struct Clock(Arc<RwLock<Reading>>);

/// What the clock showed, and when that was since this node's start.
#[derive(Debug, Clone, Copy)]
struct Reading {
    showed: DateTime<Utc>,
    at: SinceBoot,
}

impl Clock {
    /// Asks a database for the time.
    pub(crate) async fn of(database: impl Executor<'_, Database = Postgres>) -> Result<Self> {
        let asked = SinceBoot::now();
        let showed = sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(database).await?;
        Ok(Self(Arc::new(RwLock::new(Reading::between(asked, SinceBoot::now(), showed)))))
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.0.read().after(SinceBoot::now())
    }

    /// Sets the clock to what Postgres answered just now to a question of `asked`. An answer that took long is passed
    /// over: nobody knows when in that time the clock was read.
    pub(crate) fn set(&self, asked: SinceBoot, showed: DateTime<Utc>) {
        self.set_at(asked, SinceBoot::now(), showed);
    }

    fn set_at(&self, asked: SinceBoot, answered: SinceBoot, showed: DateTime<Utc>) {
        if answered.since(asked) <= PROMPT {
            *self.0.write() = Reading::between(asked, answered, showed);
        }
    }
}

impl Reading {
    /// The clock was read at some moment between the question and the answer.
    fn between(asked: SinceBoot, answered: SinceBoot, showed: DateTime<Utc>) -> Self {
        Self { showed, at: asked.plus(answered.since(asked) / 2) }
    }

    fn after(self, at: SinceBoot) -> DateTime<Utc> {
        let passed = TimeDelta::from_std(at.since(self.at)).unwrap_or(TimeDelta::MAX);
        self.showed.checked_add_signed(passed).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).expect("a time")
    }

    fn clock(asked: SinceBoot) -> Clock {
        Clock(Arc::new(RwLock::new(Reading::between(asked, asked, at(1000)))))
    }

    #[test]
    fn the_time_goes_on_from_what_postgres_answered_last_also_backwards() {
        let asked = SinceBoot::now();
        let clock = clock(asked);
        let shown = |at| clock.0.read().after(at);
        assert_eq!(shown(asked.plus(5 * SECOND)), at(1005));
        // Postgres's clock was a month ahead, and was put right.
        for (after, showed, then) in [(5, 2_000_000, 2_000_003), (6, 1006, 1008)] {
            clock.set_at(asked.plus(after * SECOND), asked.plus(after * SECOND), at(showed));
            assert_eq!(shown(asked.plus(8 * SECOND)), at(then));
        }
    }

    #[test]
    fn an_answer_that_took_long_does_not_set_the_clock() {
        let asked = SinceBoot::now();
        let clock = clock(asked);
        clock.set_at(asked, asked.plus(40 * SECOND), at(1000));
        assert_eq!(clock.0.read().after(asked.plus(40 * SECOND)), at(1040));
    }
}
