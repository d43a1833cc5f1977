//! A witness that is a file: on a disk of others', or on one that can only be written once.
//!
//! Signed notes, one behind the other, as `fleetlog audit checkpoint` prints them, so that `fleetlog audit verify` and
//! `tools/verify.py` read the file as it is. In a folder there is a file for each day.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use fleetlog_event_log::EventLog;
use futures::future::BoxFuture;
use tokio::sync::Semaphore;

use super::{Failure, Keeper};
use crate::durable;
use crate::note::SignedCheckpoint;

/// The end of a file in which the last whole note is looked for: no note with 32 signatures is longer.
const TAIL: u64 = 256 << 10;
/// What a signature's line begins with.
const SIGNATURE: &str = "\u{2014} ";
/// What the name of a day's file ends with.
const DAY: &str = ".checkpoints";

/// Appends to a file, or to the day's file in a folder.
pub struct ToFile {
    path: PathBuf,
    /// For the day, by Postgres's clock.
    log: EventLog,
    /// A disk that hangs holds one thread, not more with each try.
    one: Arc<Semaphore>,
}

impl ToFile {
    /// A file, or a folder if it is one. The folder must be there: one that is made where a disk should be mounted would
    /// hide that the disk is missing.
    ///
    /// # Errors
    ///
    /// If there is no such folder.
    pub fn new(path: PathBuf, log: EventLog) -> io::Result<Self> {
        check(&path)?;
        Ok(Self { path, log, one: Arc::new(Semaphore::new(1)) })
    }

    fn file(&self, now: DateTime<Utc>) -> PathBuf {
        if self.path.is_dir() {
            self.path.join(format!("{}{DAY}", now.format("%Y-%m-%d")))
        } else {
            self.path.clone()
        }
    }
}

/// Whether a path can be written to: it is a folder, or may be a file in one.
///
/// # Errors
///
/// If there is no such folder.
pub fn check(path: &Path) -> io::Result<()> {
    let folder = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
    let is_folder = path.as_os_str().as_encoded_bytes().ends_with(b"/");
    if folder.is_dir() && (path.is_dir() || !is_folder) {
        return Ok(());
    }
    let missing = if is_folder { path } else { folder };
    Err(io::Error::other(format!("there is no folder {}; make it first", missing.display())))
}

impl Keeper for ToFile {
    fn keep<'a>(&'a self, notes: &'a [SignedCheckpoint]) -> BoxFuture<'a, Result<(), Failure>> {
        let text: String = notes.iter().map(SignedCheckpoint::text).collect();
        let path = self.file(self.log.now());
        let turn = Arc::clone(&self.one).try_acquire_owned();
        Box::pin(async move {
            let turn = turn.map_err(|_| Failure::Unreachable(format!("{} hangs", path.display())))?;
            let file = path.clone();
            let written = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                append(&path, &text)
            });
            let written = written.await.map_err(io::Error::from).flatten();
            written.map_err(|error| Failure::Unreachable(format!("{}: {error}", file.display())))
        })
    }
}

/// Appends whole notes. They are on disk when this returns; if it fails, the file ends where it did before.
fn append(path: &Path, notes: &str) -> io::Result<()> {
    let is_new = !path.exists();
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    let end = mend(&mut file, notes)?;
    if let Err(error) = file.write_all(notes.as_bytes()).and_then(|()| file.sync_all()) {
        // What cannot be cut off now is cut off by the next try.
        let _ = file.set_len(end);
        return Err(error);
    }
    if is_new { durable::sync_folder_of(path) } else { Ok(()) }
}

/// Cuts off a note that was half written when the machine died, and returns where the file ends then. Nothing else is cut
/// off: the file may be another one than was meant.
fn mend(file: &mut File, notes: &str) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let from = length.saturating_sub(TAIL);
    file.seek(SeekFrom::Start(from))?;
    let mut tail = vec![];
    file.take(TAIL).read_to_end(&mut tail)?;
    let whole = end_of_notes(&tail);
    let half = &tail[whole..];
    if !half.is_empty() {
        // Notes of one installation begin with its name; behind a note there may be a further signature.
        let origin = notes.lines().next().and_then(|origin| origin.rsplit_once('/'));
        let begins = |with: &str| half.starts_with(with.as_bytes()) || with.as_bytes().starts_with(half);
        let is_signature = whole > 0 && begins(SIGNATURE);
        let is_note = (whole > 0 || from == 0) && origin.is_some_and(|(name, _)| begins(name));
        if !is_signature && !is_note {
            return Err(io::Error::other("it has something else than checkpoints; name another file"));
        }
        file.set_len(from + whole as u64)?;
        file.sync_all()?;
    }
    Ok(from + whole as u64)
}

/// Where the last line ends that is a whole signature.
fn end_of_notes(text: &[u8]) -> usize {
    let mut end = 0;
    let mut at = 0;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        at += line.len();
        if line.starts_with(SIGNATURE.as_bytes()) && line.ends_with(b"\n") {
            end = at;
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const NOTES: &str =
        "a/1\n3\nAAAA\n\n\u{2014} a/1 BBBB\na/1\n4\nAAAA\n\n\u{2014} a/1 BBBB\n\u{2014} w CCCC\n";

    #[test]
    fn a_note_that_was_half_written_is_cut_off_before_the_next_one() {
        let folder = tempfile::tempdir().expect("a directory");
        for cut in 0..NOTES.len() {
            let path = folder.path().join(format!("{cut}"));
            fs::write(&path, &NOTES.as_bytes()[..cut]).expect("written");
            append(&path, NOTES).expect("appended");
            let read = fs::read_to_string(&path).expect("text");
            let before = read.strip_suffix(NOTES).expect("the notes are there, whole");
            assert!(NOTES.starts_with(before), "{cut}");
            assert!(before.is_empty() || before.ends_with("BBBB\n") || before == NOTES, "{cut}: {before}");
            assert!(cut - before.len() < 30, "no whole note is cut off: {cut}");
        }
    }

    #[test]
    fn a_file_that_has_something_else_is_left_alone() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("other");
        for other in ["root:x:0:0\n".to_owned(), "x".repeat(1 << 20), NOTES.to_owned() + "remark\n"] {
            fs::write(&path, &other).expect("written");
            append(&path, NOTES).expect_err("refused");
            assert_eq!(fs::read_to_string(&path).expect("text"), other);
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_not_made() {
        let folder = tempfile::tempdir().expect("a directory");
        let within = |name: &str| folder.path().join(name);
        for good in [within(""), within("checkpoints")] {
            check(&good).expect("good");
        }
        for bad in [within("missing/"), within("missing/checkpoints")] {
            let error = check(&bad).expect_err("bad").to_string();
            assert!(error.contains("there is no folder"), "{error}");
        }
        assert!(!within("missing").exists());
    }
}
