//! Devices that publish on time whether or not they are acknowledged, or as fast as they are acknowledged. Each device
//! has its own connection, or several share one, as behind a gateway.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use chrono::Utc;
use fleetlog_mqtt::client::{self, Reader, Writer};
use fleetlog_mqtt::url::Url;
use futures::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Connect, ConnectProperties, Packet, Publish};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::load::{self, Messages};
use super::report::Timings;

/// The most unacknowledged messages of one device at [`Pace::Most`]. The number is small, as a device's buffer is.
const UNDER_WAY: usize = 20;
/// How often an idle device pings.
const PING_EVERY: Duration = Duration::from_secs(20);
/// How many connections are being made at the same time.
const CONNECTING: usize = 64;
/// How long the acknowledgements of the last messages may take.
const PATIENCE: Duration = Duration::from_mins(2);

/// How fast devices publish.
#[derive(Debug, Clone)]
pub(super) enum Pace {
    /// This many messages a second, of all devices together, each at its time.
    Rate(f64),
    /// As fast as messages are acknowledged, with at most `ahead` of them not yet `stored`.
    Most {
        /// The number of events in the log.
        stored: watch::Receiver<u64>,
        /// How many published messages may not be stored yet.
        ahead: u64,
    },
}

/// Connected devices.
pub(super) struct Fleet {
    devices: u32,
    links: Vec<Link>,
    /// How many different messages all devices have published.
    different: Arc<AtomicU64>,
}

/// A connection, and the devices that publish over it in turn.
struct Link {
    url: Url,
    name: String,
    devices: Vec<(Arc<str>, Messages)>,
    reader: Reader,
    writer: Writer,
    /// The most unacknowledged messages that the server allows.
    granted: usize,
    packet_id: u16,
    unacknowledged: VecDeque<Sent>,
}

struct Sent {
    packet_id: u16,
    due: Instant,
    topic: Arc<str>,
    payload: Bytes,
}

/// When a connection sends its messages.
struct Plan {
    pace: Pace,
    different: Arc<AtomicU64>,
    started: Instant,
    ends: Instant,
    /// The time between two messages of this connection; zero for full speed.
    every: Duration,
    first: Duration,
    /// When the connection is cut.
    cut: Option<Instant>,
}

impl Fleet {
    /// Connects `devices` devices over `connections` connections.
    pub(super) async fn connect(url: &Url, devices: u32, connections: u32) -> anyhow::Result<Self> {
        Self::connect_timed(url, 0..devices, connections, &mut Timings::new("connecting")).await
    }

    /// Connects the devices with these numbers over `connections` connections, and records how long each connection
    /// takes.
    pub(super) async fn connect_timed(
        url: &Url,
        numbers: Range<u32>,
        connections: u32,
        timings: &mut Timings,
    ) -> anyhow::Result<Self> {
        let connecting = stream::iter(0..connections).map(async |nth| {
            let (started, first) = (Instant::now(), numbers.start + nth);
            let own = (first..numbers.end).step_by(connections as usize);
            let own = own.map(|device| (load::topic(device).into(), Messages::of(device))).collect();
            Ok::<_, client::Error>((Link::open(url.clone(), own, first).await?, started.elapsed()))
        });
        let connected = connecting.buffered(CONNECTING).inspect_ok(|(_, time)| timings.took(*time));
        let links = connected.map_ok(|(link, _)| link).try_collect().await;
        let links = links.context("failed to connect the devices")?;
        Ok(Self { devices: numbers.len() as u32, links, different: Arc::default() })
    }

    /// How many different messages all devices have published.
    pub(super) fn different(&self) -> u64 {
        self.different.load(Ordering::Relaxed)
    }

    /// Publishes nothing for `time` while every connection pings at its own moments. Returns how long the answers took.
    pub(super) async fn idle(&mut self, time: Duration) -> anyhow::Result<Timings> {
        let timings = Arc::new(Mutex::new(Timings::new("ping to answer")));
        let (started, count) = (Instant::now(), self.links.len());
        let mut running = JoinSet::new();
        for (nth, mut link) in self.links.drain(..).enumerate() {
            let first = started + PING_EVERY.mul_f64(nth as f64 / count as f64);
            let timings = Arc::clone(&timings);
            running.spawn(async move {
                link.idle(first, started + time, &timings).await?;
                anyhow::Ok(link)
            });
        }
        self.back(running).await?;
        Ok(taken(&timings))
    }

    /// Publishes one message of each device, so that all are registered.
    pub(super) async fn introduce(&mut self) -> anyhow::Result<()> {
        // Each device's first message is due within this second, and its second one would be after it.
        self.publish(&Pace::Rate(self.devices.into()), Duration::from_secs(1)).await.map(drop)
    }

    /// Publishes for `time`, and returns when every message is acknowledged: how long each acknowledgement took. In a
    /// run of a few seconds at a rate each connection is cut once, and its unacknowledged messages are sent again.
    pub(super) async fn publish(&mut self, pace: &Pace, time: Duration) -> anyhow::Result<Timings> {
        let timings = Arc::new(Mutex::new(Timings::new("sent to acknowledged")));
        let (started, count) = (Instant::now(), self.links.len());
        let mut running = JoinSet::new();
        for (nth, mut link) in self.links.drain(..).enumerate() {
            let share = nth as f64 / count as f64;
            let every = match pace {
                Pace::Rate(rate) => Duration::from_secs_f64(count as f64 / rate),
                Pace::Most { .. } => Duration::ZERO,
            };
            let cut = (matches!(pace, Pace::Rate(_)) && time > Duration::from_secs(2))
                .then(|| started + time.mul_f64(share));
            let plan = Plan {
                pace: pace.clone(),
                different: Arc::clone(&self.different),
                started,
                ends: started + time,
                every,
                first: every.mul_f64(share),
                cut,
            };
            let timings = Arc::clone(&timings);
            running.spawn(async move {
                link.publish(plan, &timings).await?;
                anyhow::Ok(link)
            });
        }
        self.back(running).await?;
        Ok(taken(&timings))
    }

    /// Waits until the connections are done.
    async fn back(&mut self, mut running: JoinSet<anyhow::Result<Link>>) -> anyhow::Result<()> {
        while let Some(link) = running.join_next().await {
            self.links.push(link??);
        }
        Ok(())
    }
}

fn taken(timings: &Mutex<Timings>) -> Timings {
    let mut timings = timings.lock();
    std::mem::replace(&mut timings, Timings::new("none"))
}

async fn open(url: &Url, name: &str) -> Result<(Reader, Writer, usize), client::Error> {
    let connect = Connect {
        keep_alive: 0,
        client_id: name.to_owned(),
        clean_start: true,
        properties: Some(ConnectProperties::new()),
    };
    let (reader, writer, granted) = client::open(url, connect).await?;
    Ok((reader, writer, granted.receive_maximum.into()))
}

impl Link {
    async fn open(url: Url, devices: Vec<(Arc<str>, Messages)>, nth: u32) -> Result<Self, client::Error> {
        let name = format!("bench-{nth}");
        let (reader, writer, granted) = open(&url, &name).await?;
        let (packet_id, unacknowledged) = (0, VecDeque::new());
        Ok(Self { url, name, devices, reader, writer, granted, packet_id, unacknowledged })
    }

    async fn publish(&mut self, mut plan: Plan, timings: &Mutex<Timings>) -> anyhow::Result<()> {
        let mut sent = 0;
        let most = if plan.every.is_zero() { UNDER_WAY * self.devices.len() } else { usize::MAX };
        let under_way = most.min(self.granted);
        loop {
            let mut due = plan.due(sent);
            while self.unacknowledged.len() < under_way
                && let Some(at) = due
                && at <= Instant::now()
            {
                plan.room().await?;
                let different = self.send(sent, at)?;
                plan.different.fetch_add(different, Ordering::Relaxed);
                sent += 1;
                due = plan.due(sent);
            }
            self.writer.flush().await?;
            if plan.cut.is_some_and(|cut| cut <= Instant::now()) {
                plan.cut = None;
                self.lose_connection().await?;
            }
            let next = match due {
                None if self.unacknowledged.is_empty() => return Ok(()),
                Some(at) if self.unacknowledged.len() < under_way => at,
                _ => Instant::now() + PATIENCE,
            };
            tokio::select! {
                packet = self.reader.next() => if let Packet::PubAck(acknowledged) = packet? {
                    self.acknowledged(acknowledged.pkid, timings);
                },
                () = sleep_until(next) => {}
            }
        }
    }

    async fn idle(&mut self, first: Instant, ends: Instant, timings: &Mutex<Timings>) -> anyhow::Result<()> {
        let mut due = first;
        while due < ends {
            sleep_until(due).await;
            self.writer.ping().await?;
            let answer = self.reader.next().await?;
            ensure!(matches!(answer, Packet::PingResp(_)), "no answer to a ping: {answer:?}");
            timings.lock().done(due);
            due += PING_EVERY;
        }
        sleep_until(ends).await;
        Ok(())
    }

    /// Sends the next message of the device whose turn it is. Returns how many different messages the device has
    /// published.
    fn send(&mut self, number: u32, due: Instant) -> Result<u64, client::Error> {
        let turn = number as usize % self.devices.len();
        let (topic, messages) = &mut self.devices[turn];
        let before = messages.different;
        // 0 is no packet's id.
        self.packet_id = self.packet_id % (u16::MAX - 1) + 1;
        let payload = Bytes::from(messages.next(Utc::now() - due.elapsed()));
        let sent = Sent { packet_id: self.packet_id, due, topic: Arc::clone(topic), payload };
        let different = messages.different - before;
        put(&mut self.writer, &sent)?;
        self.unacknowledged.push_back(sent);
        Ok(different)
    }

    fn acknowledged(&mut self, packet_id: u16, timings: &Mutex<Timings>) {
        // Nearly always the first one matches.
        if let Some(nth) = self.unacknowledged.iter().position(|sent| sent.packet_id == packet_id)
            && let Some(sent) = self.unacknowledged.remove(nth)
        {
            timings.lock().done(sent.due);
        }
    }

    /// Cuts the connection, connects again and sends the unacknowledged messages again.
    async fn lose_connection(&mut self) -> anyhow::Result<()> {
        (self.reader, self.writer, self.granted) = timeout(PATIENCE, open(&self.url, &self.name)).await??;
        for sent in &self.unacknowledged {
            put(&mut self.writer, sent)?;
        }
        Ok(self.writer.flush().await?)
    }
}

fn put(writer: &mut Writer, sent: &Sent) -> Result<(), client::Error> {
    let mut publish = Publish::new(&*sent.topic, QoS::AtLeastOnce, sent.payload.clone(), None);
    publish.pkid = sent.packet_id;
    writer.put(&Packet::Publish(publish))
}

impl Plan {
    /// When the message with this number is due; `None` after the last.
    fn due(&self, number: u32) -> Option<Instant> {
        let due = if self.every.is_zero() {
            Instant::now()
        } else {
            self.started + self.first + self.every.saturating_mul(number)
        };
        (due < self.ends).then_some(due)
    }

    /// Waits until another message may be published.
    async fn room(&mut self) -> anyhow::Result<()> {
        if let Pace::Most { stored, ahead } = &mut self.pace {
            let (different, ahead) = (&self.different, *ahead);
            stored.wait_for(|&stored| different.load(Ordering::Relaxed) < stored + ahead).await?;
        }
        Ok(())
    }
}
