//! Each row of a read model names the event that made it last: what `/events` says, over REST and GraphQL.

use chrono::{DateTime, Utc};
use fleetlog_aggregates::command::Input;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::Executor;

use super::as_of::{sent, writes};
use super::commands::{acknowledged, happens, text};
use crate::support::{Api, eventually};

/// The position of the last event of a stream that changed its row, as `/events` has it.
async fn last(api: &Api, log: &str, aggregate_type: &str, name: &str) -> Value {
    let path = format!("/events?log={log}&aggregate_type={aggregate_type}&aggregate={name}&order=desc");
    let page = api.get(&path).await.json();
    let mut events = page["items"].as_array().expect("items").iter();
    // Credentials are no part of a device's row.
    let last = events.find(|event| !text(event, "event_type").starts_with("DeviceCredential"));
    last.map_or(Value::Null, |last| json!({"log_id": last["log_id"], "position": last["position"]}))
}

/// An event in the words of GraphQL.
fn camel(event: &Value) -> Value {
    event.as_object().map_or(Value::Null, |at| json!({"logId": at["log_id"], "position": at["position"]}))
}

/// The ids of what is looked at.
struct Things {
    commands: Vec<String>,
    batch: String,
}

/// What each row names, by what the row is.
async fn named(api: &Api, things: &Things) -> Vec<(String, Value)> {
    let mut named = vec![];
    for device in api.get("/devices").await.json()["items"].as_array().expect("devices") {
        assert_eq!(api.get(&format!("/devices/{}", text(device, "uid"))).await.json(), *device);
        let query = format!(
            r"{{ device(uid: {}) {{ lastControlEvent {{ logId position }} lastTelemetryEvent {{ logId position }} }} }}",
            device["uid"]
        );
        let asked = api.ask(&query).await["data"]["device"].clone();
        assert_eq!(asked["lastControlEvent"], camel(&device["last_control_event"]), "{asked}");
        assert_eq!(asked["lastTelemetryEvent"], camel(&device["last_telemetry_event"]), "{asked}");
        let name = |lane| format!("{lane} Device {}", text(device, "uid"));
        named.push((name("control"), device["last_control_event"].clone()));
        named
            .push((name("telemetry").replace("Device", "Telemetry"), device["last_telemetry_event"].clone()));
    }
    let listed = api.get("/commands").await.json();
    let asked = api.ask("{ commands { nodes { id lastEvent { logId position } } } }").await;
    for (command, node) in listed["items"]
        .as_array()
        .expect("commands")
        .iter()
        .zip(asked["data"]["commands"]["nodes"].as_array().expect("nodes"))
    {
        assert_eq!((&node["id"], &node["lastEvent"]), (&command["cmd_id"], &camel(&command["last_event"])));
        named.push((format!("control Command {}", text(command, "cmd_id")), command["last_event"].clone()));
    }
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(things.commands.len()));
    let batch = api.get(&format!("/command-batches/{}", things.batch)).await.json();
    assert_eq!(api.get("/command-batches").await.json()["items"], json!([batch]));
    named.push((format!("control CommandBatch {}", things.batch), batch["last_event"].clone()));
    let types = api.get("/command-types").await.json();
    let beep = types["items"].as_array().expect("types").iter().find(|of| of["name"] == "beep").cloned();
    named.push(("control CommandType beep".into(), beep.expect("a type")["last_event"].clone()));
    named
}

/// Each window of a device: its metric, its step, when it starts and ends, and the position that it names.
async fn windows(api: &Api) -> Vec<(String, String, [DateTime<Utc>; 2], Value)> {
    let mut found = vec![];
    for step in ["1m", "1h", "1d", "90m"] {
        let range = r#"from: "2026-03-01T00:00:00Z", to: "2026-03-02T00:00:00Z""#;
        let path = format!(
            "/telemetry/dev-01/windows?from=2026-03-01T00:00:00Z&to=2026-03-02T00:00:00Z&step={step}"
        );
        let answer = api.get(&path).await.json();
        let query = format!(
            r#"{{ device(uid: "dev-01") {{ windows({range}, step: "{step}") {{ logId series {{ windows {{ position }} }} }} }} }}"#
        );
        let asked = api.ask(&query).await["data"]["device"]["windows"].clone();
        assert_eq!(asked["logId"], answer["log_id"]);
        let all = answer["series"]
            .as_array()
            .expect("series")
            .iter()
            .zip(asked["series"].as_array().expect("series"));
        for (series, of_graphql) in all {
            let shown = series["windows"].as_array().expect("windows");
            let positions: Vec<_> =
                shown.iter().map(|window| json!({"position": window["position"]})).collect();
            assert_eq!(of_graphql["windows"], json!(positions), "{step}");
            for window in shown {
                let ends = ["start", "end"].map(|end| text(window, end).parse().expect("a time"));
                found.push((text(series, "metric").into(), step.into(), ends, window["position"].clone()));
            }
        }
    }
    found
}

async fn assert_windows(api: &Api) {
    let events = api.get("/events?log=telemetry&aggregate=dev-01").await.json();
    let events = events["items"].as_array().expect("events");
    let shown = windows(api).await;
    assert!(!shown.is_empty());
    for (metric, step, [start, end], position) in shown {
        let counts = |event: &&Value| {
            let at: DateTime<Utc> = text(event, "occurred_at").parse().expect("a time");
            (start..end).contains(&at) && !event["payload"][&metric].is_null()
        };
        let last = events.iter().filter(counts).filter_map(|event| event["position"].as_i64()).max();
        assert_eq!(position.as_i64(), last, "{metric} in {step} from {start}");
    }
}

/// Something happens to one of the things; each is changed more than once.
async fn step(api: &Api, nth: usize, things: &mut Things) {
    let t = |metric: &str, time: &str| json!({metric: 1, "ts": format!("2026-03-01T{time}Z")});
    match nth {
        // The last in the log is not the last by the device's clock.
        0 => drop(api.publish("dev-01", [t("t", "10:05:00"), t("t", "10:00:10"), t("u", "10:00:00")]).await),
        1 => writes(api, Method::POST, "/devices", json!({"uid": "dev-02"})).await,
        2 => writes(api, Method::PATCH, "/devices/dev-01", json!({"name": "pump"})).await,
        3 => {
            writes(api, Method::POST, "/devices/dev-01/credentials", json!({})).await;
            things.commands.push(sent(api, "ping").await);
        }
        4 => happens(api, &things.commands[0], Input::MarkSent { attempt: 1, at: Utc::now() }).await,
        5 => drop(api.publish("dev-01", [t("t", "10:12:00"), t("t", "09:30:00")]).await),
        6 => happens(api, &things.commands[0], acknowledged()).await,
        7 => {
            things.commands.push(sent(api, "reboot").await);
            let cancel = format!("/commands/{}/cancel", things.commands[1]);
            writes(api, Method::POST, &cancel, json!({})).await;
        }
        8 => writes(api, Method::PUT, "/command-types/beep", json!({"params": {"type": "object"}})).await,
        9 => writes(api, Method::POST, &format!("/command-batches/{}/cancel", things.batch), json!({})).await,
        10 => writes(api, Method::DELETE, "/devices/dev-02", Value::Null).await,
        // An earlier minute of a run that is no longer open, and the next day.
        _ => drop(api.publish("dev-01", [t("u", "10:00:59"), t("t", "09:31:00"), t("t", "23:59:59")]).await),
    }
}

async fn walked() -> (Api, Things) {
    let api = Api::start().await;
    api.ship_types().await;
    writes(&api, Method::PUT, "/command-types/beep", json!({"params": {}})).await;
    api.publish("dev-01", []).await;
    let batch = json!({"selector": {"devices": ["dev-01"]}, "cmd": "ping"});
    api.catch_up().await;
    let batch = api.send(Method::POST, "/command-batches", batch).await.json();
    (api, Things { commands: vec![], batch: text(&batch, "batch_id").into() })
}

#[tokio::test]
async fn a_row_names_the_position_of_the_event_that_made_it_last() {
    let (api, mut things) = walked().await;
    for nth in 0..12 {
        step(&api, nth, &mut things).await;
        api.catch_up().await;
        for (of, at) in named(&api, &things).await {
            let [log, aggregate_type, name] = of.split(' ').collect::<Vec<_>>()[..] else { panic!("{of}") };
            assert_eq!(at, last(&api, log, aggregate_type, name).await, "step {nth}: {of}");
        }
        assert_windows(&api).await;
    }
    // From there it is one request to the thing as the event left it, which names that event.
    for (of, at) in named(&api, &things).await {
        let [_, aggregate_type, name] = of.split(' ').collect::<Vec<_>>()[..] else { panic!("{of}") };
        let (path, field) = match aggregate_type {
            "Device" => (format!("/devices/{name}"), "last_control_event"),
            "Telemetry" if !at.is_null() => (format!("/devices/{name}"), "last_telemetry_event"),
            "Command" => (format!("/commands/{name}"), "last_event"),
            _ => continue,
        };
        let then = api.get(&format!("{path}?as_of={}:{}", at["log_id"], at["position"])).await;
        assert_eq!(then.json()[field], at, "{of}: {}", then.text);
    }
}

#[tokio::test]
async fn a_row_whose_event_is_not_known_names_none_and_a_rebuild_finds_it() {
    let (api, mut things) = walked().await;
    for nth in 0..12 {
        step(&api, nth, &mut things).await;
    }
    api.catch_up().await;
    let known = (named(&api, &things).await, windows(&api).await);
    let mut owner = api.database.owner().await;
    let forget = "UPDATE devices_v1 SET control_position = NULL, telemetry_position = NULL;
                  UPDATE commands_v1 SET last_position = NULL; UPDATE command_batches_v1 SET last_position = NULL;
                  UPDATE command_types_v1 SET last_position = NULL; UPDATE telemetry_windows_v2 SET positions = NULL";
    owner.execute(forget).await.expect("forgotten");
    let unknown = (named(&api, &things).await, windows(&api).await);
    assert!(unknown.0.iter().all(|(_, at)| at.is_null()), "{:?}", unknown.0);
    assert!(unknown.1.iter().all(|(_, _, _, at)| at.is_null()), "{:?}", unknown.1);
    for projection in ["devices", "commands", "telemetry_windows"] {
        let path = format!("/projections/{projection}/rebuild");
        let begun = api.send(Method::POST, &path, json!({})).await;
        assert_eq!(begun.status, StatusCode::ACCEPTED, "{}", begun.text);
        eventually("the rebuild ends", async || {
            let rebuild = api.get(&path).await.json();
            if rebuild["step"] == "swapped" && rebuild["differences"] == 0 { Ok(()) } else { Err(rebuild) }
        })
        .await;
    }
    api.catch_up().await;
    assert_eq!((named(&api, &things).await, windows(&api).await), known);
}
