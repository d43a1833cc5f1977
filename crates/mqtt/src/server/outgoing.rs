//! What is on its way to a client, and the end of it.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use super::limits::{FAREWELL, UNSENT};

/// The bytes that are to be sent.
#[derive(Default)]
pub(super) struct Outgoing {
    /// Packets are added here.
    pub(super) bytes: Vec<u8>,
    sent: usize,
    /// Since when the client reads nothing.
    stalled: Option<Instant>,
}

impl Outgoing {
    /// Whether the client reads what it is sent.
    pub(super) fn has_room(&self) -> bool {
        self.bytes.len() - self.sent < UNSENT
    }

    /// Since when the client reads nothing.
    pub(super) fn stalled(&self) -> Option<Instant> {
        self.stalled
    }

    /// Sends what there is.
    pub(super) fn poll_flush<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.bytes.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while self.sent < self.bytes.len() {
            match Pin::new(&mut *stream).poll_write(context, &self.bytes[self.sent..]) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(sent)) => {
                    self.sent += sent;
                    self.stalled = None;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.stalled.get_or_insert_with(Instant::now);
                    return Poll::Pending;
                }
            }
        }
        (self.bytes, self.sent) = (Vec::new(), 0);
        ready!(Pin::new(stream).poll_flush(context))?;
        Poll::Ready(Ok(()))
    }

    /// Sends what there is, and ends the connection. What the client still sends is read and dropped for a moment: closed
    /// over unread bytes, a connection loses what was sent last.
    pub(super) async fn farewell<S: AsyncRead + AsyncWrite + Unpin>(mut self, mut stream: S) {
        let leave = async {
            poll_fn(|context| self.poll_flush(&mut stream, context)).await?;
            stream.shutdown().await?;
            let mut dropped = [0; 1024];
            while stream.read(&mut dropped).await? > 0 {}
            io::Result::Ok(())
        };
        // A client that has gone already is none to wait for.
        let _ = timeout(FAREWELL, leave).await;
    }
}
