//! Ingest and the built-in endpoint on a database of the test.

use std::net::SocketAddr;

use bytes::Bytes;
use chrono::Utc;
use fleetlog_engine::devices::credentials::Credentials;
use fleetlog_engine::devices::sessions::Sessions;
use fleetlog_engine::ingest::{self, Closed, Fate, Ingest};
use fleetlog_event_log::{EventLog, database};
use fleetlog_mqtt::server::{self, Endpoint};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::mqtt::{Device, V5};
use super::{Database, until};

/// A running node. It stops when it goes out of scope.
pub(crate) struct Node {
    pub(crate) log: EventLog,
    pub(crate) ingest: ingest::Handle,
    /// The address of the built-in endpoint.
    pub(crate) address: SocketAddr,
    /// The address of the built-in endpoint over TLS.
    pub(crate) tls_address: Option<SocketAddr>,
    /// The outlet to the devices that are connected to the built-in endpoint.
    pub(crate) outlet: server::Outlet,
    /// The way in for WebSockets.
    pub(crate) websockets: server::WebSockets,
    /// Ends when the node has stopped.
    pub(crate) running: JoinHandle<()>,
    pub(crate) stop: CancellationToken,
    options: PgConnectOptions,
    _stopping: DropGuard,
    _database: Option<Database>,
}

impl Node {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_, _| ()).await
    }

    /// Starts a node with changed options.
    pub(crate) async fn start_with(change: impl FnOnce(&mut ingest::Options, &mut server::Options)) -> Self {
        let database = Database::fresh().await;
        let node = Self::start_on(database.options(), change).await;
        Self { _database: Some(database), ..node }
    }

    /// Starts another node on the same database.
    pub(crate) async fn join(&self) -> Self {
        Self::start_on(self.options.clone(), |_, _| ()).await
    }

    /// Starts a node on an existing migrated database.
    pub(crate) async fn start_on(
        options: PgConnectOptions,
        change: impl FnOnce(&mut ingest::Options, &mut server::Options),
    ) -> Self {
        let log = EventLog::open(database::Options::new(options.clone())).await.expect("open");
        let mut ingest = ingest::Options::default();
        let mut endpoint = server::Options::new(SocketAddr::from(([127, 0, 0, 1], 0)));
        change(&mut ingest, &mut endpoint);
        let (storing, ingest) = Ingest::new(log.clone(), ingest);
        let (credentials, sessions) = (Credentials::new(log.clone()), Sessions::new(log.clone()));
        let endpoint = Endpoint::bind(endpoint, ingest.clone(), credentials, sessions).await.expect("listen");
        let (address, tls_address) = (endpoint.address(), endpoint.tls_address());
        let outlet = endpoint.outlet();
        let websockets = endpoint.websockets();
        let stop = CancellationToken::new();
        let (storing, serving) = (storing.run(stop.clone()), endpoint.run(stop.clone()));
        let (upkeep, stopping) = (log.clone(), stop.clone());
        let running = tokio::spawn(async move {
            let (stored, (), ()) = tokio::join!(storing, serving, upkeep.run(stopping));
            stored.expect("ingest");
        });
        let stopping = stop.clone().drop_guard();
        Self {
            log,
            ingest,
            address,
            tls_address,
            outlet,
            websockets,
            running,
            stop,
            options,
            _stopping: stopping,
            _database: None,
        }
    }

    /// A connection as the database's owner.
    pub(crate) async fn owner(&self) -> PgConnection {
        self.options.connect().await.expect("connect")
    }

    /// Connects a device with MQTT 5.
    pub(crate) async fn device(&self, client_id: &str) -> Device {
        Device::connect(self.address, V5, client_id).await
    }

    /// Submits a message directly to ingest, and waits for its fate.
    pub(crate) async fn ingest(&self, topic: &str, payload: impl AsRef<[u8]>) -> Result<Fate, Closed> {
        self.ingest.submit(topic, Bytes::copy_from_slice(payload.as_ref()), Utc::now()).await?.await
    }

    /// The payloads of a device's events, in order.
    pub(crate) async fn recorded(&self, device: &str) -> Vec<String> {
        let mut owner = self.owner().await;
        let select = "SELECT payload::text FROM telemetry_events WHERE aggregate_id = $1 ORDER BY position";
        sqlx::query_scalar(select).bind(device).fetch_all(&mut owner).await.expect("select")
    }

    /// The tenants and reasons of a topic's messages in quarantine, in order.
    pub(crate) async fn quarantined(&self, topic: &str) -> Vec<(Option<String>, String)> {
        let mut owner = self.owner().await;
        let select = "SELECT tenant, reason FROM quarantine WHERE topic = $1 ORDER BY quarantine_id";
        sqlx::query_as(select).bind(topic).fetch_all(&mut owner).await.expect("select")
    }

    /// Blocks every append to the default tenant's telemetry log until the connection is dropped.
    pub(crate) async fn hold_appends(&self) -> PgConnection {
        let mut owner = self.owner().await;
        let lock = "SELECT FROM logs WHERE tenant = 't0' AND lane = 'telemetry' FOR UPDATE";
        sqlx::raw_sql(&format!("BEGIN; {lock}")).execute(&mut owner).await.expect("lock");
        owner
    }

    /// Returns when an append waits for [`Node::hold_appends`].
    pub(crate) async fn append_waits(&self) {
        let mut owner = self.owner().await;
        let waiting = "SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock'";
        until("an append waits", async || {
            let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(&mut owner).await.expect("select");
            waiting > 0
        })
        .await;
    }
}
