//! `fleetlog projections`: lists read models, rebuilds them beside the live ones, and verifies them against the log.
//!
//! It works in the database, so it needs no login. The service does the work of a rebuild; if none runs, this process
//! does.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use fleetlog_event_log::EventLog;
use fleetlog_event_log::control::{Actor, Metadata};
use fleetlog_event_log::event::Json;
use fleetlog_projections::rebuild::{KEEP_S, Kind, MAX_KEEP_S, Rebuild, Request, Steer, Step};
use fleetlog_projections::status::{self, ProjectionStatus};
use fleetlog_projections::verify::{Verified, verify};
use fleetlog_projections::{Handle, Options};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::bar::Bar;
use super::output::output;
use super::source::Source;

/// How often the progress is read.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// How long to wait for a service before this process does the work.
const ALONE_AFTER: Duration = Duration::from_secs(2);
/// Connections of this command: it may have to do the work of a rebuild.
const CONNECTIONS: u32 = 8;

/// Read models.
#[derive(Debug, Args)]
pub struct Projections {
    /// The subcommand.
    #[command(subcommand)]
    pub what: What,
}

/// A projection, and where it is.
#[derive(Debug, Args)]
pub struct One {
    /// The projection: `devices`, `commands` or `telemetry_windows`.
    pub name: String,
    /// The log to use.
    #[command(flatten)]
    pub source: Source,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum What {
    /// List the read models with their versions, and how far each has got.
    List {
        /// The log to use.
        #[command(flatten)]
        source: Source,
    },
    /// Fold a read model anew from position 1, beside the live one, compare the two, and swap them if they are equal.
    Rebuild {
        /// Which read model.
        #[command(flatten)]
        one: One,
        /// The version that the new one is made like, and compared with; by default the live one.
        #[arg(long, value_name = "N")]
        from_version: Option<i32>,
        /// How many seconds the version that was live before is kept for a rollback.
        #[arg(long, value_name = "SECONDS", default_value_t = KEEP_S, value_parser = clap::value_parser!(i32).range(0..=i64::from(MAX_KEEP_S)))]
        keep: i32,
        /// Let the new version go live even if it differs.
        #[arg(long)]
        accept: bool,
        /// Only begin, and leave the work to the service.
        #[arg(long)]
        detach: bool,
    },
    /// Show the progress of a rebuild until it ends.
    Watch(One),
    /// Pause a rebuild.
    Pause(One),
    /// Let a paused rebuild go on.
    Resume(One),
    /// Cancel a rebuild, and remove the new version.
    Cancel(One),
    /// Let the new version go live although it differs.
    Accept(One),
    /// Bring the version back that was live before.
    Rollback(One),
    /// Compute a read model from the log a second time, in SQL that shares nothing with the fold, and compare every row.
    /// All rows of all tenants are counted, those of decommissioned devices too, which a list leaves out. Ends with exit code 1
    /// if a row differs.
    Verify {
        /// Which read model.
        #[command(flatten)]
        one: One,
        /// How many rows that differ are listed.
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(i64).range(0..=10_000))]
        list: i64,
    },
}

/// Runs the subcommand.
pub async fn run(Projections { what }: Projections) -> anyhow::Result<()> {
    match what {
        What::List { source } => {
            let listed = source.read(async |log| status::list_all(log).await).await?;
            print(&table(&listed))
        }
        What::Rebuild { one, from_version, keep, accept, detach } => {
            let request =
                Request { from_version, keep_s: keep, accept, requested_by: Actor::Console.to_string() };
            within(one, async |log, name| {
                handle(log).rebuild(name, request, by_cli()).await?;
                if detach {
                    print(&format!("{name}: the rebuild has begun\n"))
                } else {
                    watch(log, name).await
                }
            })
            .await
        }
        What::Watch(one) => within(one, watch).await,
        What::Pause(one) => steer(one, Steer::Pause).await,
        What::Resume(one) => steer(one, Steer::Resume).await,
        What::Cancel(one) => steer(one, Steer::Cancel).await,
        What::Accept(one) => steer(one, Steer::Accept).await,
        What::Rollback(one) => {
            within(one, async |log, name| {
                handle(log).roll_back(name, Actor::Console.to_string(), by_cli()).await?;
                watch(log, name).await
            })
            .await
        }
        What::Verify { one: One { name, source }, list } => {
            let verified = source.read(async |log| verified(log, &name, list).await).await?;
            print(&report(&verified))?;
            if verified.differences() > 0 {
                bail!("{name} is not what the log says: {} rows differ", verified.differences());
            }
            Ok(())
        }
    }
}

/// Opens the log, and works on the projection with it.
async fn within(
    One { name, source }: One,
    work: impl AsyncFnOnce(&EventLog, &str) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    source.write_with(CONNECTIONS, async |log| work(log, &name).await).await
}

async fn steer(one: One, how: Steer) -> anyhow::Result<()> {
    within(one, async |log, name| {
        let steered = handle(log).steer(name, how, by_cli()).await?;
        if how == Steer::Pause || how == Steer::Cancel {
            return print(&format!("{name}: {}\n", outcome(&steered)));
        }
        watch(log, name).await
    })
    .await
}

fn handle(log: &EventLog) -> Handle {
    fleetlog_projections::Projections::new(log.clone(), Options::default()).handle()
}

fn by_cli() -> Metadata {
    Metadata::by(Actor::Console)
}

/// Shows the progress until the rebuild ends, waits for an answer, or is paused.
async fn watch(log: &EventLog, name: &str) -> anyhow::Result<()> {
    let handle = handle(log);
    let (mut bar, mut idle_since) = (Bar::default(), None);
    // The work of this process ends with this function.
    let mut alone: Option<DropGuard> = None;
    loop {
        let last = handle.last_rebuild(name).await?;
        let last = last.with_context(|| format!("{name} has never been rebuilt"))?;
        bar.show(&last);
        if last.ended_at.is_some() || last.paused || last.step == Step::Waiting {
            bar.end();
            return ended(&handle, &last).await;
        }
        let idle = *idle_since.get_or_insert_with(Instant::now);
        if last.running {
            idle_since = None;
        } else if idle.elapsed() >= ALONE_AFTER && alone.is_none() {
            bar.say("no service is running: this process does the work");
            let stop = CancellationToken::new();
            let projections = fleetlog_projections::Projections::new(log.clone(), Options::default());
            tokio::spawn(projections.run_rebuilds(stop.clone()));
            alone = Some(stop.drop_guard());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Says how a rebuild ended. One that waits or failed is an error.
async fn ended(handle: &Handle, last: &Rebuild) -> anyhow::Result<()> {
    if last.step == Step::Waiting {
        let rows = handle.differences(last.rebuild_id, 0, 20).await?;
        let text: String = rows
            .iter()
            .map(|row| {
                difference(
                    &row.rows_of,
                    &row.key,
                    ("live", row.live.as_ref()),
                    ("rebuilt", row.rebuilt.as_ref()),
                )
            })
            .collect();
        print(&text)?;
        let name = &last.projection;
        bail!(
            "{}; `fleetlog projections accept {name}` lets version {} go live, `cancel` removes it",
            outcome(last),
            last.version
        );
    }
    print(&format!("{}: {}\n", last.projection, outcome(last)))
}

/// What became of a rebuild, in words.
fn outcome(rebuild: &Rebuild) -> String {
    let version = rebuild.version;
    match (rebuild.step, rebuild.paused) {
        (_, true) => {
            let why = rebuild.error.as_ref().map_or_else(String::new, |why| format!(": {why}"));
            format!("{}{why}", told(rebuild))
        }
        (Step::Waiting, _) => match rebuild.differences {
            Some(rows) => format!("{rows} rows differ between version {version} and the live one"),
            None => format!("version {version} could not be compared: the live one has another format"),
        },
        (Step::Swapped, _) => {
            let kept = match (rebuild.kept_version, rebuild.kept_until) {
                (Some(kept), Some(until)) => {
                    format!("; version {kept} is kept until {}", until.format("%Y-%m-%dT%H:%M:%SZ"))
                }
                _ => String::new(),
            };
            format!("version {version} is live{kept}")
        }
        (Step::Cancelled, _) if rebuild.kind == Kind::Rollback => "the rollback is cancelled".to_owned(),
        (Step::Cancelled, _) => format!("cancelled, and version {version} removed"),
        _ => told(rebuild),
    }
}

/// What a rebuild does now, and what may be told to it next.
fn told(rebuild: &Rebuild) -> String {
    rebuild.under_way().map_or_else(|| rebuild.step.to_string(), |now| now.to_string())
}

async fn verified(log: &EventLog, name: &str, list: i64) -> anyhow::Result<Verified> {
    let facts = handle(log).facts(name).with_context(|| format!("there is no projection {name}"))?;
    let mut bar = Bar::default();
    let verified = verify(log, facts, list, |so_far| bar.verifying(&so_far)).await;
    bar.end();
    Ok(verified?)
}

fn report(verified: &Verified) -> String {
    let parked = if verified.parked > 0 {
        format!(", without {} parked streams", verified.parked)
    } else {
        String::new()
    };
    let head = format!(
        "{} version {}, up to {} events{parked}; all rows of all tenants, decommissioned devices too\n",
        verified.projection, verified.version, verified.events
    );
    let rows = verified.rows.iter().map(|rows| {
        format!(
            "{:20} {} rows stored, {} by the log, {} differ\n",
            rows.name, rows.stored, rows.expected, rows.differences
        )
    });
    let listed = verified.listed.iter().map(|row| {
        difference(row.rows_of, &row.key, ("stored", row.live.as_ref()), ("log", row.rebuilt.as_ref()))
    });
    std::iter::once(head).chain(rows).chain(listed).collect()
}

/// A row that differs, as it is on both sides.
fn difference(
    rows_of: &str,
    key: &Json,
    (one, left): (&str, Option<&Json>),
    (other, right): (&str, Option<&Json>),
) -> String {
    let side = |row: Option<&Json>| row.map_or("no such row".to_owned(), |row| row.0.clone());
    format!("{rows_of} {}\n  {one:7}  {}\n  {other:7}  {}\n", key.0, side(left), side(right))
}

fn table(statuses: &[ProjectionStatus]) -> String {
    let line = |status: &ProjectionStatus| {
        let live = if status.live { "live" } else { "" };
        format!(
            "{:18}  v{:<3}  {live:4}  {:9}  {} of {}{}{}\n",
            status.projection,
            status.version,
            status.state,
            status.total.position,
            status.total.head,
            if status.parked > 0 { format!("  {} parked streams", status.parked) } else { String::new() },
            status.rebuild.map_or_else(String::new, |now| format!("  a {} is {now}", now.kind))
        )
    };
    statuses.iter().map(line).collect()
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut out = output();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}
