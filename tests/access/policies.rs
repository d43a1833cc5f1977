//! Rules that tenants add to what roles allow.

use fleetlog_access::{Action, Role};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::Api;
use crate::support::api::{Answer, answer, user_id};

const INTERVAL: &str = r#"{ cmd: "set_interval", params: { seconds: 5 } }"#;

/// Two devices in Hanoi, and one elsewhere.
async fn fleet() -> Api {
    let api = Api::start().await;
    api.ship_types().await;
    for (uid, site) in [("pump-1", "hanoi"), ("pump-2", "hanoi"), ("pump-3", "hue")] {
        let device = json!({"uid": uid, "labels": {"site": site}});
        let registered = api.send(Method::POST, "/devices", device).await;
        assert_eq!(registered.status, StatusCode::CREATED, "{}", registered.text);
    }
    api.catch_up().await;
    api
}

async fn define(api: &Api, name: &str, source: &str) -> Answer {
    api.send(Method::PUT, &format!("/policies/{name}"), json!({"source": source})).await
}

async fn holds(api: &Api, name: &str, source: &str) {
    let defined = define(api, name, source).await;
    assert_eq!(defined.status, StatusCode::OK, "{}", defined.text);
}

/// This operator, only `set_interval`, only devices labelled `site=hanoi`.
fn only_hanoi() -> String {
    format!(
        r#"forbid (principal == User::"{}", action == Action::"commands.write", resource is Device)
unless {{
    context has cmd && context.cmd == "set_interval" &&
    resource.hasTag("site") && resource.getTag("site") == "hanoi"
}};"#,
        user_id("t0", Role::Operator)
    )
}

/// Whatever is about devices, only those in Hanoi.
fn only_sees_hanoi(role: Role) -> String {
    format!(
        r#"forbid (principal in Role::"{role}", action, resource is Device)
           unless {{ resource.hasTag("site") && resource.getTag("site") == "hanoi" }};"#
    )
}

async fn as_operator(api: &Api, method: Method, path: &str, body: Value) -> Answer {
    api.send_as(Role::Operator, method, path, Some(body)).await
}

async fn ask_as(api: &Api, role: Role, query: &str) -> Value {
    api.send_as(role, Method::POST, "/graphql", Some(json!({"query": query}))).await.json()
}

async fn commanded(api: &Api, uid: &str, cmd: &str) -> StatusCode {
    let params = if cmd == "set_interval" { json!({"seconds": 5}) } else { json!({}) };
    let body = json!({"cmd": cmd, "params": params});
    let rest = as_operator(api, Method::POST, &format!("/devices/{uid}/commands"), body).await.status;
    let mutation = format!(
        r#"mutation {{ sendCommand(input: {{ deviceUid: "{uid}", cmd: "{cmd}", params: {} }}) {{ position }} }}"#,
        if cmd == "set_interval" { "{ seconds: 5 }" } else { "{}" }
    );
    let asked = ask_as(api, Role::Operator, &mutation).await;
    let code = asked["errors"][0]["extensions"]["code"].as_str();
    assert_eq!(code == Some("forbidden"), rest == StatusCode::FORBIDDEN, "{rest} {asked}");
    rest
}

fn batch(devices: &[&str], cmd: &str) -> Value {
    json!({"selector": {"devices": devices}, "cmd": cmd, "params": if cmd == "ping" { json!({}) } else { json!({"seconds": 5}) }})
}

#[tokio::test]
async fn each_role_is_listed_with_what_it_allows_in_the_callers_tenant() {
    let api = Api::start().await;
    api.add_tenant("t1").await;
    for tenant in ["t0", "t1"] {
        let request = api.request(Method::GET, "/roles").bearer_auth(api.token(tenant, Role::Auditor));
        let listed = answer(request).await.json();
        let listed: Vec<(&str, usize)> = listed["items"]
            .as_array()
            .expect("roles")
            .iter()
            .map(|role| {
                (role["role"].as_str().expect("a name"), role["actions"].as_array().expect("a list").len())
            })
            .collect();
        let expected = |role: Role| {
            let within = |action: &&Action| tenant == "t0" || !action.is_for_the_platform();
            (role.as_str(), Action::ALL.iter().filter(within).filter(|action| role.may(**action)).count())
        };
        assert_eq!(listed, Role::ALL.map(expected), "{tenant}");
    }
}

#[tokio::test]
async fn an_operator_can_be_held_to_one_command_and_to_the_devices_of_one_site() {
    let api = fleet().await;
    assert_eq!(commanded(&api, "pump-3", "ping").await, StatusCode::ACCEPTED);
    holds(&api, "only-hanoi", &only_hanoi()).await;
    assert_eq!(commanded(&api, "pump-1", "set_interval").await, StatusCode::ACCEPTED);
    for (uid, cmd) in [("pump-1", "ping"), ("pump-3", "set_interval"), ("nothing", "set_interval")] {
        assert_eq!(commanded(&api, uid, cmd).await, StatusCode::FORBIDDEN, "{uid} {cmd}");
    }
    // The body that says no command is no way around.
    let nameless = as_operator(&api, Method::POST, "/devices/pump-1/commands", json!({})).await;
    assert_eq!(nameless.refusal(), "403 forbidden");

    let send = async |body| as_operator(&api, Method::POST, "/command-batches", body).await.status;
    assert_eq!(send(batch(&["pump-1", "pump-2"], "set_interval")).await, StatusCode::ACCEPTED);
    assert_eq!(send(batch(&["pump-1", "pump-3"], "set_interval")).await, StatusCode::FORBIDDEN);
    assert_eq!(send(batch(&["pump-1"], "ping")).await, StatusCode::FORBIDDEN);
    let by_label =
        json!({"selector": {"labels": {"site": "hue"}}, "cmd": "set_interval", "params": {"seconds": 5}});
    assert_eq!(send(by_label).await, StatusCode::FORBIDDEN);

    // Nobody else is held to it, nor this one in what it does not speak of.
    let by_admin = api.send(Method::POST, "/devices/pump-3/commands", json!({"cmd": "ping"})).await;
    assert_eq!(by_admin.status, StatusCode::ACCEPTED);
    assert_eq!(
        api.send_as(Role::Operator, Method::GET, "/devices/pump-3", None).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn only_what_one_may_send_can_one_cancel() {
    let api = fleet().await;
    let send = async |uid: &str, cmd: &str| {
        let params = if cmd == "ping" { json!({}) } else { json!({"seconds": 5}) };
        let body = json!({"cmd": cmd, "params": params});
        let sent = api.send(Method::POST, &format!("/devices/{uid}/commands"), body).await.json();
        sent["cmd_id"].as_str().expect("an id").to_owned()
    };
    let (allowed, other_cmd) = (send("pump-1", "set_interval").await, send("pump-1", "ping").await);
    let elsewhere = send("pump-3", "set_interval").await;
    let batches = async |body| {
        let running = api.send(Method::POST, "/command-batches", body).await.json();
        running["batch_id"].as_str().expect("an id").to_owned()
    };
    let batch_elsewhere = batches(batch(&["pump-1", "pump-3"], "set_interval")).await;
    let batch_here = batches(batch(&["pump-1"], "set_interval")).await;
    holds(&api, "only-hanoi", &only_hanoi()).await;
    let cancel = async |path: String| as_operator(&api, Method::POST, &path, json!({})).await.status.as_u16();
    assert_eq!(cancel(format!("/commands/{other_cmd}/cancel")).await, 403);
    assert_eq!(cancel(format!("/commands/{elsewhere}/cancel")).await, 403);
    assert_eq!(cancel(format!("/command-batches/{batch_elsewhere}/cancel")).await, 403);
    let question = format!(r#"mutation {{ cancelCommand(id: "{elsewhere}") {{ position }} }}"#);
    let asked = ask_as(&api, Role::Operator, &question).await;
    assert_eq!(asked["errors"][0]["extensions"]["code"], "forbidden");
    assert_eq!(cancel(format!("/commands/{allowed}/cancel")).await, 200);
    assert_eq!(cancel(format!("/command-batches/{batch_here}/cancel")).await, 200);
}

#[tokio::test]
async fn a_change_holds_at_once_on_every_node_and_for_one_tenant_only() {
    let api = fleet().await;
    let other = api.another_node().await;
    api.add_tenant("t1").await;
    let devices = async |node: &Api, tenant: &str| {
        let request = node.request(Method::GET, "/devices").bearer_auth(api.token(tenant, Role::Viewer));
        answer(request).await.status.as_u16()
    };
    for round in 0..3 {
        assert_eq!((devices(&api, "t0").await, devices(&other, "t0").await), (200, 200), "{round}");
        holds(
            &api,
            "no-viewers",
            r#"forbid (principal in Role::"viewer", action == Action::"devices.read", resource);"#,
        )
        .await;
        assert_eq!((devices(&api, "t0").await, devices(&other, "t0").await), (403, 403), "{round}");
        assert_eq!((devices(&api, "t1").await, devices(&other, "t1").await), (200, 200), "{round}");
        let removed = other.send_as(Role::Admin, Method::DELETE, "/policies/no-viewers", None).await;
        assert_eq!(removed.status, StatusCode::OK, "{}", removed.text);
    }
    assert_eq!((devices(&api, "t0").await, devices(&other, "t0").await), (200, 200));
    let again = api.send_as(Role::Admin, Method::DELETE, "/policies/no-viewers", None).await;
    assert_eq!(again.refusal(), "404 not_found");
}

#[tokio::test]
async fn a_broken_policy_is_refused_with_the_reason_and_the_place() {
    let api = Api::start().await;
    for (source, why) in [
        ("permit (principal, action, resource)\nwhen { ;", "line 2"),
        (
            "permit (principal, action, resource); permit (principal, action, resource);",
            "unexpected token `permit`",
        ),
        ("permit (principal == ?principal, action, resource);", "template"),
        (r#"permit (principal in Role::"boss", action, resource);"#, "boss"),
        (r#"permit (principal, action == Action::"tenants.write", resource);"#, "tenants.write"),
        (r#"forbid (principal, action, resource is Device) when { resource.getTag("site") == "x" };"#, "tag"),
        ("forbid (principal, action, resource) when { false };", "line 1"),
        (&" ".repeat(16 * 1024 + 1), "16384"),
    ] {
        let refused = define(&api, "mine", source).await;
        assert_eq!(refused.refusal(), "422 invalid", "{source}: {}", refused.text);
        let error = &refused.json()["errors"][0];
        assert_eq!(error["field"], "source", "{source}");
        assert!(error["reason"].as_str().is_some_and(|reason| reason.contains(why)), "{source}: {error}");
    }
    for (path, body, field) in [
        ("/policies/mine", json!({}), "source"),
        ("/policies/mine", json!({"source": "x", "name": "x"}), "name"),
        (
            "/policies/mine",
            json!({"source": "permit (principal, action, resource);", "description": ""}),
            "description",
        ),
        ("/policies/a%20b", json!({"source": "permit (principal, action, resource);"}), "name"),
    ] {
        let refused = api.send(Method::PUT, path, body).await;
        assert_eq!(refused.refusal(), "422 invalid", "{path}: {}", refused.text);
        assert_eq!(refused.json()["errors"][0]["field"], field, "{path}");
    }
    assert_eq!(api.get("/policies").await.json()["items"], json!([]));
    assert_eq!(api.get("/events?type=PolicyDefined").await.json()["items"], json!([]));
}

#[tokio::test]
async fn a_tenant_has_at_most_a_hundred_policies() {
    let api = Api::start().await;
    let mut owner = api.database.owner().await;
    sqlx::raw_sql(
        "INSERT INTO policies (tenant, name, source, updated_by)
         SELECT 't0', 'p' || n, 'permit (principal, action, resource);', 'x' FROM generate_series(1, 100) AS n",
    )
    .execute(&mut owner)
    .await
    .expect("policies");
    let source = "permit (principal, action == Action::\"devices.read\", resource);";
    assert_eq!(define(&api, "one-more", source).await.refusal(), "422 invalid");
    assert_eq!(define(&api, "p1", source).await.status, StatusCode::OK);
}

#[tokio::test]
async fn each_change_is_on_the_record_and_what_changes_nothing_is_not() {
    let api = Api::start().await;
    let source = r#"permit (principal in Role::"viewer", action == Action::"logs.read", resource);"#;
    let first = define(&api, "logs", source).await.json();
    assert!(first["position"].is_string(), "{first}");
    assert_eq!(define(&api, "logs", source).await.json()["position"], Value::Null);
    let shown = api.get("/policies/logs").await.json();
    assert_eq!(
        (&shown["source"], &shown["updated_by"]),
        (&json!(source), &json!(user_id("t0", Role::Admin)))
    );
    assert_eq!(api.get("/policies").await.json()["items"], json!([shown]));
    let removed = api.send_as(Role::Admin, Method::DELETE, "/policies/logs", None).await;
    assert_eq!(removed.status, StatusCode::OK);
    let events = api.get("/events?aggregate=logs").await.json();
    let told: Vec<_> =
        events["items"].as_array().expect("items").iter().map(|event| event["payload"].clone()).collect();
    assert_eq!(told, [json!({"PolicyDefined": {"source": source}}), json!({"PolicyRemoved": {}})]);
    assert_eq!(events["items"][0]["metadata"]["actor"], json!(user_id("t0", Role::Admin)));
}

#[tokio::test]
async fn no_policy_locks_an_admin_out_or_gives_the_platform_away() {
    let api = Api::start().await;
    holds(&api, "nothing", "forbid (principal, action, resource);").await;
    assert_eq!(api.get("/devices").await.refusal(), "403 forbidden");
    assert_eq!(api.get("/auth/me").await.status, StatusCode::OK);
    assert_eq!(api.get("/policies").await.status, StatusCode::OK);
    holds(&api, "nothing", "permit (principal, action, resource);").await;
    let metrics = api.send_as(Role::Viewer, Method::GET, "/metrics", None).await;
    assert_eq!(metrics.refusal(), "403 forbidden");
    let policies = api.send_as(Role::Viewer, Method::GET, "/policies", None).await;
    assert_eq!(policies.refusal(), "403 forbidden");
    let logs = api.send_as(Role::Viewer, Method::GET, "/logs", None).await;
    assert_eq!(logs.status, StatusCode::OK, "what is the tenant's own, it may give");
}

#[tokio::test]
async fn a_list_shows_what_its_reader_may_see_and_does_not_count_the_rest() {
    let api = fleet().await;
    for uid in ["pump-1", "pump-3"] {
        api.publish(uid, [json!({"n": 1})]).await;
        let sent = api.send(Method::POST, &format!("/devices/{uid}/commands"), json!({"cmd": "ping"})).await;
        assert_eq!(sent.status, StatusCode::ACCEPTED);
        let sent = api.send(Method::POST, "/command-batches", batch(&["pump-2", uid], "ping")).await;
        assert_eq!(sent.status, StatusCode::ACCEPTED);
    }
    api.catch_up().await;
    holds(&api, "hanoi", &only_sees_hanoi(Role::Analyst)).await;
    let get = async |path: &str| api.send_as(Role::Analyst, Method::GET, path, None).await;
    let devices = get("/devices?count=true").await.json();
    assert_eq!(devices["items"].as_array().map(Vec::len), Some(2), "{devices}");
    assert_eq!(devices["total"], Value::Null);
    for path in ["/commands?count=true", "/command-batches"] {
        let list = get(path).await;
        assert_eq!(list.json()["items"].as_array().map(Vec::len), Some(1), "{path}: {}", list.text);
        assert!(!list.text.contains("pump-3") && list.json()["total"].is_null(), "{path}: {}", list.text);
    }
    for path in [
        "/devices/pump-3",
        "/devices/pump-3/metrics",
        "/telemetry/pump-3",
        "/telemetry/pump-3/windows",
        "/devices/pump-3/commands",
    ] {
        assert_eq!(get(path).await.refusal(), "403 forbidden", "{path}");
        let unknown = get(&path.replace("pump-3", "pump-9")).await;
        assert_eq!(unknown.refusal(), "403 forbidden", "{path}: nor what is not there");
    }
    let all = api.get("/commands").await.json();
    let hidden =
        all["items"].as_array().expect("items").iter().find(|command| command["device_uid"] == "pump-3");
    let hidden = hidden.expect("a command")["cmd_id"].as_str().expect("an id").to_owned();
    for path in [format!("/commands/{hidden}"), format!("/commands/{hidden}/history")] {
        assert_eq!(get(&path).await.refusal(), "403 forbidden", "{path}");
    }
    let answer = ask_as(&api, Role::Analyst, &format!(
        r#"{{ devices(first: 5) {{ totalCount nodes {{ uid telemetry(first: 2) {{ nodes {{ payload }} }} commands(first: 2) {{ nodes {{ deviceUid }} }} }} }}
            commands(first: 5) {{ totalCount nodes {{ deviceUid history {{ eventType }} }} }} pump: device(uid: "pump-1") {{ uid }}
            hidden: device(uid: "pump-3") {{ uid }} gone: command(id: "{hidden}") {{ id }} }}"#)).await;
    assert!(!answer.to_string().contains("\"pump-3\""), "{answer}");
    assert_eq!(answer["data"]["devices"]["nodes"].as_array().map(Vec::len), Some(2), "{answer}");
    assert_eq!(answer["data"]["commands"]["nodes"].as_array().map(Vec::len), Some(1), "{answer}");
    assert_eq!(answer["data"]["devices"]["totalCount"], Value::Null);
    let codes: Vec<_> = answer["errors"]
        .as_array()
        .expect("errors")
        .iter()
        .map(|error| &error["extensions"]["code"])
        .collect();
    assert_eq!(codes, ["forbidden", "forbidden"], "{answer}");
    assert_eq!(api.get("/devices?count=true").await.json()["total"], json!(3), "an admin is not held to it");
}

#[tokio::test]
async fn no_device_is_moved_out_of_reach_or_into_it() {
    let api = fleet().await;
    holds(&api, "hanoi", &only_sees_hanoi(Role::Operator)).await;
    let write = async |method, path: &str, body| as_operator(&api, method, path, body).await.status.as_u16();
    let (hanoi, hue) = (json!({"site": "hanoi"}), json!({"site": "hue"}));
    assert_eq!(write(Method::PATCH, "/devices/pump-1", json!({"name": "north"})).await, 200);
    assert_eq!(write(Method::PATCH, "/devices/pump-1", json!({"labels": hue})).await, 403);
    assert_eq!(write(Method::PATCH, "/devices/pump-3", json!({"labels": hanoi})).await, 403);
    assert_eq!(write(Method::POST, "/devices", json!({"uid": "pump-4", "labels": hue})).await, 403);
    assert_eq!(write(Method::POST, "/devices", json!({"uid": "pump-4", "labels": hanoi})).await, 201);
    assert_eq!(write(Method::DELETE, "/devices/pump-3", json!({})).await, 403);
    assert_eq!(
        api.send_as(Role::Admin, Method::DELETE, "/devices/pump-3", None).await.status,
        StatusCode::OK
    );
    assert_eq!(write(Method::POST, "/devices", json!({"uid": "pump-3", "labels": hanoi})).await, 403);
}

#[tokio::test]
async fn a_policy_can_allow_what_a_role_does_not() {
    let api = fleet().await;
    let source = r#"permit (principal in Role::"viewer", action == Action::"commands.write", resource is Device)
        when { context has cmd && context.cmd == "set_interval" && resource.uid like "pump-*" };"#;
    holds(&api, "viewers-tune", source).await;
    let send = async |cmd: &str, params| {
        let body = Some(json!({"cmd": cmd, "params": params}));
        api.send_as(Role::Viewer, Method::POST, "/devices/pump-1/commands", body).await.status
    };
    assert_eq!(send("set_interval", json!({"seconds": 5})).await, StatusCode::ACCEPTED);
    assert_eq!(send("ping", json!({})).await, StatusCode::FORBIDDEN);
    let mutation = format!(
        "mutation {{ sendCommand(input: {}) {{ position command {{ cmd history {{ eventType }} }} }} }}",
        INTERVAL.replacen('{', r#"{ deviceUid: "pump-1", "#, 1)
    );
    let answer = ask_as(&api, Role::Viewer, &mutation).await;
    assert_eq!(answer["errors"][0]["extensions"]["code"], "forbidden", "to send is not to read: {answer}");
}

#[tokio::test]
async fn whoever_manages_policies_can_ask_what_would_be_decided_and_why() {
    let api = fleet().await;
    holds(&api, "only-hanoi", &only_hanoi()).await;
    let operator = user_id("t0", Role::Operator);
    let check = async |question| {
        api.send_as(Role::Auditor, Method::POST, "/policies/check", Some(question)).await.json()
    };
    for (device, cmd, expected) in [
        ("pump-1", "set_interval", json!({"allowed": true, "policies": ["role:operator"]})),
        ("pump-1", "ping", json!({"allowed": false, "policies": ["only-hanoi"]})),
        ("pump-3", "set_interval", json!({"allowed": false, "policies": ["only-hanoi"]})),
    ] {
        let question = json!({"action": "commands.write", "user_id": operator, "device": device, "cmd": cmd});
        assert_eq!(check(question).await, expected, "{device} {cmd}");
    }
    let new = json!({"name": "k", "actions": ["commands.write"]});
    let key = api.send(Method::POST, "/api-keys", new).await.json()["key_id"].clone();
    let of_key = async |action: &str| check(json!({"action": action, "key_id": key})).await;
    assert_eq!(of_key("commands.write").await, json!({"allowed": true, "policies": ["key"]}));
    assert_eq!(of_key("devices.write").await["allowed"], false);
    assert_eq!(check(json!({"action": "devices.write"})).await, json!({"allowed": false, "policies": []}));
    for (question, field) in [
        (json!({"action": "devices.rule"}), "action"),
        (json!({"action": "devices.read", "user_id": uuid::Uuid::nil()}), "user_id"),
        (json!({"action": "devices.read", "key_id": uuid::Uuid::nil()}), "key_id"),
        (json!({"action": "devices.read", "key_id": key, "user_id": operator}), "key_id"),
        (json!({"action": "devices.read", "device": "a b"}), "device"),
    ] {
        assert_eq!(check(question).await["errors"][0]["field"], field);
    }
}
