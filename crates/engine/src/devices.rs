//! Devices, apart from their messages.
//!
//! - [`registration`]: registers a device, within its tenant's limit
//! - `admission`: which of a tenant's devices may write; registers unknown ones
//! - [`credentials`]: the user names and passwords of devices
//! - [`sessions`]: what is kept for a device's library while it is away

pub(crate) mod admission;
pub mod credentials;
pub mod registration;
pub mod sessions;
