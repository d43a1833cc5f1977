//! REST, as its clients see it.
//!
//! - [`bad_input`], [`bad_commands`]: a definite refusal for everything that makes no sense
//! - [`contract`], [`document`]: the document, and that it is kept
//! - [`generated`]: every operation with generated values, held against the document
//! - [`devices`], [`commands`], [`idempotency`], [`command_types`], [`command_batches`], [`telemetry`], [`log`]: the
//!   resources
//! - [`audit`]: the proof of the log, to a client that knows only its specification
//! - [`as_of`]: answers as of earlier moments
//! - [`positions`]: the event that made a row last
//! - [`service`]: health, metrics, headers, and how it ends

pub(crate) mod as_of;
mod audit;
mod bad_commands;
mod bad_input;
mod command_batches;
mod command_types;
pub(crate) mod commands;
pub(crate) mod contract;
mod devices;
pub(crate) mod document;
mod generated;
mod idempotency;
mod log;
mod positions;
mod rebuilds;
mod service;
mod telemetry;

pub(crate) use contract::assert_committed;
