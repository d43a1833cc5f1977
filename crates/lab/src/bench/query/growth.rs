//! Whether appends and reads stay as fast as the log grows. Both are measured at a tenth of the events, at all of them,
//! and at three times as many, spread over the same span, so that the answers have the same size.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use tokio::time::Instant;

use super::super::client::Client;
use super::super::lab::{self, Lab};
use super::super::report::{Figure, Report};
use super::super::rows::telemetry_log;
use super::asks::{Ask, Asks};
use super::large::Large;
use super::load;
use crate::bench::args::Query as Args;

/// Messages in an appended batch.
const BATCH: u64 = 1000;
/// The figures of each size.
const MEASURED: [[&str; 3]; 3] = [
    ["append, a tenth of the events", "append, all of them", "append, three times as many"],
    ["readings, a tenth of the events", "readings, all of them", "readings, three times as many"],
    ["windows, a tenth of the events", "windows, all of them", "windows, three times as many"],
];

/// Runs the benchmark.
pub(super) async fn run(args: &Args, lab: &Lab) -> anyhow::Result<Report> {
    let sizes = [args.events / 10, args.events, args.events * 3];
    let span = Large::new(args.devices, sizes[0]);
    let span = span.until - span.rows.since;
    let mut report = Report::new(
        "query",
        format!("as the log grows: {sizes:?} events of {} devices over the last {span}", args.devices),
    );
    let mut firsts = None;
    for (nth, events) in sizes.into_iter().enumerate() {
        let large = Large::within(args.devices, events, span);
        let measured = measure(args, lab, &large, &mut report).await?;
        let [append, readings, windows] = *firsts.get_or_insert(measured);
        for ((names, value), first) in MEASURED.iter().zip(measured).zip([append, readings, windows]) {
            report.figure(Figure::new(names[nth], value, "/s").beside("at a tenth of the events", first));
        }
        lab.empty().await?;
    }
    Ok(report)
}

/// Messages appended a second, and answers a second of readings and of windows.
async fn measure(args: &Args, lab: &Lab, large: &Large, report: &mut Report) -> anyhow::Result<[f64; 3]> {
    let time = Duration::from_secs(args.seconds.into());
    let server = large.serve(lab).await?;
    let (client, asks) = (server.client().await?, Asks::of(large));
    let readings = load::most(&client, &asks, Ask::Readings, time).await?;
    let windows = load::most(&client, &asks, Ask::Windows, time).await?;
    let bare = lab.bare("handler", &["--database-url", &lab.url()]).await?;
    let ceiling = Client::connect(bare.address()).await?;
    report.checked(asks.check(&client, &ceiling, &mut lab.owner().await?).await?);
    bare.stop().await?;
    server.stop().await?;
    Ok([append(lab, large, time).await?, readings, windows])
}

/// Appends the devices' next messages while nothing reads.
async fn append(lab: &Lab, large: &Large, time: Duration) -> anyhow::Result<f64> {
    let log = lab::event_log(lab.database()).await?;
    let log_id = telemetry_log(&log)?;
    let (started, mut next) = (Instant::now(), large.events);
    while started.elapsed() < time {
        let batch = (next..next + BATCH).map(|number| large.rows.event(number));
        let batch: Arc<[_]> = batch.collect::<anyhow::Result<_>>()?;
        let outcomes = log.append_telemetry(log_id, batch).await?;
        ensure!(outcomes.len() as u64 == BATCH, "{outcomes:?}");
        next += BATCH;
    }
    let taken = started.elapsed().as_secs_f64();
    let appended = next - large.events;
    let head: i64 = sqlx::query_scalar("SELECT head FROM logs WHERE log_id = $1")
        .bind(log_id)
        .fetch_one(log.pool())
        .await?;
    ensure!(head as u64 == next, "{appended} messages were appended; the head is {head}");
    log.close().await;
    Ok(appended as f64 / taken)
}
