//! The pure domain of fleetlog: what may happen, and what an event is.
//!
//! No I/O, no clock, no database, no web framework. Time arrives in the command. The modules, in the order in which
//! data flows through them:
//!
//! - [`identity`]: tenants and device uids, and the stream id that is made of them
//! - [`topic`]: which device, and which of its channels, an MQTT topic names
//! - [`telemetry`]: from a message's bytes to the event that is stored, or the reason why not
//! - [`metrics`]: the numbers in a telemetry payload
//! - [`device`]: the `Device` aggregate

pub mod device;
pub mod identity;
pub mod metrics;
pub mod telemetry;
pub mod topic;
