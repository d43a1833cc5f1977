//! A bare listener, as its own process: the least that tokio and the kernel need to hold this many connections.
//!
//! Of MQTT it knows only to answer the first packet with CONNACK, and every later one with PINGRESP.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Success, without a session and without properties.
const CONNACK: [u8; 5] = [0x20, 3, 0, 0, 0];
const PINGRESP: [u8; 2] = [0xd0, 0];

/// Accepts connections and holds them until the process is ended.
pub(super) async fn run(address: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(hold(stream));
    }
}

async fn hold(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = [0; 512];
    let mut answer = CONNACK.as_slice();
    while stream.read(&mut buffer).await? > 0 {
        stream.write_all(answer).await?;
        answer = PINGRESP.as_slice();
    }
    Ok(())
}
