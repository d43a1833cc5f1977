//! Commands under telemetry: how many are accepted, and how long each step takes, beside plain inserts of the same
//! size.
//!
//! Requests come at a rate, whether or not those before them have been answered, and their latency counts from the
//! moment at which they were due, so a server that falls behind shows it. A second phase sends requests at full speed,
//! for the most that is accepted.
//!
//! [`fleet`] holds the devices that publish telemetry and answer every command.

mod fleet;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, PgPool};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use super::lab::{self, Lab, Mqtt, Server};
use super::load;
use super::report::{Figure, Report, Timings};
use super::schedule::Schedule;
use super::usage::Watch;
use crate::bench::args::Commands as Args;
use fleet::Fleet;

/// Connections that send requests.
const CONNECTIONS: usize = 16;
/// The time between two looks at the read model: the resolution of the outcome's time.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long the last commands may take to end.
const PATIENCE: Duration = Duration::from_mins(2);

/// When the steps of each command happened, as far as they have.
#[derive(Default)]
struct Steps {
    /// By command: when it was due, and when it was accepted.
    accepted: HashMap<Uuid, (Instant, Instant)>,
    received: HashMap<Uuid, Instant>,
    answered: HashMap<Uuid, Instant>,
    visible: HashMap<Uuid, Instant>,
}

/// Runs the benchmark.
pub(super) async fn run(args: &Args, lab: &Lab) -> anyhow::Result<Report> {
    let ceiling = lab.apart(ceiling).await?;
    let broker = lab.mosquitto().await?;
    let server = lab.serve(Mqtt::Broker(&broker)).await?;
    let watch =
        Watch::begin(&[("server", server.id()), ("postgres", lab.postgres()), ("mosquitto", broker.id())]);
    let steps = Arc::new(Mutex::new(Steps::default()));
    let fleet = Fleet::start(&server.mqtt(), args.devices, args.telemetry, &steps).await?;
    // A young table has no statistics, and the looks themselves must not load the machine.
    let keyed = lab.database().options([("enable_seqscan", "off"), ("enable_bitmapscan", "off")]);
    let pool =
        PgPoolOptions::new().max_connections(2).connect_with(keyed.disable_statement_logging()).await?;
    registered(&pool, args.devices).await?;
    let looking = tokio::spawn(look(pool.clone(), Arc::clone(&steps)));

    requests(args, &server, &steps).await?;
    let accepted = steps.lock().await.accepted.len();
    let at_most = most(args, &server, &steps).await?;
    ended(&pool, &steps).await?;
    looking.abort();
    let _ = looking.await;
    drop(fleet);

    let Args { devices, telemetry, rate, seconds } = args;
    let mut report = Report::new(
        "commands",
        format!(
            "{rate} commands/s for {seconds} s under {telemetry} messages/s of {devices} devices, then as many as are accepted"
        ),
    );
    let ceiling_name = "inserts of one event each, over as many connections";
    report.figure(Figure::new("accepted at most", at_most, "commands/s").beside(ceiling_name, ceiling));
    let steps = steps.lock().await;
    // Only the commands of the first phase: those of the second wait for each other.
    let ids = steps.first(accepted);
    let due = |id: &Uuid| Some(steps.accepted.get(id)?.0);
    report.timings(&times("POST to 202", &ids, |id| Some(steps.accepted.get(id)?.1 - due(id)?))?);
    report.timings(&times("POST to the device's receipt", &ids, |id| {
        Some(*steps.received.get(id)? - due(id)?)
    })?);
    report.timings(&times("answer to visible state", &ids, |id| {
        Some(*steps.visible.get(id)? - *steps.answered.get(id)?)
    })?);
    report.usage("in all", watch.end().await?);
    report.checked(format!(
        "{} commands are on the record, each acknowledged at its first attempt",
        steps.accepted.len()
    ));
    pool.close().await;
    server.stop().await?;
    broker.stop().await?;
    Ok(report)
}

impl Steps {
    /// The ids of the `count` commands that were due first.
    fn first(&self, count: usize) -> Vec<Uuid> {
        let mut ids: Vec<_> = self.accepted.iter().map(|(id, (due, _))| (*due, *id)).collect();
        ids.sort();
        ids.into_iter().map(|(_, id)| id).take(count).collect()
    }
}

/// Requests commands at a rate, to one device after the other.
async fn requests(args: &Args, server: &Server, steps: &Arc<Mutex<Steps>>) -> anyhow::Result<()> {
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(server.client().await?);
    }
    let schedule = Schedule::start(args.rate, args.rate * args.seconds);
    let mut workers: JoinSet<anyhow::Result<()>> = JoinSet::new();
    for mut client in clients {
        let (schedule, steps, devices) = (schedule.clone(), Arc::clone(steps), args.devices);
        workers.spawn(async move {
            while let Some((due, number)) = schedule.next().await {
                let cmd_id = client.ping(&load::uid(number % devices)).await?;
                steps.lock().await.accepted.insert(cmd_id, (due, Instant::now()));
            }
            Ok(())
        });
    }
    while let Some(worker) = workers.join_next().await {
        worker??;
    }
    Ok(())
}

/// Requests commands one after the other on each connection. Returns how many were accepted a second.
async fn most(args: &Args, server: &Server, steps: &Arc<Mutex<Steps>>) -> anyhow::Result<f64> {
    let mut workers: JoinSet<anyhow::Result<u32>> = JoinSet::new();
    let until = Instant::now() + Duration::from_secs(u64::from(args.seconds));
    for worker in 0..CONNECTIONS as u32 {
        let (mut client, steps) = (server.client().await?, Arc::clone(steps));
        let devices = args.devices;
        workers.spawn(async move {
            let mut number = 0;
            while Instant::now() < until {
                let due = Instant::now();
                let cmd_id =
                    client.ping(&load::uid((worker + number * CONNECTIONS as u32) % devices)).await?;
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

/// Records when the read model first shows each answered command as ended.
async fn look(pool: PgPool, steps: Arc<Mutex<Steps>>) -> anyhow::Result<()> {
    loop {
        let waiting: Vec<Uuid> = {
            let steps = steps.lock().await;
            steps.answered.keys().filter(|id| !steps.visible.contains_key(*id)).copied().collect()
        };
        let sql = "SELECT cmd_id FROM commands WHERE tenant = 't0' AND cmd_id = ANY($1) AND status = 'acked'";
        // Not prepared: Postgres would keep a plan from when the table was small, which reads all of it.
        let looking = sqlx::query_scalar(sql).bind(waiting).persistent(false);
        let seen: Vec<Uuid> = looking.fetch_all(&pool).await?;
        let now = Instant::now();
        steps.lock().await.visible.extend(seen.into_iter().map(|id| (id, now)));
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn registered(pool: &PgPool, devices: u32) -> anyhow::Result<()> {
    let sql = "SELECT count(*) FROM devices WHERE registered_at IS NOT NULL";
    while sqlx::query_scalar::<_, i64>(sql).fetch_one(pool).await? < i64::from(devices) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Waits until every accepted command has been acked, so that no figure comes from lost work.
async fn ended(pool: &PgPool, steps: &Arc<Mutex<Steps>>) -> anyhow::Result<()> {
    let accepted = steps.lock().await.accepted.len() as i64;
    let sql = "SELECT count(*), count(*) FILTER (WHERE status = 'acked' AND attempts = 1) FROM commands";
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (all, acked): (i64, i64) = sqlx::query_as(sql).fetch_one(pool).await?;
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

fn times(
    name: &'static str,
    ids: &[Uuid],
    took: impl Fn(&Uuid) -> Option<Duration>,
) -> anyhow::Result<Timings> {
    let mut timings = Timings::new(name);
    for id in ids {
        timings.took(took(id).context("a step of a command was not seen")?);
    }
    Ok(timings)
}

/// Inserts of one event each into the same table, over as many connections.
async fn ceiling(connect: PgConnectOptions) -> anyhow::Result<f64> {
    const EACH: i32 = 500;
    let log = lab::event_log(connect.clone()).await?;
    let started = Instant::now();
    let mut workers: JoinSet<Result<(), sqlx::Error>> = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let mut connection = connect.connect().await?;
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
    Ok(f64::from(EACH) * CONNECTIONS as f64 / taken)
}
