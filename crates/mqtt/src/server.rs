//! The built-in MQTT endpoint: devices connect here when there is no broker of their own.
//!
//! A connection is one task: [`greeting`] until its client is let in, then [`connection`]. Every publish goes to ingest, and
//! its acknowledgement leaves when the message's fate is committed. Nothing is ever forwarded from one client to another,
//! nothing is retained, no session outlives its connection: the log is the only memory. What devices receive are commands,
//! from the [`dispatcher`](fleetlog_engine::dispatch).
//!
//! A database that stalls for longer than [`Options::patience`] makes the client reconnect and send again, which is what an
//! unacknowledged message is for.
//!
//! - [`limits`]: what clients may make this process hold
//! - [`greeting`]: CONNECT and its answer
//! - [`auth`]: who may connect, publish and subscribe
//! - [`connection`]: the conversation with a client
//! - [`input`], [`outgoing`]: its bytes, in both directions
//! - [`acks`]: its publishes that are being stored, and their acknowledgements
//! - [`line`](mod@line): the way to a connection, for everybody else
//! - [`sessions`]: who is connected here, and for how long
//! - [`subscriptions`]: who listens for commands, and the way to them

mod acks;
mod auth;
mod connection;
mod greeting;
mod input;
mod limits;
mod line;
mod outgoing;
mod sessions;
mod subscriptions;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fleetlog_engine::devices::credentials::{Credentials, Secret};
use fleetlog_engine::ingest;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

pub use auth::Auth;
pub use subscriptions::Outlet;

use crate::instruments;
use auth::Gate;
use connection::Connection;
use limits::{Budget, Network};
use sessions::Roster;
use subscriptions::Subscriptions;

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
    server: Arc<Server>,
}

/// What all connections share.
struct Server {
    options: Options,
    gate: Gate,
    ingest: ingest::Handle,
    roster: Roster,
    subscriptions: Subscriptions,
    /// The bytes of unfinished packets of clients that have not logged in.
    before_login: Arc<Budget>,
    /// The bytes of unfinished packets of clients that have.
    after_login: Arc<Budget>,
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
        Ok(Self { listener, address, server: Arc::new(Server::new(options, ingest, credentials)) })
    }

    /// The address that it listens on, with the port that was taken for port 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The outlet to the devices that are connected to this endpoint.
    #[must_use]
    pub fn outlet(&self) -> Outlet {
        Outlet::new(self.server.subscriptions.clone())
    }

    /// Serves until `shutdown`. Then it accepts no more connections, lets publishes that are being stored finish, sends
    /// DISCONNECT to all clients, and returns.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { listener, server, .. } = self;
        let serve = accept(&server, listener, shutdown.clone());
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
        let in_process = options.in_process.clone();
        Self {
            gate: Gate { auth: options.auth, in_process, credentials },
            options,
            ingest,
            roster: Roster::default(),
            subscriptions: Subscriptions::default(),
            before_login: Budget::new(limits::BEFORE_LOGIN),
            after_login: Budget::new(limits::AFTER_LOGIN),
        }
    }
}

/// Accepts connections until `shutdown`, and returns when all have ended.
async fn accept(server: &Arc<Server>, listener: TcpListener, shutdown: CancellationToken) {
    let room = Arc::new(Semaphore::new(server.options.connections));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(ended) = connections.join_next() => note_end(ended),
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => match Arc::clone(&room).try_acquire_owned() {
                    Ok(room) => {
                        // Publishes are small and their acknowledgements awaited. Without it they are merely slower.
                        let _ = stream.set_nodelay(true);
                        let serve = serve(Arc::clone(server), stream, peer.ip().into(), shutdown.clone());
                        connections.spawn(async move {
                            instruments::CONNECTIONS.increment(1.0);
                            serve.await;
                            instruments::CONNECTIONS.decrement(1.0);
                            drop(room);
                        });
                    }
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
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    server: Arc<Server>,
    mut stream: S,
    network: Network,
    shutdown: CancellationToken,
) {
    // Boxed, the greeting takes no room for as long as the conversation lasts.
    let greeting = Box::pin(greeting::greet(&server, &mut stream, network));
    match shutdown.run_until_cancelled(greeting).await {
        Some(Ok(guest)) => Connection::new(server, stream, network, guest).serve(shutdown).await,
        Some(Err(outgoing)) => Box::pin(outgoing.farewell(stream)).await,
        None => {}
    }
}
