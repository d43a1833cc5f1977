//! A stream that is cut off goes on where it was, on any node.

use std::sync::Arc;

use fleetlog_access::Role;
use fleetlog_event_log::Lane;
use reqwest::Method;
use serde_json::json;

use crate::support::{Api, Stream};

/// Opens the stream again after the last message.
async fn again(api: &Api, query: &str, last: &str) -> Stream {
    let request =
        api.request(Method::GET, &format!("/stream?{query}")).bearer_auth(api.token("t0", Role::Admin));
    let opened = Stream::open(request.header("Last-Event-ID", last)).await;
    opened.unwrap_or_else(|answer| panic!("{last}: {}", answer.text))
}

#[tokio::test]
async fn a_follower_that_is_cut_off_again_and_again_has_every_event_once_and_in_order_whichever_node_it_comes_back_to()
 {
    const READINGS: i64 = 600;
    let api = Arc::new(Api::start().await);
    let other = api.another_node().await;
    let writing = tokio::spawn({
        let api = Arc::clone(&api);
        async move {
            for n in 0..READINGS / 4 {
                let uid = format!("dev-{:02}", n % 20);
                api.publish(&uid, (0..4).map(|of| json!({"n": 4 * n + of}))).await;
            }
        }
    });
    let (mut last, mut positions, mut registered) = (String::new(), vec![], 0);
    for round in 0.. {
        let node = if round % 2 == 0 { &*api } else { &other };
        let mut stream = again(node, "from=start&type=TelemetryRecorded,DeviceRegistered", &last).await;
        for _ in 0..fastrand::usize(1..40) {
            let event = stream.event().await;
            if event["event_type"] == "DeviceRegistered" {
                registered += 1;
            } else {
                positions.push(event["position"].as_i64().expect("a position"));
            }
            if positions.len() == READINGS as usize && registered == 20 {
                break;
            }
        }
        last = stream.last;
        if positions.len() == READINGS as usize && registered == 20 {
            break;
        }
    }
    writing.await.expect("written");
    assert_eq!(positions, (1..=READINGS).collect::<Vec<_>>());
    assert_eq!(registered, 20);
}

#[tokio::test]
async fn a_follower_that_reads_slowly_is_told_everything_from_the_log() {
    // More than the events that are kept in memory for followers.
    const READINGS: i64 = 12_000;
    let api = Api::start().await;
    let mut stream = Stream::of(&api, Role::Admin, "log=telemetry&device=dev-01").await;
    api.publish("dev-01", [json!({"n": 0})]).await;
    assert_eq!(stream.event().await["position"], 1);
    for n in 0..READINGS / 2000 {
        let uid = if n % 2 == 0 { "dev-01" } else { "dev-02" };
        api.publish(uid, (0..2000).map(|n| json!({"n": n, "text": "x".repeat(500)}))).await;
    }
    let told = stream.events(READINGS as usize / 2).await;
    let positions: Vec<i64> =
        told.iter().map(|event| event["position"].as_i64().expect("a position")).collect();
    let block = |n: i64| (2 + 4000 * n)..(2002 + 4000 * n);
    assert_eq!(positions, (0..3).flat_map(block).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_place_that_only_another_node_knows_is_waited_for() {
    let api = Api::start().await;
    let other = api.another_node().await;
    let log_id = api.log_of("t0", Lane::Telemetry);
    let head = api.publish("dev-01", [json!({"n": 0})]).await;
    let mut stream = again(&other, "log=telemetry", &format!("{log_id}:{head}")).await;
    api.publish("dev-01", [json!({"n": 1})]).await;
    assert_eq!(stream.event().await["position"], head + 1);
}
