//! A browser's session: one cookie, and no page of another origin that uses it.

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::support::Api;
use crate::support::api::{Answer, PASSWORD, answer};

async fn log_in(api: &Api) -> (Answer, String) {
    let request = api.request(Method::POST, "/api/login").header("sec-fetch-site", "same-origin");
    let answered = answer(request.json(&json!({"email": "admin@localhost", "password": PASSWORD}))).await;
    let cookie = answered.header("set-cookie").split(';').next().unwrap_or_default().to_owned();
    (answered, cookie)
}

async fn with(api: &Api, cookie: &str, method: Method, path: &str, site: &str) -> Answer {
    answer(api.request(method, path).header("cookie", cookie).header("sec-fetch-site", site)).await
}

#[tokio::test]
async fn a_page_logs_in_and_out_with_nothing_but_its_cookie() {
    let api = Api::start().await;
    let (answered, cookie) = log_in(&api).await;
    assert_eq!((answered.status, &answered.json()["role"]), (StatusCode::OK, &json!("admin")));
    assert!(!answered.text.contains("token"), "{}", answered.text);
    for attribute in ["HttpOnly", "SameSite=Lax", "Path=/", "Max-Age="] {
        assert!(answered.header("set-cookie").contains(attribute), "{}", answered.header("set-cookie"));
    }
    let me = with(&api, &cookie, Method::GET, "/api/me", "same-origin").await;
    assert_eq!(me.json()["email"], "admin@localhost");
    assert_eq!(with(&api, &cookie, Method::GET, "/devices", "same-origin").await.status, StatusCode::OK);
    let out = with(&api, &cookie, Method::POST, "/api/logout", "same-origin").await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
    assert!(out.header("set-cookie").contains("Max-Age=0"));
    assert_eq!(
        with(&api, &cookie, Method::GET, "/api/me", "same-origin").await.refusal(),
        "401 unauthenticated"
    );
}

#[tokio::test]
async fn a_page_of_another_origin_cannot_act_by_cookie() {
    let api = Api::start().await;
    let (_, cookie) = log_in(&api).await;
    for site in ["cross-site", "same-site"] {
        for path in ["/signing-keys/rotate", "/graphql", "/devices"] {
            let tried = with(&api, &cookie, Method::POST, path, site).await;
            assert_eq!(tried.refusal(), "401 unauthenticated", "{site} {path}");
        }
        with(&api, &cookie, Method::POST, "/api/logout", site).await;
        let refreshed = with(&api, &cookie, Method::POST, "/auth/refresh", site).await;
        assert_eq!(refreshed.refusal(), "401 unauthenticated");
        let login = api.request(Method::POST, "/api/login").header("sec-fetch-site", site);
        let login = login.json(&json!({"email": "admin@localhost", "password": PASSWORD}));
        assert_eq!(answer(login).await.refusal(), "403 foreign_page");
    }
    let origin = api
        .request(Method::POST, "/devices")
        .header("cookie", &cookie)
        .header("origin", "https://evil.example");
    let refused = answer(origin).await;
    assert_eq!(refused.refusal(), "401 unauthenticated");
    assert!(refused.text.contains("FLEETLOG_PUBLIC_URL"), "{}", refused.text);
    assert_eq!(
        with(&api, &cookie, Method::GET, "/api/me", "same-origin").await.status,
        StatusCode::OK,
        "still in"
    );
}

#[tokio::test]
async fn a_page_keeps_its_session_going_by_cookie_while_others_of_its_requests_are_under_way() {
    let api = Api::start().await;
    let (_, cookie) = log_in(&api).await;
    let refreshed = with(&api, &cookie, Method::POST, "/auth/refresh", "same-origin").await;
    assert_eq!(refreshed.status, StatusCode::OK, "{}", refreshed.text);
    assert!(refreshed.json().get("refresh_token").is_none(), "no script sees it");
    let next = refreshed.header("set-cookie").split(';').next().expect("a cookie").to_owned();
    assert_ne!(next, cookie);
    for cookie in [&cookie, &next] {
        assert_eq!(with(&api, cookie, Method::GET, "/api/me", "same-origin").await.status, StatusCode::OK);
    }
    let age = "UPDATE refresh_tokens SET used_at = used_at - interval '11 seconds'";
    sqlx::raw_sql(age).execute(&mut api.database.owner().await).await.expect("aged");
    assert_eq!(
        with(&api, &cookie, Method::GET, "/api/me", "same-origin").await.refusal(),
        "401 unauthenticated"
    );
    assert_eq!(with(&api, &next, Method::GET, "/api/me", "same-origin").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_refresh_token_is_no_access_token_wherever_it_is_put() {
    let api = Api::start().await;
    let (_, cookie) = log_in(&api).await;
    let token = cookie.split_once('=').expect("a cookie").1;
    for request in [
        api.request(Method::GET, "/devices").bearer_auth(token),
        api.request(Method::GET, &format!("/devices?access_token={token}")),
        api.request(Method::GET, "/devices").header("cookie", format!("__Host-{cookie}")),
        api.request(Method::GET, "/devices").header("cookie", &cookie).bearer_auth("x"),
    ] {
        assert_eq!(answer(request).await.refusal(), "401 unauthenticated");
    }
}
