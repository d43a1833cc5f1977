//! The data directory: its contents, their owner, and the lock that keeps other processes out.
//!
//! ```text
//! postgres.lock    locked while the owner lives
//! postgres/        the cluster, complete or absent
//! postgres.new/    a cluster being created; rubbish if its creator is dead
//! postgres.socket/ the socket, closed to other users
//! postgres.log     the server's log; postgres.log.old is the one before
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

/// The longest path of a socket that every Unix accepts, in bytes.
const LONGEST_SOCKET_PATH: usize = 102;
const SOCKET: &str = ".s.PGSQL.5432";

/// The cluster's directory in a data directory.
pub(super) fn cluster(root: &Path) -> PathBuf {
    root.join("postgres")
}

/// A locked data directory.
#[derive(Debug)]
pub(super) struct Directory {
    root: PathBuf,
    run_as: RunAs,
    lock: File,
}

impl Directory {
    /// Creates the directory if it is missing, and locks it.
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

    /// An empty directory to create a cluster in. Removes what an interrupted creation left there.
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

    /// Gives a finished cluster its final name. The rename is one step, so there is never half a cluster.
    pub(super) fn adopt(&self, new_cluster: &Path) -> Result<(), Error> {
        let cluster = self.cluster();
        fs::rename(new_cluster, &cluster).map_err(Error::file("rename to", &cluster))?;
        File::open(&self.root).and_then(|dir| dir.sync_all()).map_err(Error::file("sync", &self.root))
    }

    /// Opens the server's log.
    pub(super) fn log(&self) -> Result<Log, Error> {
        let log = Log::open(&self.root.join("postgres.log"))?;
        account::give(self.run_as, log.path())?;
        Ok(log)
    }

    /// The socket's directory: in the data directory or, if that path is too long, under a short name in the temporary
    /// directory.
    pub(super) fn socket_dir(&self) -> Result<PathBuf, Error> {
        let mut hasher = DefaultHasher::new();
        self.root.hash(&mut hasher);
        let short = format!("fleetlog-{}-{:016x}", effective_user(), hasher.finish());
        let candidates =
            [self.root.join("postgres.socket"), env::temp_dir().join(&short), Path::new("/tmp").join(&short)];
        let fits = |dir: &&PathBuf| {
            let path = dir.as_os_str().as_encoded_bytes();
            // The server's setting for this path takes no quotes.
            path.len() + 1 + SOCKET.len() <= LONGEST_SOCKET_PATH && !path.contains(&b'"')
        };
        // The last candidate always fits.
        let dir = candidates.iter().find(fits).unwrap_or(&candidates[2]);
        self.private_dir(dir)?;
        Ok(dir.clone())
    }

    /// Creates a directory that only the server's user may enter, or checks that an existing one is that.
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
    /// Closing the file would not release the lock while another thread forks a child, which holds the file open for a
    /// moment.
    fn drop(&mut self) {
        let _ = self.lock.unlock();
    }
}
