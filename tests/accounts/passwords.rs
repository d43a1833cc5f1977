//! Another password: with the old one, or with a mail.

use std::time::{Duration, Instant};

use fleetlog_access::Role;
use reqwest::{Method, StatusCode};
use serde_json::json;

use super::{STRONG, STRONGER, add, arrange, call, events, log_in, mailed_token, me, post, session, shown};
use crate::support::Api;
use crate::support::api::Answer;

async fn change(api: &Api, token: &str, current: &str, new: &str) -> Answer {
    let body = json!({ "current": current, "new": new });
    call(api, token, Method::POST, "/auth/password", body).await
}

async fn forget(api: &Api, email: &str) -> Answer {
    post(api, "/auth/password/forgot", json!({ "email": email })).await
}

#[tokio::test]
async fn another_password_ends_all_other_sessions() {
    let api = Api::start().await;
    let user_id = add(&api, "jo@example.com", Role::Viewer).await;
    let (here, there) =
        (session(&api, "jo@example.com", STRONG).await, session(&api, "jo@example.com", STRONG).await);
    let changed = change(&api, &here, STRONG, STRONGER).await;
    assert_eq!(changed.status, StatusCode::NO_CONTENT, "{}", changed.text);
    assert_eq!(me(&api, &here).await.status, StatusCode::OK);
    assert_eq!(me(&api, &there).await.refusal(), "401 unauthenticated");
    assert_eq!(log_in(&api, "jo@example.com", STRONG).await.refusal(), "401 bad_credentials");
    assert_eq!(log_in(&api, "jo@example.com", STRONGER).await.status, StatusCode::OK);
    insta::assert_snapshot!(events(&api, &format!("t0/{user_id}")).await.join("\n"), @r#"
    {"UserRegistered":{"role":"viewer","via":"admin"}}
    {"UserPasswordChanged":{"how":"changed"}}
    {"UserLoginFailed":{}}
    "#);
}

#[tokio::test]
async fn only_who_knows_the_password_changes_it_and_only_to_a_strong_one() {
    let api = Api::start().await;
    let user_id = add(&api, "jo@example.com", Role::Viewer).await;
    let token = session(&api, "jo@example.com", STRONG).await;
    for (current, new, field) in
        [(STRONGER, STRONGER, "current"), ("", STRONGER, "current"), (STRONG, "password1234", "new")]
    {
        let refused = change(&api, &token, current, new).await;
        assert_eq!(refused.refusal(), "422 invalid");
        assert_eq!(refused.json()["errors"][0]["field"], field);
    }
    let failures = events(&api, &format!("t0/{user_id}")).await;
    assert_eq!(failures.iter().filter(|event| event.contains("UserLoginFailed")).count(), 2);
    for _ in 0..10 {
        change(&api, &token, "wrong", STRONGER).await;
    }
    assert_eq!(change(&api, &token, STRONG, STRONGER).await.refusal(), "429 too_many_requests");
}

#[tokio::test]
async fn a_forgotten_password_is_replaced_by_mail_and_every_session_ends() {
    let api = Api::start().await;
    let user_id = add(&api, "jo@example.com", Role::Viewer).await;
    let token = session(&api, "jo@example.com", STRONG).await;
    assert_eq!(forget(&api, "Jo@Example.com").await.status, StatusCode::ACCEPTED);
    let mailed = mailed_token(&api, "jo@example.com").await;
    let body = json!({ "token": mailed, "password": STRONGER });
    let reset = post(&api, "/auth/password/reset", body).await;
    assert_eq!(reset.status, StatusCode::NO_CONTENT, "{}", reset.text);
    assert_eq!(me(&api, &token).await.refusal(), "401 unauthenticated");
    assert_eq!(log_in(&api, "jo@example.com", STRONG).await.refusal(), "401 bad_credentials");
    let token = session(&api, "jo@example.com", STRONGER).await;
    assert_eq!(me(&api, &token).await.json()["verified"], json!(true), "who got the mail has the address");
    insta::assert_snapshot!(events(&api, &format!("t0/{user_id}")).await.join("\n"), @r#"
    {"UserRegistered":{"role":"viewer","via":"admin"}}
    {"UserPasswordChanged":{"how":"reset"}}
    {"UserVerified":{}}
    {"UserLoginFailed":{}}
    "#);
}

#[tokio::test]
async fn a_known_and_an_unknown_address_get_the_same_answer_after_the_same_time() {
    let api = Api::start().await;
    arrange(&api, "UPDATE users SET deactivated_at = now() WHERE email = 'viewer@t0.example'").await;
    let mut answers = vec![];
    for email in ["admin@localhost", "nobody@localhost", "viewer@t0.example"] {
        let begin = Instant::now();
        let answered = forget(&api, email).await;
        assert!(begin.elapsed() >= Duration::from_millis(250), "{email}");
        answers.push((answered.status, answered.text));
    }
    assert_eq!(answers[0].0, StatusCode::ACCEPTED);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert!(super::mails(&api, "nobody@localhost").await.is_empty());
    assert!(super::mails(&api, "viewer@t0.example").await.is_empty());
}

#[tokio::test]
async fn of_many_resets_with_one_token_at_once_one_counts() {
    let api = Api::start().await;
    add(&api, "jo@example.com", Role::Viewer).await;
    forget(&api, "jo@example.com").await;
    let token = mailed_token(&api, "jo@example.com").await;
    let all = (0..20).map(|n| {
        let body = json!({ "token": token, "password": format!("{STRONGER} {n}") });
        post(&api, "/auth/password/reset", body)
    });
    let answers: Vec<_> = futures::future::join_all(all).await.iter().map(shown).collect();
    let winners: Vec<usize> = (0..20).filter(|n| answers[*n].0 == StatusCode::NO_CONTENT).collect();
    assert_eq!(winners.len(), 1, "{answers:?}");
    assert!(answers.iter().filter(|(_, text)| text.contains("bad_token")).count() == 19);
    let password = format!("{STRONGER} {}", winners[0]);
    assert_eq!(log_in(&api, "jo@example.com", &password).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_reset_that_was_asked_for_dies_with_another_one_and_with_the_password() {
    let api = Api::start().await;
    add(&api, "jo@example.com", Role::Viewer).await;
    let reset = async |token: &str| {
        let body = json!({ "token": token, "password": STRONGER });
        post(&api, "/auth/password/reset", body).await.refusal()
    };
    forget(&api, "jo@example.com").await;
    let first = mailed_token(&api, "jo@example.com").await;
    forget(&api, "jo@example.com").await;
    let second = mailed_token(&api, "jo@example.com").await;
    assert_eq!(reset(&first).await, "422 bad_token");
    let token = session(&api, "jo@example.com", STRONG).await;
    change(&api, &token, STRONG, "harbour pickle lantern").await;
    assert_eq!(reset(&second).await, "422 bad_token");
}
