//! What a stream tells, and what it leaves out.

use fleetlog_access::Role;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Api, Stream, Told};

/// Every event of a log, as `GET /events` gives it.
async fn listed(api: &Api, log: &str) -> Vec<Value> {
    let page = api.get(&format!("/events?log={log}&limit=1000")).await.json();
    page["items"].as_array().expect("items").clone()
}

/// The streams and types of some events, as `dev-01 DeviceRegistered`.
fn names(events: &[Value]) -> Vec<String> {
    let name = |event: &Value| {
        let stream = event["aggregate_id"].as_str().expect("a stream").trim_start_matches("t0/").to_owned();
        format!("{stream} {}", event["event_type"].as_str().expect("a type"))
    };
    events.iter().map(name).collect()
}

#[tokio::test]
async fn a_stream_gives_each_event_as_the_list_of_events_does_those_of_the_past_and_those_to_come() {
    let api = Api::start().await;
    api.publish("dev-01", (0..3).map(|n| json!({"n": n, "text": "a\nb"}))).await;
    let mut stream = Stream::of(&api, Role::Admin, "from=start&log=telemetry").await;
    let mut told = stream.events(3).await;
    api.publish("dev-01", (3..5).map(|n| json!({"n": n}))).await;
    told.extend(stream.events(2).await);
    assert_eq!(told, listed(&api, "telemetry").await);

    let control = listed(&api, "control").await;
    let mut stream = Stream::of(&api, Role::Admin, "from=start&log=control").await;
    assert_eq!(stream.events(control.len()).await, control);
}

#[tokio::test]
async fn the_id_of_a_message_is_the_position_of_each_log_up_to_which_everything_was_told() {
    let api = Api::start().await;
    let (control, telemetry) = (
        api.log_of("t0", fleetlog_event_log::Lane::Control),
        api.log_of("t0", fleetlog_event_log::Lane::Telemetry),
    );
    api.publish("dev-01", [json!({"n": 0})]).await;
    let mut stream = Stream::of(&api, Role::Admin, "").await;
    let head = listed(&api, "control").await.len();
    assert_eq!(stream.last, format!("{control}:{head},{telemetry}:1"), "before the first event");
    api.publish("dev-02", [json!({"n": 0})]).await;
    let mut ids: Vec<_> = vec![];
    for _ in 0..2 {
        let Told { id, data, .. } = stream.next().await.expect("an event");
        ids.push((id, data["event_type"].as_str().expect("a type").to_owned()));
    }
    let all = format!("{control}:{},{telemetry}:2", head + 1);
    assert_eq!(ids[1].0, all);
    assert_ne!(ids[0].0, all, "only the first of the two was told");
}

#[tokio::test]
async fn a_stream_tells_what_passes_all_of_its_filters() {
    let api = Api::start().await;
    api.ship_types().await;
    let labelled = json!({"uid": "dev-03", "labels": {"site": "hanoi"}});
    api.send(Method::POST, "/devices", labelled).await;
    for uid in ["dev-01", "dev-02", "dev-03"] {
        api.publish(uid, [json!({"t": 1}), json!({"pressure": {"inner": 2}})]).await;
    }
    let command = json!({"cmd": "set_interval", "params": {"seconds": 5}});
    let mut cmd_ids = vec![];
    for uid in ["dev-01", "dev-02"] {
        let sent = api.send(Method::POST, &format!("/devices/{uid}/commands"), command.clone()).await;
        cmd_ids.push(sent.json()["cmd_id"].as_str().expect("an id").to_owned());
    }
    let [first, second] = [&cmd_ids[0], &cmd_ids[1]];
    let cancelled = api.send(Method::POST, &format!("/commands/{first}/cancel"), json!({})).await;
    assert!(cancelled.status.is_success(), "{}", cancelled.text);
    api.catch_up().await;
    let reading = |uid: &str| format!("{uid} TelemetryRecorded");
    let cases: &[(&str, Vec<String>)] = &[
        ("log=telemetry&device=dev-01", vec![reading("dev-01"), reading("dev-01")]),
        (
            "log=telemetry&device=dev-01,dev-03&metric=pressure.inner",
            vec![reading("dev-01"), reading("dev-03")],
        ),
        ("log=telemetry&label=site=hanoi", vec![reading("dev-03"), reading("dev-03")]),
        ("type=DeviceRegistered&device=dev-02", vec!["dev-02 DeviceRegistered".into()]),
        (
            "type=CommandRequested,CommandCancelled&device=dev-01",
            vec![format!("{first} CommandRequested"), format!("{first} CommandCancelled")],
        ),
        (&format!("cmd_id={second}"), vec![format!("{second} CommandRequested")]),
        ("aggregate_type=Command&type=CommandCancelled", vec![format!("{first} CommandCancelled")]),
        ("aggregate_type=Command&label=site=hanoi", vec![]),
    ];
    // Something that every stream of the case above would tell after what it told: so nothing is missed by looking too early.
    for (query, expected) in cases {
        let mut stream = Stream::of(&api, Role::Admin, &format!("from=start&{query}")).await;
        let told = stream.events(expected.len()).await;
        assert_eq!(names(&told), *expected, "{query}");
    }
}

#[tokio::test]
async fn a_stream_from_a_time_begins_with_what_was_recorded_after_it() {
    let api = Api::start().await;
    api.publish("dev-01", [json!({"n": 0})]).await;
    let at = listed(&api, "telemetry").await[0]["recorded_at"].as_str().expect("a time").to_owned();
    api.publish("dev-01", [json!({"n": 1})]).await;
    let mut stream = Stream::of(&api, Role::Admin, &format!("log=telemetry&from={at}")).await;
    assert_eq!(stream.event().await["position"], 2);
}

#[tokio::test]
async fn readings_that_come_too_fast_are_left_out_and_counted_and_other_events_are_not() {
    let api = Api::start().await;
    api.publish("dev-01", (0..40).map(|n| json!({"n": n}))).await;
    api.publish("dev-02", (0..2).map(|n| json!({"n": n}))).await;
    let mut stream = Stream::of(&api, Role::Admin, "from=start&log=telemetry&max_rate=0.001").await;
    let mut told = vec![];
    let left_out = loop {
        let next = stream.next().await.expect("a message");
        match &*next.name {
            "" => told.push(next.data["aggregate_id"].clone()),
            _ => break next,
        }
    };
    assert_eq!(told, ["t0/dev-01", "t0/dev-02"]);
    assert_eq!((&*left_out.name, &left_out.data), ("left_out", &json!({"readings": 40})));
    let mut stream = Stream::of(&api, Role::Admin, "from=start&type=DeviceRegistered&max_rate=0.001").await;
    assert_eq!(names(&stream.events(2).await), ["dev-01 DeviceRegistered", "dev-02 DeviceRegistered"]);
}

#[tokio::test]
async fn a_reading_that_is_over_age_is_told_neither_from_memory_nor_from_the_log() {
    let api = Api::start().await;
    let kept = "UPDATE tenants SET retention_days = 1 WHERE tenant = 't0'";
    sqlx::query(kept).execute(&mut api.database.owner().await).await.expect("kept");
    api.log.terms().refresh(api.log.pool()).await.expect("the terms");
    let mut live = Stream::of(&api, Role::Admin, "log=telemetry").await;
    let old = (chrono::Utc::now() - chrono::TimeDelta::days(2)).timestamp_millis();
    api.publish("dev-01", [json!({"n": 0, "ts": old}), json!({"n": 1})]).await;
    let mut past = Stream::of(&api, Role::Admin, "log=telemetry&from=start").await;
    for stream in [&mut live, &mut past] {
        assert_eq!(stream.event().await["position"], 2);
    }
}
