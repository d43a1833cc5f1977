//! A fresh, migrated database for each test, in one private cluster for the whole run.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;

use fleetlog_embedded::postgres;
use fleetlog_event_log::{EventLog, LogId, database};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor, PgConnection};
use tokio_util::sync::CancellationToken;

/// A database of one test. The next run drops it.
pub(crate) struct Database {
    options: PgConnectOptions,
    _upkeep: tokio_util::sync::DropGuard,
    stopping: CancellationToken,
}

impl Database {
    /// Creates a copy of the migrated template.
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

    /// The connect options that a service uses.
    pub(crate) fn options(&self) -> PgConnectOptions {
        self.options.clone()
    }

    /// Ends every connection to the database, and refuses new ones.
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

    /// A connection as the owner, which row-level security does not apply to.
    pub(crate) async fn owner(&self) -> PgConnection {
        self.options().connect().await.expect("connect")
    }

    /// A connection as the service's role.
    pub(crate) async fn service(&self) -> PgConnection {
        self.options().options([("role", database::SERVICE_ROLE)]).connect().await.expect("connect")
    }

    /// A connection as the role of callers' requests, for a tenant.
    pub(crate) async fn requests(&self, tenant: &str) -> PgConnection {
        let options = [("role", database::REQUESTS_ROLE), ("fleetlog.tenant", tenant)];
        self.options().options(options).connect().await.expect("connect")
    }

    /// The database's log. Its upkeep runs until the database goes out of scope.
    pub(crate) async fn event_log(&self) -> EventLog {
        let log = EventLog::open(database::Options::new(self.options())).await.expect("open");
        let (upkeep, stopping) = (log.clone(), self.stopping.clone());
        tokio::spawn(async move { upkeep.run(stopping).await });
        log
    }
}

/// Makes a table refuse rows as a full disk does, once it has this many bytes.
pub(crate) async fn fill_the_disk(owner: &mut PgConnection, table: &str, room: i64) {
    owner
        .execute(
            format!(
                "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$
                 BEGIN
                     IF pg_relation_size(TG_RELID) >= {room} THEN
                         RAISE EXCEPTION 'No space left on device' USING ERRCODE = 'disk_full';
                     END IF;
                     RETURN NEW;
                 END $$;
                 CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON {table}
                     FOR EACH ROW EXECUTE FUNCTION full_disk()"
            )
            .as_str(),
        )
        .await
        .expect("full");
}

/// Ends what [`fill_the_disk`] began.
pub(crate) async fn free_the_disk(owner: &mut PgConnection) {
    owner.execute("DROP FUNCTION full_disk CASCADE").await.expect("freed");
}

/// The default tenant's log of a lane.
pub(crate) fn log_of(log: &EventLog, lane: fleetlog_event_log::Lane) -> LogId {
    log.heads().of("t0", lane).expect("a log")
}

/// Connect options of the shared cluster, as its owner. The cluster runs on its own thread, because each test has its
/// own runtime, and ends with this process. Its files stay until the next run.
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
                    // Dropping hundreds of databases takes a minute; creating a cluster takes a second.
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
    // One test may start two nodes with all their pools, and as many tests run at a time as there are cores.
    options.settings.push(("max_connections".to_owned(), "500".to_owned()));
    let cluster = postgres::Cluster::start(options, |_| ()).await;
    cluster.unwrap_or_else(|error| panic!("a private Postgres: {error}"))
}

/// The databases that an earlier run left.
async fn left(cluster: &postgres::Cluster) -> Vec<String> {
    let mut admin = cluster.connect_options().connect().await.expect("connect");
    let left =
        "SELECT datname FROM pg_database WHERE datname LIKE 'test\\_%' OR datname = 'template_fleetlog'";
    sqlx::query_scalar(left).fetch_all(&mut admin).await.expect("list")
}

/// Creates and migrates the template.
async fn prepare(cluster: &postgres::Cluster) {
    let mut admin = cluster.connect_options().connect().await.expect("connect");
    admin.execute("CREATE DATABASE template_fleetlog").await.expect("create");
    let template = database::Options::new(cluster.connect_options_for("template_fleetlog"));
    template.migrate().await.expect("migrate");
}
