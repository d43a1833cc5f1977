//! Live streams as server-sent events, and the tickets that open one.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use fleetlog_access::Principal;
use fleetlog_access::action::typed::StreamsFollow;
use fleetlog_access::callers::Credential;
use fleetlog_access::quota::key::network;
use fleetlog_access::tickets;
use futures::stream;
use http::request::Parts;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;

use super::RequestId;
use super::error::Error;
use super::extract::{NoParameters, Peer, Query};
use super::wire::ChangedWindow;
use crate::app::App;
use crate::door::May;
use crate::door::action::guarded;
use crate::live::feed::Message;
use crate::live::follow::Follow;
use crate::live::seats::{Full, Holder, Seat};
use crate::live::steps;
use crate::live::stream::Stream;

/// The paths of streams, which a ticket opens.
const STREAMS: [&str; 5] = ["/stream", "/ws", "/ws/telemetry", "/graphql/stream", "/graphql/ws"];

/// The position that a browser's `EventSource` has come to, when it comes back.
pub(super) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Keeps nginx from collecting an answer before it passes it on.
pub(crate) const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// How long a browser waits before it comes back, in milliseconds: the least, and by how much it varies.
pub(crate) const COME_BACK: (u64, u64) = (500, 2500);

pub(super) fn router() -> OpenApiRouter<App> {
    guarded!(follow_stream, issue_ticket)
}

/// Whether a path opens a stream.
pub(super) fn is_stream(path: &str) -> bool {
    STREAMS.contains(&path)
}

/// What a request to open a stream brings along, whatever the stream is.
pub(crate) struct Opener {
    /// The credential by which the caller was found, so that the caller can be looked up again.
    pub(crate) credential: Credential,
    pub(crate) held: Held,
    pub(crate) request: RequestId,
    /// The `Last-Event-ID` of a client that comes back.
    pub(crate) last: Option<String>,
}

impl FromRequestParts<App> for Opener {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Error> {
        let credential = parts.extensions.get().cloned().ok_or_else(Error::unauthenticated)?;
        let last = parts.headers.get(LAST_EVENT_ID).map(|value| value.to_str().unwrap_or("?").to_owned());
        let last = last.filter(|last| !last.is_empty());
        let held = Held::from_request_parts(parts, app).await?;
        Ok(Self { credential, held, request: RequestId::from_request_parts(parts, app).await?, last })
    }
}

/// A connection's seats among those that streams hold, for as long as its stream or its WebSocket lasts.
pub(crate) struct Held {
    /// The node's and the address's, and then the caller's and the tenant's, or the strangers'.
    seats: Vec<Seat>,
}

impl Held {
    /// The seats of a WebSocket's client, once it has said who it is.
    pub(crate) fn known(&mut self, app: &App, caller: &Principal) -> Result<(), Full> {
        // Those from before are given back first: they may be the same ones.
        self.seats.truncate(1);
        self.seats.push(app.shares.held.take(Holder::of(caller).to_vec())?);
        Ok(())
    }
}

impl FromRequestParts<App> for Held {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Error> {
        let Peer(address) = Peer::of(&parts.extensions, &parts.headers, &app.settings.trusted_proxies);
        let at = [Some(Holder::Node), address.map(network).map(Holder::Address)];
        let of = match parts.extensions.get::<Principal>() {
            Some(caller) => Holder::of(caller).to_vec(),
            None => vec![Holder::Strangers],
        };
        let take = |holders| app.shares.held.take(holders).map_err(|full| Error::too_many_streams(&full));
        // What is the caller's own comes first: it says most about what to do.
        let of = take(of)?;
        Ok(Self { seats: vec![take(at.into_iter().flatten().collect())?, of] })
    }
}

/// Streams the events that the caller may see, in order, as they happen: `text/event-stream`.
///
/// The `data` of a message is the event, as `GET /events` gives it. Its `id` is the position of each log that is followed, up to
/// which everything was sent: go on after it with `Last-Event-ID` or `after`, on any node, without a gap and without a repeat.
/// Events of one log come in its order. With `windows=1m`, the `data` is instead `{"windows":[…]}`: minutes that have changed, each
/// with `device_uid`, `metric` and the fields of `GET /telemetry/{uid}/windows`. Messages with a name tell of the stream: `resync`, that readings were removed and what
/// is missing; `left_out`, how many readings `max_rate` left out; `end`, why the stream ends. After 15 s without a message
/// comes an `id` alone.
///
/// A caller, an address, a tenant and the node have so many streams at most: beyond it, 429 or 503 `too_many_streams` with the bound.
#[utoipa::path(
    get, path = "/stream", tag = "live", operation_id = "follow_stream",
    params(
        Follow,
        ("Last-Event-ID" = Option<String>, Header, description = "The `id` of the last message; counts before `after`"),
    ),
    responses(
        (status = 200, description = "The stream of events", body = String, content_type = "text/event-stream"),
        (status = 404, description = "No such log"),
    ),
)]
async fn follow_stream(
    door: May<StreamsFollow>,
    Opener { credential, held, last, .. }: Opener,
    Query(follow): Query<Follow>,
) -> Result<Response, Error> {
    let stream = Stream::open(&door, credential, &follow, last.as_deref()).await?;
    let mut first =
        format!("retry: {}\n", fastrand::u64(COME_BACK.0..=COME_BACK.0 + COME_BACK.1)).into_bytes();
    // Whoever is cut off before the first event goes on from here.
    write_id(&mut first, stream.told());
    first.push(b'\n');
    let messages = stream::unfold((stream, held, Some(first)), |(mut stream, held, first)| async move {
        if let Some(first) = first {
            return Some((Ok::<_, std::convert::Infallible>(Bytes::from(first)), (stream, held, None)));
        }
        let step = steps::take(async move {
            let messages = stream.next().await;
            (stream, messages)
        });
        // Without an answer the step has panicked, which the runtime has told.
        let (stream, messages) = step.await.ok()?;
        let mut text = Vec::new();
        for message in &messages {
            write(&mut text, message);
        }
        (!text.is_empty()).then(|| (Ok(Bytes::from(text)), (stream, held, None)))
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (X_ACCEL_BUFFERING, HeaderValue::from_static("no")),
    ];
    Ok((headers, Body::from_stream(messages)).into_response())
}

fn write(text: &mut Vec<u8>, message: &Message) {
    match message {
        Message::Event(entry, at) => {
            write_id(text, at);
            text.extend_from_slice(b"data: ");
            text.extend_from_slice(&entry.text());
            text.push(b'\n');
        }
        Message::Windows(windows, at) => {
            write_id(text, at);
            let windows: Vec<_> = windows.iter().map(ChangedWindow::from).collect();
            text.extend_from_slice(format!("data: {}\n", json!({ "windows": windows })).as_bytes());
        }
        Message::Resync(ranges, at) => {
            write_id(text, at);
            write_named(text, "resync", &json!({ "archived": ranges }));
        }
        Message::LeftOut(count, at) => {
            write_id(text, at);
            write_named(text, "left_out", &json!({ "readings": count }));
        }
        Message::Still(at) => write_id(text, at),
        Message::End(why, at) => {
            write_id(text, at);
            write_named(text, "end", &json!({ "code": why.code(), "detail": why.detail() }));
        }
    }
    text.push(b'\n');
}

fn write_id(text: &mut Vec<u8>, at: &fleetlog_live::Places) {
    text.extend_from_slice(format!("id: {at}\n").as_bytes());
}

fn write_named(text: &mut Vec<u8>, name: &str, data: &serde_json::Value) {
    text.extend_from_slice(format!("event: {name}\ndata: {data}\n").as_bytes());
}

/// A ticket that opens one stream.
#[derive(Serialize, ToSchema)]
struct Ticket {
    /// The ticket: the parameter `ticket` of the stream's address. It is a secret, good once.
    #[schema(example = "flt_…")]
    ticket: String,
    /// For how many seconds it is good.
    #[schema(example = 30)]
    expires_in_s: u64,
}

/// Issues a ticket that opens one stream with the caller's rights, for clients that cannot send an `Authorization` header, such
/// as a browser's `EventSource`. The stream lasts as long as the caller's session or key.
#[utoipa::path(
    post, path = "/stream/tickets", tag = "live", operation_id = "issue_stream_ticket",
    responses((status = 201, description = "A ticket for one stream", body = Ticket)),
)]
async fn issue_ticket(
    door: May<StreamsFollow>,
    _: Query<NoParameters>,
) -> Result<(StatusCode, Json<Ticket>), Error> {
    let ticket = door.app.access.tickets.issue(&door.caller).await?;
    Ok((StatusCode::CREATED, Json(Ticket { ticket, expires_in_s: tickets::GOOD_FOR.as_secs() })))
}
