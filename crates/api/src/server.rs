//! Serves a router over HTTP/1.1 and, with TLS, over HTTP/2, and holds every connection to a budget: how many there are, how
//! long each may be silent, and how slowly its answers may be read.
//!
//! - [`connection`]: one connection, from its first byte to its last
//! - [`connections`]: the open connections, and which one makes room for another
//! - [`socket`]: a socket whose peer must keep reading
//! - [`streams`]: the answers of an HTTP/2 connection, each of which its peer must keep reading
//! - [`upgrades`]: connections that have become `WebSockets`
//! - [`held`]: a body that holds something until it is sent or dropped

mod connection;
mod connections;
pub(crate) mod held;
pub(crate) mod socket;
mod streams;
pub(crate) mod upgrades;

use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::task::{JoinError, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::rest::proxies::Proxies;
use connections::Connections;
use upgrades::Upgrades;

/// The application protocols (ALPN) of a listener with TLS, the best first.
pub const PROTOCOLS: [&str; 2] = ["h2", "http/1.1"];
/// How long a connection may be open without the whole head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer may wait for its client to read.
const UNREAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long open requests may run after `shutdown`.
const DRAIN: Duration = Duration::from_secs(10);
/// The longest head of a request, in bytes. As much is buffered for a connection at most, before anything is known of
/// its caller. Nginx allows as much.
pub const MAX_HEAD: usize = 32 * 1024;
/// How much of an answer the kernel takes before its peer reads, in bytes. Linux doubles it.
const SEND_BUFFER: usize = 128 * 1024;
/// The pause after a failed accept. The cause is nearly always a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The problem of a connection that there is no room for.
const NO_ROOM: &str = r#"{"title":"Service Unavailable","status":503,"code":"too_many_connections","detail":"try again in a second"}"#;

/// How many connections there may be.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The most connections at a time. A further one takes the place of the one that has been silent for longest. If
    /// every connection has a request under way, it is answered 503.
    pub connections: usize,
    /// The most connections from one address, or from one /64 of IPv6. Beyond it the same happens among them.
    pub per_address: usize,
    /// How long a connection may be open without the whole head of a request: at first, and after each answer.
    pub head: Duration,
    /// How long an answer may wait for its client to read. Longer, where the client reads slowly and steadily.
    pub unread: Duration,
    /// How long a stop waits for requests that are under way.
    pub drain: Duration,
    /// Proxies speak for many clients, so `per_address` does not hold for them.
    pub proxies: Vec<Proxies>,
}

impl Limits {
    /// The most connections, unless the operator says otherwise.
    pub const CONNECTIONS: usize = 2000;

    /// At most `connections`, and half of them from one address. Heads, unread answers and a stop may take 10 s.
    #[must_use]
    pub fn new(connections: usize, proxies: Vec<Proxies>) -> Self {
        let per_address = connections.div_ceil(2);
        Self { connections, per_address, head: HEAD_TIMEOUT, unread: UNREAD_TIMEOUT, drain: DRAIN, proxies }
    }
}

/// A socket that is bound, and what it speaks.
pub struct Listener {
    /// The socket.
    pub socket: TcpListener,
    /// With it, TLS.
    pub tls: Option<TlsAcceptor>,
}

impl From<TcpListener> for Listener {
    /// A listener without TLS.
    fn from(socket: TcpListener) -> Self {
        Self { socket, tls: None }
    }
}

/// Serves until `shutdown`, then waits for as long as the limits say for open requests and every WebSocket to end, and cuts the
/// others off. When it returns, no connection is left. The limits hold for all listeners together.
pub async fn serve(
    listeners: Vec<Listener>,
    router: Router,
    limits: Limits,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let listeners = Listeners::new(listeners)?;
    let no_room = format!(
        "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\n\
         content-type: application/problem+json\r\ncontent-length: {}\r\n\r\n{NO_ROOM}",
        NO_ROOM.len(),
    );
    let (drain, stopping) = (limits.drain, CancellationToken::new());
    let (connections, upgrades) = (Connections::new(limits), Upgrades::default());
    let mut serving = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(ended) = serving.join_next() => {
                note_end(ended);
                continue;
            }
            accepted = listeners.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer, tls)) => match connections.admit(peer.ip()) {
                Ok(place) => {
                    let (router, stopping, upgrades) = (router.clone(), stopping.clone(), upgrades.clone());
                    serving.spawn(connection::serve(stream, tls, peer, place, router, stopping, upgrades));
                }
                // Nobody waits for the client to read it. Over TLS it could not.
                Err(_) if tls.is_some() => {}
                Err(_) => drop(SockRef::from(&stream).send(no_room.as_bytes())),
            },
            Err(error) => {
                tracing::warn!(%error, "failed to accept an HTTP connection");
                connections.make_room();
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listeners);
    stopping.cancel();
    let all = async {
        while let Some(ended) = serving.join_next().await {
            note_end(ended);
        }
        upgrades.ended().await;
    };
    let _ = tokio::time::timeout(drain, all).await;
    // What has not ended by now is cut off, and has ended when this returns.
    serving.shutdown().await;
    upgrades.cut_off().await;
    Ok(())
}

fn note_end(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "serving an HTTP connection ended in a panic");
    }
}

/// The sockets of all listeners.
struct Listeners(Vec<(tokio::net::TcpListener, Option<TlsAcceptor>)>);

impl Listeners {
    fn new(listeners: Vec<Listener>) -> io::Result<Self> {
        let listeners = listeners.into_iter().map(|Listener { socket, tls }| {
            socket.set_nonblocking(true)?;
            SockRef::from(&socket).set_send_buffer_size(SEND_BUFFER)?;
            Ok((tokio::net::TcpListener::from_std(socket)?, tls))
        });
        listeners.collect::<io::Result<_>>().map(Self)
    }

    /// The next connection of any of them.
    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr, Option<TlsAcceptor>)> {
        poll_fn(|context| {
            for (listener, tls) in &self.0 {
                if let Poll::Ready(accepted) = listener.poll_accept(context) {
                    return Poll::Ready(accepted.map(|(stream, peer)| (stream, peer, tls.clone())));
                }
            }
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::body::Body;
    use axum::response::Response;
    use axum::routing::get;
    use held::hold;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;
    use tokio_rustls::rustls::crypto::aws_lc_rs;
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);

    async fn serving(router: Router, limits: Limits) -> TcpStream {
        stoppable(router, limits).await.0
    }

    /// A client of a server, the server's task, and what stops it.
    async fn stoppable(
        router: Router,
        limits: Limits,
    ) -> (TcpStream, JoinHandle<io::Result<()>>, CancellationToken) {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a socket");
        let address = socket.local_addr().expect("an address");
        let (stop, listeners) = (CancellationToken::new(), vec![socket.into()]);
        let server = tokio::spawn(serve(listeners, router, limits, stop.clone()));
        (TcpStream::connect(address).await.expect("a connection"), server, stop)
    }

    #[tokio::test]
    async fn a_connection_without_a_whole_head_is_closed() {
        for begun in ["", "P", "PRI * HTTP/2.0\r\n", "GET / HTTP/1.1\r\nhost: a\r\n"] {
            let limits = Limits { head: SHORT, ..Limits::new(9, vec![]) };
            let mut client = serving(Router::new(), limits).await;
            client.write_all(begun.as_bytes()).await.expect("sent");
            let mut answer = vec![];
            client.read_to_end(&mut answer).await.expect("an end");
            assert!(!answer.starts_with(b"HTTP/1.1 2"), "{begun:?}");
        }
    }

    /// A server of one large answer, with a client that has sent its request; and what tells that the answer was dropped.
    async fn asked(unread: Duration) -> (TcpStream, oneshot::Receiver<()>) {
        let (held, dropped) = oneshot::channel::<()>();
        let held = Arc::new(parking_lot::Mutex::new(Some(held)));
        let large =
            move || async move { hold(Response::new(Body::from(vec![0; 64 << 20])), held.lock().take()) };
        let limits = Limits { unread, ..Limits::new(1, vec![]) };
        let router = Router::new().route("/", get(large));
        let mut client = serving(router, limits).await;
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("sent");
        (client, dropped)
    }

    #[tokio::test]
    async fn an_answer_that_nobody_reads_is_dropped() {
        let (_client, dropped) = asked(SHORT).await;
        assert!(dropped.await.is_err(), "without a word");
    }

    /// A server with a request under way, which says when it begins and waits for a word.
    struct UnderWay {
        client: TcpStream,
        server: JoinHandle<io::Result<()>>,
        stop: CancellationToken,
        go_on: oneshot::Sender<()>,
        /// Ends with the request.
        held: oneshot::Receiver<()>,
    }

    async fn under_way(drain: Duration) -> UnderWay {
        let ((begun, beginning), (go_on, word)) = (oneshot::channel(), oneshot::channel::<()>());
        let (holds, held) = oneshot::channel::<()>();
        let once = Arc::new(parking_lot::Mutex::new(Some((begun, word, holds))));
        let slow = move || async move {
            let (begun, word, holds) = once.lock().take().expect("one request");
            begun.send(()).expect("somebody waits");
            let _ = word.await;
            drop(holds);
            "done"
        };
        let router = Router::new().route("/", get(slow));
        let (mut client, server, stop) = stoppable(router, Limits { drain, ..Limits::new(9, vec![]) }).await;
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("sent");
        beginning.await.expect("begun");
        UnderWay { client, server, stop, go_on, held }
    }

    #[tokio::test]
    async fn a_stop_waits_for_the_answer_that_is_under_way() {
        let UnderWay { mut client, server, stop, go_on, .. } = under_way(Duration::from_mins(1)).await;
        stop.cancel();
        let address = client.peer_addr().expect("an address");
        while TcpStream::connect(address).await.is_ok() {}
        go_on.send(()).expect("the request waits");
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("done"), "{answer}");
        server.await.expect("stopped").expect("served");
    }

    #[tokio::test]
    async fn a_stop_cuts_off_what_goes_on_for_too_long_and_leaves_no_connection() {
        let UnderWay { client: _client, server, stop, mut held, go_on } = under_way(SHORT).await;
        stop.cancel();
        server.await.expect("stopped").expect("served");
        assert_eq!(held.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        drop(go_on);
    }

    #[tokio::test]
    async fn an_answer_keeps_its_share_and_its_connection_until_it_is_read() {
        let (mut client, mut dropped) = asked(Duration::from_mins(1)).await;
        client.read_u8().await.expect("the beginning of the answer");
        let mut another =
            TcpStream::connect(client.peer_addr().expect("an address")).await.expect("a connection");
        let mut refusal = String::new();
        another.read_to_string(&mut refusal).await.expect("an answer");
        assert!(refusal.starts_with("HTTP/1.1 503 ") && refusal.ends_with('}'), "{refusal}");
        assert_eq!(dropped.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        let mut rest = vec![];
        while !matches!(dropped.try_recv(), Err(oneshot::error::TryRecvError::Closed)) {
            rest.clear();
            client.read_buf(&mut rest).await.expect("the answer");
        }
    }

    /// A server with TLS, and what its clients trust.
    fn over_tls(router: Router, limits: Limits) -> (SocketAddr, tokio_rustls::TlsConnector) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let folder = tempfile::tempdir().expect("a directory");
        let [certificate, key] = ["certificate", "key"].map(|name| folder.path().join(name));
        std::fs::write(&certificate, made.cert.pem()).expect("written");
        std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
        let files = fleetlog_tls::Files { certificate, key };
        let tls =
            fleetlog_tls::Certificate::load(files).expect("loaded").acceptor(&PROTOCOLS, None).expect("TLS");
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).expect("a root");
        let client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let socket = TcpListener::bind("127.0.0.1:0").expect("a socket");
        let address = socket.local_addr().expect("an address");
        let listeners = vec![Listener { socket, tls: Some(tls) }];
        tokio::spawn(serve(listeners, router, limits, CancellationToken::new()));
        (address, Arc::new(client).into())
    }

    /// A connection that offers these protocols.
    async fn greet(
        address: SocketAddr,
        client: &tokio_rustls::TlsConnector,
        protocols: &[&str],
    ) -> tokio_rustls::client::TlsStream<TcpStream> {
        let mut config = ClientConfig::clone(client.config());
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(address).await.expect("a connection");
        let name = "localhost".try_into().expect("a name");
        tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("TLS")
    }

    /// Asks for `/` over HTTP/2.
    async fn ask(
        stream: tokio_rustls::client::TlsStream<TcpStream>,
        window: u32,
    ) -> hyper::Response<hyper::body::Incoming> {
        let (mut requests, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(window)
            .handshake(TokioIo::new(stream))
            .await
            .expect("HTTP/2");
        tokio::spawn(connection);
        let request = hyper::Request::get("https://localhost/").body(Body::empty()).expect("a request");
        requests.send_request(request).await.expect("an answer")
    }

    #[tokio::test]
    async fn over_tls_a_client_speaks_the_best_protocol_that_it_offers() {
        let told = |request: axum::extract::Request| async move {
            format!("{:?} {:?}", request.version(), request.headers().get(http::header::HOST))
        };
        let (address, client) = over_tls(Router::new().route("/", get(told)), Limits::new(9, vec![]));
        let answer = ask(greet(address, &client, &["h2", "http/1.1"]).await, 1 << 16).await;
        let body = axum::body::to_bytes(Body::new(answer.into_body()), 1000).await.expect("a body");
        assert_eq!(body, r#"HTTP/2.0 Some("localhost")"#);
        for protocols in [&["http/1.1"][..], &[]] {
            let mut stream = greet(address, &client, protocols).await;
            let request = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
            stream.write_all(request).await.expect("sent");
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer).await;
            assert!(answer.ends_with(r#"HTTP/1.1 Some("localhost")"#), "{protocols:?}: {answer}");
        }
    }

    #[tokio::test]
    async fn a_client_that_does_not_greet_over_tls_is_closed() {
        let (address, _) = over_tls(Router::new(), Limits { head: SHORT, ..Limits::new(9, vec![]) });
        let mut client = TcpStream::connect(address).await.expect("a connection");
        let mut answer = vec![];
        client.read_to_end(&mut answer).await.expect("an end");
        assert_eq!(answer, b"");
    }

    #[tokio::test]
    async fn an_answer_that_gets_no_room_over_http_2_is_dropped_though_the_client_reads() {
        let (held, dropped) = oneshot::channel::<()>();
        let held = Arc::new(parking_lot::Mutex::new(Some(held)));
        let large =
            move || async move { hold(Response::new(Body::from(vec![0; 1 << 20])), held.lock().take()) };
        let limits = Limits { unread: SHORT, ..Limits::new(9, vec![]) };
        let (address, client) = over_tls(Router::new().route("/", get(large)), limits);
        // The window is never opened again, because nobody takes the body.
        let _answer = ask(greet(address, &client, &["h2"]).await, 1 << 16).await;
        assert!(dropped.await.is_err(), "without a word");
    }

    #[tokio::test]
    async fn a_large_answer_over_http_2_is_read_whole() {
        let large = || async { Body::from((0..=255).cycle().take(3 << 20).collect::<Vec<u8>>()) };
        let (address, client) = over_tls(Router::new().route("/", get(large)), Limits::new(9, vec![]));
        let answer = ask(greet(address, &client, &["h2"]).await, 1 << 16).await;
        assert_eq!(answer.headers()["content-length"], "3145728");
        let body = axum::body::to_bytes(Body::new(answer.into_body()), 4 << 20).await.expect("a body");
        assert!(
            body.iter().zip((0..=255).cycle()).all(|(is, should)| *is == should) && body.len() == 3 << 20
        );
    }
}
