//! A clock that was ahead, and was put right: nothing that was stored meanwhile lasts longer for it.
//!
//! The moments that Postgres's clock stored while it was a month ahead are those of now, a month later.

use fleetlog_engine::devices::credentials::Credentials;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::api::{Answer, PASSWORD, answer};
use crate::support::{Api, until};

async fn post(api: &Api, path: &str, body: Value) -> Answer {
    answer(api.request(Method::POST, path).json(&body)).await
}

async fn begin(api: &Api) -> Value {
    let body = json!({"email": "admin@localhost", "password": PASSWORD, "refresh": "body"});
    post(api, "/auth/login", body).await.json()
}

async fn refresh(api: &Api, tokens: &Value) -> Answer {
    post(api, "/auth/refresh", json!({ "refresh_token": tokens["refresh_token"] })).await
}

async fn me(api: &Api, tokens: &Value) -> Answer {
    let token = tokens["access_token"].as_str().expect("a token");
    answer(api.request(Method::GET, "/auth/me").bearer_auth(token)).await
}

async fn arrange(api: &Api, sql: &str) {
    sqlx::raw_sql(sql).execute(&mut api.database.owner().await).await.expect("arranged");
}

#[tokio::test]
async fn after_a_login_with_a_clock_that_was_a_month_ahead_one_logs_in_at_once() {
    let api = Api::start().await;
    assert_eq!(begin(&api).await["token_type"], "bearer");
    let ahead = "INSERT INTO attempts VALUES (decode(repeat('00', 16), 'hex'), now());
        UPDATE attempts SET whole_at = whole_at + interval '30 days'";
    arrange(&api, ahead).await;
    for _ in 0..3 {
        assert_eq!(begin(&api).await["token_type"], "bearer");
    }
}

#[tokio::test]
async fn a_session_of_a_clock_that_was_ahead_is_none_and_can_still_be_ended() {
    let api = Api::start().await;
    let (ahead, present) = (begin(&api).await, begin(&api).await);
    arrange(
        &api,
        "UPDATE sessions SET created_at = created_at + interval '30 days', expires_at = expires_at + interval '30 days'
         WHERE session_id = (SELECT session_id FROM sessions WHERE address IS NOT NULL ORDER BY session_id LIMIT 1)",
    )
    .await;
    assert_eq!(me(&api, &ahead).await.refusal(), "401 unauthenticated");
    assert_eq!(refresh(&api, &ahead).await.refusal(), "401 unauthenticated");
    assert_eq!(me(&api, &present).await.status, StatusCode::OK);
    let token = present["access_token"].as_str().expect("a token");
    let ended = answer(api.request(Method::DELETE, "/auth/sessions").bearer_auth(token)).await;
    assert_eq!(ended.status, StatusCode::NO_CONTENT);
    let left: i64 =
        sqlx::query_scalar("SELECT count(*) FROM sessions WHERE ended_at IS NULL AND address IS NOT NULL")
            .fetch_one(&mut api.database.owner().await)
            .await
            .expect("a count");
    assert_eq!(left, 1, "the caller's own");
}

#[tokio::test]
async fn a_refresh_token_that_was_used_by_a_clock_that_was_ahead_has_no_longer_grace() {
    let api = Api::start().await;
    let first = begin(&api).await;
    let second = refresh(&api, &first).await.json();
    arrange(&api, "UPDATE refresh_tokens SET used_at = used_at + interval '30 days'").await;
    assert_eq!(refresh(&api, &first).await.refusal(), "401 unauthenticated");
    assert_eq!(me(&api, &second).await.refusal(), "401 unauthenticated", "it came a second time");
}

#[tokio::test]
async fn a_mailed_token_of_a_clock_that_was_ahead_is_not_good_for_longer() {
    let api = Api::start().await;
    let reset = |token: String| json!({ "token": token, "password": "violet turbine ladder" });
    for (shift, is_good) in [("30 days", false), ("0 days", true)] {
        post(&api, "/auth/password/forgot", json!({ "email": "admin@localhost" })).await;
        let body: String = sqlx::query_scalar("SELECT body FROM mail_outbox ORDER BY mail_id DESC LIMIT 1")
            .fetch_one(&mut api.database.owner().await)
            .await
            .expect("a mail");
        let token = body.split_once("#token=").expect("a link").1;
        let token = token.split_whitespace().next().expect("a token").to_owned();
        arrange(&api, &format!("UPDATE mail_tokens SET expires_at = expires_at + interval '{shift}'")).await;
        let answered = post(&api, "/auth/password/reset", reset(token)).await;
        assert_eq!(answered.status.is_success(), is_good, "{shift}: {}", answered.text);
    }
}

#[tokio::test]
async fn a_key_that_was_retired_by_a_clock_that_was_ahead_verifies_nothing_for_longer() {
    let api = Api::start().await;
    let tokens = begin(&api).await;
    let rotated = api.send(Method::POST, "/signing-keys/rotate", Value::Null).await;
    assert_eq!(rotated.status, StatusCode::CREATED, "{}", rotated.text);
    assert_eq!(me(&api.another_node().await, &tokens).await.status, StatusCode::OK);
    arrange(&api, "UPDATE signing_keys SET retired_at = retired_at + interval '30 days'").await;
    assert_eq!(me(&api.another_node().await, &tokens).await.refusal(), "401 unauthenticated");
}

#[tokio::test]
async fn credentials_that_are_revoked_after_a_clock_was_put_back_are_noticed() {
    let api = Api::start().await;
    api.send(Method::POST, "/devices", json!({"uid": "dev-01"})).await;
    let issued = api.send(Method::POST, "/devices/dev-01/credentials", json!({})).await.json();
    arrange(&api, "UPDATE device_credentials SET revoked_at = now()").await;
    let credentials = Credentials::new(api.log.clone());
    let asked_last = api.log.now() + chrono::TimeDelta::days(30);
    let ended = credentials.ended_since(Some(asked_last)).await.expect("an answer");
    let id = issued["credential_id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
    assert!(ended.credentials.contains(&id), "{ended:?}");
}

#[tokio::test]
async fn a_mail_that_was_put_off_by_a_clock_that_was_ahead_is_sent() {
    use fleetlog_access::mail::{Delivery, Transport};
    let api = Api::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    arrange(
        &api,
        "INSERT INTO mail_outbox (mail_id, tenant, recipient, subject, body, attempts, next_attempt_at)
         VALUES (gen_random_uuid(), 't0', 'jo@example.com', 'Hello', 'Hello', 1, now() + interval '30 days')",
    )
    .await;
    let transport = Transport::Files(folder.path().to_owned());
    let stop = tokio_util::sync::CancellationToken::new();
    let _stopping = stop.clone().drop_guard();
    tokio::spawn(Delivery::new(api.log.clone(), transport).run(stop));
    let mut owner = api.database.owner().await;
    let done = "SELECT EXISTS (SELECT FROM mail_outbox WHERE done_at IS NOT NULL)";
    until("the mail is sent", async || {
        sqlx::query_scalar(done).fetch_one(&mut owner).await.expect("an answer")
    })
    .await;
}
