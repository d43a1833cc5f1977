//! Devices, apart from their messages.
//!
//! - [`registration`]: puts a device on the record, where its tenant has room
//! - `admission`: which of a tenant's devices may write; registers unknown ones
//! - [`credentials`]: what a device logs in with

pub(crate) mod admission;
pub mod credentials;
pub mod registration;
