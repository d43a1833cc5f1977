//! The outlet: how commands get to devices, and what the broker answers.
//!
//! The built-in endpoint and the publisher to an external broker implement [`CommandOutlet`]; the service picks one.

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::broadcast;

/// A command to be published to a device.
#[derive(Debug, Clone)]
pub struct Message {
    /// The topic: `{tenant}/devices/{uid}/commands`.
    pub topic: String,
    /// The command as JSON.
    pub payload: String,
    /// The broker must not deliver the message after this many seconds.
    pub expires_in_s: u32,
    /// How many seconds the device has to answer. An outlet that knows keeps the message for that long if the device goes away
    /// without a receipt for it.
    pub answer_within_s: u32,
}

/// The broker's answer to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The broker has the message, and a subscriber's session for it.
    Taken,
    /// Nobody has subscribed: the device is absent.
    NobodyThere,
    /// The device is there, and has said that it takes no message of this size.
    TooLarge,
}

/// The broker has not answered: whether it has the message is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the broker has not answered")]
pub struct Lost;

/// A way to the devices.
pub trait CommandOutlet: Send + Sync + 'static {
    /// Publishes a message, and returns when the broker has answered.
    fn publish(&self, message: Message) -> BoxFuture<'_, Result<Delivery, Lost>>;

    /// The topics of devices that begin to listen. `None` if the broker does not report them.
    fn arrivals(&self) -> Option<broadcast::Receiver<Arc<str>>>;

    /// The topics that somebody listens to, as far as this is known here.
    fn listening(&self) -> Vec<Arc<str>> {
        Vec::new()
    }

    /// Whether somebody listens to this topic, as far as this is known here.
    fn listens(&self, _topic: &str) -> bool {
        false
    }

    /// Whether a message to this topic is kept, because its device has left without a receipt for it.
    fn is_kept(&self, _topic: &str) -> bool {
        false
    }

    /// Publishes the message that is kept for this topic again.
    fn publish_kept(&self, _topic: &str) {}
}
