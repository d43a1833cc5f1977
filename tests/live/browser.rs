//! A page in a real browser, of another origin than the service, that follows by `EventSource` and by WebSocket.

use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::browser::{Browser, Page};
use crate::support::http::{self, Answer};
use crate::support::{Publisher, Server};

const DEVICES: usize = 3;
const EACH: usize = 100;
const ALL: usize = DEVICES * EACH;

/// A page as docs/OPERATIONS.md has it made: it gets a ticket for each connection, and goes on after the last position.
const PAGE: &str = include_str!("browser/page.html");

/// Serves the page, and returns its origin.
async fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let origin = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = async |_| {
                let headers = vec![("content-type", "text/html".to_owned())];
                Some(Answer { status: 200, headers, body: PAGE.into() })
            };
            tokio::spawn(async move { http::converse(stream, answer).await });
        }
    });
    origin
}

/// Waits until both ways have told so many readings.
async fn told(page: &Page, count: usize) {
    page.until(&format!("told.stream.length >= {count} && told.socket.length >= {count}")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_another_origin_has_every_reading_once_and_in_order_although_the_server_is_killed_under_it()
{
    let Some(browser) = Browser::start().await else { return };
    let (directory, origin) = (tempfile::tempdir().expect("a directory"), serve().await);
    let allowed = ["--cors-origins", &origin];
    let server = Server::up_with(directory.path(), "127.0.0.1", &allowed).await;
    let (http, mqtt) = (server.address().port(), server.mqtt());
    let page = browser.open(&origin).await;
    page.run(&format!("begin({}, {})", json!(server.url()), json!(server.token()))).await;
    let publisher = Publisher::start(mqtt, DEVICES, EACH);
    publisher.acknowledged(ALL / 3).await;
    told(&page, ALL / 3).await;
    server.kill().await;
    page.until("lost.stream > 0 && lost.socket > 0").await;
    let server = Server::up_at(directory.path(), http, mqtt, &allowed).await;
    publisher.finish().await;
    told(&page, ALL).await;
    let (stream, socket) = (page.run("told.stream").await, page.run("told.socket").await);
    let positions: Value = (1..=ALL).collect();
    assert_eq!((&stream, &socket), (&positions, &positions));
    assert_eq!(page.complaints().await, [""; 0]);
    assert!(page.picture().await.starts_with(b"RIFF"));
    server.stop().await;
}
