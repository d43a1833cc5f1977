//! A client of graphql-transport-ws, as the graphql-ws clients speak it.

use futures::{SinkExt, StreamExt};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::LIMIT;
use super::api::Api;
use fleetlog_access::Role;

/// A connection.
pub(crate) struct Socket {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

/// What the server says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Said {
    /// A message of the protocol.
    Message(Value),
    /// The close, with its code and its reason; nothing at all if there was none.
    Closed(Option<(u16, String)>),
}

impl Said {
    /// The payload of the next message of a subscription.
    #[track_caller]
    pub(crate) fn payload(self, id: &str) -> Value {
        match self {
            Self::Message(message) if message["type"] == "next" && message["id"] == id => {
                message["payload"].clone()
            }
            other => panic!("no next message of {id}: {other:?}"),
        }
    }

    /// The code of the close.
    #[track_caller]
    pub(crate) fn code(&self) -> u16 {
        match self {
            Self::Closed(Some((code, _))) => *code,
            other => panic!("no close: {other:?}"),
        }
    }
}

impl Socket {
    /// Opens a connection, or returns the status that it was refused with.
    pub(crate) async fn open(
        api: &Api,
        path: &str,
        protocol: Option<&str>,
        headers: HeaderMap,
    ) -> Result<Self, u16> {
        let url = format!("{}{path}", api.url().replace("http://", "ws://"));
        let mut request = url.into_client_request().expect("a request");
        request.headers_mut().extend(headers);
        if let Some(protocol) = protocol {
            let protocol = HeaderValue::from_str(protocol).expect("a protocol");
            request.headers_mut().insert("sec-websocket-protocol", protocol);
        }
        match connect_async(request).await {
            Ok((socket, _)) => Ok(Self { socket }),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// Opens a connection without saying who it is.
    pub(crate) async fn anonymous(api: &Api) -> Self {
        let opened = Self::open(api, "/graphql/ws", Some("graphql-transport-ws"), HeaderMap::new()).await;
        opened.unwrap_or_else(|status| panic!("{status}"))
    }

    /// Opens a connection as the default tenant's user of a role, as far as the acknowledgement.
    pub(crate) async fn of(api: &Api, role: Role) -> Self {
        let token = format!("Bearer {}", api.token("t0", role));
        let token = HeaderValue::from_str(&token).expect("a token");
        let headers = HeaderMap::from_iter([(AUTHORIZATION, token)]);
        let opened = Self::open(api, "/graphql/ws", Some("graphql-transport-ws"), headers).await;
        let mut socket = opened.unwrap_or_else(|status| panic!("{status}"));
        socket.say(json!({"type": "connection_init"})).await;
        assert_eq!(socket.next().await, Said::Message(json!({"type": "connection_ack"})));
        socket
    }

    pub(crate) async fn say(&mut self, message: Value) {
        self.say_text(&message.to_string()).await;
    }

    pub(crate) async fn say_text(&mut self, text: &str) {
        // Where the server has closed the connection, its close is what comes next.
        let _ = self.socket.send(Message::text(text)).await;
    }

    pub(crate) async fn say_binary(&mut self, bytes: &[u8]) {
        let _ = self.socket.send(Message::binary(bytes.to_vec())).await;
    }

    /// Subscribes.
    pub(crate) async fn subscribe(&mut self, id: &str, query: &str, variables: Value) {
        let payload = json!({"query": query, "variables": variables});
        self.say(json!({"type": "subscribe", "id": id, "payload": payload})).await;
    }

    /// Subscribes, and takes the first message, which has a position and nothing else. Returns its data.
    pub(crate) async fn follow(&mut self, id: &str, query: &str, variables: Value) -> Value {
        self.subscribe(id, query, variables).await;
        self.data(id).await
    }

    /// What the server says next.
    pub(crate) async fn next(&mut self) -> Said {
        loop {
            match tokio::time::timeout(LIMIT, self.socket.next()).await.expect("in time") {
                Some(Ok(Message::Text(text))) => {
                    return Said::Message(serde_json::from_str(&text).expect("JSON"));
                }
                Some(Ok(Message::Close(frame))) => {
                    return Said::Closed(frame.map(|frame| (frame.code.into(), frame.reason.to_string())));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Said::Closed(None),
            }
        }
    }

    /// The data of the next message, which is one of this subscription.
    pub(crate) async fn data(&mut self, id: &str) -> Value {
        let payload = self.next().await.payload(id);
        assert_eq!(payload["errors"], Value::Null, "{payload}");
        let data = payload["data"].as_object().and_then(|data| data.values().next());
        data.unwrap_or_else(|| panic!("no data: {payload}")).clone()
    }
}
