//! Devices with careful firmware: they send unacknowledged messages again.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fleetlog_event_log::backoff::Backoff;
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use tokio::sync::Notify;
use tokio::task::JoinSet;

const WINDOW: usize = 20;

/// Many devices that publish numbered messages, each until it is acknowledged.
pub(crate) struct Publisher {
    devices: JoinSet<()>,
    acknowledged: Arc<AtomicUsize>,
    progress: Arc<Notify>,
}

impl Publisher {
    /// Starts `devices` devices with `each` messages each, at the broker on `port`.
    pub(crate) fn start(port: u16, devices: usize, each: usize) -> Self {
        let (acknowledged, progress) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let mut tasks = JoinSet::new();
        for device in 0..devices {
            let (acknowledged, progress) = (Arc::clone(&acknowledged), Arc::clone(&progress));
            tasks.spawn(async move {
                let mut pending: VecDeque<usize> = (0..each).collect();
                let mut pauses = Backoff::new(Duration::from_millis(20), Duration::from_millis(20));
                while !pending.is_empty() {
                    publish(port, &format!("dev-{device:03}"), &mut pending, || {
                        acknowledged.fetch_add(1, Ordering::Relaxed);
                        progress.notify_waiters();
                    })
                    .await;
                    pauses.wait().await;
                }
            });
        }
        Self { devices: tasks, acknowledged, progress }
    }

    /// Returns when `count` messages have been acknowledged.
    pub(crate) async fn acknowledged(&self, count: usize) {
        loop {
            let progress = self.progress.notified();
            if self.acknowledged.load(Ordering::Relaxed) >= count {
                return;
            }
            progress.await;
        }
    }

    /// Returns when all messages have been acknowledged.
    pub(crate) async fn finish(self) {
        self.devices.join_all().await;
    }
}

/// The payload of a message. The values are quarters, so that sums are exact.
pub(crate) fn payload(number: usize) -> String {
    format!(
        r#"{{"msg_id":"m{number}","temperature":{}.25,"nested":{{"n":{number}}},"on":{}}}"#,
        number % 50,
        number.is_multiple_of(2)
    )
}

/// Publishes until `pending` is empty or the connection ends. Unacknowledged messages are put back into `pending`.
async fn publish(port: u16, uid: &str, pending: &mut VecDeque<usize>, mut acknowledged: impl FnMut()) {
    let mut options = MqttOptions::new(uid, "127.0.0.1", port);
    options.set_outgoing_inflight_upper_limit(WINDOW as u16);
    let (client, mut events) = AsyncClient::new(options, WINDOW);
    let topic = format!("t0/devices/{uid}/telemetry");
    let (mut handed, mut under_way) = (VecDeque::new(), HashMap::new());
    while !(pending.is_empty() && handed.is_empty() && under_way.is_empty()) {
        while handed.len() + under_way.len() < WINDOW
            && let Some(number) = pending.pop_front()
        {
            client
                .try_publish(&topic, QoS::AtLeastOnce, false, payload(number))
                .expect("room for the window");
            handed.push_back(number);
        }
        match events.poll().await {
            Ok(Event::Outgoing(Outgoing::Publish(id))) => {
                under_way.insert(id, handed.pop_front().expect("a message that was handed over"));
            }
            Ok(Event::Incoming(Packet::PubAck(ack))) => {
                if under_way.remove(&ack.pkid).is_some() {
                    acknowledged();
                }
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
    pending.extend(handed);
    pending.extend(under_way.into_values());
}
