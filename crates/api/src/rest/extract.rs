//! What handlers take from a request. Each part is checked, and a refusal is a problem document instead of the
//! framework's own text.

use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{
    ConnectInfo, FromRequest, FromRequestParts, OptionalFromRequestParts, RawPathParams, Request,
};
use axum::response::IntoResponse;
use fleetlog_access::Principal;
use fleetlog_access::session_tokens::Client;
use fleetlog_aggregates::identity::{ONLY_DOTS, is_only_dots};
use fleetlog_engine::commands::idempotency::{BadKey, Key};
use fleetlog_event_log::{Position, place};
use http::request::Parts;
use http::{Extensions, HeaderMap, header};
use serde::de::DeserializeOwned;

use super::RequestId;
use super::authentication::Unknown;
use super::error::Error;
use super::headers::IDEMPOTENCY_KEY;
use super::json;
use super::problem::FieldError;
use super::proxies::{self, Proxies};
use crate::app::App;
use crate::resource::{Nameable, Resource};

/// The caller, as [`authentication`](super::authentication) has found it. Answers 401 where nobody is logged in.
#[derive(Debug, Clone)]
pub struct Caller(pub Principal);

impl FromRequestParts<App> for Caller {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Error> {
        let extensions = &parts.extensions;
        extensions
            .get::<Principal>()
            .cloned()
            .map(Self)
            .ok_or_else(|| extensions.get::<Unknown>().map_or_else(Error::unauthenticated, |why| why.error()))
    }
}

impl OptionalFromRequestParts<App> for Caller {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Option<Self>, Error> {
        Ok(parts.extensions.get::<Principal>().cloned().map(Self))
    }
}

/// The user agent and the address that a session is used from.
impl FromRequestParts<App> for Client {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Error> {
        let Peer(peer) = <Peer as FromRequestParts<App>>::from_request_parts(parts, app).await?;
        let user_agent = parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        Ok(Self { address: peer.map(|peer| peer.to_string()), user_agent: user_agent.map(str::to_owned) })
    }
}

/// The address that a request comes from: the connection's peer, or the address that trusted proxies name.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub Option<IpAddr>);

impl FromRequestParts<App> for Peer {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Error> {
        Ok(Self::of(&parts.extensions, &parts.headers, &app.settings.trusted_proxies))
    }
}

impl Peer {
    /// Finds the address of a request with these extensions and headers.
    pub(super) fn of(extensions: &Extensions, headers: &HeaderMap, trusted: &[Proxies]) -> Self {
        let connected = extensions.get::<ConnectInfo<SocketAddr>>();
        Self(connected.map(|ConnectInfo(address)| proxies::client(address.ip(), headers, trusted)))
    }
}

impl FromRequestParts<App> for RequestId {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Error> {
        // The middleware gives every request an id.
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}

/// The resource that the last part of the path names, for handlers whose door is to something else.
#[derive(Debug, Clone)]
pub struct Named<R: Resource>(pub R::Id);

impl<R: Resource> FromRequestParts<App> for Named<R> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Error> {
        last_name::<R>(parts, app).await.map(Self).ok_or_else(Error::missing::<R>)
    }
}

/// The position of an event, as the last part of the path that is a name. What is no position is answered as a wrong field, and
/// not as an event that is missing.
#[derive(Debug, Clone, Copy)]
pub struct AtPosition(pub Position);

impl FromRequestParts<App> for AtPosition {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Error> {
        let path = RawPathParams::from_request_parts(parts, app).await;
        let position = path.ok().and_then(|path| place::position(path.iter().last()?.1));
        let position = position.filter(|position| *position > 0);
        position.map(Self).ok_or_else(|| Error::field("position", "expected a position: 1, 2, 3 …"))
    }
}

/// The name in the path of something that is to be created. An invalid name is answered as a wrong field.
#[derive(Debug, Clone)]
pub struct NewName<R: Nameable>(pub R::Id);

impl<R: Nameable> FromRequestParts<App> for NewName<R> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Error> {
        let name = last_name::<R>(parts, app).await;
        let name = name.ok_or_else(|| Error::field(R::PARAMETER, R::NAMES))?;
        nameable(R::PARAMETER, R::name(&name))?;
        Ok(Self(name))
    }
}

/// Checks that a URL can name what is to be created.
pub(super) fn nameable(field: &'static str, name: &str) -> Result<(), Error> {
    if is_only_dots(name) { Err(Error::field(field, ONLY_DOTS)) } else { Ok(()) }
}

async fn last_name<R: Resource>(parts: &mut Parts, app: &App) -> Option<R::Id> {
    let path = RawPathParams::from_request_parts(parts, app).await.ok()?;
    path.iter().last().and_then(|(_, name)| R::id(name))
}

/// The client's key for this request: however often the request is sent, it is carried out once.
#[derive(Debug, Clone)]
pub struct IdempotencyKey(pub Option<Key>);

impl FromRequestParts<App> for IdempotencyKey {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Error> {
        let refuse = |reason: &dyn fmt::Display| Error::field("Idempotency-Key", reason);
        let mut values = parts.headers.get_all(IDEMPOTENCY_KEY).iter();
        let Some(value) = values.next() else { return Ok(Self(None)) };
        if values.next().is_some() {
            return Err(refuse(&"given more than once"));
        }
        let key = value.to_str().map_err(|_| BadKey).and_then(str::parse);
        key.map(|key| Self(Some(key))).map_err(|bad: BadKey| refuse(&bad))
    }
}

/// Query parameters. Each must be known, appear at most once, be UTF-8 and hold no NUL.
#[derive(Debug, Clone)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<App> for Query<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Error> {
        parse_query(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

/// No query parameters: any parameter is refused.
#[derive(Debug, Clone, Copy, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoParameters {}

/// Parses a parameter's text. The error names the parameter and the reason.
pub fn parse<T>(field: &'static str, text: Option<&str>) -> Result<Option<T>, Error>
where
    T: FromStr<Err: fmt::Display>,
{
    text.map(|text| text.parse().map_err(|error: T::Err| Error::field(field, error))).transpose()
}

fn parse_query<T: DeserializeOwned>(query: &str) -> Result<T, Error> {
    let mut seen = HashSet::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        // The parser below would replace invalid UTF-8, and Postgres rejects NUL.
        let plain = |text| {
            let text = percent_encoding::percent_decode_str(text).decode_utf8();
            text.ok().filter(|text| !text.contains('\0'))
        };
        let name = plain(name).ok_or_else(|| Error::field("", "a parameter's name is not plain text"))?;
        let refuse = |reason| Error::fields(vec![FieldError::new(name.clone(), reason)]);
        plain(value).ok_or_else(|| refuse("not plain text"))?;
        if !seen.insert(name.clone()) {
            return Err(refuse("given more than once"));
        }
    }
    let pairs = form_urlencoded::parse(query.as_bytes());
    serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(pairs))
        .map_err(|error| json::field_error(&error))
}

/// A JSON body, without unknown fields.
#[derive(Debug, Clone)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<App> for Body<T> {
    type Rejection = Error;

    async fn from_request(request: Request, app: &App) -> Result<Self, Error> {
        if !is_json(request.headers()) {
            return Err(Error::unsupported_media_type());
        }
        json::parse(&read(request, app).await?).map(Self)
    }
}

/// A JSON body, or no body at all, which gives the default value.
#[derive(Debug, Clone)]
pub struct OptionalBody<T>(pub T);

impl<T: DeserializeOwned + Default> FromRequest<App> for OptionalBody<T> {
    type Rejection = Error;

    async fn from_request(request: Request, app: &App) -> Result<Self, Error> {
        let is_json = is_json(request.headers());
        let body = read(request, app).await?;
        match (body.is_empty(), is_json) {
            (true, _) => Ok(Self(T::default())),
            (false, false) => Err(Error::unsupported_media_type()),
            (false, true) => json::parse(&body).map(Self),
        }
    }
}

/// How long a body may take to arrive. Its request holds a turn of its tenant or its address meanwhile.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

async fn read(request: Request, app: &App) -> Result<Bytes, Error> {
    let read = tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(request, app));
    let Ok(read) = read.await else { return Err(Error::malformed("the body did not arrive within 10 s")) };
    read.map_err(|rejection| match rejection.into_response().status() {
        http::StatusCode::PAYLOAD_TOO_LARGE => Error::too_large(),
        _ => Error::malformed("the body broke off"),
    })
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|content_type| {
        content_type
            .split(';')
            .next()
            .is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Parameters {
        limit: Option<u8>,
        name: Option<String>,
    }

    fn refusal(query: &str) -> String {
        parse_query::<Parameters>(query).map_or_else(|error| error.message(), |good| format!("{good:?}"))
    }

    #[test]
    fn a_wrong_parameter_is_named() {
        insta::assert_snapshot!(refusal("limit=x"), @"limit: expected a whole number within the range");
        insta::assert_snapshot!(refusal("limit=-1"), @"limit: expected a whole number within the range");
        insta::assert_snapshot!(refusal("limit="), @"limit: expected a whole number within the range");
        insta::assert_snapshot!(refusal("limt=1"), @"limt: unknown field `limt`, expected `limit` or `name`");
        insta::assert_snapshot!(refusal("limit=1&limit=2"), @"limit: given more than once");
        insta::assert_snapshot!(refusal("name=a%00b"), @"name: not plain text");
        insta::assert_snapshot!(refusal("name=%ff"), @"name: not plain text");
        insta::assert_snapshot!(refusal("%ff=a"), @": a parameter's name is not plain text");
    }

    #[test]
    fn good_parameters_are_read() {
        let parameters: Parameters =
            parse_query("limit=7&name=a+b%C3%A9").unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!((parameters.limit, parameters.name.as_deref()), (Some(7), Some("a bé")));
        assert!(parse_query::<Parameters>("").is_ok());
    }
}
