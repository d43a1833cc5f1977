//! Connections, migration, and the durability that the rest of fleetlog assumes.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgRow};
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool, Row};

use crate::migrations;

/// The role that the service acts as. It owns nothing, and may only read and append events.
pub const SERVICE_ROLE: &str = "fleetlog_service";

/// The role that callers' requests act as. It owns nothing, and sees one tenant's rows.
pub const REQUESTS_ROLE: &str = "fleetlog_requests";

/// Reads a text column and parses it, for example as a tenant or a status. Text that does not parse is an error.
pub fn parsed<T>(row: &PgRow, column: &str) -> sqlx::Result<T>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    let text: &str = row.try_get(column)?;
    text.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

/// How long a transaction may do nothing before Postgres ends it. A process that is frozen in the middle of one would
/// hold its locks, such as that on the head of a log, and hold up every other node.
pub const FORGOTTEN: Duration = Duration::from_secs(7);

/// What can go wrong between fleetlog and its database.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database cannot be reached, or the connection broke off. Trying again may help. Shared by all who waited.
    #[error("reach the database: {0}")]
    Unavailable(#[source] Arc<sqlx::Error>),
    /// The database refused a statement. Shared by all who waited.
    #[error("run a statement: {0}")]
    Database(#[source] Arc<sqlx::Error>),
    /// The schema could not be brought up to date.
    #[error("migrate the database: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// Postgres is set to acknowledge writes that a power cut may lose.
    #[error(
        "trust the database: {setting} is {value}, but only \"on\" survives a power cut; turn it on and start again"
    )]
    NotDurable {
        /// The setting's name.
        setting: &'static str,
        /// The setting's value.
        value: String,
    },
    /// The log does not exist.
    #[error("find log {0}")]
    NoSuchLog(crate::LogId),
    /// The rows of an answer hold more than [`ANSWER_BYTES`](crate::page::ANSWER_BYTES).
    #[error("answer with more than {} MiB", crate::page::ANSWER_BYTES >> 20)]
    TooLarge,
    /// Events cannot be read, because a file of the database is damaged.
    #[error(transparent)]
    Damaged(#[from] crate::damage::Damage),
    /// Events were removed, because their tenant's retention is over.
    #[error("read {0}")]
    Archived(Box<crate::archived::Archived>),
    /// The copy of events that were removed cannot be read or stored.
    #[error("bring back {range}: {why}")]
    Unarchived {
        /// The events.
        range: Box<crate::archived::Archived>,
        /// What stands in the way.
        why: String,
    },
    /// An event on the record cannot be decoded.
    #[error("read an event: {0}")]
    Corrupt(#[from] crate::Corrupt),
}

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A value that cannot be written as JSON.
    pub(crate) fn unwritable(error: serde_json::Error) -> Self {
        sqlx::Error::Encode(Box::new(error)).into()
    }

    /// A background task panicked, or its runtime ended.
    #[must_use]
    pub fn task_ended() -> Self {
        sqlx::Error::WorkerCrashed.into()
    }

    /// What failed, in words that anybody may read. Postgres's own may name tables, roles and hosts: the log has them.
    #[must_use]
    pub fn outline(&self) -> String {
        match self {
            Self::Unavailable(error) | Self::Database(error) => outline(error),
            Self::Migrate(_) => "the schema cannot be brought up to date".into(),
            Self::Damaged(damage) => damage.outline(),
            Self::Archived(range) | Self::Unarchived { range, .. } => {
                let crate::archived::Archived { log_id, first, last, .. } = &**range;
                format!(
                    "events {first} to {last} of log {log_id} were removed, and their copies cannot be read"
                )
            }
            Self::Corrupt(_) => "an event on the record cannot be decoded".into(),
            Self::NotDurable { .. } | Self::NoSuchLog(_) | Self::TooLarge => format!("failed to {self}"),
        }
    }

    /// What the database said when it refused a statement for good.
    pub(crate) fn refusal(&self) -> Option<&dyn DatabaseError> {
        match self {
            Self::Database(error) => error.as_database_error(),
            _ => None,
        }
    }

    /// Whether the same call may succeed later, unchanged.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }

    /// Whether a statement gave up waiting for others.
    #[must_use]
    pub fn is_lock_timeout(&self) -> bool {
        self.refusal().and_then(DatabaseError::code).as_deref() == Some("55P03")
    }

    /// Whether the database's disk is full.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::Unavailable(error) => {
                error.as_database_error().and_then(DatabaseError::code).as_deref() == Some("53100")
            }
            _ => false,
        }
    }

    /// Whether the database refused the statement's data: the same data will be refused again.
    #[must_use]
    pub fn is_bad_data(&self) -> bool {
        // Data exceptions, integrity violations, and rows larger than a page or index can hold.
        let code = self.refusal().and_then(DatabaseError::code);
        code.is_some_and(|code| ["22", "23", "54"].iter().any(|class| code.starts_with(class)))
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        let transient = match &error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => true,
            // Connection lost, too many connections, shutting down, out of disk, deadlock, lost a race, read-only standby,
            // a database that takes no connections.
            sqlx::Error::Database(error) => error.code().is_some_and(|code| {
                ["08", "53", "57", "40"].iter().any(|class| code.starts_with(class))
                    || ["25006", "55000"].contains(&&*code)
            }),
            _ => false,
        };
        let error = Arc::new(error);
        if transient { Self::Unavailable(error) } else { Self::Database(error) }
    }
}

/// What an error of the database means, and its SQLSTATE, by which it is found in Postgres's manual.
fn outline(error: &sqlx::Error) -> String {
    let code = match error {
        sqlx::Error::Database(error) => error.code(),
        sqlx::Error::PoolTimedOut => {
            return "the database does not answer in time, or every connection to it is in use".into();
        }
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => {
            return "the connection to the database failed".into();
        }
        sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
            return "a part of the service has ended".into();
        }
        _ => return "the database's answer cannot be read".into(),
    };
    let Some(code) = code else { return "the database refused a statement".into() };
    let words = match (&*code, code.get(..2)) {
        ("53100", _) => "the database's disk has no space left",
        ("53200", _) => "the database has no memory left",
        ("53300", _) => "the database takes no further connections",
        ("57014", _) => "a statement took too long",
        ("25006", _) => "the database can only be read",
        ("42501", _) => "the database denies the service a right that it needs",
        ("42P01" | "42703", _) => "the database lacks a table or a column",
        ("3D000", _) => "the database does not exist",
        ("XX001" | "XX002", _) => "a file of the database is damaged",
        (_, Some("28")) => "the database refuses the service's login",
        (_, Some("57")) => "the database is starting or stopping",
        _ => "the database refused a statement",
    };
    format!("{words} (SQLSTATE {code})")
}

/// How to connect to the database.
#[derive(Debug, Clone)]
pub struct Options {
    connect: PgConnectOptions,
    /// Connections for everything but telemetry batches. At least 2.
    pub connections: u32,
    /// Connections for telemetry batches. One log takes one batch at a time, so more connections than busy tenants
    /// are of no use.
    pub append_connections: u32,
}

impl Options {
    /// Connects as the database's owner, and acts as [`SERVICE_ROLE`].
    #[must_use]
    pub fn new(connect: PgConnectOptions) -> Self {
        Self { connect, connections: 10, append_connections: 2 }
    }

    /// Brings the schema up to date, as the owner. Returns how many migrations have been applied in all.
    pub async fn migrate(&self) -> Result<usize> {
        let migrator = migrations::migrator().await?;
        let mut owner = self.connect.clone().connect().await?;
        migrator.run(&mut owner).await?;
        owner.close().await?;
        Ok(migrator.iter().count())
    }

    fn acting_as(&self, role: &str) -> PgConnectOptions {
        self.connect.clone().application_name("fleetlog").options([
            ("role", role),
            ("idle_in_transaction_session_timeout", &format!("{}ms", FORGOTTEN.as_millis())),
            ("timezone", "UTC"),
        ])
    }

    fn service(&self) -> PgConnectOptions {
        // No page of an API or a projection needs this long, and a runaway statement must not outlive its reader.
        self.acting_as(SERVICE_ROLE).options([("statement_timeout", "60s"), ("jit", "off")])
    }

    pub(crate) async fn service_pool(&self) -> Result<PgPool> {
        Ok(pool_options(self.connections.max(2)).connect_with(self.service()).await?)
    }

    pub(crate) async fn service_connection(&self) -> Result<PgConnection> {
        Ok(self.service().connect().await?)
    }

    fn requests(&self) -> PgConnectOptions {
        self.acting_as(REQUESTS_ROLE).options([("statement_timeout", "60s"), ("jit", "off")])
    }

    pub(crate) async fn requests_connection(&self) -> Result<PgConnection> {
        Ok(self.requests().connect().await?)
    }

    /// Connections that show no rows until they are scoped to a tenant, and then that tenant's rows.
    pub(crate) fn requests_pool(&self) -> PgPool {
        pool_options(self.connections.max(2))
            // The statement that scopes the connection to a tenant takes the place of this test.
            .test_before_acquire(false)
            .connect_lazy_with(self.requests())
    }

    /// A read-only pool for the user who connects. The user need not be a member of [`SERVICE_ROLE`].
    pub(crate) async fn reading_pool(&self) -> Result<PgPool> {
        let options = self.connect.clone().application_name("fleetlog").options([
            ("default_transaction_read_only", "on"),
            ("statement_timeout", "60s"),
            ("jit", "off"),
            ("timezone", "UTC"),
        ]);
        Ok(pool_options(self.connections.max(1)).connect_with(options).await?)
    }

    pub(crate) fn append_pool(&self) -> PgPool {
        let options = self.acting_as(SERVICE_ROLE).options([
            // A plan made while a partition was empty turns the anti-join quadratic as it fills.
            ("plan_cache_mode", "force_custom_plan"),
            // A new partition has no statistics, so the planner takes it for small and prefers plans that read all of
            // it: once a batch, or once and kept in memory.
            ("enable_hashjoin", "off"),
            ("enable_mergejoin", "off"),
            ("enable_material", "off"),
            ("enable_memoize", "off"),
            ("enable_seqscan", "off"),
            ("enable_bitmapscan", "off"),
            ("jit", "off"),
        ]);
        pool_options(self.append_connections.max(1)).connect_lazy_with(options)
    }
}

fn pool_options(connections: u32) -> PgPoolOptions {
    PgPoolOptions::new().max_connections(connections).acquire_timeout(Duration::from_secs(5))
}

/// Refuses a server that acknowledges writes that a power cut may lose.
pub(crate) async fn check_durability(pool: &PgPool) -> Result<()> {
    for setting in ["fsync", "full_page_writes", "synchronous_commit"] {
        let value: String =
            sqlx::query_scalar("SELECT current_setting($1)").bind(setting).fetch_one(pool).await?;
        // Every mode of `synchronous_commit` but `off` flushes to this server's disk before it answers.
        let durable = match setting {
            "synchronous_commit" => value != "off",
            _ => value == "on",
        };
        if !durable {
            return Err(Error::NotDurable { setting, value });
        }
    }
    Ok(())
}
