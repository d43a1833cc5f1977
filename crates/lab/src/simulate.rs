//! Simulated devices, for trying fleetlog out and for measuring it. Each has its own connection, publishes readings
//! that look real, and answers commands.
//!
//! The pace is open-loop: a message is due at its time whether or not the last one was acknowledged, and its latency
//! counts from then. A message that the device cannot queue counts as failed.

mod counts;
mod obey;
mod reading;

use std::sync::Arc;
use std::time::Duration;

use fleetlog_aggregates::identity::{Tenant, Uid, aggregate_id};
use fleetlog_aggregates::topic::Channel;
use fleetlog_engine::devices::credentials::Secret;
use fleetlog_mqtt::url::Url;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use counts::{CommandCounts, Progress, Report};
pub use obey::Faults;

use crate::device::{self, Identity, Message, News};
use counts::Counts;
use reading::Source;

/// How many devices connect in a second.
const RAMP: u32 = 1000;
/// The most messages that a device keeps while it cannot send.
const OUTBOX: usize = 50;
/// The most commands that wait to be carried out. A command that finds the queue full arrives again with its next
/// attempt.
const COMMANDS: usize = 32;
/// How long the run waits for acknowledgements at its end.
const DRAIN: Duration = Duration::from_secs(10);

/// How many devices, how fast, and where to.
#[derive(Debug, Clone)]
pub struct Options {
    /// The broker's address.
    pub url: Url,
    /// The devices' tenant.
    pub tenant: Tenant,
    /// The number of devices.
    pub devices: u32,
    /// Messages a second, of all devices together, until a command changes it.
    pub rate: f64,
    /// How long to publish; `None` means until shutdown.
    pub duration: Option<Duration>,
    /// The start of each device's name. A number follows.
    pub prefix: String,
    /// The share of commands that go wrong.
    pub faults: Faults,
    /// How the devices log in.
    pub logins: Logins,
}

/// How simulated devices log in.
#[derive(Debug, Clone, Default)]
pub enum Logins {
    /// With the user name and password in the broker's address, or with none.
    #[default]
    None,
    /// With one secret that the endpoint takes from any device.
    Shared(Secret),
    /// With a password each. The list also names the devices, as many as there are.
    Each(Arc<[(Uid, String)]>),
}

impl Options {
    /// Options for devices `sim-00001` and so on, which publish until shutdown.
    #[must_use]
    pub fn new(url: Url, tenant: Tenant, devices: u32, rate: f64) -> Self {
        let (prefix, faults, logins) = ("sim-".to_owned(), Faults::default(), Logins::None);
        Self { url, tenant, devices, rate, duration: None, prefix, faults, logins }
    }

    fn uid(&self, number: u32) -> Result<Uid, Error> {
        if let Logins::Each(devices) = &self.logins
            && let Some((uid, _)) = devices.get(number as usize - 1)
        {
            return Ok(uid.clone());
        }
        format!("{}{number:05}", self.prefix).parse().map_err(|_| Error::Prefix)
    }
}

/// The broker's address with the login of one device.
fn url(options: &Options, number: u32, uid: &Uid) -> Url {
    let user = || aggregate_id(&options.tenant, uid);
    match &options.logins {
        Logins::None => options.url.clone(),
        Logins::Shared(secret) => options.url.with_login(user(), secret.reveal()),
        Logins::Each(devices) => match devices.get(number as usize) {
            Some((_, password)) => options.url.with_login(user(), password),
            None => options.url.clone(),
        },
    }
}

/// Why a simulation does not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The rate is not a finite number above 0.
    #[error("simulate devices: the rate is a number of messages a second above 0")]
    Rate,
    /// A device name with this prefix is not a valid uid.
    #[error("simulate devices: a prefix is at most 59 characters of A-Z, a-z, 0-9, '_', '.', '-' and ':'")]
    Prefix,
    /// The shares of [`Faults`] are not each 0 to 1, or their sum is above 1.
    #[error(
        "simulate devices: the rates of commands that fail, get no answer or a late one are each 0 to 1, and no more than 1 together"
    )]
    Faults,
}

/// Publishes until the duration is over or `shutdown`, and calls `tell` with the progress every second.
pub async fn run(
    options: Options,
    shutdown: CancellationToken,
    tell: impl Fn(&Progress),
) -> Result<Report, Error> {
    if !(options.rate.is_finite() && options.rate > 0.0) {
        return Err(Error::Rate);
    }
    options.faults.check()?;
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
    // A message that is not acknowledged within this time shows in the report as sent but not acked.
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

/// Runs one device, from its turn to connect until its last message is acknowledged.
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
    let (tenant, url) = (options.tenant.clone(), url(&options, number, &uid));
    let identity = Identity { client_id: format!("{tenant}-{uid}"), tenant, uid };
    let (outbox, messages) = mpsc::channel(OUTBOX);
    let (hand_in, commands) = mpsc::channel(COMMANDS);
    let period = Duration::from_secs_f64(f64::from(options.devices) / options.rate);
    let (set_period, period) = watch::channel(period);
    let act = async {
        let produce = produce(&options, number, start, period, &counts, outbox.clone());
        let (uid, faults) = (&identity.uid, &options.faults);
        let device = obey::SimulatedDevice { uid, faults, counts: &counts, period: set_period, outbox };
        let act = async { tokio::join!(produce, device.obey(commands)) };
        let _ = stop.run_until_cancelled(act).await;
    };
    let tell = |news| match news {
        News::Command(command) => drop(hand_in.try_send(command)),
        news => counts.note(news),
    };
    tokio::join!(act, device::run(&url, &identity, messages, tell));
}

async fn produce(
    options: &Options,
    number: u32,
    start: Instant,
    mut period: watch::Receiver<Duration>,
    counts: &Counts,
    outbox: mpsc::Sender<Message>,
) {
    let mut source = Source::new(number);
    // Each device starts at its own place in the period, so that messages are spread evenly.
    let place = f64::from(number) / f64::from(options.devices);
    let mut due = start + period.borrow_and_update().mul_f64(place);
    let end = options.duration.map(|duration| start + duration);
    // A device that notices the end late still sends only what was due before it.
    while end.is_none_or(|end| due < end) {
        tokio::select! {
            () = tokio::time::sleep_until(due) => {}
            Ok(()) = period.changed() => {
                due = Instant::now() + *period.borrow_and_update();
                continue;
            }
        }
        let payload = source.next(chrono::Utc::now());
        let taken = outbox.try_send(Message { channel: Channel::Telemetry, payload, due }).is_ok();
        counts.due(taken);
        due += *period.borrow();
    }
}
