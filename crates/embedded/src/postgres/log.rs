//! The server's log file, and the part of it that error messages show.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Error;

/// A log larger than this, in bytes, is renamed when a server starts.
const LARGE: u64 = 10 << 20;
/// How many of its last lines an error shows.
const SHOWN_LINES: usize = 12;

/// A log file, with its length at the time when it was opened.
#[derive(Clone, Debug)]
pub(super) struct Log {
    path: PathBuf,
    file: Arc<File>,
    begin: u64,
}

impl Log {
    /// Opens a log for appending. A large one is renamed first; one renamed log is kept.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        if fs::metadata(path).is_ok_and(|found| found.len() > LARGE) {
            fs::rename(path, path.with_extension("log.old")).map_err(Error::file("put aside", path))?;
        }
        let open = || {
            let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
            let begin = file.metadata()?.len();
            Ok((file, begin))
        };
        let (file, begin) = open().map_err(Error::file("open", path))?;
        Ok(Self { path: path.to_owned(), file: Arc::new(file), begin })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A handle to write to the log.
    pub(super) fn writer(&self) -> Result<File, Error> {
        self.file.try_clone().map_err(Error::file("open", &self.path))
    }

    /// The last lines written since the log was opened.
    pub(super) fn tail(&self) -> String {
        let mut text = Vec::new();
        let read = File::open(&self.path).and_then(|mut file| {
            let end = file.metadata()?.len();
            file.seek(SeekFrom::Start(self.begin.max(end.saturating_sub(64 << 10))))?;
            file.read_to_end(&mut text)
        });
        if let Err(error) = read {
            return format!("{}: {error}", self.path.display());
        }
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_tail_is_the_last_lines_since_opening() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("postgres.log");
        fs::write(&path, "before\n").unwrap();
        let log = Log::open(&path).unwrap();
        assert_eq!(log.tail(), "");
        for line in 1..=20 {
            writeln!(log.writer().unwrap(), "line {line}").unwrap();
        }
        assert_eq!(log.tail().lines().next(), Some("line 9"));
        assert_eq!(log.tail().lines().last(), Some("line 20"));
    }

    #[test]
    fn a_large_log_is_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("postgres.log");
        File::create(&path).unwrap().set_len(LARGE + 1).unwrap();
        Log::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
        assert_eq!(fs::metadata(dir.path().join("postgres.log.old")).unwrap().len(), LARGE + 1);
    }
}
