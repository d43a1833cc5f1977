//! Followers of a server that is killed.

use std::time::Duration;

use fleetlog_event_log::backoff::Backoff;
use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::support::{Publisher, Server, Stream};

const DEVICES: usize = 5;
const EACH: usize = 200;

/// How followers reach the server that runs now.
type Way = watch::Receiver<RequestBuilder>;

fn way(server: &Server) -> RequestBuilder {
    server.request(Method::GET, "/stream?from=start&log=telemetry")
}

/// Follows from the first reading on, over streams that it cuts off itself or that the server's death does. Returns the events.
async fn follow(way: Way) -> Vec<Value> {
    let (mut last, mut told) = (String::new(), vec![]);
    let mut pauses = Backoff::new(Duration::from_millis(20), Duration::from_millis(20));
    while told.len() < DEVICES * EACH {
        let request = way.borrow().try_clone().expect("no body").header("Last-Event-ID", &last);
        let Ok(Ok(mut stream)) = Stream::try_open(request).await else {
            // Nobody is there, or not ready yet.
            pauses.wait().await;
            continue;
        };
        for _ in 0..fastrand::usize(1..200) {
            let Some(next) = stream.next().await.filter(|next| next.name.is_empty()) else { break };
            told.push(next.data);
            if told.len() == DEVICES * EACH {
                break;
            }
        }
        last = stream.last;
    }
    told
}

#[tokio::test]
async fn followers_have_every_reading_once_and_in_order_although_the_server_is_killed_twice() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut server = Server::up(directory.path()).await;
    let mqtt = server.mqtt();
    let (current, ways) = watch::channel(way(&server));
    let mut followers: JoinSet<_> = (0..4).map(|_| follow(ways.clone())).collect();
    let publisher = Publisher::start(mqtt, DEVICES, EACH);
    for part in 1..=2 {
        publisher.acknowledged(part * DEVICES * EACH / 3).await;
        server.kill().await;
        server = Server::up_on(directory.path(), mqtt).await;
        drop(current.send_replace(way(&server)));
    }
    publisher.finish().await;
    let mut listed = vec![];
    while let Some(after) = (listed.len() < DEVICES * EACH).then_some(listed.len()) {
        let page = server.get(&format!("/events?log=telemetry&limit=1000&after={after}")).await;
        listed.extend(page["items"].as_array().expect("items").clone());
    }
    while let Some(told) = followers.join_next().await {
        assert_eq!(told.expect("followed"), listed);
    }
    server.stop().await;
}
