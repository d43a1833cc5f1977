//! The load: devices with a connection each, which publish as fast as they are acknowledged.

use std::time::Duration;

use chrono::Utc;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{Event, MqttOptions};
use tokio::task::JoinSet;

/// Messages that a device has under way at a time. Small, as a device's buffer is, and because rumqttc reserves room
/// for each.
const WINDOW: u16 = 20;

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

    /// Publishes all of it, at QoS 1, to the broker at `port`; returns when every message is acknowledged.
    pub async fn publish(self, port: u16) -> anyhow::Result<()> {
        let mut devices = JoinSet::new();
        for device in 0..self.devices {
            devices.spawn(publish_device(port, device, self.each));
        }
        while let Some(device) = devices.join_next().await {
            device??;
        }
        Ok(())
    }
}

async fn publish_device(port: u16, device: u32, messages: u64) -> anyhow::Result<()> {
    let uid = Load::uid(device);
    let mut options = MqttOptions::new(&uid, "127.0.0.1", port);
    options.set_keep_alive(Duration::from_mins(5));
    options.set_outgoing_inflight_upper_limit(WINDOW);
    let (client, mut events) = rumqttc::v5::AsyncClient::new(options, usize::from(WINDOW));
    let topic = format!("t0/devices/{uid}/telemetry");
    let (mut sent, mut acknowledged) = (0, 0);
    while acknowledged < messages {
        while sent < messages && sent - acknowledged < u64::from(WINDOW) {
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
