//! Deciding on tiers and their limits.

use fleetlog_access::Role;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{ask, put_tier};
use crate::support::api::answer;
use crate::support::{Api, until};

#[tokio::test]
async fn a_tier_says_its_limits_and_changing_them_is_on_the_record() {
    let api = Api::start().await;
    let tiers = api.get("/tiers").await.json();
    let names: Vec<_> = tiers["items"].as_array().expect("tiers").iter().map(|tier| &tier["tier"]).collect();
    assert_eq!(names, ["anonymous", "enterprise", "everyone", "free", "premium"]);
    let limits = json!([
        {"path": "*", "requests": 100, "window_s": 60},
        {"path": "POST /devices/{uid}/commands", "requests": 5, "window_s": 1},
    ]);
    let body = json!({"description": "For trying.", "limits": limits});
    let written = api.send(Method::PUT, "/tiers/trial", body).await;
    assert_eq!(written.status, StatusCode::OK, "{}", written.text);
    let tier = api.get("/tiers/trial").await.json();
    let ingest = json!({
        "messages_per_s": null, "bytes_per_s": null, "connection_messages_per_s": null,
        "connection_bytes_per_s": null, "new_devices_per_s": 10
    });
    assert_eq!(
        tier,
        json!({"tier": "trial", "description": "For trying.", "limits": limits, "ingest": ingest})
    );
    let events = api.get("/events?type=TierChanged").await.json();
    assert_eq!(events["items"][0]["payload"], json!({"TierChanged": {"tier": "trial", "limits": limits}}));
    let again =
        api.send(Method::PUT, "/tiers/trial", json!({"description": "For trying.", "limits": limits})).await;
    assert_eq!(again.json()["position"], Value::Null, "nothing has changed");
    assert_eq!(
        api.send_as(Role::Admin, Method::DELETE, "/tiers/trial", None).await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(api.get("/tiers/trial").await.refusal(), "404 not_found");
    assert_eq!(
        api.send_as(Role::Admin, Method::DELETE, "/tiers/trial", None).await.refusal(),
        "404 not_found"
    );
}

#[tokio::test]
async fn a_changed_limit_holds_on_all_nodes_soon_and_here_at_once() {
    let one = Api::start().await;
    let other = one.another_node().await;
    put_tier(&one, "enterprise", json!([{"path": "*", "requests": 777, "window_s": 86_400}])).await;
    let policy = async |api: &Api| {
        ask(api, "t0", Role::Viewer, "/devices").await.header("ratelimit-policy").to_owned()
    };
    assert_eq!(policy(&one).await, "\"default\";q=777;w=86400");
    until("the other node knows", async || policy(&other).await == "\"default\";q=777;w=86400").await;
}

#[tokio::test]
async fn limits_that_make_no_sense_are_refused() {
    let api = Api::start().await;
    let good = json!({"path": "*", "requests": 1, "window_s": 1});
    for (field, bad) in [
        ("limits[0].path", json!([{"path": "devices", "requests": 1, "window_s": 1}])),
        ("limits[0].requests", json!([{"path": "*", "requests": 0, "window_s": 1}])),
        ("limits[0].window_s", json!([{"path": "*", "requests": 1, "window_s": 86_401}])),
        ("limits[1].path", json!([good, good])),
        ("limits", json!(vec![good.clone(); 101])),
    ] {
        let refused = put_tier(&api, "trial", bad).await;
        assert_eq!(refused.refusal(), "422 invalid", "{field}");
        assert_eq!(refused.json()["errors"][0]["field"], field, "{}", refused.text);
    }
    assert_eq!(put_tier(&api, "No%20tier", json!([])).await.refusal(), "422 invalid");
}

#[tokio::test]
async fn a_tier_that_is_in_use_stays() {
    let api = Api::start().await;
    for tier in ["enterprise", "free", "anonymous", "everyone"] {
        let refused = api.send_as(Role::Admin, Method::DELETE, &format!("/tiers/{tier}"), None).await;
        assert_eq!(refused.refusal(), "409 in_use", "{tier}");
    }
}

#[tokio::test]
async fn tiers_are_the_business_of_the_platforms_admins() {
    let api = Api::start().await;
    api.add_tenant("t1").await;
    for (tenant, role) in [("t1", Role::Admin), ("t0", Role::Operator), ("t0", Role::Auditor)] {
        for (method, path) in [
            (Method::GET, "/tiers"),
            (Method::GET, "/tiers/free"),
            (Method::GET, "/tiers/no-such"),
            (Method::PUT, "/tiers/free"),
            (Method::DELETE, "/tiers/premium"),
        ] {
            let request = api.request(method.clone(), path).bearer_auth(api.token(tenant, role));
            let refused = answer(request.json(&json!({"limits": []}))).await;
            assert_eq!(refused.refusal(), "403 forbidden", "{tenant} {role} {method} {path}");
        }
    }
}
