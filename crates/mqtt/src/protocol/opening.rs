//! CONNECT and its answer.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{ConnectionOptions, Event};
use mqtt_protocol_core::mqtt::packet::{
    AssignedClientIdentifier, Packet, Property, ReasonString, ReceiveMaximum, RetainAvailable,
    SessionExpiryInterval, SharedSubscriptionAvailable, TopicAliasMaximum, WildcardSubscriptionAvailable,
    v3_1_1, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::{ConnectReasonCode, ConnectReturnCode, MqttError};
use mqtt_protocol_core::mqtt::{self};

use super::frame::body;
use super::{MAX_PACKET, Protocol, TOPIC_ALIASES, UNDER_WAY, Version, checks};

/// The property that says how many aliases a client takes.
const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;

/// The Receive Maximum that the books enforce: none. What a client is told is [`UNDER_WAY`]; beyond it, its packets wait, or
/// take a share of what the server has for them.
const ENFORCED: u16 = u16::MAX;

/// The property with a Receive Maximum.
const RECEIVE_MAXIMUM: u8 = 0x21;

/// The first byte of every connection.
pub const CONNECT: u8 = 0x10;

/// A client that wants to be let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The id that the client says; empty if the server is to give it one.
    pub client_id: String,
    /// The longest time between two packets of the client. `None` is no bound.
    pub keep_alive: Option<Duration>,
    /// The user's name.
    pub username: Option<String>,
    /// The password.
    pub password: Option<Vec<u8>>,
    /// What is to be said if the connection ends without a goodbye.
    pub will: Option<Will>,
    /// How long its session is to outlive the connection, in seconds, if at all.
    pub expiry_s: Option<u32>,
    /// Whether an earlier session of its is to be forgotten.
    pub starts_clean: bool,
}

/// A will, as a client has left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    /// Its topic, a valid one.
    pub topic: String,
    /// Its payload.
    pub payload: Vec<u8>,
    /// How long the client has to come back before it is said, in seconds.
    pub delay_s: u32,
}

/// The session that a client is granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granted {
    /// Whether it is an earlier one, which goes on.
    pub is_present: bool,
    /// How long it outlives the connection, in seconds.
    pub expiry_s: u32,
}

/// Why a client is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The user name or the password is wrong.
    BadCredentials,
    /// It has shown no credentials, and has to.
    NoCredentials,
    /// Nobody can say now whether it may.
    Unavailable,
}

/// A first packet that no connection begins with. The bytes are what the client is told.
#[derive(Debug, PartialEq, Eq)]
pub struct Unfit(pub Vec<u8>);

/// Reads the whole first packet.
pub fn open(packet: &[u8]) -> Result<(Protocol, Hello), Unfit> {
    let version = version(packet)?;
    let unfit = |error| Unfit(rejection(version, error));
    flags(packet).map_err(unfit)?;
    let options =
        ConnectionOptions::new().maximum_packet_size_recv(MAX_PACKET as u32).receive_maximum(ENFORCED);
    let spoken = match version {
        Version::V3 => mqtt::Version::V3_1_1,
        Version::V5 => mqtt::Version::V5_0,
    };
    let mut books = Box::new(mqtt::Connection::with_options(spoken, options));
    books.set_auto_ping_response(true);
    let (mut connect, mut error) = (None, None);
    let packet = if version == Version::V5 { without_aliases(packet) } else { packet.into() };
    for event in books.recv(&mut Cursor::new(&packet)) {
        match event {
            Event::NotifyPacketReceived(packet) => connect = Some(packet),
            Event::NotifyError(why) => error = Some(why),
            _ => {}
        }
    }
    let (hello, most) = match connect {
        Some(Packet::V3_1_1Connect(connect)) => (hello(&connect).map_err(unfit)?, MAX_PACKET),
        Some(Packet::V5_0Connect(connect)) => hello_5(&connect).map_err(unfit)?,
        _ => return Err(unfit(error.unwrap_or(MqttError::MalformedPacket))),
    };
    let wants_session = hello.expiry_s.is_some();
    let protocol = Protocol {
        books,
        version,
        most,
        wants_session,
        storing: Vec::new(),
        unreleased: BTreeSet::new(),
        sent: Vec::new(),
        is_speechless: false,
        last_topic: None,
    };
    Ok((protocol, hello))
}

/// The version that a first packet asks for, if it is one that is spoken here.
fn version(packet: &[u8]) -> Result<Version, Unfit> {
    if packet[0] != CONNECT {
        return Err(Unfit(Vec::new()));
    }
    let body = body(packet);
    let level = match body.strip_prefix(b"\0\x04MQTT") {
        Some(rest) => rest.first().copied(),
        // MQTT 3.1, before it was a standard.
        None => body.starts_with(b"\0\x06MQIsdp").then_some(3),
    };
    match level {
        Some(4) => Ok(Version::V3),
        Some(5) => Ok(Version::V5),
        Some(..4) => Err(Unfit(vec![0x20, 2, 0, ConnectReturnCode::UnacceptableProtocolVersion as u8])),
        Some(_) => Err(Unfit(vec![0x20, 3, 0, ConnectReasonCode::UnsupportedProtocolVersion as u8, 0])),
        None => Err(Unfit(Vec::new())),
    }
}

/// What a malformed CONNECT is told. MQTT 3.1.1 has no word for most of it.
fn rejection(version: Version, error: MqttError) -> Vec<u8> {
    let reason = match error {
        MqttError::ClientIdentifierNotValid => ConnectReasonCode::ClientIdentifierNotValid,
        MqttError::BadUserNameOrPassword | MqttError::MalformedPacket => ConnectReasonCode::MalformedPacket,
        MqttError::TopicNameInvalid => ConnectReasonCode::TopicNameInvalid,
        MqttError::BadAuthenticationMethod => ConnectReasonCode::BadAuthenticationMethod,
        _ => ConnectReasonCode::ProtocolError,
    };
    match version {
        Version::V5 => vec![0x20, 3, 0, reason as u8, 0],
        Version::V3 if error == MqttError::ClientIdentifierNotValid => {
            vec![0x20, 2, 0, ConnectReturnCode::IdentifierRejected as u8]
        }
        Version::V3 => Vec::new(),
    }
}

/// A CONNECT of MQTT 5 whose client takes one alias, if it has said how many. mqtt-protocol-core makes a table of them, and
/// cannot make one of none. No alias is sent to a client.
fn without_aliases(packet: &[u8]) -> Cow<'_, [u8]> {
    // The name of the protocol, its level, the flags and the keep alive; then the length of the properties.
    let properties = body(packet).get(10..).and_then(|rest| {
        let length = rest.iter().take_while(|byte| **byte & 0x80 != 0).count() + 1;
        rest.get(length..)
    });
    let Some(properties) = properties else { return packet.into() };
    let Some(place) = checks::property(properties, TOPIC_ALIAS_MAXIMUM) else { return packet.into() };
    let place = packet.len() - properties.len() + place;
    let mut packet = packet.to_vec();
    if let Some(maximum) = packet.get_mut(place..place + 2) {
        maximum.copy_from_slice(&[0, 1]);
    }
    packet.into()
}

/// Puts into a CONNACK, whose first property it is, the Receive Maximum that a client is told.
fn tell_receive_maximum(connack: &mut [u8]) {
    // The flags, the reason, and the length of the properties.
    let properties = body(connack).get(2..).and_then(|rest| {
        let length = rest.iter().take_while(|byte| **byte & 0x80 != 0).count() + 1;
        rest.get(length..)
    });
    let Some(properties) = properties else { return };
    let Some(place) = checks::property(properties, RECEIVE_MAXIMUM) else { return };
    let place = connack.len() - properties.len() + place;
    if let Some(maximum) = connack.get_mut(place..place + 2) {
        maximum.copy_from_slice(&UNDER_WAY.to_be_bytes());
    }
}

/// Looks at CONNECT's flags: what is reserved is 0, and there are no options of a will that does not exist.
fn flags(packet: &[u8]) -> Result<(), MqttError> {
    let flags = body(packet).get(7).copied().ok_or(MqttError::MalformedPacket)?;
    let (will, will_options) = (flags & 0b100 != 0, flags & 0b11_1000);
    let allowed = flags & 1 == 0 && (will || will_options == 0) && will_options & 0b1_1000 != 0b1_1000;
    if allowed { Ok(()) } else { Err(MqttError::MalformedPacket) }
}

fn hello(connect: &v3_1_1::Connect) -> Result<Hello, MqttError> {
    if connect.client_id().is_empty() && !connect.clean_session() {
        return Err(MqttError::ClientIdentifierNotValid);
    }
    texts([Some(connect.client_id()), connect.user_name()])?;
    let will = will(connect.will_topic(), connect.will_payload(), 0)?;
    Ok(Hello {
        client_id: connect.client_id().to_owned(),
        keep_alive: keep_alive(connect.keep_alive()),
        username: connect.user_name().map(str::to_owned),
        password: connect.password().map(<[u8]>::to_vec),
        will,
        // MQTT 3.1.1 sets no end to a session.
        expiry_s: (!connect.clean_session()).then_some(u32::MAX),
        starts_clean: connect.clean_session(),
    })
}

/// The same of MQTT 5, with the largest packet that the client takes.
fn hello_5(connect: &v5_0::Connect) -> Result<(Hello, usize), MqttError> {
    texts([Some(connect.client_id()), connect.user_name()])?;
    let delay_s = connect.will_props().iter().find_map(|property| match property {
        Property::WillDelayInterval(seconds) => Some(seconds.val()),
        _ => None,
    });
    let will = will(connect.will_topic(), connect.will_payload(), delay_s.unwrap_or_default())?;
    let (mut most, mut expiry_s) = (MAX_PACKET, None);
    for property in connect.props() {
        match property {
            Property::MaximumPacketSize(size) => most = usize::try_from(size.val()).unwrap_or(MAX_PACKET),
            Property::SessionExpiryInterval(seconds) => {
                expiry_s = Some(seconds.val()).filter(|seconds| *seconds > 0);
            }
            Property::AuthenticationMethod(_) => return Err(MqttError::BadAuthenticationMethod),
            Property::AuthenticationData(_) => return Err(MqttError::ProtocolError),
            _ => {}
        }
    }
    let hello = Hello {
        client_id: connect.client_id().to_owned(),
        keep_alive: keep_alive(connect.keep_alive()),
        username: connect.user_name().map(str::to_owned),
        password: connect.password().map(<[u8]>::to_vec),
        will,
        expiry_s,
        starts_clean: connect.clean_start(),
    };
    Ok((hello, most))
}

fn keep_alive(seconds: u16) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(seconds.into()))
}

/// No text may have a NUL.
fn texts(texts: [Option<&str>; 2]) -> Result<(), MqttError> {
    let clean = texts.into_iter().flatten().all(|text| !text.contains('\0'));
    if clean { Ok(()) } else { Err(MqttError::MalformedPacket) }
}

/// A will has a valid topic name. Whether its client may use that topic is decided later.
fn will(topic: Option<&str>, payload: Option<&[u8]>, delay_s: u32) -> Result<Option<Will>, MqttError> {
    let Some(topic) = topic else { return Ok(None) };
    checks::topic(topic).map_err(|_| MqttError::TopicNameInvalid)?;
    let payload = payload.unwrap_or_default().to_vec();
    Ok(Some(Will { topic: topic.to_owned(), payload, delay_s }))
}

impl Protocol {
    /// Lets the client in, under the id that the server has `assigned` to it if it said none.
    pub fn accept(&mut self, session: Option<Granted>, assigned: Option<&str>, out: &mut Vec<u8>) {
        let is_present = session.is_some_and(|session| session.is_present);
        if self.version == Version::V3 {
            let connack = v3_1_1::Connack::builder().session_present(is_present);
            return self.answer(connack.return_code(ConnectReturnCode::Accepted).build(), out);
        }
        let properties = || -> Result<Vec<Property>, MqttError> {
            let mut properties: Vec<Property> = vec![
                ReceiveMaximum::new(ENFORCED)?.into(),
                TopicAliasMaximum::new(TOPIC_ALIASES)?.into(),
                RetainAvailable::new(0)?.into(),
                WildcardSubscriptionAvailable::new(0)?.into(),
                SharedSubscriptionAvailable::new(0)?.into(),
            ];
            if let Some(session) = session.filter(|session| session.expiry_s > 0) {
                properties.push(SessionExpiryInterval::new(session.expiry_s)?.into());
            }
            if let Some(assigned) = assigned {
                properties.push(AssignedClientIdentifier::new(assigned)?.into());
            }
            Ok(properties)
        };
        let connack = properties().and_then(|properties| {
            let connack = v5_0::Connack::builder().session_present(is_present).props(properties);
            connack.reason_code(ConnectReasonCode::Success).build()
        });
        let before = out.len();
        self.answer(connack, out);
        tell_receive_maximum(&mut out[before..]);
    }

    /// Says why the client is not let in. The connection is over then.
    pub fn refuse(&mut self, refusal: Refusal, out: &mut Vec<u8>) {
        let (code, reason, why) = match refusal {
            Refusal::BadCredentials => (
                ConnectReturnCode::BadUserNameOrPassword,
                ConnectReasonCode::BadUserNameOrPassword,
                "the user name or the password is wrong",
            ),
            Refusal::NoCredentials => (
                ConnectReturnCode::NotAuthorized,
                ConnectReasonCode::NotAuthorized,
                "a user name and a password are needed",
            ),
            Refusal::Unavailable => (
                ConnectReturnCode::ServerUnavailable,
                ConnectReasonCode::ServerUnavailable,
                "the database does not answer now",
            ),
        };
        if self.version == Version::V3 {
            let connack = v3_1_1::Connack::builder().session_present(false).return_code(code);
            return self.answer(connack.build(), out);
        }
        let connack = ReasonString::new(why).and_then(|why| {
            let connack = v5_0::Connack::builder().session_present(false).reason_code(reason);
            connack.props(vec![why.into()]).build()
        });
        self.answer(connack, out);
    }
}
