//! The data directory: what lies in it, who owns it, and the lock that keeps it one process's.
//!
//! ```text
//! postgres.lock    held locked as long as the owner lives
//! postgres/        the cluster, complete or absent
//! postgres.new/    a cluster being made; rubbish once its maker is dead
//! postgres.socket/ the socket, closed to other users
//! postgres.log     what the server says; postgres.log.old once it has grown
//! ```

use std::env;
use std::fs::{self, File, TryLockError};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::Error;
use super::account;
use super::log::Log;
use crate::process::{RunAs, effective_user};

/// What every Unix takes for a socket's path, in bytes.
const LONGEST_SOCKET_PATH: usize = 102;
const SOCKET: &str = ".s.PGSQL.5432";

/// Where the cluster of a data directory is.
pub(super) fn cluster(root: &Path) -> PathBuf {
    root.join("postgres")
}

/// A data directory, locked.
#[derive(Debug)]
pub(super) struct Directory {
    root: PathBuf,
    run_as: RunAs,
    lock: File,
}

impl Directory {
    /// Creates the directory where it is missing and locks it.
    pub(super) fn open(root: &Path) -> Result<Self, Error> {
        fs::create_dir_all(root).map_err(Error::file("create", root))?;
        let root = fs::canonicalize(root).map_err(Error::file("open", root))?;
        let path = root.join("postgres.lock");
        let lock = File::create(&path).map_err(Error::file("create", &path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::InUse { dir: root }),
            Err(TryLockError::Error(error)) => return Err(Error::file("lock", &path)(error)),
        }
        let run_as = account::choose(&root)?;
        account::give(run_as, &path)?;
        let directory = Self { root, run_as, lock };
        if directory.has_cluster() {
            account::give_all(run_as, &directory.cluster())?;
        }
        Ok(directory)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn run_as(&self) -> RunAs {
        self.run_as
    }

    pub(super) fn cluster(&self) -> PathBuf {
        cluster(&self.root)
    }

    pub(super) fn has_cluster(&self) -> bool {
        self.cluster().exists()
    }

    /// An empty directory to make a cluster in; what another maker left there is removed.
    pub(super) fn new_cluster(&self) -> Result<PathBuf, Error> {
        let path = self.root.join("postgres.new");
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Error::file("remove", &path)(error));
            }
            _ => {}
        }
        self.private_dir(&path)?;
        Ok(path)
    }

    /// Makes a finished cluster the one: in one step, so that there never is half a cluster.
    pub(super) fn adopt(&self, new_cluster: &Path) -> Result<(), Error> {
        let cluster = self.cluster();
        fs::rename(new_cluster, &cluster).map_err(Error::file("rename to", &cluster))?;
        File::open(&self.root).and_then(|dir| dir.sync_all()).map_err(Error::file("sync", &self.root))
    }

    /// Opens the log for a server to write to.
    pub(super) fn log(&self) -> Result<Log, Error> {
        let log = Log::open(&self.root.join("postgres.log"))?;
        account::give(self.run_as, log.path())?;
        Ok(log)
    }

    /// The socket's directory: here, or by a short name in the temporary directory where this path is too long.
    pub(super) fn socket_dir(&self) -> Result<PathBuf, Error> {
        let mut hasher = DefaultHasher::new();
        self.root.hash(&mut hasher);
        let short = format!("fleetlog-{}-{:016x}", effective_user(), hasher.finish());
        let candidates =
            [self.root.join("postgres.socket"), env::temp_dir().join(&short), Path::new("/tmp").join(&short)];
        let fits = |dir: &&PathBuf| {
            let path = dir.as_os_str().as_encoded_bytes();
            // The server's setting for it takes no quotes.
            path.len() + 1 + SOCKET.len() <= LONGEST_SOCKET_PATH && !path.contains(&b'"')
        };
        // The last one always fits.
        let dir = candidates.iter().find(fits).unwrap_or(&candidates[2]);
        self.private_dir(dir)?;
        Ok(dir.clone())
    }

    /// Creates a directory for the server alone, or makes sure that one which is there is that.
    fn private_dir(&self, path: &Path) -> Result<(), Error> {
        match fs::DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => account::give(self.run_as, path),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let found = fs::symlink_metadata(path).map_err(Error::file("open", path))?;
                let closed = found.mode() & 0o7777 == 0o700;
                if found.is_dir() && closed && account::owns(self.run_as, &found) {
                    Ok(())
                } else {
                    Err(Error::SocketDirectory { dir: path.to_owned() })
                }
            }
            Err(error) => Err(Error::file("create", path)(error)),
        }
    }
}

impl Drop for Directory {
    /// Closing the file would not do: a child that is being forked elsewhere in this process has it open for a moment.
    fn drop(&mut self) {
        let _ = self.lock.unlock();
    }
}
