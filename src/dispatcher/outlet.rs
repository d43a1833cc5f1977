//! Through which broker commands go: our own endpoint, or somebody else's.

use std::sync::Arc;

use tokio::sync::broadcast;

use crate::{endpoint, external};

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

/// The way to the devices. Cheap to clone.
#[derive(Clone)]
pub enum Outlet {
    /// Devices are connected to this process.
    Endpoint(endpoint::Outlet),
    /// Devices are connected to a broker.
    External(external::outlet::Handle),
}

impl Outlet {
    /// Returns once the broker has answered.
    pub(super) async fn publish(&self, message: Message) -> Result<Delivery, Lost> {
        match self {
            Self::Endpoint(outlet) => Ok(outlet.publish(message).await),
            Self::External(outlet) => outlet.publish(message).await,
        }
    }

    /// The topics of devices that come back, where the broker tells.
    pub(super) fn arrivals(&self) -> Option<broadcast::Receiver<Arc<str>>> {
        match self {
            Self::Endpoint(outlet) => Some(outlet.arrivals()),
            Self::External(_) => None,
        }
    }
}
