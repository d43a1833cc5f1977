//! What those who run the platform decide.

use std::sync::Arc;

use fleetlog_access::Role;
use fleetlog_engine::dispatch::Dispatcher;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{change, send};
use crate::support::api::{Answer, PASSWORD, answer};
use crate::support::mqtt::{Device, V5};
use crate::support::{Api, Node, until};

async fn create(api: &Api, tenant: &str) -> Answer {
    let admin = json!({ "email": format!("boss@{tenant}.example"), "password": PASSWORD });
    api.send(Method::POST, "/tenants", json!({ "tenant": tenant, "tier": "premium", "admin": admin })).await
}

async fn log_in(api: &Api, tenant: &str) -> Answer {
    let credentials = json!({ "email": format!("boss@{tenant}.example"), "password": PASSWORD });
    answer(api.request(Method::POST, "/auth/login").json(&credentials)).await
}

async fn ask(api: &Api, token: &str, method: Method, path: &str, body: Value) -> Answer {
    answer(api.request(method, path).bearer_auth(token).json(&body)).await
}

#[tokio::test]
async fn a_new_tenant_works_on_every_running_node_from_its_admins_login_to_a_device_that_obeys() {
    let api = Api::start().await;
    // Both were running before there was the tenant, and hear of it from the database alone.
    let node = Node::start_on(api.database.options(), |_, _| ()).await;
    let stop = CancellationToken::new();
    let outlet = Arc::new(node.outlet.clone());
    tokio::spawn(Dispatcher::new(node.log.clone(), outlet).run(stop.clone()));
    let _stopping = stop.drop_guard();

    let created = create(&api, "acme").await;
    assert_eq!(created.status, StatusCode::CREATED, "{}", created.text);
    assert_eq!(created.header("location"), "/api/v1/tenants/acme");
    let token = log_in(&api, "acme").await.json()["access_token"].as_str().expect("a token").to_owned();
    let types = ask(&api, &token, Method::GET, "/command-types/ping", json!({})).await;
    assert_eq!(types.status, StatusCode::OK, "{}", types.text);
    let registered = ask(&api, &token, Method::POST, "/devices", json!({"uid": "dev-01"})).await;
    assert_eq!(registered.status, StatusCode::CREATED, "{}", registered.text);

    let mut device = Device::connect(node.address, V5, "dev-01").await;
    device.subscribe("acme/devices/dev-01/commands").await;
    device.report("acme/devices/dev-01/telemetry", json!({"msg_id": "a", "t": 21.5}).to_string()).await;
    until("the read model shows the reading", async || {
        let shown = ask(&api, &token, Method::GET, "/devices/dev-01", json!({})).await.json();
        shown["last_reading"]["payload"]["t"] == 21.5
    })
    .await;
    let sent = ask(&api, &token, Method::POST, "/devices/dev-01/commands", json!({"cmd": "ping"})).await;
    assert_eq!(sent.status, StatusCode::ACCEPTED, "{}", sent.text);
    let command: Value = serde_json::from_slice(&device.message().await).expect("JSON");
    assert_eq!(command["cmd_id"], sent.json()["cmd_id"]);
    let ack = json!({"cmd_id": command["cmd_id"], "status": "ack"});
    device.report("acme/devices/dev-01/command_ack", ack.to_string()).await;
    let path = format!("/commands/{}", command["cmd_id"].as_str().expect("an id"));
    until("the command is answered", async || {
        ask(&api, &token, Method::GET, &path, json!({})).await.json()["status"] == "acked"
    })
    .await;
}

#[tokio::test]
async fn making_a_tenant_is_on_its_own_record_without_addresses() {
    let api = Api::start().await;
    create(&api, "acme").await;
    let token = log_in(&api, "acme").await.json()["access_token"].as_str().expect("a token").to_owned();
    let events = ask(&api, &token, Method::GET, "/events", json!({})).await;
    assert!(!events.text.contains("boss@"), "{}", events.text);
    let types: Vec<_> = events.json()["items"]
        .as_array()
        .expect("events")
        .iter()
        .map(|event| event["event_type"].as_str().expect("a type").to_owned())
        .collect();
    let shipped = ["CommandTypeDefined"; 3];
    let expected =
        [&["TenantCreated", "TenantSettingsChanged"][..], &shipped, &["UserRegistered", "SessionStarted"]];
    assert_eq!(types, expected.concat());
}

#[tokio::test]
async fn a_tenant_is_made_whole_or_not_at_all() {
    let api = Api::start().await;
    let create = async |body: Value| api.send(Method::POST, "/tenants", body).await;
    let taken = json!({"email": "ADMIN@localhost", "password": PASSWORD});
    assert_eq!(create(json!({"tenant": "acme", "admin": taken})).await.refusal(), "409 email_taken");
    assert_eq!(api.get("/tenants/acme").await.refusal(), "404 not_found");
    let weak = json!({"email": "boss@acme.example", "password": "password"});
    for (field, body) in [
        ("admin.password", json!({"tenant": "acme", "admin": weak})),
        ("admin.email", json!({"tenant": "acme", "admin": {"email": "nobody", "password": PASSWORD}})),
        ("tenant", json!({"tenant": "a/b"})),
        ("tier", json!({"tenant": "acme", "tier": "no-such"})),
        ("tier", json!({"tenant": "acme", "tier": "everyone"})),
        ("max_users", json!({"tenant": "acme", "max_users": 0})),
        ("retention_days", json!({"tenant": "acme", "retention_days": 36_501})),
        ("suspended", json!({"tenant": "acme", "suspended": true})),
    ] {
        let refused = create(body).await;
        assert_eq!(
            (refused.refusal().as_str(), &refused.json()["errors"][0]["field"]),
            ("422 invalid", &json!(field))
        );
    }
    assert_eq!(create(json!({"tenant": "acme"})).await.status, StatusCode::CREATED);
    assert_eq!(create(json!({"tenant": "acme"})).await.refusal(), "409 already_exists");
    assert_eq!(create(json!({"tenant": "t0"})).await.refusal(), "409 already_exists");
}

#[tokio::test]
async fn tenants_are_listed_by_name_in_pages() {
    let api = Api::start().await;
    for tenant in ["Zeta", "acme", "b-1"] {
        assert_eq!(create(&api, tenant).await.status, StatusCode::CREATED);
    }
    let (mut names, mut path) = (vec![], "/tenants?limit=2".to_owned());
    loop {
        let page = api.get(&path).await.json();
        let items = page["items"].as_array().expect("a page").iter();
        names.extend(items.map(|tenant| tenant["tenant"].as_str().expect("a name").to_owned()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/tenants?limit=2&cursor={cursor}");
    }
    assert_eq!(names, ["Zeta", "acme", "b-1", "t0"]);
}

#[tokio::test]
async fn nobody_of_a_suspended_tenant_is_let_in_until_it_is_resumed() {
    let api = Api::start().await;
    let other = api.another_node().await;
    create(&api, "acme").await;
    let token = log_in(&api, "acme").await.json()["access_token"].as_str().expect("a token").to_owned();
    let me = async |api: &Api| ask(api, &token, Method::GET, "/auth/me", json!({})).await.status;
    assert_eq!([me(&api).await, me(&other).await], [StatusCode::OK; 2]);
    let suspended = change(&api, "acme", json!({"suspended": true})).await;
    assert!(suspended.json()["suspended_at"].is_string(), "{}", suspended.text);
    assert_eq!([me(&api).await, me(&other).await], [StatusCode::UNAUTHORIZED; 2]);
    assert_eq!(log_in(&other, "acme").await.refusal(), "401 bad_credentials");
    let again = change(&api, "acme", json!({"suspended": true})).await.json();
    assert_eq!(again["position"], Value::Null);
    let resumed = change(&api, "acme", json!({"suspended": false})).await.json();
    assert_eq!(resumed["suspended_at"], Value::Null);
    assert_eq!([me(&api).await, me(&other).await], [StatusCode::OK; 2]);
    let acts: Vec<_> = ["TenantSuspended", "TenantResumed"]
        .map(|act| format!("/events?aggregate=acme/acme&type={act}"))
        .to_vec();
    for path in acts {
        let events = ask(&api, &token, Method::GET, &path, json!({})).await.json();
        assert_eq!(events["items"].as_array().map(Vec::len), Some(1), "{path}");
    }
}

#[tokio::test]
async fn the_platforms_own_tenant_cannot_be_suspended() {
    let api = Api::start().await;
    assert_eq!(change(&api, "t0", json!({"suspended": true})).await.refusal(), "409 platform_tenant");
    assert_eq!(change(&api, "t0", json!({"suspended": false})).await.status, StatusCode::OK);
    assert_eq!(change(&api, "no-such", json!({"suspended": true})).await.refusal(), "404 not_found");
    assert_eq!(change(&api, "a%20b", json!({"suspended": true})).await.refusal(), "404 not_found");
}

#[tokio::test]
async fn another_tenants_admin_neither_sees_nor_changes_any_tenant() {
    let api = Api::start().await;
    api.add_tenant("t1").await;
    api.add_tenant("t2").await;
    for tenant in ["t0", "t1", "t2", "no-such"] {
        let mut answers = vec![];
        for (method, path, body) in [
            (Method::GET, format!("/tenants/{tenant}"), None),
            (Method::PATCH, format!("/tenants/{tenant}"), Some(json!({"max_devices": 1}))),
            (Method::GET, "/tenants".to_owned(), None),
            (Method::POST, "/tenants".to_owned(), Some(json!({"tenant": tenant}))),
        ] {
            answers.push(send(&api, ("t1", Role::Admin), method, &path, body).await.refusal());
        }
        assert_eq!(answers, ["403 forbidden"; 4], "{tenant}");
    }
    let operator = send(&api, ("t0", Role::Operator), Method::GET, "/tenants", None).await;
    assert_eq!(operator.refusal(), "403 forbidden");
}
