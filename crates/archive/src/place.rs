//! Where the files of the archive lie.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use chrono::{DateTime, Datelike, Utc};
use fleetlog_event_log::archived::{Archived, Copy};
use fleetlog_event_log::{LogId, Position};
use tempfile::TempPath;

use crate::bucket::{Bucket, Object};
use crate::file::{Error, hash};

/// Where the files lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Nowhere: readings that are over age are removed without a copy.
    Nowhere,
    /// In a directory.
    Directory(PathBuf),
    /// In a bucket of an object store.
    Bucket(Bucket),
}

/// A setting that names no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// It is empty.
    #[error("expected `none`, the path of a directory, or s3://bucket/prefix")]
    Empty,
    /// It is another URL.
    #[error(
        "expected `none`, the path of a directory, or s3://bucket/prefix; mount what is elsewhere as a directory"
    )]
    Url,
    /// The bucket's name or the prefix is none.
    #[error("expected s3://bucket/prefix, with the bucket's name in 3 to 63 of a-z, 0-9, `.` and `-`")]
    Bucket,
    /// The variables for the object store cannot be used.
    #[error("the object store cannot be used as the variables AWS_… say: {0}")]
    Settings(String),
}

impl FromStr for Place {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "" => Err(Invalid::Empty),
            "none" => Ok(Self::Nowhere),
            url if url.starts_with("s3://") => url.parse().map(Self::Bucket),
            url if url.contains("://") => Err(Invalid::Url),
            path => Ok(Self::Directory(path.into())),
        }
    }
}

impl Place {
    /// Whether copies are kept.
    #[must_use]
    pub fn keeps_copies(&self) -> bool {
        *self != Self::Nowhere
    }
}

/// The name of a file within its place. A file that is written again gets the same name.
pub(crate) fn name(log_id: LogId, week: DateTime<Utc>, first: Position) -> PathBuf {
    let week = week.iso_week();
    format!("log-{log_id}/{}w{:02}-{first}.parquet", week.year(), week.week()).into()
}

/// A copy, where it is now.
pub(crate) enum Spot {
    File(PathBuf),
    Object(Object),
}

/// Where it is, for people.
impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Object(object) => object.fmt(f),
        }
    }
}

/// The file of a copy, and its length: where it was written or, if it is not there any more, in `place`.
pub(crate) async fn find(place: Option<&Place>, range: &Archived, copy: &Copy) -> Result<(Spot, u64), Error> {
    let written = match Object::at(&copy.location) {
        Some(object) => Spot::Object(object?),
        None => Spot::File(PathBuf::from(&copy.location)),
    };
    let name = name(range.log_id, range.week, range.first);
    let moved = place.and_then(|place| match place {
        Place::Nowhere => None,
        Place::Directory(directory) => Some(Spot::File(directory.join(&name))),
        Place::Bucket(bucket) => Some(Spot::Object(Object::named(bucket, &name))),
    });
    let missing = match written.bytes().await {
        Ok(bytes) => return Ok((written, bytes)),
        Err(error) => error,
    };
    if let Some(moved) = moved
        && let Ok(bytes) = moved.bytes().await
    {
        return Ok((moved, bytes));
    }
    Err(missing)
}

impl Spot {
    async fn bytes(&self) -> Result<u64, Error> {
        match self {
            Self::File(path) => match tokio::fs::metadata(path).await {
                Ok(file) => Ok(file.len()),
                Err(error) => Err(Error::Content(format!("{self}: {error}"))),
            },
            Self::Object(object) => object.bytes().await,
        }
    }

    /// Has it on this machine, and returns the hash of its bytes.
    pub(crate) async fn local(self, length: u64) -> Result<(Local, Vec<u8>), Error> {
        match self {
            Self::Object(object) => object.fetch(length).await,
            Self::File(path) => {
                let of = path.clone();
                let hashed = tokio::task::spawn_blocking(move || hash(&of)).await;
                let hash = hashed.map_err(io::Error::from)??;
                Ok((Local { path, fetched: None }, hash))
            }
        }
    }
}

/// A file on this machine. One that was fetched goes with it.
pub(crate) struct Local {
    path: PathBuf,
    fetched: Option<TempPath>,
}

impl Local {
    pub(crate) fn fetched(file: TempPath) -> Self {
        Self { path: file.to_path_buf(), fetched: Some(file) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether nobody else can change it.
    pub(crate) fn is_own(&self) -> bool {
        self.fetched.is_some()
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
    fn a_place_is_none_a_directory_or_a_bucket() {
        assert_eq!("none".parse(), Ok(Place::Nowhere));
        assert_eq!("./none".parse(), Ok(Place::Directory("./none".into())));
        assert_eq!("".parse::<Place>(), Err(Invalid::Empty));
        let bucket: Place = "s3://bucket/x/y/".parse().expect("a bucket");
        assert!(matches!(&bucket, Place::Bucket(bucket) if bucket.to_string() == "s3://bucket/x/y"));
        assert_eq!("s3://bucket".parse::<Place>().map(|place| place.keeps_copies()), Ok(true));
        assert_eq!("https://bucket/x".parse::<Place>(), Err(Invalid::Url));
        for bad in [
            "s3://",
            "s3://ab/x",
            "s3://Bucket/x",
            "s3://b_c/x",
            "s3://user@bucket/x",
            "s3://bucket//x",
            "s3://bucket/x?y",
        ] {
            assert_eq!(bad.parse::<Place>(), Err(Invalid::Bucket), "{bad}");
        }
    }

    #[test]
    fn a_file_is_named_after_its_log_its_week_and_its_first_position() {
        let week = DateTime::from_timestamp(1_767_571_200, 0).expect("a time");
        assert_eq!(name(LogId(2), week, 1042), Path::new("log-2/2026w02-1042.parquet"));
    }
}
