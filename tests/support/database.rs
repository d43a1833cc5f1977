//! A fresh, migrated database for each test, in one private cluster for the whole run.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;

use fleetlog_embedded::postgres;
use fleetlog_event_log::{EventLog, LogId, database};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor, PgConnection};
use tokio_util::sync::CancellationToken;

/// A database that nobody else uses. It is gone with the next run.
pub(crate) struct Database {
    options: PgConnectOptions,
    _upkeep: tokio_util::sync::DropGuard,
    stopping: CancellationToken,
}

impl Database {
    /// Copies the migrated template.
    pub(crate) async fn fresh() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let cluster = cluster();
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let mut admin = cluster.clone().connect().await.expect("connect");
        admin
            .execute(format!("CREATE DATABASE {name} TEMPLATE template_fleetlog").as_str())
            .await
            .expect("create");
        admin.close().await.expect("close");
        let stopping = CancellationToken::new();
        Self { options: cluster.clone().database(&name), _upkeep: stopping.clone().drop_guard(), stopping }
    }

    /// How a service connects to it.
    pub(crate) fn options(&self) -> PgConnectOptions {
        self.options.clone()
    }

    /// Ends every connection to it, and lets nobody connect any more.
    pub(crate) async fn go_away(&self) {
        let mut admin = cluster().clone().connect().await.expect("connect");
        let name = self.options.get_database().expect("a name");
        admin
            .execute(format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false").as_str())
            .await
            .expect("closed");
        sqlx::query("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1")
            .bind(name)
            .execute(&mut admin)
            .await
            .expect("ended");
    }

    /// A connection as the owner, past the service's role.
    pub(crate) async fn owner(&self) -> PgConnection {
        self.options().connect().await.expect("connect")
    }

    /// A connection as the service's role.
    pub(crate) async fn service(&self) -> PgConnection {
        self.options().options([("role", database::SERVICE_ROLE)]).connect().await.expect("connect")
    }

    /// A connection as the role of callers' requests, in a tenant.
    pub(crate) async fn requests(&self, tenant: &str) -> PgConnection {
        let options = [("role", database::REQUESTS_ROLE), ("fleetlog.tenant", tenant)];
        self.options().options(options).connect().await.expect("connect")
    }

    /// The log on it, with its upkeep running until the database goes out of scope.
    pub(crate) async fn event_log(&self) -> EventLog {
        let log = EventLog::open(database::Options::new(self.options())).await.expect("open");
        let (upkeep, stopping) = (log.clone(), self.stopping.clone());
        tokio::spawn(async move { upkeep.run(stopping).await });
        log
    }
}

/// The default tenant's log in a lane.
pub(crate) fn log_of(log: &EventLog, lane: fleetlog_event_log::Lane) -> LogId {
    log.heads().of("t0", lane).expect("a log")
}

/// The shared cluster, as its owner connects. It lives on a thread of its own, because each test has a runtime of its
/// own, and it ends with this process. Its files stay until the next run.
fn cluster() -> &'static PgConnectOptions {
    static CLUSTER: OnceLock<PgConnectOptions> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let (started, starting) = mpsc::channel();
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let mut cluster = start().await;
                if !left(&cluster).await.is_empty() {
                    // To drop hundreds of databases takes a minute; to make a cluster, a second.
                    cluster.stop_immediately().await.expect("stopped");
                    std::fs::remove_dir_all(DIRECTORY).expect("removed");
                    cluster = start().await;
                }
                prepare(&cluster).await;
                started.send(cluster.connect_options()).expect("a waiting test");
                panic!("Postgres ended: {}", cluster.ended().await);
            });
        });
        starting.recv().expect("a private Postgres")
    })
}

const DIRECTORY: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/postgres");

async fn start() -> postgres::Cluster {
    let mut options = postgres::Options::new(DIRECTORY);
    // One test alone may start two nodes with all their pools, and there is a test for each core.
    options.settings.push(("max_connections".to_owned(), "500".to_owned()));
    let cluster = postgres::Cluster::start(options, |_| ()).await;
    cluster.unwrap_or_else(|error| panic!("a private Postgres: {error}"))
}

/// The databases of an earlier run.
async fn left(cluster: &postgres::Cluster) -> Vec<String> {
    let mut admin = cluster.connect_options().connect().await.expect("connect");
    let left =
        "SELECT datname FROM pg_database WHERE datname LIKE 'test\\_%' OR datname = 'template_fleetlog'";
    sqlx::query_scalar(left).fetch_all(&mut admin).await.expect("list")
}

/// Migrates the template.
async fn prepare(cluster: &postgres::Cluster) {
    let mut admin = cluster.connect_options().connect().await.expect("connect");
    admin.execute("CREATE DATABASE template_fleetlog").await.expect("create");
    let template = database::Options::new(cluster.connect_options_for("template_fleetlog"));
    template.migrate().await.expect("migrate");
}
