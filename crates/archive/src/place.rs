//! Where the files of the archive lie.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use chrono::{DateTime, Datelike, Utc};
use fleetlog_event_log::archived::{Archived, Copy};
use fleetlog_event_log::{LogId, Position};

/// Where the files lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Nowhere: readings that are over age are removed without a copy.
    Nowhere,
    /// In a directory.
    Directory(PathBuf),
}

/// A setting that names no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// It is empty.
    #[error("expected `none`, or the path of a directory")]
    Empty,
    /// It is a URL.
    #[error("expected `none`, or the path of a directory, not a URL; mount what is elsewhere as a directory")]
    Url,
}

impl FromStr for Place {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "" => Err(Invalid::Empty),
            "none" => Ok(Self::Nowhere),
            url if url.contains("://") => Err(Invalid::Url),
            path => Ok(Self::Directory(path.into())),
        }
    }
}

impl Place {
    /// The directory. `None`: no copies are kept.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Self::Nowhere => None,
            Self::Directory(path) => Some(path),
        }
    }
}

/// The name of a file within its place. A file that is written again gets the same name.
pub(crate) fn name(log_id: LogId, week: DateTime<Utc>, first: Position) -> PathBuf {
    let week = week.iso_week();
    format!("log-{log_id}/{}w{:02}-{first}.parquet", week.year(), week.week()).into()
}

/// The file of a copy: where it was written or, if it is not there any more, in `place`.
pub(crate) fn find(place: Option<&Place>, range: &Archived, copy: &Copy) -> PathBuf {
    let written = PathBuf::from(&copy.location);
    let moved = place
        .and_then(Place::directory)
        .map(|directory| directory.join(name(range.log_id, range.week, range.first)));
    match moved {
        Some(moved) if !written.exists() && moved.exists() => moved,
        _ => written,
    }
}

/// A file that is being written under another name.
pub(crate) struct Draft {
    path: PathBuf,
    draft: PathBuf,
}

impl Draft {
    /// Makes the file, and the directories that it lies in. What was left of an earlier try is overwritten.
    pub(crate) fn new(directory: &Path, name: &Path) -> io::Result<(Self, File)> {
        // What is stored must not depend on where the process was started.
        let path = std::path::absolute(directory)?.join(name);
        let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        fs::create_dir_all(folder)?;
        let mut draft = path.clone();
        draft.set_extension("parquet.draft");
        let file = File::create(&draft)?;
        Ok((Self { path, draft }, file))
    }

    /// Gives the file its name, once its bytes are on the disk, and returns its path.
    pub(crate) fn finish(self, file: &File) -> io::Result<PathBuf> {
        file.sync_all()?;
        fleetlog_event_log::crash::point("archive.written");
        fs::rename(&self.draft, &self.path)?;
        // The name is on the disk once each of its directories is.
        for folder in self.path.ancestors().skip(1).take(3) {
            File::open(folder)?.sync_all()?;
        }
        fleetlog_event_log::crash::point("archive.renamed");
        Ok(self.path.clone())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Once the file has its name, there is nothing under this one.
        let _ = fs::remove_file(&self.draft);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_none_or_a_directory() {
        assert_eq!("none".parse(), Ok(Place::Nowhere));
        assert_eq!("./none".parse(), Ok(Place::Directory("./none".into())));
        assert_eq!("".parse::<Place>(), Err(Invalid::Empty));
        assert_eq!("s3://bucket/x".parse::<Place>(), Err(Invalid::Url));
    }

    #[test]
    fn a_file_is_named_after_its_log_its_week_and_its_first_position() {
        let week = DateTime::from_timestamp(1_767_571_200, 0).expect("a time");
        assert_eq!(name(LogId(2), week, 1042), Path::new("log-2/2026w02-1042.parquet"));
    }
}
