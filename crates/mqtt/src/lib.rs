//! MQTT: everything that speaks the protocol.
//!
//! - [`server`]: the built-in endpoint, which devices connect to
//! - [`subscriber`]: devices' messages from an external broker
//! - [`publisher`]: commands to devices, through an external broker
//! - [`url`], [`client`]: where an external broker is; a connection to it
//! - [`descriptors`]: room for connections

pub mod client;
pub mod descriptors;
pub mod publisher;
pub mod server;
pub mod subscriber;
pub mod url;
