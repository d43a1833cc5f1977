//! A socket whose peer must keep reading. An answer that nobody reads would otherwise be held for as long as the peer
//! likes. Once it is no longer HTTP's, whoever has it now is to see to that.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

/// The slowest that a peer may read, in bytes a second: under half of the slowest mobile network (EDGE, 40 kB/s). The
/// largest answer, of some 4 MiB, is then read within 5 minutes.
const SLOWEST: u32 = 16 * 1024;

/// A TCP connection that fails with [`Unread`] when its peer stops reading.
pub(super) struct Socket {
    stream: TcpStream,
    patience: Patience,
    /// The end of the patience, while a write waits.
    end: Option<Pin<Box<Sleep>>>,
    handover: Handover,
}

/// Whether a connection has become another protocol's. Each of its requests has it, so that the one that changes the protocol can
/// say so.
#[derive(Debug, Clone, Default)]
pub(crate) struct Handover(Arc<AtomicBool>);

impl Handover {
    /// From now on HTTP's patience is not asked for.
    pub(crate) fn is_made(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How long the peer may still keep writes waiting.
pub(super) struct Patience {
    left: Duration,
    most: Duration,
    waiting_since: Option<Instant>,
}

impl Patience {
    /// The peer may keep writes waiting for `unread`, and longer if it reads at [`SLOWEST`] at least.
    pub(super) fn new(unread: Duration) -> Self {
        Self { left: unread, most: unread, waiting_since: None }
    }

    /// A write waits. Returns when the patience ends.
    pub(super) fn waits(&mut self, now: Instant) -> Instant {
        *self.waiting_since.get_or_insert(now) + self.left
    }

    /// The peer took some bytes. Each earns time, up to what there was at first.
    pub(super) fn took(&mut self, bytes: usize, now: Instant) {
        let waited = self.waiting_since.take().map_or(Duration::ZERO, |since| now - since);
        let earned = Duration::from_secs_f64(bytes as f64 / f64::from(SLOWEST));
        self.left = (self.left.saturating_sub(waited) + earned).min(self.most);
    }
}

/// The peer has not read its answer for too long.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the peer does not read its answer")]
pub(super) struct Unread;

/// Whether a connection ended because its peer did not read.
pub(super) fn is_unread(error: &(dyn std::error::Error + 'static)) -> bool {
    if error.is::<Unread>() {
        return true;
    }
    let io = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    matches!(io, Some(inner) if inner.is::<Unread>()) || error.source().is_some_and(is_unread)
}

impl Socket {
    /// Its peer has this [`Patience`].
    pub(super) fn new(stream: TcpStream, unread: Duration, handover: Handover) -> Self {
        Self { stream, patience: Patience::new(unread), end: None, handover }
    }

    /// Passes on how a write went. Fails when writes have waited for too long.
    fn watch(
        &mut self,
        written: Poll<io::Result<usize>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.handover.0.load(Ordering::Relaxed) {
            return written;
        }
        match written {
            Poll::Ready(Ok(bytes)) => {
                self.patience.took(bytes, Instant::now());
                self.end = None;
                Poll::Ready(Ok(bytes))
            }
            Poll::Pending => {
                let end = self.patience.waits(Instant::now());
                ready!(self.end.get_or_insert_with(|| Box::pin(sleep_until(end))).as_mut().poll(context));
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, Unread)))
            }
            failed @ Poll::Ready(Err(_)) => failed,
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    /// A socket whose peer may be silent for 10 ms, and its peer.
    async fn connected(handover: Handover) -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let address = listener.local_addr().expect("an address");
        let (peer, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let stream = accepted.expect("a connection").0;
        (Socket::new(stream, Duration::from_millis(10), handover), peer.expect("a connection"))
    }

    #[tokio::test]
    async fn what_is_no_longer_http_is_given_any_time() {
        let handover = Handover::default();
        let (mut socket, mut peer) = connected(handover.clone()).await;
        handover.is_made();
        let written = tokio::spawn(async move { socket.write_all(&vec![0; 64 << 20]).await });
        sleep_until(Instant::now() + Duration::from_millis(50)).await;
        let mut read = vec![0; 64 << 20];
        tokio::io::AsyncReadExt::read_exact(&mut peer, &mut read).await.expect("all of it");
        written.await.expect("no panic").expect("written");
    }

    #[tokio::test]
    async fn a_peer_that_reads_nothing_is_cut_off() {
        let (mut socket, _peer) = connected(Handover::default()).await;
        let error = loop {
            if let Err(error) = socket.write_all(&[0; 8 * 1024]).await {
                break error;
            }
        };
        assert!(is_unread(&error));
    }

    #[test]
    fn a_byte_now_and_then_earns_no_patience_and_a_slow_network_does() {
        let (second, start) = (Duration::from_secs(1), Instant::now());
        let mut patience = Patience::new(10 * second);
        assert_eq!(patience.waits(start), start + 10 * second);
        patience.took(1, start + 9 * second);
        let end = patience.waits(start + 9 * second);
        assert!(end < start + 11 * second, "a second is left");
        patience.took(160 * 1024, start + 10 * second);
        assert_eq!(patience.left, 10 * second);
    }
}
