//! Uses a cluster for a while: beside the process that runs it, or alone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;

use super::directory::CLUSTER;
use super::folder::Folder;
use super::{Cluster, Error, NAME, Options, Phase, connect_options};

/// A cluster that another process runs, or that this process runs while it is needed.
#[derive(Debug)]
pub struct Visit {
    connect: PgConnectOptions,
    own: Option<Cluster>,
}

impl Visit {
    /// Connects to the server that runs in the data directory, or starts one. Creates nothing: without a cluster it
    /// fails with [`Error::NoCluster`].
    pub async fn begin(options: Options, progress: impl FnMut(Phase)) -> Result<Self, Error> {
        if !options.data_dir.join(CLUSTER).exists() {
            return Err(Error::NoCluster { dir: options.data_dir });
        }
        match Cluster::start_within(Duration::ZERO, options, progress).await {
            Ok(own) => Ok(Self { connect: own.connect_options(), own: Some(own) }),
            Err(Error::InUse { dir }) => {
                let connect = connect_options(&socket_dir(&dir)?, NAME);
                tracing::debug!(dir = %dir.display(), "connecting beside the process that runs the cluster");
                Ok(Self { connect, own: None })
            }
            Err(error) => Err(error),
        }
    }

    /// Connect options for the database `fleetlog`, as a superuser.
    #[must_use]
    pub fn connect_options(&self) -> PgConnectOptions {
        self.connect.clone()
    }

    /// Stops the server, if this visit started it.
    pub async fn end(self) -> Result<(), Error> {
        match self.own {
            Some(own) => own.stop().await,
            None => Ok(()),
        }
    }
}

/// The directory of a running server's socket, from the fifth line of its lock file. Another process may have chosen it
/// by another temporary directory.
fn socket_dir(dir: &Path) -> Result<PathBuf, Error> {
    let lock = Folder::open(dir)?.within(CLUSTER)?.read("postmaster.pid");
    match lock.as_deref().and_then(|lock| lock.lines().nth(4)) {
        Some(dir) if !dir.is_empty() => Ok(PathBuf::from(dir)),
        _ => Err(Error::NotYet),
    }
}
