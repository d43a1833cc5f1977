//! REST, as its clients see it.
//!
//! - [`bad_input`], [`bad_commands`]: a definite refusal for everything that makes no sense
//! - [`contract`]: the document, and that it is kept
//! - [`devices`], [`commands`], [`idempotency`], [`command_types`], [`command_batches`], [`telemetry`], [`log`]: the
//!   resources
//! - [`service`]: health, metrics, headers, and how it ends

mod bad_commands;
mod bad_input;
mod command_batches;
mod command_types;
pub(crate) mod commands;
pub(crate) mod contract;
mod devices;
mod idempotency;
mod log;
mod service;
mod telemetry;

pub(crate) use contract::assert_committed;
