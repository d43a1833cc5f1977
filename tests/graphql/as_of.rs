//! Answers as of earlier moments over `GraphQL`: what REST says.

use chrono::Utc;
use fleetlog_access::Role;
use fleetlog_aggregates::command::Input;
use reqwest::Method;
use serde_json::{Value, json};

use super::code;
use crate::rest::as_of::{Moment, newest, only_hanoi, sent, writes};
use crate::rest::commands::{acknowledged, happens};
use crate::support::Api;

const ALL: &str = "query ($uid: String!, $id: ID!, $time: DateTime, $position: String) {
    device(uid: $uid, asOf: $time, asOfPosition: $position) {
        uid name labels status messages duplicates lastReading { payload } asOf
        commands { nodes { id status asOf history { eventType } } } }
    devices(first: 1, asOf: $time, asOfPosition: $position) {
        totalCount asOf pageInfo { hasNextPage endCursor } nodes { uid status asOf } }
    commands(first: 1, asOf: $time, asOfPosition: $position) {
        totalCount asOf pageInfo { hasNextPage } nodes { id status asOf } }
    command(id: $id, asOf: $time, asOfPosition: $position) { status attempts asOf history { eventType } } }";

async fn ask(api: &Api, query: &str, variables: Value) -> Value {
    api.send(Method::POST, "/graphql", json!({"query": query, "variables": variables})).await.json()
}

/// Two devices, and two commands of which the first was sent. Then everything changes.
async fn changed() -> (Api, String, Moment) {
    let api = Api::start().await;
    api.ship_types().await;
    api.publish("dev-01", [json!({"msg_id": "a", "t": 1})]).await;
    writes(&api, Method::POST, "/devices", json!({"uid": "dev-02", "labels": {"site": "hanoi"}})).await;
    let (first, _) = (sent(&api, "ping").await, sent(&api, "reboot").await);
    happens(&api, &first, Input::MarkSent { attempt: 1, at: Utc::now() }).await;
    let then = newest(&api).await;
    happens(&api, &first, acknowledged()).await;
    sent(&api, "ping").await;
    api.publish("dev-01", [json!({"msg_id": "b", "t": 2})]).await;
    writes(&api, Method::PATCH, "/devices/dev-01", json!({"name": "renamed"})).await;
    writes(&api, Method::POST, "/devices", json!({"uid": "dev-00"})).await;
    api.catch_up().await;
    (api, first, then)
}

#[tokio::test]
async fn every_field_of_an_answer_is_as_of_its_moment() {
    let (api, first, Moment { position, recorded_at }) = changed().await;
    let told = async |moment: Value| {
        let mut variables = json!({"uid": "dev-01", "id": first});
        variables.as_object_mut().expect("fields").extend(moment.as_object().expect("fields").clone());
        let answer = ask(&api, ALL, variables).await;
        assert_eq!(answer["errors"], Value::Null, "{answer}");
        answer["data"].clone()
    };
    let mut then = told(json!({"position": position})).await;
    let by_rest = api.get(&format!("/devices/dev-01?as_of={position}")).await;
    let both: Vec<_> = by_rest.header("as-of").split(", ").collect();
    let control = [both[0]];
    let device = &then["device"];
    assert_eq!(device["lastReading"]["payload"], json!({"msg_id": "a", "t": 1}));
    assert_eq!((&device["name"], &device["duplicates"]), (&Value::Null, &Value::Null));
    assert_eq!((&device["messages"], &device["status"]), (&json!(1), &json!("ONLINE")));
    assert_eq!(device["asOf"], json!(both));
    let of_device = device["commands"]["nodes"].as_array().expect("nodes");
    let states: Vec<_> = of_device.iter().map(|node| (&node["status"], &node["asOf"])).collect();
    assert_eq!(states, [(&json!("REQUESTED"), &json!(control)), (&json!("SENT"), &json!(control))]);
    let steps = json!([{"eventType": "CommandRequested"}, {"eventType": "CommandSent"}]);
    assert_eq!(of_device[1]["history"], steps, "the steps up to then");
    assert_eq!(then["command"], json!({"status": "SENT", "attempts": 1, "asOf": control, "history": steps}));
    let page = &then["devices"];
    assert_eq!(page["nodes"], json!([{"uid": "dev-01", "status": "ONLINE", "asOf": both}]));
    assert_eq!((&page["totalCount"], &page["asOf"]), (&json!(2), &json!(both)));
    let commands = &then["commands"];
    assert_eq!((&commands["totalCount"], &commands["asOf"]), (&json!(2), &json!(control)));
    assert_eq!(commands["nodes"][0]["status"], "REQUESTED");
    // Cursors name their moment as the question does.
    let mut by_time = told(json!({"time": recorded_at})).await;
    for told in [&mut then, &mut by_time] {
        assert!(told["devices"]["pageInfo"]["endCursor"].take().is_string());
    }
    assert_eq!(by_time, then);
    let now = told(json!({})).await;
    assert_eq!((&now["device"]["asOf"], &now["device"]["duplicates"]), (&Value::Null, &json!(0)));
    assert_eq!((&now["command"]["asOf"], &now["devices"]["asOf"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn pages_follow_each_other_at_one_moment() {
    let (api, _, Moment { position, .. }) = changed().await;
    for (list, of_node, expected) in [("devices", "uid", 2), ("commands", "id", 2)] {
        let query = format!(
            "query ($after: String, $at: String) {{ {list}(first: 1, after: $after, asOfPosition: $at) {{
                pageInfo {{ hasNextPage hasPreviousPage endCursor }} nodes {{ {of_node} }} }} }}"
        );
        let first = ask(&api, &query, json!({"at": position})).await["data"][list].clone();
        let after = first["pageInfo"]["endCursor"].clone();
        let second = ask(&api, &query, json!({"at": position, "after": after})).await["data"][list].clone();
        assert_ne!(first["nodes"], second["nodes"], "{list}");
        let has_next = [&first, &second].map(|page| page["pageInfo"]["hasNextPage"].clone());
        assert_eq!(has_next, [json!(true), json!(false)], "{list}: {expected}");
        let now = ask(&api, &query, json!({"after": after})).await;
        assert_eq!(code(&now), "invalid", "{list}: {now}");
    }
}

#[tokio::test]
async fn what_cannot_be_answered_as_of_a_moment_says_what_to_ask_instead() {
    let (api, first, Moment { position, recorded_at }) = changed().await;
    let control: &str = position.split_once(':').expect("a position").0;
    let head = api.get("/events?order=desc&limit=1").await.json()["items"][0]["position"].clone();
    let beyond = format!("asOfPosition: expected a position up to {head}, where the log ends now");
    let cursor = async |list: &str| {
        let query = format!("{{ {list} {{ pageInfo {{ endCursor }} }} }}");
        let answer = api.ask(&query).await;
        answer["data"]["devices"]["pageInfo"]["endCursor"].as_str().expect("a cursor").to_owned()
    };
    let by_time = cursor("devices(first: 1, sort: LAST_SEEN_AT)").await;
    let then_by_time =
        cursor(&format!(r#"devices(first: 1, sort: LAST_SEEN_AT, asOfPosition: "{position}")"#)).await;
    for (question, message) in [
        (
            format!(
                r#"{{ device(uid: "dev-01", asOf: "{recorded_at}", asOfPosition: "{position}") {{ uid }} }}"#
            ),
            "asOfPosition: expected a time or a position, not both of them",
        ),
        (
            r#"{ device(uid: "dev-01", asOfPosition: "now") { uid } }"#.to_owned(),
            "asOfPosition: expected <log>:<position>",
        ),
        (
            r#"{ devices(asOf: "2999-01-01T00:00:00Z") { nodes { uid } } }"#.to_owned(),
            "asOf: expected a time that has passed: what comes until then is not known",
        ),
        (r#"{ commands(asOfPosition: "999999:1") { nodes { id } } }"#.to_owned(), "there is no such log"),
        (format!(r#"{{ devices(asOfPosition: "{control}:9999") {{ nodes {{ uid }} }} }}"#), &beyond),
        (format!(r#"{{ device(uid: "dev-01", asOfPosition: "{control}:9999") {{ uid }} }}"#), &beyond),
        (format!(r#"{{ commands(asOfPosition: "{control}:9999") {{ nodes {{ id }} }} }}"#), &beyond),
        (
            format!(r#"{{ device(uid: "dev-01", asOf: "{recorded_at}") {{ windows {{ step }} }} }}"#),
            "asOf: readings, metrics and windows are shown as they are now only: ask the device for them as it is now",
        ),
        (
            format!(r#"{{ devices(sort: UID, after: "{by_time}") {{ nodes {{ uid }} }} }}"#),
            "after: the cursor belongs to a list with another sort order",
        ),
        (
            format!(
                r#"{{ devices(sort: UID, after: "{then_by_time}", asOfPosition: "{position}") {{ nodes {{ uid }} }} }}"#
            ),
            "after: the cursor belongs to a list with another sort order",
        ),
        (
            format!(
                r#"{{ commands(filter: {{status: SENT}}, asOfPosition: "{position}") {{ totalCount }} }}"#
            ),
            "totalCount: as of an earlier moment, the commands of one status are not counted",
        ),
        (
            format!(
                r#"{{ device(uid: "dev-01", asOfPosition: "{position}") {{ telemetry {{ nodes {{ ts }} }} }} }}"#
            ),
            "asOfPosition: readings, metrics and windows are shown as they are now only: ask the device for them as it is now",
        ),
        (
            format!(
                r#"{{ device(uid: "dev-01", asOfPosition: "{position}") {{ metrics {{ nodes {{ metric }} }} }} }}"#
            ),
            "asOfPosition: readings, metrics and windows are shown as they are now only: ask the device for them as it is now",
        ),
        (
            format!(r#"{{ device(uid: "dev-01", asOfPosition: "{position}") {{ windows {{ step }} }} }}"#),
            "asOfPosition: readings, metrics and windows are shown as they are now only: ask the device for them as it is now",
        ),
    ] {
        let answer = api.ask(&question).await;
        assert_eq!(answer["errors"][0]["message"], message, "{question}");
    }
    for nothing in ["2020-01-01T00:00:00Z".to_owned(), "1970-01-01T00:00:00Z".to_owned()] {
        let before = ask(&api, ALL, json!({"uid": "dev-01", "id": first, "time": nothing})).await;
        assert_eq!((&before["data"]["device"], &before["data"]["command"]), (&Value::Null, &Value::Null));
        assert_eq!(before["data"]["devices"]["totalCount"], 0);
    }
    let empty =
        ask(&api, ALL, json!({"uid": "dev-01", "id": first, "position": format!("{control}:0")})).await;
    assert_eq!(empty["data"]["commands"]["nodes"], json!([]), "{empty}");
}

#[tokio::test]
async fn fields_of_a_device_as_it_was_are_open_to_who_may_see_it_now() {
    let api = Api::start().await;
    api.ship_types().await;
    for (uid, site) in [("comes", "hue"), ("leaves", "hanoi")] {
        writes(&api, Method::POST, "/devices", json!({"uid": uid, "labels": {"site": site}})).await;
        writes(&api, Method::POST, &format!("/devices/{uid}/commands"), json!({"cmd": "ping"})).await;
    }
    let then = newest(&api).await.position;
    for (uid, site) in [("comes", "hanoi"), ("leaves", "hue")] {
        writes(&api, Method::PATCH, &format!("/devices/{uid}"), json!({"labels": {"site": site}})).await;
    }
    writes(&api, Method::PUT, "/policies/only-hanoi", only_hanoi()).await;
    api.catch_up().await;
    let ask = async |question: String| {
        let body = json!({ "query": question });
        api.send_as(Role::Auditor, Method::POST, "/graphql", Some(body)).await.json()
    };
    let of = format!(r#"asOfPosition: "{then}""#);
    let list = ask(format!(
        "{{ devices({of}) {{ nodes {{ uid commands {{ nodes {{ deviceUid }} }} }} }} commands({of}) {{ nodes {{ deviceUid }} }} }}"
    ))
    .await;
    let commands = json!({"nodes": [{"deviceUid": "comes"}]});
    let devices = json!({"nodes": [{"uid": "comes", "commands": commands}]});
    assert_eq!(list, json!({"data": {"devices": devices, "commands": commands}}));
    let refused = ask(format!(r#"{{ device(uid: "leaves", {of}) {{ uid }} }}"#)).await;
    assert_eq!(code(&refused), "forbidden");
}

#[tokio::test]
async fn a_question_with_many_moments_is_too_dear() {
    let api = Api::start().await;
    let field =
        |n| format!(r#"d{n}: devices(first: 1, asOf: "2026-03-01T12:00:00Z") {{ nodes {{ uid }} }} "#);
    let fields = |count| format!("{{ {} }}", (0..count).map(field).collect::<String>());
    assert_eq!(api.ask(&fields(10)).await["errors"], Value::Null);
    assert_eq!(code(&api.ask(&fields(20)).await), "invalid");
}
