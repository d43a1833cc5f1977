//! MQTT over WebSocket: the bytes of MQTT, in binary frames. Where a frame ends says nothing about where a packet does
//! (MQTT-6.0.0-2), so what is left of a WebSocket is a stream of bytes, like TCP and TLS, and everything else is the same.
//!
//! Pings are answered, and are no sign of life: MQTT has its own.
//!
//! - [`frames`]: a client's frames

mod frames;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

use frames::Frames;

/// A WebSocket whose opening handshake is over, as the stream of bytes that its binary frames have.
pub(super) struct WebSocket<S> {
    stream: S,
    frames: Frames,
    /// The last ping, which has not been answered.
    ping: Option<Vec<u8>>,
    /// The conversation ends, and the client is told this code.
    end: Option<CloseCode>,
    /// Whether the client has been told, or is about to be. Nothing is sent after that.
    is_told: bool,
    /// Whether this side has nothing more to say. What the client still sends is of no interest then.
    is_shut: bool,
    /// Headers and control frames that are to be sent first.
    queue: Vec<u8>,
    /// How many bytes of the frame that has begun are still to be sent.
    owed: usize,
}

impl<S> WebSocket<S> {
    pub(super) fn new(stream: S) -> Self {
        let (frames, queue) = (Frames::default(), Vec::new());
        Self { stream, frames, ping: None, end: None, is_told: false, is_shut: false, queue, owed: 0 }
    }

    /// Begins a frame.
    fn begin(&mut self, opcode: OpCode, length: usize) {
        let header = FrameHeader { opcode, ..FrameHeader::default() };
        // It is written to memory.
        let _ = header.format(length as u64, &mut self.queue);
    }
}

impl<S: AsyncWrite + Unpin> WebSocket<S> {
    /// Sends what is to be sent first. Within a frame that is nothing but the rest of its header.
    fn poll_queue(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            while !self.queue.is_empty() {
                let sent = ready!(Pin::new(&mut self.stream).poll_write(context, &self.queue))?;
                if sent == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.queue.drain(..sent);
            }
            if self.owed > 0 || self.is_told {
                return Poll::Ready(Ok(()));
            }
            if let Some(said) = self.ping.take() {
                self.begin(OpCode::Control(Control::Pong), said.len());
                self.queue.extend(said);
            } else if let Some(code) = self.end {
                self.begin(OpCode::Control(Control::Close), 2);
                self.queue.extend(u16::from(code).to_be_bytes());
                self.is_told = true;
            } else {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocket<S> {
    /// Reads frames in place: what there is of MQTT is never more than what has arrived.
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if let Poll::Ready(Err(error)) = this.poll_queue(context) {
                return Poll::Ready(Err(error));
            }
            if this.end.is_some() && !this.is_shut {
                return Poll::Ready(Ok(()));
            }
            let before = buffer.filled().len();
            ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
            let arrived = &mut buffer.filled_mut()[before..];
            if this.is_shut || arrived.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let (length, asides) = this.frames.read(arrived);
            buffer.set_filled(before + length);
            this.ping = asides.ping.or(this.ping.take());
            this.end = asides.end;
            if length > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WebSocket<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        while !bytes.is_empty() {
            if this.owed == 0 {
                ready!(this.poll_queue(context))?;
                if this.is_told {
                    return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
                }
                this.begin(OpCode::Data(Data::Binary), bytes.len());
                this.owed = bytes.len();
            }
            let payload = &bytes[..bytes.len().min(this.owed)];
            let pieces = [IoSlice::new(&this.queue), IoSlice::new(payload)];
            let sent = ready!(Pin::new(&mut this.stream).poll_write_vectored(context, &pieces))?;
            if sent == 0 {
                break;
            }
            let of_header = sent.min(this.queue.len());
            this.queue.drain(..of_header);
            this.owed -= sent - of_header;
            if sent > of_header {
                return Poll::Ready(Ok(sent - of_header));
            }
        }
        Poll::Ready(Ok(0))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_queue(context))?;
        Pin::new(&mut this.stream).poll_flush(context)
    }

    /// Tells the client that it is over, and sends nothing more.
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.is_shut = true;
        this.end.get_or_insert(CloseCode::Normal);
        ready!(this.poll_queue(context))?;
        Pin::new(&mut this.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[test]
    fn an_idle_connection_holds_little() {
        assert!(size_of::<WebSocket<()>>() <= 200);
    }

    #[tokio::test]
    async fn what_is_written_in_one_go_is_one_frame_however_slowly_it_is_read() {
        for most in [1, 3, 64, 100_000] {
            let (near, mut far) = duplex(most);
            let writing = tokio::spawn(async move {
                let mut socket = WebSocket::new(near);
                socket.write_all(&vec![7; 70_000]).await.expect("written");
                socket.write_all(&[8; 3]).await.expect("written");
                socket.shutdown().await.expect("shut");
            });
            let mut read = vec![];
            far.read_to_end(&mut read).await.expect("read");
            writing.await.expect("no panic");
            let large = [&[0x82, 127][..], &70_000_u64.to_be_bytes(), &vec![7; 70_000]].concat();
            let rest = [0x82, 3, 8, 8, 8, 0x88, 2, 0x03, 0xe8];
            assert!(read == [&large[..], &rest].concat(), "{most} bytes at a time");
        }
    }

    #[tokio::test]
    async fn a_pong_waits_for_the_end_of_the_frame_that_is_being_sent() {
        let (near, mut far) = duplex(8);
        let mut socket = WebSocket::new(near);
        let mut context = Context::from_waker(std::task::Waker::noop());
        // Two bytes of header, and six of the payload.
        let sent = Pin::new(&mut socket).poll_write(&mut context, &[7; 10]);
        assert!(matches!(sent, Poll::Ready(Ok(2 | 6))), "{sent:?}");
        far.write_all(&[0x89, 0x80, 0, 0, 0, 0]).await.expect("a ping");
        let mut buffer = [0; 64];
        let mut buffer = ReadBuf::new(&mut buffer);
        assert!(Pin::new(&mut socket).poll_read(&mut context, &mut buffer).is_pending());
        let rest = tokio::spawn(async move {
            let left = socket.owed;
            socket.write_all(&[7; 10][10 - left..]).await.expect("written");
            socket.flush().await.expect("flushed");
            socket
        });
        let mut read = [0; 2 + 10 + 2];
        far.read_exact(&mut read).await.expect("read");
        assert_eq!(read, [0x82, 10, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 0x8a, 0]);
        drop(rest.await.expect("no panic"));
    }
}
