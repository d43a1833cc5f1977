//! The load: devices with a connection each, which publish as fast as they are acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::Utc;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{Event, MqttOptions};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Messages that a device has under way at a time. Small, as a device's buffer is, and because rumqttc reserves room
/// for each.
const WINDOW: u16 = 20;

/// The most messages that the broker is made to queue. With more, the run measures how slowly Mosquitto works off a
/// long queue: 2.0.11 passes on 21,000 msg/s where it has 200,000 in store, 29,000 where it has these.
const QUEUE: u64 = 50_000;

/// What is published.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// How many devices.
    pub devices: u32,
    /// How many messages each of them publishes.
    pub each: u64,
}

impl Load {
    /// Shares `messages` out among `devices`, at least one each.
    #[must_use]
    pub fn new(devices: u32, messages: u64) -> Self {
        Self { devices, each: (messages / u64::from(devices)).max(1) }
    }

    /// How many messages in all.
    #[must_use]
    pub fn messages(self) -> u64 {
        u64::from(self.devices) * self.each
    }

    /// A device's name.
    #[must_use]
    pub fn uid(device: u32) -> String {
        format!("bench-{device:05}")
    }

    /// A message of about 120 bytes with four metrics. The values are multiples of 1/4, so that sums are exact and can
    /// be compared.
    #[must_use]
    pub fn payload(device: u32, number: u64, ts_ms: i64) -> String {
        let wave = (u64::from(device) * 7 + number) % 80;
        format!(
            r#"{{"msg_id":"{device}-{number}","ts":{ts_ms},"temperature":{}.25,"humidity":{}.5,"battery":3.75,"rssi":-{}}}"#,
            10 + wave / 4,
            30 + wave / 2,
            50 + wave % 40
        )
    }

    /// Publishes all of it, at QoS 1, to the broker at `port`; returns when every message is acknowledged. Holds back
    /// while more than [`QUEUE`] messages are not `stored`.
    pub async fn publish(self, port: u16, stored: watch::Receiver<u64>) -> anyhow::Result<()> {
        let published = Arc::new(AtomicU64::new(0));
        let mut devices = JoinSet::new();
        for device in 0..self.devices {
            let queue = Queue { published: Arc::clone(&published), stored: stored.clone() };
            devices.spawn(publish_device(port, device, self.each, queue));
        }
        while let Some(device) = devices.join_next().await {
            device??;
        }
        Ok(())
    }
}

/// What the broker holds, between all devices and the log.
struct Queue {
    published: Arc<AtomicU64>,
    stored: watch::Receiver<u64>,
}

impl Queue {
    /// Waits for room for another message.
    async fn room(&mut self) -> anyhow::Result<()> {
        let published = self.published.fetch_add(1, Ordering::Relaxed);
        self.stored.wait_for(|&stored| published < stored + QUEUE).await?;
        Ok(())
    }
}

async fn publish_device(port: u16, device: u32, messages: u64, mut queue: Queue) -> anyhow::Result<()> {
    let uid = Load::uid(device);
    let mut options = MqttOptions::new(&uid, "127.0.0.1", port);
    options.set_keep_alive(Duration::from_mins(5));
    options.set_outgoing_inflight_upper_limit(WINDOW);
    let (client, mut events) = rumqttc::v5::AsyncClient::new(options, usize::from(WINDOW));
    let topic = format!("t0/devices/{uid}/telemetry");
    let (mut sent, mut acknowledged) = (0, 0);
    while acknowledged < messages {
        while sent < messages && sent - acknowledged < u64::from(WINDOW) {
            queue.room().await?;
            let payload = Load::payload(device, sent, Utc::now().timestamp_millis());
            client.try_publish(&topic, QoS::AtLeastOnce, false, payload)?;
            sent += 1;
        }
        if let Event::Incoming(Packet::PubAck(_)) = events.poll().await? {
            acknowledged += 1;
        }
    }
    Ok(())
}
