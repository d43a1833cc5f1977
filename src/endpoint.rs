//! The built-in MQTT endpoint: devices connect here when there is no broker of their own.
//!
//! The protocol is mqtt5's, used as a library; what surrounds it is ours: this file owns the socket, the number of
//! connections and their end. Every publish goes to ingest, and its acknowledgement leaves when the message's fate is
//! committed. Nothing is ever forwarded from one client to another, nothing is retained, no session outlives its
//! connection: the log is the only memory. What devices receive are commands, from the [`dispatcher`](crate::dispatcher).
//!
//! mqtt5 serves one packet of a connection at a time. While a publish waits for the database, that connection's
//! further packets wait in its socket, pings among them: a database that stalls for longer than a client's patience
//! makes the client reconnect and send again, which is what an unacknowledged message is for.
//!
//! - [`connection`]: what happens to one connection's packets
//! - [`access`]: who may connect, publish and subscribe
//! - [`audience`]: who listens for commands, and the way to them

mod access;
mod audience;
mod connection;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mqtt5::broker::BrokerConfig;
use mqtt5::broker::client_handler::ClientHandler;
use mqtt5::broker::resource_monitor::{ResourceLimits, ResourceMonitor};
use mqtt5::broker::router::MessageRouter;
use mqtt5::broker::sys_topics::BrokerStats;
use mqtt5::broker::transport::BrokerTransport;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::ingest;
use audience::Audience;
pub use audience::Outlet;
use connection::{Connection, Roster};

/// The largest packet, in bytes. A larger one ends its connection. It exceeds the largest payload that becomes an
/// event, so that a payload a little too large is quarantined and acknowledged instead of sent again for ever.
const MAX_PACKET: usize = 1 << 20;
/// How often what connections left behind is swept up.
const SWEEP_EVERY: Duration = Duration::from_mins(1);
/// The pause after a failure to accept, which is nearly always a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where to listen, and for how many.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Lets anyone who reaches `listen` publish as any device, even from other machines.
    pub open_to_network: bool,
    /// The most connections at a time, those that have not said CONNECT yet among them. More are closed at once.
    pub connections: usize,
    /// How long a publish waits to be stored before its connection is closed without an acknowledgement.
    pub patience: Duration,
    /// How long a shutdown waits for publishes that are being stored.
    pub drain: Duration,
}

impl Options {
    /// Listens for at most 10,000 connections.
    #[must_use]
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            open_to_network: false,
            connections: 10_000,
            patience: Duration::from_mins(1),
            drain: Duration::from_secs(10),
        }
    }
}

/// Why the endpoint cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken, not ours, or not allowed.
    #[error("listen for MQTT on {address}: {source}")]
    Bind {
        /// Where it should have listened.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// Devices connect without credentials, and other machines could.
    #[error(
        "listen for MQTT on {0}: devices connect without credentials, which is for loopback addresses only"
    )]
    OpenToNetwork(SocketAddr),
}

/// The component, already listening. [`Endpoint::run`] it.
pub struct Endpoint {
    listener: TcpListener,
    address: SocketAddr,
    server: Server,
}

/// What all connections share.
struct Server {
    options: Options,
    ingest: ingest::Handle,
    roster: Arc<Roster>,
    audience: Audience,
    config: BrokerConfig,
    router: Arc<MessageRouter>,
    stats: Arc<BrokerStats>,
    resources: Arc<ResourceMonitor>,
}

impl Endpoint {
    /// Starts to listen. Clients wait until [`Endpoint::run`] serves them.
    pub async fn bind(options: Options, ingest: ingest::Handle) -> Result<Self, Error> {
        let address = options.listen;
        if !options.open_to_network && !address.ip().is_loopback() {
            return Err(Error::OpenToNetwork(address));
        }
        let bind = async {
            let listener = TcpListener::bind(address).await?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        let (listener, address) = bind.await.map_err(|source| Error::Bind { address, source })?;
        Ok(Self { listener, address, server: Server::new(options, ingest) })
    }

    /// Where it listens: the port that was taken, where port 0 was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The way of commands to the devices that are connected here.
    #[must_use]
    pub fn outlet(&self) -> Outlet {
        Outlet::new(self.server.audience.clone(), Arc::clone(&self.server.router))
    }

    /// Serves until `shutdown`, then accepts no more, lets publishes that are being stored finish, says DISCONNECT to
    /// everyone, and returns.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { listener, server, .. } = self;
        let room = Arc::new(Semaphore::new(server.options.connections));
        let mut connections = JoinSet::new();
        let mut sweeps = tokio::time::interval(SWEEP_EVERY);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(ended) = connections.join_next() => note_end(ended),
                _ = sweeps.tick() => server.router.sweep_sessions().await,
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => match Arc::clone(&room).try_acquire_owned() {
                        Ok(room) => drop(connections.spawn(server.serve(stream, peer, room, shutdown.clone()))),
                        Err(_) => metrics::counter!("fleetlog_mqtt_connections_refused_total").increment(1),
                    },
                    Err(error) => {
                        tracing::warn!(%error, "failed to accept an MQTT connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(listener);
        while let Some(ended) = connections.join_next().await {
            note_end(ended);
        }
    }
}

/// A connection that panics takes nothing else with it, but must not go unseen.
fn note_end(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        metrics::counter!("fleetlog_mqtt_panics_total").increment(1);
        tracing::error!(%error, "an MQTT connection ended in a panic");
    }
}

impl Server {
    fn new(options: Options, ingest: ingest::Handle) -> Self {
        let config = BrokerConfig {
            bind_addresses: Vec::new(),
            max_packet_size: MAX_PACKET,
            // What a client may make this process remember, each with a small bound.
            session_expiry_interval: Duration::ZERO,
            topic_alias_maximum: 8,
            max_subscriptions_per_client: 8,
            server_receive_maximum: Some(256),
            client_channel_capacity: 64,
            wildcard_subscription_available: false,
            shared_subscription_available: false,
            sys_topics_enabled: false,
            ..BrokerConfig::default()
        };
        let limits = ResourceLimits {
            // Connections are limited before they reach mqtt5, which counts them only after CONNECT.
            max_connections: usize::MAX,
            max_connections_per_ip: usize::MAX,
            max_connection_rate: u32::MAX,
            max_message_rate_per_client: 0,
            max_bandwidth_per_client: 0,
            ..ResourceLimits::default()
        };
        Self {
            options,
            ingest,
            roster: Arc::default(),
            audience: Audience::default(),
            config,
            router: Arc::new(MessageRouter::new()),
            stats: Arc::new(BrokerStats::new()),
            resources: Arc::new(ResourceMonitor::new(limits)),
        }
    }

    /// Serves one connection to its end.
    fn serve(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        room: OwnedSemaphorePermit,
        shutdown: CancellationToken,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (hang_up, ending) = broadcast::channel(1);
        let connection = Arc::new(Connection::new(
            self.ingest.clone(),
            Arc::clone(&self.roster),
            self.audience.clone(),
            self.options.patience,
            hang_up,
        ));
        // Publishes are small and their acknowledgements awaited. Without it they are merely slower.
        let _ = stream.set_nodelay(true);
        let mut config = self.config.clone();
        config.event_handler = Some(Arc::clone(&connection) as Arc<_>);
        let handler = ClientHandler::new(
            BrokerTransport::tcp(stream),
            peer,
            Arc::new(config),
            Arc::clone(&self.router),
            Arc::clone(&connection) as Arc<_>,
            None,
            Arc::clone(&self.stats),
            Arc::clone(&self.resources),
            ending,
        );
        let drain = self.options.drain;
        async move {
            metrics::gauge!("fleetlog_mqtt_connections").increment(1.0);
            connection.serve(handler, shutdown, drain).await;
            metrics::gauge!("fleetlog_mqtt_connections").decrement(1.0);
            drop(room);
        }
    }
}
