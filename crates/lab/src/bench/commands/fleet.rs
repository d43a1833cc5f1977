//! Devices that publish telemetry at a rate and answer every command at once, over a few connections to the broker.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::Utc;
use fleetlog_mqtt::client::{self, Reader, Writer};
use fleetlog_mqtt::url::Url;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Connect, ConnectProperties, Filter, Packet, PubAck, Publish, Subscribe};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use uuid::Uuid;

use super::Steps;
use crate::bench::load;

/// Connections that publish telemetry.
const PUBLISHERS: u32 = 8;
const TICK: Duration = Duration::from_millis(10);
/// How often the connection that answers commands pings.
const PING_EVERY: Duration = Duration::from_secs(20);

/// The devices. Dropping the value stops them.
pub(super) struct Fleet {
    _tasks: JoinSet<Result<(), client::Error>>,
}

impl Fleet {
    pub(super) async fn start(
        url: &Url,
        devices: u32,
        rate: u32,
        steps: &Arc<Mutex<Steps>>,
    ) -> Result<Self, client::Error> {
        let mut tasks = JoinSet::new();
        let (mut reader, mut writer) = connect(url, "bench-commands").await?;
        let filter = Filter::new("t0/devices/+/commands", QoS::AtLeastOnce);
        writer.put(&Packet::Subscribe(Subscribe { pkid: 1, filters: vec![filter], properties: None }))?;
        writer.flush().await?;
        while !matches!(reader.next().await?, Packet::SubAck(_)) {}
        tasks.spawn(answer(reader, writer, Arc::clone(steps)));
        for publisher in 0..PUBLISHERS {
            let (mut reader, writer) = connect(url, &format!("bench-{publisher}")).await?;
            tasks.spawn(async move {
                loop {
                    reader.next().await?;
                }
            });
            tasks.spawn(publish(writer, publisher, devices, rate));
        }
        Ok(Self { _tasks: tasks })
    }
}

async fn connect(url: &Url, client_id: &str) -> Result<(Reader, Writer), client::Error> {
    let connect = Connect {
        keep_alive: 0,
        client_id: client_id.to_owned(),
        clean_start: true,
        properties: Some(ConnectProperties { receive_maximum: Some(1000), ..ConnectProperties::new() }),
    };
    let (reader, writer, _) = client::open(url, connect).await?;
    Ok((reader, writer))
}

/// Publishes the telemetry of each `PUBLISHERS`th device in turn, at a fixed rate even if the broker falls behind.
async fn publish(mut writer: Writer, publisher: u32, devices: u32, rate: u32) -> Result<(), client::Error> {
    let (mut ticks, started) = (interval(TICK), Instant::now());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut sent = 0_u64;
    loop {
        ticks.tick().await;
        let due = (started.elapsed().as_secs_f64() * f64::from(rate) / f64::from(PUBLISHERS)) as u64;
        while sent <= due {
            let turn = sent * u64::from(PUBLISHERS) + u64::from(publisher);
            let (device, number) = ((turn % u64::from(devices)) as u32, turn / u64::from(devices));
            let payload = load::payload(device, number, Utc::now());
            put(&mut writer, &load::topic(device), payload, sent)?;
            sent += 1;
        }
        writer.flush().await?;
    }
}

/// Answers every command, and records when it arrived and when it was answered.
async fn answer(
    mut reader: Reader,
    mut writer: Writer,
    steps: Arc<Mutex<Steps>>,
) -> Result<(), client::Error> {
    let mut answers = 0;
    let mut pings = interval(PING_EVERY);
    loop {
        let packet = tokio::select! {
            packet = reader.next() => packet?,
            _ = pings.tick() => {
                writer.ping().await?;
                continue;
            }
        };
        let Packet::Publish(command) = packet else { continue };
        let received = Instant::now();
        writer.put(&Packet::PubAck(PubAck::new(command.pkid, None)))?;
        let payload: Value = serde_json::from_slice(&command.payload).unwrap_or_default();
        let Some(cmd_id) = payload["cmd_id"].as_str().and_then(|id| id.parse::<Uuid>().ok()) else {
            continue;
        };
        let topic = String::from_utf8_lossy(&command.topic).replace("/commands", "/command_ack");
        put(&mut writer, &topic, json!({ "cmd_id": cmd_id, "status": "ack" }).to_string(), answers)?;
        answers += 1;
        writer.flush().await?;
        let mut steps = steps.lock().await;
        steps.received.insert(cmd_id, received);
        steps.answered.insert(cmd_id, Instant::now());
    }
}

fn put(writer: &mut Writer, topic: &str, payload: String, number: u64) -> Result<(), client::Error> {
    let mut publish = Publish::new(topic, QoS::AtLeastOnce, Bytes::from(payload), None);
    publish.pkid = (number % 60_000) as u16 + 1;
    writer.put(&Packet::Publish(publish))
}
