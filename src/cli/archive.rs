//! `fleetlog archive`: lists what was removed from the database, verifies the files that have it, and brings it back.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, bail};
use chrono::SecondsFormat;
use clap::{Args, Subcommand};
use fleetlog_archive::Place;
use fleetlog_archive::check::{self, Verified};
use fleetlog_archive::file::Facts;
use fleetlog_archive::restore::{KEEP_DAYS, restore};
use fleetlog_event_log::archived::Archived;
use fleetlog_event_log::control::{Actor, Metadata};
use fleetlog_event_log::{EventLog, LogId, Position};
use fleetlog_proof::note::VerifierKey;

use super::audit::trust::Trust;
use super::output::output;
use super::positions::position;
use super::source::Source;

/// Readings that were removed.
#[derive(Debug, Args)]
pub struct Archive {
    /// The subcommand.
    #[command(subcommand)]
    pub what: What,
}

/// Some of what was removed.
#[derive(Debug, Clone, Args)]
pub struct Which {
    /// Only of this log, by its number.
    #[arg(long, value_name = "N")]
    pub log_id: Option<i32>,
    /// Only what holds this position or a later one.
    #[arg(long, value_name = "POSITION", requires = "log_id", value_parser = position)]
    pub from: Option<Position>,
    /// Only what holds this position or an earlier one.
    #[arg(long, value_name = "POSITION", requires = "log_id", value_parser = position)]
    pub to: Option<Position>,
    /// Where the files are now, if they are not where they were written.
    #[arg(long, env = "FLEETLOG_ARCHIVE", value_name = "PLACE")]
    pub archive: Option<Place>,
}

impl Which {
    fn includes(&self, range: &Archived) -> bool {
        self.log_id.is_none_or(|log_id| range.log_id == LogId(log_id))
            && self.from.is_none_or(|from| range.last >= from)
            && self.to.is_none_or(|to| range.first <= to)
    }

    /// The ranges, of which there is at least one.
    async fn ranges(&self, log: &EventLog) -> anyhow::Result<Vec<Archived>> {
        let mut ranges = log.all_archived().await?;
        ranges.retain(|range| self.includes(range));
        if ranges.is_empty() {
            bail!("nothing of that was removed; `fleetlog archive list` shows what was");
        }
        Ok(ranges)
    }
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum What {
    /// List what was removed from each log, and where it lies.
    List {
        /// Which ones.
        #[command(flatten)]
        which: Which,
        /// The log to use.
        #[command(flatten)]
        source: Source,
    },
    /// Read the files again, and compare their events with what was signed and with what the database says of them. Ends with
    /// exit code 1 if one is not as it was written.
    Verify {
        /// Verify this file by itself, without a database, with the log's key: it has the proof of its events.
        #[arg(long, value_name = "FILE", requires = "keys", conflicts_with_all = ["log_id", "archive"])]
        file: Vec<PathBuf>,
        /// Which ones.
        #[command(flatten)]
        which: Which,
        /// Whom to trust.
        #[command(flatten)]
        trust: Trust,
        /// The log to use.
        #[command(flatten)]
        source: Source,
    },
    /// Bring readings back into the database, byte for byte. Whole ranges come back, as `list` shows them. Each file is verified
    /// before a row is written.
    Restore {
        /// Which ones.
        #[command(flatten)]
        which: Which,
        /// Whom to trust.
        #[command(flatten)]
        trust: Trust,
        /// How many days they stay at least, whatever their tenant's retention says.
        #[arg(long, value_name = "DAYS", default_value_t = KEEP_DAYS, value_parser = clap::value_parser!(i32).range(1..=36_500))]
        keep: i32,
        /// The log to use.
        #[command(flatten)]
        source: Source,
    },
}

/// Runs the subcommand.
pub async fn run(Archive { what }: Archive) -> anyhow::Result<()> {
    match what {
        What::List { which, source } => source.read(async |log| list(log, &which).await).await,
        What::Verify { file: files, trust, .. } if !files.is_empty() => {
            verify_alone(files, &trust.keys).await
        }
        What::Verify { which, trust, source, .. } => {
            let folder = trust.folder(&source);
            let verified =
                source.read(async |log| verify(log, &which, trust.load(log, folder).await?.keys()).await);
            verified.await
        }
        What::Restore { which, trust, keep, source } => {
            let folder = trust.folder(&source);
            let restored = source.write(async |log| {
                let trusted = trust.load(log, folder).await?;
                bring_back(log, &which, trusted.keys(), keep).await
            });
            restored.await
        }
    }
}

async fn list(log: &EventLog, which: &Which) -> anyhow::Result<()> {
    let mut ranges = log.all_archived().await?;
    ranges.retain(|range| which.includes(range));
    if ranges.is_empty() {
        say("nothing was removed")?;
    }
    for range in &ranges {
        let tenant = log.heads().log(range.log_id).map_or_else(String::new, |log| log.tenant);
        let where_to = match (&range.kept_until, &range.copy) {
            (Some(until), _) => format!("in the database until {}", until.date_naive()),
            (None, Some(copy)) => copy.location.clone(),
            (None, None) => "no copy was kept".into(),
        };
        let unproved = range.copy.is_some() && range.proved_size.is_none();
        let unproved = if unproved { "  without a proof" } else { "" };
        let (week, removed) = (range.week.date_naive(), range.removed_at.date_naive());
        say(&format!(
            "{}  week of {week}  removed {removed}  tenant {tenant}  {where_to}{unproved}",
            positions(range)
        ))?;
    }
    if let Some((week, reason)) = log.kept_week(true).await? {
        say(&format!("the week of {} stays: {reason}", week.date_naive()))?;
    }
    Ok(())
}

/// What a file was compared with, for people.
fn told(log_id: LogId, verified: &Verified) -> String {
    match verified {
        Verified::Signed { last, signed_at, by_file } => {
            let at = signed_at.to_rfc3339_opts(SecondsFormat::Secs, true);
            let by = if *by_file { "" } else { " in the database: the file has none by a trusted key" };
            format!("verified up to {log_id}:{last} (checkpoint of {at}{by})")
        }
        Verified::Unsigned => "as the database's own proof says; nothing is signed".to_owned(),
    }
}

async fn verify_alone(files: Vec<PathBuf>, keys: &[VerifierKey]) -> anyhow::Result<()> {
    let mut bad = 0;
    for file in files {
        let name = file.display().to_string();
        match check::alone(file, keys).await {
            Ok((Facts { log_id, positions: (first, last), .. }, verified)) => {
                say(&format!("{name}  log {log_id}  {first} to {last}  {}", told(log_id, &verified)))?;
            }
            Err(error) => {
                bad += 1;
                say(&format!("{name}  DAMAGED  {error}"))?;
            }
        }
    }
    if bad > 0 {
        bail!("{bad} of the files cannot be trusted");
    }
    Ok(())
}

async fn verify(log: &EventLog, which: &Which, keys: &[VerifierKey]) -> anyhow::Result<()> {
    let mut bad = 0;
    for range in which.ranges(log).await? {
        if range.copy.is_none() {
            say(&format!("{}  no copy was kept", positions(&range)))?;
            continue;
        }
        match check::copy(log, keys, which.archive.as_ref(), &range).await {
            Ok(verified) => say(&format!("{}  {}", positions(&range), told(range.log_id, &verified)))?,
            Err(error) => {
                bad += 1;
                say(&format!("{}  DAMAGED  {error}", positions(&range)))?;
            }
        }
    }
    if bad > 0 {
        bail!(
            "{bad} of the files are not as they were written; bring them back from a backup of the archive"
        );
    }
    Ok(())
}

async fn bring_back(log: &EventLog, which: &Which, keys: &[VerifierKey], keep: i32) -> anyhow::Result<()> {
    if which.log_id.is_none() {
        bail!("name the log with --log-id; `fleetlog archive list` shows what was removed");
    }
    for range in which.ranges(log).await? {
        let (of, log_id) = (positions(&range), range.log_id);
        if let Some(until) = range.kept_until {
            say(&format!("{of}  in the database already, until {}", until.date_naive()))?;
            continue;
        }
        let by = Metadata::by(Actor::Console);
        let restored = restore(log, keys, which.archive.clone(), range, keep, by).await;
        let verified = restored.with_context(|| format!("failed to restore {of}"))?;
        say(&format!("{of}  {}; restored, for {keep} days at least", told(log_id, &verified)))?;
    }
    Ok(())
}

fn positions(range: &Archived) -> String {
    format!("log {}  {} to {}", range.log_id, range.first, range.last)
}

fn say(line: &str) -> anyhow::Result<()> {
    Ok(writeln!(output(), "{line}")?)
}
