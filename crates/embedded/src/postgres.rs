//! A private Postgres: a launcher for an installed one.
//!
//! `fleetlog up` and the tests call [`Cluster::start`]. The server is a direct child that listens on a Unix socket
//! only, and dies with its owner without loss. Nothing here knows what is stored in it.

mod account;
mod binaries;
mod directory;
mod error;
mod folder;
mod launch;
mod log;
mod settings;
#[cfg(test)]
mod tests;
mod visit;

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgSslMode};

pub use self::error::Error;
pub use self::visit::Visit;

use self::binaries::Binaries;
use self::directory::Directory;
use self::log::Log;
use super::process::Process;

/// The oldest supported major version.
const OLDEST_MAJOR: u32 = 15;
/// The name of the superuser, and of the database that is created.
const NAME: &str = "fleetlog";

/// How long a start waits for the lock on the directory: a killed owner's is released when the kernel has taken it apart,
/// 5 to 35 ms later on an idle machine.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
/// How long a stop waits for the server to write its last checkpoint.
const FAST_STOP: Duration = Duration::from_mins(1);
/// The longest time that a stop without a checkpoint takes: the server itself kills what is left after 5 s.
const IMMEDIATE_STOP: Duration = Duration::from_secs(15);

/// Where to run the server, and with what.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory for the cluster, its lock, its socket and its log; created if missing.
    pub data_dir: PathBuf,
    /// The directory of `initdb` and `postgres`; `None` searches for it.
    pub binaries: Option<PathBuf>,
    /// Where `scripts/install-tools` puts a Postgres on machines without one. Searched last.
    pub tools: Option<PathBuf>,
    /// More settings for the server, as in `postgresql.conf`. They override the built-in ones, except for those that
    /// make commits durable.
    pub settings: Vec<(String, String)>,
}

impl Options {
    /// A cluster in `data_dir`, run by any installed Postgres.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self { data_dir: data_dir.into(), binaries: None, tools: None, settings: Vec::new() }
    }
}

/// The phase of a start, to show progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// A new cluster is being created.
    Creating,
    /// The server starts.
    Starting,
    /// A killed owner, or processes of a killed server, still hold the directory, for some seconds.
    Waiting,
    /// The server was killed and replays its write-ahead log.
    Recovering,
    /// The server answers.
    Ready,
}

/// A running server. Dropping it signals the server to stop, and does not wait: call [`Cluster::stop`] to wait.
#[derive(Debug)]
pub struct Cluster {
    process: Process,
    socket_dir: PathBuf,
    log: Log,
    // The last field, so that a dropped server is signalled before the lock is released.
    directory: Directory,
}

impl Cluster {
    /// Starts the server, and creates the cluster and the database `fleetlog` if they are missing. Calls `progress` at
    /// the start of each phase.
    pub async fn start(options: Options, progress: impl FnMut(Phase)) -> Result<Self, Error> {
        Self::start_within(LOCK_PATIENCE, options, progress).await
    }

    /// Starts like [`Cluster::start`], if the directory's lock is free within a time.
    async fn start_within(
        patience: Duration,
        options: Options,
        mut progress: impl FnMut(Phase),
    ) -> Result<Self, Error> {
        let directory = Directory::open(&options.data_dir, patience, &mut progress).await?;
        let binaries = Binaries::find(&options, &directory)?;
        if !directory.has_cluster()? {
            progress(Phase::Creating);
            launch::create(&binaries, &directory).await?;
        }
        launch::launch(&binaries, directory, &options.settings, &mut progress).await
    }

    /// Connect options for the database `fleetlog`, as a superuser.
    #[must_use]
    pub fn connect_options(&self) -> PgConnectOptions {
        self.connect_options_for(NAME)
    }

    /// Connect options for another database of this cluster, as a superuser.
    #[must_use]
    pub fn connect_options_for(&self, database: &str) -> PgConnectOptions {
        connect_options(&self.socket_dir, database)
    }

    /// The directory of this cluster, with symbolic links resolved.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        self.directory.root()
    }

    /// The server's process id; `None` once it has ended.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.process.id()
    }

    /// Resolves when the server ends, with the reason. A service that did not request the end must stop with this
    /// error.
    pub fn ended(&self) -> impl Future<Output = Error> + Send + use<> {
        let exited = self.process.exited();
        let log = self.log.clone();
        async move { Error::Ended { status: exited.await, log: log.tail() } }
    }

    /// Ends all connections, writes a checkpoint and stops. After 60 s it stops without the checkpoint: the next start
    /// then has to recover, and nothing is lost.
    pub async fn stop(self) -> Result<(), Error> {
        self.end(&[(libc::SIGINT, FAST_STOP), (libc::SIGQUIT, IMMEDIATE_STOP)]).await
    }

    /// Stops at once, as a crash would: the next start recovers.
    pub async fn stop_immediately(self) -> Result<(), Error> {
        self.end(&[(libc::SIGQUIT, IMMEDIATE_STOP)]).await
    }

    /// Kills the server's main process, for tests of such a crash. [`Cluster::ended`] resolves when it is dead.
    pub fn kill(&self) {
        self.process.signal(libc::SIGKILL);
    }

    async fn end(self, signals: &[(libc::c_int, Duration)]) -> Result<(), Error> {
        let already_ended = self.id().is_none();
        let status = self.process.stop(signals).await;
        // The next start creates the directory again. After a kill it is not empty, and stays.
        let _ = std::fs::remove_dir(&self.socket_dir);
        if already_ended || !status.success() {
            return Err(Error::Ended { status, log: self.log.tail() });
        }
        Ok(())
    }
}

fn connect_options(socket_dir: &Path, database: &str) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .socket(socket_dir)
        .port(5432)
        .username(NAME)
        .database(database)
        .ssl_mode(PgSslMode::Disable)
}
