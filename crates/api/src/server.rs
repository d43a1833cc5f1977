//! Serves a router over HTTP/1.1, and holds every connection to a budget: how many there are, how long each may be
//! silent, and how slowly its answers may be read.
//!
//! - [`connections`]: the open connections, and which one makes room for another
//! - [`socket`]: a socket whose peer must keep reading
//! - [`held`]: a body that holds something until it is sent or dropped

mod connections;
pub(crate) mod held;
mod socket;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::instruments;
use crate::rest::proxies::Proxies;
use connections::{Connections, Place};
use held::hold;
use socket::Socket;

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

/// Serves until `shutdown`, then waits for as long as the limits say for open requests to end, and cuts the others off. When it returns,
/// no connection is left. The caller has bound the socket.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    shutdown: CancellationToken,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    SockRef::from(&listener).set_send_buffer_size(SEND_BUFFER)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let no_room = format!(
        "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\n\
         content-type: application/problem+json\r\ncontent-length: {}\r\n\r\n{NO_ROOM}",
        NO_ROOM.len(),
    );
    let (drain, graceful) = (limits.drain, GracefulShutdown::new());
    let connections = Connections::new(limits);
    let mut serving = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(ended) = serving.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "serving an HTTP connection ended in a panic");
                }
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => match connections.admit(peer.ip()) {
                Ok(place) => {
                    serving.spawn(connection(stream, peer, place, router.clone(), graceful.watcher()));
                }
                // Nobody waits for the client to read it.
                Err(_) => drop(SockRef::from(&stream).send(no_room.as_bytes())),
            },
            Err(error) => {
                tracing::warn!(%error, "failed to accept an HTTP connection");
                connections.make_room();
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let _ = tokio::time::timeout(drain, graceful.shutdown()).await;
    // What has not ended by now is cut off, and has ended when this returns.
    serving.shutdown().await;
    Ok(())
}

/// Serves one connection until it ends, or must make room.
async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
    router: Router,
    watcher: hyper_util::server::graceful::Watcher,
) {
    // Answers are written whole, so nothing is gained by waiting for more.
    let _ = stream.set_nodelay(true);
    let requests = &place;
    let answer = service_fn(move |mut request: hyper::Request<Incoming>| {
        let (busy, router) = (requests.begin(), router.clone());
        request.extensions_mut().insert(ConnectInfo(peer));
        async move {
            let answered: Result<Response, _> = router.oneshot(Request::from(request.map(Body::new))).await;
            answered.map(|response| hold(response, busy))
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(place.limits().head)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(Socket::new(stream, place.limits().unread)), answer);
    let ended = place.closed().run_until_cancelled(watcher.watch(serving)).await;
    if let Some(Err(error)) = ended {
        if socket::is_unread(&error) {
            instruments::UNREAD.increment(1);
        }
        tracing::debug!(%peer, %error, "an HTTP connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;

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
        let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
        let address = listener.local_addr().expect("an address");
        let stop = CancellationToken::new();
        let server = tokio::spawn(serve(listener, router, limits, stop.clone()));
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
}
