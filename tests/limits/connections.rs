//! How many HTTP connections there may be, and what a request's frame must be.

use std::net::SocketAddr;

use fleetlog_api::Settings;
use reqwest::{Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::Api;
use crate::support::api::answer;

async fn connect(api: &Api) -> TcpStream {
    let address: SocketAddr = api.url().trim_start_matches("http://").parse().expect("an address");
    TcpStream::connect(address).await.expect("a connection")
}

/// Sends bytes on a connection of their own, and returns the head of the answer, in lower case.
async fn head_of(api: &Api, request: &str) -> String {
    let mut socket = connect(api).await;
    socket.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        assert_ne!(socket.read_buf(&mut answer).await.expect("an answer"), 0, "{answer:?}");
    }
    String::from_utf8_lossy(&answer).to_lowercase()
}

#[tokio::test]
async fn silent_connections_make_room_for_a_client_that_asks() {
    let api = Api::start_with(Settings { connections: 20, ..Settings::default() }).await;
    let mut silent = vec![];
    for _ in 0..100 {
        let mut socket = connect(&api).await;
        // The beginning of HTTP/2, of HTTP/1.1, or nothing.
        let begun = ["PRI * HTTP/2.0", "GET / HT", ""][silent.len() % 3];
        socket.write_all(begun.as_bytes()).await.expect("sent");
        silent.push(socket);
    }
    for _ in 0..3 {
        assert_eq!(answer(api.request(Method::GET, "/healthz")).await.status, StatusCode::OK);
    }
    // The first ones have made room: an end or an error comes at once.
    for silent in &mut silent[..80] {
        let _ = silent.read_to_end(&mut vec![]).await;
    }
}

#[tokio::test]
async fn a_request_has_one_valid_host() {
    let api = Api::start().await;
    for hosts in ["", "host: a\r\nhost: a\r\n", "host: a b\r\n", "host: /\r\n"] {
        let head = head_of(&api, &format!("GET /healthz HTTP/1.1\r\n{hosts}\r\n")).await;
        assert!(head.starts_with("http/1.1 400 "), "{hosts:?}: {head}");
        assert!(head.contains("connection: close"), "{hosts:?}: {head}");
    }
    for request in ["GET /healthz HTTP/1.1\r\nhost:\r\n\r\n", "GET /healthz HTTP/1.0\r\n\r\n"] {
        let head = head_of(&api, request).await;
        assert!(head.contains(" 200 ok"), "{request:?}: {head}");
    }
}

#[tokio::test]
async fn an_answer_to_a_body_that_was_not_read_ends_the_connection_and_says_so() {
    let api = Api::start().await;
    let post = |path: &str, rest: &str| format!("POST {path} HTTP/1.1\r\nhost: a\r\n{rest}");
    let chunked = "content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n";
    for (request, status) in [
        (post("/devices", chunked), "401"),
        (post("/auth/login", "content-type: text/plain\r\ncontent-length: 100000\r\n\r\n{"), "415"),
        (post("/auth/login", "content-type: application/json\r\ncontent-length: 2000000\r\n\r\n{"), "413"),
        (post("/nowhere", "content-length: 10\r\n\r\n{"), "404"),
    ] {
        let head = head_of(&api, &request).await;
        assert!(head.starts_with(&format!("http/1.1 {status} ")), "{request:?}: {head}");
        assert!(head.contains("connection: close"), "{request:?}: {head}");
    }
    let read = post("/auth/login", "content-type: application/json\r\ncontent-length: 2\r\n\r\n{}");
    let head = head_of(&api, &read).await;
    assert!(head.starts_with("http/1.1 422 ") && !head.contains("connection: close"), "{head}");
}

#[tokio::test]
async fn a_head_is_at_most_32_kib() {
    let api = Api::start().await;
    let head =
        head_of(&api, &format!("GET /healthz HTTP/1.1\r\nhost: a\r\nx: {}", "a".repeat(64 << 10))).await;
    assert!(head.starts_with("http/1.1 431 "), "{head}");
}
