//! How commands other than the service find the log: in a database that is given, or in the one that `up` keeps.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use fleetlog_archive::{Copies, Place};
use fleetlog_embedded::TOOLS;
use fleetlog_embedded::postgres::{self, Visit};
use fleetlog_event_log::{EventLog, database};
use sqlx::postgres::PgConnectOptions;

use super::up;

/// Connections of a command that writes.
pub const WRITERS: u32 = 4;

/// The log to use.
#[derive(Debug, Args)]
pub struct Source {
    /// The database, with a user who may do this: `postgres://user:password@host/name`.
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// Without a database: where `up` keeps its data, whether or not `up` is running.
    #[arg(long, env = "FLEETLOG_DATA_DIR", default_value = "data")]
    pub data_dir: PathBuf,
    /// The folder of Postgres's programs; searched for by default.
    #[arg(long, env = "FLEETLOG_POSTGRES_BIN")]
    pub postgres_bin: Option<PathBuf>,
    /// Where the files of the archive are, if they are not where they were written.
    #[arg(skip)]
    archive: Option<Place>,
}

/// An open log. Close it, or a Postgres that was started for it keeps running.
struct Open {
    log: EventLog,
    visit: Option<Visit>,
}

impl Source {
    /// Looks for the files of the archive in a place, too.
    #[must_use]
    pub fn reading_archives(self, archive: Option<Place>) -> Self {
        Self { archive, ..self }
    }

    /// Opens the log for reading only, works on it, and closes it.
    pub async fn read<T, E: Into<anyhow::Error>>(
        self,
        work: impl AsyncFnOnce(&EventLog) -> Result<T, E>,
    ) -> anyhow::Result<T> {
        self.open_by(read).await?.close_after(work).await
    }

    /// Opens the log for writing, works on it, and closes it. The schema must be up to date. Uses few connections, because
    /// `up` may be running on the same database.
    pub async fn write<T, E: Into<anyhow::Error>>(
        self,
        work: impl AsyncFnOnce(&EventLog) -> Result<T, E>,
    ) -> anyhow::Result<T> {
        self.write_with(WRITERS, work).await
    }

    /// Works on the log like [`Source::write`], with at most this many connections.
    pub async fn write_with<T, E: Into<anyhow::Error>>(
        self,
        connections: u32,
        work: impl AsyncFnOnce(&EventLog) -> Result<T, E>,
    ) -> anyhow::Result<T> {
        let opened = self.open_by(async |connect| {
            let mut options = database::Options::new(connect);
            options.connections = connections;
            EventLog::open(options).await
        });
        opened.await?.close_after(work).await
    }

    async fn open_by(
        self,
        open: impl AsyncFnOnce(PgConnectOptions) -> fleetlog_event_log::Result<EventLog>,
    ) -> anyhow::Result<Open> {
        let open = async |connect| {
            let log = open(connect).await?;
            log.read_archives(Arc::new(Copies::new(self.archive.clone())));
            Ok::<_, fleetlog_event_log::Error>(log)
        };
        if let Some(url) = &self.database_url {
            let connect = PgConnectOptions::from_str(url)
                .context("DATABASE_URL is not of the form postgres://user:password@host/name")?;
            let log = open(connect).await.context("failed to open the log")?;
            return Ok(Open { log, visit: None });
        }
        let options = postgres::Options {
            binaries: self.postgres_bin,
            tools: Some(PathBuf::from(TOOLS)),
            ..postgres::Options::new(self.data_dir.join("postgres"))
        };
        let begun = Visit::begin(options, up::progress).await;
        let visit = begun.map_err(|error| anyhow::anyhow!(error.in_one_line()))?;
        match open(visit.connect_options()).await {
            Ok(log) => Ok(Open { log, visit: Some(visit) }),
            Err(error) => {
                visit.end().await?;
                Err(error).context("failed to open the log")
            }
        }
    }
}

/// Opens the log with one connection. With more of them sqlx 0.8 closes a pool without waiting for idle ones, and warns
/// when the server that was started for it stops while one is still being returned.
async fn read(connect: PgConnectOptions) -> fleetlog_event_log::Result<EventLog> {
    let mut options = database::Options::new(connect);
    options.connections = 1;
    EventLog::open_to_read(options).await
}

impl Open {
    async fn close_after<T, E: Into<anyhow::Error>>(
        self,
        work: impl AsyncFnOnce(&EventLog) -> Result<T, E>,
    ) -> anyhow::Result<T> {
        let done = work(&self.log).await;
        self.close().await?;
        done.map_err(Into::into)
    }

    /// Closes the log, and stops a Postgres that was started for it.
    async fn close(self) -> anyhow::Result<()> {
        self.log.close().await;
        if let Some(visit) = self.visit {
            visit.end().await?;
        }
        Ok(())
    }
}
