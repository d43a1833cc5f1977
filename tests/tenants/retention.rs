//! Readings that are older than a tenant shows.

use chrono::{DateTime, TimeDelta, Utc};
use fleetlog_access::Role;
use reqwest::Method;
use serde_json::{Value, json};

use super::send;
use crate::support::Api;

/// What is shown of `t` in telemetry, windows, the log and `GraphQL`, and as the old device's last reading.
async fn shown(api: &Api, now: DateTime<Utc>) -> Value {
    let get = async |path: &str| send(api, ("t0", Role::Admin), Method::GET, path, None).await.json();
    let moment = |days| (now - TimeDelta::days(days)).to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let (from, to) = (moment(300), moment(-1));
    let readings = get("/telemetry/dev-01?order=asc&count=true").await;
    let of_readings = |items: &Value, value: &dyn Fn(&Value) -> Value| -> Vec<Value> {
        items.as_array().expect("items").iter().map(value).collect()
    };
    let windows = async |step: &str| {
        let path = format!("/telemetry/dev-01/windows?metric=t&from={from}&to={to}&step={step}");
        let series = get(&path).await["series"].clone();
        let windows = series[0]["windows"].as_array().cloned().unwrap_or_default();
        windows.iter().map(|window| window["count"].as_i64().expect("a count")).sum::<i64>()
    };
    let events = get("/events?log=telemetry&aggregate=dev-01&count=true").await;
    let question = format!(
        r#"{{ device(uid: "dev-01") {{ telemetry(order: ASC) {{ totalCount nodes {{ payload }} }}
            metrics {{ nodes {{ count }} }} windows(metric: "t", from: "{from}", to: "{to}", step: "366d") {{ series {{ windows {{ count }} }} }} }}
            old: device(uid: "old") {{ lastReading {{ ts }} }}
            devices {{ nodes {{ uid lastReading {{ ts }} }} }} }}"#
    );
    let asked = api.ask(&question).await;
    assert_eq!(asked["errors"], Value::Null, "{asked}");
    let device = &asked["data"]["device"];
    let mut metrics = vec![];
    for uid in ["dev-01", "old"] {
        let listed = get(&format!("/devices/{uid}/metrics")).await;
        metrics.push(of_readings(&listed["items"], &|item| item["count"].clone()));
    }
    json!({
        "totals": [&readings["total"], &events["total"], &device["telemetry"]["totalCount"]],
        "readings": of_readings(&readings["items"], &|item| item["payload"]["t"].clone()),
        "days": windows("1d").await,
        "year": windows("366d").await,
        "events": of_readings(&events["items"], &|item| item["payload"]["t"].clone()),
        "graphql": of_readings(&device["telemetry"]["nodes"], &|node| node["payload"]["t"].clone()),
        "graphql year": device["windows"]["series"][0]["windows"]
            .as_array().into_iter().flatten().filter_map(|window| window["count"].as_i64()).sum::<i64>(),
        "metrics": metrics,
        "graphql metrics": of_readings(&device["metrics"]["nodes"], &|node| node["count"].clone()),
        "last of old": !get("/devices/old").await["last_reading"].is_null(),
        "graphql last of old": !asked["data"]["old"]["lastReading"].is_null(),
        "lasts in lists": [
            get("/devices").await["items"].as_array().expect("devices").iter()
                .filter(|device| !device["last_reading"].is_null()).count(),
            asked["data"]["devices"]["nodes"].as_array().expect("devices").iter()
                .filter(|device| !device["lastReading"].is_null()).count(),
        ],
    })
}

#[tokio::test]
async fn readings_older_than_the_retention_are_shown_nowhere_and_none_is_deleted() {
    let api = Api::start().await;
    let now = Utc::now();
    let reading = |days: i64| json!({"t": days, "ts": (now - TimeDelta::days(days)).timestamp_millis()});
    api.publish("dev-01", [reading(200), reading(40), reading(10), reading(0)]).await;
    api.publish("old", [reading(40)]).await;
    api.catch_up().await;
    let everything = json!({
        "totals": [4, 4, 4],
        "readings": [200, 40, 10, 0], "days": 4, "year": 4, "events": [200, 40, 10, 0],
        "metrics": [[4], [1]], "graphql metrics": [4],
        "graphql": [200, 40, 10, 0], "graphql year": 4, "last of old": true, "graphql last of old": true,
        "lasts in lists": [2, 2],
    });
    assert_eq!(shown(&api, now).await, everything);
    let keep = async |days: Value| {
        let wanted = Some(json!({ "retention_days": days }));
        send(&api, ("t0", Role::Admin), Method::PATCH, "/tenant", wanted).await
    };
    assert_eq!(keep(json!(30)).await.json()["retention_days"], 30);
    let recent = json!({
        "totals": [2, 2, 2],
        "readings": [10, 0], "days": 2, "year": 2, "events": [10, 0],
        "metrics": [[2], []], "graphql metrics": [2],
        "graphql": [10, 0], "graphql year": 2, "last of old": false, "graphql last of old": false,
        "lasts in lists": [1, 1],
    });
    assert_eq!(shown(&api, now).await, recent);
    keep(Value::Null).await;
    assert_eq!(shown(&api, now).await, everything);
}
