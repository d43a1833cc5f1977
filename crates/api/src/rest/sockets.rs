//! Live streams over WebSocket: one stream as its address says, or several that come and go.

use std::time::Duration;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message as Frame, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use fleetlog_access::action::typed::StreamsFollow;
use fleetlog_access::callers::Credential;
use fleetlog_event_log::Lane;
use fleetlog_live::Places;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::sleep;
use utoipa_axum::router::OpenApiRouter;

use super::RequestId;
use super::error::Error;
use super::extract::Query;
use super::json;
use super::problem::Problem;
use super::streams::CalledBy;
use crate::app::App;
use crate::door::May;
use crate::door::action::guarded;
use crate::live::feed::{Ending, Feed, Message};
use crate::live::follow::Follow;
use crate::live::pings::Pings;
use crate::live::steps::Steps;
use crate::server::upgrades::{self, Upgrade, Upgraded};

/// The longest name of one of them, in bytes.
pub const TOPIC_NAME: usize = 64;
/// The largest message from a client, in bytes.
pub const FROM_CLIENT: usize = 16 * 1024;
/// How long a WebSocket may be open without a stream.
pub const IDLE: Duration = Duration::from_mins(1);

/// Why a WebSocket is closed (RFC 6455, 7.4.1).
const AWAY: u16 = 1001;
const BAD_DATA: u16 = 1007;
const POLICY: u16 = 1008;

pub(super) fn router() -> OpenApiRouter<App> {
    guarded!(follow_by_socket, follow_telemetry_by_socket)
}

/// Opens a WebSocket for several streams.
///
/// The client sends `{"type":"follow","topic":"a","follow":{"device":"dev-01"}}`, where `topic` is a name of its own and `follow` has
/// the parameters of `GET /stream`, and `{"type":"unfollow","topic":"a"}`. It is sent JSON, too, with the `topic`, and with `at`, the
/// position to go on `after`: `event`, as `GET /events` gives it; `at` alone, when a stream begins, and 15 s after the last message;
/// `resync`, that readings were removed and what is missing; `left_out`, how many readings `max_rate` left out; `end`, why a stream
/// ends; `refused`, why one did not begin.
#[utoipa::path(
    get, path = "/ws", tag = "live", operation_id = "follow_by_socket",
    responses(
        (status = 101, description = "The WebSocket is open"),
        (status = 426, description = "The request opens no WebSocket"),
    ),
)]
async fn follow_by_socket(
    door: May<StreamsFollow>,
    CalledBy(credential): CalledBy,
    request_id: RequestId,
    upgrade: Upgrade,
    opening: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Error> {
    let opening = sized(opening)?;
    let place = upgrade.keep();
    Ok(opening.on_upgrade(move |socket| serve(place, socket, Some((door, credential, request_id)), None)))
}

/// Opens a WebSocket with one stream of readings, which takes the parameters of `GET /stream`. Its messages are those of `/ws`,
/// without a `topic`.
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
    CalledBy(credential): CalledBy,
    upgrade: Upgrade,
    opening: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    Query(follow): Query<Follow>,
) -> Result<Response, Error> {
    let follow = Follow { log: follow.log.or_else(|| Some(Lane::Telemetry.to_string())), ..follow };
    let feed = Feed::open(&door, credential, &follow, None).await?;
    let opening = sized(opening)?;
    let place = upgrade.keep();
    Ok(opening.on_upgrade(move |socket| serve(place, socket, None, Some(feed))))
}

fn sized(opening: Result<WebSocketUpgrade, WebSocketUpgradeRejection>) -> Result<WebSocketUpgrade, Error> {
    let opening = opening.map_err(|_| {
        let detail = "this path opens a WebSocket of version 13 over HTTP/1.1";
        Error::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", detail)
    })?;
    Ok(opening.max_message_size(FROM_CLIENT).max_frame_size(FROM_CLIENT))
}

async fn serve(place: Upgraded, socket: WebSocket, asker: Option<Asker>, first: Option<Feed>) {
    let mut streams = Streams { asker, told: Steps::default(), pings: Pings::default() };
    let serving = async {
        let mut socket = socket;
        let closing = match first {
            Some(feed) => match streams.begin(&mut socket, None, feed).await {
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
}

/// What a client asks for.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Ask {
    Follow {
        topic: String,
        #[serde(default)]
        follow: Box<Follow>,
    },
    Unfollow {
        topic: String,
    },
}

/// Who asks for streams, and the id of the request that opened the WebSocket.
type Asker = (May<StreamsFollow>, Credential, RequestId);

/// The streams of one WebSocket.
struct Streams {
    /// Who may ask for more of them; nobody, where the address says what is followed.
    asker: Option<Asker>,
    /// What each of them tells next, by its topic. None has no name: the one that the address says.
    told: Steps<Option<String>, (Feed, Vec<Message>)>,
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
    /// Serves a client until it goes, or is to be told why its WebSocket is closed. What it is told next is asked for when it has
    /// taken what it was told before: a client that does not read costs no memory, and is cut off by the socket's own patience.
    async fn serve(&mut self, socket: &mut WebSocket) -> Result<CloseFrame, Gone> {
        loop {
            let is_idle = self.told.is_empty();
            tokio::select! {
                (topic, told) = self.told.next() => {
                    let (feed, messages) = told.ok_or(Gone)?;
                    if let Some(close) = self.tell(socket, topic, feed, messages).await? {
                        return Ok(close);
                    }
                }
                frame = socket.recv() => match frame.ok_or(Gone)?? {
                    Frame::Text(text) => self.asked(socket, &text).await?,
                    Frame::Close(_) => return Err(Gone),
                    Frame::Binary(_) => return Ok(close(BAD_DATA, "a message is JSON text")),
                    Frame::Ping(_) | Frame::Pong(_) if self.pings.are_too_many() => {
                        return Ok(close(POLICY, "too many pings"));
                    }
                    Frame::Ping(_) | Frame::Pong(_) => {}
                },
                () = sleep(IDLE), if is_idle => return Ok(close(POLICY, "nothing is followed")),
            }
        }
    }

    async fn tell(
        &mut self,
        socket: &mut WebSocket,
        topic: Option<String>,
        feed: Feed,
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
            self.go_on(topic, feed);
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
        let ask = json::parse::<Ask>(text.as_bytes());
        let (topic, begun) = match ask {
            Ok(Ask::Unfollow { topic }) => {
                self.told.remove(&Some(topic));
                return Ok(());
            }
            Ok(Ask::Follow { topic, follow }) => {
                let begun = self.open(&topic, &follow).await;
                (Some(topic), begun)
            }
            Err(error) => (None, Err(error)),
        };
        match begun {
            Ok(feed) => self.begin(socket, topic, feed).await,
            Err(error) => {
                let request_id = self.asker.as_ref().map_or("", |(_, _, id)| id.as_str()).to_owned();
                let problem = Problem { request_id, ..error.into() };
                let refused = json!({ "type": "refused", "topic": topic, "problem": problem });
                Ok(socket.send(Frame::text(refused.to_string())).await?)
            }
        }
    }

    async fn open(&mut self, topic: &str, follow: &Follow) -> Result<Feed, Error> {
        let Some((door, credential, _)) = &self.asker else {
            return Err(Error::field("type", "the address says what is followed here: /ws follows more"));
        };
        if topic.is_empty() || topic.len() > TOPIC_NAME {
            return Err(Error::field("topic", "expected a name of 1 to 64 bytes"));
        }
        if self.told.has(&Some(topic.to_owned())) {
            return Err(Error::field("topic", "is followed already"));
        }
        if !self.told.have_room() {
            return Err(Error::too_many_streams());
        }
        Feed::open(door, credential.clone(), follow, None).await
    }

    async fn begin(&mut self, socket: &mut WebSocket, topic: Option<String>, feed: Feed) -> Result<(), Gone> {
        socket.send(text(topic.as_deref(), &Message::Still(feed.told().clone()))).await?;
        self.go_on(topic, feed);
        Ok(())
    }

    /// Asks a stream that is followed for what it tells next.
    fn go_on(&mut self, topic: Option<String>, mut feed: Feed) {
        self.told.add(topic, async move {
            let messages = feed.next().await;
            (feed, messages)
        });
    }
}

fn close(code: u16, reason: &'static str) -> CloseFrame {
    CloseFrame { code, reason: Utf8Bytes::from_static(reason) }
}

/// A message as the client reads it.
fn text(topic: Option<&str>, message: &Message) -> Frame {
    let told = |kind: &str, at: &Places, more: Value| {
        let mut told = json!({ "type": kind, "at": at.to_string() });
        if let (Some(told), Value::Object(more)) = (told.as_object_mut(), more) {
            told.extend(topic.map(|topic| ("topic".to_owned(), topic.into())));
            told.extend(more);
        }
        told.to_string()
    };
    Frame::text(match message {
        Message::Event(entry, at) => {
            let mut text = told("event", at, json!({}));
            // The event is text already: no value is made of it.
            text.truncate(text.len() - 1);
            text.push_str(",\"event\":");
            text.push_str(&String::from_utf8_lossy(&entry.text()));
            text.push('}');
            text
        }
        Message::Resync(ranges, at) => told("resync", at, json!({ "archived": ranges })),
        Message::LeftOut(count, at) => told("left_out", at, json!({ "readings": count })),
        Message::Still(at) => told("at", at, json!({})),
        Message::End(why, at) => told("end", at, json!({ "code": why.code(), "detail": why.detail() })),
    })
}
