//! Who listens for commands, and the way to them.
//!
//! mqtt5 routes a message to its subscribers and says nothing about whether there were any. So this knows them, by
//! topic, from each SUBACK to the end of the connection.

use std::collections::HashMap;
use std::sync::Arc;

use fleetlog_engine::dispatch::outlet::{CommandOutlet, Delivery, Lost, Message};
use futures::future::BoxFuture;
use mqtt5::QoS;
use mqtt5::broker::router::MessageRouter;
use mqtt5::packet::publish::PublishPacket;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::broadcast;

/// How many arrivals are remembered for whoever is slow to hear of them; who is slower looks for all of them.
const ARRIVALS: usize = 1024;

/// Who listens. Cheap to clone.
#[derive(Clone)]
pub(super) struct Audience(Arc<Inner>);

struct Inner {
    listeners: Mutex<HashMap<Arc<str>, Vec<Arc<MessageRouter>>>>,
    arrivals: broadcast::Sender<Arc<str>>,
}

/// A listener, until it is dropped.
pub(super) struct Listener {
    audience: Audience,
    topic: Arc<str>,
    /// The connection's own.
    router: Arc<MessageRouter>,
}

impl Default for Audience {
    fn default() -> Self {
        Self(Arc::new(Inner { listeners: Mutex::default(), arrivals: broadcast::channel(ARRIVALS).0 }))
    }
}

impl Audience {
    /// Takes a listener in, who is reached through its connection's router.
    pub(super) fn enter(&self, topic: &Arc<str>, router: &Arc<MessageRouter>) -> Listener {
        self.listeners().entry(Arc::clone(topic)).or_default().push(Arc::clone(router));
        // It fails where nobody sends commands.
        let _ = self.0.arrivals.send(Arc::clone(topic));
        Listener { audience: self.clone(), topic: Arc::clone(topic), router: Arc::clone(router) }
    }

    fn listeners(&self) -> MutexGuard<'_, HashMap<Arc<str>, Vec<Arc<MessageRouter>>>> {
        self.0.listeners.lock()
    }
}

impl Listener {
    pub(super) fn topic(&self) -> &str {
        &self.topic
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut listeners = self.audience.listeners();
        if let Some(routers) = listeners.get_mut(&self.topic) {
            routers.retain(|router| !Arc::ptr_eq(router, &self.router));
            if routers.is_empty() {
                listeners.remove(&self.topic);
            }
        }
    }
}

/// Publishes commands to the devices that are connected here. Cheap to clone.
#[derive(Clone)]
pub struct Outlet {
    audience: Audience,
}

impl Outlet {
    pub(super) fn new(audience: Audience) -> Self {
        Self { audience }
    }
}

impl CommandOutlet for Outlet {
    /// Gives the message to the connections that listen.
    fn publish(&self, message: Message) -> BoxFuture<'_, Result<Delivery, Lost>> {
        Box::pin(async move {
            let Some(routers) = self.audience.listeners().get(message.topic.as_str()).cloned() else {
                return Ok(Delivery::NobodyThere);
            };
            let mut packet = PublishPacket::new(message.topic, message.payload, QoS::AtLeastOnce);
            packet.properties.set_message_expiry_interval(message.expires_in_s);
            for router in routers {
                router.route_message(&packet, None).await;
            }
            Ok(Delivery::Taken)
        })
    }

    /// The topics of those who begin to listen.
    fn arrivals(&self) -> Option<broadcast::Receiver<Arc<str>>> {
        Some(self.audience.0.arrivals.subscribe())
    }
}
