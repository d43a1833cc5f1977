//! MQTT as a server speaks it, in both versions and without I/O: a client's packets in, what they ask for out, and the
//! answers back into bytes.
//!
//! mqtt-protocol-core keeps the books of a connection: packet ids, topic aliases, what may be under way in each
//! direction, the sizes that each side takes. This module is the only one that names it. What it does not look at is
//! looked at here: see `checks`.
//!
//! - [`frame`]: where a packet ends
//! - `checks`: what a packet must not be
//! - [`opening`]: CONNECT and its answer
//! - `answers`: what a client is told

mod answers;
mod checks;
pub mod frame;
pub mod opening;

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::Event;
use mqtt_protocol_core::mqtt::packet::{GenericPacketTrait, Packet, Property, Qos};
use mqtt_protocol_core::mqtt::result_code::MqttError;
use mqtt_protocol_core::mqtt::{self, ArcPayload, role};

pub use mqtt_protocol_core::mqtt::result_code::DisconnectReasonCode as Reason;

/// The largest packet, in bytes. A larger one ends its connection. The limit exceeds the largest payload that becomes
/// an event, so that a slightly larger payload is quarantined and acknowledged instead of sent again for ever.
pub const MAX_PACKET: usize = 1 << 20;
/// The most publishes of a connection that are being stored at a time. A client of MQTT 5 is told, as its Receive Maximum; what
/// a client sends beyond it waits in the socket.
pub const UNDER_WAY: u16 = 256;
/// The most topic aliases of a connection.
const TOPIC_ALIASES: u16 = 8;

/// A connection whose client has been let in, or is about to be.
pub struct Protocol {
    books: Box<mqtt::Connection<role::Server>>,
    version: Version,
    /// The largest packet that the client takes.
    most: usize,
    /// Whether the client has asked for a session that outlives the connection.
    wants_session: bool,
    /// The publishes of `QoS` 2 that are being stored: their PUBREC is still to come.
    storing: Vec<u16>,
    /// The publishes of `QoS` 2 that the client has not released.
    unreleased: BTreeSet<u16>,
    /// The packet ids of the messages that the client has not acknowledged.
    sent: Vec<u16>,
    is_speechless: bool,
    /// The topic of the last publish: most devices have one.
    last_topic: Option<Arc<str>>,
}

/// The version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1.1.
    V3,
    /// MQTT 5.
    V5,
}

/// How a publish is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ack {
    /// `QoS` 1: with a PUBACK.
    Puback(u16),
    /// `QoS` 2: with a PUBREC.
    Pubrec(u16),
}

/// What becomes of a publish, as far as its client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Its fate is committed.
    Stored,
    /// Its sender may not publish there. Only MQTT 5 has a word for it.
    NotAuthorized,
    /// Its sender is over its quota. Only MQTT 5 has a word for it.
    OverQuota,
}

/// What a client's packet asks for.
#[derive(Debug)]
pub enum Incoming {
    /// A message. One of `QoS` 0 is not acknowledged.
    Publish {
        /// Its topic, a valid one.
        topic: Arc<str>,
        /// Its payload.
        payload: Bytes,
        /// How it is acknowledged.
        ack: Option<Ack>,
    },
    /// The client wants to hear what is published to these topics. To be answered by [`Protocol::grant`].
    Subscribe {
        /// The request's packet id.
        id: u16,
        /// What it asks for.
        wanted: Vec<Wanted>,
    },
    /// The client does not want to hear it any more. To be answered by [`Protocol::end`].
    Unsubscribe {
        /// The request's packet id.
        id: u16,
        /// The topics.
        filters: Vec<String>,
    },
    /// The client has the message that was published with this packet id.
    Acknowledged(u16),
    /// The client will not send the message of `QoS` 2 with this packet id again. To be answered by [`Protocol::complete`].
    Release(u16),
    /// The client takes its leave.
    Leave {
        /// How long its session is to outlive the connection, in seconds, if it says so anew.
        expiry_s: Option<u32>,
        /// Whether its will is to be said all the same.
        says_will: bool,
    },
}

/// A topic that a client wants to hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The topic, or a filter with wildcards.
    pub filter: String,
    /// The highest `QoS`, 0 to 2.
    pub qos: u8,
    /// A number of the client's own, which comes with each message.
    pub number: Option<u32>,
}

/// The answer to a [`Wanted`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// It is granted, with this `QoS`.
    Granted(u8),
    /// The client may not hear it.
    NotAuthorized,
    /// The client hears too many already.
    TooMany,
    /// It is not a filter.
    Invalid,
}

/// A message to a client.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its payload.
    pub payload: &'a [u8],
    /// It is of no use after this many seconds.
    pub expires_in_s: u32,
    /// The client's number for the subscription.
    pub number: Option<u32>,
    /// Whether the client acknowledges it.
    pub acknowledged: bool,
}

/// Why a message was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsent {
    /// It is larger than the client takes.
    TooLarge,
    /// The client has as many under way as it takes. It may be sent when one of them is acknowledged.
    NoRoom,
}

/// The client has broken the protocol: the connection is over. What the client is told is among the bytes to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Violation(pub Reason);

impl Protocol {
    /// The version that the client speaks.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The largest packet that the client takes, in bytes.
    #[must_use]
    pub fn most(&self) -> usize {
        self.most
    }

    /// How many publishes of `QoS` 2 the client has not released. Their number is not bounded here, but by their ids.
    #[must_use]
    pub fn unreleased(&self) -> usize {
        self.unreleased.len()
    }

    /// Reads a whole packet. What is to be answered at once is added to `out`.
    pub fn take(&mut self, packet: &[u8], out: &mut Vec<u8>) -> Result<Option<Incoming>, Violation> {
        if let Err(reason) = checks::packet(self.version, packet) {
            return self.violated(reason, out);
        }
        // A receipt for what another connection of the client was sent: it says nothing about this one.
        if packet[0] >> 4 == checks::PUBACK && !self.has_sent(checks::id(packet)) {
            return Ok(None);
        }
        let events = self.books.recv(&mut Cursor::new(packet));
        let (mut incoming, mut error) = (None, None);
        for event in events {
            match event {
                Event::NotifyPacketReceived(packet) => incoming = Some(packet),
                Event::RequestSendPacket { packet, .. } if !self.is_early(&packet) => send(&packet, out),
                Event::NotifyError(why) => error = Some(why),
                _ => {}
            }
        }
        if let Some(error) = error {
            return self.violated(reason(error), out);
        }
        match incoming.map(|packet| self.read(packet)).transpose() {
            Ok(incoming) => Ok(incoming.flatten()),
            Err(reason) => self.violated(reason, out),
        }
    }

    /// Ends the connection as far as the client has not been told of it.
    fn violated(&mut self, reason: Reason, out: &mut Vec<u8>) -> Result<Option<Incoming>, Violation> {
        self.disconnect(reason, out);
        Err(Violation(reason))
    }

    /// Whether it is the receipt of a message of `QoS` 2 that was sent again before it is stored: it is due then.
    fn is_early(&self, packet: &Packet) -> bool {
        match packet {
            Packet::V3_1_1Pubrec(packet) => self.storing.contains(&packet.packet_id()),
            Packet::V5_0Pubrec(packet) => self.storing.contains(&packet.packet_id()),
            _ => false,
        }
    }

    /// Whether a message with this packet id is on its way to the client.
    fn has_sent(&self, id: u16) -> bool {
        self.sent.contains(&id)
    }

    fn read(&mut self, packet: Packet) -> Result<Option<Incoming>, Reason> {
        Ok(match packet {
            Packet::V3_1_1Publish(packet) => {
                let (qos, id) = (packet.qos(), packet.packet_id());
                Some(self.publish(packet.topic_name(), packet.payload(), qos, id)?)
            }
            Packet::V5_0Publish(packet) => {
                let is_number = |property: &Property| matches!(property, Property::SubscriptionIdentifier(_));
                if packet.props().iter().any(is_number) {
                    return Err(Reason::ProtocolError);
                }
                let (qos, id) = (packet.qos(), packet.packet_id());
                Some(self.publish(packet.topic_name(), packet.payload(), qos, id)?)
            }
            Packet::V3_1_1Pubrel(packet) => Some(self.released(packet.packet_id())),
            Packet::V5_0Pubrel(packet) => Some(self.released(packet.packet_id())),
            Packet::V3_1_1Puback(packet) => Some(self.acknowledged(packet.packet_id())),
            Packet::V5_0Puback(packet) => Some(self.acknowledged(packet.packet_id())),
            Packet::V3_1_1Subscribe(packet) => {
                let id = packet.packet_id();
                let wanted = packet.entries().iter();
                let wanted = wanted.map(|entry| checks::wanted(entry, None)).collect::<Result<_, _>>()?;
                Some(Incoming::Subscribe { id, wanted })
            }
            Packet::V5_0Subscribe(packet) => {
                let number = packet.props().iter().find_map(|property| match property {
                    Property::SubscriptionIdentifier(number) => Some(number.val()),
                    _ => None,
                });
                let id = packet.packet_id();
                let wanted = packet.entries().iter();
                let wanted = wanted.map(|entry| checks::wanted(entry, number)).collect::<Result<_, _>>()?;
                Some(Incoming::Subscribe { id, wanted })
            }
            Packet::V3_1_1Unsubscribe(packet) => {
                let filters = packet.entries().iter().map(|filter| filter.as_str().to_owned()).collect();
                Some(Incoming::Unsubscribe { id: packet.packet_id(), filters })
            }
            Packet::V5_0Unsubscribe(packet) => {
                let filters = packet.entries().iter().map(|filter| filter.as_str().to_owned()).collect();
                Some(Incoming::Unsubscribe { id: packet.packet_id(), filters })
            }
            Packet::V3_1_1Disconnect(_) => Some(Incoming::Leave { expiry_s: None, says_will: false }),
            Packet::V5_0Disconnect(packet) => {
                let expiry_s = packet.props().iter().flatten().find_map(|property| match property {
                    Property::SessionExpiryInterval(seconds) => Some(seconds.val()),
                    _ => None,
                });
                // A session that was to end with the connection cannot be kept afterwards.
                if !self.wants_session && expiry_s.is_some_and(|seconds| seconds > 0) {
                    return Err(Reason::ProtocolError);
                }
                let reason = packet.reason_code().unwrap_or(Reason::NormalDisconnection);
                Some(Incoming::Leave { expiry_s, says_will: reason != Reason::NormalDisconnection })
            }
            Packet::V3_1_1Pingreq(_) | Packet::V5_0Pingreq(_) => None,
            // A client's own PUBREC and PUBCOMP are for messages of `QoS` 2, and none are sent; AUTH is for a method that
            // was agreed upon, and none ever is.
            _ => return Err(Reason::ProtocolError),
        })
    }

    fn publish(
        &mut self,
        topic: &str,
        payload: &ArcPayload,
        qos: Qos,
        id: Option<u16>,
    ) -> Result<Incoming, Reason> {
        checks::topic(topic)?;
        let topic = match &self.last_topic {
            Some(last) if **last == *topic => Arc::clone(last),
            _ => Arc::clone(self.last_topic.insert(topic.into())),
        };
        let ack = match (qos, id) {
            (Qos::AtLeastOnce, Some(id)) => Some(Ack::Puback(id)),
            (Qos::ExactlyOnce, Some(id)) => {
                self.storing.push(id);
                self.unreleased.insert(id);
                Some(Ack::Pubrec(id))
            }
            _ => None,
        };
        Ok(Incoming::Publish { topic, payload: Bytes::copy_from_slice(payload.as_slice()), ack })
    }

    fn released(&mut self, id: u16) -> Incoming {
        self.unreleased.remove(&id);
        Incoming::Release(id)
    }

    fn acknowledged(&mut self, id: u16) -> Incoming {
        self.sent.retain(|sent| *sent != id);
        Incoming::Acknowledged(id)
    }
}

fn send(packet: &Packet, out: &mut Vec<u8>) {
    for part in packet.to_buffers() {
        out.extend_from_slice(&part);
    }
}

/// What a client is told of an error.
fn reason(error: MqttError) -> Reason {
    match error {
        MqttError::PacketTooLarge => Reason::PacketTooLarge,
        error => match Reason::from(error) {
            Reason::UnspecifiedError => Reason::ProtocolError,
            reason => reason,
        },
    }
}
