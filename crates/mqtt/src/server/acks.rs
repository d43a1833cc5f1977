//! The publishes of one connection that are being stored, and their acknowledgements: in the order of the messages, as many
//! with one write as are committed.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use fleetlog_engine::ingest::{Closed, Fate, Receipt};
use tokio::time::Instant;

use super::outgoing::Outgoing;
use crate::protocol::{Ack, Outcome, Protocol, UNDER_WAY};

/// For how many of them there is room kept.
const KEPT: usize = 4;

/// One connection's.
#[derive(Default)]
pub(super) struct Acks {
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    ack: Ack,
    /// `None` is a message that its sender may not publish.
    receipt: Option<Receipt>,
    since: Instant,
}

impl Acks {
    /// Acknowledges the message once its fate is committed.
    pub(super) fn owe(&mut self, ack: Ack, receipt: Receipt) {
        self.waiting.push_back(Waiting { ack, receipt: Some(receipt), since: Instant::now() });
    }

    /// Refuses the message once those before it are acknowledged.
    pub(super) fn refuse(&mut self, ack: Ack) {
        self.waiting.push_back(Waiting { ack, receipt: None, since: Instant::now() });
    }

    /// Whether another publish may be under way.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < usize::from(UNDER_WAY)
    }

    /// Whether nothing is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Since when the next one waits.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.waiting.front().map(|next| next.since)
    }

    /// Acknowledges what can be acknowledged. Fails where a message's fate cannot be known: nothing after it may be
    /// acknowledged.
    pub(super) fn poll_send(
        &mut self,
        protocol: &mut Protocol,
        outgoing: &mut Outgoing,
        context: &mut Context<'_>,
    ) -> Result<(), Closed> {
        while outgoing.has_room()
            && let Some(next) = self.waiting.front_mut()
        {
            let outcome = match &mut next.receipt {
                None => Outcome::NotAuthorized,
                Some(receipt) => match Pin::new(receipt).poll(context) {
                    Poll::Pending => break,
                    Poll::Ready(fate) => match fate? {
                        Fate::OverQuota => Outcome::OverQuota,
                        Fate::Recorded(_) | Fate::Duplicate | Fate::Quarantined(_) => Outcome::Stored,
                    },
                },
            };
            protocol.acknowledge(next.ack, outcome, &mut outgoing.bytes);
            self.waiting.pop_front();
        }
        if self.waiting.is_empty() {
            self.waiting.shrink_to(KEPT);
        }
        Ok(())
    }
}
