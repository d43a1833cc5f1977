//! What tries fleetlog out. Production code does not depend on it; only the command line does.
//!
//! - [`mod@bench`]: figures, beside the machine's own ceiling
//! - [`simulate`]: devices that do not exist
//! - [`agent`]: this machine as a device
//! - `device`: the device's side of MQTT, for both

pub mod agent;
pub mod bench;
mod device;
pub mod simulate;
