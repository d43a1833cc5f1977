//! The built-in MQTT endpoint: devices connect here when there is no broker of their own.
//!
//! The protocol is mqtt5's, used as a library; what surrounds it is ours: this file owns the socket, the number of
//! connections and their end. Every publish goes to ingest, and its acknowledgement leaves when the message's fate is
//! committed. Nothing is ever forwarded from one client to another, nothing is retained, no session outlives its
//! connection: the log is the only memory. What devices receive are commands, from the [`dispatcher`](fleetlog_engine::dispatch).
//!
//! mqtt5 serves one packet of a connection at a time, and a publish of `QoS` 2 holds up those after it until it is stored.
//! One of `QoS` 1 does not: it is handed to ingest, and acknowledged in its turn. A database that stalls for longer than
//! [`Options::patience`] makes the client reconnect and send again, which is what an unacknowledged message is for.
//!
//! - [`auth`]: who may connect, publish and subscribe
//! - [`connection`]: what happens to one connection's packets
//! - [`acks`]: its publishes that are being stored, and their acknowledgements
//! - [`transport`]: its bytes
//! - [`sessions`]: who is connected here, and for how long
//! - [`subscriptions`]: who listens for commands, and the way to them

mod acks;
mod auth;
mod connection;
mod sessions;
mod subscriptions;
mod transport;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fleetlog_engine::devices::credentials::{Credentials, Secret};
use fleetlog_engine::ingest;
use mqtt5::broker::BrokerConfig;
use mqtt5::broker::client_handler::ClientHandler;
use mqtt5::broker::resource_monitor::{ResourceLimits, ResourceMonitor};
use mqtt5::broker::router::MessageRouter;
use mqtt5::broker::sys_topics::BrokerStats;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

pub use auth::Auth;
pub use subscriptions::Outlet;

use crate::instruments;
use acks::{Answers, UNDER_WAY};
use auth::Gate;
use connection::Connection;
use sessions::Roster;
use subscriptions::Audience;

/// The largest packet, in bytes. A larger one ends its connection. The limit exceeds the largest payload that becomes
/// an event, so that a slightly larger payload is quarantined and acknowledged instead of sent again for ever.
const MAX_PACKET: usize = 1 << 20;
/// The pause after a failed accept. The cause is nearly always a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where to listen, for which clients, and how many.
#[derive(Debug, Clone)]
pub struct Options {
    /// The address to listen on. Port 0 takes a free port.
    pub listen: SocketAddr,
    /// Which clients may connect.
    pub auth: Auth,
    /// The login of devices in this process: with this secret a client may be any device. It is made at the start, and
    /// never leaves the process.
    pub in_process: Option<Secret>,
    /// The most connections at a time, including those that have not sent CONNECT. Further ones are closed at once.
    pub connections: usize,
    /// How long a publish may wait to be stored. After that its connection is closed, and the publish stays
    /// unacknowledged.
    pub patience: Duration,
    /// How long a shutdown waits for publishes that are being stored.
    pub drain: Duration,
}

impl Options {
    /// At most 11,000 connections: 10,000 devices, and devices that connect again before their old connection is known
    /// to be dead. Without credentials on loopback, with credentials on any other address.
    #[must_use]
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            auth: if listen.ip().is_loopback() { Auth::Open } else { Auth::Required },
            in_process: None,
            connections: 11_000,
            patience: Duration::from_mins(1),
            drain: Duration::from_secs(10),
        }
    }
}

/// Why the endpoint does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is in use, or does not belong to this machine.
    #[error("listen for MQTT on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: std::io::Error,
    },
}

/// The endpoint, already listening. Start it with [`Endpoint::run`].
pub struct Endpoint {
    listener: TcpListener,
    address: SocketAddr,
    server: Server,
}

/// What all connections share.
struct Server {
    options: Options,
    gate: Arc<Gate>,
    ingest: ingest::Handle,
    roster: Arc<Roster>,
    audience: Audience,
    config: BrokerConfig,
    stats: Arc<BrokerStats>,
    resources: Arc<ResourceMonitor>,
}

impl Endpoint {
    /// Starts to listen. Clients wait until [`Endpoint::run`] serves them.
    pub async fn bind(
        options: Options,
        ingest: ingest::Handle,
        credentials: Credentials,
    ) -> Result<Self, Error> {
        let address = options.listen;
        let bind = async {
            let listener = TcpListener::bind(address).await?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        let (listener, address) = bind.await.map_err(|source| Error::Bind { address, source })?;
        Ok(Self { listener, address, server: Server::new(options, ingest, credentials) })
    }

    /// The address that it listens on, with the port that was taken for port 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The outlet to the devices that are connected to this endpoint.
    #[must_use]
    pub fn outlet(&self) -> Outlet {
        Outlet::new(self.server.audience.clone())
    }

    /// Serves until `shutdown`. Then it accepts no more connections, lets publishes that are being stored finish, sends
    /// DISCONNECT to all clients, and returns.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { listener, server, .. } = self;
        let serve = server.accept(listener, shutdown.clone());
        tokio::join!(serve, server.roster.keep(&server.gate.credentials, &shutdown));
    }
}

/// A connection that panics takes nothing else with it, but must not go unseen.
fn note_end(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        instruments::PANICS.increment(1);
        tracing::error!(%error, "an MQTT connection ended in a panic");
    }
}

impl Server {
    fn new(options: Options, ingest: ingest::Handle, credentials: Credentials) -> Self {
        let config = BrokerConfig {
            bind_addresses: Vec::new(),
            max_packet_size: MAX_PACKET,
            // What a client may make this process remember, each with a small bound.
            session_expiry_interval: Duration::ZERO,
            topic_alias_maximum: 8,
            max_subscriptions_per_client: 8,
            server_receive_maximum: Some(UNDER_WAY),
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
        let in_process = options.in_process.clone();
        let gate = Arc::new(Gate { auth: options.auth, in_process, credentials });
        Self {
            options,
            gate,
            ingest,
            roster: Arc::default(),
            audience: Audience::default(),
            config,
            stats: Arc::new(BrokerStats::new()),
            resources: Arc::new(ResourceMonitor::new(limits)),
        }
    }

    /// Accepts connections until `shutdown`, and returns when all have ended.
    async fn accept(&self, listener: TcpListener, shutdown: CancellationToken) {
        let room = Arc::new(Semaphore::new(self.options.connections));
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(ended) = connections.join_next() => note_end(ended),
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => match Arc::clone(&room).try_acquire_owned() {
                        Ok(room) => drop(connections.spawn(self.serve(stream, peer, room, shutdown.clone()))),
                        Err(_) => instruments::CONNECTIONS_REFUSED.increment(1),
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

    /// Serves one connection to its end.
    fn serve(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        room: OwnedSemaphorePermit,
        shutdown: CancellationToken,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (hang_up, ending) = broadcast::channel(1);
        let router = Arc::new(MessageRouter::new());
        // Publishes are small and their acknowledgements awaited. Without it they are merely slower.
        let _ = stream.set_nodelay(true);
        let (transport, outgoing) = transport::split(stream);
        let connection = Arc::new(Connection::new(
            Arc::clone(&self.gate),
            self.ingest.for_connection(),
            Arc::clone(&self.roster),
            self.audience.clone(),
            Arc::clone(&router),
            Answers::new(outgoing, self.options.patience),
            hang_up,
        ));
        let mut config = self.config.clone();
        config.event_handler = Some(Arc::clone(&connection) as Arc<_>);
        let handler = ClientHandler::new(
            transport,
            peer,
            Arc::new(config),
            router,
            Arc::clone(&connection) as Arc<_>,
            None,
            Arc::clone(&self.stats),
            Arc::clone(&self.resources),
            ending,
        );
        let drain = self.options.drain;
        // Boxed here, it is not part of the task as well.
        let run = Box::pin(handler.run());
        async move {
            instruments::CONNECTIONS.increment(1.0);
            connection.serve(run, shutdown, drain).await;
            instruments::CONNECTIONS.decrement(1.0);
            drop(room);
        }
    }
}
