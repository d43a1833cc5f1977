//! `fleetlog replay`: replays the log for auditors.

use std::io::{BufWriter, Write};

use chrono::{DateTime, Utc};
use clap::{ArgGroup, Args, ValueEnum};
use fleetlog_aggregates::identity::{Tenant, Uid};
use fleetlog_engine::replay::line::Line;
use fleetlog_engine::replay::{self, Options, Scope};
use uuid::Uuid;

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
    /// Leave out events recorded after this time. Alone: list every command that had not ended then, and count the
    /// commands in each state.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub as_of: Option<DateTime<Utc>>,
    /// The tenant whose log is replayed.
    #[arg(long, default_value = "t0")]
    pub tenant: Tenant,
    /// The output format.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
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
    /// `state` or `counts`.
    Json,
}

/// Replays the log to standard output.
pub async fn run(args: Replay) -> anyhow::Result<()> {
    let Replay { command, device, from, to, as_of, tenant, format, source } = args;
    let scope = match (command, device) {
        (Some(cmd_id), _) => Scope::Command(cmd_id),
        (None, Some(uid)) => Scope::Device { uid, from, to },
        (None, None) => Scope::Open,
    };
    let mut out = BufWriter::new(output());
    let mut tell = |line: &Line| match format {
        Format::Text => writeln!(out, "{line}"),
        Format::Json => {
            serde_json::to_writer(&mut out, line)?;
            out.write_all(b"\n")
        }
    };
    let options = Options { tenant, scope, as_of };
    let told = source.read(async |log| replay::run(log, &options, &mut tell).await).await;
    // Flush the lines before an error, too.
    told.and(out.flush().map_err(Into::into))
}

fn time(text: &str) -> Result<DateTime<Utc>, String> {
    DateTime::parse_from_rfc3339(text)
        .map(|time| time.to_utc())
        .map_err(|_| "expected a time with its zone, as 2026-11-20T13:32:47Z".to_owned())
}
