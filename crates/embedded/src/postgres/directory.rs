//! The data directory: its contents, their owner, and the lock that keeps other processes out.
//!
//! ```text
//! postgres.lock    locked while the owner lives
//! postgres/        the cluster, complete or absent
//! postgres.new.*/  a cluster being created; rubbish if its creator is dead
//! postgres.socket/ the socket, closed to other users
//! postgres.log     the server's log; postgres.log.old is the one before
//! ```

use std::env;
use std::fs::{self, File, TryLockError};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep};

use super::account;
use super::folder::Folder;
use super::log::Log;
use super::{Error, Phase};
use crate::process::{RunAs, effective_user};

/// The longest path of a socket that every Unix accepts, in bytes.
const LONGEST_SOCKET_PATH: usize = 102;
const SOCKET: &str = ".s.PGSQL.5432";
const SOCKET_DIR: &str = "postgres.socket";
const LOCK: &str = "postgres.lock";
/// The cluster's directory.
pub(super) const CLUSTER: &str = "postgres";
/// What the name of a cluster begins with while it is being created.
const NEW_CLUSTER: &str = "postgres.new";
/// The time between two looks at a lock that is held.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A locked data directory.
#[derive(Debug)]
pub(super) struct Directory {
    folder: Folder,
    run_as: RunAs,
    lock: File,
}

impl Directory {
    /// Creates the directory if it is missing, and locks it. Waits up to `patience` for another process's lock.
    pub(super) async fn open(
        root: &Path,
        patience: Duration,
        progress: &mut impl FnMut(Phase),
    ) -> Result<Self, Error> {
        let folder = Folder::open(root)?;
        let run_as = account::choose(&folder)?;
        let lock = folder.file(LOCK, run_as)?;
        let began = Instant::now();
        let mut told = false;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if began.elapsed() >= patience => {
                    return Err(Error::InUse { dir: folder.path().to_owned() });
                }
                Err(TryLockError::WouldBlock) => {
                    if !told {
                        progress(Phase::Waiting);
                        told = true;
                    }
                    sleep(LOOK_EVERY).await;
                }
                Err(TryLockError::Error(error)) => {
                    return Err(Error::file("lock", &folder.path().join(LOCK))(error));
                }
            }
        }
        let directory = Self { folder, run_as, lock };
        if directory.has_cluster()? {
            account::give_all(run_as, &directory.cluster())?;
        }
        if let Err(error) = directory.folder.remove_all(NEW_CLUSTER) {
            // The programs of its killed creator may still write to it.
            tracing::warn!(%error, "failed to remove a half-made cluster; the next start tries again");
        }
        Ok(directory)
    }

    pub(super) fn root(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn run_as(&self) -> RunAs {
        self.run_as
    }

    pub(super) fn cluster(&self) -> PathBuf {
        self.root().join(CLUSTER)
    }

    pub(super) fn has_cluster(&self) -> Result<bool, Error> {
        Ok(self.folder.owner_of(CLUSTER)?.is_some())
    }

    /// Reads a small file of the cluster. `None` if there is none.
    pub(super) fn read(&self, name: &str) -> Option<String> {
        self.folder.within(CLUSTER).ok()?.read(name)
    }

    /// An empty directory to create a cluster in. No two have one name: what is left of a killed creator may still write
    /// to its own.
    pub(super) fn new_cluster(&self) -> Result<Folder, Error> {
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        self.folder.create(&format!("{NEW_CLUSTER}.{}", now.as_nanos()), self.run_as)
    }

    /// Gives a finished cluster its final name. The rename is one step, so there is never half a cluster.
    pub(super) fn adopt(&self, new_cluster: &Folder) -> Result<(), Error> {
        let name = new_cluster.path().file_name().and_then(|name| name.to_str()).unwrap_or_default();
        self.folder.rename(name, CLUSTER)?;
        self.folder.sync()
    }

    /// Opens the server's log.
    pub(super) fn log(&self) -> Result<Log, Error> {
        Log::open(&self.folder, self.run_as)
    }

    /// The socket's directory: in the data directory or, if that path is too long, under a short name in the temporary
    /// directory.
    pub(super) fn socket_dir(&self) -> Result<PathBuf, Error> {
        let mut hasher = DefaultHasher::new();
        self.root().hash(&mut hasher);
        let short = format!("fleetlog-{}-{:016x}", effective_user(), hasher.finish());
        let candidates =
            [self.root().join(SOCKET_DIR), env::temp_dir().join(&short), Path::new("/tmp").join(&short)];
        let fits = |dir: &&PathBuf| {
            let path = dir.as_os_str().as_encoded_bytes();
            // The server's setting for this path takes no quotes.
            path.len() + 1 + SOCKET.len() <= LONGEST_SOCKET_PATH && !path.contains(&b'"')
        };
        // The last candidate always fits.
        let dir = candidates.iter().find(fits).unwrap_or(&candidates[2]);
        if dir == &candidates[0] {
            self.private_dir_here(SOCKET_DIR)?;
        } else {
            self.private_dir(dir)?;
        }
        Ok(dir.clone())
    }

    /// Creates a directory in the data directory that only the server's user may enter, or checks that an existing one
    /// is that.
    fn private_dir_here(&self, name: &str) -> Result<(), Error> {
        if self.folder.owner_of(name)?.is_none() {
            self.folder.create(name, self.run_as)?;
        }
        self.check(&self.root().join(name), &self.folder.within(name)?.metadata()?)
    }

    /// The same in the system's temporary directory, which is sticky: nobody else can move what is in it.
    fn private_dir(&self, path: &Path) -> Result<(), Error> {
        match fs::DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => account::give_path(self.run_as, path),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                self.check(path, &fs::symlink_metadata(path).map_err(Error::file("open", path))?)
            }
            Err(error) => Err(Error::file("create", path)(error)),
        }
    }

    fn check(&self, path: &Path, found: &fs::Metadata) -> Result<(), Error> {
        let closed = found.mode() & 0o7777 == 0o700;
        if found.is_dir() && closed && account::owns(self.run_as, found) {
            Ok(())
        } else {
            Err(Error::SocketDirectory { dir: path.to_owned() })
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
