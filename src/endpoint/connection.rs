//! What happens to one connection's packets: mqtt5 reads and writes them, and calls here.
//!
//! mqtt5 acknowledges a publish whichever way its handler answers. The one answer after which it writes nothing is a
//! publish turned into one of `QoS` 0; that is how a message whose fate is unknown stays unacknowledged.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chrono::Utc;
use mqtt5::QoS;
use mqtt5::broker::client_handler::ClientHandler;
use mqtt5::broker::{
    BrokerEventHandler, ClientConnectEvent, ClientDisconnectEvent, ClientPublishEvent, ClientSubscribeEvent,
    ClientUnsubscribeEvent, PublishAction, SubAckReasonCode,
};
use mqtt5::packet::publish::PublishPacket;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use super::audience::{Audience, Listener};
use crate::ingest::{self, Closed};

type Called<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A topic that nobody can subscribe to.
const NOWHERE: &str = "$unacknowledged";

/// The connections by client id, so that a client that comes back releases the connection it left.
#[derive(Default)]
pub(super) struct Roster {
    connections: Mutex<HashMap<Arc<str>, (u64, CancellationToken)>>,
    next: AtomicU64,
}

/// One connection's side of the conversation between mqtt5 and ingest.
pub(super) struct Connection {
    ingest: ingest::Handle,
    roster: Arc<Roster>,
    audience: Audience,
    listens: Mutex<Vec<Listener>>,
    number: u64,
    patience: Duration,
    /// Makes mqtt5 say DISCONNECT and end the connection.
    hang_up: broadcast::Sender<()>,
    /// No answer can reach the client any more: stop waiting for one.
    abandoned: CancellationToken,
    connected: AtomicBool,
    /// mqtt5's own part is over; what it publishes from here on is the will.
    pub(super) over: AtomicBool,
    will: Mutex<Option<(Arc<str>, Bytes)>>,
}

impl Roster {
    fn enter(&self, client: &Arc<str>, connection: &Connection) {
        let entry = (connection.number, connection.abandoned.clone());
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, left_behind)) = connections.insert(Arc::clone(client), entry) {
            left_behind.cancel();
        }
    }

    fn leave(&self, client: &Arc<str>, number: u64) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if connections.get(client).is_some_and(|(present, _)| *present == number) {
            connections.remove(client);
        }
    }
}

impl Connection {
    pub(super) fn new(
        ingest: ingest::Handle,
        roster: Arc<Roster>,
        audience: Audience,
        patience: Duration,
        hang_up: broadcast::Sender<()>,
    ) -> Self {
        let number = roster.next.fetch_add(1, Ordering::Relaxed);
        Self {
            ingest,
            roster,
            audience,
            listens: Mutex::default(),
            number,
            patience,
            hang_up,
            abandoned: CancellationToken::new(),
            connected: AtomicBool::new(false),
            over: AtomicBool::new(false),
            will: Mutex::default(),
        }
    }

    /// Runs the connection to its end; after `shutdown` the publish at hand has `drain` to be stored.
    pub(super) async fn serve(&self, handler: ClientHandler, shutdown: CancellationToken, drain: Duration) {
        let mut run = Box::pin(handler.run());
        tokio::select! {
            ended = &mut run => {
                if let Err(error) = ended && !error.is_normal_disconnect() {
                    tracing::debug!(%error, "an MQTT connection ended");
                }
                return;
            }
            () = shutdown.cancelled() => {}
        }
        // A will is for what happens to the client, not to this server.
        self.take_will();
        if !self.connected.load(Ordering::Relaxed) {
            return;
        }
        // It fails only once the connection is over.
        let _ = self.hang_up.send(());
        if tokio::time::timeout(drain, &mut run).await.is_err() {
            self.abandoned.cancel();
            let _ = tokio::time::timeout(Duration::from_secs(1), run).await;
        }
    }

    /// Returns when the message's fate is committed, or when nobody can be told.
    async fn store(&self, topic: Arc<str>, payload: Bytes) -> Result<(), Closed> {
        let stored = async { self.ingest.submit(topic, payload, Utc::now()).await?.await };
        tokio::select! {
            fate = stored => fate.map(drop),
            () = self.abandoned.cancelled() => Err(Closed),
            () = tokio::time::sleep(self.patience) => Err(Closed),
        }
    }

    fn take_will(&self) -> Option<(Arc<str>, Bytes)> {
        self.will.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl BrokerEventHandler for Connection {
    fn on_client_connect(&self, event: ClientConnectEvent) -> Called<'_, ()> {
        self.connected.store(true, Ordering::Relaxed);
        *self.will.lock().unwrap_or_else(PoisonError::into_inner) = event.will_topic.zip(event.will_payload);
        self.roster.enter(&event.client_id, self);
        Box::pin(std::future::ready(()))
    }

    fn on_client_subscribe(&self, event: ClientSubscribeEvent) -> Called<'_, ()> {
        let mut listens = self.listens.lock().unwrap_or_else(PoisonError::into_inner);
        for subscription in event.subscriptions {
            let granted = matches!(
                subscription.result,
                SubAckReasonCode::GrantedQoS0 | SubAckReasonCode::GrantedQoS1 | SubAckReasonCode::GrantedQoS2
            );
            if granted && !listens.iter().any(|listener| *listener.topic() == *subscription.topic_filter) {
                listens.push(self.audience.enter(&subscription.topic_filter));
            }
        }
        Box::pin(std::future::ready(()))
    }

    fn on_client_unsubscribe(&self, event: ClientUnsubscribeEvent) -> Called<'_, ()> {
        let mut listens = self.listens.lock().unwrap_or_else(PoisonError::into_inner);
        listens.retain(|listener| !event.topic_filters.iter().any(|filter| **filter == *listener.topic()));
        Box::pin(std::future::ready(()))
    }

    fn on_client_publish(&self, event: ClientPublishEvent) -> Called<'_, PublishAction> {
        Box::pin(async move {
            if self.store(event.topic, event.payload).await.is_ok() {
                return PublishAction::Handled;
            }
            metrics::counter!("fleetlog_mqtt_unacknowledged_total").increment(1);
            let _ = self.hang_up.send(());
            PublishAction::Transform(PublishPacket::new(NOWHERE, Bytes::new(), QoS::AtMostOnce))
        })
    }

    /// A will is a message like any other: it goes to ingest. Its delay is not observed.
    fn on_client_disconnect(&self, event: ClientDisconnectEvent) -> Called<'_, ()> {
        Box::pin(async move {
            self.roster.leave(&event.client_id, self.number);
            self.listens.lock().unwrap_or_else(PoisonError::into_inner).clear();
            if event.unexpected
                && let Some((topic, payload)) = self.take_will()
            {
                let stored = async { self.ingest.submit(topic, payload, Utc::now()).await?.await };
                // Nobody waits for it, so there is nobody to tell.
                let _ = tokio::time::timeout(self.patience, stored).await;
            }
        })
    }
}
