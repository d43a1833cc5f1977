//! Refresh tokens: each good once; what happens to whoever uses one twice, and to whoever lost the answer.

use std::sync::Arc;

use fleetlog_embedded::mosquitto;
use futures::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{log_in, me_with};
use crate::support::api::{Answer, PASSWORD, answer};
use crate::support::server::{EMAIL, PASSWORD as SERVER_PASSWORD};
use crate::support::{Api, Database, Server};

async fn begin(api: &Api) -> Value {
    let body = json!({"email": "admin@localhost", "password": PASSWORD, "refresh": "body"});
    log_in(api, &body).await.json()
}

async fn refresh(api: &Api, token: &str) -> Answer {
    refresh_as(api, token, "one").await
}

async fn refresh_as(api: &Api, token: &str, user_agent: &str) -> Answer {
    let request = api.request(Method::POST, "/auth/refresh").header("user-agent", user_agent);
    answer(request.json(&json!({"refresh_token": token}))).await
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value[field].as_str().expect("a text")
}

async fn is_in(api: &Api, tokens: &Value) -> bool {
    me_with(api, &format!("Bearer {}", text(tokens, "access_token"))).await.status == StatusCode::OK
}

async fn age(api: &Api) {
    let age = "UPDATE refresh_tokens SET used_at = used_at - interval '11 seconds'";
    sqlx::raw_sql(age).execute(&mut api.database.owner().await).await.expect("aged");
}

#[tokio::test]
async fn a_session_goes_on_from_one_refresh_token_to_the_next() {
    let api = Api::start().await;
    let mut tokens = begin(&api).await;
    for _ in 0..3 {
        let next = refresh(&api, text(&tokens, "refresh_token")).await;
        assert_eq!(next.status, StatusCode::OK, "{}", next.text);
        assert_eq!(next.header("set-cookie"), "", "who keeps it in the body gets it in the body");
        assert_ne!(next.json()["refresh_token"], tokens["refresh_token"]);
        tokens = next.json();
        assert!(is_in(&api, &tokens).await);
    }
}

#[tokio::test]
async fn a_refresh_token_that_comes_a_second_time_ends_the_session_for_both_who_have_it() {
    let api = Api::start().await;
    let first = begin(&api).await;
    let stolen = text(&first, "refresh_token");
    let second = refresh(&api, stolen).await.json();
    age(&api).await;
    assert_eq!(refresh(&api, stolen).await.refusal(), "401 unauthenticated");
    for tokens in [&first, &second] {
        assert!(!is_in(&api, tokens).await);
        assert_eq!(refresh(&api, text(tokens, "refresh_token")).await.refusal(), "401 unauthenticated");
    }
    let ended = api.get("/events?type=SessionEnded").await.json();
    assert_eq!(ended["items"][0]["payload"]["SessionEnded"]["why"], "reuse");
}

#[tokio::test]
async fn only_the_same_client_may_ask_again_and_only_while_the_successor_is_unused() {
    let api = Api::start().await;
    let first = begin(&api).await;
    let token = text(&first, "refresh_token");
    let second = refresh(&api, token).await.json();
    assert_eq!(
        refresh(&api, token).await.json()["refresh_token"],
        second["refresh_token"],
        "the answer was lost"
    );
    refresh(&api, text(&second, "refresh_token")).await;
    assert_eq!(refresh(&api, token).await.refusal(), "401 unauthenticated", "it was not lost after all");
    assert!(!is_in(&api, &second).await);

    let first = begin(&api).await;
    let token = text(&first, "refresh_token");
    let second = refresh(&api, token).await.json();
    assert_eq!(refresh_as(&api, token, "another").await.refusal(), "401 unauthenticated");
    assert!(!is_in(&api, &second).await);
}

#[tokio::test]
async fn a_thousand_refreshes_of_one_token_at_once_have_one_successor() {
    let api = Arc::new(Api::start().await);
    let first = begin(&api).await;
    let token = text(&first, "refresh_token");
    let answers = join_all((0..1000).map(|_| refresh(&api, token))).await;
    for answer in &answers {
        assert!(matches!(answer.status.as_u16(), 200 | 401 | 503), "{}", answer.text);
    }
    let mut successors: Vec<String> = answers
        .iter()
        .filter(|answer| answer.status == StatusCode::OK)
        .map(|answer| text(&answer.json(), "refresh_token").to_owned())
        .collect();
    assert!(!successors.is_empty());
    successors.dedup();
    assert_eq!(successors.len(), 1);
    let unused = "SELECT count(*) FROM refresh_tokens WHERE used_at IS NULL";
    let unused: i64 =
        sqlx::query_scalar(unused).fetch_one(&mut api.database.owner().await).await.expect("a count");
    assert_eq!(unused, 1);
}

#[tokio::test]
async fn a_session_ends_after_seven_days_whatever_happens_in_it() {
    let api = Api::start().await;
    let first = begin(&api).await;
    let days: f64 = sqlx::query_scalar(
        "SELECT (extract(epoch FROM max(expires_at) - max(created_at)) / 86400)::float8 FROM sessions WHERE address IS NOT NULL",
    )
    .fetch_one(&mut api.database.owner().await)
    .await
    .expect("days");
    assert!((days - 7.0).abs() < 0.001, "{days}");
    let over = "UPDATE sessions SET expires_at = now()";
    sqlx::raw_sql(over).execute(&mut api.database.owner().await).await.expect("over");
    assert_eq!(refresh(&api, text(&first, "refresh_token")).await.refusal(), "401 unauthenticated");
}

#[tokio::test]
async fn what_is_no_refresh_token_refreshes_nothing() {
    let api = Api::start().await;
    let tokens = begin(&api).await;
    let access = text(&tokens, "access_token");
    for token in ["", "flr_", "x", access, &format!("{}x", text(&tokens, "refresh_token"))] {
        assert_eq!(refresh(&api, token).await.refusal(), "401 unauthenticated", "{token}");
    }
    assert_eq!(answer(api.request(Method::POST, "/auth/refresh")).await.refusal(), "401 unauthenticated");
    assert!(is_in(&api, &tokens).await);
}

#[tokio::test]
async fn a_client_whose_answer_was_lost_in_a_crash_goes_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let broker = mosquitto::Options { dir: directory.path().to_owned(), port: None };
    let broker = mosquitto::Broker::start(broker).await.expect("Mosquitto");
    let database = Database::fresh().await;
    let port = broker.address().port();
    let doomed = Server::serve_until_killed(&database.options(), port, "refresh.rotated").await;
    let credentials = json!({"email": EMAIL, "password": SERVER_PASSWORD, "refresh": "body"});
    let first: Value = doomed
        .request(Method::POST, "/auth/login")
        .json(&credentials)
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("JSON");
    let refresh = |server: &Server| {
        let body = json!({"refresh_token": text(&first, "refresh_token")});
        server.request(Method::POST, "/auth/refresh").json(&body).send()
    };
    assert!(refresh(&doomed).await.is_err(), "the answer is lost");
    doomed.wait_killed().await;
    let server = Server::serve(&database.options(), port, &[]).await;
    let status = refresh(&server).await.expect("an answer").status();
    // Within the grace the same client gets the same successor; after it, it logs in again.
    assert!([StatusCode::OK, StatusCode::UNAUTHORIZED].contains(&status), "{status}");
    let live = "SELECT count(*) FROM refresh_tokens JOIN sessions USING (session_id) WHERE used_at IS NULL AND ended_at IS NULL AND session_id = (SELECT session_id FROM refresh_tokens WHERE used_at IS NOT NULL LIMIT 1)";
    let live: i64 = sqlx::query_scalar(live).fetch_one(&mut database.owner().await).await.expect("a count");
    assert_eq!(live, i64::from(status == StatusCode::OK), "never two");
}
