//! Logging in, and what a token is good for.

use chrono::{TimeDelta, Utc};
use fleetlog_access::password::Weak;
use fleetlog_access::users::User;
use fleetlog_access::{Role, SigningKeys, first_start};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::Row;
use uuid::Uuid;

use crate::support::api::{Answer, PASSWORD, answer, user_id};
use crate::support::{Api, Database};

mod api_keys;
mod browser;
mod refresh;
mod sessions;
mod tokens;

fn user() -> User {
    let tenant = "t0".parse().expect("a tenant");
    User { user_id: Uuid::nil(), tenant, role: Role::Admin, password_hash: None }
}

pub(crate) async fn log_in(api: &Api, credentials: &Value) -> Answer {
    answer(api.request(Method::POST, "/auth/login").json(credentials)).await
}

async fn me_with(api: &Api, authorization: &str) -> Answer {
    answer(api.request(Method::GET, "/auth/me").header("authorization", authorization)).await
}

#[tokio::test]
async fn the_first_start_makes_the_admin_and_shows_the_password_once() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let first = first_start(&log, None, None, None).await.expect("a first start");
    let admin = first.admin.expect("an admin");
    assert_eq!(admin.email, "admin@localhost");
    assert!(admin.generated_password.is_some_and(|password| password.len() >= 20));
    let again = first_start(&log, Some("other@localhost".into()), None, None).await.expect("a second start");
    assert!(again.admin.is_none());
    let token = first.keys.issue(&user(), Uuid::nil(), Utc::now()).expect("a token");
    assert!(again.keys.verify(&token).await.expect("an answer").is_some(), "both starts use the same key");
}

#[tokio::test]
async fn of_two_first_starts_at_once_one_makes_the_admin_and_both_use_one_key() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let start = || first_start(&log, None, None, None);
    let (one, other) = tokio::join!(start(), start());
    let (one, other) = (one.expect("a start"), other.expect("a start"));
    assert_eq!([&one, &other].into_iter().filter(|start| start.admin.is_some()).count(), 1);
    let mut owner = database.owner().await;
    let counts = sqlx::query("SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM signing_keys)")
        .fetch_one(&mut owner)
        .await
        .expect("counts");
    assert_eq!((counts.get::<i64, _>(0), counts.get::<i64, _>(1)), (1, 1));
    assert!(SigningKeys::load(&log, None).await.is_ok());
}

#[tokio::test]
async fn a_given_password_that_is_weak_is_refused_and_nothing_is_made() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let weak = first_start(&log, None, Some("elevenchars".into()), None).await;
    assert!(matches!(weak, Err(first_start::Error::Weak(Weak::Length))));
    let guessable = first_start(&log, None, Some("password1234".into()), None).await;
    assert!(matches!(guessable, Err(first_start::Error::Weak(Weak::Guessable(_)))));
    let bad = first_start(&log, Some("nobody".into()), Some(PASSWORD.into()), None).await;
    assert!(matches!(bad, Err(first_start::Error::BadEmail)));
    let start = first_start(&log, Some("Boss@Example.com".into()), Some(PASSWORD.into()), None).await;
    let admin = start.expect("a start").admin.expect("an admin");
    assert_eq!((admin.email.as_str(), admin.generated_password), ("boss@example.com", None));
}

#[tokio::test]
async fn whoever_has_the_password_gets_a_token_for_a_quarter_of_an_hour() {
    let api = Api::start().await;
    let answered = log_in(&api, &json!({"email": "Admin@localhost", "password": PASSWORD})).await;
    assert_eq!(answered.status, StatusCode::OK, "{}", answered.text);
    let token = answered.json();
    assert_eq!((&token["token_type"], &token["expires_in"]), (&json!("bearer"), &json!(900)));
    let token = token["access_token"].as_str().expect("a token").to_owned();
    let me = me_with(&api, &format!("bearer {token}")).await.json();
    assert_eq!(
        (&me["email"], &me["tenant"], &me["role"]),
        (&json!("admin@localhost"), &json!("t0"), &json!("admin"))
    );
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_user_get_the_same_answer() {
    let api = Api::start().await;
    let mut answers = vec![];
    for (email, password) in [
        ("admin@localhost", "wrong horse battery"),
        ("nobody@localhost", PASSWORD),
        ("no address", PASSWORD),
        ("a\0b@localhost", PASSWORD),
        ("admin@localhost", ""),
        ("admin@localhost", &"x".repeat(100_000)),
    ] {
        let answered = log_in(&api, &json!({"email": email, "password": password})).await;
        assert_eq!(answered.header("www-authenticate"), "Bearer");
        let mut problem = answered.json();
        problem["request_id"] = Value::Null;
        answers.push(problem);
    }
    assert_eq!(answers[0]["code"], "bad_credentials");
    assert!(answers.iter().all(|problem| *problem == answers[0]), "{answers:?}");
}

#[tokio::test]
async fn too_many_attempts_are_refused_before_the_password_is_looked_at() {
    let api = Api::start().await;
    let wrong = json!({"email": "admin@localhost", "password": "wrong horse battery"});
    for _ in 0..10 {
        assert_eq!(log_in(&api, &wrong).await.refusal(), "401 bad_credentials");
    }
    let right = log_in(&api, &json!({"email": "admin@localhost", "password": PASSWORD})).await;
    assert_eq!(right.refusal(), "429 too_many_requests");
    let seconds: u64 = right.header("retry-after").parse().expect("seconds");
    assert!((1..=60).contains(&seconds), "{seconds}");
}

#[tokio::test]
async fn only_a_good_token_in_the_right_place_logs_in() {
    let api = Api::start().await;
    let good = api.token("t0", Role::Viewer);
    let expired = Utc::now() - TimeDelta::hours(1);
    let session = user_id("t0", Role::Viewer);
    let expired = api.app.access.signing_keys.issue(&user(), session, expired).expect("a token");
    let nobodys = api.app.access.signing_keys.issue(&user(), Uuid::nil(), Utc::now()).expect("a token");
    for authorization in [
        String::new(),
        "Bearer".into(),
        "Bearer ".into(),
        "Bearer x".into(),
        format!("Basic {good}"),
        good.clone(),
        format!("Bearer {expired}"),
        format!("Bearer {nobodys}"),
        format!("Bearer {good}x"),
        format!("Bearer {}", "a".repeat(7000)),
    ] {
        let answered = me_with(&api, &authorization).await;
        assert_eq!(answered.refusal(), "401 unauthenticated", "{authorization}");
        assert_eq!(answered.header("www-authenticate"), "Bearer");
    }
    let both = api.request(Method::GET, "/devices").bearer_auth(&good).header("authorization", "Bearer x");
    assert_eq!(answer(both).await.refusal(), "401 unauthenticated");
    let in_url = answer(api.request(Method::GET, &format!("/devices?access_token={good}"))).await;
    assert_eq!(in_url.refusal(), "401 unauthenticated");
}

#[tokio::test]
async fn a_token_is_worth_nothing_once_its_session_user_or_tenant_is_gone() {
    for end in [
        "UPDATE sessions SET ended_at = now()",
        "UPDATE sessions SET expires_at = now()",
        "UPDATE users SET deactivated_at = now()",
        "UPDATE tenants SET suspended_at = now()",
    ] {
        let api = Api::start().await;
        assert_eq!(api.get("/auth/me").await.status, StatusCode::OK);
        sqlx::raw_sql(end).execute(&mut api.database.owner().await).await.expect("ended");
        assert_eq!(api.get("/auth/me").await.refusal(), "401 unauthenticated", "{end}");
    }
}

#[tokio::test]
async fn requests_see_no_secret_and_change_nothing_but_what_an_admin_may() {
    let database = Database::fresh().await;
    let mut requests = database.requests("t0").await;
    for statement in [
        "SELECT password_hash FROM users",
        "SELECT * FROM signing_keys",
        "SELECT * FROM refresh_tokens",
        "UPDATE users SET password_hash = 'x'",
        "UPDATE users SET tenant = 't1'",
        "DELETE FROM users",
        "UPDATE tenants SET suspended_at = NULL",
        "UPDATE tenants SET tier = 'enterprise'",
        "INSERT INTO tenants (tenant) VALUES ('t1')",
    ] {
        let refused = sqlx::raw_sql(statement).execute(&mut requests).await.expect_err("refused");
        assert!(refused.to_string().contains("permission denied"), "{statement}: {refused}");
    }
}
