//! `fleetlog archive`: lists what was removed from the database, verifies the files that have it, and brings it back.

use std::io::Write;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use fleetlog_archive::restore::{KEEP_DAYS, restore};
use fleetlog_archive::{Place, check};
use fleetlog_event_log::archived::Archived;
use fleetlog_event_log::control::{Actor, Metadata};
use fleetlog_event_log::{EventLog, LogId, Position};

use super::output::output;
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
    #[arg(long, value_name = "POSITION", requires = "log_id")]
    pub from: Option<Position>,
    /// Only what holds this position or an earlier one.
    #[arg(long, value_name = "POSITION", requires = "log_id")]
    pub to: Option<Position>,
    /// Where the files are now, if they are not where they were written.
    #[arg(long, env = "FLEETLOG_ARCHIVE", value_name = "DIR")]
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
    /// Read the files again, and compare them with what the database says of them. Ends with exit code 1 if one is not as it
    /// was written.
    Verify {
        /// Which ones.
        #[command(flatten)]
        which: Which,
        /// The log to use.
        #[command(flatten)]
        source: Source,
    },
    /// Bring readings back into the database, byte for byte. Whole ranges come back, as `list` shows them.
    Restore {
        /// Which ones.
        #[command(flatten)]
        which: Which,
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
        What::Verify { which, source } => source.read(async |log| verify(log, &which).await).await,
        What::Restore { which, keep, source } => {
            source.write(async |log| bring_back(log, &which, keep).await).await
        }
    }
}

async fn list(log: &EventLog, which: &Which) -> anyhow::Result<()> {
    let mut ranges = log.all_archived().await?;
    ranges.retain(|range| which.includes(range));
    if ranges.is_empty() {
        return say("nothing was removed");
    }
    for range in &ranges {
        let tenant = log.heads().log(range.log_id).map_or_else(String::new, |log| log.tenant);
        let where_to = match (&range.kept_until, &range.copy) {
            (Some(until), _) => format!("in the database until {}", until.date_naive()),
            (None, Some(copy)) => copy.location.clone(),
            (None, None) => "no copy was kept".into(),
        };
        let (week, removed) = (range.week.date_naive(), range.removed_at.date_naive());
        say(&format!(
            "{}  week of {week}  removed {removed}  tenant {tenant}  {where_to}",
            positions(range)
        ))?;
    }
    Ok(())
}

async fn verify(log: &EventLog, which: &Which) -> anyhow::Result<()> {
    let mut bad = 0;
    for range in which.ranges(log).await? {
        if range.copy.is_none() {
            say(&format!("{}  no copy was kept", positions(&range)))?;
            continue;
        }
        let (place, of) = (which.archive.clone(), range.clone());
        let checked = tokio::task::spawn_blocking(move || check::copy(place.as_ref(), &of)).await?;
        match checked {
            Ok(()) => say(&format!("{}  as it was written", positions(&range)))?,
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

async fn bring_back(log: &EventLog, which: &Which, keep: i32) -> anyhow::Result<()> {
    if which.log_id.is_none() {
        bail!("name the log with --log-id; `fleetlog archive list` shows what was removed");
    }
    for range in which.ranges(log).await? {
        let told = positions(&range);
        if let Some(until) = range.kept_until {
            say(&format!("{told}  in the database already, until {}", until.date_naive()))?;
            continue;
        }
        let restored = restore(log, which.archive.clone(), range, keep, Metadata::by(Actor::Console)).await;
        restored.with_context(|| format!("failed to restore {told}"))?;
        say(&format!("{told}  restored, for {keep} days at least"))?;
    }
    Ok(())
}

fn positions(range: &Archived) -> String {
    format!("log {}  {} to {}", range.log_id, range.first, range.last)
}

fn say(line: &str) -> anyhow::Result<()> {
    Ok(writeln!(output(), "{line}")?)
}
