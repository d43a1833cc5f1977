//! REST, as its clients see it.
//!
//! - [`bad_input`]: a definite refusal for everything that makes no sense
//! - [`contract`]: the document, and that it is kept
//! - [`devices`], [`telemetry`], [`log`]: the resources
//! - [`service`]: health, metrics, headers, and how it ends

mod bad_input;
mod contract;
mod devices;
mod log;
mod service;
mod telemetry;

pub(crate) use contract::assert_committed;
