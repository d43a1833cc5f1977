//! The way of commands to devices: what a broker is given, and what it answers.
//!
//! The built-in endpoint and the publisher to an external broker implement [`CommandOutlet`]; the service picks one.

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::broadcast;

/// A command on its way to a device.
#[derive(Debug, Clone)]
pub struct Message {
    /// `{tenant}/devices/{uid}/commands`.
    pub topic: String,
    /// What it says.
    pub payload: String,
    /// After so many seconds a broker is not to deliver it any more.
    pub expires_in_s: u32,
}

/// What the broker says to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// It has it, and a session to give it to.
    Taken,
    /// Nobody has subscribed: the device is not there.
    NobodyThere,
}

/// There is no answer: whether the broker has the message is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the broker has not answered")]
pub struct Lost;

/// The way to the devices.
pub trait CommandOutlet: Send + Sync + 'static {
    /// Returns once the broker has answered.
    fn publish(&self, message: Message) -> BoxFuture<'_, Result<Delivery, Lost>>;

    /// The topics of devices that come back, where the broker tells.
    fn arrivals(&self) -> Option<broadcast::Receiver<Arc<str>>>;
}
