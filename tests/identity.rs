//! Logging in, and what a token is good for.

use chrono::{TimeDelta, Utc};
use fleetlog::identity::password::Weak;
use fleetlog::identity::{Error, Keys, Principal, Role, first_start};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::Row;
use uuid::Uuid;

use crate::support::api::{Answer, PASSWORD, answer};
use crate::support::{Api, Database};

async fn log_in(api: &Api, credentials: &Value) -> Answer {
    answer(api.request(Method::POST, "/auth/login").json(credentials)).await
}

async fn me_with(api: &Api, authorization: &str) -> Answer {
    answer(api.request(Method::GET, "/auth/me").header("authorization", authorization)).await
}

#[tokio::test]
async fn the_first_start_makes_the_admin_and_shows_the_password_once() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let first = first_start(log.pool(), None, None).await.expect("a first start");
    let admin = first.admin.expect("an admin");
    assert_eq!(admin.email, "admin@localhost");
    assert!(admin.generated_password.is_some_and(|password| password.len() >= 20));
    let again = first_start(log.pool(), Some("other@localhost".into()), None).await.expect("a second start");
    assert!(again.admin.is_none());
    let principal =
        Principal { user_id: Uuid::nil(), tenant: "t0".parse().expect("a tenant"), role: Role::Admin };
    let token = first.keys.issue(&principal, Utc::now()).expect("a token");
    assert!(again.keys.verify(&token).is_ok(), "both starts use the same key");
}

#[tokio::test]
async fn of_two_first_starts_at_once_one_makes_the_admin_and_both_use_one_key() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let start = || first_start(log.pool(), None, None);
    let (one, other) = tokio::join!(start(), start());
    let (one, other) = (one.expect("a start"), other.expect("a start"));
    assert_eq!([&one, &other].into_iter().filter(|start| start.admin.is_some()).count(), 1);
    let mut owner = database.owner().await;
    let counts = sqlx::query("SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM signing_keys)")
        .fetch_one(&mut owner)
        .await
        .expect("counts");
    assert_eq!((counts.get::<i64, _>(0), counts.get::<i64, _>(1)), (1, 1));
    assert!(Keys::load(log.pool()).await.is_ok());
}

#[tokio::test]
async fn a_given_password_that_is_weak_is_refused_and_nothing_is_made() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let weak = first_start(log.pool(), None, Some("elevenchars".into())).await;
    assert!(matches!(weak, Err(Error::Weak(Weak))));
    let bad = first_start(log.pool(), Some("nobody".into()), Some(PASSWORD.into())).await;
    assert!(matches!(bad, Err(Error::BadEmail)));
    let start = first_start(log.pool(), Some("Boss@Example.com".into()), Some(PASSWORD.into())).await;
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
    let principal =
        Principal { user_id: Uuid::nil(), tenant: "t0".parse().expect("a tenant"), role: Role::Admin };
    let expired = api.app.keys.issue(&principal, Utc::now() - TimeDelta::hours(1)).expect("a token");
    for authorization in [
        String::new(),
        "Bearer".into(),
        "Bearer ".into(),
        "Bearer x".into(),
        format!("Basic {good}"),
        good.clone(),
        format!("Bearer {expired}"),
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
async fn the_service_may_add_users_and_keys_but_not_change_or_remove_them() {
    let database = Database::fresh().await;
    let mut service = database.service().await;
    for statement in [
        "UPDATE signing_keys SET retired_at = now()",
        "DELETE FROM signing_keys",
        "TRUNCATE users",
        "DELETE FROM users",
    ] {
        let refused = sqlx::raw_sql(statement).execute(&mut service).await.expect_err("refused");
        assert!(refused.to_string().contains("permission denied"), "{statement}: {refused}");
    }
}
