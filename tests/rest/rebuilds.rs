//! Rebuilds over REST and GraphQL, from the request to the rollback.

use fleetlog_access::Role;
use fleetlog_projections::paging;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::Executor;

use crate::support::api::answer;
use crate::support::{Api, eventually};

const REBUILD: &str = "/projections/devices/rebuild";

/// Waits until the last rebuild of `devices` has ended, as a client does: it asks again.
async fn ended(api: &Api) -> Value {
    eventually("the rebuild ends", async || {
        let shown = api.get(REBUILD).await.json();
        if shown["ended_at"].is_null() { Err(shown) } else { Ok(()) }
    })
    .await;
    // The end is an event of the log that the read model follows.
    api.catch_up().await;
    api.get(REBUILD).await.json()
}

#[tokio::test]
async fn a_projection_is_rebuilt_compared_swapped_and_brought_back_over_rest() {
    let api = Api::start().await;
    api.publish("dev-01", [json!({"t": 1}), json!({"t": 2})]).await;
    api.catch_up().await;
    assert_eq!(api.get(REBUILD).await.status, StatusCode::NOT_FOUND);

    let begun = api.send(Method::POST, REBUILD, json!({"keep_s": 60})).await;
    assert_eq!(begun.status, StatusCode::ACCEPTED, "{}", begun.text);
    let begun = begun.json();
    assert_eq!((&begun["version"], &begun["from_version"]), (&json!(2), &json!(1)));
    let swapped = ended(&api).await;
    assert_eq!((&swapped["step"], &swapped["differences"]), (&json!("swapped"), &json!(0)));
    assert_eq!(swapped["kept_version"], 1);
    assert_eq!((&swapped["ranges_compared"], &swapped["ranges"]), (&json!(1), &json!(1)));
    let range = &swapped["compared"][0];
    assert_eq!((&range["rows_of"], &range["live_rows"]), (&json!("devices"), &json!(1)));
    assert_eq!(range["live_checksum"], range["rebuilt_checksum"]);
    let differences = api.get("/projections/devices/rebuild/differences").await;
    assert_eq!(differences.json()["items"], json!([]));
    assert_eq!(api.get("/devices/dev-01").await.json()["messages"], 2);

    let back = api.send(Method::POST, "/projections/devices/rollback", Value::Null).await;
    assert_eq!(back.status, StatusCode::ACCEPTED, "{}", back.text);
    let back = ended(&api).await;
    assert_eq!((&back["kind"], &back["version"]), (&json!("rollback"), &json!(1)));
    api.publish("dev-01", [json!({"t": 3})]).await;
    api.catch_up().await;
    assert_eq!(api.get("/devices/dev-01").await.json()["messages"], 3);
    let versions = api.get("/projections").await.json();
    let versions = versions["items"].as_array().expect("projections").iter();
    let devices = versions.filter(|status| status["projection"] == "devices");
    let shown: Vec<_> =
        devices.map(|status| json!([status["version"], status["live"], status["state"]])).collect();
    assert_eq!(shown, [json!([1, true, "following"]), json!([2, false, "kept"])]);
}

#[tokio::test]
async fn who_may_list_the_projections_may_look_at_a_rebuild_and_others_steer_it() {
    let api = Api::start().await;
    api.publish("dev-01", [json!({"t": 1})]).await;
    api.catch_up().await;
    assert_eq!(api.send(Method::POST, REBUILD, json!({})).await.status, StatusCode::ACCEPTED);
    ended(&api).await;
    let query = json!({"query": r#"{ rebuild(projection: "devices") { step next } projections { rebuild { step } } }"#});
    for role in [Role::Operator, Role::Auditor] {
        let send = async |method, path: &str, body| api.send_as(role, method, path, body).await;
        for path in ["/projections", REBUILD] {
            assert_eq!(send(Method::GET, path, None).await.status, StatusCode::OK, "{role} {path}");
        }
        let asked = send(Method::POST, "/graphql", Some(query.clone())).await.json();
        assert_eq!(asked["data"]["rebuild"], json!({"step": "SWAPPED", "next": []}), "{role}: {asked}");
        for (method, path) in [
            (Method::GET, "/projections/devices/rebuild/differences"),
            (Method::POST, REBUILD),
            (Method::POST, "/projections/devices/rebuild/cancel"),
            (Method::POST, "/projections/devices/rollback"),
        ] {
            let refused = send(method, path, Some(json!({}))).await;
            assert_eq!(refused.refusal(), "403 forbidden", "{role} {path}");
        }
    }
}

#[tokio::test]
async fn a_list_of_differences_is_of_one_rebuild_on_all_its_pages() {
    let api = Api::start().await;
    for uid in ["dev-01", "dev-02"] {
        api.publish(uid, [json!({"t": 1})]).await;
    }
    api.catch_up().await;
    api.database.owner().await.execute("UPDATE devices_v1 SET messages = 7").await.expect("broken");
    let mut cursors = vec![];
    for _ in 0..2 {
        assert_eq!(api.send(Method::POST, REBUILD, json!({})).await.status, StatusCode::ACCEPTED);
        let waiting = eventually("rows differ", async || {
            let shown = api.get(REBUILD).await.json();
            if shown["step"] == "waiting" { Ok(shown) } else { Err(shown) }
        })
        .await;
        assert_eq!((&waiting["differences"], &waiting["next"]), (&json!(2), &json!(["accept", "cancel"])));
        let listed = api.get("/projections").await.json();
        let of = listed["items"].as_array().expect("projections").iter().find(|of| of["state"] == "waiting");
        let now =
            json!({"kind": "rebuild", "step": "waiting", "paused": false, "next": ["accept", "cancel"]});
        assert_eq!(of.map(|of| &of["rebuild"]), Some(&now), "{listed}");
        let page = api.get("/projections/devices/rebuild/differences?limit=1").await.json();
        cursors.push(page["next_cursor"].as_str().expect("a cursor").to_owned());
        let next = format!("/projections/devices/rebuild/differences?cursor={}", cursors[cursors.len() - 1]);
        assert_eq!(api.get(&next).await.json()["items"][0]["key"]["uid"], "dev-02");
        api.send(Method::POST, "/projections/devices/rebuild/cancel", Value::Null).await;
        ended(&api).await;
    }
    for (cursor, reason) in [
        (cursors.remove(0), "the cursor belongs to an earlier rebuild: begin again without a cursor"),
        (paging::encode(&-1), "the cursor is not one that this service has given out"),
    ] {
        let refused = api.get(&format!("/projections/devices/rebuild/differences?cursor={cursor}")).await;
        assert_eq!(refused.refusal(), "422 invalid", "{}", refused.text);
        assert_eq!(refused.json()["errors"][0]["reason"], reason);
    }
}

#[tokio::test]
async fn bad_requests_for_a_rebuild_are_refused_by_name_and_change_nothing() {
    let api = Api::start().await;
    api.catch_up().await;
    for (path, body, refusal) in [
        (REBUILD, json!({"from_version": 7}), "422 invalid"),
        (REBUILD, json!({"keep_s": -1}), "422 invalid"),
        (REBUILD, json!({"from_versoin": 1}), "422 invalid"),
        ("/projections/tomatoes/rebuild", json!({}), "404 not_found"),
        ("/projections/devices/rebuild/pause", Value::Null, "409 no_rebuild"),
        ("/projections/devices/rollback", Value::Null, "409 nothing_kept"),
    ] {
        let refused = api.send(Method::POST, path, body).await;
        assert_eq!(refused.refusal(), refusal, "{path}: {}", refused.text);
    }
    let analyst = api.request(Method::POST, REBUILD).bearer_auth(api.token("t0", Role::Analyst));
    assert_eq!(answer(analyst.json(&json!({}))).await.status, StatusCode::ACCEPTED);
    let again = api.send(Method::POST, REBUILD, json!({})).await;
    assert_eq!(again.refusal(), "409 rebuild_runs", "{}", again.text);
    ended(&api).await;
}
