//! What people do with alarms, and who may.

use fleetlog_access::Role;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Fleet, at, rule, threshold};

async fn raised(fleet: &Fleet) -> String {
    fleet.define("hot", rule(&threshold(80.0))).await;
    let mut device = fleet.device("dev-01").await;
    device.publish(at(0, "t", 81.0)).await;
    let alarms = fleet.until("state=raised", 1).await;
    alarms[0]["alarm_id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn an_alarm_is_acknowledged_once_and_cleared_once_and_each_answer_is_definite() {
    let fleet = Fleet::start().await;
    let id = raised(&fleet).await;
    let post = async |what: &str, body: Value| {
        fleet.api.send(Method::POST, &format!("/alarms/{id}/{what}"), body).await
    };
    for bad in [json!({"note": ""}), json!({"note": "x".repeat(1001)}), json!({"note": "a\u{0}b"})] {
        assert_eq!(post("acknowledge", bad).await.refusal(), "422 invalid");
    }
    assert_eq!(post("acknowledge", json!({"by": "me"})).await.refusal(), "422 invalid");
    let done = post("acknowledge", json!({"note": "On my way."})).await;
    assert_eq!((done.status.as_u16(), &done.json()["status"]), (200, &json!("acknowledged")));
    assert_eq!(post("acknowledge", json!({})).await.refusal(), "409 already_acknowledged");
    let position = done.json()["position"].as_str().expect("a position").to_owned();
    let listed = fleet.alarms(&format!("state=acknowledged&min_position={position}")).await;
    assert_eq!((listed.len(), &listed[0]["acknowledge_note"]), (1, &json!("On my way.")));
    let done = post("clear", json!({"note": "Done."})).await;
    assert_eq!((done.status.as_u16(), &done.json()["status"]), (200, &json!("cleared")));
    assert_eq!(post("clear", json!({})).await.refusal(), "409 already_cleared");
    assert_eq!(post("acknowledge", json!({})).await.refusal(), "409 already_cleared");
    let nobodys = "/alarms/00000000-0000-5000-8000-000000000000";
    assert_eq!(fleet.api.get(nobodys).await.refusal(), "404 not_found");
    let alarm = fleet.api.get(&format!("/alarms/{id}")).await.json();
    assert_eq!((&alarm["cleared_because"], &alarm["clear_note"]), (&json!("person"), &json!("Done.")));
    fleet.assert_verified().await;
}

#[tokio::test]
async fn what_a_person_clears_stays_clear_until_its_condition_has_ended_and_holds_again() {
    let fleet = Fleet::start().await;
    let id = raised(&fleet).await;
    let cleared = fleet.api.send(Method::POST, &format!("/alarms/{id}/clear"), json!({})).await;
    assert!(cleared.status.is_success(), "{}", cleared.text);
    let mut device = fleet.device("dev-01").await;
    device.publish(at(1, "t", 85.0)).await;
    fleet.evaluated().await;
    assert_eq!(fleet.count("AlarmRaised").await, 1);
    device.publish(at(2, "t", 20.0)).await;
    device.publish(at(3, "t", 85.0)).await;
    fleet.until("state=raised", 1).await;
    assert_eq!((fleet.count("AlarmRaised").await, fleet.count("AlarmCleared").await), (2, 1));
}

#[tokio::test]
async fn open_alarms_come_first_where_they_are_asked_for_first_and_pages_miss_none() {
    let fleet = Fleet::start().await;
    fleet.define("hot", rule(&threshold(80.0))).await;
    let mut devices = vec![];
    for n in 0..5 {
        let mut device = fleet.device(&format!("dev-{n}")).await;
        device.publish(at(0, "t", 81.0)).await;
        devices.push(device);
        fleet.until("", n + 1).await;
    }
    for n in [4, 2] {
        devices[n].publish(at(1, "t", 20.0)).await;
    }
    fleet.until("state=cleared", 2).await;
    let (mut uids, mut path) = (vec![], "/alarms?sort=open_first&limit=2".to_owned());
    loop {
        let page = fleet.api.get(&path).await.json();
        let items = page["items"].as_array().expect("items").iter();
        uids.extend(items.map(|alarm| alarm["device_uid"].as_str().expect("a uid").to_owned()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/alarms?sort=open_first&limit=2&cursor={cursor}");
    }
    assert_eq!(uids, ["dev-3", "dev-1", "dev-0", "dev-4", "dev-2"]);
    let cursor =
        fleet.api.get("/alarms?limit=2").await.json()["next_cursor"].as_str().expect("more").to_owned();
    let mixed = fleet.api.get(&format!("/alarms?sort=open_first&cursor={cursor}")).await;
    assert_eq!(mixed.refusal(), "422 invalid");
    let counted = fleet.api.get("/alarms?count=true&limit=1&severity=major").await.json();
    assert_eq!((&counted["total"], &counted["has_more"]), (&json!(5), &json!(true)));
    assert_eq!(fleet.api.get("/alarms?state=loud").await.refusal(), "422 invalid");
}

#[tokio::test]
async fn a_policy_about_devices_hides_their_alarms() {
    let fleet = Fleet::start().await;
    for (uid, site) in [("dev-01", "hanoi"), ("dev-02", "hue")] {
        let made =
            fleet.api.send(Method::POST, "/devices", json!({"uid": uid, "labels": {"site": site}})).await;
        assert!(made.status.is_success(), "{}", made.text);
    }
    let source = r#"forbid (principal, action in [Action::"alarms.read", Action::"alarms.acknowledge"], resource is Device)
        when { resource.hasTag("site") && resource.getTag("site") == "hanoi" };"#;
    let put = fleet.api.send(Method::PUT, "/policies/no-hanoi", json!({"source": source})).await;
    assert!(put.status.is_success(), "{}", put.text);
    fleet.define("hot", rule(&threshold(80.0))).await;
    for uid in ["dev-01", "dev-02"] {
        fleet.device(uid).await.publish(at(0, "t", 81.0)).await;
    }
    let alarms = fleet.until("", 1).await;
    assert_eq!(alarms[0]["device_uid"], "dev-02");
    let hidden: uuid::Uuid = sqlx::query_scalar("SELECT alarm_id FROM alarms WHERE device_uid = 'dev-01'")
        .fetch_one(&mut fleet.api.database.owner().await)
        .await
        .expect("an alarm");
    for (method, path) in [(Method::GET, String::new()), (Method::POST, "/acknowledge".to_owned())] {
        let answer = fleet.api.send_as(Role::Admin, method, &format!("/alarms/{hidden}{path}"), None).await;
        assert_eq!(answer.refusal(), "403 forbidden");
    }
    let question = "{ alarms { nodes { deviceUid } totalCount } }";
    let answer = fleet.api.ask(question).await;
    assert_eq!(answer["data"]["alarms"], json!({"nodes": [{"deviceUid": "dev-02"}], "totalCount": null}));
}
