//! Tools that try fleetlog out. Only the command line depends on them; production code does not.
//!
//! - [`mod@bench`]: benchmarks, each figure beside the machine's own ceiling
//! - [`simulate`]: simulated devices
//! - [`agent`]: this machine as a device
//! - `device`: the device's side of MQTT, for both

#![expect(clippy::disallowed_methods, reason = "a device and a benchmark have clocks of their own")]

pub mod agent;
pub mod bench;
mod device;
pub mod simulate;
