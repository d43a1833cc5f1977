//! The read models: what the log's events add up to, kept up to date, and every query over it.
//!
//! The only writer of the read tables. REST and GraphQL call the query functions here; they hold no SQL of their own.
//! The modules, in the order in which data flows through them:
//!
//! - [`read_model`]: what a read model is to the runner
//! - [`runner`]: keeps them up to date, page by page
//! - [`devices`]: who is there, when it was last heard of, and its last reading
//! - [`commands`]: every command with its outcome, batches of them, and the command types
//! - [`telemetry_windows`]: each metric of each device by the minute, hour and day, and by any step on top
//! - [`status`]: how far each projection has got, and what it could not fold
//! - [`instruments`]: what this crate counts
//! - [`paging`]: pages of a list, and the cursors between them

pub mod commands;
pub mod devices;
#[cfg(test)]
mod given;
pub mod instruments;
pub mod paging;
pub mod read_model;
pub mod runner;
pub mod status;
pub mod telemetry_windows;

pub use runner::{Handle, Options, Projections, WaitError};
