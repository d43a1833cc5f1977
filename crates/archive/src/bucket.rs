//! A bucket of an object store that speaks S3, as the place of the files.
//!
//! - `http`: how its requests get there: over our own HTTP client
//!
//! Files are written and read on this machine's own disk, because Parquet is read at any place. One is sent once it has been
//! verified, and fetched whole before it is read: the disk of `TMPDIR` has room for the largest ones.

mod http;

use std::fmt;
use std::io::Write;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use fleetlog_event_log::archived::Copy;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path as Key;
use object_store::{ObjectStoreExt, RetryConfig};
use tempfile::NamedTempFile;
use tokio::io::AsyncReadExt;

use crate::file::Error;
use crate::place::{Invalid, Local};

/// What the URL of a bucket begins with.
const SCHEME: &str = "s3://";
/// The bytes of a part that is sent or fetched at once. S3 wants 5 MiB at least.
const PART: u64 = 8 << 20;
/// The most parts of an object, S3's own bound. The parts of a larger file are larger.
const PARTS: u64 = 10_000;
/// How often, and for how long, a request is tried again.
const RETRIES: (usize, Duration) = (5, Duration::from_mins(1));

/// A bucket, and what the names of its objects begin with. Cheap to clone.
#[derive(Clone)]
pub struct Bucket {
    store: Arc<AmazonS3>,
    name: String,
    prefix: String,
}

/// The keys, the region and the endpoint are those of the `AWS_…` variables.
impl FromStr for Bucket {
    type Err = Invalid;

    fn from_str(url: &str) -> Result<Self, Invalid> {
        let place = url.strip_prefix(SCHEME).ok_or(Invalid::Url)?;
        let (name, prefix) = place.split_once('/').unwrap_or((place, ""));
        let prefix = prefix.trim_end_matches('/');
        let named = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
        let is_name = (3..=63).contains(&name.len()) && name.bytes().all(named);
        let is_prefix = !prefix.starts_with('/') && !prefix.contains(['?', '#', '@', '\\']);
        if !is_name || !is_prefix || Key::parse(prefix).is_err() {
            return Err(Invalid::Bucket);
        }
        let retry =
            RetryConfig { max_retries: RETRIES.0, retry_timeout: RETRIES.1, ..RetryConfig::default() };
        let store = AmazonS3Builder::from_env()
            .with_bucket_name(name)
            .with_retry(retry)
            .with_http_connector(http::Connector)
            .build()
            .map_err(|error| Invalid::Settings(error.to_string()))?;
        Ok(Self { store: Arc::new(store), name: name.to_owned(), prefix: prefix.to_owned() })
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.name)?;
        if self.prefix.is_empty() { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl PartialEq for Bucket {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, &self.prefix) == (&other.name, &other.prefix)
    }
}

impl Eq for Bucket {}

/// An object of a bucket.
pub(crate) struct Object {
    bucket: Bucket,
    key: Key,
}

/// Its URL.
impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.bucket.name, self.key)
    }
}

impl Object {
    /// The object of a name within a bucket's prefix.
    pub(crate) fn named(bucket: &Bucket, name: &Path) -> Self {
        let name = name.to_string_lossy();
        let key =
            if bucket.prefix.is_empty() { name.into_owned() } else { format!("{}/{name}", bucket.prefix) };
        Self { bucket: bucket.clone(), key: Key::from(key) }
    }

    /// The object of a URL. `None` if it is none.
    pub(crate) fn at(url: &str) -> Option<Result<Self, Error>> {
        let (bucket, key) = url.strip_prefix(SCHEME)?.split_once('/')?;
        let bucket = format!("{SCHEME}{bucket}").parse::<Bucket>();
        let object = bucket.map(|bucket| Self { bucket, key: Key::from(key) });
        Some(object.map_err(|error| Error::Content(error.to_string())))
    }

    fn failed(&self, error: &object_store::Error) -> Error {
        Error::Content(format!("{self}: {error}"))
    }

    /// Its length.
    pub(crate) async fn bytes(&self) -> Result<u64, Error> {
        let found = self.bucket.store.head(&self.key).await.map_err(|error| self.failed(&error))?;
        Ok(found.size)
    }

    /// Sends a file, and reads it back: what the bucket has are the bytes that were verified. Nothing of it is there under
    /// this name before all of it is.
    pub(crate) async fn put(&self, path: &Path, copy: &Copy) -> Result<(), Error> {
        let failed = |error: object_store::Error| self.failed(&error);
        let mut file = tokio::fs::File::open(path).await?;
        let mut upload = self.bucket.store.put_multipart(&self.key).await.map_err(failed)?;
        let part = PART.max((copy.bytes as u64).div_ceil(PARTS));
        loop {
            let mut bytes = Vec::new();
            (&mut file).take(part).read_to_end(&mut bytes).await?;
            if bytes.is_empty() {
                break;
            }
            if let Err(error) = upload.put_part(Bytes::from(bytes).into()).await {
                // What was sent is of no use. The store forgets it by itself, if its operator has told it to.
                let _ = upload.abort().await;
                return Err(failed(error));
            }
        }
        upload.complete().await.map_err(failed)?;
        fleetlog_event_log::crash::point("archive.sent");
        let mut hash = Context::new(&SHA256);
        self.read(copy.bytes as u64, |bytes| {
            hash.update(&bytes);
            Ok(())
        })
        .await?;
        if hash.finish().as_ref() == copy.sha256 {
            Ok(())
        } else {
            Err(Error::Content(format!("{self} does not have the bytes that were sent to it")))
        }
    }

    /// Fetches it into a file of this machine, and returns its hash, too. The file goes when nobody has it any more.
    pub(crate) async fn fetch(&self, length: u64) -> Result<(Local, Vec<u8>), Error> {
        let (mut file, mut hash) = (NamedTempFile::new()?, Context::new(&SHA256));
        self.read(length, |bytes| {
            hash.update(&bytes);
            Ok(file.write_all(&bytes)?)
        })
        .await?;
        Ok((Local::fetched(file.into_temp_path()), hash.finish().as_ref().to_vec()))
    }

    async fn read(&self, length: u64, mut take: impl FnMut(Bytes) -> Result<(), Error>) -> Result<(), Error> {
        let mut at = 0;
        while at < length {
            let part = at..(at + PART).min(length);
            let bytes = self.bucket.store.get_range(&self.key, part.clone()).await;
            take(bytes.map_err(|error| self.failed(&error))?)?;
            at = part.end;
        }
        Ok(())
    }
}
