//! The folder outside the database that holds the key, and what was signed last.
//!
//! A log signs nothing that is not consistent with what it has signed before. The database cannot say what that was:
//! whoever owns it may take it back, with a backup for example. So each node keeps the last checkpoint of each log beside
//! the key, and signs, or takes in from another node, only what follows from it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use fleetlog_event_log::LogId;

use crate::durable;
use crate::note::{self, Kind, SignedCheckpoint, SigningKey, VerifierKey};

/// The file of the key.
pub const KEY: &str = "key";
/// The file of the last checkpoints.
pub const CHECKPOINTS: &str = "checkpoints";

/// Why a folder is of no use.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no key.
    #[error(
        "there is no key in {0}; make one with `fleetlog audit new-key`, or copy the other nodes' folder"
    )]
    NoKey(PathBuf),
    /// There is a key already.
    #[error(
        "there is a key in {0} already; move the folder away, and keep it: its checkpoints are needed to check the past"
    )]
    KeyExists(PathBuf),
    /// A file is damaged.
    #[error("{0} is damaged: {1}")]
    Damaged(PathBuf, note::Error),
    /// A file cannot be read or written.
    #[error("{0}: {1}")]
    Io(PathBuf, #[source] io::Error),
}

/// The folder, open.
pub struct Custody {
    folder: PathBuf,
    key: SigningKey,
    last: BTreeMap<LogId, SignedCheckpoint>,
}

impl Custody {
    /// Opens a folder that has a key.
    ///
    /// # Errors
    ///
    /// [`Error`]
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(KEY);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::NoKey(folder.to_owned()));
            }
            text => text.map_err(|error| Error::Io(path.clone(), error))?,
        };
        let key: SigningKey = text.parse().map_err(|error| Error::Damaged(path, error))?;
        let path = folder.join(CHECKPOINTS);
        let last = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => vec![],
            text => {
                let text = text.map_err(|error| Error::Io(path.clone(), error))?;
                read_checkpoints(&text).map_err(|error| Error::Damaged(path, error))?
            }
        };
        let log = |note: SignedCheckpoint| note::log_of(&note.checkpoint.origin).map(|log| (log, note));
        Ok(Self { folder: folder.to_owned(), key, last: last.into_iter().filter_map(log).collect() })
    }

    /// Makes a key with a new name, `fleetlog-` and ten hexadecimal digits, and the folder if it is not there.
    ///
    /// # Errors
    ///
    /// [`Error`]; [`Error::KeyExists`] if there is one.
    pub fn create(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(KEY);
        let failed = |error| Error::Io(path.clone(), error);
        fs::create_dir_all(folder).map_err(failed)?;
        let mut number = [0; 5];
        aws_lc_rs::rand::fill(&mut number).map_err(|_| failed(io::ErrorKind::Other.into()))?;
        let number = number.iter().fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
        let key = SigningKey::generate(&format!("fleetlog-{number:010x}"), Kind::Note)
            .map_err(|error| Error::Damaged(path.clone(), error))?;
        match durable::create_secret(&path, &(key.to_secret() + "\n")) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(Error::KeyExists(folder.to_owned()));
            }
            created => created.map_err(failed)?,
        }
        Ok(Self { folder: folder.to_owned(), key, last: BTreeMap::new() })
    }

    /// Opens a folder, or makes a key if there is none.
    ///
    /// # Errors
    ///
    /// [`Error`]
    pub fn open_or_create(folder: &Path) -> Result<Self, Error> {
        match Self::open(folder) {
            Err(Error::NoKey(_)) if !folder.join(CHECKPOINTS).exists() => Self::create(folder),
            opened => opened,
        }
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The key that signs.
    #[must_use]
    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    /// The installation's verifier key.
    #[must_use]
    pub fn verifier(&self) -> VerifierKey {
        self.key.verifier()
    }

    /// The last checkpoint of a log that this node knows.
    #[must_use]
    pub fn last(&self, log_id: LogId) -> Option<&SignedCheckpoint> {
        self.last.get(&log_id)
    }

    /// The last checkpoints of all logs.
    pub fn all(&self) -> impl Iterator<Item = (LogId, &SignedCheckpoint)> {
        self.last.iter().map(|(log_id, note)| (*log_id, note))
    }

    /// Keeps checkpoints that follow from those that were kept: on disk when this returns.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], and then nothing has changed.
    pub fn keep(&mut self, notes: Vec<(LogId, SignedCheckpoint)>) -> Result<(), Error> {
        let mut last = self.last.clone();
        last.extend(notes);
        let text: String = last.values().map(SignedCheckpoint::text).collect();
        let path = self.folder.join(CHECKPOINTS);
        durable::replace(&path, &text).map_err(|error| Error::Io(path.clone(), error))?;
        self.last = last;
        Ok(())
    }
}

/// Makes a witness's key of this name, in a file that only its owner may read. Returns its verifier key.
///
/// # Errors
///
/// [`Error::Io`] if there is a file already, or it cannot be written; [`Error::Damaged`] if the name is none.
pub fn new_witness_key(name: &str, file: &Path) -> Result<VerifierKey, Error> {
    let key = SigningKey::generate(name, Kind::Cosignature)
        .map_err(|error| Error::Damaged(file.to_owned(), error))?;
    durable::create_secret(file, &(key.to_secret() + "\n"))
        .map_err(|error| Error::Io(file.to_owned(), error))?;
    Ok(key.verifier())
}

/// Reads notes that stand one behind the other, as this module and `fleetlog audit checkpoint` write them. A line that
/// begins with `#` is a remark, as evidence has them.
///
/// # Errors
///
/// What is wrong with the first bad note.
pub fn read_checkpoints(text: &str) -> Result<Vec<SignedCheckpoint>, note::Error> {
    let (mut notes, mut note, mut signed) = (vec![], String::new(), false);
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let is_signature = line.starts_with('\u{2014}');
        if signed && !is_signature {
            notes.push(std::mem::take(&mut note).parse()?);
        }
        signed = is_signature;
        note.push_str(line);
        note.push('\n');
    }
    if !note.trim().is_empty() {
        notes.push(note.parse()?);
    }
    Ok(notes)
}
