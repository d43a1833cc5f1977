//! `fleetlog audit`: proves what the log says, for auditors and for whoever operates it. docs/PROOF.md says how.

pub mod trust;
pub mod watch;
mod witnesses;

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use fleetlog_archive::Place;
use fleetlog_event_log::archived::Archived;
use fleetlog_event_log::{EventLog, Log, LogId, Position};
use fleetlog_proof::bundle::Bundle;
use fleetlog_proof::custody::read_checkpoints;
use fleetlog_proof::read::{self, Inclusion};
use fleetlog_proof::verify::{Report, verify};
use fleetlog_proof::{Custody, custody, store};

use self::trust::{Trust, Trusted};
use super::bar::Bar;
use super::output::output;
use super::positions::{of_event, position};
use super::source::Source;

/// Prove what the log says, and verify that nobody has changed it.
#[derive(Debug, Args)]
pub struct Audit {
    /// The subcommand.
    #[command(subcommand)]
    pub what: What,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Print the newest signed checkpoint of each log. Keep it where the operator of the database cannot reach it: no
    /// event that it covers can be changed unnoticed any more.
    Checkpoint {
        /// Only this log.
        #[arg(long, value_name = "LOG")]
        log_id: Option<i32>,
        /// The log to use.
        #[command(flatten)]
        source: Source,
    },
    /// Print the installation's verifier key. Keep it with the checkpoints.
    Key {
        /// The log to use.
        #[command(flatten)]
        source: Source,
    },
    /// Print the proof that the log has an event, as a C2SP tlog-proof.
    Prove {
        /// The event's place, as `LOG:POSITION`.
        #[arg(value_name = "LOG:POSITION", value_parser = of_event)]
        place: (LogId, Position),
        /// The log to use.
        #[command(flatten)]
        source: Source,
    },
    /// Hash every event again and compare with the signed checkpoints. Ends with exit code 1 if an event was changed,
    /// removed, added or moved, and says which.
    Verify {
        /// Only these logs.
        #[arg(long, value_name = "LOG")]
        log_id: Vec<i32>,
        /// Whom and what to trust.
        #[command(flatten)]
        trust: Trust,
        /// The log to use.
        #[command(flatten)]
        source: Source,
    },
    /// Write events with their proof into a folder, to be checked without fleetlog: `tools/verify.py DIR`.
    Bundle {
        /// The folder; it must not exist, or be empty.
        dir: PathBuf,
        /// Only this log.
        #[arg(long, value_name = "LOG")]
        log_id: Option<i32>,
        /// The first position.
        #[arg(long, value_name = "POSITION", default_value_t = 1, value_parser = position)]
        from: Position,
        /// The last position; by default that of the newest checkpoint.
        #[arg(long, value_name = "POSITION", value_parser = position)]
        to: Option<Position>,
        /// A file with checkpoints that an auditor has kept: the bundle then has what proves that the log goes on from
        /// them.
        #[arg(long, value_name = "FILE")]
        kept: Vec<PathBuf>,
        /// Where the files of the archive are now, if they are not where they were written: readings that were removed come
        /// from them.
        #[arg(long, env = "FLEETLOG_ARCHIVE", value_name = "PLACE")]
        archive: Option<Place>,
        /// The log to use.
        #[command(flatten)]
        source: Source,
    },
    /// Make a new key, and with it a new name: the log's proof begins anew. Needed after a backup was restored, because
    /// a key must never sign two histories; anybody who has kept a checkpoint of the old name sees from where on they
    /// differ. Stop the service, move the old folder of the key away and keep it, and copy the new one to all nodes.
    NewKey {
        /// The folder of the key; by default `audit` in the data directory.
        #[arg(long, env = "FLEETLOG_AUDIT_DIR", value_name = "DIR")]
        audit_dir: Option<PathBuf>,
        /// The log to use.
        #[command(flatten)]
        source: Source,
    },
    /// Watch a service's logs from elsewhere: whether each checkpoint goes on from the one before. Ends with exit code 1,
    /// and leaves the evidence in the folder, if a log was rolled back, forked or changed, or is signed by another key.
    Watch(watch::Args),
    /// Print what each witness took that the service sends to (`serve --witness`), when, and what is wrong with those that
    /// did not.
    Witnesses {
        /// The log to use.
        #[command(flatten)]
        source: Source,
    },
    /// Make a key for a witness, to cosign with in `watch`, and print its verifier key. Give that to whoever checks
    /// checkpoints.
    NewWitnessKey {
        /// The witness's name, such as `auditor.example/w1`: letters, digits and `-._/:`.
        name: String,
        /// The file to make. Only its owner may read it.
        file: PathBuf,
    },
}

/// Runs a subcommand.
pub async fn run(args: Audit) -> anyhow::Result<()> {
    match args.what {
        What::Checkpoint { log_id, source } => source.read(async |log| checkpoint(log, log_id).await).await,
        What::Key { source } => source.read(async |log| key(log).await).await,
        What::Prove { place, source } => source.read(async |log| prove(log, place).await).await,
        What::Verify { log_id: only, trust, source } => {
            let folder = trust.folder(&source);
            source.read(async |log| verify_all(log, &only, trust.load(log, folder).await?).await).await
        }
        What::Bundle { dir, log_id: only, from, to, kept, archive, source } => {
            let wanted = Wanted { dir, only, from, to, kept };
            source.reading_archives(archive).read(async |log| bundle(log, wanted).await).await
        }
        What::NewKey { audit_dir, source } => {
            let folder = audit_dir.unwrap_or_else(|| source.data_dir.join("audit"));
            new_key(source, folder).await
        }
        What::Watch(args) => watch::run(args).await,
        What::Witnesses { source } => source.read(async |log| witnesses::run(log).await).await,
        What::NewWitnessKey { name, file } => {
            writeln!(output(), "{}", custody::new_witness_key(&name, &file)?)?;
            Ok(())
        }
    }
}

/// The logs to work on.
fn logs(log: &EventLog, only: &[i32]) -> anyhow::Result<Vec<Log>> {
    let logs = log.heads().logs();
    if let Some(unknown) = only.iter().find(|only| !logs.iter().any(|log| log.log_id.0 == **only)) {
        bail!("there is no log {unknown}; `GET /logs` lists them");
    }
    Ok(logs.into_iter().filter(|log| only.is_empty() || only.contains(&log.log_id.0)).collect())
}

async fn checkpoint(log: &EventLog, only: Option<i32>) -> anyhow::Result<()> {
    let only: Vec<i32> = only.into_iter().collect();
    let (mut out, mut found) = (output(), false);
    for one in logs(log, &only)? {
        if let Some(stored) = read::checkpoint(log, one.log_id).await? {
            out.write_all(stored.note.text().as_bytes())?;
            found = true;
        }
    }
    if !found {
        bail!("nothing is signed yet; a running service signs a log within 10 s of its first event");
    }
    out.flush()?;
    Ok(())
}

async fn key(log: &EventLog) -> anyhow::Result<()> {
    let key = read::key(log).await?.context("there is no key yet; the first start of a service makes one")?;
    writeln!(output(), "{key}")?;
    Ok(())
}

async fn prove(log: &EventLog, (log_id, position): (LogId, Position)) -> anyhow::Result<()> {
    logs(log, &[log_id.0])?;
    match read::inclusion(log, log_id, position).await? {
        Inclusion::Proof(text) => output().write_all(text.as_bytes())?,
        Inclusion::NotYet(size) => bail!(
            "the event at {log_id}:{position} is not signed yet; the newest checkpoint has {size} events, and the next \
             one follows within 10 s while a service runs"
        ),
        Inclusion::None => bail!("log {log_id} has no signed event at position {position}"),
    }
    Ok(())
}

async fn verify_all(log: &EventLog, only: &[i32], trusted: Trusted) -> anyhow::Result<()> {
    let (mut bad, mut events, mut bar, began) = (0, 0, Bar::default(), Instant::now());
    let mut out = output();
    for one in logs(log, only)? {
        let verified = verify_one(log, &one, &trusted, events, &mut bar).await?;
        bar.end();
        events += verified.report.events;
        bad += u32::from(!verified.is_good());
        for line in verified.lines() {
            writeln!(out, "{line}")?;
        }
        out.flush()?;
    }
    let seconds = began.elapsed().as_secs_f64();
    bar.say(&format!(
        "{events} events in {seconds:.1} s, {:.0} a second",
        events as f64 / seconds.max(0.001)
    ));
    if bad > 0 {
        bail!("{bad} {} not as recorded", if bad == 1 { "log is" } else { "logs are" });
    }
    Ok(())
}

/// A log that was verified.
pub struct Verified {
    /// What was found out.
    pub report: Report,
    /// How many events lie in the archive. They were not read: their tiles stand for them.
    archived: Position,
    /// When the newest checkpoint was signed, if the database knows.
    signed_at: Option<String>,
    /// What is wrong with the checkpoints themselves.
    objections: Vec<String>,
}

impl Verified {
    /// Whether the log is as it was signed.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.report.is_good() && self.objections.is_empty()
    }

    /// What was found out, a line each.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let Report { log_id, head, events, signed, verified, findings, more } = &self.report;
        let mut lines = self.objections.clone();
        lines.extend(findings.iter().map(ToString::to_string));
        lines.extend(more.then(|| "and more".to_owned()));
        if lines.is_empty() && *signed == 0 {
            lines.push(if *head == 0 {
                "it has no events".to_owned()
            } else {
                "it has no signed checkpoint yet".to_owned()
            });
        } else if lines.is_empty() {
            let newer = (*events + self.archived as u64).saturating_sub(*signed);
            let newer =
                if newer > 0 { format!("; {newer} newer ones are not signed yet") } else { String::new() };
            let archived = match self.archived {
                0 => String::new(),
                archived => format!("; {archived} of them lie in the archive and were not read"),
            };
            let checkpoint = self.checkpoint();
            lines.push(format!(
                "{signed} events, 1 to {signed}, are as recorded ({checkpoint}){archived}{newer}"
            ));
        } else if *verified > 0 {
            lines.push(format!("events 1 to {verified} are as recorded"));
        }
        lines.into_iter().map(|line| format!("log {log_id}: {line}")).collect()
    }

    /// When the newest checkpoint was signed, if the database knows.
    #[must_use]
    pub fn signed_at(&self) -> Option<&str> {
        self.signed_at.as_deref()
    }

    /// How the checkpoint is named.
    fn checkpoint(&self) -> String {
        let size = self.report.signed;
        let at = self.signed_at.as_ref().map_or_else(String::new, |at| format!(", signed {at}"));
        format!("checkpoint of {size} events{at}")
    }
}

/// Verifies one log. `before` events were read of others.
pub(super) async fn verify_one(
    log: &EventLog,
    one: &Log,
    trusted: &Trusted,
    before: u64,
    bar: &mut Bar,
) -> anyhow::Result<Verified> {
    let checkpoints = trusted.of(log, one.log_id).await?;
    let archived = log.archived(one.log_id, 0, Position::MAX, i64::MAX).await?;
    let removed: Vec<_> = archived.iter().map(|range| (range.first, range.last)).collect();
    let mut connection = log.connection().await?;
    let total = one.head;
    let report = verify(&mut connection, one, &checkpoints.checkpoints, &removed, |read| {
        bar.show_line(&format!("log {}: {read} of {total} events; {} in all", one.log_id, before + read));
    })
    .await?;
    let archived = archived.iter().map(Archived::count).sum();
    let (signed_at, objections) = (checkpoints.signed_at, checkpoints.objections);
    Ok(Verified { report, archived, signed_at, objections })
}

/// What to write into a bundle.
struct Wanted {
    dir: PathBuf,
    only: Option<i32>,
    from: Position,
    to: Option<Position>,
    kept: Vec<PathBuf>,
}

async fn bundle(log: &EventLog, wanted: Wanted) -> anyhow::Result<()> {
    let Wanted { dir, only, from, to, kept } = wanted;
    if std::fs::read_dir(&dir).is_ok_and(|mut entries| entries.next().is_some()) {
        bail!("{} is not empty", dir.display());
    }
    let mut notes = vec![];
    for file in kept {
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        notes.extend(read_checkpoints(&text).with_context(|| file.display().to_string())?);
    }
    let key = read::key(log).await?.context("nothing is signed yet")?;
    let only: Vec<i32> = only.into_iter().collect();
    let (mut bar, mut written) = (Bar::default(), 0);
    for one in logs(log, &only)? {
        let Some(stored) = read::checkpoint(log, one.log_id).await? else { continue };
        let checkpoint = &stored.note.checkpoint;
        let to = to.unwrap_or(checkpoint.size as Position);
        if to as u64 > checkpoint.size || from > to {
            if only.is_empty() {
                continue;
            }
            bail!(
                "the newest checkpoint of log {} has {} events; it proves no others",
                one.log_id,
                checkpoint.size
            );
        }
        let of_log = notes.iter().filter(|note| note.checkpoint.origin == checkpoint.origin);
        let kept: Vec<u64> =
            of_log.map(|note| note.checkpoint.size).filter(|size| *size <= checkpoint.size).collect();
        let key = read::key_of(&key, one.log_id);
        let removed = log.archived(one.log_id, from - 1, to, i64::MAX).await?;
        let bundle = Bundle {
            log: &one,
            note: &stored.note,
            key: &key,
            from,
            to,
            kept: &kept,
            removed: Some((log, &removed)),
        };
        let mut connection = log.connection().await?;
        let events = bundle
            .write(&mut connection, &dir, |events| {
                bar.show_line(&format!("log {}: {events} events", one.log_id));
            })
            .await?;
        bar.end();
        if events != (to - from + 1) as u64 {
            tracing::error!(
                log = one.log_id.0,
                events,
                from,
                to,
                "the log does not have each event once; see `fleetlog audit verify`"
            );
        }
        written += events;
    }
    if written == 0 {
        bail!("no log has signed events there");
    }
    writeln!(
        output(),
        "{written} events with their proof are in {}; check them with tools/verify.py",
        dir.display()
    )?;
    Ok(())
}

async fn new_key(source: Source, folder: PathBuf) -> anyhow::Result<()> {
    // The database first: without it the folder would have a key that no service may use.
    let key = source.write(async |log| {
        let key = Custody::create(&folder)?.verifier();
        store::add_key(&mut *log.connection().await?, &key.to_string()).await?;
        anyhow::Ok(key)
    });
    writeln!(output(), "{}", key.await?)?;
    Ok(())
}
