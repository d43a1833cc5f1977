//! Counts of what happens to simulated messages and commands.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fleetlog_aggregates::topic::Channel;
use hdrhistogram::Histogram;
use parking_lot::{Mutex, MutexGuard};

use super::obey::Outcome;
use crate::device::News;

/// The longest latency that the histogram holds, in microseconds: an hour.
const LONGEST: u64 = 3_600_000_000;

/// Counts so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Devices that are connected.
    pub connected: u64,
    /// Messages that became due and were taken by their device.
    pub sent: u64,
    /// Messages that were acknowledged.
    pub acked: u64,
    /// Messages that their device could not take, or that the broker refused.
    pub failed: u64,
    /// Commands received, by outcome.
    pub commands: CommandCounts,
    /// The last error.
    pub error: Option<String>,
}

/// Commands by outcome. One that is received twice counts twice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CommandCounts {
    /// All commands received.
    pub received: u64,
    /// Commands answered with `ack`.
    pub acked: u64,
    /// Commands answered with `failed`.
    pub failed: u64,
    /// Commands that get no answer.
    pub silent: u64,
    /// Commands that are answered late.
    pub late: u64,
}

/// The result of a run.
#[derive(Debug, Clone)]
pub struct Report {
    /// The counts at the end.
    pub total: Progress,
    /// The median time from a message's due time to its acknowledgement.
    pub p50: Duration,
    /// The 99th percentile of that time.
    pub p99: Duration,
    /// How long the devices published.
    pub elapsed: Duration,
}

/// Counts of all devices together.
pub(super) struct Counts {
    connected: AtomicU64,
    sent: AtomicU64,
    acked: AtomicU64,
    failed: AtomicU64,
    /// Commands by [`Outcome`].
    commands: [AtomicU64; 4],
    error: Mutex<Option<String>>,
    /// Latencies in microseconds. Always `Some`: the bounds are valid constants.
    latencies: Mutex<Option<Histogram<u64>>>,
}

impl Counts {
    pub(super) fn new() -> Self {
        Self {
            connected: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            acked: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            commands: Default::default(),
            error: Mutex::default(),
            latencies: Mutex::new(Histogram::new_with_bounds(1, LONGEST, 3).ok()),
        }
    }

    /// Counts a message that became due; `taken` says whether the device had room for it.
    pub(super) fn due(&self, taken: bool) {
        let count = if taken { &self.sent } else { &self.failed };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a command by its outcome.
    pub(super) fn commanded(&self, outcome: Outcome) {
        self.commands[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts what happened to readings. Acks of commands are not counted here, but with their commands.
    pub(super) fn note(&self, news: News) {
        match news {
            News::Connected => drop(self.connected.fetch_add(1, Ordering::Relaxed)),
            News::Lost { connected, why } => {
                self.connected.fetch_sub(u64::from(connected), Ordering::Relaxed);
                *lock(&self.error) = Some(why);
            }
            News::Acknowledged(message) if message.channel == Channel::Telemetry => {
                self.acked.fetch_add(1, Ordering::Relaxed);
                if let Some(latencies) = &mut *lock(&self.latencies) {
                    latencies.saturating_record(message.due.elapsed().as_micros() as u64);
                }
            }
            News::Refused(message, why) => {
                self.failed.fetch_add(u64::from(message.channel == Channel::Telemetry), Ordering::Relaxed);
                *lock(&self.error) = Some(why);
            }
            News::NotSubscribed(why) => {
                *lock(&self.error) = Some(format!("the subscription to commands was refused: {why}"));
            }
            News::Acknowledged(_) | News::Command(_) => {}
        }
    }

    pub(super) fn progress(&self) -> Progress {
        Progress {
            connected: self.connected.load(Ordering::Relaxed),
            sent: self.sent.load(Ordering::Relaxed),
            acked: self.acked.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            commands: self.commands(),
            error: lock(&self.error).clone(),
        }
    }

    fn commands(&self) -> CommandCounts {
        let [acked, failed, silent, late] =
            self.commands.each_ref().map(|count| count.load(Ordering::Relaxed));
        CommandCounts { received: acked + failed + silent + late, acked, failed, silent, late }
    }

    pub(super) fn report(&self, elapsed: Duration) -> Report {
        let latencies = lock(&self.latencies);
        let quantile = |quantile| {
            Duration::from_micros(
                latencies.as_ref().map_or(0, |latencies| latencies.value_at_quantile(quantile)),
            )
        };
        Report { total: self.progress(), p50: quantile(0.5), p99: quantile(0.99), elapsed }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connected, sent, acked, failed, commands, error } = self;
        write!(f, "{connected} connected, {sent} sent, {acked} acknowledged, {failed} failed")?;
        if commands.received > 0 {
            write!(f, "; {commands}")?;
        }
        error.iter().try_for_each(|error| write!(f, " (last error: {error})"))
    }
}

impl fmt::Display for CommandCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { received, acked, failed, silent, late } = self;
        write!(
            f,
            "commands: {received} received, {acked} acked, {failed} failed, {silent} silent, {late} late"
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { total, p50, p99, elapsed } = self;
        let rate = total.acked as f64 / elapsed.as_secs_f64().max(0.001);
        write!(
            f,
            "{total}; {rate:.0}/s over {elapsed:.1?}; acknowledged after {p50:.1?} (median), {p99:.1?} (99 %)"
        )
    }
}
