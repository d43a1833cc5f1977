//! Devices that do not exist, for trying fleetlog out and for measuring it: each has a connection of its own, and
//! readings that look real.
//!
//! The pace is open-loop: a message is due when it is due, whether or not the last one was acknowledged, and its
//! latency counts from then. What a device cannot get rid of counts as failed.

mod counts;
mod reading;

use std::sync::Arc;
use std::time::Duration;

use fleetlog_aggregates::identity::{Tenant, Uid};
use fleetlog_aggregates::topic::{Channel, Topic};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::broker::Url;
use crate::device::{self, Message};
use counts::Counts;
pub use counts::{Progress, Report};
use reading::Source;

/// How many devices connect in a second.
const RAMP: u32 = 1000;
/// How many messages a device keeps while it cannot send.
const OUTBOX: usize = 50;
/// How long the end waits for acknowledgements.
const DRAIN: Duration = Duration::from_secs(10);

/// How many devices, how fast, and where to.
#[derive(Debug, Clone)]
pub struct Options {
    /// The broker.
    pub url: Url,
    /// Whose devices.
    pub tenant: Tenant,
    /// How many.
    pub devices: u32,
    /// Messages a second, of all devices together.
    pub rate: f64,
    /// How long to publish; for ever if none is given.
    pub duration: Option<Duration>,
    /// What the devices' names begin with. A number follows.
    pub prefix: String,
}

impl Options {
    /// Devices `sim-00001` and so on of the default tenant, until told to stop.
    #[must_use]
    pub fn new(url: Url, tenant: Tenant, devices: u32, rate: f64) -> Self {
        Self { url, tenant, devices, rate, duration: None, prefix: "sim-".to_owned() }
    }

    fn uid(&self, number: u32) -> Result<Uid, Error> {
        format!("{}{number:05}", self.prefix).parse().map_err(|_| Error::Prefix)
    }
}

/// Why nothing can be simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A rate that is none.
    #[error("simulate devices: the rate is a number of messages a second above 0")]
    Rate,
    /// Names that are none.
    #[error("simulate devices: a prefix is at most 59 characters of A-Z, a-z, 0-9, '_', '.' and '-'")]
    Prefix,
}

/// Publishes until the duration is over or `shutdown`, and tells every second how it goes.
pub async fn run(
    options: Options,
    shutdown: CancellationToken,
    tell: impl Fn(&Progress),
) -> Result<Report, Error> {
    if !(options.rate.is_finite() && options.rate > 0.0) {
        return Err(Error::Rate);
    }
    let counts = Arc::new(Counts::new());
    let start = Instant::now() + Duration::from_secs(1).mul_f64(f64::from(options.devices) / f64::from(RAMP));
    let stop = shutdown.child_token();
    let mut devices = JoinSet::new();
    for number in 0..options.devices {
        let uid = options.uid(number + 1)?;
        devices.spawn(simulate(options.clone(), number, uid, start, Arc::clone(&counts), stop.clone()));
    }
    let over = async {
        match options.duration {
            Some(duration) => tokio::time::sleep_until(start + duration).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = over => {}
        () = shutdown.cancelled() => {}
        () = tell_every_second(&counts, &tell) => {}
    }
    let elapsed = start.elapsed();
    stop.cancel();
    let drained = async { while devices.join_next().await.is_some() {} };
    // What is not acknowledged by then shows in the report.
    let _ = tokio::time::timeout(DRAIN, drained).await;
    Ok(counts.report(elapsed))
}

async fn tell_every_second(counts: &Counts, tell: &impl Fn(&Progress)) {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    loop {
        seconds.tick().await;
        tell(&counts.progress());
    }
}

/// One device, from its turn to connect to the acknowledgement of its last message.
async fn simulate(
    options: Options,
    number: u32,
    uid: Uid,
    start: Instant,
    counts: Arc<Counts>,
    stop: CancellationToken,
) {
    let turn = Duration::from_secs(1).mul_f64(f64::from(options.devices - number) / f64::from(RAMP));
    let connect = start.checked_sub(turn).unwrap_or(start);
    if stop.run_until_cancelled(tokio::time::sleep_until(connect)).await.is_none() {
        return;
    }
    let client_id = format!("{}-{uid}", options.tenant);
    let (outbox, messages) = mpsc::channel(OUTBOX);
    let produce = async {
        let _ = stop.run_until_cancelled(produce(&options, number, uid, start, &counts, outbox)).await;
    };
    let publish = device::publish(&options.url, &client_id, messages, |news| counts.note(news));
    tokio::join!(produce, publish);
}

async fn produce(
    options: &Options,
    number: u32,
    uid: Uid,
    start: Instant,
    counts: &Counts,
    outbox: mpsc::Sender<Message>,
) {
    let mut source = Source::new(number);
    let topic = Topic { tenant: options.tenant.clone(), uid, channel: Channel::Telemetry };
    let topic: Arc<str> = topic.to_string().into();
    // Each device has its own place in the period, so that messages are spread evenly.
    let period = Duration::from_secs_f64(f64::from(options.devices) / options.rate);
    let mut due = start + period.mul_f64(f64::from(number) / f64::from(options.devices));
    loop {
        tokio::time::sleep_until(due).await;
        let payload = source.next(chrono::Utc::now());
        let taken = outbox.try_send(Message { topic: Arc::clone(&topic), payload, due }).is_ok();
        counts.due(taken);
        due += period;
    }
}
