//! Whether the parts of this process work. Each part says so itself, in memory, while it works: asking for the states
//! reads memory only, so the answer neither costs a query nor waits for anything.
//!
//! A part is down while it reports a failure ([`Part::down`]), or while something that it has begun to wait for
//! ([`Part::wait`]) takes longer than the part's patience. So a part that stands still is down without any code of its
//! own running.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;

/// The parts' names, as `/readyz` shows them.
pub mod parts {
    /// The database answers.
    pub const DATABASE: &str = "database";
    /// Messages and events are stored.
    pub const APPENDS: &str = "appends";
    /// The log can be read.
    pub const READS: &str = "reads";
    /// No event is missing at the end of a log.
    pub const LOG: &str = "log";
    /// The projections move, on whichever node they run.
    pub const PROJECTIONS: &str = "projections";
    /// Commands are dispatched, on whichever node.
    pub const DISPATCHER: &str = "dispatcher";
}

/// How long a message may wait to be stored before the part `appends` is down.
pub const UNSTORED: Duration = Duration::from_secs(5);

/// The parts of a process. Cheap to clone.
#[derive(Clone, Default)]
pub struct Health(Arc<Mutex<Vec<Part>>>);

/// One part, which reports its own state. Cheap to clone; all clones report the same part.
#[derive(Clone)]
pub struct Part(Arc<Shared>);

struct Shared {
    name: &'static str,
    patience: Duration,
    state: Mutex<State>,
}

struct State {
    failure: Option<(Instant, String)>,
    /// What the part waits for now, in the order in which the waits were noted.
    waits: BTreeMap<u64, Waiting>,
    next: u64,
    /// When the part was last down, or was made.
    up_since: Instant,
}

struct Waiting {
    since: Instant,
    what: String,
    error: Option<String>,
}

/// Something that a part waits for. The wait ends when this value is dropped.
pub struct Wait {
    part: Part,
    id: u64,
}

/// The state of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartState {
    /// The part's name.
    pub name: &'static str,
    /// Whether the part works.
    pub up: bool,
    /// Since when the part has been in this state.
    pub since: DateTime<Utc>,
    /// Why the part is down, in words that anybody may read: `/readyz` asks for no login. The log has the whole cause.
    pub reason: Option<String>,
}

impl Health {
    /// The part of this name, which is up at first. `patience` is how long one of its waits may last; the first caller
    /// decides.
    #[must_use]
    pub fn part(&self, name: &'static str, patience: Duration) -> Part {
        let mut parts = self.0.lock();
        if let Some(known) = parts.iter().find(|part| part.0.name == name) {
            return known.clone();
        }
        let state = State { failure: None, waits: BTreeMap::new(), next: 0, up_since: Instant::now() };
        let part = Part(Arc::new(Shared { name, patience, state: Mutex::new(state) }));
        parts.push(part.clone());
        part
    }

    /// The state of each part, in the order in which the parts were made.
    #[must_use]
    pub fn states(&self) -> Vec<PartState> {
        self.0.lock().iter().map(Part::state).collect()
    }
}

impl Part {
    /// Reports that the part works again.
    pub fn up(&self) {
        let mut state = self.0.state.lock();
        if state.failure.take().is_some() {
            state.up_since = Instant::now();
        }
    }

    /// Reports that the part fails, in words that anybody may read, as of [`Error::outline`](crate::Error::outline). The
    /// first of several failures in a row says since when.
    pub fn down(&self, reason: impl fmt::Display) {
        let mut state = self.0.state.lock();
        let since = state.failure.as_ref().map_or_else(Instant::now, |(since, _)| *since);
        state.failure = Some((since, reason.to_string()));
    }

    /// Whether the part reports a failure. A wait that takes too long is none.
    #[must_use]
    pub fn fails(&self) -> bool {
        self.0.state.lock().failure.is_some()
    }

    /// Whether the part works.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.0.trouble(&self.0.state.lock()).is_none()
    }

    /// Notes that the part waits since `since` until the returned value is dropped. `what` says for what, as a sentence
    /// that is true when the wait has taken too long.
    #[must_use]
    pub fn wait(&self, since: Instant, what: impl Into<String>) -> Wait {
        let mut state = self.0.state.lock();
        let id = state.next;
        state.next += 1;
        state.waits.insert(id, Waiting { since, what: what.into(), error: None });
        Wait { part: self.clone(), id }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "shown to people; Postgres, whose clock it would be, may be what is down"
    )]
    fn state(&self) -> PartState {
        let state = self.0.state.lock();
        let trouble = self.0.trouble(&state);
        let (name, up) = (self.0.name, trouble.is_none());
        let (since, reason) = trouble.map_or((state.up_since, None), |(since, reason)| (since, Some(reason)));
        let since = Utc::now() - TimeDelta::from_std(since.elapsed()).unwrap_or_default();
        PartState { name, up, since, reason }
    }
}

impl Shared {
    /// Since when the part is down, and why. `None` if it is up.
    fn trouble(&self, state: &State) -> Option<(Instant, String)> {
        let overdue = state.waits.values().filter(|wait| wait.since.elapsed() > self.patience);
        let oldest = overdue.min_by_key(|wait| wait.since).map(|wait| {
            let reason = match &wait.error {
                Some(error) => format!("{}: {error}", wait.what),
                None => wait.what.clone(),
            };
            (wait.since, reason)
        });
        let failure = state.failure.clone();
        failure.into_iter().chain(oldest).min_by_key(|(since, _)| *since)
    }
}

impl Wait {
    /// Notes what the last try failed with, in words that anybody may read.
    pub fn failed(&self, error: impl fmt::Display) {
        self.change(|wait| wait.error = Some(error.to_string()));
    }

    /// Notes that the awaited work has moved on: the wait begins again.
    pub fn moved(&self) {
        self.change(|wait| wait.since = Instant::now());
    }

    /// How long the wait has lasted.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        let state = self.part.0.state.lock();
        state.waits.get(&self.id).map_or(Duration::ZERO, |wait| wait.since.elapsed())
    }

    fn change(&self, change: impl FnOnce(&mut Waiting)) {
        let mut state = self.part.0.state.lock();
        let Some(wait) = state.waits.get_mut(&self.id) else { return };
        let was_overdue = wait.since.elapsed() > self.part.0.patience;
        change(wait);
        if was_overdue && wait.since.elapsed() <= self.part.0.patience {
            state.up_since = Instant::now();
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let mut state = self.part.0.state.lock();
        let ended = state.waits.remove(&self.id);
        if ended.is_some_and(|wait| wait.since.elapsed() > self.part.0.patience) {
            state.up_since = Instant::now();
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "compares with what is shown to people")]
mod tests {
    use super::*;

    fn part(patience: Duration) -> (Health, Part) {
        let health = Health::default();
        let part = health.part(parts::APPENDS, patience);
        (health, part)
    }

    fn reason(health: &Health) -> Option<String> {
        health.states()[0].reason.clone()
    }

    #[test]
    fn a_part_is_down_from_its_first_failure_to_its_next_success() {
        let (health, part) = part(Duration::MAX);
        assert_eq!(reason(&health), None);
        part.down("the disk is full");
        let first = health.states().remove(0);
        part.down("the disk is still full");
        assert_eq!(reason(&health).as_deref(), Some("the disk is still full"));
        let again = health.states().remove(0);
        assert!((again.since - first.since).abs() < TimeDelta::milliseconds(5), "{again:?} {first:?}");
        part.up();
        assert!(reason(&health).is_none() && part.is_up());
    }

    #[test]
    fn a_part_whose_oldest_wait_takes_too_long_is_down_since_that_wait_began_and_says_what_failed_last() {
        let (health, part) = part(Duration::from_secs(5));
        let ago = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds)).expect("since boot");
        let young = part.wait(ago(1), "a young one waits");
        assert_eq!(reason(&health), None);
        let old = part.wait(ago(60), "an old one waits");
        let older = part.wait(ago(90), "an older one waits");
        older.failed("no space");
        assert_eq!(reason(&health).as_deref(), Some("an older one waits: no space"));
        let down = health.states().remove(0);
        assert!(Utc::now() - down.since >= TimeDelta::seconds(90) && !down.up, "{down:?}");
        drop(older);
        assert_eq!(reason(&health).as_deref(), Some("an old one waits"));
        old.moved();
        let up = health.states().remove(0);
        assert!(up.up && Utc::now() - up.since < TimeDelta::seconds(5), "{up:?}");
        drop(young);
    }

    #[test]
    fn two_who_ask_for_a_part_of_one_name_report_the_same_part() {
        let (health, part) = part(Duration::MAX);
        health.part(parts::APPENDS, Duration::ZERO).down("no");
        assert!(part.fails() && health.states().len() == 1);
    }
}
