//! `fleetlog up`: starts everything on this machine with one command.

use std::io::Write;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Instant;

use fleetlog_aggregates::identity;
use fleetlog_embedded::TOOLS;
use fleetlog_embedded::postgres::{self, Cluster, Phase};
use fleetlog_engine::devices::credentials::Secret;
use fleetlog_event_log::database;
use fleetlog_lab::agent;
use fleetlog_lab::simulate;
use fleetlog_mqtt::url::Url;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Up, announce, endpoint_options, service_options};
use crate::service::{Broker, Service};
use crate::shutdown;

/// The tenant of the devices that `up` itself runs.
const TENANT: &str = "t0";

/// Runs until Ctrl-C.
pub async fn run(args: Up, metrics: metrics_exporter_prometheus::PrometheusHandle) -> anyhow::Result<()> {
    let started = Instant::now();
    let shutdown = shutdown::on_signal()?;
    // Check the secret before any file is created.
    args.service.secret()?;
    let cluster_options = postgres::Options {
        binaries: args.postgres_bin.clone(),
        tools: Some(PathBuf::from(TOOLS)),
        ..postgres::Options::new(args.data_dir.join("postgres"))
    };
    let cluster = Cluster::start(cluster_options.clone(), progress).await?;
    let mut endpoint = endpoint_options(args.mqtt, args.device_auth.map(Into::into));
    // The secret with which the devices in this process log in.
    endpoint.in_process = (args.agent || args.devices > 0).then(Secret::random);
    let (auth, in_process) = (endpoint.auth, endpoint.in_process.clone());
    let options = service_options(
        &args.service,
        database::Options::new(cluster.connect_options()),
        Broker::Endpoint(endpoint),
        &args.data_dir,
        metrics,
    )?;
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
    let watch = tokio::spawn(keep(cluster, cluster_options, shutdown.clone(), postgres.clone()));
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
    // An endpoint that listens on all addresses is reached over loopback.
    let mqtt = if mqtt.ip().is_unspecified() { (Ipv4Addr::LOCALHOST, mqtt.port()).into() } else { mqtt };
    let (url, tenant) = (Url::from(mqtt), TENANT.parse::<identity::Tenant>()?);
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

/// Keeps Postgres running until `stop`: a server that was killed is started again, and the service reconnects to it.
/// Stops everything if that fails.
async fn keep(
    mut cluster: Cluster,
    options: postgres::Options,
    shutdown: CancellationToken,
    stop: CancellationToken,
) -> Result<(), postgres::Error> {
    loop {
        tokio::select! {
            () = stop.cancelled() => return cluster.stop().await,
            error = cluster.ended() => tracing::error!(%error, "Postgres ended by itself; starting it again"),
        }
        drop(cluster);
        cluster = match Cluster::start(options.clone(), progress).await {
            Ok(cluster) => cluster,
            Err(error) => {
                shutdown.cancel();
                return Err(error);
            }
        };
    }
}

pub(super) fn progress(phase: Phase) {
    let doing = match phase {
        Phase::Creating => "making a database cluster, once",
        Phase::Starting => "starting Postgres",
        Phase::Waiting => "waiting for what is left of a killed Postgres",
        Phase::Recovering => "Postgres recovers from a crash; nothing is lost",
        Phase::Ready => return,
    };
    // The write fails only if standard error is closed, and then nobody reads it.
    let _ = writeln!(std::io::stderr(), "fleetlog: {doing} …");
}
