//! What was refused, on the record.

use fleetlog_access::Role;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::api::user_id;
use crate::support::{Api, LIMIT};

/// Waits for so many refusals on the record.
async fn told(api: &Api, count: usize) -> Vec<Value> {
    let told = async {
        let mut heads = api.log.heads().watch();
        loop {
            let events = api.get("/events?type=AccessDenied").await.json();
            let events = events["items"].as_array().expect("items");
            if events.len() >= count {
                let shown =
                    |event: &Value| json!([event["metadata"]["actor"], event["payload"]["AccessDenied"]]);
                return events.iter().map(shown).collect();
            }
            heads.changed().await.expect("a log");
        }
    };
    tokio::time::timeout(LIMIT, told).await.expect("all refusals on the record")
}

#[tokio::test]
async fn whoever_is_refused_is_on_the_record_with_what_was_refused() {
    let api = Api::start().await;
    let refused = api.send_as(Role::Viewer, Method::POST, "/devices", Some(json!({"uid": "dev-01"}))).await;
    assert_eq!(refused.refusal(), "403 forbidden");
    let viewer = user_id("t0", Role::Viewer);
    assert_eq!(told(&api, 1).await, [json!([viewer, {"action": "devices.write", "times": 1}])]);
    let asked =
        json!({"query": "{ logs { head } a: commands { nodes { id } } b: commands { nodes { id } } }"});
    api.send_as(Role::Viewer, Method::POST, "/graphql", Some(asked)).await;
    let told = told(&api, 3).await;
    // A question is one request, however many of its fields are refused for the same reason.
    assert!(told.contains(&json!([viewer, {"action": "commands.read", "times": 1}])), "{told:?}");
    assert!(told.contains(&json!([viewer, {"action": "logs.read", "times": 1}])), "{told:?}");
}

#[tokio::test]
async fn whoever_asks_again_and_again_does_not_fill_the_log() {
    let api = Api::start().await;
    for _ in 0..30 {
        assert_eq!(api.send_as(Role::Viewer, Method::GET, "/logs", None).await.refusal(), "403 forbidden");
    }
    told(&api, 1).await;
    // Another's refusal is told of at once; by then, all of the first one's that are due have been.
    api.send_as(Role::Analyst, Method::GET, "/users-that-are-none", None).await;
    api.send_as(Role::Analyst, Method::GET, "/policies", None).await;
    let told = told(&api, 2).await;
    let of_viewer: Vec<_> =
        told.iter().filter(|told| told[0] == json!(user_id("t0", Role::Viewer))).collect();
    assert_eq!(of_viewer.len(), 1, "{told:?}");
}
