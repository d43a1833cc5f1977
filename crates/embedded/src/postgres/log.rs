//! The server's log file, and the part of it that error messages show.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::Error;
use super::folder::Folder;
use crate::process::RunAs;

/// A log larger than this, in bytes, is renamed when a server starts.
const LARGE: u64 = 10 << 20;
/// How many of its last lines an error shows.
const SHOWN_LINES: usize = 12;
/// How many of its last bytes are searched for these lines.
const SHOWN_BYTES: u64 = 64 << 10;
const NAME: &str = "postgres.log";
const OLD: &str = "postgres.log.old";

/// A log file, with its length at the time when it was opened.
#[derive(Clone, Debug)]
pub(super) struct Log {
    path: PathBuf,
    file: Arc<File>,
    begin: u64,
}

impl Log {
    /// Opens the log in a folder for appending. A large one is renamed first; one renamed log is kept.
    pub(super) fn open(folder: &Folder, run_as: RunAs) -> Result<Self, Error> {
        let path = folder.path().join(NAME);
        let length =
            |file: &File| file.metadata().map(|found| found.len()).map_err(Error::file("open", &path));
        let mut file = folder.file(NAME, run_as)?;
        if length(&file)? > LARGE {
            folder.rename(NAME, OLD)?;
            file = folder.file(NAME, run_as)?;
        }
        let begin = length(&file)?;
        Ok(Self { file: Arc::new(file), begin, path })
    }

    /// A handle to write to the log.
    pub(super) fn writer(&self) -> Result<File, Error> {
        self.file.try_clone().map_err(Error::file("open", &self.path))
    }

    /// The last lines written since the log was opened.
    pub(super) fn tail(&self) -> String {
        let mut text = Vec::new();
        let read = self.file.metadata().and_then(|found| {
            let from = self.begin.max(found.len().saturating_sub(SHOWN_BYTES));
            text.resize(found.len().saturating_sub(from) as usize, 0);
            self.file.read_exact_at(&mut text, from)
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
    use std::fs;
    use std::io::Write;

    use super::*;
    use crate::process::effective_user;

    fn run_as() -> RunAs {
        if effective_user() == 0 { RunAs::UnprivilegedRoot } else { RunAs::Caller }
    }

    #[test]
    fn the_tail_is_the_last_lines_since_opening() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("postgres.log");
        fs::write(&path, "before\n").unwrap();
        let log = Log::open(&Folder::open(dir.path()).unwrap(), run_as()).unwrap();
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
        Log::open(&Folder::open(dir.path()).unwrap(), run_as()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
        assert_eq!(fs::metadata(dir.path().join("postgres.log.old")).unwrap().len(), LARGE + 1);
    }
}
