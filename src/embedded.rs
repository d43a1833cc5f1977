//! The servers that `fleetlog up` and the tests start for themselves.

pub mod postgres;
