//! `fleetlog serve`: runs the service against your own Postgres and, if given, your own broker. Also `fleetlog
//! migrate`.

use std::io::Write;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, bail};
use fleetlog_engine::devices::credentials::secret::ServiceLogin;
use fleetlog_event_log::database;
use fleetlog_mqtt::subscriber;
use sqlx::postgres::PgConnectOptions;

use super::output::output;
use super::{Database, Migrate, Serve, announce, endpoint_options, service_options};
use crate::service::{Broker, Service};
use crate::shutdown;

/// Runs until Ctrl-C or SIGTERM.
pub async fn run(args: Serve, metrics: metrics_exporter_prometheus::PrometheusHandle) -> anyhow::Result<()> {
    let shutdown = shutdown::on_signal()?;
    args.service.check_plain(args.mqtt)?;
    let (database, (broker, login)) = (database(&args.database)?, broker(&args)?);
    let mut options = service_options(&args.service, database, broker, Path::new("data"), metrics)?;
    options.migrate = !args.no_migrate;
    if options.audit_dir.is_none() && !options.witnesses.is_empty() {
        bail!(
            "witnesses are given signed checkpoints, and nothing is signed: name a folder for the key with --audit-dir"
        );
    }
    options.settings.broker = login;
    let service = Service::start(options).await?;
    let https = service.https().map(tracing::field::display);
    let mqtts = service.mqtts().map(tracing::field::display);
    tracing::info!(http = %service.http(), https, mqtts, "fleetlog is ready");
    announce::or_log(announce::admin(&service, &mut std::io::stdout().lock()));
    service.run(shutdown).await?;
    Ok(())
}

/// The source of messages, and the login of this service at the broker, if it has one.
fn broker(args: &Serve) -> anyhow::Result<(Broker, Option<ServiceLogin>)> {
    let Some(url) = &args.mqtt_url else {
        let listen = args.mqtt.context("FLEETLOG_MQTT_URL or FLEETLOG_MQTT_ADDR is needed")?;
        anyhow::ensure!(
            args.broker_tls.is_empty(),
            "--mqtt-ca, --mqtt-cert and --mqtt-key go with --mqtt-url, not with --mqtt"
        );
        let options = endpoint_options(listen, &args.service, args.device_auth.map(Into::into));
        return Ok((Broker::Endpoint(options), None));
    };
    // With a broker of one's own there is no endpoint.
    anyhow::ensure!(
        args.service.simulations != Some(true),
        "--simulations (FLEETLOG_SIMULATIONS) goes with --mqtt, not with --mqtt-url"
    );
    anyhow::ensure!(
        args.service.mqtts.is_none(),
        "--mqtts (FLEETLOG_MQTTS_ADDR) goes with --mqtt, not with --mqtt-url"
    );
    anyhow::ensure!(
        args.service.mqtt_connections.is_none(),
        "--mqtt-connections (FLEETLOG_MQTT_CONNECTIONS) goes with --mqtt, not with --mqtt-url"
    );
    let options = subscriber::Options {
        group: args.mqtt_share.clone(),
        ..subscriber::Options::new(args.broker_tls.url(url)?, &args.mqtt_client_id)
    };
    let login = options.url.service_login();
    if options.group.is_some() {
        tracing::warn!(
            "if the broker is Mosquitto, its restart loses messages of a shared group that it has acknowledged; --mqtt-takeover does not"
        );
    }
    let (takeover, tenant) = (args.mqtt_takeover, args.service.mqtt_tenant.clone());
    Ok((Broker::External { options, takeover, tenant }, login))
}

/// Brings the database's schema up to date.
pub async fn migrate(args: Migrate) -> anyhow::Result<()> {
    let migrations = database(&args.database)?.migrate().await?;
    writeln!(output(), "the schema is up to date: {migrations} migrations")?;
    Ok(())
}

fn database(args: &Database) -> anyhow::Result<database::Options> {
    let connect = PgConnectOptions::from_str(&args.database_url)
        .context("DATABASE_URL is not of the form postgres://user:password@host/name")?;
    let mut options = database::Options::new(connect);
    options.connections = args.database_connections;
    Ok(options)
}
