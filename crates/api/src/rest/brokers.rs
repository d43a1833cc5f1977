//! Answers an external broker that asks whether a client may connect, publish or subscribe. Speaks the HTTP protocols
//! of EMQX 5 and of Mosquitto's plugin mosquitto-go-auth.
//!
//! Only brokers may ask: a request from another network, or through a proxy, gets 404. So these routes are not in the
//! `OpenAPI` document. A question that cannot be answered is denied; EMQX gets the denial with status 200, because at
//! any other status it goes on to its next source.

use axum::extract::{FromRequest, FromRequestParts, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Json, Router};
use fleetlog_access as access;
use fleetlog_aggregates::topic::{ACK_FILTER, Channel, STATUS_FILTER, TELEMETRY_FILTER, Topic};
use fleetlog_engine::devices::credentials::Device;
use http::request::Parts;
use http::{StatusCode, header};
use ipnet::IpNet;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::extract::Peer;
use super::proxies::is_passed_on;
use crate::app::App;

pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/mqtt/emqx/auth", any(emqx_auth))
        .route("/mqtt/emqx/acl", any(emqx_acl))
        .route("/mqtt/mosquitto/user", any(mosquitto_user))
        .route("/mqtt/mosquitto/superuser", any(mosquitto_superuser))
        .route("/mqtt/mosquitto/acl", any(mosquitto_acl))
}

/// The networks from which brokers may ask, unless an operator sets others: this machine.
#[must_use]
pub fn loopback() -> Vec<IpNet> {
    ["127.0.0.0/8", "::1/128"].iter().filter_map(|network| network.parse().ok()).collect()
}

/// A request that comes directly from an allowed broker's network.
struct Broker;

impl FromRequestParts<App> for Broker {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, StatusCode> {
        let proxied = is_passed_on(&parts.headers);
        let Ok(Peer(peer)) = Peer::from_request_parts(parts, app).await else {
            return Err(StatusCode::NOT_FOUND);
        };
        let networks = &app.settings.broker_networks;
        let ours = peer.is_some_and(|peer| networks.iter().any(|net| net.contains(&peer.to_canonical())));
        if ours && !proxied { Ok(Self) } else { Err(StatusCode::NOT_FOUND) }
    }
}

/// A broker's question, as JSON or as a form. Unknown fields are ignored.
struct Question<T>(Option<T>);

impl<T: DeserializeOwned> FromRequest<App> for Question<T> {
    type Rejection = StatusCode;

    async fn from_request(request: Request, app: &App) -> Result<Self, StatusCode> {
        let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let is_form = content_type
            .is_some_and(|content_type| content_type.starts_with("application/x-www-form-urlencoded"));
        let Ok(body) = axum::body::Bytes::from_request(request, app).await else { return Ok(Self(None)) };
        Ok(Self(if is_form {
            serde_urlencoded::from_bytes(&body).ok()
        } else {
            serde_json::from_slice(&body).ok()
        }))
    }
}

/// A client that wants to connect.
#[derive(Deserialize)]
struct Login {
    username: String,
    password: String,
}

/// An action of a client, as EMQX names it.
#[derive(Deserialize)]
struct EmqxAccess {
    username: String,
    topic: String,
    action: String,
}

/// An action of a client, as Mosquitto numbers it.
#[derive(Deserialize)]
struct MosquittoAccess {
    username: String,
    topic: String,
    acc: u8,
}

/// An action of a client, whichever broker asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Publish,
    Subscribe,
    /// The client is about to be sent a message of the topic.
    Receive,
}

/// The answer for a client that may connect.
struct LetIn {
    until: Option<i64>,
}

#[derive(Serialize)]
struct EmqxAnswer {
    result: &'static str,
    is_superuser: bool,
    /// When EMQX 5.8 and later end the connection, in seconds of Unix time.
    #[serde(skip_serializing_if = "Option::is_none")]
    expire_at: Option<i64>,
}

async fn emqx_auth(State(app): State<App>, _: Broker, Question(login): Question<Login>) -> Json<EmqxAnswer> {
    let let_in = match login {
        Some(login) => or_not(log_in(&app, &login).await),
        None => None,
    };
    Json(match let_in {
        Some(LetIn { until }) => EmqxAnswer { result: "allow", is_superuser: false, expire_at: until },
        None => EmqxAnswer { result: "deny", is_superuser: false, expire_at: None },
    })
}

async fn emqx_acl(
    State(app): State<App>,
    _: Broker,
    Question(access): Question<EmqxAccess>,
) -> Json<serde_json::Value> {
    let allowed = match access {
        Some(EmqxAccess { username, topic, action }) => {
            let wish = match action.as_str() {
                "publish" => Some(Wish::Publish),
                "subscribe" => Some(Wish::Subscribe),
                _ => None,
            };
            allows(&app, &username, &topic, wish).await.map(|allowed| allowed.then_some(()))
        }
        None => Ok(None),
    };
    Json(json!({ "result": if or_not(allowed).is_some() { "allow" } else { "deny" } }))
}

async fn mosquitto_user(State(app): State<App>, _: Broker, Question(login): Question<Login>) -> Response {
    let let_in = match login {
        Some(login) => or_not(log_in(&app, &login).await),
        None => None,
    };
    mosquitto(let_in.is_some())
}

/// No client is a superuser: the rules hold for every client.
async fn mosquitto_superuser(_: Broker) -> Response {
    mosquitto(false)
}

async fn mosquitto_acl(
    State(app): State<App>,
    _: Broker,
    Question(access): Question<MosquittoAccess>,
) -> Response {
    let Some(MosquittoAccess { username, topic, acc }) = access else { return mosquitto(false) };
    let wish = match acc {
        1 => Some(Wish::Receive),
        2 => Some(Wish::Publish),
        4 => Some(Wish::Subscribe),
        _ => None,
    };
    let allowed = allows(&app, &username, &topic, wish).await.map(|allowed| allowed.then_some(()));
    mosquitto(or_not(allowed).is_some())
}

/// The answer serves both of the plugin's values of `http_response_mode`: `status` and `json`.
fn mosquitto(allowed: bool) -> Response {
    if allowed {
        Json(json!({ "ok": true, "error": "" })).into_response()
    } else {
        StatusCode::FORBIDDEN.into_response()
    }
}

/// Turns a failed look-up into a denial, and writes the error to the log.
fn or_not<T>(answer: Result<Option<T>, access::Error>) -> Option<T> {
    answer.unwrap_or_else(|error| {
        tracing::warn!(%error, "failed to answer a broker; denied");
        None
    })
}

async fn log_in(app: &App, login: &Login) -> Result<Option<LetIn>, access::Error> {
    let Login { username, password } = login;
    if let Some(broker) = &app.settings.broker
        && broker.is(username, password)
    {
        return Ok(Some(LetIn { until: None }));
    }
    let admitted = app.devices.authenticate(username, password.as_bytes()).await?;
    Ok(admitted.map(|admitted| LetIn { until: admitted.expires_at.map(|at| at.timestamp()) }))
}

/// Decides whether a client may do `wish` on `topic`: a device on its own topics while it has a valid credential, a
/// gateway also on those of the devices behind it, and fleetlog itself on the topics that it uses.
async fn allows(app: &App, username: &str, topic: &str, wish: Option<Wish>) -> Result<bool, access::Error> {
    let Some(wish) = wish else { return Ok(false) };
    if app.settings.broker.as_ref().is_some_and(|broker| broker.is_of(username)) {
        return Ok(is_ours(topic, wish));
    }
    let Ok(device) = username.parse::<Device>() else { return Ok(false) };
    // A broker does not say which of them the device has logged in with.
    let speakers = app.devices.speakers(&device).await?;
    Ok(speakers.iter().any(|speaker| match wish {
        Wish::Publish => speaker.may_publish(topic),
        Wish::Subscribe | Wish::Receive => speaker.may_subscribe(topic),
    }))
}

/// Tells whether fleetlog itself does `wish` on `topic` at an external broker.
fn is_ours(topic: &str, wish: Wish) -> bool {
    let channel = Topic::parse(topic).map(|topic| topic.channel);
    match wish {
        Wish::Publish => channel == Some(Channel::Commands),
        Wish::Receive => matches!(channel, Some(Channel::Telemetry | Channel::CommandAck | Channel::Status)),
        Wish::Subscribe => {
            let shared = topic.strip_prefix("$share/").and_then(|shared| shared.split_once('/'));
            [TELEMETRY_FILTER, ACK_FILTER, STATUS_FILTER]
                .contains(&shared.map_or(topic, |(_, filter)| filter))
        }
    }
}
