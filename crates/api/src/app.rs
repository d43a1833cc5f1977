//! What every handler shares, and what an operator may decide about it.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use fleetlog_access::Identity;
use fleetlog_engine::commands::Commands;
use fleetlog_engine::devices::credentials::Credentials;
use fleetlog_engine::devices::credentials::secret::ServiceLogin;
use fleetlog_event_log::EventLog;
use http::HeaderValue;
use ipnet::IpNet;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::door::Locked;
use crate::graphql::Schemas;
use crate::rest::{brokers, proxies};

/// Whether the broker is connected, as its connection knows at this moment.
pub type BrokerProbe = Arc<dyn Fn() -> bool + Send + Sync>;

/// What every handler shares. Cheap to clone.
#[derive(Clone)]
pub struct App {
    /// The log, which only the [`door`](crate::door) opens.
    pub(crate) log: Locked,
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
    /// What an operator has decided.
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
    /// The proxies that are believed about the address that a request was made from.
    pub trusted_proxies: Vec<proxies::Proxies>,
    /// Where an operator's own brokers ask from.
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
        let (commands, settings) = (Commands::default(), Arc::new(settings));
        Self { log: log.into(), commands, projections, identity, devices, graphql, metrics, broker, settings }
    }

    /// The moment since which an online device has been heard of.
    #[must_use]
    pub fn online_since(&self) -> DateTime<Utc> {
        Utc::now() - self.settings.online_within
    }
}
