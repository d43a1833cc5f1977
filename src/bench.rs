//! `fleetlog bench`: how fast, beside what this machine could do at best, in one run.
//!
//! Machines differ and are noisy: the ratio of the two figures is what can be compared. Each benchmark starts a
//! Postgres and a broker of its own, durable as in production, and checks what it has stored before it reports.
//!
//! - [`ingest`]: from a broker to the read models
//! - [`commands`]: from a request to a device and back, under telemetry
//! - [`ceiling`]: COPY of the same rows into the same table
//! - [`load`]: the devices and their messages

pub mod ceiling;
pub mod commands;
pub mod ingest;
pub mod load;
