//! `fleetlog device`: credentials for many devices at once, and the ACL file of a Mosquitto of one's own.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use chrono::TimeDelta;
use clap::{Args, Subcommand};
use fleetlog_aggregates::device::{self, Labels, Registration, Via};
use fleetlog_aggregates::identity::Tenant;
use fleetlog_aggregates::topic::{ACK_FILTER, Channel, TELEMETRY_FILTER};
use fleetlog_engine::devices::credentials::{Device as Named, issue};
use fleetlog_engine::devices::registration::{self, Refused};
use fleetlog_event_log::EventLog;
use fleetlog_event_log::control::{ExecuteError, metadata};
use futures::{StreamExt, TryStreamExt};

use super::source::{Source, WRITERS};

/// Who does it, on the record: whoever can reach the database.
const ACTOR: &str = "cli";

/// What about devices.
#[derive(Debug, Args)]
pub struct Device {
    /// What to do.
    #[command(subcommand)]
    pub what: What,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Register devices where they are unknown, give each a credential, and write a file of `uid,password`.
    Credentials(Credentials),
    /// Print the ACL file of a Mosquitto: for each device with a credential that is good, its own topics.
    Acl(Acl),
}

/// Which devices get credentials.
#[derive(Debug, Args)]
pub struct Credentials {
    /// Where they are kept.
    #[command(flatten)]
    pub source: Source,
    /// Whose devices they are.
    #[arg(long, default_value = "t0")]
    pub tenant: Tenant,
    /// How many.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub count: u32,
    /// What their names begin with; a number of five digits follows.
    #[arg(long, default_value = "sim-")]
    pub prefix: String,
    /// End the credentials that they have already.
    #[arg(long)]
    pub replace: bool,
    /// The file to write, for its owner's eyes only. It must not exist.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Whose topics an ACL file lists.
#[derive(Debug, Args)]
pub struct Acl {
    /// Where devices' credentials are kept.
    #[command(flatten)]
    pub source: Source,
    /// The name that fleetlog itself logs in with at the broker.
    #[arg(long, default_value = "fleetlog")]
    pub user: String,
}

/// Does what was asked for.
pub async fn run(args: Device) -> anyhow::Result<()> {
    match args.what {
        What::Credentials(args) => credentials(args).await,
        What::Acl(Acl { source, user }) => {
            anyhow::ensure!(!user.contains(char::is_control), "--user is a name on one line");
            let reading = source.open().await?;
            let printed = match good(&reading.log).await {
                Ok(devices) => print(&user, &devices, &mut io::stdout().lock()).map_err(Into::into),
                Err(error) => Err(error.into()),
            };
            reading.close().await?;
            printed
        }
    }
}

async fn credentials(args: Credentials) -> anyhow::Result<()> {
    let names = (1..=args.count).map(|number| {
        let uid = format!("{}{number:05}", args.prefix).parse();
        Ok(Named { tenant: args.tenant.clone(), uid: uid.context("--prefix")? })
    });
    let names = names.collect::<anyhow::Result<Vec<_>>>()?;
    let mut out = create(&args.out)?;
    let opened = args.source.open_to_write().await?;
    let revoke_others_in = args.replace.then(TimeDelta::zero);
    let issued =
        issue_all(&opened.log, names, issue::Wish { expires_at: None, revoke_others_in }, &mut out).await;
    opened.close().await?;
    issued?;
    out.sync_all()?;
    writeln!(io::stdout(), "{} devices' passwords are in {}", args.count, args.out.display())?;
    Ok(())
}

fn create(path: &Path) -> anyhow::Result<File> {
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    created.with_context(|| format!("failed to create {}", path.display()))
}

/// A line is written as soon as its credential is good: what is lost by a failure can be revoked, and no more than that.
async fn issue_all(
    log: &EventLog,
    devices: Vec<Named>,
    wish: issue::Wish,
    out: &mut File,
) -> anyhow::Result<()> {
    let issued = futures::stream::iter(devices).map(|device| async move {
        let issued = issue_one(log, &device, wish).await;
        issued.map(|issued| (device.uid.clone(), issued)).with_context(|| format!("device {device}"))
    });
    let mut issued = issued.buffered(WRITERS as usize);
    while let Some((uid, issued)) = issued.try_next().await? {
        writeln!(out, "{uid},{}", issued.secret.reveal())?;
    }
    Ok(())
}

async fn issue_one(log: &EventLog, device: &Named, wish: issue::Wish) -> anyhow::Result<issue::Issued> {
    let (log, metadata) = (log.for_tenant(&device.tenant), metadata(ACTOR, None, None));
    let unnamed = Registration { via: Via::Api, name: None, labels: Labels::new() };
    match registration::register(&log, &device.uid, unnamed, metadata.clone()).await {
        Ok(_) | Err(Refused::Execute(ExecuteError::Refused(device::Error::AlreadyRegistered))) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(issue::issue(&log, device, wish, metadata).await?)
}

/// All devices with a credential that is good.
async fn good(log: &EventLog) -> Result<Vec<Named>, fleetlog_event_log::Error> {
    let users: Vec<String> = sqlx::query_scalar(
        "SELECT DISTINCT (tenant || '/' || uid) COLLATE \"C\" AS username
         FROM good_device_credentials($1) ORDER BY username",
    )
    .bind(device::EventType::that_end_service())
    .fetch_all(log.pool())
    .await?;
    Ok(users.iter().filter_map(|user| user.parse().ok()).collect())
}

fn print(user: &str, devices: &[Named], out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "user {user}")?;
    writeln!(out, "topic read {TELEMETRY_FILTER}")?;
    writeln!(out, "topic read {ACK_FILTER}")?;
    writeln!(out, "topic write +/devices/+/commands")?;
    for device in devices {
        writeln!(out, "\nuser {device}")?;
        writeln!(out, "topic write {}", device.topic(Channel::Telemetry))?;
        writeln!(out, "topic write {}", device.topic(Channel::CommandAck))?;
        writeln!(out, "topic read {}", device.topic(Channel::Commands))?;
    }
    out.flush()
}
