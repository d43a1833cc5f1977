//! The wiring: what a person types, and the service that it starts.
//!
//! - [`cli`]: the command line
//! - [`service`]: starts the parts, stops them in order
//! - [`shutdown`]: when to stop
//! - [`memory`]: what the allocator is told

pub mod cli;
pub mod memory;
pub mod service;
pub mod shutdown;
