//! A connection's bytes. mqtt5 reads and writes them as it does those of any stream; acknowledgements of publishes go out
//! beside what it writes, and never within a packet of its.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, BytesMut};
use mqtt5::broker::transport::{BrokerTransport, WebSocketTransport};
use parking_lot::{Mutex, MutexGuard};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// How many bytes wait for a client that does not read, besides one packet.
const MOST: usize = 64 << 10;
/// How many bytes of room are kept for what is sent next.
const KEPT: usize = 256;

/// What mqtt5 takes for the stream.
struct Wire {
    reading: OwnedReadHalf,
    outgoing: Arc<Outgoing>,
}

/// What is on its way to the client. Only one task may [poll](Outgoing::poll_flush) it: the connection's.
pub(super) struct Outgoing(Mutex<Out>);

struct Out {
    stream: OwnedWriteHalf,
    buffer: BytesMut,
}

/// A stream for mqtt5, and the other way into it.
pub(super) fn split(stream: TcpStream) -> (BrokerTransport, Arc<Outgoing>) {
    let (reading, stream) = stream.into_split();
    let outgoing = Arc::new(Outgoing(Mutex::new(Out { stream, buffer: BytesMut::new() })));
    let wire = Wire { reading, outgoing: Arc::clone(&outgoing) };
    // The one variant that takes a stream of any kind. Its name is seen nowhere but in mqtt5's own log.
    (BrokerTransport::WebSocket(Box::new(wire)), outgoing)
}

impl Outgoing {
    /// Whether the client reads what it is sent.
    pub(super) fn has_room(&self) -> bool {
        self.out().buffer.len() < MOST
    }

    /// Adds a PUBACK to what is sent next.
    pub(super) fn acknowledge(&self, packet_id: u16) {
        let mut out = self.out();
        // The reason, success, may be left out, and is by MQTT 3.1.1.
        out.buffer.put_slice(&[0x40, 2]);
        out.buffer.put_u16(packet_id);
    }

    /// Adds a PUBACK with a reason, which only MQTT 5 has, to what is sent next.
    pub(super) fn refuse(&self, packet_id: u16, reason: u8) {
        let mut out = self.out();
        out.buffer.put_slice(&[0x40, 3]);
        out.buffer.put_u16(packet_id);
        out.buffer.put_u8(reason);
    }

    /// Sends what there is. A connection that has failed sends nothing any more, which its reader finds out.
    pub(super) fn poll_flush(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.out().poll_flush(context)
    }

    fn out(&self) -> MutexGuard<'_, Out> {
        self.0.lock()
    }
}

impl Out {
    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.buffer.has_remaining() {
            let sent = match ready!(Pin::new(&mut self.stream).poll_write(context, &self.buffer)) {
                Ok(0) => Err(io::ErrorKind::WriteZero.into()),
                sent => sent,
            };
            match sent {
                Ok(sent) => self.buffer.advance(sent),
                Err(error) => {
                    self.buffer.clear();
                    return Poll::Ready(Err(error));
                }
            }
        }
        if self.buffer.capacity() > KEPT {
            self.buffer = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.reading).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    /// Takes all of it or nothing: mqtt5 writes a packet at a time.
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, packet: &[u8]) -> Poll<io::Result<usize>> {
        let mut out = self.outgoing.out();
        if out.buffer.len() >= MOST {
            ready!(out.poll_flush(context))?;
        }
        out.buffer.put_slice(packet);
        Poll::Ready(Ok(packet.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut out = self.outgoing.out();
        ready!(out.poll_flush(context))?;
        Pin::new(&mut out.stream).poll_shutdown(context)
    }
}

impl WebSocketTransport for Wire {
    fn peer_addr(&self) -> mqtt5::Result<SocketAddr> {
        Ok(self.reading.peer_addr()?)
    }
}
