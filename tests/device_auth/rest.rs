//! Credentials over REST.

use std::io;
use std::sync::{Arc, Mutex};

use fleetlog_access::Role;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::Fleet;
use crate::support::Api;
use crate::support::mqtt::V5;

const NOBODYS: &str = "019a0000-0000-7000-8000-000000000001";

#[tokio::test]
async fn a_secret_is_shown_once_and_the_rest_as_often_as_one_likes() {
    let fleet = Fleet::start().await;
    fleet.send("t0", Method::POST, "/devices", json!({ "uid": "dev-01" })).await;
    let issued = fleet.send("t0", Method::POST, "/devices/dev-01/credentials", json!({})).await;
    assert_eq!(issued.status, StatusCode::CREATED, "{}", issued.text);
    let id = issued.json()["credential_id"].as_str().expect("an id").to_owned();
    assert_eq!(issued.header("location"), format!("/api/v1/devices/dev-01/credentials/{id}"));
    assert_eq!(issued.json()["username"], "t0/dev-01");
    assert!(issued.json()["position"].is_string());
    let password = issued.json()["password"].as_str().expect("a password").to_owned();
    assert_eq!((password.len(), &password[..4]), (26, "fld_"));
    let listed = fleet.api.get("/devices/dev-01/credentials").await;
    assert!(!listed.text.contains(&password[4..]) && !listed.text.contains("hash"), "{}", listed.text);
    let item = &listed.json()["items"][0];
    assert_eq!((&item["credential_id"], &item["active"]), (&json!(id), &json!(true)));
    assert_eq!((&item["expires_at"], &item["last_used_at"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn the_credentials_of_a_fleet_are_found_page_by_page_without_those_of_others() {
    let fleet = Fleet::start().await;
    fleet.device("t1", "theirs").await;
    for (uid, site) in [("dev-01", "hanoi"), ("dev-02", "hue"), ("dev-03", "hanoi")] {
        let device = json!({ "uid": uid, "labels": { "site": site } });
        fleet.send("t0", Method::POST, "/devices", device).await;
        fleet.send("t0", Method::POST, &format!("/devices/{uid}/credentials"), json!({})).await;
    }
    fleet.send("t0", Method::DELETE, "/devices/dev-03", Value::Null).await;
    fleet.api.catch_up().await;
    let list = async |role, query: &str| -> Vec<String> {
        let (mut uids, mut cursor) = (vec![], String::new());
        loop {
            let path = format!("/credentials?limit=1{query}{cursor}");
            let page = fleet.api.send_as(role, Method::GET, &path, None).await.json();
            let items = page["items"].as_array().expect("credentials").iter();
            uids.extend(items.map(|item| item["uid"].as_str().expect("a uid").to_owned()));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return uids,
            }
        }
    };
    assert_eq!(list(Role::Operator, "").await, ["dev-01", "dev-02", "dev-03"]);
    assert_eq!(list(Role::Operator, "&active=true").await, ["dev-01", "dev-02"]);
    assert_eq!(list(Role::Operator, "&active=false").await, ["dev-03"], "it is out of service");
    assert_eq!(list(Role::Operator, "&q=V-02").await, ["dev-02"]);
    let source = r#"forbid (principal in Role::"operator", action == Action::"credentials.read", resource is Device)
        unless { resource.hasTag("site") && resource.getTag("site") == "hue" };"#;
    fleet.send("t0", Method::PUT, "/policies/only-hue", json!({ "source": source })).await;
    assert_eq!(list(Role::Operator, "").await, ["dev-02"]);
    assert_eq!(list(Role::Admin, "").await.len(), 3);
    let forged = fleet.api.get("/credentials?cursor=1x").await;
    assert_eq!(forged.refusal(), "422 invalid");
}

#[tokio::test]
async fn a_wish_that_makes_no_sense_is_refused() {
    let fleet = Fleet::start().await;
    fleet.device("t0", "dev-01").await;
    for (wish, field) in [
        (json!({ "expires_at": "2020-01-01T00:00:00Z" }), "expires_at"),
        (json!({ "expires_at": "soon" }), "expires_at"),
        (json!({ "revoke_others_in_s": -1 }), "revoke_others_in_s"),
        (json!({ "revoke_others_in_s": 31_536_001 }), "revoke_others_in_s"),
        (json!({ "password": "mine" }), "password"),
    ] {
        let refused = fleet.send("t0", Method::POST, "/devices/dev-01/credentials", wish.clone()).await;
        assert_eq!(refused.refusal(), "422 invalid", "{wish}: {}", refused.text);
        assert_eq!(refused.json()["errors"][0]["field"], field, "{}", refused.text);
    }
    for _ in 0..4 {
        fleet.issue("t0", "dev-01", json!({})).await;
    }
    let sixth = fleet.send("t0", Method::POST, "/devices/dev-01/credentials", json!({})).await;
    assert_eq!(sixth.refusal(), "409 too_many_credentials");
}

#[tokio::test]
async fn of_two_at_once_for_one_device_each_is_issued() {
    let fleet = Fleet::start().await;
    fleet.device("t0", "dev-01").await;
    let issue = || fleet.issue("t0", "dev-01", json!({}));
    let (one, other) = tokio::join!(issue(), issue());
    for credential in [one, other] {
        fleet.connect(V5, "any", &credential).await;
    }
}

#[tokio::test]
async fn another_tenants_device_or_credential_is_as_unknown_as_one_that_never_was() {
    let fleet = Fleet::start().await;
    let theirs = fleet.device("t1", "theirs").await;
    let ours = fleet.device("t0", "ours").await;
    let same = async |method: Method, body: Value, one: String, other: String| {
        let (one, other) = (
            fleet.send("t0", method.clone(), &one, body.clone()).await,
            fleet.send("t0", method, &other, body).await,
        );
        let plain = |text: &str, id: &str| text.replace(id, "");
        assert_eq!(one.status, StatusCode::NOT_FOUND, "{}", one.text);
        assert_eq!(other.status, StatusCode::NOT_FOUND, "{}", other.text);
        assert_eq!(
            plain(&one.text, one.header("x-request-id")),
            plain(&other.text, other.header("x-request-id"))
        );
    };
    let devices = |uid: &str| format!("/devices/{uid}/credentials");
    same(Method::GET, Value::Null, devices("theirs"), devices("nobody")).await;
    same(Method::POST, json!({}), devices("theirs"), devices("nobody")).await;
    let one = |uid: &str, id: &str| format!("/devices/{uid}/credentials/{id}");
    same(Method::DELETE, Value::Null, one("theirs", &theirs.id), one("nobody", NOBODYS)).await;
    same(Method::DELETE, Value::Null, one("ours", &theirs.id), one("ours", NOBODYS)).await;
    same(Method::DELETE, Value::Null, one("ours", &theirs.id), one("ours", "nonsense")).await;
    fleet.connect(V5, "theirs", &theirs).await;
    fleet.connect(V5, "ours", &ours).await;
}

#[tokio::test]
async fn only_some_roles_issue_and_fewer_see() {
    let api = Api::start().await;
    for role in Role::ALL {
        let (issue, see) = match role {
            Role::Admin | Role::Operator => (true, true),
            Role::Auditor => (false, true),
            Role::Analyst | Role::Viewer => (false, false),
        };
        let path = "/devices/dev-01/credentials";
        let issued = api.send_as(role, Method::POST, path, Some(json!({}))).await;
        assert_eq!(issued.status == StatusCode::FORBIDDEN, !issue, "{role}");
        let listed = api.send_as(role, Method::GET, path, None).await;
        assert_eq!(listed.status == StatusCode::FORBIDDEN, !see, "{role}");
    }
}

/// What is written to the log, all of it.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_secret_is_in_an_event_in_a_row_or_in_a_log_line() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    // While there is only one subscriber, tracing asks other threads' own, which they do not have, whether to log a
    // line, and keeps the answer for all threads.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    // Everything here runs on this thread.
    let _logging = tracing::subscriber::set_default(subscriber);
    let fleet = Fleet::start().await;
    let credential = fleet.device("t0", "dev-01").await;
    fleet.connect(V5, "any", &credential).await.report("t0/devices/dev-01/telemetry", "{}").await;
    fleet.issue("t0", "dev-01", json!({ "revoke_others_in_s": 60 })).await;
    let logged = String::from_utf8_lossy(&lines.0.lock().expect("no panic")).into_owned();
    assert!(logged.contains("answered"), "it was logged: {logged}");
    let mut owner = fleet.node.owner().await;
    let events: Vec<(String, String)> = sqlx::query_as(
        "SELECT event_type, payload::text || metadata::text FROM control_events WHERE aggregate_type = 'Device' ORDER BY position",
    )
    .fetch_all(&mut owner)
    .await
    .expect("events");
    let rows: Vec<String> = sqlx::query_scalar("SELECT device_credentials::text FROM device_credentials")
        .fetch_all(&mut owner)
        .await
        .expect("rows");
    let types: Vec<_> = events.iter().map(|(event_type, _)| event_type.as_str()).collect();
    let revoked = ["DeviceCredentialRevoked", "DeviceCredentialIssued"];
    assert_eq!(types, [&["DeviceRegistered", "DeviceCredentialIssued"][..], &revoked].concat());
    let secret = &credential.password["fld_".len()..];
    let hash = rows.iter().find(|row| row.contains(&credential.id)).and_then(|row| row.split("\\\\x").nth(1));
    let hash = &hash.expect("a hash")[..16];
    for place in [logged, format!("{events:?}")] {
        assert!(!place.contains(secret) && !place.contains(hash), "{place}");
    }
    assert!(!format!("{rows:?}").contains(secret));
}

#[tokio::test]
async fn requests_see_no_hash_and_cannot_bring_a_credential_back_as_anothers() {
    let fleet = Fleet::start().await;
    fleet.device("t1", "dev-01").await;
    let mut requests = fleet.api.database.requests("t0").await;
    for statement in [
        "SELECT secret_hash FROM device_credentials",
        "UPDATE device_credentials SET secret_hash = ''",
        "UPDATE device_credentials SET tenant = 't0'",
        "DELETE FROM device_credentials",
    ] {
        let refused = sqlx::raw_sql(statement).execute(&mut requests).await.expect_err("refused");
        assert!(refused.to_string().contains("permission denied"), "{statement}: {refused}");
    }
    let seen: i64 = sqlx::query_scalar("SELECT count(credential_id) FROM device_credentials")
        .fetch_one(&mut requests)
        .await
        .expect("a count");
    assert_eq!(seen, 0);
}
