//! A client of WebSocket that sends frames byte by byte, and a bridge over which a [`Device`](super::mqtt::Device) speaks through
//! one.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The key and its answer in RFC 6455, 1.3.
const KEY: (&str, &str) = ("dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
/// The first bytes of frames: the only one of its message.
pub(crate) const BINARY: u8 = 0x82;
pub(crate) const TEXT: u8 = 0x81;
pub(crate) const CLOSE: u8 = 0x88;
pub(crate) const PING: u8 = 0x89;
pub(crate) const PONG: u8 = 0x8a;

/// A WebSocket, as its client sees it.
pub(crate) struct Socket<S = TcpStream>(pub(crate) S);

/// The headers with which MQTT's clients open one.
pub(crate) fn handshake() -> Vec<(&'static str, &'static str)> {
    vec![
        ("host", "localhost"),
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", KEY.0),
        ("sec-websocket-protocol", "mqtt"),
    ]
}

/// Asks for a WebSocket, and returns the head of the answer.
pub(crate) async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    headers: &[(&str, &str)],
) -> String {
    let lines: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    stream.write_all(format!("GET /mqtt HTTP/1.1\r\n{}\r\n", lines.concat()).as_bytes()).await.expect("sent");
    let mut head = vec![];
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("an answer"));
    }
    String::from_utf8(head).expect("UTF-8").to_lowercase()
}

impl Socket {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        Self::open_over(TcpStream::connect(address).await.expect("connect"), &handshake()).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    pub(crate) async fn open_over(mut stream: S, headers: &[(&str, &str)]) -> Self {
        let head = ask(&mut stream, headers).await;
        assert!(head.starts_with("http/1.1 101 "), "{head}");
        for said in ["sec-websocket-protocol: mqtt\r\n", &format!("accept: {}\r\n", KEY.1.to_lowercase())] {
            assert!(head.contains(said), "{head}");
        }
        Self(stream)
    }

    /// Sends MQTT in one frame.
    pub(crate) async fn send(&mut self, mqtt: &[u8]) {
        self.frame(BINARY, mqtt).await;
    }

    /// Sends a frame with this first byte.
    pub(crate) async fn frame(&mut self, first: u8, payload: &[u8]) {
        self.bytes(&frame(first, payload)).await;
    }

    pub(crate) async fn bytes(&mut self, bytes: &[u8]) {
        // If the other side has closed the connection, the next read notices it.
        let _ = self.0.write_all(bytes).await;
    }

    /// The next frame: its first byte and its payload. `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        tokio::time::timeout(super::LIMIT, self.read()).await.expect("a frame or the end").ok()
    }

    async fn read(&mut self) -> io::Result<(u8, Vec<u8>)> {
        read(&mut self.0).await
    }

    /// The payload of the next frame, which is MQTT.
    pub(crate) async fn mqtt(&mut self) -> Vec<u8> {
        let (first, payload) = self.next().await.expect("a frame");
        assert_eq!(first, BINARY, "{payload:02x?}");
        payload
    }

    /// The code of the server's farewell. What it says before is passed over.
    pub(crate) async fn farewell(&mut self) -> Option<u16> {
        while let Some((first, payload)) = self.next().await {
            if first == CLOSE {
                assert_eq!(self.next().await, None, "nothing comes after it");
                return Some(u16::from_be_bytes([payload[0], payload[1]]));
            }
        }
        None
    }
}

/// A client's frame, masked.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask: [u8; 4] = fastrand::u32(..).to_be_bytes();
    let length = match payload.len() {
        short @ ..126 => vec![0x80 | short as u8],
        middle @ ..65_536 => [&[0xfe][..], &(middle as u16).to_be_bytes()].concat(),
        long => [&[0xff][..], &(long as u64).to_be_bytes()].concat(),
    };
    let payload = payload.iter().zip(mask.into_iter().cycle()).map(|(byte, mask)| byte ^ mask);
    [&[first][..], &length, &mask].concat().into_iter().chain(payload).collect()
}

/// Reads a server's frame, which has no mask.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(u8, Vec<u8>)> {
    let (first, length) = (stream.read_u8().await?, stream.read_u8().await?);
    let length = match length {
        short @ ..126 => u64::from(short),
        126 => stream.read_u16().await?.into(),
        127 => stream.read_u64().await?,
        masked => panic!("a server masks nothing: {masked:02x}"),
    };
    let mut payload = vec![0; usize::try_from(length).expect("a length")];
    stream.read_exact(&mut payload).await?;
    Ok((first, payload))
}

/// Passes what it is sent over TCP on through WebSockets, and back.
pub(crate) struct Bridge {
    pub(crate) address: SocketAddr,
    _stopping: DropGuard,
}

impl Bridge {
    /// A bridge to an HTTP server. A frame has so many bytes of MQTT at most.
    pub(crate) async fn to(server: SocketAddr, most: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (address, stop) = (listener.local_addr().expect("an address"), CancellationToken::new());
        let stopping = stop.clone().drop_guard();
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            while let Ok((device, _)) = listener.accept().await {
                tokio::spawn(pass_on(device, server, most));
            }
        }));
        Self { address, _stopping: stopping }
    }
}

async fn pass_on(device: TcpStream, server: SocketAddr, most: usize) {
    let Socket(stream) = Socket::open(server).await;
    let ((mut from_device, mut to_device), (mut from_server, mut to_server)) =
        (device.into_split(), stream.into_split());
    let out = async {
        let mut bytes = vec![0; most];
        while let Ok(length @ 1..) = from_device.read(&mut bytes).await {
            if to_server.write_all(&frame(BINARY, &bytes[..length])).await.is_err() {
                return;
            }
        }
    };
    let back = async {
        while let Ok((first, payload)) = read(&mut from_server).await {
            match first {
                BINARY if to_device.write_all(&payload).await.is_ok() => {}
                BINARY | CLOSE => return,
                other => panic!("a server of MQTT sends none of {other:02x}"),
            }
        }
    };
    tokio::select! {
        () = out => {}
        () = back => {}
    }
}
