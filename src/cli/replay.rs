//! `fleetlog replay`: replays the log for auditors.

use std::fmt::{self, Display, Formatter};
use std::io::{self, BufWriter, Write};

use anyhow::{Context, bail};
use chrono::{DateTime, Utc};
use clap::{ArgGroup, Args, ValueEnum};
use fleetlog_aggregates::identity::{Tenant, Uid};
use fleetlog_engine::replay::line::Line;
use fleetlog_engine::replay::{self, Options, Scope};
use fleetlog_event_log::as_of::AsOf;
use fleetlog_event_log::{EventLog, Lane, LogId};
use fleetlog_proof::verify::Report;
use serde::Serialize;
use uuid::Uuid;

use super::audit::trust::{Trust, Trusted};
use super::audit::verify_one;
use super::bar::Bar;
use super::output::output;
use super::source::Source;

/// Reads the id of a command.
fn command_id(text: &str) -> Result<Uuid, &'static str> {
    text.parse().map_err(|_| "expected the id of a command, a UUID; `--device` takes a device's uid")
}

/// Replay a command, a device with its commands or, with `--as-of` alone, every command that had not ended.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).multiple(true).args(["command", "device", "as_of"]))]
pub struct Replay {
    /// Replay the life of one command, by its id.
    #[arg(long, value_name = "ID", conflicts_with = "device", value_parser = command_id)]
    pub command: Option<Uuid>,
    /// Replay a device and its commands, in the order of the log.
    #[arg(long, value_name = "UID")]
    pub device: Option<Uid>,
    /// With --device: only events recorded from this time on, as 2026-11-20T13:32:47Z.
    #[arg(long, value_name = "TIME", requires = "device", value_parser = time)]
    pub from: Option<DateTime<Utc>>,
    /// With --device: only events recorded before this time.
    #[arg(long, value_name = "TIME", requires = "device", value_parser = time)]
    pub to: Option<DateTime<Utc>>,
    /// Leave out events recorded after this moment: a time, or a position as writes return it, such as 1:42. Alone: list every
    /// command that had not ended then, and count the commands in each state.
    #[arg(long, value_name = "TIME|LOG:POSITION")]
    pub as_of: Option<AsOf>,
    /// The tenant whose log is replayed.
    #[arg(long, default_value = "t0")]
    pub tenant: Tenant,
    /// The output format.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Whom and what to trust.
    #[command(flatten)]
    pub trust: Trust,
    /// Tell what the log says without verifying it first. A long log is told sooner, and one with a forged event at all.
    #[arg(long, conflicts_with_all = ["keys", "checkpoints"])]
    pub unverified: bool,
    /// The log to use.
    #[command(flatten)]
    pub source: Source,
}

/// The output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// As text, an event a line.
    Text,
    /// One JSON object a line. Its `line` is `command`, `device`, `event` (as stored, with the `state` after it),
    /// `state`, `counts` or, the last one, `proof`.
    Json,
}

/// The last line: how far the log is proved to be as it was recorded.
#[derive(Debug, Serialize)]
#[serde(tag = "line", rename = "proof")]
struct Proof {
    /// The log that was replayed.
    log_id: LogId,
    /// The last position that is proved. 0 if none is.
    verified: u64,
    /// When the checkpoint was signed that proves it, if the database knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    signed_at: Option<String>,
    /// How many events are newer than the checkpoint.
    unsigned: u64,
}

impl Display for Proof {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { log_id, verified, signed_at, unsigned } = self;
        if *verified == 0 {
            return write!(f, "not verified: log {log_id} has no signed checkpoint yet");
        }
        write!(f, "verified up to {log_id}:{verified}")?;
        if let Some(at) = signed_at {
            write!(f, " (checkpoint of {at})")?;
        }
        if *unsigned > 0 {
            write!(f, "; {unsigned} newer events are not signed yet")?;
        }
        Ok(())
    }
}

/// Verifies a log before anything of it is told.
async fn prove(log: &EventLog, log_id: LogId, trusted: &Trusted) -> anyhow::Result<Proof> {
    let one = log.heads().log(log_id).context("the log was not read")?;
    let mut bar = Bar::of_what_may_be_long();
    let verified = verify_one(log, &one, trusted, 0, &mut bar).await?;
    bar.end();
    if !verified.is_good() {
        for line in verified.lines() {
            bar.say(&line);
        }
        bail!("the log is not as recorded, so nothing of it is told; `--unverified` tells it as it stands");
    }
    let signed_at = verified.signed_at().map(ToOwned::to_owned);
    let Report { signed, events, .. } = verified.report;
    Ok(Proof { log_id, verified: signed, signed_at, unsigned: events.saturating_sub(signed) })
}

/// Replays the log to standard output.
pub async fn run(args: Replay) -> anyhow::Result<()> {
    let Replay { command, device, from, to, as_of, tenant, format, trust, unverified, source } = args;
    let scope = match (command, device) {
        (Some(cmd_id), _) => Scope::Command(cmd_id),
        (None, Some(uid)) => Scope::Device { uid, from, to },
        (None, None) => Scope::Open,
    };
    let options = Options { tenant, scope, as_of };
    let folder = trust.folder(&source);
    source
        .read(async |log| {
            let control = log.heads().of(options.tenant.as_str(), Lane::Control);
            // Without a log there is nothing to prove, and the replay says so.
            let proof = match control.filter(|_| !unverified) {
                Some(log_id) => Some(prove(log, log_id, &trust.load(log, folder).await?).await?),
                None => None,
            };
            let mut out = BufWriter::new(output());
            let mut told = replay::run(log, &options, &mut |line: &Line| tell(&mut out, format, line)).await;
            if let (Ok(()), Some(proof)) = (&told, proof) {
                told = tell(&mut out, format, &proof).map_err(Into::into);
            }
            // The lines before an error are told, too.
            told.and(out.flush().map_err(Into::into))?;
            anyhow::Ok(())
        })
        .await
}

fn tell(out: &mut impl Write, format: Format, line: &(impl Display + Serialize)) -> io::Result<()> {
    match format {
        Format::Text => writeln!(out, "{line}"),
        Format::Json => {
            serde_json::to_writer(&mut *out, line)?;
            out.write_all(b"\n")
        }
    }
}

fn time(text: &str) -> Result<DateTime<Utc>, String> {
    DateTime::parse_from_rfc3339(text)
        .map(|time| time.to_utc())
        .map_err(|_| "expected a time with its zone, as 2026-11-20T13:32:47Z".to_owned())
}
