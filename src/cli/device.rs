//! `fleetlog device`: credentials for many devices at once and for gateways, and the ACL file for your own Mosquitto.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use chrono::TimeDelta;
use clap::{Args, Subcommand};
use fleetlog_aggregates::device::{self, Labels, Registration, Via};
use fleetlog_aggregates::gateway::Behind;
use fleetlog_aggregates::identity::{Tenant, Uid};
use fleetlog_aggregates::topic::{ACK_FILTER, Channel, STATUS_FILTER, TELEMETRY_FILTER};
use fleetlog_engine::devices::credentials::{Device as Named, issue};
use fleetlog_engine::devices::registration::{self, Refused};
use fleetlog_event_log::EventLog;
use fleetlog_event_log::control::{Actor, ExecuteError, Metadata};
use fleetlog_tls::clients;
use futures::{StreamExt, TryStreamExt};

use super::output::output;
use super::source::{Source, WRITERS};

/// Devices' credentials and topics.
#[derive(Debug, Args)]
pub struct Device {
    /// The subcommand.
    #[command(subcommand)]
    pub what: What,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Register devices that are unknown, give each a credential, and write a file of `uid,password`.
    Credentials(Credentials),
    /// Register a device if it is unknown, and let it log in over TLS with a client certificate instead of a password.
    Certificate(Certificate),
    /// Register a gateway, if it is unknown, and give it a credential with which it speaks for the devices behind it.
    Gateway(Gateway),
    /// Print the ACL file for a Mosquitto: the topics of each device that has a valid credential.
    Acl(Acl),
}

/// The devices that get credentials.
#[derive(Debug, Args)]
pub struct Credentials {
    /// The log to use.
    #[command(flatten)]
    pub source: Source,
    /// The devices' tenant.
    #[arg(long, default_value = "t0")]
    pub tenant: Tenant,
    /// How many devices.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub count: u32,
    /// The start of the devices' names; a number of five digits follows.
    #[arg(long, default_value = "sim-")]
    pub prefix: String,
    /// Revoke the credentials that the devices have already.
    #[arg(long)]
    pub replace: bool,
    /// The file to write, readable for its owner only. It must not exist.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// One device that gets a credential.
#[derive(Debug, Args)]
pub struct One {
    /// The log to use.
    #[command(flatten)]
    pub source: Source,
    /// The device's tenant.
    #[arg(long, default_value = "t0")]
    pub tenant: Tenant,
    /// The device's uid.
    #[arg(long)]
    pub uid: Uid,
    /// Revoke the credentials that the device has already.
    #[arg(long)]
    pub replace: bool,
}

/// The device and its certificate.
#[derive(Debug, Args)]
pub struct Certificate {
    /// The device.
    #[command(flatten)]
    pub device: One,
    /// The certificate, in PEM. Any authority may have signed it, or the device itself.
    #[arg(long, value_name = "FILE", required_unless_present = "subject", conflicts_with = "subject")]
    pub cert: Option<PathBuf>,
    /// The subject of certificates that an authority of `--mqtt-client-ca` has signed, as `openssl x509 -noout -subject
    /// -nameopt RFC2253` shows it: CN=dev-01,O=Example.
    #[arg(long, value_name = "NAME")]
    pub subject: Option<String>,
}

/// A gateway, and the devices behind it.
#[derive(Debug, Args)]
pub struct Gateway {
    /// The gateway. Its devices are of its tenant.
    #[command(flatten)]
    pub gateway: One,
    /// The uids of the devices, separated by commas: up to 1,000. They may be unknown yet.
    #[arg(long, value_delimiter = ',', value_name = "UID", required_unless_present = "prefix")]
    pub devices: Vec<Uid>,
    /// All devices whose uids begin with this, now and later.
    #[arg(long, conflicts_with = "devices")]
    pub prefix: Option<Uid>,
}

/// Options of the ACL file.
#[derive(Debug, Args)]
pub struct Acl {
    /// The log to use.
    #[command(flatten)]
    pub source: Source,
    /// The user name with which fleetlog itself logs in at the broker.
    #[arg(long, default_value = "fleetlog")]
    pub user: String,
}

/// Runs the subcommand.
pub async fn run(args: Device) -> anyhow::Result<()> {
    match args.what {
        What::Credentials(args) => credentials(args).await,
        What::Certificate(args) => certificate(args).await,
        What::Gateway(args) => gateway(args).await,
        What::Acl(Acl { source, user }) => {
            anyhow::ensure!(!user.contains(char::is_control), "--user is a name on one line");
            let devices = source.read(async |log| good(log).await).await?;
            Ok(print(&user, &devices, &mut output())?)
        }
    }
}

async fn gateway(args: Gateway) -> anyhow::Result<()> {
    let One { source, tenant, uid, replace } = args.gateway;
    let gateway = Named { tenant, uid };
    let behind =
        args.prefix.map_or_else(|| Behind::Devices(args.devices.into_iter().collect()), Behind::Prefix);
    let revoke_others_in = replace.then(TimeDelta::zero);
    let wish = issue::Wish { revoke_others_in, behind: Some(behind), ..issue::Wish::default() };
    let issued = source.write(async |log| issue_one(log, &gateway, wish).await).await?;
    let secret = issued.secret.context("a credential without a certificate has a secret")?;
    Ok(writeln!(output(), "{gateway},{}", secret.reveal())?)
}

async fn credentials(args: Credentials) -> anyhow::Result<()> {
    let names = (1..=args.count).map(|number| {
        let uid = format!("{}{number:05}", args.prefix).parse();
        Ok(Named { tenant: args.tenant.clone(), uid: uid.context("--prefix")? })
    });
    let names = names.collect::<anyhow::Result<Vec<_>>>()?;
    let mut out = create(&args.out)?;
    let wish = issue::Wish { revoke_others_in: args.replace.then(TimeDelta::zero), ..issue::Wish::default() };
    args.source.write(async |log| issue_all(log, names, wish, &mut out).await).await?;
    out.sync_all()?;
    writeln!(output(), "{} devices' passwords are in {}", args.count, args.out.display())?;
    Ok(())
}

async fn certificate(args: Certificate) -> anyhow::Result<()> {
    let One { source, tenant, uid, replace } = args.device;
    let device = Named { tenant, uid };
    let certificate = match (args.cert, args.subject) {
        (Some(file), _) => device::Certificate::Sha256(clients::fingerprint_of(&file)?),
        (None, subject) => device::Certificate::Subject(subject.context("--cert or --subject is needed")?),
    };
    let wish = issue::Wish {
        certificate: Some(certificate),
        revoke_others_in: replace.then(TimeDelta::zero),
        ..issue::Wish::default()
    };
    let named = device.clone();
    let issued = source.write(async |log| issue_one(log, &named, wish).await).await?;
    writeln!(
        output(),
        "{device} logs in with its certificate and the user name {device}; credential {}",
        issued.credential_id
    )?;
    Ok(())
}

fn create(path: &Path) -> anyhow::Result<File> {
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    created
        .with_context(|| format!("failed to create {}; name a file that does not exist yet", path.display()))
}

/// Writes each line as soon as its credential is valid, so that after a failure at most one credential is not in the
/// file.
async fn issue_all(
    log: &EventLog,
    devices: Vec<Named>,
    wish: issue::Wish,
    out: &mut File,
) -> anyhow::Result<()> {
    let issued = futures::stream::iter(devices).map(|device| {
        let wish = wish.clone();
        async move {
            let issued = issue_one(log, &device, wish).await;
            issued.map(|issued| (device.uid.clone(), issued)).with_context(|| format!("device {device}"))
        }
    });
    let mut issued = issued.buffered(WRITERS as usize);
    while let Some((uid, issued)) = issued.try_next().await? {
        let secret = issued.secret.context("a credential without a certificate has a secret")?;
        writeln!(out, "{uid},{}", secret.reveal())?;
    }
    Ok(())
}

async fn issue_one(log: &EventLog, device: &Named, wish: issue::Wish) -> anyhow::Result<issue::Issued> {
    let (log, metadata) = (log.for_tenant(&device.tenant), Metadata::by(Actor::Console));
    let unnamed = Registration { via: Via::Api, name: None, labels: Labels::new() };
    match registration::register(&log, &device.uid, unnamed, metadata.clone()).await {
        Ok(_) | Err(Refused::Execute(ExecuteError::Refused(device::Error::AlreadyRegistered))) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(issue::issue(&log, device, wish, metadata).await?)
}

/// All devices that have a valid credential, each with those that it speaks for: itself first. Mosquitto knows no prefixes, so
/// these stand for the devices that are registered.
async fn good(log: &EventLog) -> Result<Vec<(Named, Vec<Named>)>, fleetlog_event_log::Error> {
    let spoken_for: Vec<(String, String)> = sqlx::query_as(
        "WITH good AS (
             SELECT tenant, uid, behind
             FROM good_device_credentials($1) JOIN device_credentials USING (credential_id, tenant, uid)
         ), spoken_for AS (
             SELECT tenant, uid AS gateway, uid FROM good
             UNION
             SELECT tenant, uid, json_array_elements_text(behind -> 'devices') FROM good
             UNION
             SELECT tenant, good.uid, device.uid FROM good JOIN devices AS device USING (tenant)
             WHERE registered_at IS NOT NULL AND decommissioned_at IS NULL
               AND starts_with(device.uid, behind ->> 'prefix')
         )
         SELECT (tenant || '/' || gateway) COLLATE \"C\" AS username, (tenant || '/' || uid) COLLATE \"C\" AS device
         FROM spoken_for ORDER BY username, uid <> gateway, device",
    )
    .bind(device::EventType::that_end_service())
    .fetch_all(log.pool())
    .await?;
    let mut users: Vec<(Named, Vec<Named>)> = vec![];
    for (user, device) in spoken_for {
        let (Ok(user), Ok(device)) = (user.parse::<Named>(), device.parse()) else { continue };
        match users.last_mut() {
            Some((last, devices)) if *last == user => devices.push(device),
            _ => users.push((user, vec![device])),
        }
    }
    Ok(users)
}

fn print(user: &str, users: &[(Named, Vec<Named>)], out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "user {user}")?;
    writeln!(out, "topic read {TELEMETRY_FILTER}")?;
    writeln!(out, "topic read {ACK_FILTER}")?;
    writeln!(out, "topic read {STATUS_FILTER}")?;
    writeln!(out, "topic write +/devices/+/commands")?;
    for (user, devices) in users {
        writeln!(out, "\nuser {user}")?;
        for device in devices {
            writeln!(out, "topic write {}", device.topic(Channel::Telemetry))?;
            writeln!(out, "topic write {}", device.topic(Channel::CommandAck))?;
            writeln!(out, "topic write {}", device.topic(Channel::Status))?;
            writeln!(out, "topic read {}", device.topic(Channel::Commands))?;
        }
    }
    out.flush()
}
