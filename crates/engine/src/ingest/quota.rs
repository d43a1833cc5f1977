//! How many messages and bytes a second each tenant and each connection may send.
//!
//! The bounds are those of the tenant's tier. Each node counts for itself, in memory: over several nodes a tenant may send
//! as many times as much. A message that finds no room waits for it, or is refused, as its sender asks; none is lost.
//! Tenants without a bound cost one look into a map.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fleetlog_event_log::terms::{AllTerms, IngestLimits};
use fleetlog_event_log::{EventLog, Lane};
use parking_lot::{Mutex, RwLock};

use crate::instruments;

/// For how many seconds' worth a sender may be ahead of its bound: devices that were without a connection send what they
/// have collected.
pub const BURST_S: f64 = 10.0;
/// How many messages on topics of no tenant a node takes in a second, from all senders together. Such messages would
/// otherwise use up the memory that tenants' messages wait in.
pub const STRANGERS_PER_S: i32 = 1_000;
/// How many bytes of payload on topics of no tenant a node takes in a second.
pub const STRANGERS_BYTES_PER_S: i64 = 16 << 20;
/// The longest sleep before a message that waits for its turn asks again.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// A rate with a burst: what was taken, less what has become free since.
#[derive(Debug, Default)]
pub(crate) struct Bucket(Mutex<Option<(f64, Instant)>>);

impl Bucket {
    /// How much is taken now.
    fn level(taken: Option<(f64, Instant)>, rate: f64, now: Instant) -> f64 {
        taken.map_or(0.0, |(level, at)| {
            (level - now.saturating_duration_since(at).as_secs_f64() * rate).max(0.0)
        })
    }

    /// How long to wait until something may be taken.
    fn wait(&self, rate: f64, now: Instant) -> Option<Duration> {
        let over = Self::level(*self.0.lock(), rate, now) - rate * BURST_S;
        (over >= 0.0).then(|| Duration::from_secs_f64(((over + 1.0) / rate).min(LONGEST_WAIT.as_secs_f64())))
    }

    fn take(&self, amount: f64, rate: f64, now: Instant) {
        let mut taken = self.0.lock();
        *taken = Some((Self::level(*taken, rate, now) + amount, now));
    }

    /// Takes as many as there are, at most `most`, and returns how many.
    pub(crate) fn take_up_to(&self, most: usize, rate: f64, now: Instant) -> usize {
        let mut taken = self.0.lock();
        let level = Self::level(*taken, rate, now);
        let count = most.min((rate * BURST_S - level).max(0.0) as usize);
        *taken = Some((level + count as f64, now));
        count
    }
}

/// How many messages and bytes a second a sender may send.
type Bounds = (Option<i32>, Option<i64>);

/// What one sender has sent.
#[derive(Debug, Default)]
pub(super) struct Meter {
    messages: Bucket,
    bytes: Bucket,
}

impl Meter {
    /// Says how long to wait for a message, if it may not be taken now.
    fn ask(&self, (messages, size): Bounds, now: Instant) -> Result<(), Duration> {
        let messages = messages.and_then(|rate| self.messages.wait(f64::from(rate), now));
        let size = size.and_then(|rate| self.bytes.wait(rate as f64, now));
        messages.max(size).map_or(Ok(()), Err)
    }

    /// Takes a message.
    fn take(&self, bytes: usize, (messages, size): Bounds, now: Instant) {
        if let Some(rate) = messages {
            self.messages.take(1.0, f64::from(rate), now);
        }
        if let Some(rate) = size {
            self.bytes.take(bytes as f64, rate as f64, now);
        }
    }
}

/// The meters of a node. Cheap to clone.
#[derive(Clone)]
pub(super) struct Quotas {
    log: EventLog,
    terms: AllTerms,
    /// Only of tenants that have a bound, so their number is bounded.
    tenants: Arc<RwLock<HashMap<String, Arc<Meter>>>>,
    strangers: Arc<Meter>,
}

impl Quotas {
    pub(super) fn new(log: EventLog) -> Self {
        let terms = log.terms().clone();
        Self { log, terms, tenants: Arc::default(), strangers: Arc::default() }
    }

    pub(super) fn log(&self) -> &EventLog {
        &self.log
    }

    /// Takes a message of a tenant from a connection, or says how long to wait for it.
    pub(super) fn take(
        &self,
        tenant: &str,
        bytes: usize,
        own: Option<&Meter>,
    ) -> Result<(), (Duration, &'static str)> {
        let now = Instant::now();
        let Some(terms) = self.terms.known(tenant) else {
            if self.log.heads().of(tenant, Lane::Telemetry).is_some() {
                return Ok(());
            }
            let bounds = (Some(STRANGERS_PER_S), Some(STRANGERS_BYTES_PER_S));
            self.strangers.ask(bounds, now).map_err(|wait| (wait, "strangers"))?;
            self.strangers.take(bytes, bounds, now);
            return Ok(());
        };
        let IngestLimits {
            messages_per_s,
            bytes_per_s,
            connection_messages_per_s,
            connection_bytes_per_s,
            ..
        } = terms.ingest;
        let (each, all) =
            ((connection_messages_per_s, connection_bytes_per_s), (messages_per_s, bytes_per_s));
        let meter = (all != (None, None)).then(|| self.of(tenant));
        // Both are asked before either is charged: a message that is not taken costs its sender nothing.
        own.map_or(Ok(()), |own| own.ask(each, now)).map_err(|wait| (wait, "connection"))?;
        meter.as_ref().map_or(Ok(()), |meter| meter.ask(all, now)).map_err(|wait| (wait, "tenant"))?;
        if let Some(own) = own {
            own.take(bytes, each, now);
        }
        if let Some(meter) = meter {
            meter.take(bytes, all, now);
        }
        Ok(())
    }

    fn of(&self, tenant: &str) -> Arc<Meter> {
        let known = self.tenants.read().get(tenant).cloned();
        known.unwrap_or_else(|| Arc::clone(self.tenants.write().entry(tenant.to_owned()).or_default()))
    }

    /// Waits until a message may be taken.
    pub(super) async fn wait(&self, tenant: &str, bytes: usize, own: Option<&Meter>) {
        let mut is_first = true;
        while let Err((wait, bound)) = self.take(tenant, bytes, own) {
            if is_first {
                instruments::OVER_QUOTA.with([bound.into(), "waited".into()]).increment(1);
                is_first = false;
            }
            tokio::time::sleep(wait).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a message if it may be taken.
    fn take(meter: &Meter, bytes: usize, bounds: Bounds, now: Instant) -> bool {
        let may = meter.ask(bounds, now).is_ok();
        if may {
            meter.take(bytes, bounds, now);
        }
        may
    }

    #[test]
    fn a_sender_may_be_ahead_by_a_burst_and_then_gets_its_rate() {
        let (meter, start) = (Meter::default(), Instant::now());
        let taken = |at_ms: u64, bounds| {
            let now = start + Duration::from_millis(at_ms);
            (0..1000).take_while(|_| take(&meter, 100, bounds, now)).count()
        };
        assert_eq!(taken(0, (Some(10), None)), 100);
        assert_eq!(taken(1_000, (Some(10), None)), 10);
        assert_eq!(taken(2_000, (Some(10), Some(50))), 5, "500 bytes a burst");
        assert_eq!(taken(3_000, (None, None)), 1000);
    }

    #[test]
    fn one_message_that_is_larger_than_the_burst_passes_and_delays_the_next() {
        let (meter, start) = (Meter::default(), Instant::now());
        assert!(take(&meter, 1_000_000, (None, Some(1000)), start));
        assert!(!take(&meter, 1, (None, Some(1000)), start + Duration::from_secs(10)));
        assert!(take(&meter, 1, (None, Some(1000)), start + Duration::from_secs(1001)));
    }

    #[test]
    fn as_many_are_taken_as_there_are() {
        let (bucket, start) = (Bucket::default(), Instant::now());
        assert_eq!(bucket.take_up_to(50, 10.0, start), 50);
        assert_eq!(bucket.take_up_to(500, 10.0, start), 50);
        assert_eq!(bucket.take_up_to(500, 10.0, start + Duration::from_secs(2)), 20);
    }
}
