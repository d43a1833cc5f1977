//! `fleetlog bench`: how fast fleetlog is, beside the best that this machine could do, measured in one run.
//!
//! Machines differ and are noisy: compare the ratio of the two figures. Each benchmark starts its own Postgres, broker
//! and server, durable as in production, and checks what it has stored before it reports.
//!
//! What is measured:
//! - [`ingest`]: from devices to the log and the read models
//! - [`append`]: batches into the log, alone
//! - [`projections`]: from the log into the read models, alone
//! - [`rebuild`]: a new version of a read model beside the live one, alone and under telemetry
//! - [`commands`]: from a request to a device and back, under telemetry
//! - [`connections`]: the cost of idle connections, beside those of a bare [`listener`]
//! - [`streams`]: from the log to those who follow it
//! - [`query`]: reads over HTTP from a large log
//!
//! What the benchmarks share:
//! - [`lab`]: a Postgres, a broker and a server, each a process
//! - [`load`], [`fleet`], [`rows`]: messages, the devices that publish them, and the messages as rows of the log
//! - [`client`], [`schedule`]: requests over HTTP, and when they are due
//! - [`progress`], [`usage`]: how far the server has got, and what it uses
//! - [`check`]: what must be right at the end
//! - [`report`]: the printed result

mod append;
pub mod args;
mod check;
mod client;
mod commands;
mod connections;
mod fleet;
mod ingest;
mod lab;
mod listener;
mod load;
mod progress;
mod projections;
mod query;
mod rebuild;
mod report;
mod rows;
mod schedule;
mod streams;
mod usage;

use args::{Bench, What};
use lab::Lab;
use report::Report;

/// Runs the benchmark that was asked for, and prints its report.
pub async fn run(args: Bench) -> anyhow::Result<()> {
    let report = match &args.what {
        What::Ingest(args) => in_lab(async |lab| ingest::run(args, lab).await).await?,
        What::Append(args) => in_lab(async |lab| append::run(args, lab).await).await?,
        What::Projections(args) => in_lab(async |lab| projections::run(args, lab).await).await?,
        What::Rebuild(args) => in_lab(async |lab| rebuild::run(args, lab).await).await?,
        What::Commands(args) => in_lab(async |lab| commands::run(args, lab).await).await?,
        What::Connections(args) => in_lab(async |lab| connections::run(args, lab).await).await?,
        What::Query(args) => in_lab(async |lab| query::run(args, lab).await).await?,
        What::Streams(args) => in_lab(async |lab| streams::run(args, lab).await).await?,
        What::Listener { address } => return listener::run(*address).await,
        What::Handler(args) => return query::bare::serve(args).await,
    };
    report.print(args.json)
}

async fn in_lab(measure: impl AsyncFnOnce(&Lab) -> anyhow::Result<Report>) -> anyhow::Result<Report> {
    let lab = Lab::open().await?;
    let measured = measure(&lab).await;
    // Close the lab before a failed measurement returns, so that nothing is left behind.
    lab.close().await?;
    measured
}
