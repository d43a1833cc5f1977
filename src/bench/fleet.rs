//! Devices with a connection each, which publish on time whether or not they are acknowledged, or as fast as they are.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use chrono::Utc;
use futures::{StreamExt, TryStreamExt, stream};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Connect, ConnectProperties, Packet, Publish};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::load::{self, Messages};
use super::report::Timings;
use crate::broker::Url;
use crate::broker::connection::{self, Reader, Writer};

/// The most messages of a device that are under way at a time: what a server must take of MQTT 5, less than which some
/// grant.
const UNDER_WAY: usize = 200;
/// The same where messages are as many as are taken. Small, as a device's buffer is.
const UNDER_WAY_AT_MOST: usize = 20;
/// How many devices connect at a time.
const CONNECTING: usize = 64;
/// How long the last messages may take to be acknowledged.
const PATIENCE: Duration = Duration::from_mins(2);

/// How fast devices publish.
#[derive(Debug, Clone)]
pub(super) enum Pace {
    /// So many messages a second, of all devices together, each at its time.
    Rate(f64),
    /// As many as are acknowledged, while no more than `ahead` of them are not `stored`.
    Most {
        /// How many events there are in the log.
        stored: watch::Receiver<u64>,
        /// How far published messages may be ahead of that.
        ahead: u64,
    },
}

/// Devices that are connected.
pub(super) struct Fleet {
    devices: Vec<Device>,
    /// Different messages, of all devices since they are there.
    different: Arc<AtomicU64>,
}

struct Device {
    url: Url,
    number: u32,
    topic: String,
    messages: Messages,
    reader: Reader,
    writer: Writer,
    packet_id: u16,
    unacknowledged: VecDeque<Sent>,
}

struct Sent {
    packet_id: u16,
    due: Instant,
    payload: Bytes,
}

/// When one device sends what.
struct Plan {
    pace: Pace,
    different: Arc<AtomicU64>,
    started: Instant,
    ends: Instant,
    /// Between two messages of this device; zero for as many as are taken.
    every: Duration,
    first: Duration,
    /// When the device loses its connection.
    cut: Option<Instant>,
}

impl Fleet {
    /// Connects so many devices.
    pub(super) async fn connect(url: &Url, devices: u32) -> anyhow::Result<Self> {
        let devices = stream::iter(0..devices).map(|number| Device::connect(url.clone(), number));
        let devices =
            devices.buffered(CONNECTING).try_collect().await.context("failed to connect the devices")?;
        Ok(Self { devices, different: Arc::default() })
    }

    /// How many different messages have been published.
    pub(super) fn different(&self) -> u64 {
        self.different.load(Ordering::Relaxed)
    }

    /// One message of each device, which makes the devices known.
    pub(super) async fn introduce(&mut self) -> anyhow::Result<()> {
        let devices = self.devices.len() as f64;
        // Each device's first message is due within this second, and its second one would be after it.
        self.publish(&Pace::Rate(devices), Duration::from_secs(1)).await.map(drop)
    }

    /// Publishes for so long, and returns when all of it is acknowledged: how long that took for each message. In a run
    /// of some seconds at a rate each device loses its connection once, and sends again what was not acknowledged.
    pub(super) async fn publish(&mut self, pace: &Pace, time: Duration) -> anyhow::Result<Timings> {
        let timings = Arc::new(Mutex::new(Timings::new("sent to acknowledged")));
        let (started, count) = (Instant::now(), self.devices.len());
        let mut running = JoinSet::new();
        for (nth, mut device) in self.devices.drain(..).enumerate() {
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
                device.publish(plan, &timings).await?;
                anyhow::Ok(device)
            });
        }
        while let Some(device) = running.join_next().await {
            self.devices.push(device??);
        }
        let mut timings = timings.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::replace(&mut timings, Timings::new("none")))
    }
}

async fn open(url: &Url, number: u32) -> Result<(Reader, Writer), connection::Error> {
    let connect = Connect {
        keep_alive: 0,
        client_id: load::uid(number),
        clean_start: true,
        properties: Some(ConnectProperties::new()),
    };
    let (reader, writer, _) = connection::open(url, connect).await?;
    Ok((reader, writer))
}

impl Device {
    async fn connect(url: Url, number: u32) -> Result<Self, connection::Error> {
        let (reader, writer) = open(&url, number).await?;
        let (topic, messages) = (load::topic(number), Messages::of(number));
        Ok(Self {
            url,
            number,
            topic,
            messages,
            reader,
            writer,
            packet_id: 0,
            unacknowledged: VecDeque::new(),
        })
    }

    async fn publish(&mut self, mut plan: Plan, timings: &Mutex<Timings>) -> anyhow::Result<()> {
        let mut sent = 0;
        let under_way = if plan.every.is_zero() { UNDER_WAY_AT_MOST } else { UNDER_WAY };
        loop {
            let mut due = plan.due(sent);
            while self.unacknowledged.len() < under_way
                && let Some(at) = due
                && at <= Instant::now()
            {
                plan.room().await?;
                let before = self.messages.different;
                self.send(at)?;
                plan.different.fetch_add(self.messages.different - before, Ordering::Relaxed);
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

    fn send(&mut self, due: Instant) -> Result<(), connection::Error> {
        // 0 is no packet's id.
        self.packet_id = self.packet_id % (u16::MAX - 1) + 1;
        let payload = Bytes::from(self.messages.next(Utc::now() - due.elapsed()));
        let sent = Sent { packet_id: self.packet_id, due, payload };
        put(&mut self.writer, &self.topic, &sent)?;
        self.unacknowledged.push_back(sent);
        Ok(())
    }

    fn acknowledged(&mut self, packet_id: u16, timings: &Mutex<Timings>) {
        // Nearly always the first.
        if let Some(nth) = self.unacknowledged.iter().position(|sent| sent.packet_id == packet_id)
            && let Some(sent) = self.unacknowledged.remove(nth)
        {
            timings.lock().unwrap_or_else(PoisonError::into_inner).done(sent.due);
        }
    }

    /// The connection breaks; the device makes another and sends again what it knows nothing of.
    async fn lose_connection(&mut self) -> anyhow::Result<()> {
        (self.reader, self.writer) = timeout(PATIENCE, open(&self.url, self.number)).await??;
        for sent in &self.unacknowledged {
            put(&mut self.writer, &self.topic, sent)?;
        }
        Ok(self.writer.flush().await?)
    }
}

fn put(writer: &mut Writer, topic: &str, sent: &Sent) -> Result<(), connection::Error> {
    let mut publish = Publish::new(topic, QoS::AtLeastOnce, sent.payload.clone(), None);
    publish.pkid = sent.packet_id;
    writer.put(&Packet::Publish(publish))
}

impl Plan {
    /// When the device's message of this number is due; `None` after the last.
    fn due(&self, number: u32) -> Option<Instant> {
        let due = if self.every.is_zero() {
            Instant::now()
        } else {
            self.started + self.first + self.every.saturating_mul(number)
        };
        (due < self.ends).then_some(due)
    }

    /// Waits for room for another message.
    async fn room(&mut self) -> anyhow::Result<()> {
        if let Pace::Most { stored, ahead } = &mut self.pace {
            let (different, ahead) = (&self.different, *ahead);
            stored.wait_for(|&stored| different.load(Ordering::Relaxed) < stored + ahead).await?;
        }
        Ok(())
    }
}
