//! A connection to a broker, MQTT 5, with its two directions apart: neither ever waits for the other.
//!
//! rumqttc's event loop sends one acknowledgement for each nine messages that it reads, with a system call each, and
//! pings only while it reads. Under load acknowledgements then fall behind by tens of thousands, and whoever holds the
//! reading back lets the connection die. So this takes only rumqttc's packets, and writes as many at once as there are.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::v5::mqttbytes;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, Connect, ConnectReturnCode, Disconnect, DisconnectReasonCode, Packet, PingReq,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use crate::url::Url;

/// How often a ping is sent. Its answer is a packet, so a reader that hears nothing for longer than twice this knows
/// that the connection is dead.
const PING_EVERY: Duration = Duration::from_secs(20);
/// How long a broker may be silent, or take nothing from us.
const SILENCE: Duration = Duration::from_secs(50);
/// The keep-alive that is promised to the broker, in seconds.
const KEEP_ALIVE: u16 = 60;
/// How long connecting may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The largest packet that the broker may send, in bytes. It must drop larger ones.
pub const MAX_PACKET: u32 = 1 << 20;

/// Why there is no connection, or none any more.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The network says so.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Nothing was heard in time.
    #[error("the broker is silent")]
    Silent,
    /// What came was no MQTT 5.
    #[error("the broker sent what is not MQTT 5: {0}")]
    Malformed(#[from] mqttbytes::Error),
    /// The broker does not let us in.
    #[error("the broker refused the connection: {0:?}")]
    Refused(ConnectReturnCode),
    /// The broker ended it.
    #[error("the broker disconnected: {0:?}")]
    Disconnected(DisconnectReasonCode),
    /// The broker closed the connection without a word.
    #[error("the broker closed the connection")]
    Closed,
    /// The broker sent a packet that has no place here.
    #[error("the broker sent an unexpected packet: {0}")]
    Unexpected(&'static str),
}

/// What the broker grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granted {
    /// How many messages may be sent ahead of their acknowledgements.
    pub receive_maximum: u16,
    /// How often to [`Writer::ping`].
    pub ping_every: Duration,
}

/// What the broker sends.
pub struct Reader {
    stream: OwnedReadHalf,
    buffer: BytesMut,
}

/// What is sent to the broker.
pub struct Writer {
    stream: OwnedWriteHalf,
    buffer: BytesMut,
}

/// Connects and logs in; returns the connection and what the broker grants.
pub async fn open(url: &Url, mut connect: Connect) -> Result<(Reader, Writer, Granted), Error> {
    let open = async {
        let stream = TcpStream::connect((url.host(), url.port)).await?;
        stream.set_nodelay(true)?;
        let (reading, writing) = stream.into_split();
        let mut reader = Reader { stream: reading, buffer: BytesMut::with_capacity(64 << 10) };
        let mut writer = Writer { stream: writing, buffer: BytesMut::new() };
        connect.keep_alive = KEEP_ALIVE;
        writer.put(&Packet::Connect(connect, None, url.login()))?;
        writer.flush().await?;
        match reader.next().await? {
            Packet::ConnAck(connack) if connack.code == ConnectReturnCode::Success => {
                Ok((reader, writer, Granted::from(&connack)))
            }
            Packet::ConnAck(connack) => Err(Error::Refused(connack.code)),
            _ => Err(Error::Unexpected("no CONNACK")),
        }
    };
    timeout(PATIENCE, open).await.map_err(|_| Error::Silent)?
}

impl From<&ConnAck> for Granted {
    fn from(connack: &ConnAck) -> Self {
        let properties = connack.properties.as_ref();
        let keep_alive = properties.and_then(|properties| properties.server_keep_alive);
        let ping_every = keep_alive.map(|seconds| Duration::from_secs(u64::from(seconds)) / 2);
        Self {
            receive_maximum: properties.and_then(|properties| properties.receive_max).unwrap_or(u16::MAX),
            // A keep-alive of 0 is none at all.
            ping_every: ping_every.filter(|every| !every.is_zero()).unwrap_or(PING_EVERY).min(PING_EVERY),
        }
    }
}

impl Reader {
    /// The next packet. Dropping the call loses nothing.
    pub async fn next(&mut self) -> Result<Packet, Error> {
        loop {
            match Packet::read(&mut self.buffer, Some(MAX_PACKET)) {
                Ok(Packet::Disconnect(farewell)) => return Err(Error::Disconnected(farewell.reason_code)),
                Ok(packet) => return Ok(packet),
                Err(mqttbytes::Error::InsufficientBytes(more)) => self.buffer.reserve(more.max(8 << 10)),
                Err(error) => return Err(error.into()),
            }
            let read = timeout(SILENCE, self.stream.read_buf(&mut self.buffer)).await;
            if read.map_err(|_| Error::Silent)?? == 0 {
                return Err(Error::Closed);
            }
        }
    }
}

impl Writer {
    /// Adds a packet to what the next [`Writer::flush`] sends.
    pub fn put(&mut self, packet: &Packet) -> Result<(), Error> {
        packet.write(&mut self.buffer, None)?;
        Ok(())
    }

    /// Sends what was put. Where the call is dropped, the next one goes on.
    pub async fn flush(&mut self) -> Result<(), Error> {
        while !self.buffer.is_empty() {
            let written = timeout(SILENCE, self.stream.write_buf(&mut self.buffer)).await;
            if written.map_err(|_| Error::Silent)?? == 0 {
                return Err(Error::Closed);
            }
        }
        Ok(())
    }

    /// Shows the broker that this end is alive.
    pub async fn ping(&mut self) -> Result<(), Error> {
        self.put(&Packet::PingReq(PingReq))?;
        self.flush().await
    }

    /// Takes leave. The broker keeps a session that is to be kept.
    pub async fn disconnect(mut self) -> Result<(), Error> {
        self.put(&Packet::Disconnect(Disconnect::new(DisconnectReasonCode::NormalDisconnection)))?;
        self.flush().await
    }
}
