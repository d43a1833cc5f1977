//! Whom an auditor trusts: keys, and checkpoints that were kept. What the database itself says is checked against them.

use std::path::PathBuf;

use anyhow::{Context, bail};
use chrono::{DateTime, SecondsFormat, Utc};
use clap::Args;
use fleetlog_event_log::{EventLog, LogId};
use fleetlog_proof::custody::read_checkpoints;
use fleetlog_proof::note::{self, Checkpoint, SignedCheckpoint, VerifierKey, log_of};
use fleetlog_proof::{Custody, custody, read, store};

use crate::cli::source::Source;

/// The most stored checkpoints of a log that are compared; the newest one always is.
const STORED: i64 = 20_000;

/// Whom and what to trust.
#[derive(Debug, Clone, Default, Args)]
pub struct Trust {
    /// A verifier key to trust, as `fleetlog audit key` printed it. By default the one in the folder of the key.
    #[arg(long = "key", value_name = "KEY")]
    pub keys: Vec<VerifierKey>,
    /// A file with checkpoints that were kept, as `fleetlog audit checkpoint` printed them.
    #[arg(long = "checkpoint", value_name = "FILE")]
    pub checkpoints: Vec<PathBuf>,
    /// The folder of the key and of the last checkpoints; by default, of the log that `up` keeps, `audit` in the data
    /// directory.
    #[arg(long, env = "FLEETLOG_AUDIT_DIR", value_name = "DIR")]
    pub audit_dir: Option<PathBuf>,
}

/// Keys and checkpoints that are trusted.
pub struct Trusted {
    keys: Vec<VerifierKey>,
    kept: Vec<SignedCheckpoint>,
}

/// The checkpoints of one log.
pub struct OfLog {
    /// Those to compare with.
    pub checkpoints: Vec<Checkpoint>,
    /// When the newest one was signed, if the database knows.
    pub signed_at: Option<String>,
    /// What is wrong with those in the database.
    pub objections: Vec<String>,
}

impl Trust {
    /// The folder of the key to the log of `source`. `None` for a database that is not `up`'s, if no folder was named: the
    /// one in the data directory is another log's.
    #[must_use]
    pub fn folder(&self, source: &Source) -> Option<PathBuf> {
        let of_up = || source.database_url.is_none().then(|| source.data_dir.join("audit"));
        self.audit_dir.clone().or_else(of_up)
    }

    /// Reads keys and checkpoints.
    ///
    /// # Errors
    ///
    /// If a file is damaged, or a checkpoint is not signed by a trusted key.
    pub async fn load(self, log: &EventLog, folder: Option<PathBuf>) -> anyhow::Result<Trusted> {
        let mut keys = self.keys;
        let mut kept = vec![];
        match folder.as_deref().map(Custody::open) {
            Some(Ok(custody)) => {
                kept.extend(custody.all().map(|(_, note)| note.clone()));
                if keys.is_empty() {
                    keys.push(custody.verifier());
                }
            }
            Some(Err(custody::Error::NoKey(_))) if self.audit_dir.is_none() => {}
            Some(Err(error)) => return Err(error.into()),
            None => {}
        }
        if keys.is_empty()
            && let Some(key) = read::key(log).await?
        {
            tracing::warn!(
                "the key to check with comes from the database itself: give --key, which you have kept"
            );
            keys.push(key);
        }
        for file in &self.checkpoints {
            let name = || file.display().to_string();
            let text = std::fs::read_to_string(file).with_context(name)?;
            for note in read_checkpoints(&text).with_context(name)? {
                if let Err(error) = note.verify(&keys) {
                    bail!("{}: the checkpoint of {} cannot be used: {error}", name(), note.checkpoint.origin);
                }
                kept.push(note);
            }
        }
        Ok(Trusted { keys, kept })
    }
}

impl Trusted {
    /// The keys.
    #[must_use]
    pub fn keys(&self) -> &[VerifierKey] {
        &self.keys
    }

    /// The checkpoints of one log: those that were kept, and those in the database that a trusted key has signed.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn of(&self, log: &EventLog, log_id: LogId) -> anyhow::Result<OfLog> {
        let mut connection = log.connection().await?;
        let mut objections = vec![];
        let mut checkpoints: Vec<Checkpoint> = self
            .kept
            .iter()
            .filter(|note| log_of(&note.checkpoint.origin) == Some(log_id))
            .map(|note| note.checkpoint.clone())
            .collect();
        let mut stored = store::above(&mut connection, log_id, 0, STORED).await?;
        let newest = store::newest(&mut connection, log_id).await?;
        stored.extend(newest.filter(|newest| {
            stored.last().is_none_or(|last| last.note.checkpoint.size < newest.note.checkpoint.size)
        }));
        let mut signed_at = None;
        let last = stored.len().saturating_sub(1);
        for (nth, stored) in stored.into_iter().enumerate() {
            let size = stored.note.checkpoint.size;
            match stored.note.verify(&self.keys) {
                Ok(_) if log_of(&stored.note.checkpoint.origin) == Some(log_id) => {
                    signed_at = Some(clock(stored.signed_at));
                    checkpoints.push(stored.note.checkpoint);
                }
                // Those before a new key are signed by another.
                Err(note::Error::Unsigned) if nth < last => {}
                _ => objections
                    .push(format!("the stored checkpoint of {size} events is not signed by a trusted key")),
            }
        }
        if checkpoints.iter().map(|checkpoint| checkpoint.size).max()
            > checkpoints.last().map(|last| last.size)
        {
            signed_at = None;
        }
        Ok(OfLog { checkpoints, signed_at, objections })
    }
}

fn clock(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}
