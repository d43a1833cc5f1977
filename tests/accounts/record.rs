//! Everything is on the record, and nothing that must not be.

use reqwest::Method;
use serde_json::{Value, json};

use super::{STRONG, STRONGER, arrange, call, mailed_token, post, session};
use crate::support::Api;

#[tokio::test]
async fn no_event_has_an_address_a_name_a_password_or_a_token() {
    let api = Api::start().await;
    arrange(&api, "UPDATE tenants SET registration = 'open'").await;
    let mut secrets: Vec<String> = [STRONG, STRONGER, "canary", "@", "argon2"].map(str::to_owned).into();

    // Registered, confirmed, renamed, moved.
    let body = json!({ "email": "canary@example.com", "password": STRONG, "name": "Canary One" });
    post(&api, "/auth/register", body.clone()).await;
    post(&api, "/auth/register", body).await;
    let session_of_one = session(&api, "canary@example.com", STRONG).await;
    call(&api, &session_of_one, Method::POST, "/auth/verify/resend", Value::Null).await;
    secrets.push(mailed_token(&api, "canary@example.com").await);
    let mut change = json!({ "name": "Canary Two", "email": "canary2@example.com", "current": STRONG });
    call(&api, &session_of_one, Method::PATCH, "/auth/me", change.take()).await;
    secrets.push(mailed_token(&api, "canary2@example.com").await);
    let token = secrets.last().expect("a token").clone();
    post(&api, "/auth/verify", json!({ "token": token })).await;

    // Another password, wrongly, rightly, and by mail.
    for current in [STRONGER, STRONG] {
        let body = json!({ "current": current, "new": STRONGER });
        call(&api, &session_of_one, Method::POST, "/auth/password", body).await;
    }
    post(&api, "/auth/password/forgot", json!({ "email": "canary2@example.com" })).await;
    secrets.push(mailed_token(&api, "canary2@example.com").await);
    let body = json!({ "token": secrets.last(), "password": STRONG });
    post(&api, "/auth/password/reset", body).await;

    // Invited, accepted, changed, deactivated.
    let body = json!({ "email": "canary3@example.com", "role": "viewer", "name": "Canary" });
    let added = api.send(Method::POST, "/users", body).await.json();
    secrets.push(mailed_token(&api, "canary3@example.com").await);
    let body = json!({ "token": secrets.last(), "password": STRONG });
    post(&api, "/auth/invitation/accept", body).await;
    let path = format!("/users/{}", added["user_id"].as_str().expect("an id"));
    for body in [json!({ "role": "analyst", "name": "Canary 3" }), json!({ "active": false })] {
        api.send(Method::PATCH, &path, body).await;
    }

    let select = "SELECT event_type, payload::text || ' ' || metadata::text || ' ' || aggregate_id
        FROM control_events ORDER BY position";
    let owner = &mut api.database.owner().await;
    let events: Vec<(String, String)> = sqlx::query_as(select).fetch_all(owner).await.expect("events");
    for (kind, text) in &events {
        for secret in &secrets {
            assert!(!text.to_lowercase().contains(&secret.to_lowercase()), "{kind}: {text}");
        }
    }
    let mut kinds: Vec<&str> = events.iter().map(|(kind, _)| kind.as_str()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    insta::assert_snapshot!(kinds.join("\n"), @r"
    SessionEnded
    SessionStarted
    UserDeactivated
    UserLoginFailed
    UserPasswordChanged
    UserProfileChanged
    UserRegistered
    UserRoleChanged
    UserVerified
    ");
}
