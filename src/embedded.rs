//! The servers that `fleetlog up` and the tests start for themselves.
//!
//! Each is a direct child of this process, reachable from this machine only, and dies with its owner.

pub(crate) mod process;

pub mod mosquitto;
pub mod postgres;
