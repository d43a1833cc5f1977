//! Live streams over WebSocket: one stream as its address says, or several that come and go.
//!
//! - [`messages`]: what is said, and why a WebSocket is closed

mod messages;

use std::time::Duration;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message as Frame, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use fleetlog_access::action::typed::StreamsFollow;
use fleetlog_access::callers::Credential;
use fleetlog_event_log::Lane;
use http::StatusCode;
use serde_json::json;
use tokio::time::sleep;
use utoipa_axum::router::OpenApiRouter;

use self::messages::{AWAY, About, Ask, Asked, BAD_DATA, POLICY, close, closing, text};
use super::RequestId;
use super::error::Error;
use super::extract::Query;
use super::json::{self, Object};
use super::problem::Problem;
use super::streams::{Held, Opener};
use crate::app::App;
use crate::door::May;
use crate::door::action::guarded;
use crate::live::feed::{Ending, Message};
use crate::live::follow::Follow;
use crate::live::pings::Pings;
use crate::live::steps::Steps;
use crate::live::stream::Stream;
use crate::server::upgrades::{self, Upgrade, Upgraded};

/// The longest name of one of them, in bytes.
pub const TOPIC_NAME: usize = 64;
/// The largest message from a client, in bytes.
pub const FROM_CLIENT: usize = 16 * 1024;
/// How long a WebSocket may be open without a stream.
pub const IDLE: Duration = Duration::from_mins(1);

pub(super) fn router() -> OpenApiRouter<App> {
    guarded!(follow_by_socket, follow_telemetry_by_socket)
}

/// Opens a WebSocket for several streams.
///
/// The client sends `{"type":"follow","topic":"a","follow":{"device":"dev-01"}}`, where `topic` is a name of its own and `follow` has
/// the parameters of `GET /stream`, and `{"type":"unfollow","topic":"a"}`. It is sent JSON, too, with the `topic`, and with `at`, the
/// position to go on `after`: `event`, as `GET /events` gives it; `windows`, minutes that have changed; `at` alone, when a stream
/// begins, and 15 s after the last message; `resync`, that readings were removed and what is missing; `left_out`, how many readings
/// `max_rate` left out; `end`, why a stream ends; `unfollowed`, that nothing more comes of it; `refused`, why what was asked for is
/// not done, with the `topic` and the fields at fault. Close codes: 1001, the service stops; 1002, 1007 and 1009, a message that is
/// no frame, no text, or over 16 KiB; 1008, a caller who may follow no more, too many pings, or nothing followed for a minute.
#[utoipa::path(
    get, path = "/ws", tag = "live", operation_id = "follow_by_socket",
    responses(
        (status = 101, description = "The WebSocket is open"),
        (status = 426, description = "The request opens no WebSocket"),
    ),
)]
async fn follow_by_socket(
    door: May<StreamsFollow>,
    Opener { credential, held, request, .. }: Opener,
    upgrade: Upgrade,
    opening: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Error> {
    let opening = sized(opening)?;
    let place = upgrade.keep();
    let streams = Streams::new(Some((door, credential)), request);
    Ok(opening.on_upgrade(move |socket| serve(place, held, socket, streams, None)))
}

/// Opens a WebSocket with one stream of readings, or with `windows=1m` of the minutes that they change. It takes the parameters of
/// `GET /stream`. Its messages and close codes are those of `/ws`, without a `topic`.
#[utoipa::path(
    get, path = "/ws/telemetry", tag = "live", operation_id = "follow_telemetry_by_socket", params(Follow),
    responses(
        (status = 101, description = "The WebSocket is open"),
        (status = 404, description = "No such log"),
        (status = 426, description = "The request opens no WebSocket"),
    ),
)]
async fn follow_telemetry_by_socket(
    door: May<StreamsFollow>,
    Opener { credential, held, request, .. }: Opener,
    upgrade: Upgrade,
    opening: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    Query(follow): Query<Follow>,
) -> Result<Response, Error> {
    let telemetry = Lane::Telemetry.as_str();
    if follow.log.as_deref().is_some_and(|log| log != telemetry) {
        return Err(Error::field(
            "log",
            "expected telemetry, which is all that is followed here: /ws follows more",
        ));
    }
    let follow = Follow { log: Some(telemetry.to_owned()), ..follow };
    let stream = Stream::open(&door, credential, &follow, None).await?;
    let opening = sized(opening)?;
    let place = upgrade.keep();
    let streams = Streams::new(None, request);
    Ok(opening.on_upgrade(move |socket| serve(place, held, socket, streams, Some(stream))))
}

fn sized(opening: Result<WebSocketUpgrade, WebSocketUpgradeRejection>) -> Result<WebSocketUpgrade, Error> {
    let opening = opening.map_err(|_| {
        let detail = "this path opens a WebSocket of version 13 over HTTP/1.1";
        Error::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", detail)
    })?;
    Ok(opening.max_message_size(FROM_CLIENT).max_frame_size(FROM_CLIENT))
}

async fn serve(place: Upgraded, held: Held, socket: WebSocket, mut streams: Streams, first: Option<Stream>) {
    let serving = async {
        let mut socket = socket;
        let closing = match first {
            Some(stream) => match streams.begin(&mut socket, None, stream).await {
                Ok(()) => streams.serve(&mut socket).await,
                Err(gone) => Err(gone),
            },
            None => streams.serve(&mut socket).await,
        };
        // Whoever has gone is told nothing.
        if let Ok(close) = closing {
            let _ = socket.send(Frame::Close(Some(close))).await;
        }
    };
    place.serve(Box::pin(serving)).await;
    drop(held);
}

/// Who asks for streams.
type Asker = (May<StreamsFollow>, Credential);

/// The streams of one WebSocket.
struct Streams {
    /// Who may ask for more of them; nobody, where the address says what is followed.
    asker: Option<Asker>,
    /// The id of the request that opened the WebSocket.
    request_id: RequestId,
    /// What each of them tells next, by its topic. None has no name: the one that the address says.
    told: Steps<Option<String>, (Stream, Vec<Message>)>,
    pings: Pings,
}

/// The client has gone.
struct Gone;

impl From<axum::Error> for Gone {
    fn from(error: axum::Error) -> Self {
        upgrades::note(&error);
        Self
    }
}

impl Streams {
    fn new(asker: Option<Asker>, request_id: RequestId) -> Self {
        Self { asker, request_id, told: Steps::default(), pings: Pings::default() }
    }

    /// Serves a client until it goes, or is to be told why its WebSocket is closed. What it is told next is asked for when it has
    /// taken what it was told before: a client that does not read costs no memory, and is cut off by the socket's own patience.
    async fn serve(&mut self, socket: &mut WebSocket) -> Result<CloseFrame, Gone> {
        loop {
            let is_idle = self.told.is_empty();
            tokio::select! {
                (topic, told) = self.told.next() => {
                    let (stream, messages) = told.ok_or(Gone)?;
                    if let Some(close) = self.tell(socket, topic, stream, messages).await? {
                        return Ok(close);
                    }
                }
                frame = socket.recv() => match frame.ok_or(Gone)? {
                    Err(error) => return closing(&error).ok_or_else(|| error.into()),
                    Ok(frame) => if let Some(close) = self.heard(socket, frame).await? {
                        return Ok(close);
                    },
                },
                () = sleep(IDLE), if is_idle => return Ok(close(POLICY, "nothing is followed")),
            }
        }
    }

    async fn heard(&mut self, socket: &mut WebSocket, frame: Frame) -> Result<Option<CloseFrame>, Gone> {
        match frame {
            Frame::Text(text) => self.asked(socket, &text).await?,
            Frame::Close(_) => return Err(Gone),
            Frame::Binary(_) => return Ok(Some(close(BAD_DATA, "a message is JSON text"))),
            Frame::Ping(_) | Frame::Pong(_) if self.pings.are_too_many() => {
                return Ok(Some(close(POLICY, "too many pings")));
            }
            Frame::Ping(_) | Frame::Pong(_) => {}
        }
        Ok(None)
    }

    async fn tell(
        &mut self,
        socket: &mut WebSocket,
        topic: Option<String>,
        stream: Stream,
        messages: Vec<Message>,
    ) -> Result<Option<CloseFrame>, Gone> {
        let mut ending = None;
        for message in &messages {
            socket.send(text(topic.as_deref(), message)).await?;
            if let Message::End(why, _) = message {
                ending = Some(*why);
            }
        }
        if ending.is_none() {
            self.go_on(topic, stream);
        }
        Ok(match ending {
            Some(Ending::Shutdown) if self.told.is_empty() => Some(close(AWAY, "the service stops")),
            Some(Ending::Unauthenticated | Ending::Forbidden) => {
                Some(close(POLICY, "nothing may be followed any more"))
            }
            Some(Ending::Internal) if self.asker.is_none() => Some(close(AWAY, "the log could not be read")),
            _ => None,
        })
    }

    async fn asked(&mut self, socket: &mut WebSocket, text: &str) -> Result<(), Gone> {
        let topic = serde_json::from_str::<About>(text).ok().map(|about| about.topic);
        match self.done(text).await {
            Ok(Done::Begun(stream)) => self.begin(socket, topic, stream).await,
            Ok(Done::Unfollowed) => {
                let unfollowed = json!({ "type": "unfollowed", "topic": topic });
                Ok(socket.send(Frame::text(unfollowed.to_string())).await?)
            }
            Err(error) => {
                let problem = Problem { request_id: self.request_id.as_str().to_owned(), ..error.into() };
                let refused = json!({ "type": "refused", "topic": topic, "problem": problem });
                Ok(socket.send(Frame::text(refused.to_string())).await?)
            }
        }
    }

    /// Does what a message asks for, or says why not.
    async fn done(&mut self, text: &str) -> Result<Done, Error> {
        let Some((door, credential)) = &self.asker else {
            return Err(Error::field("type", "the address says what is followed here: /ws follows more"));
        };
        let Ask { r#type, topic, follow } = json::parse_part("message", text.as_bytes())?;
        if topic.is_empty() || topic.len() > TOPIC_NAME {
            return Err(Error::field("topic", "expected a name of 1 to 64 bytes"));
        }
        let topic = Some(topic);
        match (r#type, self.told.has(&topic)) {
            (Asked::Unfollow, _) if follow.is_some() => {
                Err(Error::field("follow", "expected only with type follow"))
            }
            (Asked::Unfollow, false) => Err(Error::field("topic", "is not followed")),
            (Asked::Unfollow, true) => {
                self.told.remove(&topic);
                Ok(Done::Unfollowed)
            }
            (Asked::Follow, true) => Err(Error::field("topic", "is followed already")),
            (Asked::Follow, false) if !self.told.have_room() => Err(Error::too_many_topics()),
            (Asked::Follow, false) => {
                let follow = follow.map_or_else(Follow::default, |Object(follow)| follow);
                let opened = Stream::open(door, credential.clone(), &follow, None).await;
                opened.map(Done::Begun).map_err(|error| error.within("follow"))
            }
        }
    }

    async fn begin(
        &mut self,
        socket: &mut WebSocket,
        topic: Option<String>,
        stream: Stream,
    ) -> Result<(), Gone> {
        socket.send(text(topic.as_deref(), &Message::Still(stream.told().clone()))).await?;
        self.go_on(topic, stream);
        Ok(())
    }

    /// Asks a stream that is followed for what it tells next.
    fn go_on(&mut self, topic: Option<String>, mut stream: Stream) {
        self.told.add(topic, async move {
            let messages = stream.next().await;
            (stream, messages)
        });
    }
}

/// What was done for a client.
enum Done {
    /// A stream is open.
    Begun(Stream),
    /// A stream has ended.
    Unfollowed,
}
