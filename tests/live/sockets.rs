//! Streams over WebSocket.

use std::time::Duration;

use fleetlog_access::Role;
use fleetlog_api::rest;
use fleetlog_api::server::{Limits, serve};
use futures::{SinkExt, StreamExt};
use http::HeaderValue;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use tokio_util::sync::CancellationToken;

use crate::support::{Api, LIMIT, Stream};

/// A WebSocket, as its client has it.
pub(super) struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    pub(super) async fn open(api: &Api, role: Role, path: &str) -> Self {
        Self::try_open(api, path, &[("authorization", &format!("Bearer {}", api.token("t0", role)))])
            .await
            .unwrap_or_else(|status| panic!("{path}: {status}"))
    }

    /// Opens one with some headers, or says with which status it was refused.
    pub(super) async fn try_open(
        api: &Api,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, u16> {
        Self::try_open_at(&format!("{}{path}", api.url().replacen("http", "ws", 1)), headers).await
    }

    async fn try_open_at(url: &str, headers: &[(&'static str, &str)]) -> Result<Self, u16> {
        let mut request = url.into_client_request().expect("a request");
        for (name, value) in headers {
            request.headers_mut().insert(*name, HeaderValue::from_str(value).expect("a header"));
        }
        match connect_async(request).await {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    pub(super) async fn send(&mut self, message: Value) {
        self.0.send(Message::text(message.to_string())).await.expect("sent");
    }

    /// The next message; `None` once the socket is closed.
    async fn next(&mut self) -> Option<Message> {
        loop {
            match tokio::time::timeout(LIMIT, self.0.next()).await.expect("in time")?.ok()? {
                Message::Ping(_) | Message::Pong(_) => {}
                message => return Some(message),
            }
        }
    }

    pub(super) async fn told(&mut self) -> Value {
        match self.next().await {
            Some(Message::Text(text)) => serde_json::from_str(&text).expect("JSON"),
            other => panic!("{other:?}"),
        }
    }

    /// The next message of this type.
    pub(super) async fn of(&mut self, kind: &str) -> Value {
        loop {
            let told = self.told().await;
            if told["type"] == kind {
                return told;
            }
        }
    }
}

#[tokio::test]
async fn a_websocket_of_telemetry_tells_readings_and_goes_on_after_the_last_one() {
    let api = Api::start().await;
    api.publish("dev-01", (0..3).map(|n| json!({"n": n}))).await;
    let mut socket = Socket::open(&api, Role::Viewer, "/ws/telemetry?from=start&device=dev-01").await;
    let listed = api.get("/events?log=telemetry").await.json();
    let mut last = String::new();
    for n in 0..2 {
        let told = socket.of("event").await;
        assert_eq!(told["event"], listed["items"][n], "{told}");
        assert_eq!(told.get("topic"), None);
        last = told["at"].as_str().expect("a place").to_owned();
    }
    drop(socket);
    let mut socket =
        Socket::open(&api, Role::Viewer, &format!("/ws/telemetry?device=dev-01&after={last}")).await;
    assert_eq!(socket.of("event").await["event"], listed["items"][2]);
}

#[tokio::test]
async fn several_streams_come_and_go_over_one_websocket() {
    let api = Api::start().await;
    api.publish("dev-01", [json!({"n": 0})]).await;
    let mut socket = Socket::open(&api, Role::Admin, "/ws").await;
    socket
        .send(json!({"type": "follow", "topic": "a", "follow": {"device": "dev-01", "log": "telemetry"}}))
        .await;
    socket
        .send(
            json!({"type": "follow", "topic": "b", "follow": {"type": "DeviceRegistered", "from": "start"}}),
        )
        .await;
    assert_eq!(socket.of("event").await["topic"], "b");
    api.publish("dev-01", [json!({"n": 1})]).await;
    let told = socket.of("event").await;
    assert_eq!((&told["topic"], &told["event"]["position"]), (&json!("a"), &json!(2)));
    socket.send(json!({"type": "unfollow", "topic": "a"})).await;
    assert_eq!(socket.told().await, json!({"type": "unfollowed", "topic": "a"}));
    // The name is free once the stream has ended.
    socket.send(json!({"type": "follow", "topic": "a", "follow": {"type": "DeviceDecommissioned"}})).await;
    assert_eq!(socket.of("at").await["topic"], "a");
    api.publish("dev-01", [json!({"n": 2})]).await;
    api.publish("dev-02", [json!({"n": 0})]).await;
    let told = socket.of("event").await;
    assert_eq!((&told["topic"], &told["event"]["aggregate_id"]), (&json!("b"), &json!("t0/dev-02")));
}

#[tokio::test]
async fn what_cannot_be_followed_is_refused_and_the_websocket_goes_on() {
    let api = Api::start().await;
    let mut socket = Socket::open(&api, Role::Admin, "/ws").await;
    socket.send(json!({"type": "follow", "topic": "a", "follow": {}})).await;
    assert_eq!(socket.of("at").await["topic"], "a");
    for (ask, field) in [
        (json!({"type": "follow", "topic": "a", "follow": {}}), "topic"),
        (json!({"type": "unfollow", "topic": "b"}), "topic"),
        (json!({"type": "unfollow", "topic": "a", "follow": {}}), "follow"),
        (json!({"type": "follow", "topic": "b", "follow": []}), "follow"),
        (json!({"type": "follow", "topic": "b", "follow": {"device": "a b"}}), "follow.device"),
        (json!({"type": "follow", "topic": "b", "follow": {"cmd_id": "x"}}), "follow.cmd_id"),
        (json!({"type": "follow", "topic": "b", "more": 1}), "more"),
        (json!({"type": "follow"}), "topic"),
        (json!({"type": "follow", "topic": "", "follow": {}}), "topic"),
        (json!({"type": "follow", "topic": "x".repeat(65), "follow": {}}), "topic"),
        (json!({"type": "follow", "topic": "b", "follow": {"max_rate": 0}}), "follow.max_rate"),
        (json!({"type": "follow", "topic": "b", "follow": {"after": "1:-1"}}), "follow.after"),
        (json!({"type": "follow", "topic": "b", "follow": {"devices": "dev-01"}}), "follow.devices"),
        (json!({"type": "stop"}), "type"),
        (json!([]), ""),
    ] {
        socket.send(ask.clone()).await;
        let refused = socket.of("refused").await;
        assert_eq!(refused["problem"]["status"], 422, "{ask}: {refused}");
        assert_eq!(refused["problem"]["errors"][0]["field"], field, "{ask}: {refused}");
        assert_eq!(refused["topic"], ask.get("topic").cloned().unwrap_or_default(), "{refused}");
        assert!(!refused.to_string().contains("body"), "{refused}");
    }
    socket.0.send(Message::text("{")).await.expect("sent");
    let refused = socket.of("refused").await;
    assert_eq!(refused["problem"]["status"], 400);
    assert!(
        refused["problem"]["detail"].as_str().is_some_and(|text| text.starts_with("the message is not JSON")),
        "{refused}"
    );
    for n in 1..32 {
        socket.send(json!({"type": "follow", "topic": n.to_string(), "follow": {}})).await;
        assert_eq!(socket.of("at").await["topic"], n.to_string());
    }
    socket.send(json!({"type": "follow", "topic": "one more", "follow": {}})).await;
    assert_eq!(socket.of("refused").await["problem"]["code"], "too_many_streams");
}

#[tokio::test]
async fn a_websocket_is_closed_with_the_reason() {
    let api = Api::start().await;
    let mut socket = Socket::open(&api, Role::Admin, "/ws").await;
    socket.0.send(Message::binary(vec![0])).await.expect("sent");
    let Some(Message::Close(Some(close))) = socket.next().await else { panic!("not closed") };
    assert_eq!(u16::from(close.code), 1007);

    let mut socket = Socket::open(&api, Role::Viewer, "/ws/telemetry").await;
    let ended = api.send_as(Role::Viewer, Method::POST, "/auth/logout", None).await;
    assert!(ended.status.is_success(), "{}", ended.text);
    assert_eq!(socket.of("end").await["code"], "unauthenticated");
    let Some(Message::Close(Some(close))) = socket.next().await else { panic!("not closed") };
    assert_eq!(u16::from(close.code), 1008);

    let mut socket = Socket::open(&api, Role::Admin, "/ws").await;
    for topic in ["a", "b"] {
        socket.send(json!({"type": "follow", "topic": topic})).await;
        assert_eq!(socket.of("at").await["topic"], topic);
    }
    api.stop();
    for _ in 0..2 {
        assert_eq!(socket.of("end").await["code"], "shutdown");
    }
    let Some(Message::Close(Some(close))) = socket.next().await else { panic!("not closed") };
    assert_eq!(u16::from(close.code), 1001);
}

#[tokio::test]
async fn a_message_has_16_kib_at_most_and_one_that_is_no_text_is_none() {
    let api = Api::start().await;
    for path in ["/ws", "/ws/telemetry"] {
        let mut socket = Socket::open(&api, Role::Admin, path).await;
        let largest = format!(r#"{{"type":"{}"}}"#, "x".repeat(16 * 1024 - 11));
        socket.0.send(Message::text(largest.clone())).await.expect("sent");
        assert_eq!(socket.of("refused").await["problem"]["status"], 422);
        socket.0.send(Message::text(format!("{largest} "))).await.expect("sent");
        let Some(Message::Close(Some(close))) = socket.next().await else { panic!("not closed") };
        assert_eq!((u16::from(close.code), close.reason.as_str()), (1009, "a message has 16 KiB at most"));
    }
    let mut socket = Socket::open(&api, Role::Admin, "/ws").await;
    let text = Frame::message(vec![0xff], OpCode::Data(Data::Text), true);
    socket.0.send(Message::Frame(text)).await.expect("sent");
    let Some(Message::Close(Some(close))) = socket.next().await else { panic!("not closed") };
    assert_eq!(u16::from(close.code), 1007);
}

#[tokio::test]
async fn what_the_address_says_is_followed_is_readings_and_all_that_is() {
    let api = Api::start().await;
    let token = format!("Bearer {}", api.token("t0", Role::Admin));
    let refused = Socket::try_open(&api, "/ws/telemetry?log=control", &[("authorization", &token)]).await;
    assert_eq!(refused.err(), Some(422));
    let headers = [("authorization", &*token), ("x-request-id", "r-1")];
    let opened = Socket::try_open(&api, "/ws/telemetry?log=telemetry", &headers).await;
    let mut socket = opened.unwrap_or_else(|status| panic!("{status}"));
    socket.send(json!({"type": "follow", "topic": "a"})).await;
    let refused = socket.of("refused").await;
    assert_eq!(
        (&refused["topic"], &refused["problem"]["request_id"]),
        (&json!("a"), &json!("r-1")),
        "{refused}"
    );
}

#[tokio::test]
async fn a_ticket_opens_a_websocket_for_a_page_of_another_origin_though_the_browser_sends_a_cookie() {
    let api = Api::start().await;
    let issued = api.send_as(Role::Viewer, Method::POST, "/stream/tickets", None).await;
    let path = format!("/ws?ticket={}", issued.json()["ticket"].as_str().expect("a ticket"));
    let headers = [("cookie", "fleetlog_session=flr_x"), ("origin", "http://localhost:3000")];
    assert_eq!(Socket::try_open(&api, &path, &headers).await.err(), None);
    assert_eq!(Socket::try_open(&api, &path, &headers).await.err(), Some(401), "it is used");
}

#[tokio::test]
async fn a_page_of_another_origin_opens_no_websocket_with_a_browsers_cookie() {
    let api = Api::start().await;
    let login = json!({"email": "admin@localhost", "password": crate::support::api::PASSWORD});
    let logged_in = crate::support::api::answer(api.request(Method::POST, "/auth/login").json(&login)).await;
    let cookie = logged_in.header("set-cookie").split(';').next().expect("a cookie").to_owned();
    assert!(cookie.starts_with("fleetlog_session="), "{cookie}");
    let own = api.url().to_owned();
    for (origin, opened) in [(own.as_str(), true), ("https://evil.example", false), ("null", false)] {
        let socket =
            Socket::try_open(&api, "/ws/telemetry", &[("cookie", &cookie), ("origin", origin)]).await;
        assert_eq!(socket.err(), (!opened).then_some(401), "{origin}");
    }
    let stranger = Socket::try_open(&api, "/ws", &[]).await;
    assert_eq!(stranger.err(), Some(401));
    let plain = api.get("/ws").await;
    assert_eq!(plain.refusal(), "426 upgrade_required");
}

#[tokio::test]
async fn a_client_that_floods_with_pings_is_sent_away() {
    let api = Api::start().await;
    let mut socket = Socket::open(&api, Role::Viewer, "/ws").await;
    for _ in 0..=100 {
        socket.0.send(Message::Ping(vec![0; 125].into())).await.expect("sent");
    }
    let Some(Message::Close(Some(close))) = socket.next().await else { panic!("not closed") };
    assert_eq!((u16::from(close.code), close.reason.as_str()), (1008, "too many pings"));
}

#[tokio::test]
async fn clients_that_do_not_read_hold_up_nobody_who_reads_the_log() {
    let api = Api::start().await;
    // More than the events that are kept in memory for followers.
    for _ in 0..6 {
        api.publish("dev-01", (0..1500).map(|n| json!({"n": n, "text": "x".repeat(1000)}))).await;
    }
    // A server that is patient with them, so that nothing but the steps of their streams lets others on.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a socket");
    let url = format!("ws://{}/ws", listener.local_addr().expect("an address"));
    let limits = Limits { unread: Duration::from_hours(1), ..api.app.limits() };
    let stop = CancellationToken::new();
    let _stopping = stop.clone().drop_guard();
    tokio::spawn(serve(
        vec![listener.into()],
        rest::router(api.app.clone(), fleetlog_dashboard::answer, None),
        limits,
        stop,
    ));
    let authorization = format!("Bearer {}", api.token("t0", Role::Viewer));
    let mut unread = vec![];
    for _ in 0..4 {
        let opened = Socket::try_open_at(&url, &[("authorization", &authorization)]).await;
        let mut socket = opened.unwrap_or_else(|status| panic!("{status}"));
        for n in 0..32 {
            let follow = json!({"log": "telemetry", "from": "start"});
            socket.send(json!({"type": "follow", "topic": n.to_string(), "follow": follow})).await;
        }
        socket.of("event").await;
        unread.push(socket);
    }
    let mut stream = Stream::of(&api, Role::Viewer, "log=telemetry&from=start").await;
    assert_eq!(stream.events(5000).await.len(), 5000);
}
