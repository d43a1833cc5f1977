//! What this node has counted, and what it has heard of the others. Of fixed size: whatever was counted longest ago is
//! forgotten first.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use lru::LruCache;
use parking_lot::{Mutex, MutexGuard};

use super::key::Key;
use super::rule::{Rule, Window};
use super::standing::{Exceeded, Standing};

/// How many counts are held. About 150 bytes each.
pub const HELD: NonZeroUsize = NonZeroUsize::new(50_000).expect("not zero");
/// How many are shared at once; the rest waits for the next time.
const AT_ONCE: usize = 5_000;

/// What was used of limits in their present windows.
pub struct Counters {
    counts: Mutex<LruCache<Key, Count>>,
}

/// What was used of one limit in one window.
#[derive(Debug, Clone, Copy)]
struct Count {
    window: Window,
    /// Over all nodes, as far as was heard.
    heard: u64,
    /// On this node since then.
    here: u64,
    requests: u32,
}

/// A part of a count that the other nodes do not know of yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) key: Key,
    pub(super) window: Window,
    pub(super) used: u64,
}

impl Default for Counters {
    fn default() -> Self {
        Self { counts: Mutex::new(LruCache::new(HELD)) }
    }
}

impl Count {
    fn used(&self) -> u64 {
        self.heard + self.here
    }

    /// Whether it is worth sharing: a hundredth of the limit. Those who ask now and then cost the database nothing.
    fn is_due(&self) -> bool {
        self.here > 0 && self.here * 100 >= u64::from(self.requests)
    }
}

impl Counters {
    /// Takes a request, as far as this node knows.
    pub fn take(&self, key: Key, rule: &Arc<Rule>, now: DateTime<Utc>) -> Result<Standing, Exceeded> {
        let mut counts = self.counts();
        let count = current(&mut counts, key, rule, rule.window_at(now));
        if count.used() >= u64::from(rule.requests) {
            return Err(Exceeded(standing(rule, count.window, count.used(), now)));
        }
        count.here += 1;
        Ok(standing(rule, count.window, count.used(), now))
    }

    /// Counts `further` requests, whether or not so many are left.
    pub(super) fn charge(&self, key: Key, rule: &Arc<Rule>, further: u64, now: DateTime<Utc>) -> Standing {
        let mut counts = self.counts();
        let count = current(&mut counts, key, rule, rule.window_at(now));
        count.here += further;
        standing(rule, count.window, count.used(), now)
    }

    /// Refuses a request where it is known that nothing is left; counts nothing.
    pub(super) fn look(&self, key: Key, rule: &Arc<Rule>, now: DateTime<Utc>) -> Result<(), Exceeded> {
        let window = rule.window_at(now);
        let counts = self.counts();
        match counts.peek(&key).filter(|count| count.window == window) {
            Some(count) if count.used() >= u64::from(rule.requests) => {
                Err(Exceeded(standing(rule, window, count.used(), now)))
            }
            _ => Ok(()),
        }
    }

    /// What all nodes have used, this request included; `None` if there was nothing left for it.
    pub(super) fn heard(
        &self,
        key: Key,
        rule: &Arc<Rule>,
        (window, now): (Window, DateTime<Utc>),
        used: Option<u64>,
    ) -> Result<Standing, Exceeded> {
        let mut counts = self.counts();
        let count = current(&mut counts, key, rule, window);
        count.heard = count.heard.max(used.unwrap_or_else(|| u64::from(rule.requests)));
        let standing = standing(rule, window, used.unwrap_or_else(|| u64::from(rule.requests)), now);
        if used.is_some() { Ok(standing) } else { Err(Exceeded(standing)) }
    }

    /// What is to be shared. Forgets windows that are over.
    pub(super) fn due(&self, now: DateTime<Utc>) -> Vec<Due> {
        self.forget_past(now);
        let counts = self.counts();
        let due = counts.iter().filter(|(_, count)| count.is_due()).take(AT_ONCE);
        let mut due: Vec<_> =
            due.map(|(&key, count)| Due { key, window: count.window, used: count.here }).collect();
        // In one order on all nodes, so that none waits for the other's rows crosswise.
        due.sort_by_key(|due| due.key);
        due
    }

    /// Notes what all nodes have used, what was shared of this one's included.
    pub(super) fn learn(&self, shared: &[Due], totals: &HashMap<Key, u64>) {
        let mut counts = self.counts();
        for Due { key, window, used } in shared {
            if let (Some(count), Some(total)) = (counts.peek_mut(key), totals.get(key))
                && count.window == *window
            {
                count.heard = *total;
                count.here = count.here.saturating_sub(*used);
            }
        }
    }

    /// Forgets windows that are over.
    pub(super) fn forget_past(&self, now: DateTime<Utc>) {
        let mut counts = self.counts();
        let past: Vec<Key> = counts
            .iter()
            .filter(|(_, count)| count.window.end <= now.timestamp())
            .map(|(&key, _)| key)
            .collect();
        for key in past {
            counts.pop(&key);
        }
    }

    /// How many counts are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.counts().len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn counts(&self) -> MutexGuard<'_, LruCache<Key, Count>> {
        self.counts.lock()
    }
}

/// The count of a window, which begins at nothing.
fn current<'c>(counts: &'c mut LruCache<Key, Count>, key: Key, rule: &Rule, window: Window) -> &'c mut Count {
    let fresh = Count { window, heard: 0, here: 0, requests: rule.requests };
    let count = counts.get_or_insert_mut(key, || fresh);
    if count.window != window {
        *count = fresh;
    }
    count.requests = rule.requests;
    count
}

fn standing(rule: &Arc<Rule>, window: Window, used: u64, now: DateTime<Utc>) -> Standing {
    Standing {
        rule: Arc::clone(rule),
        remaining: u64::from(rule.requests).saturating_sub(used),
        reset: (window.end - now.timestamp()).max(1) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(requests: u32) -> Arc<Rule> {
        Arc::new(Rule { pattern: "*".parse().expect("a pattern"), requests, window_s: 60 })
    }

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).expect("a time")
    }

    fn left(taken: Result<Standing, Exceeded>) -> Result<u64, u64> {
        taken.map(|standing| standing.remaining).map_err(|Exceeded(standing)| standing.reset)
    }

    #[test]
    fn a_costly_request_counts_as_several() {
        let (counters, rule, key) = (Counters::default(), rule(5), Key::hash("a"));
        assert_eq!(left(counters.take(key, &rule, at(600))), Ok(4));
        assert_eq!(counters.charge(key, &rule, 3, at(600)).remaining, 1);
        assert_eq!(counters.charge(key, &rule, 3, at(600)).remaining, 0);
        assert_eq!(left(counters.take(key, &rule, at(601))), Err(59));
    }

    #[test]
    fn a_window_allows_its_requests_and_the_next_one_as_many_again() {
        let (counters, rule, key) = (Counters::default(), rule(2), Key::hash("a"));
        let take = |second| left(counters.take(key, &rule, at(second)));
        assert_eq!([take(600), take(601), take(630)], [Ok(1), Ok(0), Err(30)]);
        assert_eq!([take(659), take(660)], [Err(1), Ok(1)]);
        assert_eq!(left(counters.take(Key::hash("b"), &rule, at(659))), Ok(1), "another's");
    }

    #[test]
    fn what_the_others_have_used_counts_too_and_nothing_counts_twice() {
        let (counters, rule, key) = (Counters::default(), rule(100), Key::hash("a"));
        let take = || left(counters.take(key, &rule, at(600)));
        assert_eq!([take(), take()], [Ok(99), Ok(98)]);
        let due = counters.due(at(600));
        assert_eq!(due.iter().map(|due| due.used).collect::<Vec<_>>(), [2]);
        // One more comes while the others are told.
        assert_eq!(take(), Ok(97));
        counters.learn(&due, &HashMap::from([(key, 90)]));
        assert_eq!(take(), Ok(8));
        assert_eq!(counters.due(at(600))[0].used, 2);
        assert!(counters.due(at(660)).is_empty(), "the window is over");
    }

    #[test]
    fn a_flood_of_keys_is_forgotten_and_a_busy_one_is_not() {
        let (counters, rule, busy) = (Counters::default(), rule(10), Key::hash("busy"));
        for n in 0..3 * HELD.get() {
            let _ = counters.take(Key::hash(&n.to_string()), &rule, at(600));
            if n % 1000 == 0 {
                let _ = counters.take(busy, &rule, at(600));
            }
        }
        assert_eq!(counters.len(), HELD.get());
        assert_eq!(left(counters.take(busy, &rule, at(600))), Err(60));
    }
}
