//! Why a private Postgres does not start, or ends. Each message says what to do next.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use super::OLDEST_MAJOR;

/// Why a private Postgres does not start, or ends.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No usable installation was found.
    #[error(
        "find PostgreSQL {OLDEST_MAJOR} or later (looked on PATH, where the packages put it, and in .tools): \
         apt-get install postgresql, or run scripts/install-tools"
    )]
    NoBinaries,
    /// The requested installation cannot be used.
    #[error("use the PostgreSQL in {}: {reason}", dir.display())]
    UnusableBinaries {
        /// The directory that should hold `initdb` and `postgres`.
        dir: PathBuf,
        /// What is wrong with the installation.
        reason: String,
    },
    /// The data belongs to another major version than any that is installed.
    #[error(
        "open {}: it was made by PostgreSQL {data}, and this is PostgreSQL {installed}; install PostgreSQL {data}, \
         or move the data over with pg_upgrade", dir.display()
    )]
    WrongVersion {
        /// The cluster's directory.
        dir: PathBuf,
        /// The version in its `PG_VERSION`.
        data: String,
        /// The newest installed major version.
        installed: u32,
    },
    /// Another process runs a cluster in the same directory.
    #[error("use {}: another fleetlog is running in it; stop that one, or choose another data directory", dir.display())]
    InUse {
        /// The data directory.
        dir: PathBuf,
    },
    /// The data directory has no cluster.
    #[error("find a database in {}; `fleetlog up` makes one there, --data-dir names another folder, and DATABASE_URL another server", dir.display())]
    NoCluster {
        /// The data directory.
        dir: PathBuf,
    },
    /// Another process is starting the server at this moment.
    #[error("reach PostgreSQL: it is only starting; try again in a moment")]
    NotYet,
    /// Postgres refuses to run as root, and there is no other user to run it as.
    #[error(
        "run PostgreSQL as root, which it refuses: this system allows no user namespace and has no user postgres; \
         run fleetlog as another user, or add that one"
    )]
    NoUser,
    /// The user that Postgres runs as cannot enter the data directory.
    #[error(
        "enter {} as the user PostgreSQL runs as ({reason}); every directory above it must be open to that user: \
         choose another data directory, or run fleetlog as its owner", dir.display()
    )]
    Unreachable {
        /// The data directory.
        dir: PathBuf,
        /// The system's error.
        reason: String,
    },
    /// A file or directory that another user may lead elsewhere, or change.
    #[error("use {}: {reason}", path.display())]
    Unsafe {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: &'static str,
    },
    /// The socket's directory is not safe.
    #[error("put a socket in {}: it must be a directory of this user, closed to others; remove it", dir.display())]
    SocketDirectory {
        /// The directory.
        dir: PathBuf,
    },
    /// `initdb` failed.
    #[error("create a cluster in {} ({status}):\n{log}", dir.display())]
    Creation {
        /// The cluster's directory.
        dir: PathBuf,
        /// The exit status of `initdb`.
        status: ExitStatus,
        /// The output of `initdb`.
        log: String,
    },
    /// The server ended by itself.
    #[error("keep PostgreSQL running: it ended by itself ({status}):\n{log}")]
    Ended {
        /// The exit status.
        status: ExitStatus,
        /// The last lines of its log.
        log: String,
    },
    /// The server runs but does not answer.
    #[error("reach PostgreSQL in {}: no answer within {seconds} s; see postgres.log there", dir.display())]
    Silent {
        /// The data directory.
        dir: PathBuf,
        /// How long the launcher waited, in seconds.
        seconds: u64,
    },
    /// A file operation failed.
    #[error("{doing} {}", path.display())]
    File {
        /// The failed operation, as a verb.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The server refused a connection or a statement.
    #[error("prepare the database")]
    Database(#[from] sqlx::Error),
}

impl Error {
    /// What went wrong, on one line: of a server that ended, what its log says of it.
    #[must_use]
    pub fn in_one_line(&self) -> String {
        match self {
            Self::Ended { status, log } => {
                let is_fatal = |line: &&str| line.contains("PANIC: ") || line.contains("FATAL: ");
                let said =
                    log.lines().find(is_fatal).or(log.lines().last()).unwrap_or("its log says nothing");
                format!("PostgreSQL ended by itself ({status}): {}", said.trim())
            }
            Self::File { source, .. } => format!("failed to {self}: {source}"),
            Self::Database(source) => format!("failed to {self}: {source}"),
            _ => format!("failed to {self}"),
        }
    }

    /// What went wrong, in words that anybody may read: without paths, and without what the server says.
    #[must_use]
    pub fn outline(&self) -> String {
        match self {
            Self::Ended { log, .. } if log.contains("No space left on device") => {
                "PostgreSQL ended by itself: its disk has no space left".to_owned()
            }
            Self::Ended { status, .. } => format!("PostgreSQL ended by itself ({status})"),
            Self::Silent { seconds, .. } => format!("PostgreSQL does not answer within {seconds} s"),
            Self::File { doing, source, .. } => {
                format!("failed to {doing} a file of PostgreSQL: {source}")
            }
            Self::InUse { .. } => "another fleetlog is running in the data directory".to_owned(),
            _ => "PostgreSQL does not start".to_owned(),
        }
    }

    /// Makes the `map_err` function of a file operation.
    pub(super) fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { doing, path, source }
    }
}
