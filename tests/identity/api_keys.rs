//! API keys: good for what they are for, until they are not.

use fleetlog_access::Role;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::Api;
use crate::support::api::{Answer, answer, user_id};

async fn issue(api: &Api, body: Value) -> Value {
    let issued = api.send(Method::POST, "/api-keys", body).await;
    assert_eq!(issued.status, StatusCode::CREATED, "{}", issued.text);
    issued.json()
}

async fn with(api: &Api, key: &Value, method: Method, path: &str) -> Answer {
    answer(api.request(method, path).bearer_auth(key["key"].as_str().expect("a key"))).await
}

#[tokio::test]
async fn a_key_is_good_for_its_actions_and_nothing_else() {
    let api = Api::start().await;
    let key = issue(&api, json!({"name": "billing", "actions": ["devices.read", "devices.write"]})).await;
    assert_eq!(with(&api, &key, Method::GET, "/devices").await.status, StatusCode::OK);
    for (method, path) in [
        (Method::GET, "/telemetry/dev-01"),
        (Method::POST, "/devices/dev-01/commands"),
        (Method::GET, "/api-keys"),
        (Method::GET, "/auth/me"),
        (Method::GET, "/auth/sessions"),
        (Method::POST, "/signing-keys/rotate"),
    ] {
        assert_eq!(with(&api, &key, method, path).await.refusal(), "403 forbidden", "{path}");
    }
    let registered = api.request(Method::POST, "/devices").bearer_auth(key["key"].as_str().expect("a key"));
    assert_eq!(answer(registered.json(&json!({"uid": "dev-01"}))).await.status, StatusCode::CREATED);
    let event = api.get("/events?type=DeviceRegistered").await.json()["items"][0].clone();
    assert_eq!(event["metadata"]["actor"], format!("key:{}", key["key_id"].as_str().expect("an id")));
}

#[tokio::test]
async fn a_key_is_shown_once_and_lists_show_all_but_its_secret() {
    let api = Api::start().await;
    let key = issue(&api, json!({"name": "billing", "actions": ["devices.read"]})).await;
    let (id, text) = (key["key_id"].as_str().expect("an id"), key["key"].as_str().expect("a key"));
    let secret = text.rsplit_once('_').expect("a secret").1;
    assert_eq!(with(&api, &key, Method::GET, "/devices").await.status, StatusCode::OK);
    for path in ["/api-keys".to_owned(), format!("/api-keys/{id}"), "/events".to_owned()] {
        let shown = api.get(&path).await;
        assert!(shown.text.contains(id) && !shown.text.contains(secret), "{path}: {}", shown.text);
    }
    let shown = api.send_as(Role::Auditor, Method::GET, &format!("/api-keys/{id}"), None).await.json();
    assert_eq!((&shown["name"], &shown["actions"]), (&json!("billing"), &json!(["devices.read"])));
    assert!(shown["last_used_at"].is_string(), "{shown}");
}

#[tokio::test]
async fn a_key_is_worth_nothing_once_it_is_revoked_expired_or_its_tenant_suspended() {
    let api = Api::start().await;
    let new = json!({"name": "k", "actions": ["devices.read"], "expires_at": "2099-01-01T00:00:00Z"});
    let key = issue(&api, new.clone()).await;
    let path = format!("/api-keys/{}", key["key_id"].as_str().expect("an id"));
    assert_eq!(api.send_as(Role::Admin, Method::DELETE, &path, None).await.status, StatusCode::NO_CONTENT);
    assert_eq!(with(&api, &key, Method::GET, "/devices").await.refusal(), "401 unauthenticated");
    assert_eq!(api.send_as(Role::Admin, Method::DELETE, &path, None).await.refusal(), "404 not_found");
    for end in ["UPDATE api_keys SET expires_at = now()", "UPDATE tenants SET suspended_at = now()"] {
        let key = issue(&api, new.clone()).await;
        assert_eq!(with(&api, &key, Method::GET, "/devices").await.status, StatusCode::OK);
        sqlx::raw_sql(end).execute(&mut api.database.owner().await).await.expect("ended");
        assert_eq!(with(&api, &key, Method::GET, "/devices").await.refusal(), "401 unauthenticated", "{end}");
    }
}

#[tokio::test]
async fn a_key_is_nothing_without_its_own_secret() {
    let api = Api::start().await;
    let new = json!({"name": "k", "actions": ["devices.read"]});
    let (one, other) = (issue(&api, new.clone()).await, issue(&api, new).await);
    let [one, other] = [&one, &other].map(|key| key["key"].as_str().expect("a key").to_owned());
    let (id, _) = one.rsplit_once('_').expect("an id");
    let (_, secret) = other.rsplit_once('_').expect("a secret");
    for key in
        [id.to_owned(), format!("{id}_"), format!("{id}_{secret}"), format!("{one}x"), one.to_uppercase()]
    {
        let refused = with(&api, &json!({"key": key}), Method::GET, "/devices").await;
        assert_eq!(refused.refusal(), "401 unauthenticated", "{key}");
    }
}

#[tokio::test]
async fn a_key_that_makes_no_sense_is_not_issued() {
    let api = Api::start().await;
    for (body, field) in [
        (json!({"name": "", "actions": ["devices.read"]}), "name"),
        (json!({"name": "x".repeat(201), "actions": ["devices.read"]}), "name"),
        (json!({"name": "k", "actions": []}), "actions"),
        (json!({"name": "k", "actions": ["everything"]}), "actions"),
        (json!({"name": "k", "actions": ["user.write"]}), "actions"),
        (
            json!({"name": "k", "actions": ["devices.read"], "expires_at": "2020-01-01T00:00:00Z"}),
            "expires_at",
        ),
        (json!({"name": "k", "actions": ["devices.read"], "tenant": "t1"}), "tenant"),
    ] {
        let refused = api.send(Method::POST, "/api-keys", body.clone()).await;
        assert_eq!(
            (refused.refusal().as_str(), &refused.json()["errors"][0]["field"]),
            ("422 invalid", &json!(field)),
            "{body}"
        );
    }
    let key = issue(&api, json!({"name": "k", "actions": ["api_keys.write", "devices.read"]})).await;
    let more = api.request(Method::POST, "/api-keys").bearer_auth(key["key"].as_str().expect("a key"));
    let more = more.json(&json!({"name": "more", "actions": ["devices.write"]}));
    assert_eq!(answer(more).await.refusal(), "403 forbidden", "nobody gives away what they have not got");
}

#[tokio::test]
async fn another_tenants_key_is_none() {
    let api = Api::start().await;
    api.add_tenant("t1").await;
    let key = issue(&api, json!({"name": "canary", "actions": ["devices.read"]})).await;
    let theirs = api.token("t1", Role::Admin);
    let listed = answer(api.request(Method::GET, "/api-keys").bearer_auth(&theirs)).await;
    assert_eq!(listed.json()["items"], json!([]));
    let unknown = "00000000-0000-0000-0000-000000000000";
    for method in [Method::GET, Method::DELETE] {
        let mut problems = vec![];
        for id in [key["key_id"].as_str().expect("an id"), unknown] {
            let request = api.request(method.clone(), &format!("/api-keys/{id}")).bearer_auth(&theirs);
            let mut problem = answer(request).await.json();
            problem["request_id"] = Value::Null;
            problems.push(problem);
        }
        assert_eq!(problems[0]["code"], "not_found");
        assert_eq!(problems[0], problems[1]);
    }
}

/// Issues a key with a token, which may be a key itself.
async fn issue_as(api: &Api, token: &str, body: Value) -> Answer {
    answer(api.request(Method::POST, "/api-keys").bearer_auth(token).json(&body)).await
}

async fn arrange(api: &Api, sql: &str) {
    sqlx::raw_sql(sql).execute(&mut api.database.owner().await).await.expect("arranged");
}

#[tokio::test]
async fn a_key_may_do_no_more_than_its_issuer_may_do_now_and_ends_with_its_issuer() {
    let api = Api::start().await;
    let new =
        json!({"name": "k", "actions": ["devices.read", "users.read", "api_keys.write", "metrics.read"]});
    let key = issue(&api, new.clone()).await;
    let below = issue_as(&api, key["key"].as_str().expect("a key"), new).await.json();
    let admin = user_id("t0", Role::Admin);
    let asked = async |path: &'static str| {
        let (key, below) =
            (with(&api, &key, Method::GET, path).await, with(&api, &below, Method::GET, path).await);
        assert_eq!(key.status, below.status, "a key that was issued with a key is no better");
        key.status.as_u16()
    };
    let all = async || [asked("/devices").await, asked("/users").await, asked("/metrics").await];
    assert_eq!(all().await, [200, 200, 200]);
    for (role, expected) in [("viewer", [200, 403, 403]), ("operator", [200, 403, 200]), ("admin", [200; 3])]
    {
        arrange(&api, &format!("UPDATE users SET role = '{role}' WHERE user_id = '{admin}'")).await;
        assert_eq!(all().await, expected, "{role}");
    }
    arrange(&api, &format!("UPDATE users SET deactivated_at = now() WHERE user_id = '{admin}'")).await;
    assert_eq!(all().await, [401; 3]);
    arrange(&api, &format!("UPDATE users SET deactivated_at = NULL WHERE user_id = '{admin}'")).await;
    assert_eq!(all().await, [200; 3]);
    arrange(&api, "UPDATE api_keys SET revoked_at = now() WHERE created_by NOT LIKE 'key:%'").await;
    assert_eq!(all().await, [401; 3]);
}

#[tokio::test]
async fn a_policy_about_its_issuer_holds_for_a_key() {
    let api = Api::start().await;
    let key = issue(&api, json!({"name": "k", "actions": ["devices.read"]})).await;
    assert_eq!(with(&api, &key, Method::GET, "/devices").await.status, StatusCode::OK);
    let admin = user_id("t0", Role::Admin);
    let source =
        format!(r#"forbid (principal == User::"{admin}", action == Action::"devices.read", resource);"#);
    let put = api.send(Method::PUT, "/policies/no-devices", json!({ "source": source })).await;
    assert!(put.status.is_success(), "{}", put.text);
    assert_eq!(with(&api, &key, Method::GET, "/devices").await.refusal(), "403 forbidden");
    let question = json!({"key_id": key["key_id"], "action": "devices.read"});
    assert_eq!(api.send(Method::POST, "/policies/check", question).await.json()["allowed"], json!(false));
}

#[tokio::test]
async fn nobody_outside_the_platforms_tenant_issues_a_key_for_the_platform() {
    let api = Api::start().await;
    api.add_tenant("t1").await;
    for action in
        ["tenants.read", "tenants.write", "tiers.read", "tiers.write", "signing_keys.write", "metrics.read"]
    {
        let new = json!({"name": "k", "actions": [action]});
        let theirs = issue_as(&api, &api.token("t1", Role::Admin), new.clone()).await;
        assert_eq!(theirs.refusal(), "403 forbidden", "{action}");
        issue(&api, new).await;
    }
}

#[tokio::test]
async fn keys_are_issued_with_keys_eight_deep_and_no_deeper() {
    let api = Api::start().await;
    let new = json!({"name": "k", "actions": ["api_keys.write", "devices.read"]});
    let mut key = issue(&api, new.clone()).await;
    for n in 2..=8 {
        let next = issue_as(&api, key["key"].as_str().expect("a key"), new.clone()).await;
        assert_eq!(next.status, StatusCode::CREATED, "{n}: {}", next.text);
        key = next.json();
        assert_eq!(with(&api, &key, Method::GET, "/devices").await.status, StatusCode::OK, "{n}");
    }
    let refused = issue_as(&api, key["key"].as_str().expect("a key"), new).await;
    assert_eq!(refused.refusal(), "422 invalid");
}
