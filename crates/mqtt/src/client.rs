//! A connection to a broker, MQTT 5. Reading and writing are separate, so that neither waits for the other.
//!
//! rumqttc's event loop sends one acknowledgement for each nine messages that it reads, with a system call each, and
//! pings only while it reads. Under load its acknowledgements fall behind by tens of thousands, and a caller that stops
//! reading lets the connection die. So this client uses only rumqttc's packets, and writes all waiting packets at once.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::v5::mqttbytes;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, Connect, ConnectReturnCode, Disconnect, DisconnectReasonCode, Packet, PingReq,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::url::Url;

/// How often to ping. The broker answers each ping, so a reader that hears nothing for more than twice this time knows
/// that the connection is dead.
const PING_EVERY: Duration = Duration::from_secs(20);
/// How long the broker may send nothing, or accept nothing, before the connection counts as dead.
const SILENCE: Duration = Duration::from_secs(50);
/// The keep-alive in CONNECT, in seconds.
const KEEP_ALIVE: u16 = 60;
/// How long connecting may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many bytes are read at once, at first and at most.
const AT_ONCE: (usize, usize) = (2 << 10, 64 << 10);
/// The largest packet that the broker may send, in bytes. The broker must drop larger ones.
pub const MAX_PACKET: u32 = 1 << 20;

/// Why a connection failed or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A network error.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A file with a certificate or a key cannot be used.
    #[error(transparent)]
    Certificate(#[from] fleetlog_tls::Error),
    /// The broker and this client do not agree on TLS: most often the broker's certificate is of an authority that is not
    /// trusted, or for another name.
    #[error("TLS with the broker failed: {0}")]
    Tls(io::Error),
    /// The broker sent nothing, or accepted nothing, in time.
    #[error("the broker is silent")]
    Silent,
    /// The broker sent bytes that are not MQTT 5.
    #[error("the broker sent bytes that are not MQTT 5: {0}")]
    Malformed(#[from] mqttbytes::Error),
    /// The broker refused the CONNECT.
    #[error("the broker refused the connection: {0:?}")]
    Refused(ConnectReturnCode),
    /// The broker sent DISCONNECT.
    #[error("the broker disconnected: {0:?}")]
    Disconnected(DisconnectReasonCode),
    /// Another client has connected with the same client id.
    #[error(
        "another client has taken over the session of this client id; name another one (--mqtt-client-id), or start all nodes with --mqtt-takeover"
    )]
    TakenOver,
    /// The broker closed the connection without DISCONNECT.
    #[error("the broker closed the connection")]
    Closed,
    /// The broker sent a packet of a type that is not allowed at this point.
    #[error("the broker sent an unexpected packet: {0}")]
    Unexpected(&'static str),
}

/// What the broker grants in CONNACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granted {
    /// The most unacknowledged messages that may be sent.
    pub receive_maximum: u16,
    /// How often to call [`Writer::ping`].
    pub ping_every: Duration,
}

/// The reading half of a connection.
pub struct Reader {
    stream: Box<dyn AsyncRead + Send + Unpin>,
    buffer: BytesMut,
    /// How many bytes are read at once. It grows with what comes: a device gets little, a subscriber much.
    at_once: usize,
}

/// The writing half of a connection.
pub struct Writer {
    stream: Box<dyn AsyncWrite + Send + Unpin>,
    buffer: BytesMut,
}

/// Connects and logs in. Returns both halves of the connection and what the broker grants.
pub async fn open(url: &Url, mut connect: Connect) -> Result<(Reader, Writer, Granted), Error> {
    let open = async {
        let (mut reader, mut writer) = connect_to(url).await?;
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

async fn connect_to(url: &Url) -> Result<(Reader, Writer), Error> {
    let stream = TcpStream::connect((url.host(), url.port)).await?;
    stream.set_nodelay(true)?;
    let Some(tls) = url.tls() else {
        let (reading, writing) = stream.into_split();
        return Ok(halves(reading, writing));
    };
    let name =
        ServerName::try_from(url.host().to_owned()).map_err(|error| Error::Tls(io::Error::other(error)))?;
    // The files are read again for each connection: a certificate that is replaced is used by the next one.
    let tls = tls.clone();
    let config = tokio::task::spawn_blocking(move || tls.config()).await.map_err(io::Error::other)??;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(Error::Tls)?;
    let (reading, writing) = split(stream);
    Ok(halves(reading, writing))
}

fn halves(
    reading: impl AsyncRead + Send + Unpin + 'static,
    writing: impl AsyncWrite + Send + Unpin + 'static,
) -> (Reader, Writer) {
    (
        Reader { stream: Box::new(reading), buffer: BytesMut::new(), at_once: AT_ONCE.0 },
        Writer { stream: Box::new(writing), buffer: BytesMut::new() },
    )
}

impl From<&ConnAck> for Granted {
    fn from(connack: &ConnAck) -> Self {
        let properties = connack.properties.as_ref();
        let keep_alive = properties.and_then(|properties| properties.server_keep_alive);
        let ping_every = keep_alive.map(|seconds| Duration::from_secs(u64::from(seconds)) / 2);
        Self {
            receive_maximum: properties.and_then(|properties| properties.receive_max).unwrap_or(u16::MAX),
            // A keep-alive of 0 means that there is none.
            ping_every: ping_every.filter(|every| !every.is_zero()).unwrap_or(PING_EVERY).min(PING_EVERY),
        }
    }
}

impl Reader {
    /// The next packet. Cancel-safe: dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Packet, Error> {
        loop {
            match Packet::read(&mut self.buffer, Some(MAX_PACKET)) {
                Ok(Packet::Disconnect(farewell)) => {
                    return Err(match farewell.reason_code {
                        DisconnectReasonCode::SessionTakenOver => Error::TakenOver,
                        other => Error::Disconnected(other),
                    });
                }
                Ok(packet) => return Ok(packet),
                Err(mqttbytes::Error::InsufficientBytes(more)) => self.buffer.reserve(more.max(self.at_once)),
                Err(error) => return Err(error.into()),
            }
            let read = timeout(SILENCE, self.stream.read_buf(&mut self.buffer)).await;
            match read.map_err(|_| Error::Silent)?? {
                0 => return Err(Error::Closed),
                read if read >= self.at_once => self.at_once = (self.at_once * 2).min(AT_ONCE.1),
                _ => {}
            }
        }
    }
}

impl Writer {
    /// Queues a packet for the next [`Writer::flush`].
    pub fn put(&mut self, packet: &Packet) -> Result<(), Error> {
        packet.write(&mut self.buffer, None)?;
        Ok(())
    }

    /// Sends the queued packets. Cancel-safe: after a dropped call the next one continues.
    pub async fn flush(&mut self) -> Result<(), Error> {
        while !self.buffer.is_empty() {
            let written = timeout(SILENCE, self.stream.write_buf(&mut self.buffer)).await;
            if written.map_err(|_| Error::Silent)?? == 0 {
                return Err(Error::Closed);
            }
        }
        // TLS may still hold what was written.
        timeout(SILENCE, self.stream.flush()).await.map_err(|_| Error::Silent)??;
        Ok(())
    }

    /// Sends a PINGREQ, which shows the broker that this client is alive.
    pub async fn ping(&mut self) -> Result<(), Error> {
        self.put(&Packet::PingReq(PingReq))?;
        self.flush().await
    }

    /// Disconnects. The broker keeps a persistent session.
    pub async fn disconnect(mut self) -> Result<(), Error> {
        self.put(&Packet::Disconnect(Disconnect::new(DisconnectReasonCode::NormalDisconnection)))?;
        self.flush().await?;
        Ok(timeout(SILENCE, self.stream.shutdown()).await.map_err(|_| Error::Silent)??)
    }
}
