//! The wiring: the command line, and the service that it starts.
//!
//! - [`cli`]: the command line
//! - `consumer`: one node takes messages from the broker, and another takes over
//! - [`service`]: starts the parts, and stops them in order
//! - [`witnesses`]: who is given the logs' checkpoints
//! - [`shutdown`]: shutdown signals
//! - [`memory`]: settings of the allocator
//! - [`instruments`]: what the process counts about itself

pub mod cli;
mod consumer;
pub mod instruments;
pub mod memory;
pub mod service;
pub mod shutdown;
mod simulations;
pub mod witnesses;
