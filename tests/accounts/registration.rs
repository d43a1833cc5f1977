//! An account of one's own making.

use std::time::{Duration, Instant};

use fleetlog_access::Role;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{STRONG, add, arrange, call, events, log_in, mailed_token, me, post, session, shown, subjects};
use crate::support::Api;

const OPEN: &str = "UPDATE tenants SET registration = 'open' WHERE tenant = 't0'";

async fn register(api: &Api, email: &str) -> crate::support::api::Answer {
    post(api, "/auth/register", json!({ "email": email, "password": STRONG })).await
}

#[tokio::test]
async fn nobody_registers_where_the_tenant_does_not_let_people_do_so() {
    let api = Api::start().await;
    api.add_tenant("t1").await;
    arrange(&api, "UPDATE tenants SET registration = 'invite' WHERE tenant = 't1'").await;
    let mut answers = vec![];
    for (n, tenant) in ["t0", "t1", "t2", "no tenant"].into_iter().enumerate() {
        let body = json!({ "email": format!("jo{n}@example.com"), "password": STRONG, "tenant": tenant });
        let answered = post(&api, "/auth/register", body).await;
        assert_eq!(answered.refusal(), "403 registration_closed", "{tenant}");
        answers.push(shown(&answered));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    arrange(&api, "UPDATE tenants SET registration = 'open', suspended_at = now() WHERE tenant = 't1'").await;
    let body = json!({ "email": "jo@example.com", "password": STRONG, "tenant": "t1" });
    assert_eq!(post(&api, "/auth/register", body).await.refusal(), "403 registration_closed");
    assert_eq!(log_in(&api, "jo@example.com", STRONG).await.refusal(), "401 bad_credentials");
}

#[tokio::test]
async fn whoever_registers_is_a_viewer_and_confirms_the_address_by_mail() {
    let api = Api::start().await;
    arrange(&api, OPEN).await;
    let body = json!({ "email": " Jo@Example.com", "password": STRONG, "name": "Jo" });
    let answered = post(&api, "/auth/register", body).await;
    assert_eq!(answered.status, StatusCode::ACCEPTED, "{}", answered.text);
    let token = session(&api, "jo@example.com", STRONG).await;
    let mut shown = me(&api, &token).await.json();
    let user_id = shown["user_id"].take();
    assert!(shown["created_at"].take().is_string());
    insta::assert_snapshot!(shown, @r#"{"user_id":null,"email":"jo@example.com","name":"Jo","tenant":"t0","role":"viewer","status":"active","verified":false,"created_at":null,"may":["user.read","user.write","tenant.read","devices.read","alarms.read","telemetry.read","streams.follow","graphql.query"]}"#);

    let mailed = mailed_token(&api, "jo@example.com").await;
    let verified = post(&api, "/auth/verify", json!({ "token": mailed })).await;
    assert_eq!(verified.status, StatusCode::NO_CONTENT, "{}", verified.text);
    assert_eq!(me(&api, &token).await.json()["verified"], json!(true));
    let stream = format!("t0/{}", user_id.as_str().expect("an id"));
    insta::assert_snapshot!(events(&api, &stream).await.join("\n"), @r#"
    {"UserRegistered":{"role":"viewer","via":"oneself"}}
    {"UserVerified":{}}
    "#);
    let again = call(&api, &token, Method::POST, "/auth/verify/resend", Value::Null).await;
    assert_eq!(again.refusal(), "409 already_verified");
}

#[tokio::test]
async fn a_taken_and_a_free_address_get_the_same_answer_after_the_same_time() {
    let api = Api::start().await;
    api.add_tenant("t1").await;
    arrange(&api, OPEN).await;
    let mut answers = vec![];
    // Taken here, taken elsewhere, deactivated, free.
    arrange(&api, "UPDATE users SET deactivated_at = now() WHERE email = 'viewer@t0.example'").await;
    for email in ["admin@localhost", "admin@t1.example", "viewer@t0.example", "jo@example.com"] {
        let begin = Instant::now();
        let answered = register(&api, email).await;
        let took = begin.elapsed();
        assert!(took >= Duration::from_millis(250), "{email}: {took:?}");
        assert_eq!(answered.header("content-type"), "application/json");
        answers.push((answered.status, answered.text));
    }
    assert_eq!(answers[3].0, StatusCode::ACCEPTED);
    assert!(answers.iter().all(|answer| *answer == answers[3]), "{answers:?}");
    assert_eq!(subjects(&api, "admin@localhost").await, ["You have an account already"]);
    assert_eq!(subjects(&api, "admin@t1.example").await, ["You have an account already"]);
    assert_eq!(subjects(&api, "jo@example.com").await, ["Please confirm your e-mail address"]);
    assert_eq!(log_in(&api, "admin@localhost", STRONG).await.refusal(), "401 bad_credentials");
}

#[tokio::test]
async fn a_password_that_is_easy_to_guess_is_refused_with_the_reason() {
    let api = Api::start().await;
    arrange(&api, OPEN).await;
    let mut reasons = vec![];
    for password in ["short", "password1234", "zdenka.hrubesova"] {
        let body = json!({ "email": "zdenka.hrubesova@example.com", "password": password });
        let answered = post(&api, "/auth/register", body).await;
        assert_eq!(answered.refusal(), "422 invalid");
        reasons.push(answered.json()["errors"][0].to_string());
    }
    insta::assert_snapshot!(reasons.join("\n"), @r#"
    {"field":"password","reason":"a password has 12 characters or more, and at most 256 bytes"}
    {"field":"password","reason":"this is too easy to guess: this is a very common password; add another word or two; uncommon words are better"}
    {"field":"password","reason":"this is too easy to guess: add another word or two; uncommon words are better"}
    "#);
}

#[tokio::test]
async fn fields_that_make_no_sense_are_named() {
    let api = Api::start().await;
    arrange(&api, OPEN).await;
    for (body, field) in [
        (json!({ "email": "nobody", "password": STRONG }), "email"),
        (json!({ "email": "a@b", "password": STRONG, "name": "" }), "name"),
        (json!({ "email": "a@b", "password": STRONG, "role": "admin" }), "role"),
        (json!({ "email": "a@b" }), "password"),
    ] {
        let answered = post(&api, "/auth/register", body.clone()).await;
        assert_eq!(answered.refusal(), "422 invalid", "{body}");
        assert_eq!(answered.json()["errors"][0]["field"], field, "{body}");
    }
}

#[tokio::test]
async fn a_tenant_has_no_more_users_than_it_may_have() {
    let api = Api::start().await;
    arrange(&api, OPEN).await;
    arrange(&api, "UPDATE tenants SET max_users = 7").await;
    // Six are there. Of ten at once, one gets in.
    let all = (0..10).map(|n| {
        let api = &api;
        async move { register(api, &format!("user{n}@example.com")).await.refusal() }
    });
    let answers = futures::future::join_all(all).await;
    assert_eq!(answers.iter().filter(|answer| answer.starts_with("202")).count(), 1, "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| *answer == "403 registration_closed").count(), 9);
    // A full tenant says so of every address.
    assert_eq!(register(&api, "admin@localhost").await.refusal(), "403 registration_closed");
    let body = json!({ "email": "one.more@example.com", "role": "viewer" });
    assert_eq!(api.send(Method::POST, "/users", body).await.refusal(), "409 limit_reached");
}

#[tokio::test]
async fn too_many_attempts_to_register_are_refused() {
    let api = Api::start().await;
    for _ in 0..3 {
        assert_eq!(register(&api, "jo@example.com").await.refusal(), "403 registration_closed");
    }
    let refused = register(&api, "jo@example.com").await;
    assert_eq!(refused.refusal(), "429 too_many_requests");
    assert!(!refused.header("retry-after").is_empty());
}

#[tokio::test]
async fn another_confirmation_takes_the_place_of_the_first() {
    let api = Api::start().await;
    add(&api, "jo@example.com", Role::Viewer).await;
    let token = session(&api, "jo@example.com", STRONG).await;
    let mut mailed = vec![];
    for _ in 0..2 {
        let sent = call(&api, &token, Method::POST, "/auth/verify/resend", Value::Null).await;
        assert_eq!(sent.status, StatusCode::ACCEPTED, "{}", sent.text);
        mailed.push(mailed_token(&api, "jo@example.com").await);
    }
    let old = post(&api, "/auth/verify", json!({ "token": mailed[0] })).await;
    assert_eq!(old.refusal(), "422 bad_token");
    let new = post(&api, "/auth/verify", json!({ "token": mailed[1] })).await;
    assert_eq!(new.status, StatusCode::NO_CONTENT);
}
