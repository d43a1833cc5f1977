//! Who listens for commands, and the way to them.
//!
//! A device that goes away without a receipt for a command may never have had it. The command is kept for as long as
//! its attempt waits for an answer. When the device is back, the dispatcher looks whether the command is still to be carried
//! out, and has it sent again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fleetlog_engine::dispatch::outlet::{CommandOutlet, Delivery, Lost, Message};
use futures::future::BoxFuture;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::broadcast;
use tokio::time::Instant;

use super::limits::LEFT_BEHIND;
use super::line::Line;
use crate::protocol::{Outgoing, Version, frame};

/// How many arrivals are kept for a slow receiver. One that falls further behind looks at all devices instead.
const ARRIVALS: usize = 1024;

/// Who listens. Cheap to clone.
#[derive(Clone)]
pub(super) struct Subscriptions(Arc<Inner>);

struct Inner {
    listeners: Mutex<HashMap<Arc<str>, Vec<Listener>>>,
    left_behind: Mutex<LeftBehind>,
    arrivals: broadcast::Sender<Arc<str>>,
}

/// The commands of devices that left without a receipt: the last one for each topic.
#[derive(Default)]
struct LeftBehind {
    commands: HashMap<Arc<str>, Command>,
    bytes: usize,
}

/// A command on its way to a device.
#[derive(Debug, Clone)]
pub(super) struct Command {
    pub(super) topic: Arc<str>,
    pub(super) payload: Bytes,
    /// It is of no use after this moment.
    pub(super) expires: Instant,
    /// Until then it may be sent again to a device that comes back.
    again_until: Instant,
}

/// One connection's subscription to a topic.
#[derive(Clone)]
pub(super) struct Listener {
    pub(super) line: Arc<Line>,
    pub(super) version: Version,
    /// The largest packet that the client takes.
    pub(super) most: usize,
    /// Whether the client acknowledges what it gets.
    pub(super) acknowledges: bool,
    /// The client's number for the subscription.
    pub(super) number: Option<u32>,
}

/// A subscription, until it is dropped.
pub(super) struct Subscription {
    subscriptions: Subscriptions,
    pub(super) topic: Arc<str>,
    pub(super) listener: Listener,
}

impl Default for Subscriptions {
    fn default() -> Self {
        Self(Arc::new(Inner {
            listeners: Mutex::default(),
            left_behind: Mutex::default(),
            arrivals: broadcast::channel(ARRIVALS).0,
        }))
    }
}

impl Subscriptions {
    /// Takes a listener in.
    pub(super) fn enter(&self, topic: &str, listener: Listener) -> Subscription {
        let topic: Arc<str> = topic.into();
        self.listeners().entry(Arc::clone(&topic)).or_default().push(listener.clone());
        self.arrived(Arc::clone(&topic));
        Subscription { subscriptions: self.clone(), topic, listener }
    }

    /// Keeps a command whose device has left without a receipt. It may be back already.
    pub(super) fn leave_behind(&self, command: Command) {
        let topic = Arc::clone(&command.topic);
        self.0.left_behind.lock().keep(command, Instant::now());
        if self.listeners().contains_key(&topic) {
            self.arrived(topic);
        }
    }

    /// Reports that a device listens. It fails where nobody sends commands.
    fn arrived(&self, topic: Arc<str>) {
        let _ = self.0.arrivals.send(topic);
    }

    /// Whether a command is kept for a topic.
    fn is_kept(&self, topic: &str) -> bool {
        self.0.left_behind.lock().commands.contains_key(topic)
    }

    /// Sends the command that is kept for a topic to those who listen. It stays until somebody does.
    fn publish_kept(&self, topic: &str) {
        let Some(listeners) = self.listeners().get(topic).cloned() else { return };
        if let Some(command) = self.0.left_behind.lock().take(topic, Instant::now()) {
            for listener in listeners {
                listener.line.send(command.clone());
            }
        }
    }

    /// Gives a message to the connections that listen.
    fn publish(&self, message: Message) -> Delivery {
        let Some(listeners) = self.listeners().get(message.topic.as_str()).cloned() else {
            return Delivery::NobodyThere;
        };
        let now = Instant::now();
        let after = |seconds: u32| now + Duration::from_secs(seconds.into());
        let command = Command {
            topic: message.topic.into(),
            payload: message.payload.into(),
            expires: after(message.expires_in_s),
            again_until: after(message.expires_in_s.min(message.answer_within_s)),
        };
        // A newer attempt, or another command: whatever was kept before has had its time.
        self.0.left_behind.lock().take(&command.topic, now);
        let (fit, too_small): (Vec<_>, Vec<_>) =
            listeners.iter().partition(|listener| command.as_packet(listener, now).1 <= listener.most);
        if fit.is_empty() && !too_small.is_empty() {
            return Delivery::TooLarge;
        }
        // All of them get it.
        let taken = fit.iter().filter(|listener| listener.line.send(command.clone())).count();
        if taken > 0 { Delivery::Taken } else { Delivery::NobodyThere }
    }

    fn listeners(&self) -> MutexGuard<'_, HashMap<Arc<str>, Vec<Listener>>> {
        self.0.listeners.lock()
    }
}

impl LeftBehind {
    fn take(&mut self, topic: &str, now: Instant) -> Option<Command> {
        let command = self.commands.remove(topic)?;
        self.bytes -= command.size();
        (command.again_until > now).then_some(command)
    }

    fn keep(&mut self, command: Command, now: Instant) {
        if command.again_until <= now {
            return;
        }
        self.take(&command.topic, now);
        if self.bytes + command.size() > LEFT_BEHIND {
            self.commands.retain(|_, kept| kept.again_until > now);
            self.bytes = self.commands.values().map(Command::size).sum();
        }
        // Beyond that it is as lost as a command whose device got it and never answered: there is another attempt.
        if self.bytes + command.size() <= LEFT_BEHIND {
            self.bytes += command.size();
            self.commands.insert(Arc::clone(&command.topic), command);
        }
    }
}

impl Command {
    /// What it takes to keep it, in bytes.
    fn size(&self) -> usize {
        self.topic.len() + self.payload.len() + size_of::<Self>()
    }

    /// The command as a message to a listener, and the length of its packet.
    pub(super) fn as_packet(&self, listener: &Listener, now: Instant) -> (Outgoing<'_>, usize) {
        let left = self.expires.saturating_duration_since(now).as_secs();
        let message = Outgoing {
            topic: &self.topic,
            payload: &self.payload,
            expires_in_s: u32::try_from(left).unwrap_or(u32::MAX),
            number: listener.number,
            acknowledged: listener.acknowledges,
        };
        let length = frame::publish_len(listener.version, &message);
        (message, length)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut listeners = self.subscriptions.listeners();
        if let Some(others) = listeners.get_mut(&self.topic) {
            others.retain(|listener| !Arc::ptr_eq(&listener.line, &self.listener.line));
            if others.is_empty() {
                listeners.remove(&self.topic);
            }
        }
    }
}

/// Publishes commands to the devices that are connected here. Cheap to clone.
#[derive(Clone)]
pub struct Outlet {
    subscriptions: Subscriptions,
}

impl Outlet {
    pub(super) fn new(subscriptions: Subscriptions) -> Self {
        Self { subscriptions }
    }
}

impl CommandOutlet for Outlet {
    fn publish(&self, message: Message) -> BoxFuture<'_, Result<Delivery, Lost>> {
        Box::pin(std::future::ready(Ok(self.subscriptions.publish(message))))
    }

    /// The topics of those who begin to listen.
    fn arrivals(&self) -> Option<broadcast::Receiver<Arc<str>>> {
        Some(self.subscriptions.0.arrivals.subscribe())
    }

    fn listening(&self) -> Vec<Arc<str>> {
        self.subscriptions.listeners().keys().cloned().collect()
    }

    fn listens(&self, topic: &str) -> bool {
        self.subscriptions.listeners().contains_key(topic)
    }

    fn is_kept(&self, topic: &str) -> bool {
        self.subscriptions.is_kept(topic)
    }

    fn publish_kept(&self, topic: &str) {
        self.subscriptions.publish_kept(topic);
    }
}
