//! The built-in MQTT endpoint: devices connect here when there is no broker of their own.
//!
//! A connection is one task: [`greeting`] until its client is let in, then [`connection`]. Every publish goes to ingest, and
//! its acknowledgement leaves when the message's fate is committed. Nothing is ever forwarded from one client to another, and
//! nothing is retained: the log is the only memory. What devices receive are commands, from the
//! [`dispatcher`](fleetlog_engine::dispatch). A session that a client asks to be kept is in the database
//! ([`sessions`](fleetlog_engine::devices::sessions)): what it listens to, and what it may send again.
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
//! - [`websocket`]: MQTT over WebSocket, once another listener has opened one
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
mod websocket;

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use fleetlog_aggregates::identity::Tenant;
use fleetlog_engine::devices::connections::Connections;
use fleetlog_engine::devices::credentials::{Credentials, Secret};
use fleetlog_engine::devices::sessions::{Client as SessionClient, Left, Sessions};
use fleetlog_engine::ingest;
use fleetlog_tls::Certificate;
use fleetlog_tls::clients::{Clients, Shown};
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{JoinError, JoinSet, yield_now};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

pub use auth::Auth;
pub use subscriptions::Outlet;

use crate::instruments;
use auth::Gate;
use connection::Connection;
use limits::{Budget, Network};
use outgoing::Outgoing;
use sessions::Roster;
use subscriptions::Subscriptions;
use websocket::WebSocket;

/// The pause after a failed accept. The cause is nearly always a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where to listen, for which clients, and how many.
#[derive(Debug, Clone)]
pub struct Options {
    /// The address to listen on. Port 0 takes a free port.
    pub listen: SocketAddr,
    /// Where to listen over TLS as well, if anywhere.
    pub tls: Option<Tls>,
    /// Which clients may connect.
    pub auth: Auth,
    /// The tenant whose sources say what foreign topics of clients without a login mean. `None`: they mean nothing.
    pub tenant: Option<Tenant>,
    /// The login of devices in this process: with this secret a client may be any device. It is made at the start, and
    /// never leaves the process.
    pub in_process: Option<Secret>,
    /// The most connections at a time, including those that have not sent CONNECT. Further ones are closed at once.
    pub connections: usize,
    /// How many bytes there are for the ids of publishes of `QoS` 2 that clients do not release. Half of them are for the
    /// clients of one address. A client that needs more is ended.
    pub unreleased: usize,
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
            tls: None,
            auth: Auth::usual([listen]),
            tenant: None,
            in_process: None,
            connections: 11_000,
            unreleased: limits::UNRELEASED,
            patience: Duration::from_mins(1),
            drain: Duration::from_secs(10),
        }
    }
}

/// A listener over TLS.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The address to listen on. Port 0 takes a free port.
    pub listen: SocketAddr,
    /// The certificate.
    pub certificate: Certificate,
    /// What is made of the certificates that clients show.
    pub clients: Clients,
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
    /// The certificate cannot be used.
    #[error("listen for MQTT over TLS: {0}")]
    Tls(#[from] fleetlog_tls::Error),
}

/// The endpoint, already listening. Start it with [`Endpoint::run`].
pub struct Endpoint {
    listeners: Vec<Listener>,
    server: Arc<Server>,
    websockets: WebSockets,
    arrivals: mpsc::UnboundedReceiver<Arrival>,
}

/// The way in for WebSockets that another listener has opened. Cheap to clone.
#[derive(Clone)]
pub struct WebSockets {
    room: Arc<Semaphore>,
    arrivals: mpsc::UnboundedSender<Arrival>,
}

/// A client that opens a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// Its address.
    pub address: IpAddr,
    /// Whether it needs credentials where the endpoint is open to others, because it may not be what it seems.
    pub must_log_in: bool,
}

/// There are as many connections as there may be, or the endpoint stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no room for another MQTT connection")]
pub struct Full;

/// A WebSocket that has been given room among the connections, and serves itself.
struct Arrival {
    room: OwnedSemaphorePermit,
    serve: Box<dyn FnOnce(Arc<Server>, CancellationToken) -> BoxFuture<'static, ()> + Send>,
}

/// A socket that clients connect to.
struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    tls: Option<Greeter>,
}

/// Greets clients over TLS.
#[derive(Clone)]
struct Greeter {
    acceptor: TlsAcceptor,
    clients: Clients,
}

/// What is known of a client before it says anything.
struct Peer {
    network: Network,
    /// Whether it needs credentials where the endpoint is open to others.
    must_log_in: bool,
    /// The certificate that it has shown.
    shown: Option<Shown>,
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self { network: address.ip().into(), must_log_in: false, shown: None }
    }
}

impl From<Client> for Peer {
    fn from(Client { address, must_log_in }: Client) -> Self {
        Self { network: address.into(), must_log_in, shown: None }
    }
}

/// What all connections share.
struct Server {
    options: Options,
    /// For how many connections there is room.
    room: Arc<Semaphore>,
    gate: Gate,
    ingest: ingest::Handle,
    roster: Roster,
    subscriptions: Subscriptions,
    /// The bytes of TLS handshakes.
    handshakes: Arc<Budget>,
    sessions: Sessions,
    connections: Connections,
    /// Lets some clients at a time go on from their first packet.
    turnstile: Semaphore,
    /// The bytes of unfinished packets of clients that have not logged in.
    before_login: Arc<Budget>,
    /// The bytes of unfinished packets of clients that have.
    after_login: Arc<Budget>,
    /// The ids of publishes that clients do not release.
    unreleased: Arc<Budget>,
}

impl Endpoint {
    /// Starts to listen. Clients wait until [`Endpoint::run`] serves them.
    pub async fn bind(
        options: Options,
        ingest: ingest::Handle,
        credentials: Credentials,
        sessions: Sessions,
    ) -> Result<Self, Error> {
        let mut listeners = vec![Listener::bind(options.listen, None).await?];
        if let Some(Tls { listen, certificate, clients }) = &options.tls {
            let acceptor = certificate.acceptor(&[], Some(clients))?;
            let tls = Greeter { acceptor, clients: clients.clone() };
            listeners.push(Listener::bind(*listen, Some(tls)).await?);
        }
        let server = Arc::new(Server::new(options, ingest, credentials, sessions));
        let (sender, arrivals) = mpsc::unbounded_channel();
        let websockets = WebSockets { room: Arc::clone(&server.room), arrivals: sender };
        Ok(Self { listeners, server, websockets, arrivals })
    }

    /// The way in for WebSockets.
    #[must_use]
    pub fn websockets(&self) -> WebSockets {
        self.websockets.clone()
    }

    /// The address that it listens on, with the port that was taken for port 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listeners[0].address
    }

    /// The address that it listens on over TLS, if there is one.
    #[must_use]
    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.listeners.get(1).map(|listener| listener.address)
    }

    /// The outlet to the devices that are connected to this endpoint.
    #[must_use]
    pub fn outlet(&self) -> Outlet {
        Outlet::new(self.server.subscriptions.clone())
    }

    /// Serves until `shutdown`. Then it accepts no more connections, lets publishes that are being stored finish, sends
    /// DISCONNECT to all clients, and returns.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { listeners, server, arrivals, websockets: _ } = self;
        let serve = accept(&server, listeners, arrivals, shutdown.clone());
        let kept_up = server.sessions.keep_up(&shutdown);
        let arrivals = async {
            let hear = server.sessions.hear_arrivals(|arrival| server.roster.arrived_elsewhere(arrival));
            tokio::join!(server.sessions.tell_arrivals(), hear)
        };
        let arrivals = shutdown.run_until_cancelled(arrivals);
        let wills = server.sessions.say_wills(&server.ingest, &shutdown);
        let connections = server.connections.keep_up(&shutdown);
        tokio::join!(
            serve,
            server.roster.keep(&server.gate.credentials, &shutdown),
            kept_up,
            arrivals,
            wills,
            connections
        );
        if let Err(error) = server.connections.write().await {
            tracing::warn!(%error, "failed to note when devices were last heard of; they count as heard of until now");
        }
        if let Err(error) = server.sessions.leave_all().await {
            tracing::warn!(%error, "failed to note that the devices' sessions were left; they are taken for left later");
        }
    }
}

impl WebSockets {
    /// Serves a client over the WebSocket that is about to be open: with the rules, the limits and the budgets that a connection
    /// over TCP has. It counts as one of them from now on.
    ///
    /// # Errors
    ///
    /// [`Full`]; then `opening` is dropped.
    pub fn take<S, E>(
        &self,
        client: Client,
        opening: impl Future<Output = Result<S, E>> + Send + 'static,
    ) -> Result<(), Full>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        E: Send + 'static,
    {
        let Ok(room) = Arc::clone(&self.room).try_acquire_owned() else {
            instruments::CONNECTIONS_REFUSED.increment(1);
            return Err(Full);
        };
        let serve = Box::new(move |server, shutdown| {
            let serving: BoxFuture<'static, ()> =
                Box::pin(serve_over_websocket(server, opening, client.into(), shutdown));
            serving
        });
        self.arrivals.send(Arrival { room, serve }).map_err(|_| Full)
    }
}

/// A connection that panics takes nothing else with it, but must not go unseen.
fn note_end(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        instruments::PANICS.increment(1);
        tracing::error!(%error, "an MQTT connection ended in a panic");
    }
}

impl Listener {
    async fn bind(address: SocketAddr, tls: Option<Greeter>) -> Result<Self, Error> {
        let bind = async {
            let socket = TcpListener::bind(address).await?;
            let address = socket.local_addr()?;
            Ok(Self { socket, address, tls })
        };
        bind.await.map_err(|source| Error::Bind { address, source })
    }

    /// The next connection to one of them.
    async fn accept(listeners: &[Self]) -> io::Result<(TcpStream, SocketAddr, Option<Greeter>)> {
        poll_fn(|context| {
            for Self { socket, tls, .. } in listeners {
                if let Poll::Ready(accepted) = socket.poll_accept(context) {
                    return Poll::Ready(accepted.map(|(stream, peer)| (stream, peer, tls.clone())));
                }
            }
            Poll::Pending
        })
        .await
    }
}

impl Server {
    fn new(options: Options, ingest: ingest::Handle, credentials: Credentials, sessions: Sessions) -> Self {
        let in_process = options.in_process.clone();
        let unreleased = Budget::new(options.unreleased);
        Self {
            gate: Gate { auth: options.auth, in_process, credentials },
            room: Arc::new(Semaphore::new(options.connections)),
            turnstile: Semaphore::new(limits::AT_A_TURN),
            options,
            ingest,
            roster: Roster::default(),
            subscriptions: Subscriptions::default(),
            handshakes: Budget::new(limits::HANDSHAKES),
            connections: Connections::beside(&sessions),
            sessions,
            before_login: Budget::new(limits::BEFORE_LOGIN),
            after_login: Budget::new(limits::AFTER_LOGIN),
            unreleased,
        }
    }
}

impl Server {
    /// Says a will now, unless its device is back already.
    async fn say(&self, client: SessionClient, left: Left) {
        let is_back = self.roster.has(client)
            || self.connections.is_back(left.will.device(), left.heard_at).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "failed to ask whether a device is connected again; its will is said");
                false
            });
        if !is_back {
            // If ingest is closing, so is this node: its end is not the device's.
            let _ = left.say(&self.ingest).await;
        }
    }
}

/// Accepts connections until `shutdown`, and returns when all have ended.
async fn accept(
    server: &Arc<Server>,
    listeners: Vec<Listener>,
    mut arrivals: mpsc::UnboundedReceiver<Arrival>,
    shutdown: CancellationToken,
) {
    let mut connections = JoinSet::new();
    let mut accepted_at_a_turn = 0;
    loop {
        if accepted_at_a_turn == limits::AT_A_TURN {
            accepted_at_a_turn = 0;
            yield_now().await;
        }
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(ended) = connections.join_next() => note_end(ended),
            Some(Arrival { room, serve }) = arrivals.recv() => {
                let serving = serve(Arc::clone(server), shutdown.clone());
                connections.spawn(counted(room, serving));
            }
            accepted = Listener::accept(&listeners) => match accepted {
                Ok((stream, peer, tls)) => match Arc::clone(&server.room).try_acquire_owned() {
                    Ok(room) => {
                        accepted_at_a_turn += 1;
                        // Publishes are small and their acknowledgements awaited. Without it they are merely slower.
                        let _ = stream.set_nodelay(true);
                        let (server, shutdown) = (Arc::clone(server), shutdown.clone());
                        connections.spawn(counted(room, async move {
                            match tls {
                                None => serve(server, stream, peer.into(), shutdown).await,
                                Some(tls) => {
                                    // Boxed, what TLS needs is not part of the others' tasks.
                                    Box::pin(serve_over_tls(server, stream, peer.into(), tls, shutdown)).await;
                                }
                            }
                        }));
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
    drop((listeners, arrivals));
    while let Some(ended) = connections.join_next().await {
        note_end(ended);
    }
}

/// Serves one connection, which counts for as long.
async fn counted(room: OwnedSemaphorePermit, serving: impl Future<Output = ()>) {
    instruments::CONNECTIONS.increment(1.0);
    serving.await;
    instruments::CONNECTIONS.decrement(1.0);
    drop(room);
}

/// Serves one connection over WebSocket to its end, once it is open.
async fn serve_over_websocket<S: AsyncRead + AsyncWrite + Unpin, E>(
    server: Arc<Server>,
    opening: impl Future<Output = Result<S, E>>,
    peer: Peer,
    shutdown: CancellationToken,
) {
    let opening = Box::pin(timeout(limits::LOGIN, opening));
    // A client that leaves before the answer to its handshake gets none.
    let Some(Ok(Ok(stream))) = shutdown.run_until_cancelled(opening).await else { return };
    let mut socket = WebSocket::new(stream);
    serve(server, &mut socket, peer, shutdown).await;
    // However MQTT has ended, a WebSocket has an end of its own.
    Box::pin(Outgoing::default().farewell(socket)).await;
}

/// Serves one connection over TLS to its end.
async fn serve_over_tls(
    server: Arc<Server>,
    stream: TcpStream,
    peer: Peer,
    tls: Greeter,
    shutdown: CancellationToken,
) {
    let number = server.roster.number();
    let greeting = async {
        let share =
            poll_fn(|context| server.handshakes.poll_take(peer.network, limits::HANDSHAKE, number, context));
        let _share = share.await;
        tls.acceptor.accept(stream).await
    };
    let greeting = Box::pin(timeout(limits::LOGIN, greeting));
    let greeted = shutdown.run_until_cancelled(greeting).await;
    server.handshakes.give_up(number);
    // A client that does not speak TLS gets no answer.
    if let Some(Ok(Ok(stream))) = greeted {
        let peer = Peer { shown: tls.clients.shown(stream.get_ref().1), ..peer };
        serve(server, stream, peer, shutdown).await;
    }
}

/// Serves one connection to its end.
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    server: Arc<Server>,
    mut stream: S,
    peer: Peer,
    shutdown: CancellationToken,
) {
    let network = peer.network;
    // Boxed, the greeting takes no room for as long as the conversation lasts.
    let greeting = Box::pin(greeting::greet(&server, &mut stream, peer));
    match shutdown.run_until_cancelled(greeting).await {
        Some(Ok(guest)) => Connection::new(server, stream, network, guest).serve(shutdown).await,
        // A client that has sent no MQTT gets no answer.
        Some(Err(outgoing)) if outgoing.bytes.is_empty() => {}
        Some(Err(outgoing)) => Box::pin(outgoing.farewell(stream)).await,
        None => {}
    }
}
