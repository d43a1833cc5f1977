//! `fleetlog serve`: the service against a Postgres and a broker of one's own. And `fleetlog migrate`.

use std::io::Write;
use std::path::Path;
use std::str::FromStr;

use anyhow::Context;
use fleetlog_event_log::database;
use sqlx::postgres::PgConnectOptions;

use super::{Database, Migrate, Serve, announce, service_options};
use crate::service::{Broker, Service};
use crate::{external, shutdown};

/// Runs until Ctrl-C or SIGTERM.
pub async fn run(args: Serve, metrics: metrics_exporter_prometheus::PrometheusHandle) -> anyhow::Result<()> {
    let shutdown = shutdown::on_signal()?;
    let broker = external::Options {
        group: args.mqtt_share,
        ..external::Options::new(args.mqtt_url.parse().context("FLEETLOG_MQTT_URL")?, args.mqtt_client_id)
    };
    let url = broker.url.clone();
    let (database, broker) = (database(&args.database)?, Broker::External(broker));
    let mut options = service_options(&args.service, database, broker, Path::new("data"), metrics)?;
    options.migrate = !args.no_migrate;
    options.settings.broker = Some(url);
    let service = Service::start(options).await?;
    tracing::info!(http = %service.http(), "fleetlog is ready");
    announce::admin(&service, &mut std::io::stdout().lock())?;
    service.run(shutdown).await?;
    Ok(())
}

/// Brings the schema up to date.
pub async fn migrate(args: Migrate) -> anyhow::Result<()> {
    let migrations = database(&args.database)?.migrate().await?;
    writeln!(std::io::stdout(), "the schema is up to date: {migrations} migrations")?;
    Ok(())
}

fn database(args: &Database) -> anyhow::Result<database::Options> {
    let connect = PgConnectOptions::from_str(&args.database_url)
        .context("DATABASE_URL is not of the form postgres://user:password@host/name")?;
    let mut options = database::Options::new(connect);
    options.connections = args.database_connections;
    Ok(options)
}
