//! Sessions: seen, ended, and what that ends.

use fleetlog_access::Role;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{log_in, me_with};
use crate::support::Api;
use crate::support::api::{Answer, PASSWORD, answer, user_id};

async fn begin(api: &Api) -> Value {
    let body = json!({"email": "admin@localhost", "password": PASSWORD, "refresh": "body"});
    log_in(api, &body).await.json()
}

async fn with(api: &Api, tokens: &Value, method: Method, path: &str) -> Answer {
    answer(api.request(method, path).bearer_auth(tokens["access_token"].as_str().expect("a token"))).await
}

async fn is_in(api: &Api, tokens: &Value) -> bool {
    with(api, tokens, Method::GET, "/auth/me").await.status == StatusCode::OK
}

async fn refreshes(api: &Api, tokens: &Value) -> bool {
    let body = json!({"refresh_token": tokens["refresh_token"]});
    answer(api.request(Method::POST, "/auth/refresh").json(&body)).await.status == StatusCode::OK
}

#[tokio::test]
async fn logging_out_ends_both_tokens_at_once_and_leaves_other_sessions_alone() {
    let api = Api::start().await;
    let (mine, elsewhere) = (begin(&api).await, begin(&api).await);
    let out = with(&api, &mine, Method::POST, "/auth/logout").await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
    assert!(out.header("set-cookie").contains("Max-Age=0"));
    assert!(!is_in(&api, &mine).await && !refreshes(&api, &mine).await);
    assert!(is_in(&api, &elsewhere).await && refreshes(&api, &elsewhere).await);
    assert_eq!(
        with(&api, &mine, Method::POST, "/auth/logout").await.status,
        StatusCode::NO_CONTENT,
        "out already"
    );
}

#[tokio::test]
async fn a_refresh_token_alone_logs_out_too() {
    let api = Api::start().await;
    let tokens = begin(&api).await;
    let body = json!({"refresh_token": tokens["refresh_token"]});
    let out = answer(api.request(Method::POST, "/auth/logout").json(&body)).await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
    assert!(!is_in(&api, &tokens).await);
}

#[tokio::test]
async fn one_sees_ones_sessions_and_ends_them_from_elsewhere() {
    let api = Api::start().await;
    let (mine, lost) = (begin(&api).await, begin(&api).await);
    let sessions = with(&api, &mine, Method::GET, "/auth/sessions").await.json();
    let items = sessions["items"].as_array().expect("items");
    let current: Vec<_> = items.iter().map(|session| session["current"].clone()).collect();
    assert_eq!(current, [false, true], "the newest first");
    assert_eq!(items[0]["address"], "127.0.0.1");
    let path = format!("/auth/sessions/{}", items[0]["session_id"].as_str().expect("an id"));
    assert_eq!(with(&api, &mine, Method::DELETE, &path).await.status, StatusCode::NO_CONTENT);
    assert!(!is_in(&api, &lost).await && !refreshes(&api, &lost).await);
    assert_eq!(with(&api, &mine, Method::DELETE, &path).await.refusal(), "404 not_found");
    let more = begin(&api).await;
    assert_eq!(with(&api, &mine, Method::DELETE, "/auth/sessions").await.status, StatusCode::NO_CONTENT);
    assert!(is_in(&api, &mine).await && !is_in(&api, &more).await);
}

#[tokio::test]
async fn anothers_session_is_none() {
    let api = Api::start().await;
    api.add_tenant("t1").await;
    let mut refusals = vec![];
    for id in [user_id("t0", Role::Admin), user_id("t1", Role::Viewer), uuid::Uuid::now_v7()] {
        let path = format!("/auth/sessions/{id}");
        let mut problem = api.send_as(Role::Viewer, Method::DELETE, &path, None).await.json();
        problem["request_id"] = Value::Null;
        refusals.push(problem);
    }
    assert_eq!(refusals[0]["code"], "not_found");
    assert!(refusals.iter().all(|problem| *problem == refusals[0]), "{refusals:?}");
    let stranger = format!("Bearer {}", api.token("t1", Role::Viewer));
    assert_eq!(me_with(&api, &stranger).await.status, StatusCode::OK);
}

#[tokio::test]
async fn logins_failures_and_ends_are_on_the_record_without_addresses_or_secrets() {
    let api = Api::start().await;
    let tokens = begin(&api).await;
    for email in ["admin@localhost", "nobody@example.com"] {
        log_in(&api, &json!({"email": email, "password": "wrong horse battery"})).await;
    }
    with(&api, &tokens, Method::POST, "/auth/logout").await;
    let over = "UPDATE refused_logins SET minute = minute - interval '1 minute'";
    sqlx::raw_sql(over).execute(&mut api.database.owner().await).await.expect("over");
    fleetlog_access::strangers::tell(&api.log).await.expect("told");
    let events = api.get("/events").await;
    let types: Vec<_> = events.json()["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|event| event["event_type"].as_str().expect("a type").to_owned())
        .collect();
    assert_eq!(
        types,
        ["UserRegistered", "SessionStarted", "UserLoginFailed", "SessionEnded", "LoginRefused"]
    );
    for secret in ["@", "horse", "flr_", "$argon2"] {
        assert!(!events.text.contains(secret), "{secret} in {}", events.text);
    }
}

#[tokio::test]
async fn a_login_with_a_password_that_is_being_changed_does_not_get_in() {
    let api = Api::start().await;
    let mut owner = api.database.owner().await;
    let change = "BEGIN; UPDATE users SET password_hash = '$argon2id$' WHERE email = 'admin@localhost'";
    sqlx::raw_sql(change).execute(&mut owner).await.expect("changed");
    let login = async {
        let body = json!({"email": "admin@localhost", "password": PASSWORD});
        log_in(&api, &body).await
    };
    let commit = async {
        let waiting = "SELECT EXISTS (SELECT FROM pg_stat_activity
                       WHERE datname = current_database() AND wait_event_type = 'Lock')";
        // Over another connection: within a transaction it stays as it was when it was first looked at.
        let mut looking = api.database.owner().await;
        while !sqlx::query_scalar::<_, bool>(waiting).fetch_one(&mut looking).await.expect("an answer") {}
        sqlx::raw_sql("COMMIT").execute(&mut owner).await.expect("committed");
    };
    let both = async { tokio::join!(login, commit) };
    let both = tokio::time::timeout(std::time::Duration::from_secs(30), both).await;
    let (answered, ()) = both.expect("the login waits for the change");
    assert_eq!(answered.refusal(), "401 bad_credentials");
}

#[tokio::test]
async fn of_many_who_call_at_once_each_is_who_they_are_and_whose_session_is_over_is_nobody() {
    let api = Api::start().await;
    let over = begin(&api).await;
    assert_eq!(with(&api, &over, Method::POST, "/auth/logout").await.status, StatusCode::NO_CONTENT);
    let ask = async |role: Option<Role>| {
        let token = role.map(|role| api.token("t0", role));
        let token = token.unwrap_or_else(|| over["access_token"].as_str().expect("a token").to_owned());
        let answer = me_with(&api, &format!("Bearer {token}")).await;
        match role {
            Some(role) => assert_eq!(answer.json()["role"], role.as_str()),
            None => assert_eq!(answer.status, StatusCode::UNAUTHORIZED),
        }
    };
    let callers = Role::ALL.into_iter().map(Some).chain([None]).cycle().take(60);
    futures::future::join_all(callers.map(ask)).await;
}

#[tokio::test]
async fn a_caller_is_known_although_postgres_has_dropped_every_connection_meanwhile() {
    let api = Api::start().await;
    let tokens = begin(&api).await;
    assert!(is_in(&api, &tokens).await);
    let drop_all = "SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()";
    sqlx::query(drop_all).execute(&mut api.database.owner().await).await.expect("dropped");
    assert!(is_in(&api, &tokens).await);
}
