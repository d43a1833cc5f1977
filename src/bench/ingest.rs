//! Unique durable messages a second: through Mosquitto, into the log, folded by every projection; beside COPY.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use fleetlog_event_log::{EventLog, Lane, database};
use metrics_exporter_prometheus::PrometheusHandle;
use sqlx::{ConnectOptions, Executor};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::ceiling;
use super::load::Load;
use crate::cli::BenchIngest;
use crate::embedded::{mosquitto, postgres};
use crate::service::{Broker, Options, Service};
use crate::{external, http};

/// Metrics in each of the load's messages.
const METRICS: i64 = 4;
/// How long projections may take for what is left after the last message was stored.
const CATCH_UP: Duration = Duration::from_mins(10);

/// How long nothing may be stored before the run is given up.
const STANDSTILL: Duration = Duration::from_secs(20);

/// What was measured.
#[derive(Debug, serde::Serialize)]
struct Figures {
    devices: u32,
    messages: u64,
    /// Until the last message was committed, in seconds.
    stored_s: f64,
    stored_per_s: f64,
    /// How much longer until every projection had folded it, in seconds.
    behind_s: f64,
    /// COPY of the same rows into the same table, in the same run.
    ceiling_per_s: f64,
    ratio: f64,
}

/// Measures and prints.
pub async fn run(args: BenchIngest, metrics: PrometheusHandle) -> anyhow::Result<()> {
    let load = Load::new(args.devices, args.messages);
    let directory = tempfile::Builder::new().prefix("fleetlog-bench-").tempdir()?;
    let cluster =
        postgres::Cluster::start(postgres::Options::new(directory.path().join("postgres")), |_| ()).await?;
    let measured = measure(load, &cluster, directory.path(), metrics).await;
    cluster.stop().await?;
    let figures = measured?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&figures)?)?;
    } else {
        let Figures { devices, messages, stored_per_s, behind_s, ceiling_per_s, ratio, .. } = figures;
        writeln!(out, "{messages} messages from {devices} devices through Mosquitto, each stored once")?;
        writeln!(out, "  stored       {stored_per_s:>9.0} msg/s")?;
        writeln!(out, "  projections  {behind_s:>9.2} s behind the last of them")?;
        writeln!(out, "  ceiling      {ceiling_per_s:>9.0} rows/s by COPY into the same table")?;
        writeln!(out, "  ratio        {ratio:>9.2}")?;
    }
    Ok(())
}

async fn measure(
    load: Load,
    cluster: &postgres::Cluster,
    directory: &Path,
    metrics: PrometheusHandle,
) -> anyhow::Result<Figures> {
    let mut admin = cluster.connect_options().connect().await?;
    admin.execute("CREATE DATABASE ceiling").await?;
    let ceiling = ceiling::copy(cluster.connect_options_for("ceiling"), load).await?;
    admin.execute("DROP DATABASE ceiling").await?;
    admin.execute("CHECKPOINT").await?;

    let broker =
        mosquitto::Broker::start(mosquitto::Options { dir: directory.join("mosquitto"), port: None }).await?;
    let port = broker.address().port();
    let service = Service::start(Options {
        database: database::Options::new(cluster.connect_options()),
        migrate: true,
        http: SocketAddr::from(([127, 0, 0, 1], 0)),
        broker: Broker::External(external::Options::new(
            format!("mqtt://127.0.0.1:{port}").parse()?,
            "fleetlog",
        )),
        admin_email: None,
        admin_password: None,
        secret: None,
        identity: crate::identity::Settings::default(),
        mail: crate::identity::mail::Transport::default(),
        settings: http::Settings::default(),
        metrics,
    })
    .await?;
    let subscribed = service.broker();
    let (log, projections) = (service.log().clone(), service.projections().clone());
    let shutdown = CancellationToken::new();
    let served = tokio::spawn(service.run(shutdown.clone()));

    // A broker drops what is published before somebody has subscribed.
    while !subscribed() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let started = Instant::now();
    let (store, stored) = watch::channel(0);
    tokio::try_join!(
        async { load.publish(port, stored).await.context("failed to publish") },
        watch_head(&log, load, store)
    )?;
    let stored = started.elapsed().as_secs_f64();
    projections.catch_up(CATCH_UP).await?;
    let behind = started.elapsed().as_secs_f64() - stored;
    check(&log, load).await?;
    shutdown.cancel();
    served.await??;
    broker.stop().await?;

    let (stored_per_s, ceiling_per_s) =
        (load.messages() as f64 / stored, load.messages() as f64 / ceiling.as_secs_f64());
    Ok(Figures {
        devices: load.devices,
        messages: load.messages(),
        stored_s: stored,
        stored_per_s,
        behind_s: behind,
        ceiling_per_s,
        ratio: stored_per_s / ceiling_per_s,
    })
}

/// Reports how many messages are stored, until all are.
async fn watch_head(log: &EventLog, load: Load, stored: watch::Sender<u64>) -> anyhow::Result<()> {
    let log_id = log.heads().of("t0", Lane::Telemetry).context("no log for t0")?;
    let mut heads = log.heads().watch();
    loop {
        let head = heads.borrow_and_update().get(&log_id).map_or(0, |log| log.head as u64);
        stored.send_replace(head);
        if head >= load.messages() {
            return Ok(());
        }
        let moved = tokio::time::timeout(STANDSTILL, heads.changed()).await;
        moved.with_context(|| {
            format!("nothing is stored any more, after {head} of {} messages", load.messages())
        })??;
    }
}

/// No figure comes from lost, doubled or unfolded work.
async fn check(log: &EventLog, load: Load) -> anyhow::Result<()> {
    let (events, last, messages): (i64, i64, i64) = sqlx::query_as(
        "SELECT count(DISTINCT position), max(position), count(DISTINCT (aggregate_id, msg_id)) FROM telemetry_events",
    )
    .fetch_one(log.pool())
    .await?;
    let sent = load.messages() as i64;
    ensure!(
        events == sent && last == sent && messages == sent,
        "sent {sent}, stored {messages} up to {last}"
    );
    let counted: Option<i64> =
        sqlx::query_scalar("SELECT sum(count)::bigint FROM telemetry_windows WHERE step = 60")
            .fetch_one(log.pool())
            .await?;
    ensure!(counted == Some(sent * METRICS), "{sent} messages, but {counted:?} readings in the windows");
    Ok(())
}
