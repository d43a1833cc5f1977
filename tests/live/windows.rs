//! Minutes of readings, as readings change them, by the doors that REST has.

use std::collections::BTreeMap;

use fleetlog_access::Role;
use reqwest::Method;
use serde_json::{Value, json};

use super::sockets::Socket;
use crate::support::{Api, LIMIT, Stream};

fn reading(minute: i64, second: i64, t: i64) -> Value {
    json!({"ts": format!("2026-03-01T12:{minute:02}:{second:02}Z"), "t": t, "u": 1})
}

fn start(minute: i64) -> String {
    format!("2026-03-01T12:{minute:02}:00Z")
}

/// The minutes of a message: device, metric, start, count and sum.
fn minutes(message: &Value) -> Vec<Value> {
    let windows = message["windows"].as_array().unwrap_or_else(|| panic!("{message}")).iter();
    windows
        .map(|minute| {
            json!([minute["device_uid"], minute["metric"], minute["start"], minute["count"], minute["sum"]])
        })
        .collect()
}

#[tokio::test]
async fn a_stream_of_minutes_tells_each_as_it_is_and_goes_on_after_the_last_id_on_any_node() {
    let api = Api::start().await;
    let mut stream = Stream::of(&api, Role::Viewer, "windows=1m&device=dev-01,dev-02&metric=t").await;
    api.publish("dev-03", [reading(0, 0, 100)]).await;
    api.publish("dev-01", [reading(0, 1, 1), reading(0, 2, 2), reading(1, 0, 7)]).await;
    let first = stream.next().await.expect("a message");
    assert_eq!(first.name, "", "{first:?}");
    let told = [json!(["dev-01", "t", start(0), 2, 3.0]), json!(["dev-01", "t", start(1), 1, 7.0])];
    assert_eq!(minutes(&first.data), told);
    // Each as the list of windows has it.
    let path = "/telemetry/dev-01/windows?metric=t&step=1m&from=2026-03-01T12:00:00Z&to=2026-03-01T12:01:00Z";
    let mut listed = api.get(path).await.json()["series"][0]["windows"][0].clone();
    listed["device_uid"] = json!("dev-01");
    listed["metric"] = json!("t");
    assert_eq!(first.data["windows"][0], listed);
    // Late, and in another minute than the last one; and of the other device.
    api.publish("dev-01", [reading(0, 3, 4)]).await;
    assert_eq!(
        minutes(&stream.next().await.expect("a message").data),
        [json!(["dev-01", "t", start(0), 3, 7.0])]
    );
    api.publish("dev-02", [reading(5, 0, 9)]).await;
    assert_eq!(
        minutes(&stream.next().await.expect("a message").data),
        [json!(["dev-02", "t", start(5), 1, 9.0])]
    );

    // Whoever was cut off after the first message is told what has changed since.
    let other = api.another_node().await;
    let request = other.request(Method::GET, "/stream?windows=1m&device=dev-01,dev-02&metric=t");
    let request = request.bearer_auth(other.token("t0", Role::Viewer)).header("Last-Event-ID", first.id);
    let mut again = Stream::open(request).await.unwrap_or_else(|answer| panic!("{}", answer.text));
    let told = [json!(["dev-01", "t", start(0), 3, 7.0]), json!(["dev-02", "t", start(5), 1, 9.0])];
    assert_eq!(minutes(&again.next().await.expect("a message").data), told);
    assert_eq!(again.last, stream.last);
}

#[tokio::test]
async fn minutes_come_over_both_websockets_and_go_on_after_the_last_position() {
    let api = Api::start().await;
    let mut alone = Socket::open(&api, Role::Viewer, "/ws/telemetry?windows=1m&device=dev-01").await;
    let mut socket = Socket::open(&api, Role::Viewer, "/ws").await;
    let follow = json!({"type": "follow", "topic": "a", "follow": {"windows": "1m", "device": "dev-01", "metric": "t"}});
    socket.send(follow).await;
    socket.of("at").await;
    api.publish("dev-01", [reading(0, 1, 1), reading(0, 2, 2)]).await;
    let both = ["t", "u"]
        .map(|metric| json!(["dev-01", metric, start(0), 2, if metric == "t" { 3.0 } else { 2.0 }]));
    let told = alone.of("windows").await;
    assert_eq!((minutes(&told), told.get("topic")), (both.to_vec(), None));
    let told = socket.of("windows").await;
    assert_eq!((minutes(&told), &told["topic"]), (vec![both[0].clone()], &json!("a")));
    drop(socket);
    api.publish("dev-01", [reading(2, 0, 5)]).await;
    let path = format!("/ws/telemetry?windows=1m&metric=t&after={}", told["at"].as_str().expect("a place"));
    let mut socket = Socket::open(&api, Role::Viewer, &path).await;
    assert_eq!(minutes(&socket.of("windows").await), [json!(["dev-01", "t", start(2), 1, 5.0])]);
}

#[tokio::test]
async fn the_last_message_of_a_minute_is_what_the_minute_is_for_every_device_of_a_fleet() {
    const DEVICES: usize = 45;
    const READINGS: i64 = 4;
    let api = Api::start().await;
    let mut stream = Stream::of(&api, Role::Viewer, "windows=1m&metric=t").await;
    for n in 0..READINGS {
        for device in 0..DEVICES {
            api.publish(&format!("dev-{device:02}"), [reading(n % 2, n, n)]).await;
        }
    }
    let mut last = BTreeMap::new();
    let all = async {
        while last.len() < 2 * DEVICES || last.values().any(|count: &i64| *count < READINGS / 2) {
            for minute in minutes(&stream.next().await.expect("a message").data) {
                let count = minute[3].as_i64().expect("a count");
                let before = last.insert((minute[0].to_string(), minute[2].to_string()), count);
                assert!(before.is_none_or(|before| before <= count), "{minute}");
            }
        }
    };
    tokio::time::timeout(LIMIT, all).await.expect("all minutes");
    assert!(last.values().all(|count| *count == READINGS / 2), "{last:?}");
}

#[tokio::test]
async fn what_are_no_minutes_of_readings_is_refused() {
    let api = Api::start().await;
    for (query, field) in [
        ("windows=1h", "windows"),
        ("windows=month", "windows"),
        ("windows=", "windows"),
        ("windows=1m&log=control", "windows"),
        ("windows=1m&actor=x", "actor"),
        ("windows=1m&max_rate=1", "max_rate"),
    ] {
        let refused = api.get(&format!("/stream?{query}")).await;
        assert_eq!(
            (refused.refusal().as_str(), &refused.json()["errors"][0]["field"]),
            ("422 invalid", &json!(field)),
            "{query}: {}",
            refused.text
        );
    }
}
