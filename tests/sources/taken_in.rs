//! Messages on foreign topics, from a device's connection to the windows that are folded from them.

use fleetlog_access::Role;
use fleetlog_aggregates::identity::Tenant;
use fleetlog_engine::ingest::{Fate, Sender};
use fleetlog_projections::verify::verify;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::api::user_id;
use crate::support::{Api, Node, eventually, mqtt};

fn t0() -> Tenant {
    "t0".parse().expect("a tenant")
}

/// An API, and a node beside it to which devices connect.
async fn fleet() -> (Api, Node) {
    let api = Api::start().await;
    let tenant = Some(t0());
    let node = Node::start_on(api.database.options(), |_, options| options.tenant = tenant).await;
    (api, node)
}

async fn define(api: &Api, name: &str, definition: Value) {
    let body = json!({"definition": definition});
    let defined = api.send(Method::PUT, &format!("/sources/{name}"), body).await;
    assert_eq!(defined.status, StatusCode::OK, "{}", defined.text);
}

/// The payloads and flags of a device's readings, in their order.
async fn readings(api: &Api, uid: &str) -> Vec<(Value, Vec<String>)> {
    let page = api.get(&format!("/telemetry/{uid}?order=asc")).await.json();
    let items = page["items"].as_array().expect("readings").iter();
    let flags = |item: &Value| serde_json::from_value(item["flags"].clone()).expect("flags");
    items.map(|item| (item["payload"].clone(), flags(item))).collect()
}

/// Sum and count of a metric, over all windows of a day's length.
async fn total(api: &Api, uid: &str, metric: &str) -> (f64, i64) {
    api.catch_up().await;
    let path = format!("/telemetry/{uid}/windows?metric={metric}&step=1d&from=2026-01-01T00:00:00Z");
    let windows = api.get(&path).await.json();
    let series = windows["series"].as_array().unwrap_or_else(|| panic!("{windows}")).iter();
    let all = series.flat_map(|series| series["windows"].as_array().expect("windows"));
    all.fold((0.0, 0), |(sum, count), window| {
        (sum + window["sum"].as_f64().expect("a sum"), count + window["count"].as_i64().expect("a count"))
    })
}

#[tokio::test]
async fn a_foreign_message_is_kept_as_it_came_and_measured_by_its_source() {
    let (api, node) = fleet().await;
    let preset = api.send(Method::PUT, "/sources/zigbee", json!({"preset": "zigbee2mqtt"})).await;
    assert_eq!(preset.json()["version"], 1, "{}", preset.text);
    let mut device = node.device("bridge").await;
    device.report("zigbee2mqtt/lamp", r#"{"temperature": 21.50,"state":"ON"}"#).await;
    device.report("zigbee2mqtt/lamp/availability", r#"{"state":"offline"}"#).await;
    device.report("t0/devices/lamp/telemetry", r#"{"temperature":1}"#).await;
    eventually("the readings are there", async || {
        let readings = readings(&api, "lamp").await;
        if readings.len() == 3 { Ok(()) } else { Err(readings) }
    })
    .await;
    let kept = readings(&api, "lamp").await;
    let foreign = json!({"source": "zigbee", "topic": "zigbee2mqtt/lamp", "json": {"temperature": 21.50, "state": "ON"}});
    assert_eq!(kept[0], (foreign, vec!["no_msg_id".to_owned(), "no_ts".to_owned(), "sourced".to_owned()]));
    assert!(kept[1].1.contains(&"offline".to_owned()), "{kept:?}");
    assert_eq!(kept[2].0, json!({"temperature": 1}));
    assert_eq!(total(&api, "lamp", "temperature").await, (22.5, 2));
    assert_eq!(total(&api, "lamp", "state").await, (1.0, 1));
}

#[tokio::test]
async fn a_corrected_source_and_a_rebuild_put_the_windows_right_and_leave_the_record_alone() {
    let (api, node) = fleet().await;
    let of = |metrics: Value| json!({"topics": [{"topic": "meters/{uid}", "metrics": metrics}]});
    define(&api, "meters", of(json!({"from": "$.raw"}))).await;
    let mut device = node.device("meter").await;
    for n in 1..=3 {
        device.report("meters/m1", json!({"raw": {"v": n * 1000}, "good": {"v": n}}).to_string()).await;
    }
    eventually("the wrong windows are there", async || {
        let found = total(&api, "m1", "v").await;
        if found == (6000.0, 3) { Ok(()) } else { Err(found) }
    })
    .await;
    let before = readings(&api, "m1").await;
    define(&api, "meters", of(json!({"from": "$.good"}))).await;
    let body = json!({"accept": true});
    let asked = api.send(Method::POST, "/projections/telemetry_windows/rebuild", body).await;
    assert!(asked.status.is_success(), "{}", asked.text);
    eventually("the rebuild ends", async || {
        let rebuild = api.get("/projections/telemetry_windows/rebuild").await.json();
        if rebuild["step"] == "swapped" { Ok(()) } else { Err(rebuild) }
    })
    .await;
    assert_eq!(total(&api, "m1", "v").await, (6.0, 3));
    assert_eq!(readings(&api, "m1").await, before);
    let changes = api.get("/events?log=control&type=SourceDefined").await.json();
    let versions: Vec<_> = changes["items"]
        .as_array()
        .expect("events")
        .iter()
        .map(|event| {
            (event["payload"]["SourceDefined"]["version"].clone(), event["metadata"]["actor"].clone())
        })
        .collect();
    assert_eq!(versions.len(), 2, "{changes}");
    let admin = json!(user_id("t0", Role::Admin));
    assert!(versions.iter().all(|(_, actor)| *actor == admin), "{versions:?}");
    let facts = api.projections.facts("telemetry_windows").expect("a projection");
    let verified = verify(&api.log, facts, 10, |_| {}).await.expect("verified");
    assert_eq!(verified.differences(), 0, "{verified:?}");
}

#[tokio::test]
async fn what_was_refused_is_taken_in_again_once_a_source_takes_its_topic() {
    let (api, node) = fleet().await;
    let mut device = node.device("plug").await;
    device.report("tele/plug/SENSOR", r#"{"Time":"2026-03-01T12:00:00","ENERGY":{"Power":42}}"#).await;
    device.report("nothing/of/ours", "1").await;
    let refused = api.get("/quarantine?reason=bad_topic&order=asc").await.json();
    let ids: Vec<i64> = refused["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|item| item["quarantine_id"].as_i64().expect("a number"))
        .collect();
    assert_eq!(ids.len(), 2, "{refused}");
    let bytes = api.get(&format!("/quarantine/{}/payload", ids[0])).await;
    assert_eq!(
        (bytes.status, bytes.text.as_str()),
        (StatusCode::OK, r#"{"Time":"2026-03-01T12:00:00","ENERGY":{"Power":42}}"#)
    );
    let zone = json!({"preset": "tasmota", "zone": "Europe/Berlin"});
    assert_eq!(api.send(Method::PUT, "/sources/tasmota", zone).await.status, StatusCode::OK);
    let again = api.send(Method::POST, "/quarantine/reprocess", json!({})).await.json();
    assert_eq!((&again["recorded"], &again["next"]), (&json!(1), &json!(null)), "{again}");
    assert_eq!(again["refused"], json!([{"quarantine_id": ids[1], "reason": "bad_topic"}]));
    let left = api.get("/quarantine").await.json();
    assert_eq!(left["items"].as_array().map(Vec::len), Some(1), "{left}");
    assert_eq!(total(&api, "plug", "ENERGY.Power").await, (42.0, 1));
    let acts = api.get("/events?log=control&type=QuarantineReprocessed").await.json();
    let act = &acts["items"][0]["payload"]["QuarantineReprocessed"];
    assert_eq!((&act["recorded"], &act["refused"]), (&json!(1), &json!(1)), "{acts}");
    let nothing = api.send(Method::POST, "/quarantine/reprocess", json!({"ids": ids})).await.json();
    assert_eq!((&nothing["recorded"], &nothing["position"]), (&json!(0), &json!(null)), "{nothing}");
    let viewer = api.send_as(Role::Analyst, Method::POST, "/quarantine/reprocess", Some(json!({}))).await;
    assert_eq!(viewer.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn of_a_message_with_several_readings_the_good_ones_are_stored_and_stay_so_when_it_is_taken_in_again() {
    let (api, node) = fleet().await;
    define(&api, "gateway", json!({"topics": [{"topic": "gw/{gateway}", "uid": "{key}", "each": "$.*"}]}))
        .await;
    let decommissioned = api.publish("d2", [json!({"t": 0})]).await;
    assert!(decommissioned > 0);
    assert!(api.send(Method::DELETE, "/devices/d2", Value::Null).await.status.is_success());
    let sender = Sender { tenant: t0(), speaker: None };
    let payload = r#"{"d1":{"t":1},"d2":{"t":2},"d3":{"t":3}}"#;
    let submit = node.ingest.of_sender(sender).submit("gw/g1", payload.into(), api.log.now()).await;
    let fate = submit.expect("open").await.expect("a fate");
    assert!(matches!(fate, Fate::Quarantined(_)), "{fate:?}");
    for (uid, count) in [("d1", 1), ("d2", 1), ("d3", 1)] {
        assert_eq!(readings(&api, uid).await.len(), count, "{uid}");
    }
    let refused = api.get("/quarantine").await.json();
    let detail = refused["items"][0]["detail"].as_str().expect("a detail");
    assert!(detail.ends_with("its other readings are stored"), "{refused}");
    let again = api.send(Method::POST, "/quarantine/reprocess", json!({})).await.json();
    assert_eq!(again["refused"][0]["reason"], "decommissioned", "{again}");
    assert_eq!((readings(&api, "d1").await.len(), readings(&api, "d3").await.len()), (1, 1));
}

#[tokio::test]
async fn a_login_speaks_for_its_own_device_on_foreign_topics_too() {
    let (api, node) = fleet().await;
    define(
        &api,
        "meters",
        json!({"topics": [{"topic": "meters/{uid}"}, {"topic": "me/telemetry", "uid": "{login}"}]}),
    )
    .await;
    let mut devices = vec![];
    for uid in ["m1", "m2"] {
        api.publish(uid, [json!({"t": 0})]).await;
        let issued = api.send(Method::POST, &format!("/devices/{uid}/credentials"), json!({})).await.json();
        devices.push(issued);
    }
    let login = |issued: &Value| {
        let text = |field: &str| issued[field].as_str().expect("a text").to_owned();
        (text("username"), text("password"))
    };
    let (username, password) = login(&devices[0]);
    let login = Some((username.as_str(), password.as_str()));
    let mut device = mqtt::Device::log_in(node.address, 5, "m1", login).await.expect("let in");
    device.report("meters/m1", r#"{"t":1}"#).await;
    device.report("me/telemetry", r#"{"t":2}"#).await;
    device.report("meters/m2", r#"{"t":3}"#).await;
    assert_eq!((readings(&api, "m1").await.len(), readings(&api, "m2").await.len()), (3, 1));
    assert_eq!(node.quarantined("meters/m2").await, [(Some("t0".to_owned()), "other_device".to_owned())]);
}

#[tokio::test]
async fn a_source_that_cannot_be_used_is_refused_with_the_place_and_the_reason() {
    let api = Api::start().await;
    define(&api, "one", json!({"topics": [{"topic": "tele/{uid}/SENSOR"}]})).await;
    let refused = async |definition: Value| {
        let answer = api.send(Method::PUT, "/sources/other", json!({"definition": definition})).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", answer.text);
        let errors = answer.json()["errors"].as_array().expect("errors").clone();
        errors
            .iter()
            .map(|error| format!("{}: {}", error["field"], error["reason"]))
            .collect::<Vec<_>>()
            .join("\n")
    };
    for (definition, place) in [
        (json!({"topics": [{"topic": "{kind:tele|stat}/{uid}/+"}]}), "tele/{uid}/SENSOR of source one"),
        (json!({"topics": [{"topic": "{a}/devices/{uid}/{b}"}]}), "the topics of devices"),
        (json!({"topics": [{"topic": "x/{y}"}]}), "definition/topics/0/topic"),
        (json!({"topics": [{"topic": "x/{uid}", "time": {"path": "$["}}]}), "definition/topics/0/time/path"),
        (json!({"topics": []}), "definition/topics"),
        (json!({}), "definition"),
    ] {
        let errors = refused(definition.clone()).await;
        assert!(errors.contains(place), "{definition}: {errors}");
    }
    let old = api.send(Method::PUT, "/sources/one", json!({"preset": "tasmota", "replaces": 7})).await;
    assert_eq!(old.refusal(), "409 other_version");
    assert_eq!(api.get("/sources").await.json()["items"].as_array().map(Vec::len), Some(1));
    let retired = api.send_as(Role::Admin, Method::DELETE, "/sources/one", None).await;
    assert_eq!(retired.status, StatusCode::OK, "{}", retired.text);
    let shown = api.get("/sources/one").await.json();
    assert_eq!((&shown["in_use"], &shown["version"]), (&json!(false), &json!(1)));
    define(&api, "other", json!({"topics": [{"topic": "tele/{uid}/SENSOR"}]})).await;
}

#[tokio::test]
async fn a_definition_is_tried_out_without_storing_anything() {
    let api = Api::start().await;
    let test = json!({"preset": "tasmota", "messages": [
        {"topic": "tele/plug/SENSOR", "text": r#"{"ENERGY":{"Power":42}}"#},
        {"topic": "tele/plug/LWT", "base64": "T25saW5l"},
        {"topic": "other", "text": ""},
    ]});
    let answer = api.send(Method::POST, "/sources/test", test).await.json();
    assert_eq!(answer["items"][0]["readings"][0]["metrics"], json!({"ENERGY.Power": 42.0}), "{answer}");
    assert!(
        answer["items"][1]["readings"][0]["flags"]
            .as_array()
            .is_some_and(|flags| flags.contains(&json!("online")))
    );
    assert_eq!(answer["items"][2]["refused"], "the source takes no messages on this topic");
    let presets = api.get("/source-presets").await.json();
    assert_eq!(presets["items"].as_array().map(Vec::len), Some(17));
    assert_eq!(api.get("/sources").await.json()["items"], json!([]));
}
