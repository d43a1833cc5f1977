//! The service: the log, ingest, projections, a broker and HTTP, started together and stopped in order.
//!
//! The parts that accept work (HTTP, MQTT) stop first, then ingest and the dispatcher, which finish their work, then
//! projections and the log. If a part ends by itself, the service stops with its error, because half a service is worse
//! than none.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use fleetlog_access as access;
use fleetlog_access::first_start::Admin;
use fleetlog_access::mail::Letters;
use fleetlog_access::{Access, mail, starter_types};
use fleetlog_aggregates::command_type;
use fleetlog_aggregates::identity::Tenant;
use fleetlog_api::app::{BrokerProbe, MqttPorts, Parts};
use fleetlog_api::rest::websocket::{NoRoom, Visitor, WebSockets};
use fleetlog_api::{rest, server as http};
use fleetlog_archive::{Archiver, Copies, Place};
use fleetlog_engine::alarms::Evaluator;
use fleetlog_engine::devices::credentials::Credentials;
use fleetlog_engine::devices::listeners::Listeners;
use fleetlog_engine::devices::sessions::Sessions;
use fleetlog_engine::dispatch::Dispatcher;
use fleetlog_engine::dispatch::handover::EveryNode;
use fleetlog_engine::dispatch::outlet::CommandOutlet;
use fleetlog_engine::ingest::{self, Ingest};
use fleetlog_engine::simulations::Simulations;
use fleetlog_engine::sources;
use fleetlog_event_log::control::ExecuteError;
use fleetlog_event_log::{EventLog, database};
use fleetlog_live::Live;
use fleetlog_mqtt::subscriber::Subscriber;
use fleetlog_mqtt::{descriptors, publisher, server, subscriber};
use fleetlog_projections::Projections;
use fleetlog_proof::{Custody, Sequencer, custody};
use fleetlog_tls::Certificate;
use fleetlog_tls::clients::Clients;
use fleetlog_webhooks::{Deliverer, Webhooks};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::consumer::Consumer;
use crate::simulations;
use crate::witnesses;

/// Options of a service.
pub struct Options {
    /// The database to use.
    pub database: database::Options,
    /// Whether to bring the schema up to date first.
    pub migrate: bool,
    /// The address for HTTP. Port 0 takes a free port.
    pub http: SocketAddr,
    /// The listeners over TLS, if there are any.
    pub tls: Option<Tls>,
    /// The source of devices' messages.
    pub broker: Broker,
    /// The first administrator's e-mail address; used by the first start only.
    pub admin_email: Option<String>,
    /// The first administrator's password; used by the first start only.
    pub admin_password: Option<String>,
    /// The secret that seals the keys for access tokens.
    pub secret: Option<access::Secret>,
    /// Settings of users and sessions.
    pub access: access::Settings,
    /// How mails are sent.
    pub mail: mail::Transport,
    /// Settings of webhooks.
    pub webhooks: fleetlog_webhooks::Options,
    /// The folder of the key that signs the logs' checkpoints. Without it nothing is signed.
    pub audit_dir: Option<PathBuf>,
    /// Who is given the logs' checkpoints.
    pub witnesses: Vec<witnesses::Address>,
    /// Where readings that are over age go. `None`: they stay in the database.
    pub archive: Option<Place>,
    /// Whether people may start simulated devices at the endpoint of this process.
    pub simulations: bool,
    /// Settings of the API.
    pub settings: fleetlog_api::Settings,
    /// Access to this process's metrics.
    pub metrics: PrometheusHandle,
}

/// The listeners over TLS.
pub struct Tls {
    /// The address for HTTP, if there is one. Port 0 takes a free port.
    pub https: Option<SocketAddr>,
    /// The address for MQTT, if there is one. Port 0 takes a free port.
    pub mqtts: Option<SocketAddr>,
    /// Their certificate.
    pub certificate: Certificate,
    /// What MQTT makes of the certificates that devices show.
    pub clients: Clients,
}

/// File descriptors that a process needs besides those of its connections: for the database, files and libraries.
const BESIDES: u64 = 1000;

impl Options {
    /// Makes room for all connections. Where the system allows fewer, HTTP and MQTT each take their share of those, so
    /// that neither can use up the other's.
    fn make_room(&mut self) {
        let mut none = 0;
        let http = &mut self.settings.connections;
        let mqtt = match &mut self.broker {
            Broker::Endpoint(options) => &mut options.connections,
            Broker::External { .. } => &mut none,
        };
        let wanted = *http + *mqtt;
        let Err(error) = descriptors::allow(wanted as u64 + BESIDES) else { return };
        if let descriptors::Error::TooFew { most, .. } = error {
            (*http, *mqtt) = shares(most.saturating_sub(BESIDES).max(most / 2) as usize, *http, *mqtt);
        }
        tracing::warn!(%error, http = *http, mqtt = *mqtt, "took fewer connections than configured");
    }
}

/// Cuts `http` and `mqtt` to `most` together, each by the same factor, and to 1 at least.
fn shares(most: usize, http: usize, mqtt: usize) -> (usize, usize) {
    let share = |wanted: usize| (most * wanted / (http + mqtt).max(1)).max(1);
    (share(http), share(mqtt))
}

/// The source of devices' messages.
pub enum Broker {
    /// Devices connect to the endpoint in this process.
    Endpoint(server::Options),
    /// Devices and this process connect to an external broker.
    External {
        /// How to subscribe to the broker.
        options: subscriber::Options,
        /// Whether this node takes messages only while no other node with the same client id does.
        takeover: bool,
        /// The tenant whose sources take other topics of the broker.
        tenant: Tenant,
    },
}

/// Why a service did not start, or why it stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log or its database failed.
    #[error("failed to {0}")]
    Database(#[from] database::Error),
    /// The signing key or the first administrator could not be prepared.
    #[error("failed to {0}")]
    FirstStart(#[from] access::first_start::Error),
    /// The MQTT endpoint failed.
    #[error(
        "failed to {0}; choose another address with --mqtt or FLEETLOG_MQTT_ADDR, or over TLS with --mqtts or FLEETLOG_MQTTS_ADDR"
    )]
    Endpoint(#[from] server::Error),
    /// The options of the external broker are invalid.
    #[error("failed to {0}")]
    External(#[from] subscriber::Error),
    /// The address for HTTP could not be used.
    #[error("failed to serve HTTP on {0}: {1}; choose another address with --http or FLEETLOG_HTTP_ADDR")]
    Http(SocketAddr, #[source] std::io::Error),
    /// The address for HTTP over TLS could not be used.
    #[error(
        "failed to serve HTTP over TLS on {0}: {1}; choose another address with --https or FLEETLOG_HTTPS_ADDR"
    )]
    Https(SocketAddr, #[source] std::io::Error),
    /// The certificate cannot be used.
    #[error("failed to use a certificate: {0}")]
    Tls(#[from] fleetlog_tls::Error),
    /// The key that signs the logs' checkpoints cannot be used.
    #[error("failed to open the folder of the key that signs checkpoints: {0}")]
    Audit(#[from] custody::Error),
    /// Nothing can be sent to a witness.
    #[error("failed to send to a witness: {0}")]
    Witness(#[from] witnesses::Error),
    /// Webhooks cannot be asked.
    #[error("failed to prepare for webhooks: {0}")]
    Webhooks(#[from] fleetlog_http_client::Error),
    /// Ingest failed.
    #[error("failed to {0}")]
    Ingest(#[from] ingest::Error),
    /// The built-in command types could not be stored.
    #[error("failed to store the built-in command types: {0}")]
    Commands(#[from] ExecuteError<command_type::Error>),
    /// The projections failed.
    #[error("failed to {0}")]
    Projections(#[from] fleetlog_projections::runner::Error),
    /// A part ended although no shutdown was requested.
    #[error("{0} ended by itself")]
    Ended(&'static str),
    /// A part panicked.
    #[error("a part of the service panicked: {0}")]
    Panicked(#[from] JoinError),
}

/// The name of a part that has ended, and how.
type End = (&'static str, Result<(), Error>);

/// A running service.
pub struct Service {
    log: EventLog,
    projections: fleetlog_projections::Handle,
    http: SocketAddr,
    https: Option<SocketAddr>,
    mqtt: Option<SocketAddr>,
    mqtts: Option<SocketAddr>,
    broker: BrokerProbe,
    admin: Option<Admin>,
    stages: [Stage; 3],
}

/// Parts that stop together.
#[derive(Default)]
struct Stage {
    parts: JoinSet<End>,
    stop: CancellationToken,
}

impl Stage {
    fn add(&mut self, name: &'static str, part: impl Future<Output = Result<(), Error>> + Send + 'static) {
        self.parts.spawn(async move { (name, part.await) });
    }

    /// Adds a part that runs until the stage stops and cannot fail.
    fn run<F>(&mut self, name: &'static str, part: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let running = part(self.stop.clone());
        self.add(name, async move {
            running.await;
            Ok(())
        });
    }

    /// Waits until a part ends although no shutdown was requested. Never returns while the stage is empty.
    async fn ended_early(&mut self) -> Error {
        match self.parts.join_next().await {
            None => std::future::pending().await,
            Some(Err(error)) => error.into(),
            Some(Ok((_, Err(error)))) => error,
            Some(Ok((name, Ok(())))) => Error::Ended(name),
        }
    }

    async fn stop(mut self) -> Result<(), Error> {
        self.stop.cancel();
        let mut result = Ok(());
        while let Some(part) = self.parts.join_next().await {
            result = result.and(part.map_err(Error::from).and_then(|(_, ended)| ended));
        }
        result
    }
}

impl Service {
    /// Prepares the database, binds the addresses and starts every part. When it returns, messages are accepted.
    pub async fn start(mut options: Options) -> Result<Self, Error> {
        options.make_room();
        if options.migrate {
            options.database.migrate().await?;
        }
        let custody = options.audit_dir.as_deref().map(Custody::open_or_create).transpose()?;
        let log = EventLog::open(options.database).await?;
        log.read_archives(Arc::new(Copies::new(options.archive.clone())));
        let (email, password) = (options.admin_email, options.admin_password);
        let first = access::first_start(&log, email, password, options.secret.clone()).await?;
        let socket = listen(options.http)?;
        let address = socket.local_addr().map_err(|error| Error::Http(options.http, error))?;
        let mut listeners = vec![http::Listener::from(socket)];
        let https = match &options.tls {
            Some(Tls { https: Some(https), certificate, .. }) => {
                Some(listen_over_tls(*https, certificate, &mut listeners)?)
            }
            _ => None,
        };
        if let (Some(tls), Broker::Endpoint(endpoint)) = (&options.tls, &mut options.broker) {
            let (certificate, clients) = (tls.certificate.clone(), tls.clients.clone());
            endpoint.tls = tls.mqtts.map(|listen| server::Tls { listen, certificate, clients });
        }
        let mut settings = options.access;
        settings.public_url = settings.public_url.or_else(|| reachable(address));
        let letters = Letters::new(settings.public_url.as_ref());
        let access = Access::new(&log, first.keys, settings);
        access.quota.load().await?;
        let [mut edges, mut middle, mut core] = [Stage::default(), Stage::default(), Stage::default()];

        let (upkeep, counters) = (log.clone(), options.metrics.clone());
        core.run("the log's upkeep", async move |stop| upkeep.run(stop).await);
        core.run("the counters' upkeep", async move |stop| rest::metrics::upkeep(counters, stop).await);
        for (name, part) in access.background(&core.stop) {
            core.run(name, |_| part);
        }
        if let Some(place) = options.archive {
            let key = custody.as_ref().map(Custody::verifier);
            let archiver = Archiver::new(log.clone(), place).trusting(key);
            core.run("the archiver", async move |stop| archiver.run(stop).await);
        }
        let devices = Credentials::new(log.clone());
        let noting = devices.clone();
        core.run("the note of devices' logins", async move |stop| noting.run(stop).await);
        let runner = Projections::new(log.clone(), fleetlog_projections::Options::default());
        let (projections, stop) = (runner.handle(), core.stop.clone());
        core.add("projections", async move { Ok(runner.run(stop).await?) });

        let sequencer = Sequencer::new(log.clone(), custody);
        core.run("the proof of the logs", async move |stop| sequencer.run(stop).await);
        for address in options.witnesses {
            let witness = address.witness(&log)?;
            core.run("what a witness is sent", async move |stop| witness.run(stop).await);
        }

        let (ingest, inlet) = Ingest::new(log.clone(), ingest::Options::default());
        let stop = middle.stop.clone();
        middle.add("ingest", async move { Ok(ingest.run(stop).await?) });
        let delivery = mail::Delivery::new(log.clone(), options.mail);
        middle.run("the delivery of mails", async move |stop| delivery.run(stop).await);

        let Source { broker, addresses: [mqtt, mqtts], outlet, websockets } =
            start_broker(log.clone(), options.broker, inlet.clone(), devices.clone(), &mut edges).await?;
        let watched = (log.health().clone(), Arc::clone(&broker));
        core.run("the watch of the broker", |stop| rest::health::watch_broker(watched.0, watched.1, stop));
        starter_types::give_to_all(&log).await?;
        let evaluator = Evaluator::new(log.clone(), letters);
        middle.run("the evaluator of alarm rules", async move |stop| evaluator.run(stop).await);
        let dispatcher = Dispatcher::new(log.clone(), outlet);
        middle.run("the dispatcher", async move |stop| dispatcher.run(stop).await);
        let live = Live::new(log.clone(), edges.stop.clone());
        let webhooks = Webhooks::new(log.clone(), live.clone(), options.secret, options.webhooks)?;
        let deliverer = Deliverer::new(&webhooks);
        middle.run("the delivery to webhooks", async move |stop| deliverer.run(stop).await);
        let simulated = mqtt.filter(|_| options.simulations).map(simulations::at);
        let app = fleetlog_api::App::new(Parts {
            log: log.clone(),
            ingest: inlet,
            projections: projections.clone(),
            live,
            webhooks,
            access,
            simulations: Simulations::new(simulated, devices.clone(), edges.stop.clone()),
            devices,
            metrics: options.metrics,
            broker: Arc::clone(&broker),
            mqtt: MqttPorts { plain: mqtt.map(|at| at.port()), tls: mqtts.map(|at| at.port()) },
            settings: options.settings,
        });
        start_http(listeners, address, app, websockets, &mut edges);
        watch_files(options.tls, &mut edges);
        Ok(Self {
            log,
            projections,
            http: address,
            https,
            mqtt,
            mqtts,
            broker,
            admin: first.admin,
            stages: [edges, middle, core],
        })
    }

    /// Runs until `shutdown` or until a part ends by itself, and then stops all parts in order. When it returns, all
    /// acknowledged messages are committed.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        let [mut edges, mut middle, mut core] = self.stages;
        let cause = tokio::select! {
            () = shutdown.cancelled() => Ok(()),
            error = edges.ended_early() => Err(error),
            error = middle.ended_early() => Err(error),
            error = core.ended_early() => Err(error),
        };
        let mut result = cause;
        for stage in [edges, middle, core] {
            result = result.and(stage.stop().await);
        }
        self.log.close().await;
        result
    }

    /// The log.
    #[must_use]
    pub fn log(&self) -> &EventLog {
        &self.log
    }

    /// The projections.
    #[must_use]
    pub fn projections(&self) -> &fleetlog_projections::Handle {
        &self.projections
    }

    /// The address of HTTP.
    #[must_use]
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// The address of HTTP over TLS, if this process has one.
    #[must_use]
    pub fn https(&self) -> Option<SocketAddr> {
        self.https
    }

    /// The address of the MQTT endpoint, if this process has one.
    #[must_use]
    pub fn mqtt(&self) -> Option<SocketAddr> {
        self.mqtt
    }

    /// The address of the MQTT endpoint over TLS, if this process has one.
    #[must_use]
    pub fn mqtts(&self) -> Option<SocketAddr> {
        self.mqtts
    }

    /// A probe of whether devices' messages reach this process.
    #[must_use]
    pub fn broker(&self) -> BrokerProbe {
        Arc::clone(&self.broker)
    }

    /// The administrator that this start created.
    #[must_use]
    pub fn admin(&self) -> Option<&Admin> {
        self.admin.as_ref()
    }
}

/// The source of devices' messages, once it is started.
struct Source {
    broker: BrokerProbe,
    /// The endpoint's addresses, without TLS and over it.
    addresses: [Option<SocketAddr>; 2],
    /// The way of commands to devices.
    outlet: Arc<dyn CommandOutlet>,
    /// What takes over the WebSockets that devices open, if devices connect to this process.
    websockets: Option<WebSockets>,
}

/// Starts the source of devices' messages.
async fn start_broker(
    log: EventLog,
    broker: Broker,
    inlet: ingest::Handle,
    devices: Credentials,
    edges: &mut Stage,
) -> Result<Source, Error> {
    match broker {
        Broker::Endpoint(options) => {
            let sessions = Sessions::new(log);
            let listeners = Listeners::beside(&sessions);
            let endpoint = server::Endpoint::bind(options, inlet, devices, sessions).await?;
            let addresses = [Some(endpoint.address()), endpoint.tls_address()];
            let (outlet, taking) =
                (EveryNode::new(Arc::new(endpoint.outlet()), listeners), endpoint.websockets());
            let websockets: WebSockets = Arc::new(move |visitor: Visitor| {
                let client = server::Client { address: visitor.client(), must_log_in: visitor.must_log_in() };
                taking.take(client, visitor.stream()).map_err(|server::Full| NoRoom)
            });
            edges.run("the handover of commands", |stop| outlet.clone().run(stop));
            let outlet = Arc::new(outlet);
            let stop = edges.stop.clone();
            edges.add("the MQTT endpoint", async move {
                endpoint.run(stop).await;
                Ok(())
            });
            Ok(Source { broker: Arc::new(|| true), addresses, outlet, websockets: Some(websockets) })
        }
        Broker::External { options, takeover, tenant } => {
            let publisher = format!("{}-commands-{}", options.client_id, uuid::Uuid::now_v7().simple());
            let (outlet, handle) = publisher::Outlet::new(options.url.clone(), publisher);
            let acks = subscriber::Options {
                client_id: format!("{}-acks", options.client_id),
                filters: subscriber::ACKS,
                ..options.clone()
            };
            let (tell, filters) = watch::channel(vec![]);
            let foreign = Some(subscriber::Foreign { tenant: tenant.clone(), filters });
            let options = subscriber::Options { foreign, ..options };
            edges.run("the topics of sources", |stop| sources::tell_filters(log.clone(), tenant, tell, stop));
            let (telemetry, telemetry_status) = Subscriber::new(options, inlet.clone())?;
            let (acks, acks_status) = Subscriber::new(acks, inlet)?;
            let subscribed = {
                let (telemetry, acks) = (telemetry_status.clone(), acks_status.clone());
                move || telemetry.borrow().subscribed && acks.borrow().subscribed
            };
            let probe: BrokerProbe = if takeover {
                let consumer = Consumer::new(log, vec![(telemetry, telemetry_status), (acks, acks_status)]);
                let is_active = consumer.is_active();
                edges.run("the consumer of messages", async move |stop| consumer.run(stop).await);
                Arc::new(move || !is_active.load(Ordering::Relaxed) || subscribed())
            } else {
                edges.run("the subscription to telemetry", async move |stop| telemetry.run(stop).await);
                edges.run("the subscription to acknowledgements", async move |stop| acks.run(stop).await);
                Arc::new(subscribed)
            };
            let stop = edges.stop.clone();
            edges.add("the publisher of commands", async move {
                outlet.run(stop).await;
                Ok(())
            });
            Ok(Source { broker: probe, addresses: [None, None], outlet: Arc::new(handle), websockets: None })
        }
    }
}

/// Checks that the addresses are free, before what takes long is done. Nothing holds them afterwards.
pub fn check_addresses(
    http: SocketAddr,
    https: Option<SocketAddr>,
    mqtt: SocketAddr,
    mqtts: Option<SocketAddr>,
) -> Result<(), Error> {
    listen(http)?;
    if let Some(https) = https {
        TcpListener::bind(https).map_err(|error| Error::Https(https, error))?;
    }
    for address in [Some(mqtt), mqtts].into_iter().flatten() {
        TcpListener::bind(address).map_err(|source| server::Error::Bind { address, source })?;
    }
    Ok(())
}

fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).map_err(|error| Error::Http(address, error))
}

/// Adds the listener for HTTP over TLS, and returns its address.
fn listen_over_tls(
    https: SocketAddr,
    certificate: &Certificate,
    listeners: &mut Vec<http::Listener>,
) -> Result<SocketAddr, Error> {
    let failed = |error| Error::Https(https, error);
    let socket = TcpListener::bind(https).map_err(failed)?;
    let address = socket.local_addr().map_err(failed)?;
    listeners.push(http::Listener { socket, tls: Some(certificate.acceptor(&http::PROTOCOLS, None)?) });
    Ok(address)
}

/// The address with which a browser on this machine reaches a listener.
fn reachable(address: SocketAddr) -> Option<::http::Uri> {
    let url = if address.ip().is_unspecified() {
        format!("http://localhost:{}", address.port())
    } else {
        format!("http://{address}")
    };
    url.parse().ok()
}

/// Follows changes of the certificates' files.
fn watch_files(tls: Option<Tls>, edges: &mut Stage) {
    let Some(Tls { certificate, clients, .. }) = tls else { return };
    edges.run("the watch of the certificate", |stop| certificate.watch(stop));
    edges.run("the watch of the devices' authorities", |stop| clients.watch(stop));
}

fn start_http(
    listeners: Vec<http::Listener>,
    address: SocketAddr,
    app: fleetlog_api::App,
    websockets: Option<WebSockets>,
    edges: &mut Stage,
) {
    let stop = edges.stop.clone();
    edges.add("HTTP", async move {
        let limits = app.limits();
        http::serve(listeners, rest::router(app, fleetlog_dashboard::answer, websockets), limits, stop)
            .await
            .map_err(|error| Error::Http(address, error))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_protocol_takes_the_others_descriptors() {
        assert_eq!(shares(1300, 2000, 11_000), (200, 1100));
        assert_eq!(shares(1300, 2000, 0), (1300, 1));
        assert_eq!(shares(0, 2000, 11_000), (1, 1));
    }
}
