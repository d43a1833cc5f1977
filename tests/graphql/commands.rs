//! Commands over `GraphQL`: the same rules as over REST.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use chrono::Utc;
use fleetlog_access::Role;
use fleetlog_aggregates::command::Input;
use futures::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tracing_subscriber::layer::SubscriberExt;

use super::{Statements, code};
use crate::rest::commands::{acknowledged, happens, ready, text};
use crate::support::Api;
use crate::support::api::{answer, user_id};

const SEND: &str = "mutation ($input: SendCommandInput!) {
    sendCommand(input: $input) { command { id status deviceUid params timeoutS requestedBy } position replayed } }";
const CANCEL: &str = "mutation ($id: ID!, $reason: String) {
    cancelCommand(id: $id, reason: $reason) { command { id status cancelReason cancelledBy } position } }";
const UNKNOWN: &str = "019a0000-0000-7000-8000-000000000001";

async fn ask_as(api: &Api, role: Role, query: &str, variables: Value) -> Value {
    let body = json!({"query": query, "variables": variables});
    let answer = api.send_as(role, Method::POST, "/graphql", Some(body)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    answer.json()
}

/// Sends a command and returns what was written.
async fn sent(api: &Api, input: Value) -> Value {
    let answer = ask_as(api, Role::Operator, SEND, json!({"input": input})).await;
    assert_eq!(answer["errors"], Value::Null, "{answer}");
    answer["data"]["sendCommand"].clone()
}

/// Why a command is not sent.
async fn refused(api: &Api, role: Role, input: Value) -> String {
    let answer = ask_as(api, role, SEND, json!({"input": input})).await;
    assert_eq!(answer["data"]["sendCommand"], Value::Null, "{answer}");
    code(&answer).to_owned()
}

fn id(written: &Value) -> &str {
    text(&written["command"], "id")
}

/// How many commands there are.
async fn recorded(api: &Api) -> usize {
    let events = api.get("/events?limit=1000&type=CommandRequested").await.json();
    events["items"].as_array().expect("items").len()
}

#[tokio::test]
async fn a_command_that_was_sent_comes_back_with_its_position() {
    let api = ready().await;
    let input =
        json!({"deviceUid": "dev-01", "cmd": "set_interval", "params": {"seconds": 5}, "timeoutS": 7});
    let written = sent(&api, input).await;
    assert_eq!(
        written["command"],
        json!({
            "id": id(&written), "status": "REQUESTED", "deviceUid": "dev-01", "params": {"seconds": 5},
            "timeoutS": 7, "requestedBy": user_id("t0", Role::Operator),
        })
    );
    let path = format!("/commands?min_position={}", text(&written, "position"));
    let command = api.get(&path).await.json()["items"][0].clone();
    assert_eq!((&command["cmd_id"], &command["params"]), (&written["command"]["id"], &json!({"seconds": 5})));
}

#[tokio::test]
async fn a_literal_of_parameters_is_the_json_that_it_looks_like() {
    let api = ready().await;
    let schema = json!({"params": {}});
    assert_eq!(api.send(Method::PUT, "/command-types/free", schema).await.status, StatusCode::OK);
    let asked = r#"mutation { sendCommand(input: {deviceUid: "dev-01", cmd: "free",
        params: {a: [1, 2.5, true, null], b: {c: "d\"e"}}}) { command { params } } }"#;
    let answer = api.ask(asked).await;
    assert_eq!(
        answer["data"]["sendCommand"]["command"]["params"],
        json!({"a": [1, 2.5, true, null], "b": {"c": "d\"e"}}),
        "{answer}"
    );
}

#[tokio::test]
async fn a_history_names_every_step_and_every_moment_can_be_asked_for() {
    let api = ready().await;
    let written = sent(&api, json!({"deviceUid": "dev-01", "cmd": "ping"})).await;
    happens(&api, id(&written), Input::MarkSent { attempt: 1, at: Utc::now() }).await;
    happens(&api, id(&written), acknowledged()).await;
    let query = "query ($id: ID!, $asOf: DateTime) { command(id: $id, asOf: $asOf) {
        status attempts result history { sequence eventType status attempts actor recordedAt event } } }";
    let as_of = async |moment: Value| {
        let variables = json!({"id": id(&written), "asOf": moment});
        let answer = ask_as(&api, Role::Auditor, query, variables).await;
        assert_eq!(answer["errors"], Value::Null, "{answer}");
        answer["data"]["command"].clone()
    };
    let command = as_of(Value::Null).await;
    assert_eq!((&command["status"], &command["result"]), (&json!("ACKED"), &json!({"interval": 5})));
    let steps = command["history"].as_array().expect("steps");
    let told = steps.iter().map(|step| ["eventType", "status", "actor"].map(|field| text(step, field)));
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            ["CommandRequested", "REQUESTED", user_id("t0", Role::Operator).to_string().as_str()],
            ["CommandSent", "SENT", "dispatcher"],
            ["CommandAcknowledged", "ACKED", "dispatcher"],
        ]
    );
    let then = as_of(steps[1]["recordedAt"].clone()).await;
    assert_eq!((&then["status"], then["history"].as_array().map(Vec::len)), (&json!("SENT"), Some(2)));
    assert_eq!(as_of(json!("2020-01-01T00:00:00Z")).await, Value::Null, "it was not there yet");

    api.catch_up().await;
    let listed = api.ask("{ commands { nodes { history { sequence } } } }").await;
    assert_eq!(
        listed["data"]["commands"]["nodes"][0]["history"],
        json!([{"sequence": 1}, {"sequence": 2}, {"sequence": 3}])
    );
}

#[tokio::test]
async fn commands_are_filtered_and_followed_by_their_cursors() {
    let api = ready().await;
    let mut wanted = vec![];
    for n in 0..5 {
        let uid = if n == 2 { "dev-02" } else { "dev-01" };
        let written = sent(&api, json!({"deviceUid": uid, "cmd": "ping"})).await;
        wanted.push(id(&written).to_owned());
    }
    happens(&api, &wanted[0], Input::MarkSent { attempt: 1, at: Utc::now() }).await;
    wanted.reverse();
    api.catch_up().await;
    let query = "query ($filter: CommandFilter, $first: Int, $after: String) {
        commands(filter: $filter, first: $first, after: $after) {
            totalCount pageInfo { hasNextPage endCursor } nodes { id } } }";
    let ids = |list: &Value| {
        let nodes = list["nodes"].as_array().expect("nodes").iter();
        nodes.map(|node| text(node, "id").to_owned()).collect::<Vec<_>>()
    };
    let page = async |variables: Value| {
        let answer = ask_as(&api, Role::Analyst, query, variables).await;
        assert_eq!(answer["errors"], Value::Null, "{answer}");
        answer["data"]["commands"].clone()
    };
    let (mut seen, mut after) = (vec![], Value::Null);
    loop {
        let list = page(json!({"first": 2, "after": after})).await;
        assert_eq!(list["totalCount"], 5);
        seen.extend(ids(&list));
        if list["pageInfo"]["hasNextPage"] == false {
            break;
        }
        after = list["pageInfo"]["endCursor"].clone();
    }
    assert_eq!(seen, wanted);
    for (filter, found) in [
        (json!({"deviceUid": "dev-02"}), vec![&wanted[2]]),
        (json!({"status": "SENT"}), vec![&wanted[4]]),
        (json!({"cmd": "ping", "deviceUid": "dev-02", "status": "SENT"}), vec![]),
        (json!({"actor": UNKNOWN}), vec![]),
        (json!({"batchId": UNKNOWN}), vec![]),
        (json!({"correlationId": "\0"}), vec![]),
        (json!({"to": "2020-01-01T00:00:00Z"}), vec![]),
    ] {
        let list = page(json!({"filter": filter, "first": 5})).await;
        assert_eq!(ids(&list).iter().collect::<Vec<_>>(), found, "{filter}");
        assert_eq!(list["totalCount"], found.len(), "{filter}");
    }

    let of_device = |after: &Value| {
        format!(
            "{{ device(uid: \"dev-01\") {{ commands(first: 3, after: {after}) {{
                pageInfo {{ hasNextPage endCursor }} nodes {{ id }} }} }} }}"
        )
    };
    let first = api.ask(&of_device(&Value::Null)).await["data"]["device"]["commands"].clone();
    assert_eq!(
        (ids(&first), &first["pageInfo"]["hasNextPage"]),
        (vec![wanted[0].clone(), wanted[1].clone(), wanted[3].clone()], &json!(true))
    );
    let rest =
        api.ask(&of_device(&first["pageInfo"]["endCursor"])).await["data"]["device"]["commands"].clone();
    assert_eq!((ids(&rest), &rest["pageInfo"]["hasNextPage"]), (vec![wanted[4].clone()], &json!(false)));
}

#[tokio::test]
async fn a_command_is_cancelled_until_it_has_ended() {
    let api = ready().await;
    let written = sent(&api, json!({"deviceUid": "dev-01", "cmd": "ping"})).await;
    let cancel = || ask_as(&api, Role::Operator, CANCEL, json!({"id": id(&written), "reason": "too late"}));
    let cancelled = cancel().await;
    assert_eq!(cancelled["errors"], Value::Null, "{cancelled}");
    let cancelled = &cancelled["data"]["cancelCommand"];
    assert_eq!(
        cancelled["command"],
        json!({
            "id": id(&written), "status": "CANCELLED", "cancelReason": "too late",
            "cancelledBy": user_id("t0", Role::Operator),
        })
    );
    let path = format!("/commands?status=cancelled&min_position={}", text(cancelled, "position"));
    assert_eq!(api.get(&path).await.json()["items"][0]["cmd_id"], id(&written));
    assert_eq!(code(&cancel().await), "already_ended");
}

#[tokio::test]
async fn the_same_key_is_the_same_command() {
    let api = ready().await;
    let input = json!({"deviceUid": "dev-01", "cmd": "ping", "idempotencyKey": "k-1"});
    let first = sent(&api, input.clone()).await;
    let again = sent(&api, input).await;
    assert_eq!((id(&again), &again["position"]), (id(&first), &first["position"]));
    assert_eq!((&first["replayed"], &again["replayed"]), (&json!(false), &json!(true)));
    for (field, value) in [("cmd", json!("reboot")), ("deviceUid", json!("dev-02")), ("timeoutS", json!(30))]
    {
        let mut other = json!({"deviceUid": "dev-01", "cmd": "ping", "idempotencyKey": "k-1"});
        other[field] = value;
        assert_eq!(refused(&api, Role::Operator, other).await, "idempotency_key_reused", "{field}");
    }
    assert_eq!(recorded(&api).await, 1);

    // The way in does not matter: the key is the requester's.
    let rest =
        api.request(Method::POST, "/devices/dev-01/commands").bearer_auth(api.token("t0", Role::Operator));
    let rest = answer(rest.header("idempotency-key", "k-1").json(&json!({"cmd": "ping"}))).await;
    assert_eq!(rest.json()["cmd_id"], first["command"]["id"]);
}

#[tokio::test]
async fn twenty_requests_at_once_with_one_key_are_one_command() {
    let api = ready().await;
    let input = json!({"deviceUid": "dev-01", "cmd": "ping", "idempotencyKey": "k-1"});
    let ask = || ask_as(&api, Role::Operator, SEND, json!({"input": input}));
    let mut accepted = HashSet::new();
    for answer in join_all((0..20).map(|_| ask())).await {
        match &answer["data"]["sendCommand"] {
            Value::Null => assert_eq!(code(&answer), "idempotency_key_in_flight"),
            written => drop(accepted.insert(id(written).to_owned())),
        }
    }
    assert_eq!(accepted.len(), 1);
    assert_eq!(recorded(&api).await, 1);
}

#[tokio::test]
async fn writes_of_one_question_happen_in_its_order() {
    let api = ready().await;
    for (field, wrong) in
        [("idempotencyKey", json!("")), ("timeoutS", json!(0)), ("expiresAt", json!("2020-01-01T00:00:00Z"))]
    {
        let mut input = json!({"deviceUid": "dev-01", "cmd": "ping"});
        input[field] = wrong;
        let variables = json!({ "input": input });
        let question = "mutation ($input: SendCommandInput!) { sendCommand(input: $input) { position } }";
        let asked = json!({ "query": question, "variables": variables });
        let answered = api.send_as(Role::Operator, Method::POST, "/graphql", Some(asked)).await.json();
        let message = answered["errors"][0]["message"].as_str().unwrap_or_default();
        assert!(
            message.starts_with(&format!("{field}: ")),
            "a field has the name that it is sent by: {message}"
        );
    }
    let send =
        |n| format!("a{n}: sendCommand(input: {{deviceUid: \"dev-01\", cmd: \"ping\"}}) {{ position }} ");
    let asked = format!("mutation {{ {} }}", (0..10).map(send).collect::<String>());
    let answer = api.ask(&asked).await;
    assert_eq!(answer["errors"], Value::Null, "{answer}");
    let positions: Vec<i64> = (0..10)
        .map(|n| {
            let position = text(&answer["data"][format!("a{n}")], "position");
            position.split_once(':').expect("a log").1.parse().expect("a position")
        })
        .collect();
    assert!(positions.is_sorted(), "{positions:?}");
    assert_eq!(recorded(&api).await, 10);
}

#[tokio::test]
async fn a_write_that_fails_is_null_and_hides_no_other() {
    let api = ready().await;
    let send = |key: &str, cmd: &str| {
        format!("{key}: sendCommand(input: {{deviceUid: \"dev-01\", cmd: \"{cmd}\"}}) {{ position }} ")
    };
    let answer = api.ask(&format!("mutation {{ {}{} }}", send("a", "ping"), send("b", "nope"))).await;
    assert!(answer["data"]["a"]["position"].is_string(), "{answer}");
    assert_eq!(answer["data"].get("b"), Some(&Value::Null), "{answer}");
    assert_eq!(answer["errors"][0]["path"], json!(["b"]));
    let alone = api.ask(&format!("mutation {{ {} }}", send("b", "nope"))).await;
    assert_eq!(alone["data"], json!({"b": null}), "{alone}");
    assert_eq!(recorded(&api).await, 1);

    // What may not be null makes the field around it null: here the device.
    api.catch_up().await;
    let asked = "{ device(uid: \"dev-01\") { uid commands { nodes { id } } } }";
    let answer = ask_as(&api, Role::Viewer, asked, json!({})).await;
    assert_eq!(answer["data"], json!({"device": null}), "{answer}");
    assert_eq!(code(&answer), "forbidden");
}

#[tokio::test]
async fn each_field_asks_for_its_own_permission() {
    let api = ready().await;
    let input = json!({"deviceUid": "dev-01", "cmd": "ping"});
    let written = sent(&api, input.clone()).await;
    for role in [Role::Viewer, Role::Analyst, Role::Auditor] {
        assert_eq!(refused(&api, role, input.clone()).await, "forbidden", "{role}");
        let cancelled = ask_as(&api, role, CANCEL, json!({"id": id(&written)})).await;
        assert_eq!(code(&cancelled), "forbidden", "{role}");
    }
    assert_eq!(recorded(&api).await, 1);
    api.catch_up().await;
    for (role, wanted) in [(Role::Viewer, "forbidden"), (Role::Auditor, "")] {
        for query in [
            "{ commands { nodes { id } } }".to_owned(),
            format!("{{ command(id: \"{}\") {{ id }} }}", id(&written)),
            "{ device(uid: \"dev-01\") { commands { nodes { id } } } }".to_owned(),
        ] {
            assert_eq!(code(&ask_as(&api, role, &query, json!({})).await), wanted, "{role} {query}");
        }
    }
}

#[tokio::test]
async fn another_tenants_command_is_none() {
    let api = ready().await;
    api.add_tenant("t1").await;
    let written = sent(&api, json!({"deviceUid": "dev-01", "cmd": "ping"})).await;
    api.catch_up().await;
    let ask = async |query: &str, id: &str| {
        let body = json!({"query": query, "variables": {"id": id}});
        let request = api.request(Method::POST, "/graphql").bearer_auth(api.token("t1", Role::Admin));
        answer(request.json(&body)).await.json()
    };
    let read = "query ($id: ID!) { command(id: $id) { id } commands(first: 1) { totalCount } }";
    assert_eq!(ask(read, UNKNOWN).await, json!({"data": {"command": null, "commands": {"totalCount": 0}}}));
    for query in [read, CANCEL] {
        let unknown = ask(query, UNKNOWN).await;
        for id in [id(&written), "dev-01", "\0", ""] {
            assert_eq!(ask(query, id).await, unknown, "{id:?}");
        }
    }
    assert_eq!(code(&ask(CANCEL, UNKNOWN).await), "not_found");
}

#[tokio::test]
async fn twenty_devices_commands_cost_as_many_statements_as_one() {
    let api = ready().await;
    for n in 0..20 {
        api.publish(&format!("fleet-{n:02}"), []).await;
        for _ in 0..3 {
            sent(&api, json!({"deviceUid": format!("fleet-{n:02}"), "cmd": "ping"})).await;
        }
    }
    api.catch_up().await;
    let count = |mentioned| {
        let count = Arc::new(AtomicUsize::new(0));
        (Statements(mentioned, Arc::clone(&count)), count)
    };
    let (pages, page_reads) = count("AS device (uid, ordinal)");
    let (lives, life_reads) = count("ORDER BY aggregate_id, sequence");
    let subscriber = tracing_subscriber::registry().with(pages).with(lives);
    // With a single subscriber, tracing decides by the thread that comes to a statement first: another test's.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let _counting = tracing::subscriber::set_default(subscriber);
    let asked = "{ devices(filter: {q: \"fleet\"}, first: 20) { nodes { uid
        commands(first: 2) { nodes { deviceUid history { sequence } } } } } }";
    let answer = api.ask(asked).await;
    assert_eq!(answer["errors"], Value::Null, "{answer}");
    let nodes = answer["data"]["devices"]["nodes"].as_array().expect("nodes");
    let own = |node: &Value| {
        let command = json!({"deviceUid": node["uid"], "history": [{"sequence": 1}]});
        node["commands"]["nodes"] == json!([command, command])
    };
    assert!(nodes.len() == 20 && nodes.iter().all(own), "{answer}");
    assert_eq!((page_reads.load(Ordering::Relaxed), life_reads.load(Ordering::Relaxed)), (1, 1));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_the_codes_of_rest() {
    let api = ready().await;
    for (change, wanted) in [
        (json!({"deviceUid": "dev-09"}), "not_found"),
        (json!({"deviceUid": "a b"}), "not_found"),
        (json!({"deviceUid": "\0"}), "not_found"),
        (json!({"deviceUid": null}), "invalid"),
        (json!({"cmd": "explode"}), "invalid"),
        (json!({"cmd": "a\0"}), "invalid"),
        (json!({"cmd": 7}), "invalid"),
        (json!({"params": {"seconds": 5}}), "invalid"),
        (json!({"params": "{}"}), "invalid"),
        (json!({"timeoutS": 0}), "invalid"),
        (json!({"timeoutS": -1}), "invalid"),
        (json!({"timeoutS": 86_401}), "invalid"),
        (json!({"timeoutS": 99_999_999_999_i64}), "invalid"),
        (json!({"maxAttempts": 11}), "invalid"),
        (json!({"maxAttempts": "3"}), "invalid"),
        (json!({"expiresAt": "2020-01-01T00:00:00Z"}), "invalid"),
        (json!({"expiresAt": "+262000-01-01T00:00:00Z"}), "invalid"),
        (json!({"expiresAt": "soon"}), "invalid"),
        (json!({"idempotencyKey": ""}), "invalid"),
        (json!({"idempotencyKey": "a b"}), "invalid"),
        (json!({"requestedBy": "root"}), "invalid"),
    ] {
        let mut input = json!({"deviceUid": "dev-01", "cmd": "ping"});
        let fields = input.as_object_mut().expect("an object");
        fields.extend(change.as_object().expect("an object").clone());
        assert_eq!(refused(&api, Role::Operator, input).await, wanted, "{change}");
    }
    for (question, wanted) in [
        ("{ commands(first: 0) { nodes { id } } }", "invalid"),
        ("{ commands(first: 2147483647) { nodes { id } } }", "invalid"),
        ("{ commands(after: \"forged\") { nodes { id } } }", "invalid"),
        ("{ commands(filter: {status: ASLEEP}) { nodes { id } } }", "invalid"),
        ("{ commands(filter: {batchId: \"7\"}) { nodes { id } } }", "invalid"),
        (
            "{ commands(filter: {from: \"2026-01-02T00:00:00Z\", to: \"2026-01-01T00:00:00Z\"}) { nodes { id } } }",
            "invalid",
        ),
        ("{ commands(first: 1000) { nodes { history { event } } } }", "invalid"),
        ("{ device(uid: \"dev-01\") { commands(after: \"forged\") { nodes { id } } } }", "invalid"),
        ("{ command(id: \"x\", asOf: \"+262000-01-01T00:00:00Z\") { id } }", "invalid"),
        ("mutation { cancelCommand(id: \"x\") { position } }", "not_found"),
    ] {
        assert_eq!(code(&api.ask(question).await), wanted, "{question}");
    }
    let send =
        |n| format!("a{n}: sendCommand(input: {{deviceUid: \"dev-01\", cmd: \"ping\"}}) {{ position }} ");
    let many = format!("mutation {{ {} }}", (0..20).map(send).collect::<String>());
    assert_eq!(code(&api.ask(&many).await), "invalid", "twenty writes are too many for one question");
    api.send_as(Role::Admin, Method::DELETE, "/devices/dev-02", None).await;
    let gone = json!({"deviceUid": "dev-02", "cmd": "ping"});
    assert_eq!(refused(&api, Role::Operator, gone).await, "decommissioned");
    assert_eq!(recorded(&api).await, 0);
}
