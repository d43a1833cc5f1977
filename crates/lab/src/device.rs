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
use fleetlog_mqtt::url::Plain;
use parking_lot::Mutex;
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAck, PubAckReason, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, Event, EventLoop};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use command::Command;

/// The most unacknowledged messages. Each costs rumqttc a place in a table, acknowledged or not.
const WINDOW: u16 = 50;
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// The largest packet to accept, in bytes: a command's parameters have at most 32 KiB. rumqttc drops the connection
/// over a larger packet than this limit, and its default limit is 10 KiB.
const MAX_PACKET: u32 = 64 << 10;

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

/// Messages taken from the outbox and not acknowledged.
#[derive(Default)]
struct Unacknowledged {
    connected: bool,
    /// Messages in the order in which they are sent. rumqttc assigns packet ids in that order and reports them in it.
    messages: VecDeque<(Message, Option<u16>)>,
    /// The packet id of a message that rumqttc holds back until an older message with the same id is acknowledged.
    held_back: Option<u16>,
}

struct Session<'a, F> {
    identity: &'a Identity,
    client: AsyncClient,
    unacknowledged: Mutex<Unacknowledged>,
    free: Semaphore,
    tell: F,
}

/// Publishes the messages of `outbox` until it is closed and all of them are acknowledged, and calls `tell` with what
/// happens meanwhile. Dropping the future drops the connection.
pub(crate) async fn run(
    url: &Plain,
    identity: &Identity,
    outbox: mpsc::Receiver<Message>,
    tell: impl Fn(News),
) {
    let mut options = url.client(&identity.client_id, WINDOW);
    options.set_keep_alive(KEEP_ALIVE).set_max_packet_size(Some(MAX_PACKET));
    let (client, eventloop) = AsyncClient::new(options, usize::from(WINDOW) + 4);
    let free = Semaphore::new(usize::from(WINDOW));
    let session = Session { identity, client, unacknowledged: Mutex::default(), free, tell };
    tokio::join!(session.send(outbox), session.poll(eventloop));
}

impl<F: Fn(News)> Session<'_, F> {
    async fn send(&self, mut outbox: mpsc::Receiver<Message>) {
        while let Some(message) = outbox.recv().await {
            if let Ok(place) = self.free.acquire().await {
                place.forget();
            }
            self.with(|unacknowledged| {
                if unacknowledged.connected {
                    self.hand_over(&message);
                }
                unacknowledged.messages.push_back((message, None));
            });
        }
        let _ = self.free.acquire_many(u32::from(WINDOW)).await;
        let _ = self.client.disconnect().await;
    }

    async fn poll(&self, mut eventloop: EventLoop) {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        loop {
            match eventloop.poll().await {
                Ok(Event::Outgoing(Outgoing::Disconnect)) => return,
                Ok(Event::Outgoing(Outgoing::Publish(id))) => self.with(|sent| sent.is_sent(id)),
                Ok(Event::Outgoing(Outgoing::AwaitAck(id))) => self.with(|sent| sent.is_held_back(id)),
                Ok(Event::Incoming(Packet::PubAck(puback))) => self.acknowledged(&puback),
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    backoff.reset();
                    self.connected();
                }
                Ok(Event::Incoming(Packet::Publish(publish))) => {
                    if let Some(command) = Command::read(&publish.payload) {
                        (self.tell)(News::Command(command));
                    }
                }
                Ok(Event::Incoming(Packet::SubAck(suback))) => self.subscribed(&suback.return_codes),
                Ok(_) => {}
                Err(error) => {
                    let connected = self.lost(&mut eventloop);
                    (self.tell)(News::Lost { connected, why: error.to_string() });
                    backoff.wait().await;
                }
            }
        }
    }

    fn connected(&self) {
        // Subscribe first: then every message leaves after the device can hear commands.
        if let Err(error) = self.client.try_subscribe(self.topic(Channel::Commands), QoS::AtLeastOnce) {
            tracing::error!(%error, "failed to hand over a subscription");
        }
        self.with(|unacknowledged| {
            unacknowledged.connected = true;
            for (message, id) in &mut unacknowledged.messages {
                *id = None;
                self.hand_over(message);
            }
        });
        (self.tell)(News::Connected);
    }

    fn subscribed(&self, reasons: &[SubscribeReasonCode]) {
        for reason in reasons.iter().filter(|reason| !matches!(reason, SubscribeReasonCode::Success(_))) {
            (self.tell)(News::NotSubscribed(format!("{reason:?}")));
        }
    }

    /// Forgets the connection, and returns whether there was one.
    fn lost(&self, eventloop: &mut EventLoop) -> bool {
        self.with(|unacknowledged| {
            unacknowledged.held_back = None;
            // rumqttc must not send these again: the device itself does.
            eventloop.clean();
            eventloop.pending.clear();
            eventloop.state.events.clear();
            eventloop.state.collision = None;
            std::mem::take(&mut unacknowledged.connected)
        })
    }

    fn acknowledged(&self, puback: &PubAck) {
        let Some(message) = self.with(|unacknowledged| unacknowledged.remove(puback.pkid)) else { return };
        self.free.add_permits(1);
        (self.tell)(match puback.reason {
            PubAckReason::Success | PubAckReason::NoMatchingSubscribers => News::Acknowledged(message),
            reason => News::Refused(message, format!("{reason:?}")),
        });
    }

    fn topic(&self, channel: Channel) -> String {
        let Identity { tenant, uid, .. } = self.identity.clone();
        Topic { tenant, uid, channel }.to_string()
    }

    /// rumqttc's queue has room for the whole window and a subscription, so this never fails.
    fn hand_over(&self, message: &Message) {
        let (topic, payload) = (self.topic(message.channel), message.payload.clone());
        if let Err(error) = self.client.try_publish(topic, QoS::AtLeastOnce, false, payload) {
            tracing::error!(%error, "failed to hand over a message");
        }
    }

    fn with<T>(&self, then: impl FnOnce(&mut Unacknowledged) -> T) -> T {
        then(&mut self.unacknowledged.lock())
    }
}

impl Unacknowledged {
    fn is_sent(&mut self, id: u16) {
        if self.held_back.take_if(|held_back| *held_back == id).is_none() {
            self.number(id);
        }
    }

    fn is_held_back(&mut self, id: u16) {
        self.held_back = Some(id);
        self.number(id);
    }

    fn number(&mut self, id: u16) {
        if let Some((_, unnumbered)) = self.messages.iter_mut().find(|(_, id)| id.is_none()) {
            *unnumbered = Some(id);
        }
    }

    fn remove(&mut self, id: u16) -> Option<Message> {
        let place = self.messages.iter().position(|(_, numbered)| *numbered == Some(id))?;
        self.messages.remove(place).map(|(message, _)| message)
    }
}
