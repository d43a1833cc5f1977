//! Each tenant's share of what the process has for requests: how many run at once, and how many bytes of answers wait to be
//! read. A tenant that uses up its share waits behind itself. So does an address from which strangers
//! ask.
//!
//! A request runs in its turn until its answer is ready. The answer then waits for room among the bytes under way, and
//! holds that room until its client has read it or is cut off. So no more than [`BYTES`] of finished answers are held,
//! besides those of the requests that run.

use std::time::Duration;

use axum::body::HttpBody;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use fleetlog_access::Principal;
use fleetlog_access::quota::key::network;
use fleetlog_aggregates::identity::Tenant;
use fleetlog_event_log::turns::{Turn, Turns};

use super::error::Error;
use super::extract::Peer;
use super::rate_limits;
use crate::app::App;
use crate::instruments;
use crate::live::seats::Seats;
use crate::server::held::hold;

/// How many requests run at once, and how many of one tenant.
const REQUESTS: (u32, u32) = (64, 16);
/// How many requests of strangers run at once, and how many from one address. They have turns of their own: a caller who
/// has logged in does not wait behind them.
const STRANGERS: (u32, u32) = (64, 4);
/// How many bytes of answers wait to be read, and how many of one tenant.
const BYTES: (u32, u32) = (32 << 20, 8 << 20);
/// Bytes are counted in pieces of this size. A smaller answer is not counted: the socket takes it at once.
const PIECE: u32 = 64 << 10;
/// How long a request waits for its turn, and its answer for room.
const PATIENCE: Duration = Duration::from_secs(10);

/// What tenants share.
pub struct Shares {
    requests: Turns,
    strangers: Turns,
    bytes: Turns,
    /// The streams that are open.
    pub(crate) streams: Seats,
    /// The connections that streams hold.
    pub(crate) held: Seats,
}

impl Shares {
    /// What tenants share of a process that takes so many connections.
    pub(crate) fn new(connections: usize) -> Self {
        let pieces = |bytes: u32| bytes / PIECE;
        Self {
            requests: Turns::new(REQUESTS.0, REQUESTS.1),
            strangers: Turns::new(STRANGERS.0, STRANGERS.1),
            bytes: Turns::new(pieces(BYTES.0), pieces(BYTES.1)),
            streams: Seats::of_streams(),
            held: Seats::of_connections(connections),
        }
    }

    /// A turn for what a stream needs of the database: among the requests of its tenant.
    pub(crate) async fn turn(&self, tenant: &Tenant) -> Turn {
        self.requests.take(tenant.as_str(), 1).await
    }
}

/// Answers a request within its tenant's share, or 429 if that takes too long.
pub(super) async fn within(State(app): State<App>, request: Request, next: Next) -> Response {
    if rate_limits::is_exempt(&request) {
        return next.run(request).await;
    }
    let tenant = request.extensions().get::<Principal>().map(|caller| caller.tenant.as_str().to_owned());
    let (turns, who) = match tenant {
        Some(tenant) => (&app.shares.requests, tenant),
        None => (&app.shares.strangers, address(&app, &request)),
    };
    let Some(running) = in_time(turns.take(&who, 1)).await else { return refuse("requests") };
    let response = next.run(request).await;
    let pieces = response.body().size_hint().lower() / u64::from(PIECE);
    if pieces == 0 {
        return response;
    }
    let pieces = u32::try_from(pieces).unwrap_or(u32::MAX);
    let Some(room) = in_time(app.shares.bytes.take(&who, pieces)).await else { return refuse("bytes") };
    drop(running);
    hold(response, room)
}

/// The address that a stranger's request comes from, or the /64 of IPv6.
fn address(app: &App, request: &Request) -> String {
    let Peer(address) = Peer::of(request.extensions(), request.headers(), &app.settings.trusted_proxies);
    address.map(|address| network(address).to_string()).unwrap_or_default()
}

async fn in_time(turn: impl Future<Output = Turn>) -> Option<Turn> {
    tokio::time::timeout(PATIENCE, turn).await.ok()
}

fn refuse(of: &'static str) -> Response {
    instruments::SHARES_EXCEEDED.with([of.into()]).increment(1);
    Error::busy().into_response()
}
