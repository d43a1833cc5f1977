//! This machine as a device: publishes its load, memory, disk, network, temperatures and uptime, and answers commands.
//!
//! Readings made while the broker is away are kept, and sent later with the time at which they were made.

mod obey;
mod sensors;

use std::time::Duration;

use fleetlog_aggregates::identity::{MAX_NAME, Tenant, Uid};
use fleetlog_aggregates::topic::Channel;
use fleetlog_mqtt::url::Url;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::device::command::Command;
use crate::device::{self, Identity, Message, News};
use sensors::Sensors;

/// The most readings that are kept while the broker is away: at one in five seconds, about 14 hours and 6 MB.
const OUTBOX: usize = 10_000;
/// The most commands that wait to be carried out. A command that finds the queue full arrives again with its next
/// attempt.
const COMMANDS: usize = 100;
/// How long the agent waits for acknowledgements before it ends.
const DRAIN: Duration = Duration::from_secs(3);

/// Which device the agent is, how often it publishes, and to which broker.
#[derive(Debug, Clone)]
pub struct Options {
    /// The broker's address.
    pub url: Url,
    /// The device's tenant.
    pub tenant: Tenant,
    /// The device's uid.
    pub uid: Uid,
    /// The time between two readings, until a command changes it.
    pub interval: Duration,
}

impl Options {
    /// Options with a reading every five seconds.
    #[must_use]
    pub fn new(url: Url, tenant: Tenant, uid: Uid) -> Self {
        Self { url, tenant, uid, interval: Duration::from_secs(5) }
    }
}

/// This machine's host name, changed where needed so that it is a valid uid.
#[must_use]
pub fn hostname() -> String {
    fit(&sysinfo::System::host_name().unwrap_or_default())
}

fn fit(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-') { c } else { '-' };
    let fit: String = name.chars().take(MAX_NAME).map(plain).collect();
    if fit.is_empty() { "agent".to_owned() } else { fit }
}

/// Publishes and answers commands until `shutdown`.
pub async fn run(options: Options, shutdown: CancellationToken) {
    let Options { url, tenant, uid, interval } = options;
    let identity = Identity { client_id: format!("agent-{tenant}-{uid}"), tenant, uid };
    let (outbox, messages) = mpsc::channel(OUTBOX);
    let (hand_in, commands) = mpsc::channel(COMMANDS);
    let (set_interval, interval) = watch::channel(interval);
    let act = async {
        let obey = obey::obey(&identity.uid, commands, set_interval, outbox.clone());
        let act = async { tokio::join!(measure(interval, outbox), obey) };
        let _ = shutdown.run_until_cancelled(act).await;
    };
    let tell = |news| report(news, &hand_in);
    let work = async { tokio::join!(act, device::run(&url, &identity, messages, tell)) };
    let overdue = async {
        shutdown.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        _ = work => {}
        () = overdue => tracing::warn!("the last readings were not acknowledged"),
    }
}

async fn measure(mut interval: watch::Receiver<Duration>, outbox: mpsc::Sender<Message>) {
    let mut sensors = Sensors::new();
    // CPU load and network throughput are differences between two looks, so the first reading waits a moment.
    tokio::time::sleep(sysinfo::MINIMUM_CPU_UPDATE_INTERVAL).await;
    let mut ticks = ticks(Instant::now(), *interval.borrow_and_update());
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            Ok(()) = interval.changed() => {
                let period = *interval.borrow_and_update();
                ticks = self::ticks(Instant::now() + period, period);
                continue;
            }
        }
        // Reading sensors may block for a while, on a machine with a slow disk or bus.
        let read = tokio::task::spawn_blocking(move || {
            let reading = sensors.read(chrono::Utc::now());
            (sensors, reading)
        });
        let Ok((back, reading)) = read.await else { return };
        sensors = back;
        let message =
            Message { channel: Channel::Telemetry, payload: reading.to_string(), due: Instant::now() };
        if outbox.try_send(message).is_err() {
            tracing::warn!(
                "the outbox is full because the broker has been away for too long; a reading is lost"
            );
        }
    }
}

fn ticks(first: Instant, period: Duration) -> Interval {
    let mut ticks = tokio::time::interval_at(first, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}

fn report(news: News, commands: &mpsc::Sender<Command>) {
    match news {
        News::Connected => tracing::info!("connected"),
        News::Lost { connected: true, why } => tracing::warn!(why, "lost the broker; connecting again"),
        News::Lost { connected: false, why } => tracing::warn!(why, "cannot reach the broker; trying again"),
        News::Refused(message, why) => {
            tracing::warn!(why, channel = message.channel.as_str(), "the broker refused a message");
        }
        News::NotSubscribed(why) => tracing::warn!(why, "the broker refused the subscription to commands"),
        News::Command(command) => {
            if let Err(error) = commands.try_send(command) {
                tracing::warn!(%error, "a command is left for its next attempt");
            }
        }
        News::Acknowledged(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_host_name_becomes_a_device_name() {
        for (name, uid) in [
            ("web-1.example", "web-1.example"),
            ("Büro PC", "B-ro-PC"),
            ("", "agent"),
            (&"x".repeat(99), &"x".repeat(64)),
        ] {
            assert_eq!(fit(name), uid);
            assert!(fit(name).parse::<Uid>().is_ok());
        }
        assert!(hostname().parse::<Uid>().is_ok());
    }
}
