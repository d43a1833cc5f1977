//! Accounts: how people get one, change it and lose it, and what is mailed to them.

mod administration;
mod console;
mod delivery;
mod invitations;
mod passwords;
mod profile;
mod record;
mod registration;

use fleetlog_access::Role;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::Api;
use crate::support::api::{Answer, answer};

/// A password that nobody guesses.
const STRONG: &str = "violet turbine ladder";
/// Another one.
const STRONGER: &str = "granite umbrella noodle";

/// Says something without being logged in.
async fn post(api: &Api, path: &str, body: Value) -> Answer {
    answer(api.request(Method::POST, path).json(&body)).await
}

async fn log_in(api: &Api, email: &str, password: &str) -> Answer {
    post(api, "/auth/login", json!({ "email": email, "password": password })).await
}

/// The access token of a new session.
async fn session(api: &Api, email: &str, password: &str) -> String {
    let answered = log_in(api, email, password).await;
    assert_eq!(answered.status, StatusCode::OK, "{}", answered.text);
    answered.json()["access_token"].as_str().expect("a token").to_owned()
}

/// Says something with an access token.
async fn call(api: &Api, token: &str, method: Method, path: &str, body: Value) -> Answer {
    let request = api.request(method, path).bearer_auth(token);
    answer(if body.is_null() { request } else { request.json(&body) }).await
}

async fn me(api: &Api, token: &str) -> Answer {
    call(api, token, Method::GET, "/auth/me", Value::Null).await
}

/// Adds a user of `t0` who can log in with [`STRONG`]. Returns the id.
async fn add(api: &Api, email: &str, role: Role) -> Uuid {
    let body = json!({ "email": email, "role": role, "password": STRONG });
    let answered = api.send(Method::POST, "/users", body).await;
    assert_eq!(answered.status, StatusCode::CREATED, "{}", answered.text);
    answered.json()["user_id"].as_str().and_then(|id| id.parse().ok()).expect("an id")
}

/// Runs SQL past the service.
async fn arrange(api: &Api, sql: &str) {
    sqlx::raw_sql(sql).execute(&mut api.database.owner().await).await.expect("arranged");
}

/// The subjects and the bodies of the mails to an address, the oldest first.
async fn mails(api: &Api, recipient: &str) -> Vec<(String, String)> {
    let select = "SELECT subject, body FROM mail_outbox WHERE recipient = $1 ORDER BY mail_id";
    let owner = &mut api.database.owner().await;
    sqlx::query_as(select).bind(recipient).fetch_all(owner).await.expect("mails")
}

async fn subjects(api: &Api, recipient: &str) -> Vec<String> {
    mails(api, recipient).await.into_iter().map(|(subject, _)| subject).collect()
}

/// The token in the last mail to an address.
async fn mailed_token(api: &Api, recipient: &str) -> String {
    let (_, body) = mails(api, recipient).await.pop().expect("a mail");
    let token = body.split_once("#token=").expect("a link").1;
    token.split_whitespace().next().expect("a token").to_owned()
}

/// An answer, apart from what differs between any two requests.
fn shown(answered: &Answer) -> (StatusCode, String) {
    let mut text = answered.json();
    if let Some(id) = text.get_mut("request_id") {
        *id = Value::Null;
    }
    (answered.status, if text.is_null() { answered.text.clone() } else { text.to_string() })
}

/// The types of the events in a user's stream, in order, with their payloads.
async fn events(api: &Api, stream: &str) -> Vec<String> {
    let select = "SELECT payload::text FROM control_events
        WHERE aggregate_type = 'User' AND aggregate_id = $1 ORDER BY sequence";
    let owner = &mut api.database.owner().await;
    sqlx::query_scalar(select).bind(stream).fetch_all(owner).await.expect("events")
}
