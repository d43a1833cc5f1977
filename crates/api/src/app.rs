//! The state that every handler shares, and an operator's settings for the API.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use fleetlog_access::Access;
use fleetlog_engine::commands::Commands;
use fleetlog_engine::devices::credentials::Credentials;
use fleetlog_engine::devices::credentials::secret::ServiceLogin;
use fleetlog_engine::ingest;
use fleetlog_engine::simulations::Simulations;
use fleetlog_event_log::EventLog;
use fleetlog_event_log::health::Health;
use fleetlog_live::Live;
use fleetlog_projections::devices::Rule;
use fleetlog_webhooks::Webhooks;
use http::HeaderValue;
use ipnet::IpNet;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::door::Locked;
use crate::graphql::Schemas;
use crate::rest::shares::Shares;
use crate::rest::{brokers, proxies};
use crate::server::Limits;

/// Tells whether the service is connected to its MQTT broker now.
pub type BrokerProbe = Arc<dyn Fn() -> bool + Send + Sync>;

/// The ports of this process's own MQTT endpoint. None where devices publish to another broker.
#[derive(Debug, Clone, Copy, Default)]
pub struct MqttPorts {
    /// Without TLS.
    pub plain: Option<u16>,
    /// Over TLS.
    pub tls: Option<u16>,
}

/// The state that every handler shares. Cheap to clone: each request is given several clones.
#[derive(Clone)]
pub struct App(Arc<State>);

impl Deref for App {
    type Target = State;

    fn deref(&self) -> &State {
        &self.0
    }
}

/// The parts of an [`App`].
pub struct State {
    /// The log, which only the [`door`](crate::door) opens.
    pub(crate) log: Locked,
    /// Takes messages in.
    pub ingest: ingest::Handle,
    /// Puts commands on the record.
    pub commands: Commands,
    /// The projections: reads wait for them to reach a position.
    pub projections: fleetlog_projections::Handle,
    /// The logs, for those who follow them.
    pub live: Live,
    /// The webhooks of all tenants; each call names one tenant's log.
    pub webhooks: Webhooks,
    /// Users, sessions and API keys: finds out who is calling.
    pub access: Access,
    /// The credentials that devices log in with.
    pub devices: Credentials,
    /// What tenants share of the process.
    pub shares: Shares,
    /// The `GraphQL` schema.
    pub graphql: Schemas,
    /// Simulated devices that people start.
    pub simulations: Simulations,
    /// The service's own metrics, as `/metrics` shows them.
    pub metrics: PrometheusHandle,
    /// Tells whether the service is connected to its MQTT broker.
    pub broker: BrokerProbe,
    /// Where devices reach this process.
    pub mqtt: MqttPorts,
    /// Whether the parts of this process work.
    pub health: Health,
    /// The operator's settings.
    pub settings: Settings,
}

/// An operator's settings for the API.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long after its last sign of life a device counts as online, unless it has a threshold of its own.
    pub online_within: Duration,
    /// Whether `/metrics` answers without a login.
    pub open_metrics: bool,
    /// The origins whose pages may call the API from a browser. `*` allows every origin.
    pub cors_origins: Vec<HeaderValue>,
    /// Whether `GraphQL` answers introspection queries.
    pub introspection: bool,
    /// The proxies that are trusted to name the address that a request was made from.
    pub trusted_proxies: Vec<proxies::Proxies>,
    /// The most HTTP connections at a time.
    pub connections: usize,
    /// The networks from which external brokers ask about their clients.
    pub broker_networks: Vec<IpNet>,
    /// The service's own login at the external broker that it is connected to.
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
            connections: Limits::CONNECTIONS,
            broker_networks: brokers::loopback(),
            broker: None,
        }
    }
}

/// What an [`App`] is put together from.
pub struct Parts {
    /// The log of all tenants.
    pub log: EventLog,
    /// Takes messages in.
    pub ingest: ingest::Handle,
    /// The projections that run in this process.
    pub projections: fleetlog_projections::Handle,
    /// The logs, for those who follow them.
    pub live: Live,
    /// Webhooks.
    pub webhooks: Webhooks,
    /// Users, sessions and API keys.
    pub access: Access,
    /// The credentials that devices log in with.
    pub devices: Credentials,
    /// Simulated devices that people start.
    pub simulations: Simulations,
    /// The service's own metrics.
    pub metrics: PrometheusHandle,
    /// Tells whether the service is connected to its MQTT broker.
    pub broker: BrokerProbe,
    /// Where devices reach this process.
    pub mqtt: MqttPorts,
    /// The operator's settings.
    pub settings: Settings,
}

impl App {
    /// Puts together the state that handlers share.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts {
            log,
            ingest,
            projections,
            live,
            webhooks,
            access,
            devices,
            simulations,
            metrics,
            broker,
            mqtt,
            settings,
        } = parts;
        let graphql = Schemas::new(settings.introspection);
        let commands = Commands::default();
        let (health, log) = (log.health().clone(), log.into());
        let shares = Shares::new(settings.connections);
        Self(Arc::new(State {
            log,
            ingest,
            commands,
            projections,
            live,
            webhooks,
            access,
            devices,
            shares,
            graphql,
            simulations,
            metrics,
            broker,
            mqtt,
            health,
            settings,
        }))
    }

    /// The time, by Postgres's clock.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.log.now()
    }

    /// How many connections the listener takes.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits::new(self.settings.connections, self.settings.trusted_proxies.clone())
    }

    /// Which devices count as online now.
    #[must_use]
    pub fn online(&self) -> Rule {
        Rule { at: self.now(), within: self.settings.online_within }
    }
}
