//! Devices, apart from their messages.
//!
//! - [`registration`]: registers a device, within its tenant's limit
//! - `admission`: which of a tenant's devices may write; registers unknown ones
//! - [`credentials`]: the user names and passwords of devices
//! - [`sessions`]: what is kept for a device's library while it is away, and what it has left to be said
//! - [`connections`]: which devices are connected to the endpoint
//! - [`listeners`]: at which nodes devices listen for commands
//! - `node`: this process among the nodes that devices connect to

pub(crate) mod admission;
pub mod connections;
pub mod credentials;
pub mod listeners;
mod node;
pub mod registration;
pub mod sessions;
