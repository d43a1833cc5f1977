//! `fleetlog up`: starts everything on this machine with one command.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use fleetlog_aggregates::identity;
use fleetlog_archive::Place;
use fleetlog_embedded::TOOLS;
use fleetlog_embedded::postgres::{self, Cluster, Phase};
use fleetlog_engine::devices::credentials::Secret;
use fleetlog_event_log::backoff::Backoff;
use fleetlog_event_log::database;
use fleetlog_event_log::health::{Health, Part};
use fleetlog_lab::agent;
use fleetlog_lab::simulate;
use fleetlog_mqtt::url::Url;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Up, announce, endpoint_options, service_options};
use crate::service::{Broker, Service, check_addresses};
use crate::shutdown;
use crate::simulations::reachable;

/// The tenant of the devices that `up` itself runs.
const TENANT: &str = "t0";
/// The part of `/readyz` that says whether the private Postgres runs.
const POSTGRES: &str = "postgres";
/// The pause after the first failure to start Postgres again, which doubles with each further one, and the longest pause.
const START_AGAIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// Runs until Ctrl-C.
pub async fn run(args: Up, metrics: metrics_exporter_prometheus::PrometheusHandle) -> anyhow::Result<()> {
    let started = Instant::now();
    let shutdown = shutdown::on_signal()?;
    // Check what may be wrong before any file is created.
    args.service.check_plain(Some(args.mqtt))?;
    args.service.secret()?;
    args.service.tls()?;
    args.service.witnesses()?;
    check_addresses(args.service.http, args.service.https, args.mqtt, args.service.mqtts)?;
    let cluster_options = postgres::Options {
        binaries: args.postgres_bin.clone(),
        tools: Some(PathBuf::from(TOOLS)),
        ..postgres::Options::new(args.data_dir.join("postgres"))
    };
    let cluster = Cluster::start(cluster_options.clone(), progress).await?;
    let mut endpoint = endpoint_options(args.mqtt, &args.service, args.device_auth.map(Into::into));
    // The secret with which the devices in this process log in.
    endpoint.in_process = (args.agent || args.devices > 0).then(Secret::random);
    let (auth, in_process) = (endpoint.auth, endpoint.in_process.clone());
    let mut options = service_options(
        &args.service,
        database::Options::new(cluster.connect_options()),
        Broker::Endpoint(endpoint),
        &args.data_dir,
        metrics,
    )?;
    let is_private = args.service.http.ip().is_loopback() && args.mqtt.ip().is_loopback();
    options.simulations = args.service.simulations.unwrap_or(is_private);
    options.audit_dir.get_or_insert_with(|| args.data_dir.join("audit"));
    options.archive.get_or_insert_with(|| Place::Directory(args.data_dir.join("archive")));
    let service = match Service::start(options).await {
        Ok(service) => service,
        Err(error) => {
            cluster.stop().await?;
            return Err(error.into());
        }
    };
    let announced =
        announce::ready(&service, auth, &cluster, started.elapsed(), &mut std::io::stdout().lock());
    announce::or_log(announced);

    let publishers = publish(&args, &service, in_process.as_ref(), &shutdown)?;
    let postgres = CancellationToken::new();
    let watch =
        tokio::spawn(keep(cluster, cluster_options, service.log().health().clone(), postgres.clone()));
    let served = service.run(shutdown.clone()).await;
    shutdown.cancel();
    publishers.join_all().await;
    // Postgres stops only now, because the service needs it while it drains.
    postgres.cancel();
    let stopped = watch.await?;
    served?;
    stopped?;
    Ok(())
}

/// Runs the agent and the simulated devices, if requested, as devices of the endpoint.
fn publish(
    args: &Up,
    service: &Service,
    secret: Option<&Secret>,
    shutdown: &CancellationToken,
) -> Result<JoinSet<()>, identity::Invalid> {
    let mut publishers = JoinSet::new();
    let (Some(mqtt), Some(secret)) = (service.mqtt(), secret) else { return Ok(publishers) };
    let (url, tenant) = (Url::from(reachable(mqtt)), TENANT.parse::<identity::Tenant>()?);
    if args.agent {
        let uid: identity::Uid = agent::hostname().parse()?;
        let url = url.with_login(identity::aggregate_id(&tenant, &uid), secret.reveal());
        let options = agent::Options::new(url, tenant.clone(), uid);
        publishers.spawn(agent::run(options, shutdown.clone()));
    }
    if args.devices > 0 {
        let options = simulate::Options {
            logins: simulate::Logins::Shared(secret.clone()),
            ..simulate::Options::new(url, tenant, args.devices, f64::from(args.devices))
        };
        let shutdown = shutdown.clone();
        publishers.spawn(async move {
            if let Err(error) = simulate::run(options, shutdown, |_| ()).await {
                tracing::warn!(%error, "the simulated devices stopped");
            }
        });
    }
    Ok(publishers)
}

/// Keeps Postgres running until `stop`: a server that has ended is started again, for as long as that takes, and the service
/// reconnects to it. Meanwhile `/readyz` says why it is away.
async fn keep(
    mut cluster: Cluster,
    options: postgres::Options,
    health: Health,
    stop: CancellationToken,
) -> Result<(), postgres::Error> {
    let part = health.part(POSTGRES, Duration::MAX);
    loop {
        tokio::select! {
            () = stop.cancelled() => return cluster.stop().await,
            error = cluster.ended() => {
                tracing::error!(%error, "Postgres ended by itself; starting it again");
                part.down(in_our_words(&error));
            }
        }
        drop(cluster);
        match stop.run_until_cancelled(start_again(&options, &part)).await {
            Some(again) => cluster = again,
            None => return Ok(()),
        }
        part.up();
        tracing::info!("Postgres runs again");
    }
}

/// Starts Postgres until it runs. What stands in the way, such as a full disk, may be mended meanwhile.
async fn start_again(options: &postgres::Options, part: &Part) -> Cluster {
    let mut backoff = Backoff::new(START_AGAIN.0, START_AGAIN.1);
    let mut told = String::new();
    loop {
        let error = match Cluster::start(options.clone(), |_| ()).await {
            Ok(cluster) => return cluster,
            Err(error) => error,
        };
        let reason = error.in_one_line();
        // Times, process ids and file names differ from one attempt to the next.
        let kind: String = reason.chars().filter(|char| !char.is_ascii_digit()).collect();
        if kind != told {
            tracing::error!(reason, "failed to start Postgres again; trying until it starts");
            told = kind;
        }
        part.down(in_our_words(&error));
        backoff.wait().await;
    }
}

/// What `/readyz` says of a Postgres that is away.
fn in_our_words(error: &postgres::Error) -> String {
    format!("{}; the log of fleetlog says why", error.outline())
}

pub(super) fn progress(phase: Phase) {
    let doing = match phase {
        Phase::Creating => "making a database cluster, once",
        Phase::Starting => "starting Postgres",
        Phase::Waiting => "waiting for the Postgres that still uses the data directory",
        Phase::Recovering => "Postgres recovers from a crash; nothing is lost",
        Phase::Ready => return,
    };
    // The write fails only if standard error is closed, and then nobody reads it.
    let _ = writeln!(std::io::stderr(), "fleetlog: {doing} …");
}
