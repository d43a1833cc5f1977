//! A device that speaks MQTT byte by byte, so that a test decides what is sent and sees all that comes back.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// MQTT 3.1.1.
pub(crate) const V4: u8 = 4;
/// MQTT 5.
pub(crate) const V5: u8 = 5;

/// Longer than anything takes that works.
const LIMIT: Duration = Duration::from_secs(20);

/// A connection, as seen by the device.
pub(crate) struct Device {
    stream: TcpStream,
    version: u8,
    /// Messages that arrived while an acknowledgement was awaited.
    early: VecDeque<Vec<u8>>,
}

impl Device {
    fn new(stream: TcpStream, version: u8) -> Self {
        Self { stream, version, early: VecDeque::new() }
    }

    /// Opens a TCP connection, and sends nothing.
    pub(crate) async fn dial(address: SocketAddr, version: u8) -> Self {
        Self::new(TcpStream::connect(address).await.expect("connect"), version)
    }

    /// Opens a TCP connection from this address.
    pub(crate) async fn dial_from(from: Ipv4Addr, address: SocketAddr, version: u8) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((from, 0).into()).expect("an address of loopback");
        Self::new(socket.connect(address).await.expect("connect"), version)
    }

    /// Sends as much as is taken without waiting.
    pub(crate) fn send_what_is_taken(&mut self, mut bytes: &[u8]) {
        while let Ok(sent @ 1..) = self.stream.try_write(bytes) {
            bytes = &bytes[sent..];
        }
    }

    /// Connects, and expects success.
    pub(crate) async fn connect(address: SocketAddr, version: u8, client_id: &str) -> Self {
        let mut device = Self::dial(address, version).await;
        device.send(&connect(version, client_id, None)).await;
        let connack = device.packet().await.expect("CONNACK");
        assert_eq!((connack[0], connack[3]), (0x20, 0), "accepted");
        device
    }

    /// Connects with a user name and a password. Returns the code of a refusal.
    pub(crate) async fn log_in(
        address: SocketAddr,
        version: u8,
        client_id: &str,
        login: Option<(&str, &str)>,
    ) -> Result<Self, u8> {
        let mut device = Self::dial(address, version).await;
        device.send(&connect_as(version, client_id, login, None)).await;
        let connack = device.packet().await.expect("CONNACK");
        assert_eq!(connack[0], 0x20, "CONNACK: {connack:02x?}");
        if connack[3] == 0 { Ok(device) } else { Err(connack[3]) }
    }

    /// Requests a subscription with `QoS` 1. Returns the code of the answer.
    pub(crate) async fn ask_for(&mut self, filter: &str) -> Option<u8> {
        let request = subscribe(self.version, 9, filter);
        self.send(&request).await;
        let suback = self.packet().await?;
        assert_eq!(suback[0], 0x90, "SUBACK: {suback:02x?}");
        suback.last().copied()
    }

    /// Accepts a client's connection: the test is the broker.
    pub(crate) async fn accept(listener: &TcpListener) -> Self {
        let accepted = tokio::time::timeout(LIMIT, listener.accept()).await.expect("a client");
        Self::new(accepted.expect("accept").0, V5)
    }

    /// Connects as some client, and says whether the server has no room for it.
    pub(crate) async fn refused(mut self) -> bool {
        self.send(&connect(self.version, "another", None)).await;
        self.packet().await.is_none()
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        // If the other side has closed the connection, the next read notices it.
        let _ = self.stream.write_all(bytes).await;
    }

    pub(crate) async fn publish(&mut self, qos: u8, id: u16, topic: &str, payload: impl AsRef<[u8]>) {
        self.send(&publish(self.version, qos, id, topic.as_bytes(), payload.as_ref())).await;
    }

    /// The next packet, with its header; `None` if the connection is closed.
    pub(crate) async fn packet(&mut self) -> Option<Vec<u8>> {
        tokio::time::timeout(LIMIT, self.read()).await.expect("a packet or the end")
    }

    async fn read(&mut self) -> Option<Vec<u8>> {
        let mut packet = vec![self.stream.read_u8().await.ok()?];
        let mut length = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.stream.read_u8().await.ok()?;
            packet.push(byte);
            length |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let header = packet.len();
        packet.resize(header + length, 0);
        self.stream.read_exact(&mut packet[header..]).await.ok()?;
        Some(packet)
    }

    /// Subscribes with `QoS` 1, and expects success.
    pub(crate) async fn subscribe(&mut self, filter: &str) {
        let properties: &[u8] = if self.version == V5 { &[0] } else { &[] };
        let body = [&[0, 9][..], properties, &string(filter.as_bytes()), &[1]].concat();
        self.send(&packet(0x82, &body)).await;
        let suback = self.packet().await.expect("SUBACK");
        assert_eq!((suback[0], suback.last()), (0x90, Some(&1)), "granted: {suback:02x?}");
    }

    /// Reads a message of `QoS` 1, acknowledges it and returns its payload.
    pub(crate) async fn message(&mut self) -> Vec<u8> {
        self.topic_and_message().await.1
    }

    /// Reads a message like [`Device::message`], and returns its topic, too.
    pub(crate) async fn topic_and_message(&mut self) -> (String, Vec<u8>) {
        tokio::time::timeout(LIMIT, self.topic_and_message_or_wait()).await.expect("a message")
    }

    /// Reads a message like [`Device::message`], however long it takes.
    pub(crate) async fn message_or_wait(&mut self) -> Vec<u8> {
        self.topic_and_message_or_wait().await.1
    }

    /// Reads a message like [`Device::message_or_wait`], and returns its topic, too.
    pub(crate) async fn topic_and_message_or_wait(&mut self) -> (String, Vec<u8>) {
        let packet = match self.early.pop_front() {
            Some(packet) => packet,
            None => self.read().await.expect("PUBLISH"),
        };
        assert_eq!(packet[0] & 0xf6, 0x32, "PUBLISH of QoS 1: {packet:02x?}");
        let header = 1 + packet[1..].iter().take_while(|byte| **byte & 0x80 != 0).count() + 1;
        let id = header + 2 + usize::from(u16::from_be_bytes([packet[header], packet[header + 1]]));
        let properties = if self.version == V5 { 1 + usize::from(packet[id + 2]) } else { 0 };
        self.send(&[0x40, 2, packet[id], packet[id + 1]]).await;
        let topic = String::from_utf8(packet[header + 2..id].to_vec()).expect("UTF-8");
        (topic, packet[id + 2 + properties..].to_vec())
    }

    /// Reads an acknowledgement, and returns its packet id.
    pub(crate) async fn puback(&mut self) -> u16 {
        acknowledged(&self.packet().await.expect("PUBACK"))
    }

    /// Publishes with `QoS` 1, and waits for the acknowledgement. Messages that arrive before it are kept.
    pub(crate) async fn report(&mut self, topic: &str, payload: impl AsRef<[u8]>) {
        self.publish(1, 1, topic, payload).await;
        let mut packet = self.packet().await.expect("PUBACK");
        while packet[0] & 0xf0 == 0x30 {
            self.early.push_back(packet);
            packet = self.packet().await.expect("PUBACK");
        }
        assert_eq!(acknowledged(&packet), 1);
    }

    /// Sends all of this and nothing more, and reads to the end of the connection.
    pub(crate) async fn say_all(self, bytes: &[u8]) {
        let (mut reading, mut writing) = self.stream.into_split();
        let mut answers = vec![];
        let say = async {
            // The server may have closed the connection before the end.
            let _ = writing.write_all(bytes).await;
            let _ = writing.shutdown().await;
        };
        let hear = tokio::time::timeout(LIMIT, reading.read_to_end(&mut answers));
        let ((), heard) = tokio::join!(say, hear);
        // A connection that was reset has ended, too.
        let _ = heard.expect("the end");
    }

    /// Whether all that has arrived was read.
    pub(crate) fn is_silent(&self) -> bool {
        let mut byte = [0];
        self.early.is_empty()
            && matches!(self.stream.try_read(&mut byte), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    }

    /// All packets up to the end of the connection.
    pub(crate) async fn last_words(&mut self) -> Vec<Vec<u8>> {
        let mut words = Vec::new();
        while let Some(packet) = self.packet().await {
            words.push(packet);
        }
        words
    }
}

/// The packet id of an acknowledgement.
fn acknowledged(packet: &[u8]) -> u16 {
    assert_eq!(packet[0], 0x40, "PUBACK: {packet:02x?}");
    u16::from_be_bytes([packet[2], packet[3]])
}

/// A packet with this first byte and this body.
pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut length = body.len();
    loop {
        let byte = (length % 128) as u8;
        length /= 128;
        packet.push(byte | if length > 0 { 0x80 } else { 0 });
        if length == 0 {
            break;
        }
    }
    packet.extend_from_slice(body);
    packet
}

pub(crate) fn string(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes(), text].concat()
}

/// A clean CONNECT with a keep-alive of a minute and, if given, a will of `QoS` 1.
pub(crate) fn connect(version: u8, client_id: &str, will: Option<(&str, &[u8])>) -> Vec<u8> {
    connect_as(version, client_id, None, will)
}

/// A CONNECT like [`connect`]'s, with a user name and a password.
pub(crate) fn connect_as(
    version: u8,
    client_id: &str,
    login: Option<(&str, &str)>,
    will: Option<(&str, &[u8])>,
) -> Vec<u8> {
    let properties: &[u8] = if version == V5 { &[0] } else { &[] };
    let login_flags = if login.is_some() { 0b1100_0000 } else { 0 };
    let flags = 0b10 | login_flags | if will.is_some() { 0b1100 } else { 0 };
    let mut body =
        [&string(b"MQTT")[..], &[version, flags, 0, 60], properties, &string(client_id.as_bytes())].concat();
    if let Some((topic, payload)) = will {
        body.extend([properties, &string(topic.as_bytes()), &string(payload)].concat());
    }
    if let Some((username, password)) = login {
        body.extend([string(username.as_bytes()), string(password.as_bytes())].concat());
    }
    packet(0x10, &body)
}

/// A clean CONNECT with a user name, and a password only if one is given.
pub(crate) fn connect_named(version: u8, client_id: &str, username: &str, password: Option<&str>) -> Vec<u8> {
    let properties: &[u8] = if version == V5 { &[0] } else { &[] };
    let flags = 0b1000_0010 | if password.is_some() { 0b100_0000 } else { 0 };
    let texts = [client_id, username].into_iter().chain(password);
    let texts: Vec<u8> = texts.flat_map(|text| string(text.as_bytes())).collect();
    packet(0x10, &[&string(b"MQTT")[..], &[version, flags, 0, 60], properties, &texts].concat())
}

/// A CONNECT with these flags, whose session is kept for so long with MQTT 5.
pub(crate) fn connect_kept(version: u8, client_id: &str, flags: u8, expiry_s: u32) -> Vec<u8> {
    let expiry = [&[5, 0x11][..], &expiry_s.to_be_bytes()].concat();
    let properties: &[u8] = if version == V5 { &expiry } else { &[] };
    packet(
        0x10,
        &[&string(b"MQTT")[..], &[version, flags, 0, 60], properties, &string(client_id.as_bytes())].concat(),
    )
}

/// A PUBLISH of any `QoS` up to 3.
pub(crate) fn publish(version: u8, qos: u8, id: u16, topic: &[u8], payload: &[u8]) -> Vec<u8> {
    let id = if qos == 0 { Vec::new() } else { id.to_be_bytes().to_vec() };
    let properties: &[u8] = if version == V5 { &[0] } else { &[] };
    packet(0x30 | qos << 1, &[&string(topic)[..], &id, properties, payload].concat())
}

/// The topic, packet id and payload of an MQTT 5 PUBLISH with `QoS` 1. `None` for any other packet.
pub(crate) fn published(packet: &[u8]) -> Option<(String, u16, Vec<u8>)> {
    if packet[0] & 0xf6 != 0x32 {
        return None;
    }
    let header = 2 + packet[1..].iter().take_while(|byte| **byte & 0x80 != 0).count();
    let (length, rest) = packet[header..].split_first_chunk().expect("a length");
    let (topic, rest) = rest.split_at(u16::from_be_bytes(*length).into());
    let (id, rest) = rest.split_first_chunk().expect("a packet id");
    let payload = rest.strip_prefix(&[0]).expect("no properties");
    Some((String::from_utf8_lossy(topic).into(), u16::from_be_bytes(*id), payload.to_vec()))
}

/// A SUBSCRIBE with `QoS` 1.
pub(crate) fn subscribe(version: u8, id: u16, filter: &str) -> Vec<u8> {
    let properties: &[u8] = if version == V5 { &[0] } else { &[] };
    packet(0x82, &[&id.to_be_bytes()[..], properties, &string(filter.as_bytes()), &[1]].concat())
}
