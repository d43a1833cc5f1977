//! The address that a request is counted by.

use fleetlog_access::Role;
use fleetlog_api::Settings;
use reqwest::{Method, StatusCode};
use serde_json::json;

use super::{ask, let_through, put_tier};
use crate::support::Api;
use crate::support::api::answer;

async fn ask_from(api: &Api, forwarded: &str) -> StatusCode {
    answer(api.request(Method::GET, "/devices").header("x-forwarded-for", forwarded)).await.status
}

#[tokio::test]
async fn an_address_is_refused_before_it_is_known_who_is_calling() {
    let api = Api::start().await;
    // The request that sets it counts too, under the old limit.
    put_tier(&api, "everyone", json!([{"path": "/devices", "requests": 3, "window_s": 86_400}])).await;
    assert_eq!(let_through(10, || ask(&api, "t0", Role::Viewer, "/devices")).await, 3);
    // Whoever it is: that is not looked at.
    assert_eq!(ask(&api, "t0", Role::Admin, "/devices").await.refusal(), "429 too_many_requests");
    assert_eq!(ask(&api, "t0", Role::Admin, "/logs").await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_address_that_an_untrusted_peer_claims_changes_nothing() {
    let api = Api::start().await;
    put_tier(&api, "anonymous", json!([{"path": "*", "requests": 3, "window_s": 86_400}])).await;
    let mut answers = vec![];
    for n in 0..5 {
        answers.push(ask_from(&api, &format!("198.51.100.{n}")).await.as_u16());
    }
    assert_eq!(answers, [401, 401, 401, 429, 429]);
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_client_is_counted_apart() {
    let trusted_proxies = vec!["127.0.0.0/8".parse().expect("proxies")];
    let api = Api::start_with(Settings { trusted_proxies, ..Settings::default() }).await;
    put_tier(&api, "anonymous", json!([{"path": "*", "requests": 1, "window_s": 86_400}])).await;
    for n in 0..3 {
        assert_eq!(ask_from(&api, &format!("198.51.100.{n}")).await, StatusCode::UNAUTHORIZED, "{n}");
    }
    let again = ask_from(&api, "198.51.100.1").await;
    assert_eq!(again, StatusCode::TOO_MANY_REQUESTS);
    let forged = ask_from(&api, "203.0.113.5, 198.51.100.1").await;
    assert_eq!(forged, StatusCode::TOO_MANY_REQUESTS, "what the client itself wrote says nothing");
    let networks = ["2001:db8::1", "2001:db8::2"];
    let of_one = [ask_from(&api, networks[0]).await.as_u16(), ask_from(&api, networks[1]).await.as_u16()];
    assert_eq!(of_one, [401, 429], "one network of IPv6 is one client");
}
