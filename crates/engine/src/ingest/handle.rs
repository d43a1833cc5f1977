//! Takes messages in, within a budget of memory, and answers each when its fate is committed.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use fleetlog_aggregates::telemetry::{self, Reason};
use fleetlog_event_log::quarantine::Refused;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::{Closed, Fate};

/// How the topic of an acknowledgement ends.
const ACK: &str = "/command_ack";

/// Submits messages. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    queue: mpsc::UnboundedSender<Message>,
    telemetry: Room,
    /// Apart, so that no answer to a command waits behind telemetry.
    acks: Room,
}

/// What may be under way of one kind.
#[derive(Clone)]
pub(super) struct Room {
    bytes: Arc<Semaphore>,
    budget: usize,
}

/// A submitted message's answer, to be awaited.
#[derive(Debug)]
pub struct Receipt(oneshot::Receiver<Fate>);

/// A message on its way to the record.
pub(super) struct Message {
    pub(super) topic: Arc<str>,
    pub(super) payload: Bytes,
    received_at: DateTime<Utc>,
    answer: oneshot::Sender<Fate>,
    /// Gives the message's room back when it is answered or dropped.
    _room: OwnedSemaphorePermit,
}

impl Handle {
    /// What a message costs of the budget besides its own bytes. It bounds their number: 64 MiB hold 65,536.
    pub const OVERHEAD: usize = 1024;

    pub(super) fn new(queue: mpsc::UnboundedSender<Message>, telemetry: Room, acks: Room) -> Self {
        Self { queue, telemetry, acks }
    }

    /// Submits a message; waits while the budget is spent. Messages of one caller keep their order. Dropping the
    /// call, or the receipt, loses the answer but nothing else.
    pub async fn submit(
        &self,
        topic: impl Into<Arc<str>>,
        payload: Bytes,
        received_at: DateTime<Utc>,
    ) -> Result<Receipt, Closed> {
        let topic = topic.into();
        let room = if topic.ends_with(ACK) { &self.acks } else { &self.telemetry };
        let cost = (payload.len() + topic.len() + Self::OVERHEAD).min(room.budget);
        let room = Arc::clone(&room.bytes).acquire_many_owned(cost as u32).await.map_err(|_| Closed)?;
        let (answer, receipt) = oneshot::channel();
        let message = Message { topic, payload, received_at, answer, _room: room };
        self.queue.send(message).map_err(|_| Closed)?;
        Ok(Receipt(receipt))
    }
}

impl Room {
    pub(super) fn new(budget: usize) -> Self {
        Self { bytes: Arc::new(Semaphore::new(budget)), budget }
    }

    /// Nothing more is let in.
    pub(super) fn close(&self) {
        self.bytes.close();
    }
}

impl Future for Receipt {
    type Output = Result<Fate, Closed>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map_err(|_| Closed)
    }
}

impl Message {
    /// Whether it came on the channel of acknowledgements.
    pub(super) fn is_ack(&self) -> bool {
        self.topic.ends_with(ACK)
    }

    /// As the domain sees it.
    pub(super) fn received(&self) -> telemetry::Message<'_> {
        telemetry::Message { topic: &self.topic, payload: &self.payload, received_at: self.received_at }
    }

    /// As it goes into quarantine.
    pub(super) fn refused(&self, tenant: Option<String>, reason: Reason, detail: String) -> Refused {
        Refused {
            tenant,
            topic: self.topic.to_string(),
            payload: self.payload.to_vec(),
            reason: reason.as_str(),
            detail,
            received_at: self.received_at,
        }
    }

    /// Tells whoever submitted it. That nobody waits any more is no error: the fate is committed all the same.
    pub(super) fn answer(self, fate: Fate) {
        let _ = self.answer.send(fate);
    }
}
