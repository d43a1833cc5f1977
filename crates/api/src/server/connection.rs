//! One connection, from its first byte to its last.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use http::HeaderValue;
use http::header::HOST;
use hyper::body::Incoming;
use hyper::server::conn::http1::{self, UpgradeableConnection};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::connections::Place;
use super::held::hold;
use super::socket::{self, Handover, Socket};
use super::streams::{Answers, Streams};
use super::upgrades::Upgrades;
use super::{MAX_HEAD, PROTOCOLS};
use crate::instruments;

/// The most requests that an HTTP/2 connection may have under way. A browser's page asks for fewer at a time.
const MAX_STREAMS: u32 = 64;
/// How many bytes of its requests' bodies an HTTP/2 connection may send before they are read.
const MAX_UNREAD_REQUESTS: u32 = 256 * 1024;
/// How many bytes of each answer HTTP/2 takes before its peer has room for them.
const SEND_BUFFER: usize = 64 * 1024;

/// Serves one connection until it ends, becomes another protocol's, or must make room. Once `stopping`, it ends after the requests
/// that are under way.
pub(super) async fn serve(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    peer: SocketAddr,
    place: Place,
    router: Router,
    stopping: CancellationToken,
    upgrades: Upgrades,
) {
    // Answers are written whole, so nothing is gained by waiting for more.
    let _ = stream.set_nodelay(true);
    let place = Arc::new(place);
    let handover = Handover::default();
    let socket = Socket::new(stream, place.limits().unread, handover.clone());
    let requests = Requests { peer, place: Arc::clone(&place), router, handover, upgrades };
    let serving = async {
        let Some(tls) = tls else { return http_1(socket, requests, stopping).await };
        let greeting = timeout(place.limits().head, tls.accept(socket)).await;
        let stream = greeting.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        if stream.get_ref().1.alpn_protocol() == Some(PROTOCOLS[0].as_bytes()) {
            http_2(stream, requests, stopping).await
        } else {
            http_1(stream, requests, stopping).await
        }
    };
    if let Some(Err(error)) = place.closed().run_until_cancelled(serving).await {
        if socket::is_unread(&*error) {
            instruments::UNREAD.increment(1);
        }
        tracing::debug!(%peer, error, "an HTTP connection ended early");
    }
}

type Error = Box<dyn std::error::Error + Send + Sync>;

/// What a connection's requests are answered with.
#[derive(Clone)]
struct Requests {
    peer: SocketAddr,
    place: Arc<Place>,
    router: Router,
    handover: Handover,
    upgrades: Upgrades,
}

impl Requests {
    async fn answer(self, request: hyper::Request<Incoming>) -> Result<Response, Infallible> {
        let busy = self.place.begin();
        let mut request = Request::from(request.map(Body::new));
        request.extensions_mut().insert(ConnectInfo(self.peer));
        request.extensions_mut().insert(self.handover);
        request.extensions_mut().insert(self.upgrades.of(&self.place));
        self.router.oneshot(request).await.map(|response| hold(response, busy))
    }
}

/// A connection's end. Once `stopping`, the connection is asked to come to it.
async fn end<C: Future>(
    mut connection: Pin<&mut C>,
    wind_up: impl FnOnce(Pin<&mut C>),
    stopping: CancellationToken,
) -> C::Output {
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = stopping.cancelled() => wind_up(connection.as_mut()),
    }
    connection.await
}

async fn http_1<S>(stream: S, requests: Requests, stopping: CancellationToken) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let head = requests.place.limits().head;
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service_fn(move |request| requests.clone().answer(request)))
        .with_upgrades();
    Ok(end(pin!(serving), UpgradeableConnection::graceful_shutdown, stopping).await?)
}

async fn http_2<S>(stream: S, requests: Requests, stopping: CancellationToken) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let limits = requests.place.limits().clone();
    let (streams, answers) = (Streams::default(), Answers::new(limits.unread));
    let waiting = answers.clone();
    let answer = service_fn(move |mut request: hyper::Request<Incoming>| {
        // HTTP/2 names the host in the target. Whoever looks for it finds it where HTTP/1.1 has it.
        if let Some(host) =
            request.uri().authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok())
        {
            request.headers_mut().entry(HOST).or_insert(host);
        }
        let (requests, answers) = (requests.clone(), waiting.clone());
        async move { requests.answer(request).await.map(|response| answers.watch(response)) }
    });
    let serving = http2::Builder::new(streams)
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD as u32)
        .max_send_buf_size(SEND_BUFFER)
        .initial_connection_window_size(MAX_UNREAD_REQUESTS)
        .keep_alive_interval(limits.head)
        .keep_alive_timeout(limits.head)
        .serve_connection(TokioIo::new(stream), answer);
    let mut serving = pin!(serving);
    tokio::select! {
        served = end(serving.as_mut(), http2::Connection::graceful_shutdown, stopping) => Ok(served?),
        unread = answers.unread() => Err(unread.into()),
    }
}
