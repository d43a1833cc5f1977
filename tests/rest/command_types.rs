//! Command types over REST: the list of what devices may be told.

use fleetlog_access::Role;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::Executor;

use super::commands::{ready, text};
use crate::support::Api;

async fn told(api: &Api, cmd: &str, params: Value) -> String {
    let body = json!({"cmd": cmd, "params": params});
    let answered = api.send(Method::POST, "/devices/dev-01/commands", body).await;
    match answered.status {
        StatusCode::ACCEPTED => "202".to_owned(),
        _ => format!("{} {}", answered.refusal(), text(&answered.json()["errors"][0], "field")),
    }
}

async fn names(api: &Api, query: &str) -> Vec<String> {
    let list = api.get(&format!("/command-types{query}")).await.json();
    let items = list["items"].as_array().expect("items").iter();
    items.map(|item| text(item, "name").to_owned()).collect()
}

#[tokio::test]
async fn a_device_is_told_only_what_is_on_the_list_and_fits() {
    let api = ready().await;
    assert_eq!(names(&api, "").await, ["ping", "reboot", "set_interval"]);
    for (cmd, params, answered) in [
        ("set_interval", json!({"seconds": 1}), "202"),
        ("set_interval", json!({"seconds": 86_400}), "202"),
        ("set_interval", json!({"seconds": 0}), "422 invalid params"),
        ("set_interval", json!({"seconds": 86_401}), "422 invalid params"),
        ("set_interval", json!({"seconds": "5"}), "422 invalid params"),
        ("set_interval", json!({}), "422 invalid params"),
        ("set_interval", json!({"seconds": 5, "more": 1}), "422 invalid params"),
        ("ping", json!([]), "422 invalid params"),
        ("explode", json!({}), "422 invalid cmd"),
        ("PING", json!({}), "422 invalid cmd"),
    ] {
        assert_eq!(told(&api, cmd, params.clone()).await, answered, "{cmd} {params}");
    }
    api.catch_up().await;
    assert_eq!(api.get("/commands?count=true").await.json()["total"], 2, "what is refused is not stored");
}

#[tokio::test]
async fn a_command_type_is_defined_changed_and_removed() {
    let api = ready().await;
    let path = "/command-types/blink";
    assert_eq!(api.get(path).await.refusal(), "404 not_found");
    assert_eq!(told(&api, "blink", json!({"times": 3})).await, "422 invalid cmd");
    let schema = |maximum: i64| json!({"properties": {"times": {"maximum": maximum}}});
    let definition = json!({"description": "Blinks.", "params": schema(5)});
    let defined = api.send(Method::PUT, path, definition.clone()).await;
    assert_eq!(defined.status, StatusCode::OK, "{}", defined.text);
    let position = text(&defined.json(), "position").to_owned();
    assert_eq!(
        names(&api, &format!("?min_position={position}")).await,
        ["blink", "ping", "reboot", "set_interval"]
    );
    let again = api.send(Method::PUT, path, definition).await.json();
    assert_eq!(again, json!({"name": "blink", "position": null}), "nothing has changed");
    assert_eq!(
        api.get(path).await.json(),
        json!({"name": "blink", "description": "Blinks.", "params": schema(5), "max_attempts": null})
    );
    assert_eq!(told(&api, "blink", json!({"times": 7})).await, "422 invalid params");
    assert_eq!(api.send(Method::PUT, path, json!({"params": schema(9)})).await.status, StatusCode::OK);
    assert_eq!(told(&api, "blink", json!({"times": 7})).await, "202");

    let removed = api.send_as(Role::Admin, Method::DELETE, path, None).await;
    assert_eq!(removed.status, StatusCode::OK, "{}", removed.text);
    let position = text(&removed.json(), "position").to_owned();
    assert_eq!(names(&api, &format!("?min_position={position}")).await, ["ping", "reboot", "set_interval"]);
    assert_eq!(told(&api, "blink", json!({"times": 7})).await, "422 invalid cmd");
    for (method, path) in [(Method::GET, path), (Method::DELETE, path), (Method::GET, "/command-types/a%20b")]
    {
        assert_eq!(api.send_as(Role::Admin, method, path, None).await.refusal(), "404 not_found");
    }
}

#[tokio::test]
async fn a_command_has_as_many_attempts_as_its_type_says_unless_its_request_does() {
    let api = ready().await;
    let attempts = async |path: &str, body: Value| {
        let sent = api.send(Method::POST, path, body).await.json();
        api.catch_up().await;
        api.get(&format!("/commands/{}", text(&sent, "cmd_id"))).await.json()["max_attempts"].clone()
    };
    let path = "/devices/dev-01/commands";
    assert_eq!(attempts(path, json!({"cmd": "reboot"})).await, 1, "a restart must not be repeated");
    assert_eq!(attempts(path, json!({"cmd": "reboot", "max_attempts": 2})).await, 2);
    assert_eq!(attempts(path, json!({"cmd": "ping"})).await, 3);
    let blink = json!({"params": {}, "max_attempts": 5});
    let defined = api.send(Method::PUT, "/command-types/blink", blink).await.json();
    assert_eq!(attempts(path, json!({"cmd": "blink"})).await, 5);
    let listed = format!("/command-types?min_position={}", text(&defined, "position"));
    let listed = api.get(&listed).await.json();
    let found: Vec<_> =
        listed["items"].as_array().expect("items").iter().map(|item| &item["max_attempts"]).collect();
    assert_eq!(json!(found), json!([5, null, 1, null]));
    assert_eq!(api.get("/command-types/blink").await.json()["max_attempts"], 5);
    for wrong in [json!(0), json!(11)] {
        let refused =
            api.send(Method::PUT, "/command-types/blink", json!({"params": {}, "max_attempts": wrong})).await;
        assert_eq!(
            (refused.refusal(), &refused.json()["errors"][0]["field"]),
            ("422 invalid".into(), &json!("max_attempts"))
        );
    }
}

#[tokio::test]
async fn a_shipped_type_that_a_version_changes_is_changed_unless_somebody_has_changed_it() {
    let api = ready().await;
    let old = r#"{"CommandTypeDefined":{"description":"Starts the device anew.","params":{}}}"#;
    let undo = format!(
        "INSERT INTO control_events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         VALUES ('CommandType', 't9/reboot', 1, 'CommandTypeDefined', '1.0', '{old}', '{{\"actor\":\"fleetlog\"}}')"
    );
    api.add_tenant("t9").await;
    api.database.owner().await.execute(&*undo).await.expect("as an earlier version had it");
    let changed = json!({"params": {}, "description": "Ours.", "max_attempts": 7});
    api.send(Method::PUT, "/command-types/reboot", changed.clone()).await;
    api.ship_types().await;
    let theirs = api.request(Method::GET, "/command-types/reboot").bearer_auth(api.token("t9", Role::Admin));
    assert_eq!(crate::support::api::answer(theirs).await.json()["max_attempts"], 1);
    assert_eq!(api.get("/command-types/reboot").await.json()["max_attempts"], 7);
}

#[tokio::test]
async fn a_tenants_list_is_its_own() {
    let api = ready().await;
    api.send(Method::PUT, "/command-types/blink", json!({"params": {}})).await;
    api.add_tenant("t1").await;
    api.ship_types().await;
    api.catch_up().await;
    let theirs = |path| api.request(Method::GET, path).bearer_auth(api.token("t1", Role::Admin));
    let list = crate::support::api::answer(theirs("/command-types")).await.json();
    assert_eq!(list["items"].as_array().map(Vec::len), Some(3), "{list}");
    assert_eq!(crate::support::api::answer(theirs("/command-types/blink")).await.refusal(), "404 not_found");
}

#[tokio::test]
async fn only_admins_decide_what_devices_may_be_told() {
    let api = ready().await;
    for role in [Role::Operator, Role::Analyst, Role::Auditor, Role::Viewer] {
        let body = Some(json!({"params": {}}));
        assert_eq!(
            api.send_as(role, Method::PUT, "/command-types/ping", body).await.refusal(),
            "403 forbidden"
        );
        assert_eq!(
            api.send_as(role, Method::DELETE, "/command-types/ping", None).await.refusal(),
            "403 forbidden"
        );
    }
    assert_eq!(told(&api, "ping", json!({})).await, "202");
}
