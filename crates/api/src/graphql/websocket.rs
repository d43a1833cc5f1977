//! Subscriptions over WebSocket: one connection for many of them, by the protocol graphql-transport-ws.
//!
//! One task has the connection. It takes the next message of a subscription when the socket has taken the last one, and reads
//! what the client says one message at a time: nothing is queued for either side.
//!
//! - [`protocol`]: the messages and the close codes

mod protocol;

use std::time::Duration;

use async_graphql::Pos;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use fleetlog_access::action::typed::GraphqlQuery;
use fleetlog_access::callers::Credential;
use fleetlog_access::quota::Requester;
use fleetlog_access::quota::rule::Call;
use fleetlog_access::watches::{self, Watch};
use fleetlog_access::{Action, Principal};
use http::Method;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::Instrument;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::protocol::{Close, PROTOCOL, Says, ack, complete, error, next, pong};
use super::followed::{Followed, Said, Subscriber};
use super::question::Ask;
use crate::app::App;
use crate::door::May;
use crate::live::feed::Ending;
use crate::live::pings::Pings;
use crate::live::steps::Steps;
use crate::rest::authentication::{Known, Unknown, with_bearer};
use crate::rest::streams::Held;
use crate::rest::{Error, RequestId};
use crate::server::upgrades::{self, Upgrade};

/// The path, by which limits of requests know it. Each subscription counts as a request.
const PATH: &str = "/graphql/ws";
/// How long a connection may be open without `connection_init`.
pub(crate) const INIT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a client is asked for a sign of life.
const PING: Duration = Duration::from_secs(15);
/// How long a client may give none.
const SILENT: Duration = Duration::from_secs(45);
/// The longest message of a client, in bytes.
pub(crate) const MAX_MESSAGE: usize = 64 * 1024;
/// How much is read from a connection at once, in bytes. It is allotted for each connection.
const READ_BUFFER: usize = 4 * 1024;
/// The longest name of a subscription, in bytes.
const MAX_ID: usize = 128;
/// How long both sides may take to close a connection.
const FAREWELL: Duration = Duration::from_secs(2);

/// `GET /graphql/ws`.
pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(connect))
}

/// Opens a WebSocket for `GraphQL` subscriptions: graphql-transport-ws, the protocol of the graphql-ws clients.
///
/// The caller is known by the request, as everywhere, or by a ticket from `POST /stream/tickets`, or by the payload of
/// `connection_init`: `{"authorization": "Bearer …"}` or `{"token": "…"}`, with an access token or an API key. Close codes: 1001,
/// the service stops; 1013, try again; 4400, a message that is none; 4401, a subscription before the acknowledgement; 4403, the
/// caller is not known, or not any more; 4408, no `connection_init` within 10 s; 4409, two subscriptions of one name; 4429, two
/// `connection_init`. A client that comes back goes on with `after`.
#[utoipa::path(
    get, path = "/graphql/ws", tag = "graphql", operation_id = "connect_graphql",
    params(("ticket" = Option<String>, Query, description = "A ticket from `POST /stream/tickets`")),
    responses(
        (status = 101, description = "The WebSocket is open"),
        (status = 426, description = "The request opens no WebSocket with this protocol"),
    ),
)]
async fn connect(
    State(app): State<App>,
    Known(known): Known,
    held: Held,
    request: RequestId,
    upgrade: Upgrade,
    socket: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Error> {
    let socket = socket.map_err(|_| Error::needs_websocket(PROTOCOL))?;
    let socket = socket.protocols([PROTOCOL]);
    if socket.selected_protocol().is_none() {
        return Err(Error::needs_websocket(PROTOCOL));
    }
    let place = upgrade.keep();
    let socket = socket
        .max_message_size(MAX_MESSAGE)
        .max_frame_size(MAX_MESSAGE)
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0);
    let span = tracing::Span::current();
    Ok(socket.on_upgrade(move |socket| {
        let now = Instant::now();
        let connection = Connection {
            app,
            request,
            socket,
            known,
            held,
            caller: None,
            subscriptions: Steps::default(),
            pings: Pings::default(),
            heard_at: now,
            ping_at: now + PING,
            look_at: now + INIT_TIMEOUT,
        };
        place.serve(connection.serve().instrument(span))
    }))
}

/// A connection.
struct Connection {
    app: App,
    request: RequestId,
    socket: WebSocket,
    /// Who the request came from, or why from nobody, until `connection_init`.
    known: Result<(Principal, Credential), Option<Unknown>>,
    held: Held,
    /// Who subscribes, from `connection_init` on.
    caller: Option<Caller>,
    /// What each subscription says next, by the client's name for it.
    subscriptions: Steps<String, (Followed, Option<Said>)>,
    pings: Pings,
    heard_at: Instant,
    /// When the client is asked for a sign of life.
    ping_at: Instant,
    /// When the caller is looked at again; before there is one, the end of the patience with `connection_init`.
    look_at: Instant,
}

struct Caller {
    credential: Credential,
    watch: Watch,
}

/// The close of a connection whose caller is not good any more.
const ENDED: Close = Close::Forbidden("the token, the session or the key is good no more: log in again");

/// Why a connection ends.
enum End {
    /// The client has gone, or does not read.
    Gone,
    /// The client closes it.
    Left,
    /// The server closes it.
    Close(Close),
}

impl From<Close> for End {
    fn from(close: Close) -> Self {
        Self::Close(close)
    }
}

impl From<axum::Error> for End {
    fn from(error: axum::Error) -> Self {
        upgrades::note(&error);
        Self::Gone
    }
}

impl Connection {
    async fn serve(mut self) {
        let end = loop {
            if let Err(end) = self.step().await {
                break end;
            }
        };
        drop(std::mem::take(&mut self.subscriptions));
        match end {
            End::Gone => return,
            End::Left => {}
            End::Close(close) => {
                tracing::debug!(?close, "a WebSocket is closed");
                if self.socket.send(close.frame()).await.is_err() {
                    return;
                }
            }
        }
        // Each side answers the other's close.
        let rest = async { while let Some(Ok(_)) = self.socket.recv().await {} };
        let _ = timeout(FAREWELL, rest).await;
    }

    async fn step(&mut self) -> Result<(), End> {
        let stop = self.app.live.stop().clone();
        tokio::select! {
            message = self.socket.recv() => {
                let message = message.ok_or(End::Gone)?.map_err(|_| Close::BadRequest)?;
                self.heard_at = Instant::now();
                match message {
                    Message::Text(text) => match serde_json::from_str(&text) {
                        Ok(says) => self.hear(says).await,
                        Err(_) => Err(Close::BadRequest.into()),
                    },
                    Message::Binary(_) => Err(Close::BadRequest.into()),
                    Message::Ping(_) | Message::Pong(_) if self.pings.are_too_many() => {
                        Err(Close::BadRequest.into())
                    }
                    // The library answers pings.
                    Message::Ping(_) | Message::Pong(_) => Ok(()),
                    Message::Close(_) => Err(End::Left),
                }
            }
            (id, says) = self.subscriptions.next() => {
                let (followed, said) = says.ok_or(End::Gone)?;
                self.pass_on(id, followed, said).await
            }
            () = stop.cancelled() => Err(Close::GoingAway.into()),
            () = sleep_until(self.look_at) => self.look(),
            () = sleep_until(self.ping_at) => self.ping().await,
        }
    }

    async fn hear(&mut self, says: Says) -> Result<(), End> {
        match says {
            Says::ConnectionInit { payload } => {
                if self.caller.is_some() {
                    return Err(Close::TooManyInits.into());
                }
                let token = payload.as_ref().and_then(|payload| payload.token());
                self.caller = Some(self.find_caller(token).await?);
                self.look_at = Instant::now() + watches::EVERY;
                Ok(self.socket.send(ack()).await?)
            }
            Says::Subscribe { id, payload } => self.subscribe(id, payload).await,
            Says::Complete { id } => {
                self.subscriptions.remove(&id);
                Ok(())
            }
            Says::Ping {} => Ok(self.socket.send(pong()).await?),
            Says::Pong {} => Ok(()),
        }
    }

    /// Who subscribes: whom `connection_init` names, or else the request.
    async fn find_caller(&mut self, token: Option<&str>) -> Result<Caller, Close> {
        let known = std::mem::replace(&mut self.known, Err(None));
        let found = match token {
            Some(token) => {
                let found = with_bearer(&self.app, token).await.map_err(|error| {
                    error.log();
                    Close::TryAgain("the caller could not be looked up".into())
                })?;
                found.ok_or("the token is none, or good no more: log in, and pass the access token on")
            }
            None => known.map_err(|why| why.map_or("log in, and pass the access token on", Unknown::reason)),
        };
        let (caller, credential) = found.map_err(Close::Forbidden)?;
        // Puts a refusal on the record.
        open(self.app.clone(), caller.clone()).await?;
        if token.is_some() {
            let held = self.held.known(&self.app, &caller);
            held.map_err(|full| Close::TryAgain(full.to_string().into()))?;
        }
        let watch = self.app.access.watches.watch(credential.clone(), caller);
        Ok(Caller { credential, watch })
    }

    async fn subscribe(&mut self, id: String, ask: Ask) -> Result<(), End> {
        let Some(caller) = &self.caller else { return Err(Close::Unauthorized.into()) };
        if id.len() > MAX_ID {
            return Err(Close::BadRequest.into());
        }
        if self.subscriptions.has(&id) {
            return Err(Close::SubscriberExists.into());
        }
        let credential = caller.credential.clone();
        let principal = caller.watch.caller().ok_or(ENDED)?;
        if !self.subscriptions.have_room() {
            return self.refuse(&id, Error::too_many_subscriptions()).await;
        }
        let call = Call { method: &Method::GET, path: PATH };
        let taken = self.app.access.quota.take(Requester::from(&principal), &principal.tier, call).await;
        if let Err(exceeded) = taken {
            return self.refuse(&id, exceeded.into()).await;
        }
        let door = open(self.app.clone(), principal).await?;
        let request = self.request.clone();
        let followed = Followed::begin(ask, Subscriber { door, credential, request, last: None });
        self.go_on(id, followed);
        Ok(())
    }

    /// Lets a subscription work out what it says next.
    fn go_on(&mut self, id: String, mut followed: Followed) {
        self.subscriptions.add(id, async move {
            let said = followed.next().await;
            (followed, said)
        });
    }

    async fn refuse(&mut self, id: &str, why: Error) -> Result<(), End> {
        let why = async_graphql::Error::from(why).into_server_error(Pos::default());
        Ok(self.socket.send(error(id, &[why])).await?)
    }

    async fn pass_on(&mut self, id: String, followed: Followed, said: Option<Said>) -> Result<(), End> {
        let message = match said {
            Some(Said::Message(answer)) => {
                self.socket.send(next(&id, &answer)).await?;
                self.go_on(id, followed);
                return Ok(());
            }
            Some(Said::Refused(errors)) => error(&id, &errors),
            Some(Said::End(Ending::Shutdown)) => return Err(Close::GoingAway.into()),
            // All subscriptions have the same caller.
            Some(Said::End(Ending::Unauthenticated)) => return Err(ENDED.into()),
            Some(Said::End(why @ (Ending::Forbidden | Ending::Internal))) => {
                error(&id, &[followed.as_error(why)])
            }
            None => complete(&id),
        };
        Ok(self.socket.send(message).await?)
    }

    /// Looks at the caller, who may have no subscription that would.
    fn look(&mut self) -> Result<(), End> {
        let Some(caller) = &self.caller else { return Err(Close::InitTimeout.into()) };
        caller.watch.caller().ok_or(ENDED)?;
        self.look_at = Instant::now() + watches::EVERY;
        Ok(())
    }

    async fn ping(&mut self) -> Result<(), End> {
        if self.heard_at.elapsed() >= SILENT {
            return Err(End::Gone);
        }
        self.ping_at = Instant::now() + PING;
        Ok(self.socket.send(Message::Ping(Bytes::new())).await?)
    }
}

/// Opens the door for whoever may follow.
async fn open(app: App, caller: Principal) -> Result<May<GraphqlQuery>, Close> {
    let door = May::over_connection(app, caller).await;
    let door = door.and_then(|door: May<GraphqlQuery>| door.also(Action::StreamsFollow).map(|()| door));
    door.map_err(|_| Close::Forbidden("the caller may not follow streams"))
}
