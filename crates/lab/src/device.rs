//! A device's side of MQTT, for [`simulate`](crate::simulate) and [`agent`](crate::agent): publishes each message until
//! it is acknowledged, over as many connections as that takes, and passes on each command that arrives.
//!
//! The device does not rely on the broker's session: it keeps unacknowledged messages itself and sends them again, in
//! order, on the next connection. A command that is lost while the device is away arrives again with its next attempt.
//!
//! - [`command`]: a command, and the ack, which is the same for every attempt

pub(crate) mod command;

use std::collections::VecDeque;
use std::time::Duration;

use fleetlog_aggregates::identity::{Tenant, Uid};
use fleetlog_aggregates::topic::{Channel, Topic};
use fleetlog_event_log::backoff::Backoff;
use fleetlog_mqtt::client::{self, Error, Granted, Reader, Writer};
use fleetlog_mqtt::url::Url;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    Connect, ConnectProperties, Filter, Packet, PingReq, PubAck, PubAckReason, Publish, Subscribe,
    SubscribeReasonCode,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval};

use command::Command;

/// The most unacknowledged messages.
const WINDOW: usize = 50;
/// The largest packet to accept, in bytes: a command's parameters have at most 32 KiB.
const MAX_PACKET: u32 = 64 << 10;
/// The packet id of the subscription. Messages have those above it.
const SUBSCRIPTION: u16 = 1;

/// Which device this is, and how it identifies itself to the broker.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) tenant: Tenant,
    pub(crate) uid: Uid,
    /// The MQTT client id.
    pub(crate) client_id: String,
}

/// A message to be published with `QoS` 1.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) channel: Channel,
    pub(crate) payload: String,
    /// When the message was due. Its latency counts from here.
    pub(crate) due: Instant,
}

/// What happens to a device and its messages.
#[derive(Debug)]
pub(crate) enum News {
    /// The broker has accepted the connection.
    Connected,
    /// The connection failed or ended. The device connects again after a pause.
    Lost {
        /// Whether there was a connection.
        connected: bool,
        /// The error.
        why: String,
    },
    /// The broker acknowledged a message.
    Acknowledged(Message),
    /// The broker refused a message for good, for this reason.
    Refused(Message, String),
    /// A command arrived.
    Command(Command),
    /// The broker refused the subscription to commands, for this reason.
    NotSubscribed(String),
}

/// A device, over all its connections.
struct Device<'a, F> {
    identity: &'a Identity,
    outbox: mpsc::Receiver<Message>,
    /// Whether more may come through the outbox.
    is_open: bool,
    /// The messages taken from the outbox and not acknowledged, in their order. Those that were sent over this connection come
    /// first, and have a packet id.
    unacknowledged: VecDeque<(Message, Option<u16>)>,
    last_id: u16,
    tell: F,
}

/// Publishes the messages of `outbox` until it is closed and all of them are acknowledged, and calls `tell` with what
/// happens meanwhile. Dropping the future drops the connection.
pub(crate) async fn run(
    url: &Url,
    identity: &Identity,
    outbox: mpsc::Receiver<Message>,
    tell: impl Fn(News),
) {
    let (unacknowledged, last_id) = (VecDeque::with_capacity(WINDOW), SUBSCRIPTION);
    let mut device = Device { identity, outbox, is_open: true, unacknowledged, last_id, tell };
    let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
    loop {
        let (connected, ended) = match client::open(url, device.connect()).await {
            Ok(connection) => {
                backoff.reset();
                (true, device.converse(connection).await)
            }
            Err(error) => (false, Err(error)),
        };
        let Err(error) = ended else { return };
        if device.unacknowledged.is_empty() && device.outbox.is_closed() && device.outbox.is_empty() {
            return;
        }
        device.unacknowledged.iter_mut().for_each(|(_, id)| *id = None);
        (device.tell)(News::Lost { connected, why: error.to_string() });
        backoff.wait().await;
    }
}

impl<F: Fn(News)> Device<'_, F> {
    fn connect(&self) -> Connect {
        let properties = ConnectProperties { max_packet_size: Some(MAX_PACKET), ..ConnectProperties::new() };
        let client_id = self.identity.client_id.clone();
        Connect { keep_alive: 0, client_id, clean_start: true, properties: Some(properties) }
    }

    /// Publishes over one connection until all messages are acknowledged and no more come.
    async fn converse(
        &mut self,
        (mut reader, mut writer, granted): (Reader, Writer, Granted),
    ) -> Result<(), Error> {
        let window = WINDOW.min(granted.receive_maximum.into());
        let mut pings = interval(granted.ping_every);
        pings.reset();
        // First of all: then every message leaves after the device can hear commands.
        let filters = vec![Filter::new(topic(self.identity, Channel::Commands), QoS::AtLeastOnce)];
        writer.put(&Packet::Subscribe(Subscribe { pkid: SUBSCRIPTION, filters, properties: None }))?;
        (self.tell)(News::Connected);
        let mut is_flushed = false;
        while self.is_open || !self.unacknowledged.is_empty() {
            is_flushed &= !self.send(&mut writer, window)?;
            tokio::select! {
                flushed = writer.flush(), if !is_flushed => {
                    flushed?;
                    is_flushed = true;
                }
                packet = reader.next() => {
                    if let Some(answer) = self.take(packet?) {
                        writer.put(&answer)?;
                        is_flushed = false;
                    }
                }
                message = self.outbox.recv(), if self.is_open && self.unacknowledged.len() < WINDOW => {
                    match message {
                        Some(message) => self.unacknowledged.push_back((message, None)),
                        None => self.is_open = false,
                    }
                }
                _ = pings.tick() => {
                    writer.put(&Packet::PingReq(PingReq))?;
                    is_flushed = false;
                }
            }
        }
        // Everything is acknowledged: how the connection ends changes nothing.
        let _ = writer.disconnect().await;
        Ok(())
    }

    /// Queues the messages that were not sent over this connection yet, as many as the broker takes. Returns whether there
    /// were any.
    fn send(&mut self, writer: &mut Writer, window: usize) -> Result<bool, Error> {
        let sent = self.unacknowledged.partition_point(|(_, id)| id.is_some());
        for place in sent..self.unacknowledged.len().min(window) {
            let id = self.next_id();
            let Some((message, sent_as)) = self.unacknowledged.get_mut(place) else { break };
            *sent_as = Some(id);
            let topic = topic(self.identity, message.channel);
            let mut publish = Publish::new(topic, QoS::AtLeastOnce, message.payload.clone(), None);
            publish.pkid = id;
            writer.put(&Packet::Publish(publish))?;
        }
        Ok(sent < self.unacknowledged.len().min(window))
    }

    /// The next packet id. Far fewer messages are unacknowledged than there are ids, so none of them has it.
    fn next_id(&mut self) -> u16 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(SUBSCRIPTION + 1);
        self.last_id
    }

    /// Takes what the broker has sent, and returns the answer to it, if it is owed one.
    fn take(&mut self, packet: Packet) -> Option<Packet> {
        match packet {
            Packet::PubAck(puback) => self.acknowledged(&puback),
            Packet::SubAck(suback) => self.subscribed(&suback.return_codes),
            Packet::Publish(publish) => {
                if let Some(command) = Command::read(&publish.payload) {
                    (self.tell)(News::Command(command));
                }
                let is_owed = publish.qos == QoS::AtLeastOnce;
                return is_owed.then(|| Packet::PubAck(PubAck::new(publish.pkid, None)));
            }
            _ => {}
        }
        None
    }

    fn subscribed(&self, reasons: &[SubscribeReasonCode]) {
        for reason in reasons.iter().filter(|reason| !matches!(reason, SubscribeReasonCode::Success(_))) {
            (self.tell)(News::NotSubscribed(format!("{reason:?}")));
        }
    }

    fn acknowledged(&mut self, puback: &PubAck) {
        let place = self.unacknowledged.iter().position(|(_, id)| *id == Some(puback.pkid));
        let Some((message, _)) = place.and_then(|place| self.unacknowledged.remove(place)) else { return };
        (self.tell)(match puback.reason {
            PubAckReason::Success | PubAckReason::NoMatchingSubscribers => News::Acknowledged(message),
            reason => News::Refused(message, format!("{reason:?}")),
        });
    }
}

fn topic(Identity { tenant, uid, .. }: &Identity, channel: Channel) -> String {
    Topic { tenant: tenant.clone(), uid: uid.clone(), channel }.to_string()
}
