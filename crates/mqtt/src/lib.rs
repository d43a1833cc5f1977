//! MQTT: all code that speaks the protocol.
//!
//! - [`server`]: the built-in endpoint, which devices connect to
//! - [`subscriber`]: receives devices' messages from an external broker
//! - [`publisher`]: publishes commands to devices through an external broker
//! - [`retained`]: publishes messages that an external broker keeps
//! - [`url`], [`client`]: an external broker's address, and a connection to it
//! - [`descriptors`]: raises the limit of open connections
//! - [`protocol`]: the protocol on the server's side, without I/O
//! - [`instruments`]: what this crate counts

pub mod client;
pub mod descriptors;
pub mod instruments;
mod losses;
pub mod protocol;
pub mod publisher;
pub mod retained;
pub mod server;
pub mod subscriber;
pub mod url;
