//! Asks other services over HTTP: one request, one answer, within a time and a size that the caller names.
//!
//! - [`url`]: whom may be asked: over TLS, or on this machine
//! - [`reach`]: which addresses may be connected to: any, or public ones only
//! - [`Client`]: asks, and keeps its connections for a while
//!
//! Redirects are not followed: whoever is asked gets the caller's key, and nobody else does. Certificates are those that
//! this machine trusts; the variables `SSL_CERT_FILE` and `SSL_CERT_DIR` name others.

pub mod reach;
pub mod url;

use std::error::Error as Cause;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use fleetlog_tls::client::Identity;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{self, Builder};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, timeout_at};

pub use reach::{NotPublic, Reach};
pub use url::Url;

/// How long a connection may take, its TLS aside.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a connection is kept that nothing is asked over. Servers close theirs after a minute or so.
const KEEP: Duration = Duration::from_secs(30);
/// The most bytes of an answer's head.
const MAX_HEAD: usize = 64 << 10;

/// What an answer may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long it may take, from the connection to the last byte.
    pub time: Duration,
    /// How many bytes its body may have.
    pub bytes: usize,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// TLS cannot be used at all.
    #[error(transparent)]
    Tls(#[from] fleetlog_tls::Error),
    /// Nobody can be reached there, or with another certificate than one that this machine trusts.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// The connection ended before the answer did.
    #[error("the connection was lost: {0}")]
    Lost(String),
    /// The address is not public, and only public ones may be reached.
    #[error(transparent)]
    NotPublic(#[from] NotPublic),
    /// It took too long.
    #[error("there was no answer within {} s", .0.as_secs_f32())]
    TooSlow(Duration),
    /// The answer is too large.
    #[error("the answer is longer than {0} bytes")]
    TooLarge(usize),
}

/// Asks other services. Cheap to clone; keeps connections for a while.
#[derive(Clone)]
pub struct Client {
    asks: legacy::Client<HttpsConnector<HttpConnector<Reach>>, Full<Bytes>>,
    reach: Reach,
}

impl Client {
    /// A client that trusts the certificates that this machine trusts. If there are none, it can ask only this machine.
    pub fn new() -> Result<Self, Error> {
        Self::reaching(Reach::anybody())
    }

    /// The same, which connects to some addresses only.
    pub fn reaching(reach: Reach) -> Result<Self, Error> {
        let tls = Identity::default().config()?;
        let mut tcp = HttpConnector::new_with_resolver(reach.clone());
        tcp.set_connect_timeout(Some(CONNECT));
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        let https = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
        let mut builder: Builder = legacy::Client::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new()).pool_idle_timeout(KEEP).pool_max_idle_per_host(1);
        builder.http1_max_buf_size(MAX_HEAD);
        Ok(Self { asks: builder.build(https.wrap_connector(tcp)), reach })
    }

    /// Whom it connects to.
    #[must_use]
    pub fn reach(&self) -> &Reach {
        &self.reach
    }

    /// Sends a request to one of [`Url`]'s places, and returns the whole answer, whatever its status.
    pub async fn ask(&self, request: Request<Bytes>, limits: Limits) -> Result<Response<Bytes>, Error> {
        let asked = tokio::time::timeout(limits.time, self.exchange(request.map(Full::new), limits.bytes));
        asked.await.unwrap_or(Err(Error::TooSlow(limits.time)))
    }

    /// Sends a request, and returns the head of the answer and what of its body comes within the limits: a body that is longer,
    /// slower or broken off is cut there, and its connection closed.
    pub async fn tell(&self, request: Request<Bytes>, limits: Limits) -> Result<Response<Bytes>, Error> {
        let until = Instant::now() + limits.time;
        let answer = timeout_at(until, self.answer(request.map(Full::new))).await;
        let (head, mut body) = answer.unwrap_or(Err(Error::TooSlow(limits.time)))?.into_parts();
        let mut read = BytesMut::new();
        let reading = async {
            while let Some(Ok(frame)) = body.frame().await {
                let Ok(data) = frame.into_data() else { continue };
                let room = limits.bytes - read.len();
                read.extend_from_slice(&data[..data.len().min(room)]);
                if data.len() >= room {
                    break;
                }
            }
        };
        // What came until then is returned.
        let _ = timeout_at(until, reading).await;
        Ok(Response::from_parts(head, read.freeze()))
    }

    async fn answer(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Error> {
        // The connector looks up names only.
        self.reach.check_literal(request.uri().host().unwrap_or_default())?;
        self.asks.request(request).await.map_err(|error| match refused(&error) {
            Some(refused) => Error::NotPublic(refused),
            None if error.is_connect() => Error::Unreachable(causes(&error)),
            None => Error::Lost(causes(&error)),
        })
    }

    async fn exchange(&self, request: Request<Full<Bytes>>, most: usize) -> Result<Response<Bytes>, Error> {
        let answer = self.answer(request).await?;
        let (head, body) = answer.into_parts();
        if body.size_hint().lower() > most as u64 {
            return Err(Error::TooLarge(most));
        }
        let body = Limited::new(body, most).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                Error::TooLarge(most)
            } else {
                Error::Lost(error.to_string())
            }
        })?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }
}

/// The address that was not connected to, if that is why there is no answer.
fn refused(error: &legacy::Error) -> Option<NotPublic> {
    let mut cause: Option<&dyn Cause> = Some(error);
    while let Some(error) = cause {
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if let Some(refused) = inner.and_then(|inner| inner.downcast_ref::<NotPublic>()) {
            return Some(*refused);
        }
        cause = error.source();
    }
    None
}

/// What lies behind an error of hyper's, whose own text says only at which step it was.
fn causes(error: &legacy::Error) -> String {
    let mut last: &dyn Cause = error;
    let mut said = vec![];
    while let Some(cause) = last.source() {
        said.push(cause.to_string());
        last = cause;
    }
    said.dedup();
    if said.is_empty() { error.to_string() } else { said.join(": ") }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const LIMITS: Limits = Limits { time: Duration::from_secs(10), bytes: 1000 };

    /// Asks a server that reads a request and answers with these bytes; then it hangs.
    async fn answered(bytes: &'static str, limits: Limits) -> Result<Response<Bytes>, Error> {
        let (url, _hanging) = hangs_after(bytes).await;
        let request = Request::get(url.join("/a").expect("a path")).body(Bytes::new()).expect("a request");
        Client::new().expect("a client").ask(request, limits).await
    }

    /// A server that hangs after these bytes, for as long as the other value lives.
    async fn hangs_after(bytes: &'static str) -> (Url, tokio::sync::oneshot::Sender<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let url: Url = format!("http://{}", listener.local_addr().expect("bound")).parse().expect("a URL");
        let (hanging, server) = tokio::sync::oneshot::channel::<()>();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut head = [0; 4096];
            assert!(stream.read(&mut head).await.expect("a request") > 0);
            stream.write_all(bytes.as_bytes()).await.expect("sent");
            let _ = server.await;
        });
        (url, hanging)
    }

    #[tokio::test]
    async fn an_answer_is_returned_whatever_its_status_and_a_redirect_is_not_followed() {
        let moved = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 2\r\n\r\nno";
        let answer = answered(moved, LIMITS).await.expect("an answer");
        assert_eq!((answer.status().as_u16(), &answer.body()[..]), (302, &b"no"[..]));
    }

    #[tokio::test]
    async fn an_answer_that_is_too_long_or_too_slow_or_none_is_an_error() {
        let announced = "HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n";
        assert!(matches!(answered(announced, LIMITS).await, Err(Error::TooLarge(1000))));
        let sent = Limits { bytes: 3, ..LIMITS };
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nlong\r\n";
        assert!(matches!(answered(chunked, sent).await, Err(Error::TooLarge(3))));
        assert!(matches!(answered("nonsense\r\n\r\n", LIMITS).await, Err(Error::Lost(_))));
        let short = Limits { time: Duration::from_millis(100), ..LIMITS };
        for half in ["HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"] {
            assert!(matches!(answered(half, short).await, Err(Error::TooSlow(_))), "{half}");
        }
    }

    #[tokio::test]
    async fn an_answer_counts_by_its_head_though_its_body_is_long_or_never_ends() {
        async fn told(bytes: &'static str, limits: Limits) -> Result<(u16, usize), Error> {
            let (url, _hanging) = hangs_after(bytes).await;
            let request =
                Request::post(url.join("/").expect("a path")).body(Bytes::new()).expect("a request");
            let answer = Client::new().expect("a client").tell(request, limits).await?;
            Ok((answer.status().as_u16(), answer.body().len()))
        }
        let short = Limits { time: Duration::from_millis(200), bytes: 3 };
        let long = "HTTP/1.1 200 OK\r\ncontent-length: 2000000000\r\n\r\nlong";
        assert!(matches!(told(long, short).await, Ok((200, 3))));
        assert!(matches!(told("HTTP/1.1 500 x\r\ncontent-length: 9\r\n\r\nh", short).await, Ok((500, 1))));
        assert!(matches!(told("HTTP/1.1 200 OK\r\n", short).await, Err(Error::TooSlow(_))));
    }

    #[tokio::test]
    async fn who_reaches_public_addresses_only_does_not_connect_to_this_machine() {
        let (url, _hanging) = hangs_after("HTTP/1.1 200 OK\r\n").await;
        let client = Client::reaching(Reach::public()).expect("a client");
        let port = url.to_string().rsplit_once(':').expect("a port").1.to_owned();
        for host in ["127.0.0.1", "[::ffff:127.0.0.1]", "localhost", "2130706433", "0x7f000001"] {
            let request =
                Request::get(format!("http://{host}:{port}/")).body(Bytes::new()).expect("a request");
            let refused = client.tell(request, LIMITS).await.expect_err(host);
            assert!(matches!(refused, Error::NotPublic(_)), "{host}: {refused:?}");
        }
    }

    #[tokio::test]
    async fn nobody_there_is_said_with_the_reason() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let url: Url = format!("http://{}", listener.local_addr().expect("bound")).parse().expect("a URL");
        drop(listener);
        let request = Request::get(url.join("/").expect("a path")).body(Bytes::new()).expect("a request");
        let error = Client::new().expect("a client").ask(request, LIMITS).await.expect_err("refused");
        assert!(matches!(error, Error::Unreachable(_)), "{error:?}");
        assert!(error.to_string().contains("refused"), "{error}");
    }
}
