//! The command line: commands, options and their variables. Each command's code is in its own file.

pub mod announce;
pub mod archive;
pub mod audit;
mod bar;
pub mod broker;
pub mod device;
pub mod environment;
pub mod logging;
pub mod output;
mod positions;
pub mod projections;
pub mod publish;
pub mod replay;
pub mod serve;
pub mod source;
pub mod sources;
pub mod up;
pub mod user;

use std::iter;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};
use fleetlog_access as access;
use fleetlog_access::mail::{Transport, transport};
use fleetlog_aggregates::identity::Tenant;
use fleetlog_api::rest;
use fleetlog_archive::Place;
use fleetlog_event_log::database;
use fleetlog_http_client::Reach;
use fleetlog_lab::bench;
use fleetlog_mqtt::server;
use fleetlog_tls::clients::Clients;
use fleetlog_tls::{Certificate, Files};
use futures::future::LocalBoxFuture;
use metrics_exporter_prometheus::PrometheusHandle;

use broker::{BrokerTls, Target};

use crate::instruments;
use crate::service;
use crate::service::Broker;
use crate::witnesses::{self, Address};

/// fleetlog: every reading and every command on the record, exactly once, in order.
///
/// Each option can also be set by its variable, in the environment or in a file `.env`.
#[derive(Debug, Parser)]
#[command(name = "fleetlog", version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    /// The subcommand.
    #[command(subcommand)]
    pub command: Command,
    /// The format of log lines.
    #[arg(long, global = true, env = "FLEETLOG_LOG_FORMAT", value_enum, default_value_t = LogFormat::Pretty)]
    pub log_format: LogFormat,
    /// The log lines to write, as `level` or `target=level,…`.
    #[arg(long, global = true, env = "FLEETLOG_LOG", default_value = "info")]
    pub log: String,
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text for people.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start everything on this machine: a private Postgres, an MQTT endpoint, the service.
    Up(Up),
    /// Start the service against a Postgres and an MQTT broker of your own.
    Serve(Serve),
    /// Bring the database's schema up to date.
    Migrate(Migrate),
    /// Simulate devices that publish and answer commands.
    Simulate(Simulate),
    /// Publish this machine's own load, memory, disks, network and temperatures, and answer commands.
    Agent(Agent),
    /// Give devices credentials, and write the ACL file for your own broker.
    Device(device::Device),
    /// List, rebuild and verify read models.
    Projections(projections::Projections),
    /// List, verify and restore readings that were removed because they are over age.
    Archive(archive::Archive),
    /// Prove what the log says, and verify that nobody has changed it.
    Audit(audit::Audit),
    /// Replay what the log says of a command, a device or a moment.
    Replay(replay::Replay),
    /// Show what a source's definition makes of messages of other systems, and list the presets.
    Source(sources::Sources),
    /// List and add users and change passwords, without a login.
    User(user::User),
    /// Measure the speed of fleetlog, beside the machine's own ceiling.
    Bench(bench::args::Bench),
}

/// Options of `up`.
#[derive(Debug, Args)]
pub struct Up {
    /// Where the data is kept; created if missing.
    #[arg(long, env = "FLEETLOG_DATA_DIR", default_value = "data")]
    pub data_dir: PathBuf,
    /// The address of the MQTT endpoint.
    #[arg(long, env = "FLEETLOG_MQTT_ADDR", default_value = "127.0.0.1:1883")]
    pub mqtt: SocketAddr,
    /// Whether devices need credentials at the MQTT endpoint; by default only off loopback.
    #[arg(long, env = "FLEETLOG_DEVICE_AUTH", value_enum)]
    pub device_auth: Option<DeviceAuth>,
    /// The folder of Postgres's programs; searched for by default.
    #[arg(long, env = "FLEETLOG_POSTGRES_BIN")]
    pub postgres_bin: Option<PathBuf>,
    /// Also run this machine as a device.
    #[arg(long, env = "FLEETLOG_UP_AGENT")]
    pub agent: bool,
    /// Also simulate this many devices, a message a second each.
    #[arg(long, env = "FLEETLOG_UP_DEVICES", default_value_t = 0, value_name = "N")]
    pub devices: u32,
    /// The options that `serve` has, too.
    #[command(flatten)]
    pub service: Service,
}

/// Whether devices need credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DeviceAuth {
    /// Only devices with credentials may connect.
    Required,
    /// Anyone may connect. A client that sends credentials must send valid ones, and may use only that device's topics.
    Open,
}

impl From<DeviceAuth> for server::Auth {
    fn from(auth: DeviceAuth) -> Self {
        match auth {
            DeviceAuth::Required => Self::Required,
            DeviceAuth::Open => Self::Open,
        }
    }
}

/// Options of `serve`.
#[derive(Debug, Args)]
pub struct Serve {
    /// The database to use.
    #[command(flatten)]
    pub database: Database,
    /// The MQTT broker that devices publish to, as `mqtt://user:password@host:port`, or `mqtts://` for TLS.
    #[arg(
        long,
        env = "FLEETLOG_MQTT_URL",
        value_name = "URL",
        hide_env_values = true,
        required_unless_present = "mqtt",
        conflicts_with = "mqtt"
    )]
    pub mqtt_url: Option<String>,
    /// TLS with the broker.
    #[command(flatten)]
    pub broker_tls: BrokerTls,
    /// Without a broker: the address of the MQTT endpoint that devices connect to.
    #[arg(long, env = "FLEETLOG_MQTT_ADDR", value_name = "ADDR")]
    pub mqtt: Option<SocketAddr>,
    /// Whether devices need credentials at the MQTT endpoint; by default only off loopback.
    #[arg(long, env = "FLEETLOG_DEVICE_AUTH", value_enum, requires = "mqtt")]
    pub device_auth: Option<DeviceAuth>,
    /// This node's client id at the broker. Each node has its own, and keeps it: the broker holds messages for it.
    #[arg(long, env = "FLEETLOG_MQTT_CLIENT_ID", default_value = "fleetlog")]
    pub mqtt_client_id: String,
    /// The group of the shared subscription, if several nodes take messages from one broker. Mosquitto forgets a group
    /// when it restarts, and loses messages; see `--mqtt-takeover`.
    #[arg(long, env = "FLEETLOG_MQTT_SHARE", value_name = "GROUP")]
    pub mqtt_share: Option<String>,
    /// Take messages only while no other node with the same client id does, and take over when it ends. With Mosquitto
    /// this loses nothing when the broker restarts, as a group does.
    #[arg(long, env = "FLEETLOG_MQTT_TAKEOVER", requires = "mqtt_url", conflicts_with = "mqtt_share")]
    pub mqtt_takeover: bool,
    /// Start without bringing the schema up to date.
    #[arg(long, env = "FLEETLOG_NO_MIGRATE")]
    pub no_migrate: bool,
    /// The options that `up` has, too.
    #[command(flatten)]
    pub service: Service,
}

/// The options of both `up` and `serve`.
#[derive(Debug, Clone, Args)]
#[group(skip)]
#[command(group = clap::ArgGroup::new("over_tls").multiple(true))]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct Service {
    /// The address of the HTTP service.
    #[arg(long, env = "FLEETLOG_HTTP_ADDR", default_value = "127.0.0.1:8080")]
    pub http: SocketAddr,
    /// The address of the HTTP service over TLS, besides the one without: 0.0.0.0:443.
    #[arg(long, env = "FLEETLOG_HTTPS_ADDR", value_name = "ADDR", requires = "tls_cert", group = "over_tls")]
    pub https: Option<SocketAddr>,
    /// The address of the MQTT endpoint over TLS, besides the one without: 0.0.0.0:8883.
    #[arg(long, env = "FLEETLOG_MQTTS_ADDR", value_name = "ADDR", requires = "tls_cert", group = "over_tls")]
    pub mqtts: Option<SocketAddr>,
    /// The certificate for TLS, in PEM, with those of the authorities between it and the root. Read again when it changes.
    #[arg(long, env = "FLEETLOG_TLS_CERT", value_name = "FILE", requires_all = ["tls_key", "over_tls"])]
    pub tls_cert: Option<PathBuf>,
    /// The private key of the certificate, in PEM.
    #[arg(long, env = "FLEETLOG_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// The certificates of the authorities, in PEM, by whose signature the subject of a device's certificate is believed. Read
    /// again when it changes. A device may also show a certificate that is known by its fingerprint, whoever has signed it.
    #[arg(long, env = "FLEETLOG_MQTT_CLIENT_CA", value_name = "FILE", requires = "mqtts")]
    pub mqtt_client_ca: Option<PathBuf>,
    /// Listen without TLS off loopback, where the network can read passwords and readings: behind a proxy that ends TLS, or in a
    /// network of containers.
    #[arg(long, env = "FLEETLOG_ALLOW_PLAIN")]
    pub allow_plain: bool,
    /// The first administrator's e-mail address; used by the first start only.
    #[arg(long, env = "FLEETLOG_ADMIN_EMAIL")]
    pub admin_email: Option<String>,
    /// The first administrator's password, at least 12 characters; by default one is generated and printed once.
    #[arg(long, env = "FLEETLOG_ADMIN_PASSWORD", hide_env_values = true)]
    pub admin_password: Option<String>,
    /// The secret that seals the keys for access tokens, at least 32 characters. Without it, anyone who reads the
    /// database can sign tokens. Keep it once it is set: the service does not start with another.
    #[arg(long, env = "FLEETLOG_SECRET", hide_env_values = true)]
    pub secret: Option<String>,
    /// The address at which people reach the service, such as `https://fleet.example.com`, for links in mails. With
    /// `https`, cookies are sent over TLS only.
    #[arg(long, env = "FLEETLOG_PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<http::Uri>,
    /// The mail server, as `smtp://user:password@host:587`, which must offer STARTTLS unless `?tls=none` is added, or
    /// `smtps://user:password@host`. Without one, mails go into files.
    #[arg(long, env = "FLEETLOG_SMTP_URL", value_name = "URL", hide_env_values = true)]
    pub smtp_url: Option<String>,
    /// The sender of mails.
    #[arg(long, env = "FLEETLOG_MAIL_FROM", value_name = "ADDRESS", default_value = transport::DEFAULT_FROM)]
    pub mail_from: String,
    /// The folder of the key that signs the logs' checkpoints, and of the last checkpoints: outside the database, and
    /// the same key on all nodes. A key is made if there is none. By default `audit` in the data directory of `up`; for
    /// `serve` none, and nothing is signed.
    #[arg(long, env = "FLEETLOG_AUDIT_DIR", value_name = "DIR")]
    pub audit_dir: Option<PathBuf>,
    /// Another party that is given the logs' checkpoints, so that the operator cannot take them back: `file:///path`,
    /// `https://host/prefix#name+id+key` (a C2SP tlog-witness), `mqtts://user:password@host/topic-prefix` or
    /// `mailto:someone@example.org`. More than one: again, or with commas. Needs --audit-dir.
    #[arg(long = "witness", env = "FLEETLOG_WITNESSES", value_name = "URL", hide_env_values = true)]
    pub witnesses: Vec<String>,
    /// Where mails are written without a mail server; by default `outbox` in the data directory of `up`, or
    /// `data/outbox` for `serve`.
    #[arg(long, env = "FLEETLOG_OUTBOX_DIR", value_name = "DIR")]
    pub outbox_dir: Option<PathBuf>,
    /// Allow webhooks on this machine and in private networks, and over `http://`. Without it they are sent over `https://` to public
    /// addresses only. Whoever may make webhooks can then reach what this machine reaches.
    #[arg(long, env = "FLEETLOG_WEBHOOKS_ALLOW_PRIVATE")]
    pub webhooks_allow_private: bool,
    /// Where weeks of readings go that all their tenants keep no longer: a directory, `s3://bucket/prefix` with the variables
    /// `AWS_…`, or `none` to remove them without a copy. Without it, `up` uses `archive` in its data directory, and `serve`
    /// removes nothing. Several nodes need a place that all of them reach.
    #[arg(long, env = "FLEETLOG_ARCHIVE", value_name = "PLACE")]
    pub archive: Option<Place>,
    /// Let people who may write devices start simulated ones, in the dashboard or with `POST /simulations`: at most ten, for an hour at
    /// most, at this process's MQTT endpoint. By default only `up` allows it, and only on loopback.
    #[arg(long, env = "FLEETLOG_SIMULATIONS", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub simulations: Option<bool>,
    /// How many seconds after its last sign of life a device counts as offline, unless it has a threshold of its own.
    #[arg(long, env = "FLEETLOG_ONLINE_WITHIN", default_value_t = 120, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub online_within: u32,
    /// Web origins that may call the API from a browser, separated by commas.
    #[arg(long, env = "FLEETLOG_CORS_ORIGINS", value_delimiter = ',', value_name = "ORIGIN")]
    pub cors_origins: Vec<String>,
    /// Proxies whose `X-Forwarded-For` is trusted, as addresses or networks separated by commas: 10.0.0.0/8. Without
    /// any, the address that connects is the client's.
    #[arg(long, env = "FLEETLOG_TRUSTED_PROXIES", value_delimiter = ',', value_name = "CIDR")]
    pub trusted_proxies: Vec<rest::proxies::Proxies>,
    /// The most connections to the MQTT endpoint at a time, 11,000 by default. Each takes a file descriptor.
    #[arg(long, env = "FLEETLOG_MQTT_CONNECTIONS", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub mqtt_connections: Option<u32>,
    /// The tenant whose sources say what topics mean that name no tenant, at a broker of your own, and of clients without a login
    /// at the endpoint.
    #[arg(long, env = "FLEETLOG_MQTT_TENANT", default_value = "t0", value_name = "TENANT")]
    pub mqtt_tenant: Tenant,
    /// The most HTTP connections at a time. At most half of them come from one address, unless it is a trusted proxy's.
    #[arg(long, env = "FLEETLOG_HTTP_CONNECTIONS", default_value_t = 2000, value_name = "N", value_parser = clap::value_parser!(u32).range(10..=100_000))]
    pub http_connections: u32,
    /// The networks from which your own EMQX or Mosquitto may ask about its clients, separated by commas. Without it: this
    /// machine with a broker of your own, and nobody with the built-in endpoint.
    #[arg(long, env = "FLEETLOG_BROKER_NETWORKS", value_delimiter = ',', value_name = "CIDR")]
    pub broker_networks: Vec<ipnet::IpNet>,
    /// Allow reading `/metrics` without a login.
    #[arg(long, env = "FLEETLOG_METRICS_OPEN")]
    pub metrics_open: bool,
    /// Allow clients to query the GraphQL schema.
    #[arg(long, env = "FLEETLOG_GRAPHQL_INTROSPECTION", default_value_t = true, action = clap::ArgAction::Set)]
    pub graphql_introspection: bool,
}

impl Service {
    /// The listeners over TLS, and their certificate. Reads the certificate, so that a mistake is told before anything
    /// is made.
    fn tls(&self) -> anyhow::Result<Option<service::Tls>> {
        let (Some(certificate), Some(key)) = (&self.tls_cert, &self.tls_key) else { return Ok(None) };
        let files = Files { certificate: certificate.clone(), key: key.clone() };
        let certificate = Certificate::load(files)?;
        let clients = Clients::load(self.mqtt_client_ca.clone())?;
        Ok(Some(service::Tls { https: self.https, mqtts: self.mqtts, certificate, clients }))
    }

    /// Refuses listeners that others than this machine reach without TLS, unless the operator means it.
    fn check_plain(&self, mqtt: Option<SocketAddr>) -> anyhow::Result<()> {
        for (address, name, over_tls) in [
            (Some(self.http), "--http (FLEETLOG_HTTP_ADDR)", "--https (FLEETLOG_HTTPS_ADDR)"),
            (mqtt, "--mqtt (FLEETLOG_MQTT_ADDR)", "--mqtts (FLEETLOG_MQTTS_ADDR)"),
        ] {
            let Some(address) = address.filter(|address| !address.ip().to_canonical().is_loopback()) else {
                continue;
            };
            anyhow::ensure!(
                self.allow_plain,
                "{name} would listen on {address} without TLS, and the network could read passwords: leave it on loopback and \
                 use {over_tls}, or say with --allow-plain (FLEETLOG_ALLOW_PLAIN=true) that something in front speaks TLS"
            );
        }
        Ok(())
    }

    /// The witnesses. Says what is wrong before anything is made.
    fn witnesses(&self) -> anyhow::Result<Vec<Address>> {
        witnesses::read(&self.witnesses).context("--witness or FLEETLOG_WITNESSES")
    }

    fn webhooks(&self) -> fleetlog_webhooks::Options {
        let reach = if self.webhooks_allow_private { Reach::anybody() } else { Reach::public() };
        fleetlog_webhooks::Options { reach, ..fleetlog_webhooks::Options::default() }
    }

    fn secret(&self) -> anyhow::Result<Option<access::Secret>> {
        self.secret.as_deref().map(str::parse).transpose().context("FLEETLOG_SECRET")
    }
}

/// The database to use.
#[derive(Debug, Args)]
pub struct Database {
    /// The database, as its owner: `postgres://user:password@host/name`.
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: String,
    /// The most connections this server opens, besides two for telemetry.
    #[arg(long, env = "FLEETLOG_DATABASE_CONNECTIONS", default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(4..=500))]
    pub database_connections: u32,
}

/// Options of `migrate`.
#[derive(Debug, Args)]
pub struct Migrate {
    /// The database to migrate.
    #[command(flatten)]
    pub database: Database,
}

/// Options of `simulate`.
#[derive(Debug, Args)]
pub struct Simulate {
    /// The broker to publish to.
    #[command(flatten)]
    pub target: Target,
    /// How many devices, each with its own connection.
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub devices: u32,
    /// A file with `uid,password` on each line: simulate these devices instead, each with its login.
    #[arg(long, value_name = "FILE", conflicts_with = "devices")]
    pub credentials: Option<PathBuf>,
    /// How many messages a second, from all devices together.
    #[arg(long, default_value_t = 10.0, value_name = "R")]
    pub rate: f64,
    /// How many seconds to publish; by default until Ctrl-C.
    #[arg(long, value_name = "S")]
    pub duration: Option<f64>,
    /// The share of commands that fail, from 0 to 1. Every attempt of a command has the same fate.
    #[arg(long, default_value_t = 0.0, value_name = "F")]
    pub fail_rate: f64,
    /// The share of commands that get no answer, from 0 to 1. The three shares are at most 1 together.
    #[arg(long, default_value_t = 0.0, value_name = "F")]
    pub silent_rate: f64,
    /// The share of commands that are answered late, from 0 to 1.
    #[arg(long, default_value_t = 0.0, value_name = "F")]
    pub late_rate: f64,
    /// How many seconds a late answer takes. An answer is too late if this exceeds the command's `timeout_s`.
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub late_by: u32,
}

/// Options of `agent`.
#[derive(Debug, Args)]
pub struct Agent {
    /// The broker to publish to.
    #[command(flatten)]
    pub target: Target,
    /// The device's name; by default this machine's.
    #[arg(long)]
    pub uid: Option<String>,
    /// Seconds between two readings, until the command `set_interval` changes it.
    #[arg(long, default_value_t = 5, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub interval: u32,
}

/// Runs a command. The future is boxed, so that it is compiled once with the library, and not again with the binary.
pub fn run(command: Command) -> LocalBoxFuture<'static, anyhow::Result<()>> {
    Box::pin(async {
        match command {
            Command::Up(args) => up::run(args, install_metrics()?).await,
            Command::Serve(args) => serve::run(args, install_metrics()?).await,
            Command::Migrate(args) => serve::migrate(args).await,
            Command::Simulate(args) => publish::simulate(args).await,
            Command::Agent(args) => publish::agent(args).await,
            Command::Device(args) => device::run(args).await,
            Command::Projections(args) => projections::run(args).await,
            Command::Archive(args) => archive::run(args).await,
            Command::Audit(args) => audit::run(args).await,
            Command::Replay(args) => replay::run(args).await,
            Command::Source(args) => sources::run(args).await,
            Command::User(args) => user::run(args).await,
            Command::Bench(args) => bench::run(args).await,
        }
    })
}

/// Installs the metrics recorder of this process. It is the only static here, because the `metrics` crate requires one.
fn install_metrics() -> anyhow::Result<PrometheusHandle> {
    let recorder = rest::metrics::recorder(instruments::all())?;
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder)?;
    Ok(handle)
}

fn endpoint_options(listen: SocketAddr, args: &Service, auth: Option<server::Auth>) -> server::Options {
    let mqtts = args.mqtts;
    let usual = server::Auth::usual(iter::once(listen).chain(mqtts));
    let auth = auth.unwrap_or(usual);
    if auth == server::Auth::Open && usual == server::Auth::Required {
        let mqtts = mqtts.map(tracing::field::display);
        tracing::warn!(mqtt = %listen, mqtts, "anyone who reaches the MQTT endpoint may publish as any device; use --device-auth required to change that");
    }
    let options = server::Options::new(listen);
    let connections = args.mqtt_connections.map_or(options.connections, |connections| connections as usize);
    server::Options { auth, connections, tenant: Some(args.mqtt_tenant.clone()), ..options }
}

fn service_options(
    args: &Service,
    database: database::Options,
    broker: Broker,
    data_dir: &Path,
    metrics: PrometheusHandle,
) -> anyhow::Result<service::Options> {
    let origins = args
        .cors_origins
        .iter()
        .map(|origin| origin.parse().with_context(|| format!("{origin} is not an origin")));
    let broker_networks = match (&args.broker_networks[..], &broker) {
        ([], Broker::External { .. }) => rest::brokers::loopback(),
        (given, _) => given.to_vec(),
    };
    let mail = match &args.smtp_url {
        Some(url) => Transport::smtp(url, &args.mail_from)?,
        None => Transport::Files(args.outbox_dir.clone().unwrap_or_else(|| data_dir.join("outbox"))),
    };
    Ok(service::Options {
        database,
        migrate: true,
        http: args.http,
        tls: args.tls()?,
        broker,
        admin_email: args.admin_email.clone(),
        admin_password: args.admin_password.clone(),
        secret: args.secret()?,
        access: access::Settings { public_url: args.public_url.clone() },
        mail,
        webhooks: args.webhooks(),
        audit_dir: args.audit_dir.clone(),
        witnesses: args.witnesses()?,
        archive: args.archive.clone(),
        simulations: args.simulations.unwrap_or_default(),
        settings: fleetlog_api::Settings {
            online_within: std::time::Duration::from_secs(args.online_within.into()),
            open_metrics: args.metrics_open,
            cors_origins: origins.collect::<anyhow::Result<_>>()?,
            introspection: args.graphql_introspection,
            trusted_proxies: args.trusted_proxies.clone(),
            connections: args.http_connections as usize,
            broker_networks,
            broker: None,
        },
        metrics,
    })
}
