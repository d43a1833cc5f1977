//! MQTT over WebSocket, on HTTP's port.

use std::net::SocketAddr;

use fleetlog_api::Settings;
use fleetlog_api::server::Limits;
use fleetlog_mqtt::server::{self, Auth};
use reqwest::{Method, StatusCode};
use rstest::rstest;
use serde_json::json;
use tokio::net::TcpStream;

use super::{TOPIC, answered, qos_2};
use crate::support::mqtt::{self, Device, V4, V5};
use crate::support::websocket::{self, BINARY, Bridge, CLOSE, PING, PONG, Socket, TEXT, handshake};
use crate::support::{Api, Node, Server, eventually};

/// A node, and an HTTP server through which WebSockets come to it.
struct Web {
    api: Api,
    node: Node,
    address: SocketAddr,
}

impl Web {
    async fn start() -> Self {
        Self::start_with(Settings::default(), |_| ()).await
    }

    async fn start_with(settings: Settings, change: impl FnOnce(&mut server::Options)) -> Self {
        let api = Api::start_with(settings).await;
        let node = Node::start_on(api.database.options(), |_, endpoint| change(endpoint)).await;
        let address = api.open_websockets(&node, api.app.limits());
        Self { api, node, address }
    }

    /// A client that has been let in.
    async fn client(&self, client_id: &str) -> Socket {
        let mut socket = Socket::open(self.address).await;
        socket.send(&mqtt::connect(V4, client_id, None)).await;
        assert_eq!(socket.mqtt().await, [0x20, 2, 0, 0]);
        socket
    }
}

#[rstest]
#[case(V4, 3)]
#[case(V4, 1 << 20)]
#[case(V5, 5)]
#[case(V5, 1 << 20)]
#[tokio::test]
async fn a_device_does_over_websocket_what_it_does_over_tcp_wherever_frames_end(
    #[case] version: u8,
    #[case] most: usize,
) {
    let web = Web::start().await;
    let bridge = Bridge::to(web.address, most).await;
    let mut device = Device::connect(bridge.address, version, "dev-01").await;
    device.report(TOPIC, r#"{"t":1}"#).await;
    device.report(TOPIC, vec![b'x'; 70_000]).await;
    device.subscribe("t0/devices/dev-01/commands").await;
    for (sent, answer) in
        [(qos_2(version, false), 0x50), (qos_2(version, true), 0x50), (vec![0x62, 2, 0, 6], 0x70)]
    {
        device.send(&sent).await;
        answered(&mut device, answer).await;
    }
    device.send(&[0xc0, 0]).await;
    assert_eq!(device.packet().await.expect("PINGRESP"), [0xd0, 0]);
    assert_eq!(web.node.recorded("t0/dev-01").await.len(), 3);
    // The same client over TCP is the same client.
    Device::connect(web.node.address, version, "dev-01").await;
    device.last_words().await;
}

#[tokio::test]
async fn a_frame_may_have_several_packets_and_other_frames_may_come_between() {
    let web = Web::start().await;
    let mut socket = Socket::open(web.address).await;
    let publish = mqtt::publish(V4, 1, 7, TOPIC.as_bytes(), b"{}");
    let packets = [&mqtt::connect(V4, "dev-01", None)[..], &publish, &[0xc0, 0]].concat();
    let (first, rest) = packets.split_at(20);
    socket.frame(0x02, first).await;
    socket.frame(PING, b"there?").await;
    socket.frame(0x80, rest).await;
    let (mut mqtt, mut pong) = (vec![], None);
    while mqtt.len() < 4 + 2 + 4 || pong.is_none() {
        match socket.next().await.expect("a frame") {
            (BINARY, payload) => mqtt.extend(payload),
            (PONG, payload) => pong = Some(payload),
            other => panic!("{other:02x?}"),
        }
    }
    assert_eq!((&mqtt[..4], pong.as_deref()), (&[0x20, 2, 0, 0][..], Some(&b"there?"[..])));
    assert!(mqtt.ends_with(&[0x40, 2, 0, 7]) || mqtt.ends_with(&[0xd0, 0]), "{mqtt:02x?}");
}

#[tokio::test]
async fn what_is_no_binary_frame_of_a_client_ends_it_with_its_code() {
    let web = Web::start().await;
    for (frame, code) in [
        (websocket::frame(TEXT, b"{}"), 1003),
        (vec![BINARY, 2, 0xc0, 0], 1002),
        (vec![BINARY, 0xff, 0, 0, 0, 0, 0xff, 0, 0, 0, 1, 2, 3, 4], 1009),
    ] {
        for is_let_in in [false, true] {
            let mut socket =
                if is_let_in { web.client("dev-01").await } else { Socket::open(web.address).await };
            socket.bytes(&frame).await;
            // Nobody listens any more, and nobody minds.
            socket.bytes(&vec![0; 50_000]).await;
            assert_eq!(socket.farewell().await, Some(code), "{frame:02x?}");
        }
    }
}

#[tokio::test]
async fn pings_are_no_sign_of_life() {
    let web = Web::start().await;
    let mut connect = mqtt::connect(V4, "dev-01", None);
    let keep_alive = 2 + 6 + 2;
    connect[keep_alive..keep_alive + 2].copy_from_slice(&[0, 1]);
    let mut socket = Socket::open(web.address).await;
    socket.send(&connect).await;
    socket.mqtt().await;
    let mut pings = 0;
    loop {
        socket.frame(PING, b"").await;
        match socket.next().await {
            Some((PONG, _)) => pings += 1,
            Some((CLOSE, _)) | None => break,
            other => panic!("{other:02x?}"),
        }
    }
    assert!(pings > 1);
}

#[tokio::test]
async fn whoever_ends_it_both_take_their_leave() {
    let web = Web::start().await;
    let mut socket = web.client("dev-01").await;
    socket.frame(CLOSE, &[0x03, 0xe9]).await;
    assert_eq!(socket.farewell().await, Some(1001), "the client's code");
    let mut socket = web.client("dev-01").await;
    socket.send(&[0xe0, 0]).await;
    assert_eq!(socket.farewell().await, Some(1000), "after DISCONNECT");
    let mut taken_over = web.client("dev-01").await;
    let mut socket = Socket::open(web.address).await;
    socket.send(&mqtt::connect(V5, "dev-01", None)).await;
    assert_eq!(socket.mqtt().await[0], 0x20);
    assert_eq!(taken_over.farewell().await, Some(1000));
    web.node.stop.cancel();
    assert_eq!(socket.mqtt().await, [0xe0, 1, 0x8b], "the server shuts down");
    assert_eq!(socket.farewell().await, Some(1000));
}

#[tokio::test]
async fn a_handshake_is_answered_as_it_asks() {
    let web = Web::start().await;
    let is = |name: &'static str, value: Option<&'static str>| {
        let mut headers = handshake();
        headers.retain(|(header, _)| *header != name);
        headers.extend(value.map(|value| (name, value)));
        headers
    };
    for (headers, answer) in [
        (handshake(), 101),
        (is("origin", Some("https://elsewhere.example")), 101),
        (is("sec-websocket-protocol", Some("chat, MQTT")), 101),
        (is("connection", Some("keep-alive, Upgrade")), 101),
        (is("sec-websocket-extensions", Some("permessage-deflate")), 101),
        (is("sec-websocket-protocol", None), 400),
        (is("sec-websocket-protocol", Some("mqttv3.1")), 400),
        (is("sec-websocket-version", Some("8")), 426),
        (is("sec-websocket-key", None), 426),
        (is("sec-websocket-key", Some("short")), 426),
        (is("upgrade", None), 426),
        (is("upgrade", Some("h2c")), 426),
        (is("connection", Some("keep-alive")), 426),
    ] {
        let mut stream = TcpStream::connect(web.address).await.expect("connect");
        let head = websocket::ask(&mut stream, &headers).await;
        assert!(head.starts_with(&format!("http/1.1 {answer} ")), "{headers:?}: {head}");
        assert_eq!(head.contains("sec-websocket-version: 13"), answer == 426, "{head}");
        assert_eq!(head.contains("sec-websocket-protocol: mqtt\r\n"), answer == 101, "{head}");
        assert!(!head.contains("sec-websocket-extensions"), "{head}");
    }
    let answer = reqwest::get(format!("http://{}/mqtt", web.address)).await.expect("an answer");
    let problem: serde_json::Value = answer.json().await.expect("JSON");
    assert_eq!(problem["code"], "upgrade_required");
    let without = reqwest::get(format!("{}/mqtt", web.api.url())).await.expect("an answer");
    assert_eq!(without.status(), StatusCode::NOT_FOUND, "devices connect elsewhere");
}

#[tokio::test]
async fn what_is_open_counts_among_mqtt_connections_and_not_among_http() {
    let web = Web::start_with(Settings::default(), |endpoint| endpoint.connections = 4).await;
    let address = web.api.open_websockets(&web.node, Limits::new(1, vec![]));
    let mut open = vec![];
    for nth in 0..4 {
        let mut socket = Socket::open(address).await;
        socket.send(&mqtt::connect(V4, &format!("dev-{nth}"), None)).await;
        assert_eq!(socket.mqtt().await, [0x20, 2, 0, 0]);
        open.push(socket);
    }
    let mut stream = TcpStream::connect(address).await.expect("connect");
    let head = websocket::ask(&mut stream, &handshake()).await;
    assert!(head.starts_with("http/1.1 503 ") && head.contains("retry-after: 1\r\n"), "{head}");
    assert!(Device::dial(web.node.address, V4).await.refused().await, "nor over TCP");
    for socket in &mut open {
        socket.send(&[0xc0, 0]).await;
        assert_eq!(socket.mqtt().await, [0xd0, 0]);
    }
    open.pop();
    eventually("its place", async || {
        let mut stream = TcpStream::connect(address).await.expect("connect");
        let head = websocket::ask(&mut stream, &handshake()).await;
        if head.starts_with("http/1.1 101 ") { Ok(()) } else { Err(head) }
    })
    .await;
}

#[tokio::test]
async fn devices_log_in_and_lose_their_access_as_over_tcp() {
    let web = Web::start_with(Settings::default(), |endpoint| endpoint.auth = Auth::Required).await;
    let admin = web.api.token("t0", fleetlog_access::Role::Admin);
    let send = async |method, path: &str, body: &serde_json::Value| {
        let request = web.api.request(method, path).bearer_auth(&admin).json(body);
        crate::support::api::answer(request).await.json()
    };
    send(Method::POST, "/devices", &json!({ "uid": "dev-01" })).await;
    let issued = send(Method::POST, "/devices/dev-01/credentials", &json!({})).await;
    let password = issued["password"].as_str().expect("a password");
    let bridge = Bridge::to(web.address, 4096).await;
    let log_in = async |login| Device::log_in(bridge.address, V5, "any", login).await;
    assert_eq!(log_in(None).await.err(), Some(0x87));
    assert_eq!(log_in(Some(("t0/dev-01", "guess"))).await.err(), Some(0x86));
    let mut device = log_in(Some(("t0/dev-01", password))).await.expect("let in");
    device.report(TOPIC, "{}").await;
    let path = format!("/devices/dev-01/credentials/{}", issued["credential_id"].as_str().expect("an id"));
    send(Method::DELETE, &path, &json!({})).await;
    let words = device.last_words().await;
    assert!(words.iter().all(|word| word[..] == [0xe0, 1, 0x87]), "{words:02x?}");
}

#[tokio::test]
async fn an_open_endpoint_is_open_to_this_machines_programs_and_not_to_others_pages_or_what_a_proxy_passes_on()
 {
    let web = Web::start().await;
    for (changed, is_let_in) in [
        (vec![], true),
        // What Paho for Python says of itself.
        (vec![("origin", "http://localhost")], true),
        (vec![("host", "[::1]:80"), ("origin", "http://[::1]:80")], true),
        (vec![("origin", "http://localhost:3000")], false),
        (vec![("origin", "https://elsewhere.example")], false),
        (vec![("origin", "null")], false),
        // A name that leads here since the page was loaded.
        (vec![("host", "elsewhere.example"), ("origin", "http://elsewhere.example")], false),
        (vec![("x-forwarded-for", "127.0.0.1")], false),
        (vec![("forwarded", "for=127.0.0.1")], false),
        (vec![("x-real-ip", "127.0.0.1")], false),
        (vec![("via", "1.1 proxy")], false),
    ] {
        let stream = TcpStream::connect(web.address).await.expect("connect");
        let mut headers = handshake();
        headers.retain(|(name, _)| !changed.iter().any(|(other, _)| other == name));
        headers.extend(&changed);
        let mut socket = Socket::open_over(stream, &headers).await;
        socket.send(&mqtt::connect(V4, "dev-01", None)).await;
        let answer = if is_let_in { [0x20, 2, 0, 0] } else { [0x20, 2, 0, 5] };
        assert_eq!(socket.mqtt().await, answer, "{changed:?}");
    }
}

#[tokio::test]
async fn a_client_behind_a_trusted_proxy_has_the_share_of_its_own_address() {
    let proxy = "127.0.0.1".parse().expect("a proxy");
    let web = Web::start_with(Settings { trusted_proxies: vec![proxy], ..Settings::default() }, |_| ()).await;
    let login = ("t0/dev-01", &*"x".repeat(60_000));
    let mut unfinished = mqtt::connect_as(V5, &"x".repeat(60_000), Some(login), None);
    unfinished.pop();
    let open = async |client: &str| {
        let stream = TcpStream::connect(web.address).await.expect("connect");
        let headers = [&handshake()[..], &[("x-forwarded-for", client)]].concat();
        Socket::open_over(stream, &headers).await
    };
    let mut attackers = vec![];
    // One more than an address may have.
    for _ in 0..35 {
        let mut attacker = open("203.0.113.1").await;
        attacker.send(&unfinished).await;
        attackers.push(attacker);
    }
    let finish = async |client| {
        let mut socket = open(client).await;
        socket.send(&unfinished).await;
        socket.send(&unfinished[..1]).await;
        socket
    };
    assert_eq!(finish("203.0.113.2").await.mqtt().await[0], 0x20, "what is whole is answered");
    assert_eq!(finish("203.0.113.1").await.farewell().await, Some(1000), "there is no room for more of it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_present_after_the_server_was_killed() {
    let data = tempfile::tempdir().expect("a directory");
    let connect = mqtt::connect_kept(V5, "dev-01", 0, 3600);
    for is_present in [0, 1, 1] {
        let server = Server::up(data.path()).await;
        let mut socket = Socket::open(server.address()).await;
        socket.send(&connect).await;
        let connack = socket.mqtt().await;
        assert_eq!((connack[0], connack[2..4].to_vec()), (0x20, vec![is_present, 0]));
        if is_present == 0 {
            socket.send(&mqtt::subscribe(V5, 1, "t0/devices/dev-01/commands")).await;
            assert_eq!(socket.mqtt().await[0], 0x90);
        } else {
            let body = json!({ "cmd": "ping" });
            let asked = server.request(Method::POST, "/devices/dev-01/commands").json(&body).send().await;
            assert_eq!(asked.expect("an answer").status(), StatusCode::ACCEPTED);
            let (topic, id, _) = mqtt::published(&drop_expiry(socket.mqtt().await)).expect("a command");
            assert_eq!((&*topic, id > 0), ("t0/devices/dev-01/commands", true), "without a new subscription");
        }
        socket.send(&mqtt::publish(V5, 1, 7, TOPIC.as_bytes(), b"{}")).await;
        while !socket.mqtt().await.ends_with(&[0x40, 2, 0, 7]) {}
        server.kill().await;
    }
}

/// A command without its only property, the time of its expiry.
fn drop_expiry(mut packet: Vec<u8>) -> Vec<u8> {
    let at = packet.windows(2).position(|bytes| bytes == [5, 2]).expect("the properties");
    packet.splice(at..at + 6, [0]);
    packet
}
