//! Accepts messages, within a budget of memory, and answers each when its fate is committed.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use fleetlog_aggregates::identity::{Tenant, Uid};
use fleetlog_aggregates::telemetry::{self, Reason};
use fleetlog_aggregates::topic::is_foreign;
use fleetlog_event_log::EventLog;
use fleetlog_event_log::clock::Clock;
use fleetlog_event_log::quarantine::Refused;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use uuid::Uuid;

use super::quota::{Meter, Quotas};
use super::{Closed, Fate};
use crate::devices::credentials::Speaker;
use crate::instruments;

/// The end of every topic for acks.
const ACK: &str = "/command_ack";

/// Submits messages. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    clock: Clock,
    queue: mpsc::UnboundedSender<Message>,
    telemetry: Room,
    /// A budget of its own, so that no ack waits behind telemetry.
    acks: Room,
    quotas: Quotas,
    /// What this connection has sent. `None` for senders that stand for many devices.
    own: Option<Arc<Meter>>,
    sender: Option<Arc<Sender>>,
}

/// Who sends, for messages whose topic does not say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    /// The tenant whose sources say what a foreign topic means.
    pub tenant: Tenant,
    /// Whom the login speaks for. `None` for a sender that speaks for all devices of the tenant.
    pub speaker: Option<Speaker>,
}

impl Sender {
    /// The device that has logged in.
    pub(super) fn login(&self) -> Option<&str> {
        self.speaker.as_ref().map(|speaker| speaker.device.uid.as_str())
    }

    /// Whether the sender speaks for a device of its tenant.
    pub(super) fn speaks_for(&self, uid: &Uid) -> bool {
        self.speaker.as_ref().is_none_or(|speaker| speaker.speaks_for(uid))
    }
}

/// The budget of one kind of message.
#[derive(Clone)]
pub(super) struct Room {
    bytes: Arc<Semaphore>,
    budget: usize,
}

/// Resolves to the fate of a submitted message.
#[derive(Debug)]
pub struct Receipt(oneshot::Receiver<Fate>);

/// What happens to a message beyond a quota that is known only when the message is being stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    /// The message waits, unanswered.
    Waits,
    /// The message is answered with [`Fate::OverQuota`].
    IsRefused,
}

/// A message that is not answered yet.
pub(super) struct Message {
    pub(super) topic: Arc<str>,
    pub(super) payload: Bytes,
    received_at: DateTime<Utc>,
    /// The message id, if the payload has none and the sender knows it by another.
    msg_id: Option<String>,
    /// When the message was submitted.
    pub(super) submitted: Instant,
    pub(super) excess: Excess,
    /// Who sends it. `None` if the topic says it, or nobody does.
    pub(super) sender: Option<Arc<Sender>>,
    /// Whether the message is a will.
    pub(super) is_will: bool,
    /// Whether the message is in quarantine, and stays there if it is refused again.
    pub(super) is_quarantined: bool,
    /// Whether the sender sends the message again if it is dropped unanswered, at no harm to other senders.
    pub(super) is_droppable: bool,
    answer: oneshot::Sender<Fate>,
    /// The message's share of the budget, released when the message is answered or dropped.
    _room: OwnedSemaphorePermit,
}

impl Handle {
    /// A message's share of the budget besides its own bytes. It also bounds the number of messages: 64 MiB hold
    /// 65,536.
    pub const OVERHEAD: usize = 1024;

    pub(super) fn new(
        clock: Clock,
        queue: mpsc::UnboundedSender<Message>,
        [telemetry, acks]: [Room; 2],
        quotas: Quotas,
    ) -> Self {
        Self { clock, queue, telemetry, acks, quotas, own: None, sender: None }
    }

    /// The log that messages become events of.
    pub(crate) fn log(&self) -> &EventLog {
        self.quotas.log()
    }

    /// The time, by the clock that moments in the log are compared with: a message that comes now was received then.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// A handle for one device's connection, which has bounds of its own. If too many of its messages wait for the
    /// registration of new devices, some are answered with [`Closed`]: the connection is to be ended then.
    #[must_use]
    pub fn for_connection(&self) -> Self {
        Self { own: Some(Arc::default()), ..self.clone() }
    }

    /// A handle for the messages of a sender: what its foreign topics mean is said by its tenant's sources. Without a sender
    /// they mean nothing.
    #[must_use]
    pub fn of_sender(&self, sender: impl Into<Option<Sender>>) -> Self {
        Self { sender: sender.into().map(Arc::new), ..self.clone() }
    }

    /// The sender of a message whose topic does not say it.
    fn sender_on(&self, topic: &str) -> Option<Arc<Sender>> {
        self.sender.as_ref().filter(|_| is_foreign(topic)).cloned()
    }

    /// Submits a message; waits while the budget is used up, or while the sender is over its quota. Messages of one
    /// caller keep their order. Dropping the future or the receipt loses only the answer.
    pub async fn submit(
        &self,
        topic: impl Into<Arc<str>>,
        payload: Bytes,
        received_at: DateTime<Utc>,
    ) -> Result<Receipt, Closed> {
        self.submit_as(topic, payload, received_at, Excess::Waits, None).await
    }

    /// Submits a message like [`Handle::submit`]. What is beyond a quota waits, or is answered with [`Fate::OverQuota`]. If
    /// its payload has no `msg_id`, it gets the one that is given: the sender may send it again, and knows that it is the same.
    pub async fn submit_as(
        &self,
        topic: impl Into<Arc<str>>,
        payload: Bytes,
        received_at: DateTime<Utc>,
        excess: Excess,
        msg_id: Option<String>,
    ) -> Result<Receipt, Closed> {
        let topic = topic.into();
        let sender = self.sender_on(&topic);
        let tenant = tenant(sender.as_deref(), &topic);
        match excess {
            Excess::Waits => self.quotas.wait(tenant, payload.len(), self.own.as_deref()).await,
            Excess::IsRefused => {
                if let Err((_, bound)) = self.quotas.take(tenant, payload.len(), self.own.as_deref()) {
                    instruments::OVER_QUOTA.with([bound.into(), "refused".into()]).increment(1);
                    return Ok(Receipt::of(Fate::OverQuota));
                }
            }
        }
        self.enqueue(New { topic, payload, received_at, msg_id, excess, sender, kind: Kind::Fresh }).await
    }

    /// Submits a will, under a message id of its own. `heard_at` is when its sender was last heard of.
    pub async fn submit_will(
        &self,
        topic: impl Into<Arc<str>>,
        payload: Bytes,
        heard_at: DateTime<Utc>,
        msg_id: String,
    ) -> Result<Receipt, Closed> {
        self.submit_kept(topic.into(), payload, heard_at, Some(msg_id), Kind::Will).await
    }

    /// Submits a message that is in quarantine. If it is refused again it is not put there once more.
    pub async fn submit_again(
        &self,
        topic: impl Into<Arc<str>>,
        payload: Bytes,
        received_at: DateTime<Utc>,
    ) -> Result<Receipt, Closed> {
        self.submit_kept(topic.into(), payload, received_at, None, Kind::Quarantined).await
    }

    /// Submits a message that somebody else has kept until now, whatever its connection has sent since.
    async fn submit_kept(
        &self,
        topic: Arc<str>,
        payload: Bytes,
        received_at: DateTime<Utc>,
        msg_id: Option<String>,
        kind: Kind,
    ) -> Result<Receipt, Closed> {
        let sender = self.sender_on(&topic);
        self.quotas.wait(tenant(sender.as_deref(), &topic), payload.len(), None).await;
        let excess = Excess::Waits;
        self.enqueue(New { topic, payload, received_at, msg_id, excess, sender, kind }).await
    }

    async fn enqueue(&self, new: New) -> Result<Receipt, Closed> {
        let New { topic, payload, received_at, msg_id, excess, sender, kind } = new;
        let room = if topic.ends_with(ACK) { &self.acks } else { &self.telemetry };
        let cost = (payload.len() + topic.len() + Self::OVERHEAD).min(room.budget);
        let room = Arc::clone(&room.bytes).acquire_many_owned(cost as u32).await.map_err(|_| Closed)?;
        let (answer, receipt) = oneshot::channel();
        let submitted = Instant::now();
        let message = Message {
            topic,
            payload,
            received_at,
            msg_id,
            submitted,
            excess,
            sender,
            is_will: kind == Kind::Will,
            is_quarantined: kind == Kind::Quarantined,
            is_droppable: self.own.is_some(),
            answer,
            _room: room,
        };
        self.queue.send(message).map_err(|_| Closed)?;
        Ok(Receipt(receipt))
    }
}

/// A message that is to be submitted.
struct New {
    topic: Arc<str>,
    payload: Bytes,
    received_at: DateTime<Utc>,
    msg_id: Option<String>,
    excess: Excess,
    sender: Option<Arc<Sender>>,
    kind: Kind,
}

/// What is submitted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Fresh,
    Will,
    Quarantined,
}

/// The tenant that a message belongs to: its sender's if the topic does not say it.
fn tenant<'m>(sender: Option<&'m Sender>, topic: &'m str) -> &'m str {
    sender.map_or_else(|| topic.split('/').next().unwrap_or_default(), |sender| sender.tenant.as_str())
}

/// An id for a message whose payload has none.
pub(crate) fn new_msg_id() -> String {
    format!("auto-{}", Uuid::now_v7())
}

impl Receipt {
    /// The receipt of a message that says nothing new, and is not submitted.
    #[must_use]
    pub fn of_nothing() -> Self {
        Self::of(Fate::Duplicate)
    }

    /// A receipt that is answered at once.
    fn of(fate: Fate) -> Self {
        let (answer, receipt) = oneshot::channel();
        let _ = answer.send(fate);
        Self(receipt)
    }
}

impl Room {
    pub(super) fn new(budget: usize) -> Self {
        Self { bytes: Arc::new(Semaphore::new(budget)), budget }
    }

    /// Refuses all further messages.
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
    /// Whether the message came on a topic for acks.
    pub(super) fn is_ack(&self) -> bool {
        self.topic.ends_with(ACK)
    }

    /// The tenant that the message belongs to, by its topic or its sender.
    pub(super) fn tenant(&self) -> &str {
        tenant(self.sender.as_deref(), &self.topic)
    }

    /// The message id of a message whose payload has none.
    pub(super) fn msg_id(&self) -> String {
        self.known_as().unwrap_or_else(new_msg_id)
    }

    /// The id by which the sender knows the message, if its payload has none.
    pub(super) fn known_as(&self) -> Option<String> {
        self.msg_id.clone()
    }

    /// The message as the domain takes it.
    pub(super) fn received(&self) -> telemetry::Message<'_> {
        telemetry::Message { topic: &self.topic, payload: &self.payload, received_at: self.received_at }
    }

    /// The message as a row for quarantine, with at most `most` bytes of its payload.
    pub(super) fn refused(
        &self,
        tenant: Option<String>,
        reason: Reason,
        detail: String,
        most: usize,
    ) -> Refused {
        let whole = (self.payload.len() > most)
            .then(|| (self.payload.len() as i64, digest(&SHA256, &self.payload).as_ref().to_vec()));
        Refused {
            tenant,
            topic: self.topic.to_string(),
            payload: self.payload[..self.payload.len().min(most)].to_vec(),
            whole,
            reason: reason.as_str(),
            detail,
            received_at: self.received_at,
        }
    }

    /// Resolves the receipt. A caller that has dropped its receipt is not an error: the fate is committed all the same.
    pub(super) fn answer(self, fate: Fate) {
        let _ = self.answer.send(fate);
    }
}
