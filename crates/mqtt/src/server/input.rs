//! What a client has sent and nobody has read yet. A connection that is idle holds nothing.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;

use super::limits::{ARRIVAL, ARRIVAL_BYTES_PER_S, SMALL, Share};
use crate::protocol::{Violation, frame};

/// How many bytes of a large packet are read at once.
const LARGE: usize = 64 << 10;

thread_local! {
    /// What is read passes through here, so that no connection needs a buffer to wait with.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; LARGE]);
}

/// The bytes of a connection that are to be read.
#[derive(Default)]
pub(super) struct Input {
    bytes: Vec<u8>,
    /// How many of the bytes have been read.
    done: usize,
    /// The length of the packet that is arriving, and since when. 0 is not known yet.
    arriving: Option<(usize, Instant)>,
    /// The arriving packet's share of the budget.
    share: Option<Share>,
}

/// What there is to read.
pub(super) enum Next {
    /// A packet of so many bytes is there.
    Packet(usize),
    /// More has to arrive. The packet that has begun is so long, if it has begun and is not a small one.
    More(Option<usize>),
}

impl Input {
    /// Looks for a packet of at most `most` bytes.
    pub(super) fn next(&mut self, most: usize) -> Result<Next, Violation> {
        let bytes = &self.bytes[self.done..];
        if bytes.is_empty() {
            return Ok(Next::More(None));
        }
        let length = frame::length(bytes, most)?;
        if let Some(length) = length
            && length <= bytes.len()
        {
            return Ok(Next::Packet(length));
        }
        let since = self.arriving.map_or_else(Instant::now, |(_, since)| since);
        self.arriving = Some((length.unwrap_or_default(), since));
        Ok(Next::More(length.filter(|length| *length > SMALL && self.share.is_none())))
    }

    /// The first byte that has not been read.
    pub(super) fn first(&self) -> Option<u8> {
        self.bytes.get(self.done).copied()
    }

    /// The packet that [`Input::next`] has found.
    pub(super) fn packet(&self, length: usize) -> &[u8] {
        &self.bytes[self.done..self.done + length]
    }

    /// Lets go of the packet, and of its share.
    pub(super) fn consume(&mut self, length: usize) -> Option<Share> {
        self.done += length;
        self.arriving = None;
        if self.done == self.bytes.len() {
            (self.bytes, self.done) = (Vec::new(), 0);
        }
        self.share.take()
    }

    /// Gives the arriving packet its share.
    pub(super) fn hold(&mut self, share: Share, length: usize) {
        self.share = Some(share);
        self.compact();
        self.bytes.reserve_exact(length.saturating_sub(self.bytes.len()));
    }

    /// When the packet that has begun has to be whole.
    pub(super) fn due(&self) -> Option<Instant> {
        let (_, since) = self.arriving?;
        let arrived = self.bytes.len() - self.done;
        Some(since + ARRIVAL + Duration::from_secs((arrived / ARRIVAL_BYTES_PER_S) as u64))
    }

    /// Reads what has arrived: of a packet that has its share as much as belongs to it. 0 is the end.
    pub(super) fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let length = self.arriving.map_or(0, |(length, _)| length);
        let missing = length.saturating_sub(self.bytes.len() - self.done);
        let most = if self.share.is_some() { missing.clamp(1, LARGE) } else { SMALL };
        SCRATCH.with_borrow_mut(|scratch| {
            let mut read = ReadBuf::new(&mut scratch[..most]);
            ready!(Pin::new(stream).poll_read(context, &mut read))?;
            self.compact();
            self.bytes.extend_from_slice(read.filled());
            Poll::Ready(Ok(read.filled().len()))
        })
    }

    /// Drops what has been read.
    fn compact(&mut self) {
        self.bytes.drain(..self.done);
        self.done = 0;
    }
}
