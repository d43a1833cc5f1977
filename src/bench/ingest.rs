//! Unique durable messages a second, from devices into the log and every read model; beside COPY.
//!
//! First at a rate, for how long each step takes, then as many as are taken, for the figure.

use std::time::Duration;

use sqlx::PgConnection;
use tokio::time::Instant;

use super::check;
use super::fleet::{Fleet, Pace};
use super::lab::{self, Lab, Mqtt, Server};
use super::progress::Progress;
use super::report::{Figure, Report, Timings};
use super::rows::{Rows, telemetry_log};
use super::usage::Watch;
use crate::cli::bench::{Broker, Ingest};

/// The most messages that the broker is made to queue. With more, the run measures how slowly Mosquitto works off a
/// long queue: 2.0.11 passes on 21,000 msg/s where it has 200,000 in store, 29,000 where it has these.
const AHEAD: u64 = 50_000;
/// The most rows that the ceiling is measured with.
const CEILING: u64 = 500_000;

/// Measures.
pub(super) async fn run(args: &Ingest, lab: &Lab) -> anyhow::Result<Report> {
    let ceiling = ceiling(lab, args.devices, args.messages()).await?;
    match args.broker {
        Broker::Endpoint => {
            let server = lab.serve(Mqtt::Endpoint).await?;
            let watch = Watch::begin(&[("server", server.id()), ("postgres", lab.postgres())]);
            measure(args, lab, server, watch, ceiling).await
        }
        Broker::Mosquitto => {
            let broker = lab.mosquitto().await?;
            let server = lab.serve(Mqtt::Broker(&broker)).await?;
            let processes =
                [("server", server.id()), ("postgres", lab.postgres()), ("mosquitto", broker.id())];
            let report = measure(args, lab, server, Watch::begin(&processes), ceiling).await?;
            broker.stop().await?;
            Ok(report)
        }
    }
}

/// Rows a second by COPY into the same table, durable, in batches of the largest size.
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

async fn measure(
    args: &Ingest,
    lab: &Lab,
    server: Server,
    watch: Watch,
    ceiling: f64,
) -> anyhow::Result<Report> {
    let Ingest { devices, rate, broker, .. } = *args;
    let time = Duration::from_secs(args.seconds.into());
    let mut fleet = Fleet::connect(&server.mqtt(), devices).await?;
    let progress = Progress::watch(lab.database()).await?;
    fleet.introduce().await?;
    progress.until_folded(fleet.different()).await?;

    let mut report = Report::new(
        "ingest",
        format!(
            "{devices} devices, {rate} messages/s for {time:?} through {broker}, then as many as are taken, 5 % of them repeats"
        ),
    );
    let (before, lag, started) = (fleet.different(), progress.lag(), Instant::now());
    let acknowledged = fleet.publish(&Pace::Rate(rate.into()), time).await?;
    progress.until_stored(fleet.different()).await?;
    let stored_per_s = (fleet.different() - before) as f64 / started.elapsed().as_secs_f64();
    report.figure(Figure::new("stored at that rate", stored_per_s, "msg/s"));
    report.timings(&acknowledged).timings(&lag.end().await?);
    let mut owner = lab.owner().await?;
    report.timings(&stored(&mut owner, before).await?);

    let (before, lag, started) = (fleet.different(), progress.lag(), Instant::now());
    fleet.publish(&Pace::Most { stored: progress.stored(), ahead: AHEAD }, time).await?;
    progress.until_stored(fleet.different()).await?;
    let stored_per_s = (fleet.different() - before) as f64 / started.elapsed().as_secs_f64();
    report.figure(
        Figure::new("stored at most", stored_per_s, "msg/s").beside("COPY into the same table", ceiling),
    );
    report.timings(&lag.end().await?).usage(watch.end().await?);
    progress.until_folded(fleet.different()).await?;
    report.checked(check::events(&mut owner, fleet.different()).await?);
    report.checked(check::windows(&mut owner, fleet.different(), devices).await?);
    drop((fleet, progress));
    server.stop().await?;
    Ok(report)
}

/// From the moment at which a message was due until it was recorded, by the events after a position.
async fn stored(owner: &mut PgConnection, after: u64) -> anyhow::Result<Timings> {
    let sql = "SELECT (extract(epoch FROM recorded_at - occurred_at) * 1000)::bigint AS ms, count(*)
         FROM telemetry_events WHERE position > $1 GROUP BY ms";
    let mut timings = Timings::new("due to recorded");
    for (ms, count) in sqlx::query_as::<_, (i64, i64)>(sql).bind(after as i64).fetch_all(owner).await? {
        timings.took_often(Duration::from_millis(ms.max(0) as u64), count as u64);
    }
    Ok(timings)
}
