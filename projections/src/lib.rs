//! The read models: tables into which the log's events are folded, kept up to date, and every query over them.
//!
//! Only this crate writes the read tables. REST and GraphQL call the query functions here and hold no SQL of their
//! own. The modules, in the order in which data flows through them:
//!
//! - [`read_model`]: what the runner needs of a read model
//! - [`runner`]: keeps the read models up to date, page by page
//! - [`rebuild`]: folds a new version beside the live one, compares the two, and swaps them
//! - [`verify`](mod@verify): computes a read model from the log a second time, in SQL, and compares
//! - [`devices`]: each device, when it was last heard of, and its last reading
//! - [`commands`]: every command with its outcome, batches of commands, and the command types
//! - [`alarms`]: every alarm with what has become of it, and the rules
//! - [`telemetry_windows`]: each metric of each device by the minute, hour and day, and by any step that a query asks
//!   for
//! - `refold`: folds a part of the log once more, for answers as of a moment of the past
//! - [`status`]: how far each projection has got, and what it could not fold
//! - [`instruments`]: the metrics of this crate
//! - [`paging`]: pages of a list, and the cursors between them

pub mod alarms;
pub mod commands;
pub mod devices;
#[cfg(test)]
mod given;
pub mod instruments;
pub mod paging;
pub mod read_model;
pub mod rebuild;
mod refold;
pub mod runner;
pub mod status;
pub mod telemetry_windows;
pub mod verify;

pub use refold::Refolded;
pub use runner::{Handle, Options, Projections, WaitError, fold};
