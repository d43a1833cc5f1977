//! One's own name and address.

use fleetlog_access::Role;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{STRONG, add, call, events, log_in, mailed_token, me, post, session, shown, subjects};
use crate::support::Api;
use crate::support::api::Answer;

async fn change(api: &Api, token: &str, body: Value) -> Answer {
    call(api, token, Method::PATCH, "/auth/me", body).await
}

#[tokio::test]
async fn one_names_oneself() {
    let api = Api::start().await;
    let user_id = add(&api, "jo@example.com", Role::Viewer).await;
    let token = session(&api, "jo@example.com", STRONG).await;
    let changed = change(&api, &token, json!({ "name": " Jo Smith " })).await;
    assert_eq!(changed.json()["name"], "Jo Smith", "{}", changed.text);
    change(&api, &token, json!({ "name": "Jo Smith" })).await;
    let events = events(&api, &format!("t0/{user_id}")).await;
    assert_eq!(events.iter().filter(|event| event.contains("UserProfileChanged")).count(), 1);
    let elsewhere = call(&api, &token, Method::GET, "/users/me", Value::Null).await;
    assert_eq!(elsewhere.text, me(&api, &token).await.text);
}

#[tokio::test]
async fn what_one_may_not_change_about_oneself_is_refused() {
    let api = Api::start().await;
    add(&api, "jo@example.com", Role::Viewer).await;
    let token = session(&api, "jo@example.com", STRONG).await;
    for (body, field) in [
        (json!({}), ""),
        (json!({ "role": "admin" }), "role"),
        (json!({ "verified": true }), "verified"),
        (json!({ "name": "a\nb" }), "name"),
        (json!({ "email": "nobody", "current": STRONG }), "email"),
        (json!({ "email": "new@example.com" }), "current"),
        (json!({ "email": "new@example.com", "current": "wrong" }), "current"),
    ] {
        let refused = change(&api, &token, body.clone()).await;
        assert_eq!(refused.refusal(), "422 invalid", "{body}");
        assert_eq!(refused.json()["errors"][0]["field"], field, "{body}");
    }
    assert!(subjects(&api, "new@example.com").await.is_empty());
}

#[tokio::test]
async fn a_new_address_counts_once_it_is_confirmed_and_the_old_one_is_told() {
    let api = Api::start().await;
    add(&api, "old@example.com", Role::Viewer).await;
    let token = session(&api, "old@example.com", STRONG).await;
    post(&api, "/auth/password/forgot", json!({ "email": "old@example.com" })).await;
    let reset = mailed_token(&api, "old@example.com").await;

    let asked = change(&api, &token, json!({ "email": "New@Example.com", "current": STRONG })).await;
    assert_eq!(asked.json()["email"], "old@example.com", "{}", asked.text);
    assert_eq!(log_in(&api, "new@example.com", STRONG).await.refusal(), "401 bad_credentials");

    let mailed = mailed_token(&api, "new@example.com").await;
    let verified = post(&api, "/auth/verify", json!({ "token": mailed })).await;
    assert_eq!(verified.status, StatusCode::NO_CONTENT, "{}", verified.text);
    let me = me(&api, &token).await.json();
    assert_eq!((&me["email"], &me["verified"]), (&json!("new@example.com"), &json!(true)));
    assert_eq!(log_in(&api, "new@example.com", STRONG).await.status, StatusCode::OK);
    assert_eq!(log_in(&api, "old@example.com", STRONG).await.refusal(), "401 bad_credentials");
    let told = subjects(&api, "old@example.com").await;
    assert_eq!(told.last().map(String::as_str), Some("Your e-mail address was changed"));
    // Whoever reads the old address has nothing more to do with the account.
    let body = json!({ "token": reset, "password": "granite umbrella noodle" });
    assert_eq!(post(&api, "/auth/password/reset", body).await.refusal(), "422 bad_token");
}

#[tokio::test]
async fn asking_for_somebody_elses_address_shows_nothing_and_changes_nothing() {
    let api = Api::start().await;
    add(&api, "jo@example.com", Role::Viewer).await;
    let token = session(&api, "jo@example.com", STRONG).await;
    let free = change(&api, &token, json!({ "email": "free@example.com", "current": STRONG })).await;
    let others = change(&api, &token, json!({ "email": "admin@localhost", "current": STRONG })).await;
    assert_eq!(shown(&free), shown(&others));
    let mailed = mailed_token(&api, "admin@localhost").await;
    assert_eq!(post(&api, "/auth/verify", json!({ "token": mailed })).await.refusal(), "422 bad_token");
    assert_eq!(me(&api, &token).await.json()["email"], "jo@example.com");
}
