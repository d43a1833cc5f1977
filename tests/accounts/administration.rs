//! What an admin decides about users.

use fleetlog_access::Role;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{STRONG, add, call, events, log_in, me, session, shown};
use crate::support::Api;
use crate::support::api::{Answer, PASSWORD, user_id};

async fn change(api: &Api, user: Uuid, body: Value) -> Answer {
    api.send(Method::PATCH, &format!("/users/{user}"), body).await
}

#[tokio::test]
async fn a_role_is_in_effect_from_the_next_request_on() {
    let api = Api::start().await;
    let user = add(&api, "jo@example.com", Role::Viewer).await;
    let token = session(&api, "jo@example.com", STRONG).await;
    let logs = async || call(&api, &token, Method::GET, "/logs", Value::Null).await.status;
    assert_eq!(logs().await, StatusCode::FORBIDDEN);
    let changed = change(&api, user, json!({ "role": "auditor", "name": "Jo" })).await;
    assert_eq!(changed.json()["role"], "auditor", "{}", changed.text);
    assert_eq!(logs().await, StatusCode::OK);
    change(&api, user, json!({ "role": "viewer" })).await;
    assert_eq!(logs().await, StatusCode::FORBIDDEN);
    insta::assert_snapshot!(events(&api, &format!("t0/{user}")).await.join("\n"), @r#"
    {"UserRegistered":{"role":"viewer","via":"admin"}}
    {"UserProfileChanged":{}}
    {"UserRoleChanged":{"role":"auditor"}}
    {"UserRoleChanged":{"role":"viewer"}}
    "#);
}

#[tokio::test]
async fn a_deactivated_user_is_out_at_once_and_stays_out() {
    let api = Api::start().await;
    let user = add(&api, "jo@example.com", Role::Viewer).await;
    let token = session(&api, "jo@example.com", STRONG).await;
    let changed = change(&api, user, json!({ "active": false })).await;
    assert_eq!(changed.json()["status"], "deactivated", "{}", changed.text);
    assert_eq!(me(&api, &token).await.refusal(), "401 unauthenticated");
    assert_eq!(log_in(&api, "jo@example.com", STRONG).await.refusal(), "401 bad_credentials");
    let changed = change(&api, user, json!({ "active": true })).await;
    assert_eq!(changed.json()["status"], "active");
    assert_eq!(me(&api, &token).await.refusal(), "401 unauthenticated", "the session is over for good");
    assert_eq!(log_in(&api, "jo@example.com", STRONG).await.status, StatusCode::OK);
    let ended = "SELECT count(*) FROM control_events WHERE event_type = 'SessionEnded'";
    let owner = &mut api.database.owner().await;
    assert_eq!(sqlx::query_scalar::<_, i64>(ended).fetch_one(owner).await.expect("a count"), 1);
}

#[tokio::test]
async fn an_admin_sees_a_users_sessions_and_ends_them() {
    let api = Api::start().await;
    let user = add(&api, "jo@example.com", Role::Viewer).await;
    let tokens =
        [session(&api, "jo@example.com", STRONG).await, session(&api, "jo@example.com", STRONG).await];
    let path = format!("/users/{user}/sessions");
    let open = async || api.get(&path).await.json()["items"].as_array().expect("sessions").len();
    assert_eq!(open().await, 2);
    let ended = api.send(Method::DELETE, &path, Value::Null).await;
    assert_eq!(ended.status, StatusCode::NO_CONTENT, "{}", ended.text);
    assert_eq!(open().await, 0);
    for token in &tokens {
        assert_eq!(me(&api, token).await.refusal(), "401 unauthenticated");
    }
    assert_eq!(log_in(&api, "jo@example.com", STRONG).await.status, StatusCode::OK);
    let admin = api.get("/auth/me").await;
    assert_eq!(admin.status, StatusCode::OK, "another user's sessions go on");
}

#[tokio::test]
async fn the_last_active_admin_stays_one() {
    let api = Api::start().await;
    let admin = session(&api, "admin@localhost", PASSWORD).await;
    let id: Uuid =
        me(&api, &admin).await.json()["user_id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
    for body in [json!({ "role": "viewer" }), json!({ "active": false })] {
        assert_eq!(change(&api, id, body).await.refusal(), "409 last_admin");
    }
    // One who has only been invited cannot do anything.
    let invited = json!({ "email": "invited@example.com", "role": "admin" });
    api.send(Method::POST, "/users", invited).await;
    assert_eq!(change(&api, id, json!({ "active": false })).await.refusal(), "409 last_admin");
    add(&api, "other@example.com", Role::Admin).await;
    assert_eq!(change(&api, id, json!({ "role": "viewer" })).await.status, StatusCode::OK);
    let last = me(&api, &session(&api, "other@example.com", STRONG).await).await.json()["user_id"].take();
    let last = last.as_str().and_then(|id| id.parse().ok()).expect("an id");
    assert_eq!(change(&api, last, json!({ "active": false })).await.refusal(), "409 last_admin");
}

#[tokio::test]
async fn of_two_admins_who_deactivate_each_other_at_once_one_remains() {
    let api = Api::start().await;
    let admin = session(&api, "admin@localhost", PASSWORD).await;
    for round in 0..5 {
        let (one, other) = (format!("one{round}@example.com"), format!("other{round}@example.com"));
        let ids = [add(&api, &one, Role::Admin).await, add(&api, &other, Role::Admin).await];
        let first: Uuid =
            me(&api, &admin).await.json()["user_id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
        assert_eq!(change(&api, first, json!({ "role": "viewer" })).await.status, StatusCode::OK);
        let all = ids.map(|id| change(&api, id, json!({ "active": false })));
        let mut answers: Vec<_> = futures::future::join_all(all).await.iter().map(Answer::refusal).collect();
        answers.sort();
        assert_eq!(answers, ["200 ", "409 last_admin"]);
        assert_eq!(change(&api, first, json!({ "role": "admin" })).await.status, StatusCode::OK);
        for id in ids {
            change(&api, id, json!({ "active": false })).await;
        }
    }
}

#[tokio::test]
async fn another_tenants_users_answer_like_unknown_ones() {
    let api = Api::start().await;
    api.add_tenant("t1").await;
    let theirs = user_id("t1", Role::Viewer);
    let mut answers = vec![];
    for id in [Uuid::from_u128(7).to_string(), theirs.to_string(), "nobody".into()] {
        let path = format!("/users/{id}");
        let read = api.get(&path).await;
        let changed = api.send(Method::PATCH, &path, json!({ "active": false })).await;
        assert_eq!(read.refusal(), "404 not_found");
        answers.push([shown(&read), shown(&changed)]);
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    let token = api.token("t1", Role::Viewer);
    assert_eq!(me(&api, &token).await.status, StatusCode::OK, "nothing has happened to them");
    let listed = api.get("/users?q=t1.example&count=true").await.json();
    assert_eq!((&listed["items"], &listed["total"]), (&json!([]), &json!(0)));
}

#[tokio::test]
async fn users_are_found_page_by_page() {
    let api = Api::start().await;
    api.send(
        Method::POST,
        "/users",
        json!({ "email": "jo@example.com", "role": "viewer", "name": "Jo 50%" }),
    )
    .await;
    let gone = add(&api, "gone@example.com", Role::Viewer).await;
    change(&api, gone, json!({ "active": false })).await;
    let found = async |which: &str| {
        let mut emails = vec![];
        let mut path = format!("/users?limit=2&{which}");
        loop {
            let page = api.get(&path).await.json();
            let items = page["items"].as_array().expect("items").clone();
            emails.extend(items.iter().map(|user| user["email"].as_str().expect("text").to_owned()));
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            path = format!("/users?limit=2&{which}&cursor={cursor}");
        }
        emails.sort();
        emails.join(" ")
    };
    assert_eq!(found("").await.split(' ').count(), 8);
    assert_eq!(found("role=admin").await, "admin@localhost admin@t0.example");
    assert_eq!(found("status=deactivated").await, "gone@example.com");
    assert_eq!(found("status=active").await, "admin@localhost");
    assert_eq!(found("status=invited&role=viewer&q=EXAMPLE.COM").await, "jo@example.com");
    assert_eq!(found("q=50%25").await, "jo@example.com");
    assert_eq!(found("q=%25").await, "jo@example.com", "no pattern");
    assert_eq!(api.get("/users?count=true&limit=1").await.json()["total"], 8);
    for (bad, field) in [("cursor=x", "cursor"), ("role=boss", "role"), ("status=x", "status"), ("x=1", "x")]
    {
        let refused = api.get(&format!("/users?{bad}")).await;
        assert_eq!(
            (refused.refusal().as_str(), &refused.json()["errors"][0]["field"]),
            ("422 invalid", &json!(field))
        );
    }
}

#[tokio::test]
async fn who_is_let_in_again_needs_room() {
    let api = Api::start().await;
    let user = add(&api, "jo@example.com", Role::Viewer).await;
    change(&api, user, json!({ "active": false })).await;
    super::arrange(&api, "UPDATE tenants SET max_users = 6").await;
    assert_eq!(change(&api, user, json!({ "active": true })).await.refusal(), "409 limit_reached");
    assert_eq!(change(&api, user, json!({ "name": "Jo" })).await.status, StatusCode::OK);
}
