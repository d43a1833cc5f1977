//! Commands under telemetry: how many are accepted, and how long each step takes; beside plain inserts of the same size.
//!
//! Requests come at a rate, whether or not those before them have been answered, and count from the moment at which they
//! were due: a server that falls behind shows it. After that, as many as it takes are sent at once, for the most that is
//! accepted.
//!
//! - [`fleet`]: devices that publish telemetry and answer every command
//! - [`client`]: requests over HTTP

mod client;
mod fleet;

use std::collections::HashMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use fleetlog_event_log::{EventLog, database};
use hdrhistogram::Histogram;
use metrics_exporter_prometheus::PrometheusHandle;
use sqlx::{ConnectOptions, Executor, PgPool};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::load::Load;
use crate::cli::BenchCommands;
use crate::embedded::{mosquitto, postgres};
use crate::service::{Broker, Options, Service};
use crate::{external, http};
use client::Client;
use fleet::Fleet;

const PASSWORD: &str = "a password for one benchmark";
/// Connections that requests are sent over.
const CONNECTIONS: usize = 16;
/// How often the read model is asked for outcomes: the resolution of what is measured by it.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// How long the last commands may take to end.
const PATIENCE: Duration = Duration::from_mins(2);

/// What was measured. Times are in milliseconds.
#[derive(Debug, serde::Serialize)]
struct Figures {
    telemetry_per_s: u32,
    requested_per_s: u32,
    post_to_202: Times,
    post_to_receipt: Times,
    ack_to_visible: Times,
    accepted_per_s: f64,
    ceiling_per_s: f64,
    ratio: f64,
}

#[derive(Debug, serde::Serialize)]
struct Times {
    p50: f64,
    p99: f64,
    max: f64,
}

/// When the steps of a command happened, as far as they have.
#[derive(Default)]
struct Steps {
    /// By command: when it was due, when it was accepted.
    accepted: HashMap<Uuid, (Instant, Instant)>,
    received: HashMap<Uuid, Instant>,
    answered: HashMap<Uuid, Instant>,
    visible: HashMap<Uuid, Instant>,
}

/// Measures and prints.
pub async fn run(args: BenchCommands, metrics: PrometheusHandle) -> anyhow::Result<()> {
    let directory = tempfile::Builder::new().prefix("fleetlog-bench-").tempdir()?;
    let cluster =
        postgres::Cluster::start(postgres::Options::new(directory.path().join("postgres")), |_| ()).await?;
    let measured = measure(&args, &cluster, directory.path(), metrics).await;
    cluster.stop().await?;
    let figures = measured?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&figures)?)?;
        return Ok(());
    }
    let Figures { telemetry_per_s, requested_per_s, accepted_per_s, ceiling_per_s, ratio, .. } = figures;
    writeln!(out, "{requested_per_s} commands/s, under {telemetry_per_s} messages/s of telemetry (ms)")?;
    for (name, Times { p50, p99, max }) in [
        ("POST to 202", &figures.post_to_202),
        ("POST to the device's receipt", &figures.post_to_receipt),
        ("answer to visible state", &figures.ack_to_visible),
    ] {
        writeln!(out, "  {name:<30} p50 {p50:>7.2}  p99 {p99:>7.2}  max {max:>7.2}")?;
    }
    writeln!(out, "as many as there can be")?;
    writeln!(out, "  accepted   {accepted_per_s:>7.0} commands/s")?;
    writeln!(out, "  ceiling    {ceiling_per_s:>7.0} inserts/s of one event each, over as many connections")?;
    writeln!(out, "  ratio      {ratio:>7.2}")?;
    Ok(())
}

async fn measure(
    args: &BenchCommands,
    cluster: &postgres::Cluster,
    directory: &Path,
    metrics: PrometheusHandle,
) -> anyhow::Result<Figures> {
    let ceiling_per_s = ceiling(cluster).await?;
    let broker =
        mosquitto::Broker::start(mosquitto::Options { dir: directory.join("mosquitto"), port: None }).await?;
    let url: crate::broker::Url = format!("mqtt://127.0.0.1:{}", broker.address().port()).parse()?;
    let service = Service::start(Options {
        database: database::Options::new(cluster.connect_options()),
        migrate: true,
        http: SocketAddr::from(([127, 0, 0, 1], 0)),
        broker: Broker::External(external::Options::new(url.clone(), "fleetlog")),
        admin_email: None,
        admin_password: Some(PASSWORD.to_owned()),
        secret: None,
        identity: crate::identity::Settings::default(),
        mail: crate::identity::mail::Transport::default(),
        settings: http::Settings::default(),
        metrics,
    })
    .await?;
    let (log, address, subscribed) = (service.log().clone(), service.http(), service.broker());
    let shutdown = CancellationToken::new();
    let served = tokio::spawn(service.run(shutdown.clone()));
    while !subscribed() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let steps = Arc::new(Mutex::new(Steps::default()));
    let fleet = Fleet::start(&url, args.devices, args.telemetry, &steps).await?;
    registered(&log, args.devices).await?;
    let looking = tokio::spawn(look(log.pool().clone(), Arc::clone(&steps)));

    requests(args, address, &steps).await?;
    let timed = steps.lock().await.accepted.len();
    let accepted_per_s = most(args, address, &steps).await?;
    ended(&log, &steps).await?;
    ensure!(timed > 0, "no command was requested: let it run for longer");
    looking.abort();
    drop(fleet);
    shutdown.cancel();
    served.await??;
    broker.stop().await?;
    let steps = steps.lock().await;
    // Of those that came at a rate: the others wait for each other.
    let timed = |steps: &Steps| -> Vec<Uuid> {
        let mut timed: Vec<_> = steps.accepted.iter().map(|(id, (due, _))| (*due, *id)).collect();
        timed.sort();
        timed.into_iter().map(|(_, id)| id).collect()
    };
    let ids = &timed(&steps)[..];
    let ids = &ids[..ids.len().min(args.rate as usize * args.seconds as usize)];
    Ok(Figures {
        telemetry_per_s: args.telemetry,
        requested_per_s: args.rate,
        post_to_202: times(ids, |id| Some(steps.accepted.get(id)?.1 - steps.accepted.get(id)?.0))?,
        post_to_receipt: times(ids, |id| Some(*steps.received.get(id)? - steps.accepted.get(id)?.0))?,
        ack_to_visible: times(ids, |id| Some(*steps.visible.get(id)? - *steps.answered.get(id)?))?,
        accepted_per_s,
        ceiling_per_s,
        ratio: accepted_per_s / ceiling_per_s,
    })
}

/// Requests commands at a rate, to one device after the other.
async fn requests(
    args: &BenchCommands,
    address: SocketAddr,
    steps: &Arc<Mutex<Steps>>,
) -> anyhow::Result<()> {
    let (schedule, due) = mpsc::unbounded_channel::<(Instant, u32)>();
    let due = Arc::new(Mutex::new(due));
    let mut workers: JoinSet<anyhow::Result<()>> = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (mut client, due, steps) =
            (Client::log_in(address, PASSWORD).await?, Arc::clone(&due), Arc::clone(steps));
        workers.spawn(async move {
            loop {
                let next = due.lock().await.recv().await;
                let Some((due, device)) = next else { return Ok(()) };
                let cmd_id = client.ping(&Load::uid(device)).await?;
                steps.lock().await.accepted.insert(cmd_id, (due, Instant::now()));
            }
        });
    }
    let every = Duration::from_secs(1) / args.rate.max(1);
    let started = Instant::now();
    for number in 0..args.rate * args.seconds {
        let due = started + every * number;
        tokio::time::sleep_until(due).await;
        schedule.send((due, number % args.devices))?;
    }
    drop(schedule);
    while let Some(worker) = workers.join_next().await {
        worker??;
    }
    Ok(())
}

/// Requests commands one after the other on each connection; how many were accepted a second.
async fn most(args: &BenchCommands, address: SocketAddr, steps: &Arc<Mutex<Steps>>) -> anyhow::Result<f64> {
    let mut workers: JoinSet<anyhow::Result<u32>> = JoinSet::new();
    let until = Instant::now() + Duration::from_secs(u64::from(args.seconds));
    for worker in 0..CONNECTIONS as u32 {
        let (mut client, steps) = (Client::log_in(address, PASSWORD).await?, Arc::clone(steps));
        let devices = args.devices;
        workers.spawn(async move {
            let mut number = 0;
            while Instant::now() < until {
                let due = Instant::now();
                let cmd_id =
                    client.ping(&Load::uid((worker + number * CONNECTIONS as u32) % devices)).await?;
                steps.lock().await.accepted.insert(cmd_id, (due, Instant::now()));
                number += 1;
            }
            Ok(number)
        });
    }
    let mut accepted = 0;
    while let Some(worker) = workers.join_next().await {
        accepted += worker??;
    }
    Ok(f64::from(accepted) / f64::from(args.seconds))
}

/// Notes when commands that were answered are seen to be.
async fn look(pool: PgPool, steps: Arc<Mutex<Steps>>) -> anyhow::Result<()> {
    loop {
        let waiting: Vec<Uuid> = {
            let steps = steps.lock().await;
            steps.answered.keys().filter(|id| !steps.visible.contains_key(*id)).copied().collect()
        };
        let sql = "SELECT cmd_id FROM commands WHERE tenant = 't0' AND cmd_id = ANY($1) AND status = 'acked'";
        let seen: Vec<Uuid> = sqlx::query_scalar(sql).bind(waiting).fetch_all(&pool).await?;
        let now = Instant::now();
        steps.lock().await.visible.extend(seen.into_iter().map(|id| (id, now)));
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn registered(log: &EventLog, devices: u32) -> anyhow::Result<()> {
    let sql = "SELECT count(*) FROM devices WHERE registered_at IS NOT NULL";
    while sqlx::query_scalar::<_, i64>(sql).fetch_one(log.pool()).await? < i64::from(devices) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Waits until every command that was accepted has ended well: no figure comes from lost work.
async fn ended(log: &EventLog, steps: &Arc<Mutex<Steps>>) -> anyhow::Result<()> {
    let accepted = steps.lock().await.accepted.len() as i64;
    let sql = "SELECT count(*), count(*) FILTER (WHERE status = 'acked' AND attempts = 1) FROM commands";
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (all, acked): (i64, i64) = sqlx::query_as(sql).fetch_one(log.pool()).await?;
        if (all, acked) == (accepted, accepted) {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "{accepted} were accepted; on the record {all}, acknowledged {acked}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn times(ids: &[Uuid], took: impl Fn(&Uuid) -> Option<Duration>) -> anyhow::Result<Times> {
    let mut histogram = Histogram::<u64>::new(3)?;
    for id in ids {
        let took = took(id).context("a step of a command was not seen")?;
        histogram.record(took.as_micros() as u64)?;
    }
    let ms = |micros: u64| micros as f64 / 1000.0;
    Ok(Times {
        p50: ms(histogram.value_at_quantile(0.5)),
        p99: ms(histogram.value_at_quantile(0.99)),
        max: ms(histogram.max()),
    })
}

/// Inserts of one event each into the same table, over as many connections, in a database of its own.
async fn ceiling(cluster: &postgres::Cluster) -> anyhow::Result<f64> {
    const EACH: i32 = 500;
    let mut admin = cluster.connect_options().connect().await?;
    admin.execute("CREATE DATABASE ceiling").await?;
    let options = database::Options::new(cluster.connect_options_for("ceiling"));
    options.migrate().await?;
    let log = EventLog::open(options).await?;
    let started = Instant::now();
    let mut workers: JoinSet<Result<(), sqlx::Error>> = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let mut connection = cluster.connect_options_for("ceiling").connect().await?;
        workers.spawn(async move {
            let sql = "INSERT INTO control_events
                     (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
                 VALUES ('Command', 't0/' || gen_random_uuid(), 1, 'CommandRequested', '1.0', $1, '{}')";
            let payload = serde_json::json!({ "CommandRequested": { "padding": "x".repeat(200) } });
            for _ in 0..EACH {
                sqlx::query(sql).bind(&payload).execute(&mut connection).await?;
            }
            Ok(())
        });
    }
    while let Some(worker) = workers.join_next().await {
        worker??;
    }
    let taken = started.elapsed().as_secs_f64();
    log.close().await;
    admin.execute("DROP DATABASE ceiling").await?;
    Ok(f64::from(EACH) * CONNECTIONS as f64 / taken)
}
