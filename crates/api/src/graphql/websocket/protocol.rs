//! The messages and the close codes of graphql-transport-ws, the protocol of the graphql-ws clients:
//! <https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md>.

use std::borrow::Cow;

use async_graphql::ServerError;
use axum::extract::ws::{CloseFrame, Message};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::graphql::question::Ask;

/// The name of the protocol.
pub(super) const PROTOCOL: &str = "graphql-transport-ws";
/// The longest reason of a close, in bytes (RFC 6455, 5.5).
const MAX_REASON: usize = 123;

/// What a client says.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Says {
    /// Begins the connection.
    ConnectionInit {
        /// Who it is, if the request did not say.
        payload: Option<Payload>,
    },
    /// Begins a subscription.
    Subscribe {
        /// The client's name for it.
        id: String,
        /// The subscription.
        payload: Ask,
    },
    /// Ends a subscription.
    Complete {
        /// The client's name for it.
        id: String,
    },
    /// Asks for a pong.
    Ping {},
    /// Answers a ping.
    Pong {},
}

/// The payload of `connection_init`. What else an application puts there is its own.
#[derive(Default, Deserialize)]
pub(super) struct Payload {
    #[serde(alias = "Authorization")]
    authorization: Option<String>,
    token: Option<String>,
}

impl Payload {
    /// The access token or the API key that it has. `Some("")`: what it has is none.
    pub(super) fn token(&self) -> Option<&str> {
        match &self.authorization {
            Some(text) => Some(bearer(text).unwrap_or_default()),
            None => self.token.as_deref(),
        }
    }
}

fn bearer(text: &str) -> Option<&str> {
    let (scheme, token) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// Why the server closes a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Close {
    /// The service stops. The client comes back, to this node or another.
    GoingAway,
    /// A message is none of the protocol's.
    BadRequest,
    /// A subscription came before the acknowledgement.
    Unauthorized,
    /// The caller is not known, or not any more, or may not follow streams.
    Forbidden(&'static str),
    /// There was no `connection_init` in time.
    InitTimeout,
    /// Two subscriptions have one name.
    SubscriberExists,
    /// There were several `connection_init`.
    TooManyInits,
    /// The database could not say who the caller is, or there is no room. The client comes back.
    TryAgain(Cow<'static, str>),
}

impl Close {
    fn parts(self) -> (u16, Cow<'static, str>) {
        let (code, why) = match self {
            Self::TryAgain(why) => return (1013, why),
            Self::GoingAway => (1001, "the service stops: connect again, and go on after the last position"),
            Self::BadRequest => (4400, "Invalid message"),
            Self::Unauthorized => (4401, "Unauthorized"),
            Self::Forbidden(why) => (4403, why),
            Self::InitTimeout => (4408, "Connection initialisation timeout"),
            Self::SubscriberExists => (4409, "Subscriber already exists"),
            Self::TooManyInits => (4429, "Too many initialisation requests"),
        };
        (code, why.into())
    }

    /// The frame that closes.
    pub(super) fn frame(self) -> Message {
        let (code, reason) = self.parts();
        debug_assert!(reason.len() <= MAX_REASON, "{reason}");
        Message::Close(Some(CloseFrame { code, reason: String::from(reason).into() }))
    }
}

/// The client's connection is accepted.
pub(super) fn ack() -> Message {
    Message::text(json!({ "type": "connection_ack" }).to_string())
}

/// The answer to a ping.
pub(super) fn pong() -> Message {
    Message::text(json!({ "type": "pong" }).to_string())
}

/// A message of a subscription.
pub(super) fn next(id: &str, answer: &[u8]) -> Message {
    let mut text = format!(r#"{{"type":"next","id":{},"payload":"#, Value::from(id));
    text.push_str(&String::from_utf8_lossy(answer));
    text.push('}');
    Message::text(text)
}

/// A subscription ends with errors.
pub(super) fn error(id: &str, errors: &[ServerError]) -> Message {
    Message::text(json!({ "type": "error", "id": id, "payload": errors }).to_string())
}

/// A subscription is complete.
pub(super) fn complete(id: &str) -> Message {
    Message::text(json!({ "type": "complete", "id": id }).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rest::authentication::Unknown;

    #[test]
    fn a_token_comes_as_such_or_as_a_header_would_have_it() {
        let token = |payload: Value| {
            let payload: Payload = serde_json::from_value(payload).expect("a payload");
            payload.token().map(str::to_owned)
        };
        assert_eq!(token(json!({ "authorization": "Bearer abc" })).as_deref(), Some("abc"));
        assert_eq!(token(json!({ "Authorization": "bearer  abc", "more": [1] })).as_deref(), Some("abc"));
        assert_eq!(token(json!({ "token": "abc" })).as_deref(), Some("abc"));
        assert_eq!(token(json!({ "authorization": "Basic abc" })).as_deref(), Some(""));
        assert_eq!(token(json!({})), None);
    }

    #[test]
    fn every_reason_fits_into_a_close_frame() {
        let unknown = [Unknown::BadTicket, Unknown::ForeignCookie].map(|why| Close::Forbidden(why.reason()));
        let others = [Close::GoingAway, Close::BadRequest, Close::InitTimeout, Close::TooManyInits];
        for close in unknown.into_iter().chain(others) {
            assert!(close.clone().parts().1.len() <= MAX_REASON, "{close:?}");
        }
    }

    #[test]
    fn a_message_is_one_of_the_protocol_or_none() {
        let says = |text: &str| serde_json::from_str::<Says>(text).is_ok();
        assert!(
            says(r#"{"type":"connection_init"}"#) && says(r#"{"type":"connection_init","payload":null}"#)
        );
        assert!(says(r#"{"type":"ping","payload":{"a":1}}"#) && says(r#"{"id":"1","type":"complete"}"#));
        assert!(says(r#"{"id":"1","type":"subscribe","payload":{"query":"subscription { a }"}}"#));
        for bad in ["", "[]", r#"{"type":"start"}"#, r#"{"type":"subscribe","id":1,"payload":{"query":""}}"#]
        {
            assert!(!says(bad), "{bad}");
        }
    }
}
