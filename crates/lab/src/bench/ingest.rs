//! Unique durable messages a second, from devices into the log and every read model, beside COPY.
//!
//! The first phase publishes at a rate and measures how long each step takes. The second publishes at full speed and
//! yields the figure.

use std::time::Duration;

use anyhow::ensure;
use fleetlog_embedded::mosquitto;
use sqlx::PgConnection;
use tokio::time::Instant;

use super::check;
use super::fleet::{Fleet, Pace};
use super::lab::{self, Lab, Mqtt};
use super::progress::Progress;
use super::report::{Figure, Report, Timings};
use super::rows::{Rows, telemetry_log};
use super::usage::{Used, Watch};
use crate::bench::args::{Broker, Ingest};

/// The most messages that the broker has to queue. With more, the run measures how slowly Mosquitto works off a long
/// queue: 2.0.11 passes on 21,000 msg/s with 200,000 queued, and 29,000 msg/s with this many.
const AHEAD: u64 = 50_000;
/// The most rows that the ceiling is measured with.
const CEILING: u64 = 500_000;

/// Runs the benchmark.
pub(super) async fn run(args: &Ingest, lab: &Lab) -> anyhow::Result<Report> {
    ensure!(!args.tls || args.broker == Broker::Endpoint, "--tls goes with --broker endpoint");
    let ceiling = ceiling(lab, args.devices, args.messages()).await?;
    let broker = match args.broker {
        Broker::Endpoint => None,
        Broker::Mosquitto => Some(lab.mosquitto().await?),
    };
    let mqtt = match &broker {
        Some(broker) => Mqtt::Broker(broker),
        None if args.tls => Mqtt::EndpointOverTls,
        None => Mqtt::Endpoint,
    };
    let server = lab.serve(mqtt).await?;
    let processes = [
        ("server", server.id()),
        ("postgres", lab.postgres()),
        ("mosquitto", broker.as_ref().and_then(mosquitto::Broker::id)),
    ];
    let mut run = Run {
        fleet: Fleet::connect(&server.mqtt(), args.devices, args.connections()).await?,
        progress: Progress::watch(lab.database()).await?,
        owner: lab.owner().await?,
        processes,
    };
    let report = run.measure(args, ceiling).await?;
    drop(run);
    server.stop().await?;
    if let Some(broker) = broker {
        broker.stop().await?;
    }
    Ok(report)
}

/// Rows a second by COPY into the same table, durable, as [`Rows::copy`] writes them.
async fn ceiling(lab: &Lab, devices: u32, messages: u64) -> anyhow::Result<f64> {
    let rows = messages.clamp(1, CEILING);
    let taken = lab
        .apart(async |connect| {
            let log = lab::event_log(connect.clone()).await?;
            let mut owner = lab::owner(&connect).await?;
            let taken = Rows::now(devices).copy(&mut owner, telemetry_log(&log)?, 0..rows).await?;
            log.close().await;
            Ok(taken)
        })
        .await?;
    Ok(rows as f64 / taken.as_secs_f64())
}

/// What both phases need.
struct Run {
    fleet: Fleet,
    progress: Progress,
    owner: PgConnection,
    processes: [(&'static str, Option<u32>); 3],
}

/// The results of one phase.
struct Phase {
    stored_per_s: f64,
    acknowledged: Timings,
    lag: Timings,
    used: Vec<Used>,
}

impl Run {
    async fn measure(&mut self, args: &Ingest, ceiling: f64) -> anyhow::Result<Report> {
        let Ingest { devices, rate, seconds, broker, .. } = *args;
        let (connections, time) = (args.connections(), Duration::from_secs(seconds.into()));
        self.fleet.introduce().await?;
        let known = self.fleet.different();
        self.progress.until_folded(known).await?;

        let over = if args.tls { " over TLS" } else { "" };
        let load = format!(
            "{devices} devices over {connections} connections through {broker}{over}, {rate} messages/s for {seconds} s, then as many as are taken; 5 % of them repeats"
        );
        let mut report = Report::new("ingest", load);
        let at_rate = self.phase(&Pace::Rate(rate.into()), time).await?;
        report.figure(Figure::new("stored at that rate", at_rate.stored_per_s, "msg/s"));
        report.timings(&at_rate.acknowledged).timings(&self.recorded(known).await?).timings(&at_rate.lag);
        report.usage("at that rate", at_rate.used);

        let stored = self.progress.stored();
        let at_most = self.phase(&Pace::Most { stored, ahead: AHEAD }, time).await?;
        let figure = Figure::new("stored at most", at_most.stored_per_s, "msg/s");
        report.figure(figure.beside("COPY into the same table", ceiling));
        report.timings(&at_most.lag).usage("at most", at_most.used);

        let different = self.fleet.different();
        self.progress.until_folded(different).await?;
        report.checked(check::events(&mut self.owner, different).await?);
        report.checked(check::windows(&mut self.owner, different, devices).await?);
        Ok(report)
    }

    async fn phase(&mut self, pace: &Pace, time: Duration) -> anyhow::Result<Phase> {
        let (before, started) = (self.fleet.different(), Instant::now());
        let (lag, watch) = (self.progress.lag(), Watch::begin(&self.processes));
        let acknowledged = self.fleet.publish(pace, time).await?;
        let sent = self.fleet.different();
        self.progress.until_stored(sent).await?;
        let stored_per_s = (sent - before) as f64 / started.elapsed().as_secs_f64();
        Ok(Phase { stored_per_s, acknowledged, lag: lag.end().await?, used: watch.end().await? })
    }

    /// How long messages took from their due time until they were recorded, for the events after a position.
    async fn recorded(&mut self, after: u64) -> anyhow::Result<Timings> {
        let sql = "SELECT (extract(epoch FROM recorded_at - occurred_at) * 1000)::bigint AS ms, count(*)
             FROM telemetry_events WHERE position > $1 GROUP BY ms";
        let mut timings = Timings::new("due to recorded");
        let counts: Vec<(i64, i64)> =
            sqlx::query_as(sql).bind(after as i64).fetch_all(&mut self.owner).await?;
        for (ms, count) in counts {
            timings.took_often(Duration::from_millis(ms.max(0) as u64), count as u64);
        }
        Ok(timings)
    }
}
