//! An account of an admin's making.

use fleetlog_access::Role;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{STRONG, STRONGER, arrange, call, events, log_in, mailed_token, me, post, session, shown};
use crate::support::Api;

fn invitation(email: &str) -> Value {
    json!({ "email": email, "role": "operator" })
}

fn answer_with(token: &str) -> Value {
    json!({ "token": token, "password": STRONG, "name": "Jo" })
}

#[tokio::test]
async fn an_invited_user_chooses_a_password_and_is_in() {
    let api = Api::start().await;
    let added = api.send(Method::POST, "/users", invitation("jo@example.com")).await;
    assert_eq!(added.status, StatusCode::CREATED, "{}", added.text);
    let user = added.json();
    assert_eq!((&user["status"], &user["verified"]), (&json!("invited"), &json!(false)));
    assert_eq!(log_in(&api, "jo@example.com", STRONG).await.refusal(), "401 bad_credentials");
    let location = added.header("location").to_owned();
    assert_eq!(api.get(&location).await.json(), user);

    let token = mailed_token(&api, "jo@example.com").await;
    let weak = json!({ "token": token, "password": "password1234" });
    assert_eq!(post(&api, "/auth/invitation/accept", weak).await.refusal(), "422 invalid");
    let accepted = post(&api, "/auth/invitation/accept", answer_with(&token)).await;
    assert_eq!(accepted.status, StatusCode::NO_CONTENT, "{}", accepted.text);
    let me = me(&api, &session(&api, "jo@example.com", STRONG).await).await.json();
    let seen = json!([me["name"], me["role"], me["status"], me["verified"]]);
    assert_eq!(seen, json!(["Jo", "operator", "active", true]));
    let stream = format!("t0/{}", user["user_id"].as_str().expect("an id"));
    insta::assert_snapshot!(events(&api, &stream).await.join("\n"), @r#"
    {"UserRegistered":{"role":"operator","via":"invitation"}}
    {"UserLoginFailed":{}}
    {"UserVerified":{}}
    {"UserPasswordChanged":{"how":"invited"}}
    "#);
}

#[tokio::test]
async fn who_has_lost_the_invitation_gets_in_by_asking_for_a_password() {
    let api = Api::start().await;
    api.send(Method::POST, "/users", invitation("jo@example.com")).await;
    let lost = mailed_token(&api, "jo@example.com").await;
    post(&api, "/auth/password/forgot", json!({ "email": "jo@example.com" })).await;
    let token = mailed_token(&api, "jo@example.com").await;
    let reset = post(&api, "/auth/password/reset", json!({ "token": token, "password": STRONGER })).await;
    assert_eq!(reset.status, StatusCode::NO_CONTENT, "{}", reset.text);
    let me = me(&api, &session(&api, "jo@example.com", STRONGER).await).await.json();
    assert_eq!((&me["status"], &me["verified"]), (&json!("active"), &json!(true)));
    let late = post(&api, "/auth/invitation/accept", answer_with(&lost)).await;
    assert_eq!(late.refusal(), "422 bad_token");
}

#[tokio::test]
async fn an_invitation_that_is_sent_again_voids_the_one_before() {
    let api = Api::start().await;
    let user = api.send(Method::POST, "/users", invitation("jo@example.com")).await.json()["user_id"].take();
    let user = user.as_str().expect("an id");
    let path = format!("/users/{user}/invitation");
    let lost = mailed_token(&api, "jo@example.com").await;
    let again = api.send(Method::POST, &path, Value::Null).await;
    assert_eq!(again.status, StatusCode::ACCEPTED, "{}", again.text);
    let late = post(&api, "/auth/invitation/accept", answer_with(&lost)).await;
    assert_eq!(late.refusal(), "422 bad_token");
    let token = mailed_token(&api, "jo@example.com").await;
    let accepted = post(&api, "/auth/invitation/accept", answer_with(&token)).await;
    assert_eq!(accepted.status, StatusCode::NO_CONTENT, "{}", accepted.text);
    let accepted_already = api.send(Method::POST, &path, Value::Null).await;
    assert_eq!(accepted_already.refusal(), "409 not_invited");
    assert!(events(&api, &format!("t0/{user}")).await.contains(&r#"{"UserReinvited":{}}"#.to_owned()));
}

#[tokio::test]
async fn an_invitation_that_was_withdrawn_lets_nobody_in_and_is_not_sent_again() {
    let api = Api::start().await;
    let user = api.send(Method::POST, "/users", invitation("jo@example.com")).await.json()["user_id"].take();
    let path = format!("/users/{}", user.as_str().expect("an id"));
    let withdrawn = api.send(Method::PATCH, &path, json!({ "active": false })).await;
    assert_eq!(withdrawn.json()["status"], "deactivated", "{}", withdrawn.text);
    let token = mailed_token(&api, "jo@example.com").await;
    let late = post(&api, "/auth/invitation/accept", answer_with(&token)).await;
    assert_eq!(late.refusal(), "422 bad_token");
    let again = api.send(Method::POST, &format!("{path}/invitation"), Value::Null).await;
    assert_eq!(again.refusal(), "409 not_invited");
}

#[tokio::test]
async fn nobodys_inbox_is_filled_with_invitations() {
    let api = Api::start().await;
    let user = api.send(Method::POST, "/users", invitation("jo@example.com")).await.json()["user_id"].take();
    let path = format!("/users/{}/invitation", user.as_str().expect("an id"));
    for _ in 0..3 {
        assert_eq!(api.send(Method::POST, &path, Value::Null).await.status, StatusCode::ACCEPTED);
    }
    assert_eq!(api.send(Method::POST, &path, Value::Null).await.refusal(), "429 too_many_requests");
}

#[tokio::test]
async fn a_user_with_a_password_is_ready() {
    let api = Api::start().await;
    let body = json!({ "email": "jo@example.com", "role": "analyst", "password": STRONG });
    let added = api.send(Method::POST, "/users", body).await;
    assert_eq!(added.json()["status"], "active");
    assert_eq!(log_in(&api, "jo@example.com", STRONG).await.status, StatusCode::OK);
    assert!(super::mails(&api, "jo@example.com").await.is_empty());
    let weak = json!({ "email": "al@example.com", "role": "analyst", "password": "password1234" });
    assert_eq!(api.send(Method::POST, "/users", weak).await.json()["errors"][0]["field"], "password");
}

#[tokio::test]
async fn an_address_has_one_account_on_the_whole_platform() {
    let api = Api::start().await;
    api.add_tenant("t1").await;
    let here = api.send(Method::POST, "/users", invitation("Viewer@t0.example")).await;
    let elsewhere = api.send(Method::POST, "/users", invitation("viewer@t1.example")).await;
    assert_eq!(here.refusal(), "409 already_registered");
    assert_eq!(shown(&here), shown(&elsewhere));
}

#[tokio::test]
async fn of_many_answers_to_an_invitation_at_once_one_counts() {
    let api = Api::start().await;
    api.send(Method::POST, "/users", invitation("jo@example.com")).await;
    let token = mailed_token(&api, "jo@example.com").await;
    let all = (0..20).map(|_| post(&api, "/auth/invitation/accept", answer_with(&token)));
    let answers: Vec<_> = futures::future::join_all(all).await.iter().map(shown).collect();
    let refused: Vec<_> = answers.iter().filter(|(status, _)| *status != StatusCode::NO_CONTENT).collect();
    assert_eq!(refused.len(), 19);
    assert!(refused.iter().all(|(status, text)| *status == 422 && text.contains("bad_token")), "{refused:?}");
}

#[tokio::test]
async fn a_token_that_is_not_good_gets_one_answer_whatever_is_wrong_with_it() {
    let api = Api::start().await;
    let admin = api.token("t0", Role::Admin);
    for email in ["expired@example.com", "gone@example.com", "good@example.com"] {
        api.send(Method::POST, "/users", invitation(email)).await;
    }
    let expired = mailed_token(&api, "expired@example.com").await;
    let gone = mailed_token(&api, "gone@example.com").await;
    let good = mailed_token(&api, "good@example.com").await;
    let late = "UPDATE mail_tokens SET expires_at = now() WHERE email = 'expired@example.com'";
    arrange(&api, late).await;
    let user = api.get("/users?q=gone@").await.json()["items"][0]["user_id"].take();
    let path = format!("/users/{}", user.as_str().expect("an id"));
    call(&api, &admin, Method::PATCH, &path, json!({ "active": false })).await;
    let mut answers = vec![];
    for token in [expired.as_str(), &gone, "", "x", &"x".repeat(10_000), &good.to_uppercase(), "a\0b"] {
        answers.push(shown(&post(&api, "/auth/invitation/accept", answer_with(token)).await));
    }
    // Good, but for something else.
    answers.push(shown(&post(&api, "/auth/verify", json!({ "token": good })).await));
    let reset = json!({ "token": good, "password": STRONGER });
    answers.push(shown(&post(&api, "/auth/password/reset", reset).await));
    assert!(answers[0].1.contains("bad_token"), "{answers:?}");
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    let accepted = post(&api, "/auth/invitation/accept", answer_with(&good)).await;
    assert_eq!(accepted.status, StatusCode::NO_CONTENT);
}
