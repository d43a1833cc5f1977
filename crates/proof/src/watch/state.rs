//! The folder of a watcher: the last checkpoint of each log that it has accepted, and evidence against those that it has
//! not.
//!
//! `fleetlog-0a1b2c3d4e_2.checkpoint` is the checkpoint of log 2 of the installation `fleetlog-0a1b2c3d4e`. Whoever moves
//! it away has the watcher begin anew with that log.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use chrono::{DateTime, SecondsFormat, Utc};
use fleetlog_event_log::LogId;

use super::Forgery;
use super::service::Service;
use crate::durable;
use crate::note::{self, SignedCheckpoint, VerifierKey, log_of};

/// What the name of a checkpoint's file ends with.
const CHECKPOINT: &str = ".checkpoint";
/// The file whose lock says that a watcher uses the folder.
const LOCK: &str = "lock";

/// Why a folder is of no use.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process uses it.
    #[error("{0} is in use by another watcher; give each its own folder")]
    InUse(PathBuf),
    /// A file is damaged.
    #[error("{0} is damaged: {1}; move it away to accept whatever the log shows next")]
    Damaged(PathBuf, note::Error),
    /// A checkpoint was accepted by another key.
    #[error(
        "{0} was signed by another key than the one that was given. If the key is the right one, move the file away, and \
         keep it"
    )]
    OtherKey(PathBuf),
    /// A file cannot be read or written.
    #[error("{0}: {1}")]
    Io(PathBuf, #[source] io::Error),
}

/// The folder, open.
pub struct State {
    folder: PathBuf,
    key: VerifierKey,
    kept: BTreeMap<LogId, (SignedCheckpoint, SystemTime)>,
    _lock: File,
}

impl State {
    /// Opens the folder, or makes it. `key` is whose checkpoints are looked for.
    pub fn open(folder: PathBuf, key: &VerifierKey) -> Result<Self, Error> {
        fs::create_dir_all(&folder).map_err(|error| Error::Io(folder.clone(), error))?;
        let path = folder.join(LOCK);
        let lock = File::create(&path).map_err(|error| Error::Io(path.clone(), error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::InUse(folder)),
            Err(TryLockError::Error(error)) => return Err(Error::Io(path, error)),
        }
        let mut kept = BTreeMap::new();
        for entry in fs::read_dir(&folder).map_err(|error| Error::Io(folder.clone(), error))? {
            let path = entry.map_err(|error| Error::Io(folder.clone(), error))?.path();
            if !path.to_string_lossy().ends_with(CHECKPOINT) {
                continue;
            }
            let (note, since) = read(&path)?;
            let Some(log_id) = log_of(&note.checkpoint.origin) else {
                return Err(Error::Damaged(path, note::Error::NoCheckpoint));
            };
            if note.checkpoint.origin != key.origin_of(log_id) {
                continue;
            }
            note.verify(std::slice::from_ref(key)).map_err(|_| Error::OtherKey(path))?;
            kept.insert(log_id, (note, since));
        }
        Ok(Self { folder, key: key.clone(), kept, _lock: lock })
    }

    /// The logs with an accepted checkpoint.
    pub fn logs(&self) -> impl Iterator<Item = LogId> {
        self.kept.keys().copied()
    }

    /// The last accepted checkpoint of a log.
    #[must_use]
    pub fn kept(&self, log_id: LogId) -> Option<&SignedCheckpoint> {
        self.kept.get(&log_id).map(|(note, _)| note)
    }

    /// The size of a log's last accepted checkpoint, and how long ago it was accepted, by this machine's clock.
    #[must_use]
    pub fn age(&self, log_id: LogId) -> Option<(u64, Duration)> {
        let (note, since) = self.kept.get(&log_id)?;
        Some((note.checkpoint.size, since.elapsed().unwrap_or_default()))
    }

    /// Keeps an accepted checkpoint: on disk when this returns.
    pub fn keep(&mut self, log_id: LogId, note: SignedCheckpoint) -> Result<(), Error> {
        let name = note.checkpoint.origin.replace('/', "_") + CHECKPOINT;
        let path = self.folder.join(name);
        durable::replace(&path, note.text()).map_err(|error| Error::Io(path, error))?;
        self.kept.insert(log_id, (note, now().into()));
        Ok(())
    }

    /// Writes the evidence against a log: what was accepted, and what was shown then. The same evidence is the same file.
    pub fn keep_evidence(
        &self,
        log_id: LogId,
        forgery: &Forgery,
        offered: Option<&SignedCheckpoint>,
        service: &Service,
    ) -> Result<PathBuf, Error> {
        let kept = self.kept(log_id);
        let bodies: String =
            [kept, offered].into_iter().flatten().map(|note| note.checkpoint.body()).collect();
        let hash = digest(&SHA256, format!("{forgery}\n{bodies}").as_bytes());
        let mut name = format!("evidence-{log_id}-");
        for byte in &hash.as_ref()[..6] {
            let _ = write!(name, "{byte:02x}");
        }
        let path = self.folder.join(name);
        if path.exists() {
            return Ok(path);
        }
        let text = self.evidence(log_id, forgery, offered, service);
        durable::replace(&path, &text).map_err(|error| Error::Io(path.clone(), error))?;
        Ok(path)
    }

    fn evidence(
        &self,
        log_id: LogId,
        forgery: &Forgery,
        offered: Option<&SignedCheckpoint>,
        service: &Service,
    ) -> String {
        let at = now().to_rfc3339_opts(SecondsFormat::Secs, true);
        let mut text =
            format!("# {at}: log {log_id} of {}\n# {forgery}\n# verifier key: {}\n", service.url(), self.key);
        if let Forgery::Changed { proof, .. } = forgery {
            for hash in proof {
                let _ = writeln!(text, "# given as consistency proof: {hash}");
            }
        }
        let kept = self.kept(log_id);
        let notes = [(kept, "what was accepted before"), (offered, "what the service showed then")];
        for (note, what) in notes {
            match note {
                Some(note) => {
                    let _ = write!(text, "# {what}:\n{}", note.text());
                }
                None => {
                    let _ = writeln!(text, "# {what}: nothing");
                }
            }
        }
        text
    }
}

/// The time by the watcher's own clock: the service's is not believed.
#[expect(clippy::disallowed_methods, reason = "a watcher has a clock of its own, and no database")]
pub(super) fn now() -> DateTime<Utc> {
    Utc::now()
}

fn read(path: &Path) -> Result<(SignedCheckpoint, SystemTime), Error> {
    let failed = |error| Error::Io(path.to_owned(), error);
    let text = fs::read_to_string(path).map_err(failed)?;
    let since = fs::metadata(path).and_then(|file| file.modified()).map_err(failed)?;
    let note = text.parse().map_err(|error| Error::Damaged(path.to_owned(), error))?;
    Ok((note, since))
}
