//! The publishes of one connection that are being stored, and their acknowledgements.
//!
//! mqtt5 serves one publish at a time, and would have the next one wait for the commit. So each is taken over here as soon
//! as ingest has it, and acknowledged from here: in the order of the messages, as many with one write as are committed.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use fleetlog_engine::ingest::{Closed, Fate, Receipt};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::transport::Outgoing;

/// The most publishes of a connection that are under way at a time. Whoever speaks MQTT 5 is told, and must not exceed
/// it; others' further packets wait in the socket.
pub(super) const UNDER_WAY: u16 = 256;

/// MQTT 5's reason for a publish beyond a quota.
const QUOTA_EXCEEDED: u8 = 0x97;

/// For how many of them there is room kept.
const KEPT: usize = 4;

/// One connection's.
pub(super) struct Answers {
    waiting: Mutex<VecDeque<Waiting>>,
    outgoing: Arc<Outgoing>,
    fewer: Notify,
    /// How long a message's fate may be unknown.
    pub(super) patience: Duration,
}

struct Waiting {
    packet_id: u16,
    receipt: Receipt,
    since: Instant,
}

impl Answers {
    pub(super) fn new(outgoing: Arc<Outgoing>, patience: Duration) -> Self {
        Self { waiting: Mutex::default(), outgoing, fewer: Notify::new(), patience }
    }

    /// Acknowledges the message once its fate is committed. To be called where [`Answers::send`] is polled next.
    pub(super) fn owe(&self, packet_id: u16, receipt: Receipt) {
        self.waiting().push_back(Waiting { packet_id, receipt, since: Instant::now() });
    }

    /// Waits until another publish may be under way.
    pub(super) async fn room(&self) {
        self.at_most(usize::from(UNDER_WAY) - 1).await;
    }

    /// Waits until nothing is under way.
    pub(super) async fn settled(&self) {
        self.at_most(0).await;
    }

    async fn at_most(&self, count: usize) {
        while self.waiting().len() > count {
            let fewer = self.fewer.notified();
            if self.waiting().len() > count {
                fewer.await;
            }
        }
    }

    /// Sends acknowledgements for as long as it is polled. Returns when a message's fate is not known in time: nothing
    /// after it may be acknowledged.
    pub(super) async fn send(&self) -> Closed {
        let patience = self.patience;
        let (mut alarm, mut is_set) = (pin!(sleep(patience)), false);
        poll_fn(|context| {
            let Ok(oldest) = self.poll_send(context) else { return Poll::Ready(Closed) };
            let Some(oldest) = oldest else { return Poll::Pending };
            // Set once in that time, not for every message.
            loop {
                if !is_set {
                    alarm.as_mut().reset(oldest + patience);
                    is_set = true;
                }
                ready!(alarm.as_mut().poll(context));
                is_set = false;
                if oldest.elapsed() >= patience {
                    return Poll::Ready(Closed);
                }
            }
        })
        .await
    }

    /// Sends what can be sent, and says since when the next one waits.
    fn poll_send(&self, context: &mut Context<'_>) -> Result<Option<Instant>, Closed> {
        let mut waiting = self.waiting();
        let before = waiting.len();
        while let Some(next) = waiting.front_mut()
            && (self.outgoing.has_room() || self.outgoing.poll_flush(context).is_ready())
            && let Poll::Ready(fate) = Pin::new(&mut next.receipt).poll(context)
        {
            match fate? {
                Fate::OverQuota => self.outgoing.refuse(next.packet_id, QUOTA_EXCEEDED),
                Fate::Recorded(_) | Fate::Duplicate | Fate::Quarantined(_) => {
                    self.outgoing.acknowledge(next.packet_id);
                }
            }
            waiting.pop_front();
        }
        if waiting.is_empty() {
            waiting.shrink_to(KEPT);
        }
        if waiting.len() < before {
            self.fewer.notify_waiters();
        }
        // A connection that has failed is for its reader to find out.
        let _ = self.outgoing.poll_flush(context);
        Ok(waiting.front().map(|next| next.since))
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.waiting.lock()
    }
}
