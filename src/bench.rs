//! `fleetlog bench`: how fast, beside what this machine could do at best, in one run.
//!
//! Machines differ and are noisy: the ratio of the two figures is what can be compared. Each benchmark starts a
//! Postgres, a broker and a server of its own, durable as in production, and checks what it has stored before it reports.
//!
//! What is measured:
//! - [`ingest`]: from devices to the log and the read models
//! - [`commands`]: from a request to a device and back, under telemetry
//!
//! With what:
//! - [`lab`]: a Postgres, a broker and a server, each a process
//! - [`load`], [`fleet`], [`rows`]: messages, the devices that publish them, and the same as rows of the log
//! - [`client`]: requests over HTTP
//! - [`progress`], [`usage`]: how far the server has got, and what it uses
//! - [`check`]: what must be right at the end
//! - [`report`]: what is printed

mod check;
mod client;
mod commands;
mod fleet;
mod ingest;
mod lab;
mod load;
mod progress;
mod report;
mod rows;
mod usage;

use crate::cli::bench::{Bench, What};
use lab::Lab;

/// Measures what was asked for, and prints it.
pub async fn run(args: Bench) -> anyhow::Result<()> {
    let lab = Lab::open().await?;
    let measured = match &args.what {
        What::Ingest(args) => ingest::run(args, &lab).await,
        What::Commands(args) => commands::run(args, &lab).await,
    };
    // Also where it failed: nothing is left behind.
    lab.close().await?;
    measured?.print(args.json)
}
