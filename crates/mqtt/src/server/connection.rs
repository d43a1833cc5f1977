//! What happens to one connection's packets: mqtt5 reads and writes them, and calls here.
//!
//! mqtt5 acknowledges a publish whichever way its handler answers. The one answer after which it writes nothing is a
//! publish turned into one of `QoS` 0; that is how a message is left to be acknowledged by [`Answers`], or not at all.

use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use fleetlog_engine::ingest::{self, Closed, Receipt};
use mqtt5::QoS;
use mqtt5::broker::router::{DeliveryLanes, MessageRouter};
use mqtt5::broker::{
    BrokerEventHandler, ClientConnectEvent, ClientDisconnectEvent, ClientPublishEvent, ClientSubscribeEvent,
    ClientUnsubscribeEvent, PublishAction, SubAckReasonCode,
};
use mqtt5::packet::publish::PublishPacket;
use parking_lot::Mutex;
use tokio::sync::{broadcast, oneshot};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::acks::Answers;
use super::auth::{Access, Gate};
use super::sessions::{Client, Ends, Roster};
use super::subscriptions::{Audience, Listener};
use crate::instruments;

type Called<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// mqtt5's part of a connection.
pub(super) type Run = Pin<Box<dyn Future<Output = mqtt5::Result<()>> + Send>>;

/// A topic that nobody can subscribe to.
const NOWHERE: &str = "$unacknowledged";
/// How long a client whose answers do not matter any more has to take its leave.
const FAREWELL: Duration = Duration::from_secs(1);

/// One connection's side of the conversation between mqtt5 and ingest.
pub(super) struct Connection {
    pub(super) gate: Arc<Gate>,
    ingest: ingest::Handle,
    roster: Arc<Roster>,
    audience: Audience,
    listens: Mutex<Vec<Listener>>,
    /// Knows this connection alone, so that no client id reaches another's session.
    routes: Arc<MessageRouter>,
    /// The publishes of `QoS` 1 that are being stored.
    pub(super) answers: Answers,
    number: u64,
    /// Nothing is taken over any more, and so nothing acknowledged that is not under way.
    closing: AtomicBool,
    /// Makes mqtt5 say DISCONNECT and end the connection.
    hang_up: broadcast::Sender<()>,
    /// No answer can reach the client any more: stop waiting for one.
    abandoned: CancellationToken,
    ends: Ends,
    /// What it may do, and whether it can be told what it may not; set when it is let in.
    access: OnceLock<(Access, bool)>,
    /// Set when mqtt5 has accepted the connection.
    client: OnceLock<Client>,
    /// mqtt5's own part is over; what it publishes from here on is the will.
    pub(super) over: AtomicBool,
    will: Mutex<Option<(Arc<str>, Bytes)>>,
}

impl Connection {
    pub(super) fn new(
        gate: Arc<Gate>,
        ingest: ingest::Handle,
        roster: Arc<Roster>,
        audience: Audience,
        routes: Arc<MessageRouter>,
        answers: Answers,
        hang_up: broadcast::Sender<()>,
    ) -> Self {
        let number = roster.number();
        Self {
            gate,
            ingest,
            roster,
            audience,
            listens: Mutex::default(),
            routes,
            answers,
            number,
            closing: AtomicBool::new(false),
            hang_up,
            abandoned: CancellationToken::new(),
            ends: Ends::default(),
            access: OnceLock::new(),
            client: OnceLock::new(),
            over: AtomicBool::new(false),
            will: Mutex::default(),
        }
    }

    /// Runs the connection to its end; after `shutdown` what is under way has `drain` to be stored.
    pub(super) async fn serve(&self, run: Run, shutdown: CancellationToken, drain: Duration) {
        let mut run = pin!(self.converse(run));
        let farewell = tokio::select! {
            ended = &mut run => return note(ended),
            () = shutdown.cancelled() => Some(drain),
            () = self.ends.dismissed.cancelled() => Some(Duration::ZERO),
            () = self.ends.taken_over.cancelled() => None,
        };
        self.closing.store(true, Ordering::Relaxed);
        if let Some(patience) = farewell {
            // A will is for what happens to the client, not to this server; and a dismissed one has no say any more.
            self.take_will();
            if self.client.get().is_none() {
                return;
            }
            let deadline = Instant::now() + patience;
            tokio::select! {
                ended = &mut run => return note(ended),
                _ = timeout_at(deadline, self.answers.settled()) => {}
            }
            // It fails only once the connection is over.
            let _ = self.hang_up.send(());
            if timeout_at(deadline, &mut run).await.is_ok() {
                return;
            }
            self.abandoned.cancel();
        } else {
            self.abandoned.cancel();
            self.hand_over().await;
        }
        let _ = tokio::time::timeout(FAREWELL, run).await;
        // Dropped half-way, mqtt5 says nothing of the end.
        self.leave();
    }

    /// mqtt5's part and the acknowledgements, until mqtt5's ends.
    async fn converse(&self, mut run: Run) -> mqtt5::Result<()> {
        let mut answers = pin!(self.answers.send());
        tokio::select! {
            // In this order: it owes the answers that are sent next.
            biased;
            ended = &mut run => return ended,
            Closed = &mut answers => {}
        }
        self.end_unacknowledged();
        run.await
    }

    /// Makes mqtt5 say that the session was taken over: to the router there is another connection of the client.
    async fn hand_over(&self) {
        let Some(Client { id, .. }) = self.client.get() else { return };
        let (lanes, _unread) = DeliveryLanes::channel(1);
        let (disconnect, _unheard) = oneshot::channel();
        let queue = self.routes.queue_handle(id);
        self.routes.register_client(id.to_string(), lanes, queue, disconnect).await;
    }

    /// Is called by the provider once, when it lets the client in.
    pub(super) fn let_in(&self, access: Access, can_be_told: bool) {
        let _ = self.access.set((access, can_be_told));
    }

    /// What the client may do; nothing before it is let in.
    pub(super) fn access(&self) -> Option<&Access> {
        self.access.get().map(|(access, _)| access)
    }

    /// Whether the client's protocol has an answer for what is refused.
    pub(super) fn can_be_told(&self) -> bool {
        self.access.get().is_some_and(|(_, can_be_told)| *can_be_told)
    }

    /// Whether the client may publish there; counts what is refused.
    pub(super) fn allows(&self, topic: &str) -> bool {
        let allowed = !self.ends.dismissed.is_cancelled()
            && self.access().is_some_and(|access| access.may_publish(topic));
        if !allowed {
            instruments::PUBLISHES_REFUSED.increment(1);
        }
        allowed
    }

    /// Waits until nothing is under way that may still be acknowledged.
    pub(super) async fn settled(&self) {
        tokio::select! {
            () = self.answers.settled() => {}
            () = self.abandoned.cancelled() => {}
        }
    }

    /// Returns when ingest has the message, or when nobody can be told what becomes of it.
    async fn submit(&self, topic: Arc<str>, payload: Bytes) -> Result<Receipt, Closed> {
        tokio::select! {
            // Nearly always at once: the others are then not even begun.
            biased;
            receipt = self.ingest.submit(topic, payload, self.ingest.now()) => receipt,
            () = self.abandoned.cancelled() => Err(Closed),
            () = tokio::time::sleep(self.answers.patience) => Err(Closed),
        }
    }

    /// Like [`Connection::submit`], for a client that can be told that it is over its quota.
    async fn submit_or_refuse(&self, topic: Arc<str>, payload: Bytes) -> Result<Receipt, Closed> {
        tokio::select! {
            biased;
            receipt = self.ingest.submit_or_refuse(topic, payload, self.ingest.now()) => receipt,
            () = self.abandoned.cancelled() => Err(Closed),
            () = tokio::time::sleep(self.answers.patience) => Err(Closed),
        }
    }

    /// Returns when the message's fate is committed, or when nobody can be told.
    async fn store(&self, topic: Arc<str>, payload: Bytes) -> Result<(), Closed> {
        let stored = async { self.submit(topic, payload).await?.await };
        tokio::select! {
            fate = stored => fate.map(drop),
            () = self.abandoned.cancelled() => Err(Closed),
            () = tokio::time::sleep(self.answers.patience) => Err(Closed),
        }
    }

    /// Takes a publish over. `Handled` has mqtt5 acknowledge it.
    async fn take(&self, event: ClientPublishEvent) -> Result<PublishAction, Closed> {
        let ClientPublishEvent { topic, payload, qos, packet_id, .. } = event;
        match (qos, packet_id) {
            (QoS::AtLeastOnce, Some(packet_id)) => {
                tokio::select! {
                    biased;
                    () = self.answers.room() => {}
                    () = self.abandoned.cancelled() => return Err(Closed),
                }
                let receipt = if self.can_be_told() {
                    self.submit_or_refuse(topic, payload).await?
                } else {
                    self.submit(topic, payload).await?
                };
                self.answers.owe(packet_id, receipt);
                Ok(without_a_word())
            }
            // Nobody waits for its fate.
            (QoS::AtMostOnce, _) => self.submit(topic, payload).await.map(|_| PublishAction::Handled),
            _ => self.store(topic, payload).await.map(|()| PublishAction::Handled),
        }
    }

    fn take_will(&self) -> Option<(Arc<str>, Bytes)> {
        self.will.lock().take()
    }

    fn leave(&self) {
        if let Some(client) = self.client.get() {
            self.roster.leave(client, self.number);
        }
        self.listens.lock().clear();
    }

    /// Ends the connection without an answer to the publish at hand, or to any that is under way.
    fn end_unacknowledged(&self) {
        if !self.closing.swap(true, Ordering::Relaxed) {
            instruments::UNACKNOWLEDGED.increment(1);
        }
        self.abandoned.cancel();
        let _ = self.hang_up.send(());
    }
}

/// What mqtt5 gives no answer to.
fn without_a_word() -> PublishAction {
    PublishAction::Transform(PublishPacket::new(NOWHERE, Bytes::new(), QoS::AtMostOnce))
}

fn note(ended: mqtt5::Result<()>) {
    if let Err(error) = ended
        && !error.is_normal_disconnect()
    {
        tracing::debug!(%error, "an MQTT connection ended");
    }
}

impl BrokerEventHandler for Connection {
    fn on_client_connect(&self, event: ClientConnectEvent) -> Called<'_, ()> {
        *self.will.lock() = event.will_topic.zip(event.will_payload);
        if let Some(access) = self.access() {
            let client = Client { user: access.user(), id: event.client_id };
            let _ = self.client.set(client.clone());
            self.roster.enter(client, self.number, access.clone(), self.ends.clone());
        }
        Box::pin(std::future::ready(()))
    }

    fn on_client_subscribe(&self, event: ClientSubscribeEvent) -> Called<'_, ()> {
        let mut listens = self.listens.lock();
        for subscription in event.subscriptions {
            let granted = matches!(
                subscription.result,
                SubAckReasonCode::GrantedQoS0 | SubAckReasonCode::GrantedQoS1 | SubAckReasonCode::GrantedQoS2
            );
            if granted && !listens.iter().any(|listener| *listener.topic() == *subscription.topic_filter) {
                listens.push(self.audience.enter(&subscription.topic_filter, &self.routes));
            }
        }
        Box::pin(std::future::ready(()))
    }

    fn on_client_unsubscribe(&self, event: ClientUnsubscribeEvent) -> Called<'_, ()> {
        let mut listens = self.listens.lock();
        listens.retain(|listener| !event.topic_filters.iter().any(|filter| **filter == *listener.topic()));
        Box::pin(std::future::ready(()))
    }

    fn on_client_publish(&self, event: ClientPublishEvent) -> Called<'_, PublishAction> {
        Box::pin(async move {
            if self.closing.load(Ordering::Relaxed) {
                return without_a_word();
            }
            if !self.can_be_told() && !self.allows(&event.topic) {
                let _ = self.hang_up.send(());
                return without_a_word();
            }
            self.take(event).await.unwrap_or_else(|Closed| {
                self.end_unacknowledged();
                without_a_word()
            })
        })
    }

    /// A will is a message like any other: it goes to ingest. Its delay is not observed.
    fn on_client_disconnect(&self, event: ClientDisconnectEvent) -> Called<'_, ()> {
        Box::pin(async move {
            self.leave();
            if event.unexpected
                && let Some((topic, payload)) = self.take_will()
            {
                let stored = async { self.ingest.submit(topic, payload, self.ingest.now()).await?.await };
                // Nobody waits for it, so there is nobody to tell.
                let _ = tokio::time::timeout(self.answers.patience, stored).await;
            }
        })
    }
}
