//! The messages of WebSockets with streams, and why one is closed.

use axum::extract::ws::{CloseFrame, Message as Frame, Utf8Bytes};
use fleetlog_live::Places;
use serde::Deserialize;
use serde_json::{Value, json};
use tungstenite::error::ProtocolError;

use crate::live::feed::Message;
use crate::live::follow::Follow;
use crate::rest::json::Object;
use crate::rest::wire::ChangedWindow;

/// Why a WebSocket is closed (RFC 6455, 7.4.1).
pub(super) const AWAY: u16 = 1001;
const BAD_FRAME: u16 = 1002;
pub(super) const BAD_DATA: u16 = 1007;
pub(super) const POLICY: u16 = 1008;
const TOO_LARGE: u16 = 1009;

/// What a client asks for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ask {
    pub(super) r#type: Asked,
    /// The client's name for the stream.
    pub(super) topic: String,
    pub(super) follow: Option<Object<Follow>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Asked {
    Follow,
    Unfollow,
}

/// What is left of a message that asks for nothing that can be done: what it is about.
#[derive(Deserialize)]
pub(super) struct About {
    pub(super) topic: String,
}

/// What a client is told that has sent what cannot be read. `None`: it has gone.
pub(super) fn closing(error: &axum::Error) -> Option<CloseFrame> {
    let error = std::error::Error::source(error)?.downcast_ref::<tungstenite::Error>()?;
    match error {
        tungstenite::Error::Capacity(_) => Some(close(TOO_LARGE, "a message has 16 KiB at most")),
        tungstenite::Error::Utf8(_) => Some(close(BAD_DATA, "a message is JSON text in UTF-8")),
        tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        tungstenite::Error::Protocol(_) => Some(close(BAD_FRAME, "what was sent is no frame of a WebSocket")),
        _ => None,
    }
}

pub(super) fn close(code: u16, reason: &'static str) -> CloseFrame {
    CloseFrame { code, reason: Utf8Bytes::from_static(reason) }
}

/// A message as the client reads it.
pub(super) fn text(topic: Option<&str>, message: &Message) -> Frame {
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
        Message::Windows(windows, at) => {
            let windows: Vec<_> = windows.iter().map(ChangedWindow::from).collect();
            told("windows", at, json!({ "windows": windows }))
        }
        Message::Resync(ranges, at) => told("resync", at, json!({ "archived": ranges })),
        Message::LeftOut(count, at) => told("left_out", at, json!({ "readings": count })),
        Message::Still(at) => told("at", at, json!({})),
        Message::End(why, at) => told("end", at, json!({ "code": why.code(), "detail": why.detail() })),
    })
}
