//! The HTTP API on a database of the test, with running projections, and callers of every role.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::Utc;
use fleetlog_access::users::User;
use fleetlog_access::{Access, FirstStart, Role, first_start};
use fleetlog_aggregates::device::{self, Device, Labels, Via};
use fleetlog_aggregates::telemetry::{Message, decide};
use fleetlog_api::app::{MqttPorts, Parts};
use fleetlog_api::rest::websocket::{NoRoom, Visitor, WebSockets};
use fleetlog_api::server::{Limits, serve};
use fleetlog_api::{App, Settings, rest};
use fleetlog_engine::devices::credentials::Credentials;
use fleetlog_engine::ingest::{self, Ingest};
use fleetlog_engine::simulations::Simulations;
use fleetlog_event_log::control::{Actor, ExecuteError, Metadata};
use fleetlog_event_log::telemetry::Outcome;
use fleetlog_event_log::{EventLog, Lane, Log, LogId};
use fleetlog_http_client::Reach;
use fleetlog_live::Live;
use fleetlog_mqtt::server::{Client, Full};
use fleetlog_projections::{Handle, Options, Projections};
use fleetlog_proof::{Custody, Sequencer, read};
use fleetlog_webhooks::Webhooks;
use metrics_exporter_prometheus::PrometheusRecorder;
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::{Database, Node, eventually};

/// The password of the first admin, `admin@localhost`.
pub(crate) const PASSWORD: &str = "correct horse battery";

/// A running API. It stops when it goes out of scope.
pub(crate) struct Api {
    pub(crate) database: Arc<Database>,
    pub(crate) log: EventLog,
    pub(crate) app: App,
    pub(crate) broker_is_up: Arc<AtomicBool>,
    /// The metrics of this API alone; a test that reads them installs the recorder for its thread.
    pub(crate) recorder: PrometheusRecorder,
    pub(crate) projections: Handle,
    /// The folder of the key that signs checkpoints.
    pub(crate) custody: tempfile::TempDir,
    url: String,
    client: reqwest::Client,
    stopping: DropGuard,
}

/// An HTTP response.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    /// The body as JSON; null if the body is not JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    /// The status and the problem's code.
    pub(crate) fn refusal(&self) -> String {
        format!("{} {}", self.status.as_u16(), self.json()["code"].as_str().unwrap_or_default())
    }
}

impl Api {
    pub(crate) async fn start() -> Self {
        Self::start_with(Settings::default()).await
    }

    /// Starts the API with changed settings.
    pub(crate) async fn start_with(settings: Settings) -> Self {
        Self::start_on(settings, private_webhooks()).await
    }

    /// Starts the API with changed settings of webhooks. They are sent by a [`Deliverer`](fleetlog_webhooks::Deliverer).
    pub(crate) async fn start_with_webhooks(webhooks: fleetlog_webhooks::Options) -> Self {
        Self::start_on(Settings::default(), webhooks).await
    }

    async fn start_on(settings: Settings, webhooks: fleetlog_webhooks::Options) -> Self {
        let api = Self::on(Arc::new(Database::fresh().await), settings, webhooks).await;
        add_users(&api.database, "t0").await;
        api
    }

    /// Starts one more node on the same database.
    pub(crate) async fn another_node(&self) -> Self {
        Self::on(Arc::clone(&self.database), Settings::default(), private_webhooks()).await
    }

    async fn on(database: Arc<Database>, settings: Settings, webhooks: fleetlog_webhooks::Options) -> Self {
        let log = database.event_log().await;
        let FirstStart { keys, .. } =
            first_start(&log, None, Some(PASSWORD.to_owned()), None).await.expect("a first start");
        let projections = Projections::new(log.clone(), Options::default());
        let handle = projections.handle();
        let broker_is_up = Arc::new(AtomicBool::new(true));
        let probe = Arc::clone(&broker_is_up);
        let recorder = rest::metrics::recorder(fleetlog::instruments::all()).expect("a recorder");
        let broker = Arc::new(move || probe.load(Ordering::Relaxed));
        let access = Access::new(&log, keys, fleetlog_access::Settings::default());
        access.quota.load().await.expect("the tiers");
        let devices = Credentials::new(log.clone());
        let metrics = recorder.handle();
        let stop = CancellationToken::new();
        let live = Live::new(log.clone(), stop.child_token());
        let webhooks = Webhooks::new(log.clone(), live.clone(), None, webhooks).expect("a client");
        let (storing, ingest) = Ingest::new(log.clone(), ingest::Options::default());
        tokio::spawn(storing.run(stop.clone()));
        let parts = Parts {
            log: log.clone(),
            ingest,
            projections: handle.clone(),
            live,
            webhooks,
            access,
            simulations: Simulations::new(None, devices.clone(), stop.child_token()),
            devices,
            metrics,
            broker,
            mqtt: MqttPorts::default(),
            settings,
        };
        let app = App::new(parts);
        tokio::spawn(projections.run(stop.clone()));
        for (_, part) in app.access.background(&stop) {
            tokio::spawn(part);
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(serve(
            vec![listener.into()],
            rest::router(app.clone(), fleetlog_dashboard::answer, None),
            app.limits(),
            stop.clone(),
        ));
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(40))
            .build()
            .expect("a client");
        let projections = handle;
        Self {
            database,
            log,
            app,
            broker_is_up,
            recorder,
            projections,
            custody: tempfile::tempdir().expect("a folder"),
            url,
            client,
            stopping: stop.drop_guard(),
        }
    }

    /// Serves HTTP at another address as well, with the way of WebSockets into a node.
    pub(crate) fn open_websockets(&self, node: &Node, limits: Limits) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        let address = listener.local_addr().expect("an address");
        let taking = node.websockets.clone();
        let websockets: WebSockets = Arc::new(move |visitor: Visitor| {
            let client = Client { address: visitor.client(), must_log_in: visitor.must_log_in() };
            taking.take(client, visitor.stream()).map_err(|Full| NoRoom)
        });
        let router = rest::router(self.app.clone(), fleetlog_dashboard::answer, Some(websockets));
        tokio::spawn(serve(vec![listener.into()], router, limits, node.stop.clone()));
        address
    }

    /// Stops this API, as a service stops that is told to.
    pub(crate) fn stop(self) {
        self.stopping.disarm().cancel();
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// A token for a tenant's user of a role, issued without a login.
    pub(crate) fn token(&self, tenant: &str, role: Role) -> String {
        let user_id = user_id(tenant, role);
        let user = User { user_id, tenant: tenant.parse().expect("a tenant"), role, password_hash: None };
        self.app.access.signing_keys.issue(&user, user_id, Utc::now()).expect("a token")
    }

    /// Asks for a path without a token until the answer is as expected.
    pub(crate) async fn until(&self, path: &str, expected: impl Fn(&Answer) -> bool) -> Answer {
        eventually(path, async || {
            let answer = answer(self.request(Method::GET, path)).await;
            if expected(&answer) { Ok(answer) } else { Err(answer.text) }
        })
        .await
    }

    /// A request without a token.
    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    /// Sends a request as the default tenant's user of a role.
    pub(crate) async fn send_as(
        &self,
        role: Role,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Answer {
        let request = self.request(method, path).bearer_auth(self.token("t0", role));
        answer(match body {
            Some(body) => request.json(&body),
            None => request,
        })
        .await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send_as(Role::Admin, Method::GET, path, None).await
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: Value) -> Answer {
        self.send_as(Role::Admin, method, path, Some(body)).await
    }

    /// Sends a GraphQL query, and returns the whole answer.
    pub(crate) async fn ask(&self, query: &str) -> Value {
        let answer = self.send(Method::POST, "/graphql", serde_json::json!({ "query": query })).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer.json()
    }

    /// Adds a tenant.
    pub(crate) async fn add_tenant(&self, tenant: &str) {
        let mut owner = self.database.owner().await;
        // The tier of the default tenant, so that rate limits do not disturb.
        sqlx::query("INSERT INTO tenants (tenant, tier) VALUES ($1, 'enterprise')")
            .bind(tenant)
            .execute(&mut owner)
            .await
            .expect("a tenant");
        self.log.heads().refresh(self.log.pool()).await.expect("the heads");
        add_users(&self.database, tenant).await;
    }

    /// Gives every tenant the built-in command types, as the service does at its start.
    pub(crate) async fn ship_types(&self) {
        fleetlog_access::starter_types::give_to_all(&self.log).await.expect("shipped");
    }

    /// Stores messages of a device of the default tenant, as ingest does. Returns the last position.
    pub(crate) async fn publish(&self, uid: &str, payloads: impl IntoIterator<Item = Value>) -> i64 {
        self.publish_of("t0", uid, payloads).await
    }

    /// Stores messages of a device of any tenant, as ingest does. Returns the last position.
    pub(crate) async fn publish_of(
        &self,
        tenant: &str,
        uid: &str,
        payloads: impl IntoIterator<Item = Value>,
    ) -> i64 {
        let register = super::register_device(Via::Telemetry, None, Labels::new());
        match self
            .log
            .execute::<Device>(
                &format!("{tenant}/{uid}").parse().expect("a stream"),
                register,
                Metadata::by(Actor::Fleetlog),
            )
            .await
        {
            Ok(_) | Err(ExecuteError::Refused(device::Error::AlreadyRegistered)) => {}
            Err(error) => panic!("register: {error}"),
        }
        let topic = format!("{tenant}/devices/{uid}/telemetry");
        let recorded = payloads.into_iter().map(|payload| {
            let payload = payload.to_string();
            let message = Message { topic: &topic, payload: payload.as_bytes(), received_at: Utc::now() };
            decide(message, || Uuid::now_v7().to_string()).expect("storable")
        });
        let log_id = self.log_of(tenant, Lane::Telemetry);
        let outcomes = self.log.append_telemetry(log_id, recorded.collect()).await.expect("append");
        let positions = outcomes.into_iter().map(|outcome| match outcome {
            Outcome::Recorded(position) => position,
            other => panic!("not recorded: {other:?}"),
        });
        positions.max().unwrap_or(0)
    }

    pub(crate) fn log_of(&self, tenant: &str, lane: Lane) -> LogId {
        self.log.heads().of(tenant, lane).expect("a log")
    }

    /// Waits until checkpoints prove all events that there are.
    pub(crate) async fn prove(&self) {
        let custody = Custody::open_or_create(self.custody.path()).expect("a key");
        let stop = CancellationToken::new();
        let sequencer = tokio::spawn(Sequencer::new(self.log.clone(), Some(custody)).run(stop.clone()));
        let mut heads: Vec<_> = self.log.heads().watch().borrow().values().cloned().collect();
        heads.retain(|log| log.head > 0);
        eventually("the proof", async || {
            let progress = read::progress(&self.log).await.expect("an answer");
            let proved = |log: &Log| {
                let newest = progress.iter().find(|progress| progress.log_id == log.log_id)?.newest.as_ref();
                newest.filter(|newest| newest.note.checkpoint.size >= log.head as u64)
            };
            if heads.iter().all(|log| proved(log).is_some()) { Ok(()) } else { Err(progress) }
        })
        .await;
        stop.cancel();
        sequencer.await.expect("no panic");
    }

    /// Waits until the read models are up to date with the log.
    pub(crate) async fn catch_up(&self) {
        self.projections.catch_up(Duration::from_secs(20)).await.expect("caught up");
    }
}

/// Webhooks on this machine, as in every test.
fn private_webhooks() -> fleetlog_webhooks::Options {
    fleetlog_webhooks::Options { reach: Reach::anybody(), ..fleetlog_webhooks::Options::default() }
}

/// The id of a tenant's user of a role, and of that user's session.
pub(crate) fn user_id(tenant: &str, role: Role) -> Uuid {
    Uuid::new_v5(&Uuid::nil(), format!("{tenant}/{role}").as_bytes())
}

/// Adds a tenant's users, one for each role, with a session each.
async fn add_users(database: &Database, tenant: &str) {
    let mut owner = database.owner().await;
    sqlx::query(
        "WITH added AS (
             INSERT INTO users (user_id, tenant, email, role)
             SELECT user_id, $1, role || '@' || $1 || '.example', role
             FROM unnest($2::uuid[], $3::text[]) AS new (user_id, role)
             RETURNING user_id)
         INSERT INTO sessions (session_id, tenant, user_id, expires_at)
         SELECT user_id, $1, user_id, now() + interval '1 day' FROM added",
    )
    .bind(tenant)
    .bind(Role::ALL.map(|role| user_id(tenant, role)).as_slice())
    .bind(Role::ALL.map(Role::as_str).as_slice())
    .execute(&mut owner)
    .await
    .expect("users");
}

/// Sends a request.
pub(crate) async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.expect("an answer");
    let (status, headers) = (response.status(), response.headers().clone());
    // A stream has no end.
    let is_stream = headers.get("content-type").is_some_and(|kind| kind == "text/event-stream");
    let text = if is_stream { String::new() } else { response.text().await.expect("a text") };
    Answer { status, headers, text }
}
