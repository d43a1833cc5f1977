//! MQTT over WebSocket: the opening handshake (RFC 6455, 4.2). What is said afterwards is between the client and whoever takes the
//! connection over: it is no longer HTTP's, and none of HTTP's limits hold for it.
//!
//! Pages of any origin may open one. A browser adds nothing to it that lets anybody in: a client logs in with MQTT's CONNECT, by
//! what the page knows, and no cookie is looked at. An endpoint that is open to this machine is open to its programs and to the
//! service's own pages, and neither to others' pages in its browsers nor to what its proxies pass on.
//!
//! It counts towards no limit of requests, as a connection over TCP does not.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{
    CONNECTION, HOST, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tungstenite::handshake::derive_accept_key;

use super::error::Error;
use super::extract::Peer;
use super::proxies::{self, Proxies};
use crate::server::socket::Handover;

/// Where MQTT's WebSockets are opened. MQTT's clients look for it there.
const PATH: &str = "/mqtt";
/// The subprotocol: MQTT 3.1.1 and 5 (MQTT-6.0.0-3). MQTT 3.1 called itself `mqttv3.1`.
const PROTOCOL: &str = "mqtt";
/// The one version of WebSocket.
const VERSION: &str = "13";

/// Takes WebSockets over, or says that there is no room.
pub type WebSockets = Arc<dyn Fn(Visitor) -> Result<(), NoRoom> + Send + Sync>;

/// There is no room for another connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRoom;

/// A client whose WebSocket is about to be open.
pub struct Visitor {
    client: IpAddr,
    must_log_in: bool,
    opening: OnUpgrade,
}

impl Visitor {
    /// The client's address: the connection's peer, or the one that trusted proxies name.
    #[must_use]
    pub fn client(&self) -> IpAddr {
        self.client
    }

    /// Whether it is more than a program of this machine, as far as can be seen: a page in a browser, or somebody elsewhere.
    #[must_use]
    pub fn must_log_in(&self) -> bool {
        self.must_log_in
    }

    /// The connection, once the handshake is answered. What it has to say from then on are frames.
    ///
    /// # Errors
    ///
    /// The client has gone.
    pub async fn stream(self) -> Result<TokioIo<Upgraded>, hyper::Error> {
        self.opening.await.map(TokioIo::new)
    }
}

/// The way in.
#[derive(Clone)]
struct Entrance {
    websockets: WebSockets,
    trusted: Arc<[Proxies]>,
}

pub(super) fn router(websockets: WebSockets, trusted: &[Proxies]) -> Router {
    Router::new().route(PATH, get(open)).with_state(Entrance { websockets, trusted: trusted.into() })
}

async fn open(State(entrance): State<Entrance>, mut request: Request) -> Response {
    let accept = match check(&request) {
        Ok(accept) => accept,
        Err(refusal) => return refusal.into_response(),
    };
    let Peer(client) = Peer::of(request.extensions(), request.headers(), &entrance.trusted);
    let client = client.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    let must_log_in = !client.to_canonical().is_loopback() || may_be_anybody(request.headers());
    let extensions = request.extensions_mut();
    let (Some(opening), Some(handover)) = (extensions.remove::<OnUpgrade>(), extensions.remove::<Handover>())
    else {
        return Refusal::PlainHttp.into_response();
    };
    if (entrance.websockets)(Visitor { client, must_log_in, opening }).is_err() {
        return Refusal::Full.into_response();
    }
    handover.is_made();
    let headers = [
        (CONNECTION, HeaderValue::from_static("upgrade")),
        (UPGRADE, HeaderValue::from_static("websocket")),
        (SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL)),
        (SEC_WEBSOCKET_ACCEPT, accept),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

/// Whether a request from this machine may be somebody else's: passed on by a proxy, or made by a page that is not the service's own.
///
/// A page says its origin, which its own server shares with the request's `Host`. Both must name this machine: another name may
/// have been made to lead here after the page was loaded.
fn may_be_anybody(headers: &HeaderMap) -> bool {
    if proxies::is_passed_on(headers) {
        return true;
    }
    let Some(origin) = headers.get(ORIGIN) else { return false };
    let authority = |uri: &HeaderValue| Uri::try_from(uri.as_bytes()).ok()?.authority().cloned();
    let (origin, host) = (authority(origin), headers.get(HOST).and_then(authority));
    let is_own = |origin: &Authority| match origin.host() {
        "localhost" => true,
        host => host.trim_matches(['[', ']']).parse().is_ok_and(|host: IpAddr| host.is_loopback()),
    };
    origin != host || !origin.as_ref().is_some_and(is_own)
}

/// Why no WebSocket is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    PlainHttp,
    OtherProtocol,
    Full,
}

/// What answers the client's key, if the request opens a WebSocket for MQTT.
fn check(request: &Request) -> Result<HeaderValue, Refusal> {
    let headers = request.headers();
    let is_websocket = *request.method() == Method::GET
        && lists(headers, CONNECTION, "upgrade")
        && lists(headers, UPGRADE, "websocket")
        && headers.get(SEC_WEBSOCKET_VERSION).is_some_and(|version| version == VERSION);
    let key = headers.get(SEC_WEBSOCKET_KEY).filter(|key| is_websocket && key.len() == 24);
    let accept = key.and_then(|key| HeaderValue::try_from(derive_accept_key(key.as_bytes())).ok());
    let accept = accept.ok_or(Refusal::PlainHttp)?;
    if lists(headers, SEC_WEBSOCKET_PROTOCOL, PROTOCOL) { Ok(accept) } else { Err(Refusal::OtherProtocol) }
}

/// Whether a header that is a list names this, in whatever case.
fn lists(headers: &HeaderMap, header: HeaderName, wanted: &str) -> bool {
    let values = headers.get_all(header);
    let named = values.iter().flat_map(|value| value.to_str().unwrap_or_default().split(','));
    named.into_iter().any(|named| named.trim().eq_ignore_ascii_case(wanted))
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::PlainHttp => {
                let detail = "this path opens a WebSocket of version 13 over HTTP/1.1, for MQTT";
                let error = Error::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", detail);
                ([(UPGRADE, "websocket"), (SEC_WEBSOCKET_VERSION, VERSION)], error).into_response()
            }
            Self::OtherProtocol => {
                let detail =
                    "the WebSocket's client must offer the subprotocol mqtt, which is MQTT 3.1.1 or 5";
                Error::new(StatusCode::BAD_REQUEST, "no_subprotocol", detail).into_response()
            }
            Self::Full => {
                let detail = "there are as many MQTT connections as there may be; try again in a second";
                Error::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_connections", detail)
                    .soon()
                    .into_response()
            }
        }
    }
}
