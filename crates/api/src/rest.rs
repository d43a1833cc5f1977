//! REST over HTTP: the reads, the writes and the login. Holds no SQL and decides nothing about the domain.
//!
//! - [`App`]: what every handler shares
//! - [`serve()`]: a socket, a router, and their end
//! - [`middleware`]: what happens to every request and every answer
//! - [`rate_limits`], [`proxies`]: how often one may ask; from behind which address
//! - [`authentication`]: who is calling, and in whose tenant the rest is done
//! - [`guard`]: whether that caller may, where it depends on the device
//! - [`error`], [`problem`]: the one table of errors, and the one form of their answers
//! - [`extract`], [`parameters`]: what a request may say, checked
//! - [`page`], [`min_position`]: pages of lists; waiting for one's own writes
//! - [`cookies`]: a browser's session
//! - [`auth`], [`sessions`], [`browser`], [`api_keys`], [`signing_keys`], [`registration`], [`accounts`], [`users`]: logging
//!   in, and who may
//! - [`devices`], [`credentials`], [`commands`], [`command_history`], [`command_types`], [`command_batches`], [`telemetry`], [`windows`],
//!   [`logs`], [`events`], [`quarantine`], [`projections`], [`policies`], [`tenants`],
//!   [`tiers`], [`health`], [`metrics`]: the resources, each with its own `router()`
//! - [`brokers`]: what a broker of one's own asks about its clients
//! - [`docs`]: the `OpenAPI` document and its page

pub mod accounts;
pub mod api_keys;
pub mod auth;
mod authentication;
pub mod brokers;
pub mod browser;
pub mod command_batches;
pub mod command_history;
pub mod command_types;
pub mod commands;
mod cookies;
pub mod credentials;
pub mod devices;
pub mod docs;
pub mod error;
pub mod events;
pub mod extract;
pub mod guard;
pub mod health;
pub mod logs;
pub mod metrics;
pub mod middleware;
pub mod min_position;
pub mod page;
pub mod parameters;
pub mod policies;
pub mod problem;
pub mod projections;
pub mod proxies;
pub mod quarantine;
pub(crate) mod rate_limits;
pub mod registration;
mod serve;
pub mod sessions;
pub mod signing_keys;
pub mod telemetry;
pub mod tenants;
pub mod tiers;
pub mod users;
pub mod windows;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use chrono::{DateTime, Utc};
use fleetlog_access::{Identity, Principal};
use fleetlog_aggregates::identity::Tenant;
use fleetlog_engine::commands::Commands;
use fleetlog_engine::devices::credentials::Credentials;
use fleetlog_engine::devices::credentials::secret::ServiceLogin;
use fleetlog_event_log::{EventLog, Lane, LogId, TenantLog};
use http::HeaderValue;
use ipnet::IpNet;
use metrics_exporter_prometheus::PrometheusHandle;
use utoipa_axum::router::OpenApiRouter;

pub use error::Error;
pub use middleware::RequestId;
pub use serve::serve;

use crate::graphql::{self, Schemas};

/// The service's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Where the versioned API lies. The same routes answer without it too.
pub const PREFIX: &str = "/api/v1";

/// Whether the broker is connected, as its connection knows at this moment.
pub type BrokerProbe = Arc<dyn Fn() -> bool + Send + Sync>;

/// What every handler shares. Cheap to clone.
#[derive(Clone)]
pub struct App {
    log: EventLog,
    /// Puts commands on the record.
    pub commands: Commands,
    /// The projections, to wait for.
    pub projections: fleetlog_projections::Handle,
    /// Who there is, and who is calling.
    pub identity: Identity,
    /// What devices log in with.
    pub devices: Credentials,
    /// The `GraphQL` schema.
    pub graphql: Schemas,
    /// The service's own counters.
    pub metrics: PrometheusHandle,
    /// Whether the broker is connected.
    pub broker: BrokerProbe,
    /// The rest.
    pub settings: Arc<Settings>,
}

/// What an operator may decide about the API.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long after its last message a device counts as online.
    pub online_within: Duration,
    /// Whether `/metrics` answers without a login.
    pub open_metrics: bool,
    /// The origins whose pages may call the API from a browser. `*` is every one.
    pub cors_origins: Vec<HeaderValue>,
    /// Whether the `GraphQL` schema can be asked for its types.
    pub introspection: bool,
    /// Whose word is believed about the address that a request was made from.
    pub trusted_proxies: Vec<proxies::Proxies>,
    /// Where brokers of one's own ask from.
    pub broker_networks: Vec<IpNet>,
    /// The service's own login at the broker that it is connected to.
    pub broker: Option<ServiceLogin>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            online_within: Duration::from_mins(5),
            open_metrics: false,
            cors_origins: vec![],
            introspection: true,
            trusted_proxies: vec![],
            broker_networks: brokers::loopback(),
            broker: None,
        }
    }
}

impl App {
    /// Everything that handlers share.
    #[must_use]
    pub fn new(
        log: EventLog,
        projections: fleetlog_projections::Handle,
        identity: Identity,
        devices: Credentials,
        metrics: PrometheusHandle,
        broker: BrokerProbe,
        settings: Settings,
    ) -> Self {
        let graphql = Schemas::new(settings.introspection);
        let commands = Commands::default();
        let settings = Arc::new(settings);
        Self { log, commands, projections, identity, devices, graphql, metrics, broker, settings }
    }

    /// The log of the caller's tenant.
    #[must_use]
    pub fn tenant_log(&self, caller: &Principal) -> TenantLog {
        self.log.for_tenant(&caller.tenant)
    }

    /// The moment since which an online device has been heard of.
    #[must_use]
    pub fn online_since(&self) -> DateTime<Utc> {
        Utc::now() - self.settings.online_within
    }

    /// The moment before which no reading of a tenant's is shown.
    #[must_use]
    pub fn shown_since(&self, tenant: &Tenant) -> Option<DateTime<Utc>> {
        self.log.terms().of(tenant.as_str()).shown_since(Utc::now())
    }

    /// A tenant's log in a lane.
    pub fn log_of(&self, tenant: &Tenant, lane: Lane) -> Result<LogId, Error> {
        self.log.heads().of(tenant.as_str(), lane).ok_or(Error::NotFound(error::NO_LOG))
    }
}

/// The whole service over HTTP.
pub fn router(app: App) -> Router {
    let settings = Arc::clone(&app.settings);
    let (documented, document) = documented().split_for_parts();
    let authenticate = axum::middleware::from_fn_with_state(app.clone(), authentication::authenticate);
    // The last layer is the outermost: the address, then who is calling, then the caller.
    let by_caller = axum::middleware::from_fn_with_state(app.clone(), rate_limits::by_caller);
    let by_address = axum::middleware::from_fn_with_state(app.clone(), rate_limits::by_address);
    let answered = documented.merge(Router::from(api())).layer(by_caller).layer(authenticate);
    let answered = answered.merge(brokers::router()).with_state(app);
    let limited = answered.merge(docs::router(document)).layer(by_address);
    middleware::wrap(limited, &settings.cors_origins)
}

/// The document that describes it.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    docs::complete(documented().into_openapi())
}

/// The routes that the document lists: the versioned ones, once, and those at the root.
fn documented() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(docs::base())
        .nest(PREFIX, api())
        .merge(browser::router())
        .merge(health::router())
        .merge(metrics::router())
}

fn api() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .merge(auth::router())
        .merge(sessions::router())
        .merge(api_keys::router())
        .merge(signing_keys::router())
        .merge(registration::router())
        .merge(accounts::router())
        .merge(users::router())
        .merge(devices::router())
        .merge(credentials::router())
        .merge(commands::router())
        .merge(command_history::router())
        .merge(command_types::router())
        .merge(command_batches::router())
        .merge(telemetry::router())
        .merge(windows::router())
        .merge(logs::router())
        .merge(events::router())
        .merge(quarantine::router())
        .merge(projections::router())
        .merge(policies::router())
        .merge(tenants::router())
        .merge(tiers::router())
        .merge(graphql::router())
}
