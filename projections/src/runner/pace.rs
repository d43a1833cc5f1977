//! How often a log is written to the read models: seldom under load, and much at a time.
//!
//! The cost of a batch is mostly the rows that it touches, and a fleet touches the same rows over and over: the row
//! of each device, and those of its metrics' windows. A runner that wrote as soon as there was anything would write
//! each of them for every few messages. So a log rests after a batch, and the longer the batch took, the longer the
//! rest. A log that is written quickly, because its tenant is small or quiet, hardly rests at all.
//!
//! A batch keeps a processor busy for tens of milliseconds, so batches of telemetry take turns on half of the
//! processors, and a request that waits for an answer finds another one free.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use fleetlog_event_log::{Lane, Log, LogId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// How long a log rests after a batch, in multiples of the time that the batch took. Writing then takes a seventh of
/// the time, or a third on the control lane, where a person may be waiting for it.
fn rest(lane: Lane) -> u32 {
    match lane {
        Lane::Telemetry => 6,
        Lane::Control => 2,
    }
}

/// How far a read model may be behind its log. An event that arrives when a batch has just begun waits for the end of
/// that batch, the rest, and the next batch. A read model promises one second; this leaves a margin.
const BEHIND: Duration = Duration::from_millis(800);

/// The logs that rest, and until when.
#[derive(Debug, Default)]
pub(super) struct Pace {
    until: HashMap<LogId, Instant>,
}

impl Pace {
    /// Notes that a batch of a log was written, and how long that took.
    pub(super) fn wrote(&mut self, log: &Log, took: Duration, now: Instant) {
        let rest = (took * rest(log.lane)).min(BEHIND.saturating_sub(took * 2));
        self.rest(log.log_id, now + rest);
    }

    /// Lets a log rest until then.
    pub(super) fn rest(&mut self, log_id: LogId, until: Instant) {
        self.until.insert(log_id, until);
    }

    /// Whether a log rests now.
    pub(super) fn rests(&self, log_id: LogId, now: Instant) -> bool {
        self.until.get(&log_id).is_some_and(|until| *until > now)
    }

    /// When the next of the resting logs is due.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        self.until.values().filter(|until| **until > now).min().copied()
    }
}

/// The slots for batches of telemetry, which all projections of this process share.
#[derive(Debug, Clone)]
pub(super) struct Slots(Arc<Semaphore>);

impl Default for Slots {
    fn default() -> Self {
        Self::new(available_parallelism().map_or(1, |processors| processors.get().div_ceil(2)))
    }
}

impl Slots {
    fn new(at_once: usize) -> Self {
        Self(Arc::new(Semaphore::new(at_once)))
    }

    /// Waits for a slot for a batch of telemetry, which lasts until it is dropped. Other logs need none, because
    /// their batches are short.
    pub(super) async fn take(&self, log: &Log) -> Option<OwnedSemaphorePermit> {
        match log.lane {
            // The semaphore is never closed.
            Lane::Telemetry => Arc::clone(&self.0).acquire_owned().await.ok(),
            Lane::Control => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    fn log(lane: Lane) -> Log {
        Log { log_id: LogId(1), tenant: "t0".into(), lane, shard: 0, head: 1, archived_until: 0 }
    }

    #[test]
    fn a_log_rests_for_as_long_as_its_batch_took_several_times_and_is_never_far_behind() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        let telemetry = [(10, 60), (150, 500), (390, 20)].map(|times| (Lane::Telemetry, times));
        let control = [(10, 20), (150, 300), (390, 20)].map(|times| (Lane::Control, times));
        for (lane, (took, rest)) in telemetry.into_iter().chain(control) {
            pace.wrote(&log(lane), Duration::from_millis(took), now);
            let rested = now + Duration::from_millis(rest);
            assert!(pace.rests(LogId(1), rested - Duration::from_millis(1)), "{lane:?} after {took} ms");
            assert_eq!(pace.next(now), Some(rested), "{lane:?} after {took} ms");
            assert!(!pace.rests(LogId(1), rested) && pace.next(rested).is_none(), "{lane:?} after {took} ms");
        }
    }

    #[test]
    fn a_log_whose_batches_take_long_does_not_rest() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        pace.wrote(&log(Lane::Telemetry), Duration::from_secs(1), now);
        assert!(!pace.rests(LogId(1), now));
    }

    #[tokio::test]
    async fn batches_of_telemetry_take_turns_and_those_of_control_logs_wait_for_none() {
        let slots = Slots::new(1);
        let (telemetry, control) = (log(Lane::Telemetry), log(Lane::Control));
        let first = slots.take(&telemetry).await;
        let second = timeout(Duration::ZERO, slots.take(&telemetry)).await;
        assert!(first.is_some() && second.is_err(), "two at once");
        timeout(Duration::ZERO, slots.take(&control)).await.expect("at once");
        drop(first);
        timeout(Duration::ZERO, slots.take(&telemetry)).await.expect("the first has ended");
    }
}
