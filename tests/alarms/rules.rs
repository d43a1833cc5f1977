//! Rules: how they are defined, what is refused, and what becomes of alarms when they change or go.

use fleetlog_access::Role;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Fleet, at, rule, threshold};
use crate::support::Api;

fn with(field: &str, value: &Value) -> Value {
    let mut body = rule(&threshold(80.0));
    body[field] = value.clone();
    body
}

#[tokio::test]
async fn a_rule_that_makes_no_sense_is_refused_by_its_field() {
    let api = Api::start().await;
    let put = async |body: Value| api.send(Method::PUT, "/alarm-rules/hot", body).await;
    let condition = |change: &Value| {
        let mut condition = threshold(80.0);
        for (field, value) in change.as_object().expect("fields") {
            condition[field] = value.clone();
        }
        with("condition", &condition)
    };
    for (body, field) in [
        (with("title", &json!("")), "title"),
        (with("severity", &json!("bad")), "severity"),
        (with("devices", &json!({"uids": []})), "devices"),
        (with("devices", &json!({"uids": ["a b"]})), "devices"),
        (with("devices", &json!({})), "devices"),
        (with("devices", &json!({"labels": {}})), "devices"),
        (with("mail", &json!([uuid::Uuid::nil()])), "mail"),
        (with("mail", &json!(["jo@example.com"])), "mail"),
        (with("condition", &json!({"kind": "loud"})), "condition"),
        (with("condition", &json!({"kind": "silent"})), "condition"),
        (with("condition", &json!({"kind": "silent", "for_s": -1})), "condition"),
        (with("condition", &json!({"kind": "silent", "for_s": 86_400 * 365})), "condition"),
        (condition(&json!({"clear_value": 81})), "condition"),
        (condition(&json!({"value": "80"})), "condition"),
        (condition(&json!({"value": 1e300})), "condition"),
        (condition(&json!({"for_s": 86_400 * 365})), "condition"),
        (condition(&json!({"for_s": 1.5})), "condition"),
        (condition(&json!({"by": 1})), "condition"),
        (condition(&json!({"metric": ""})), "condition"),
        (condition(&json!({"metric": "a\u{0}b"})), "condition"),
        (with("unknown", &json!(1)), "unknown"),
    ] {
        let answer = put(body.clone()).await;
        assert_eq!(answer.refusal(), "422 invalid", "{body}: {}", answer.text);
        let at_fault = answer.json()["errors"][0]["field"].as_str().unwrap_or_default().to_owned();
        assert!(at_fault.starts_with(field), "{body}: {}", answer.text);
    }
    for text in ["NaN", "Infinity", "1e400"] {
        let body = rule(&threshold(7.25)).to_string().replace("7.25", text);
        let request = api.request(Method::PUT, "/alarm-rules/hot").bearer_auth(api.token("t0", Role::Admin));
        let request = request.header("content-type", "application/json").body(body);
        let status = request.send().await.expect("an answer").status().as_u16();
        assert!([400, 422].contains(&status), "{text}: {status}");
    }
    let long = format!("/alarm-rules/{}", "x".repeat(10_000));
    for path in [long.as_str(), "/alarm-rules/..", "/alarm-rules/a%00b"] {
        let answer = api.send(Method::PUT, path, rule(&threshold(80.0))).await;
        assert!(answer.status.is_client_error(), "{}", answer.text);
    }
    assert_eq!(api.get("/alarm-rules").await.json()["items"], json!([]));
}

#[tokio::test]
async fn a_tenant_has_so_many_rules_and_no_more_and_of_two_changes_that_race_one_is_refused() {
    let api = Api::start().await;
    let put =
        async |name: &str, body: Value| api.send(Method::PUT, &format!("/alarm-rules/{name}"), body).await;
    let first = put("hot", with("replaces", &json!(0))).await;
    assert_eq!((first.status.as_u16(), &first.json()["version"]), (200, &json!(1)));
    let milder = |title: &str| {
        let mut body = with("replaces", &json!(1));
        body["title"] = json!(title);
        body
    };
    let (one, other) = tokio::join!(put("hot", milder("One")), put("hot", milder("Other")));
    let mut refusals = [one.refusal(), other.refusal()];
    refusals.sort();
    assert_eq!(refusals, ["200 ", "409 other_version"]);
    let shown = api.get("/alarm-rules/hot").await.json();
    assert_eq!((&shown["version"], &shown["devices"]), (&json!(2), &Value::Null));
    for n in 1..200 {
        let made = put(&format!("rule-{n}"), rule(&threshold(80.0))).await;
        assert!(made.status.is_success(), "{}", made.text);
    }
    assert_eq!(put("one-more", rule(&threshold(80.0))).await.refusal(), "409 too_many_rules");
    assert_eq!(put("hot", rule(&threshold(81.0))).await.status, 200, "a change of one that is there");
    let removed = api.send_as(Role::Admin, Method::DELETE, "/alarm-rules/rule-7", None).await;
    assert_eq!(removed.status, 200, "{}", removed.text);
    assert_eq!(
        api.send_as(Role::Admin, Method::DELETE, "/alarm-rules/rule-7", None).await.refusal(),
        "404 not_found"
    );
    assert_eq!(put("one-more", rule(&threshold(80.0))).await.status, 200);
    api.catch_up().await;
    assert_eq!(api.get("/alarm-rules").await.json()["items"].as_array().map(Vec::len), Some(200));
}

#[tokio::test]
async fn alarms_end_with_the_rule_that_raised_them_or_that_looks_for_something_else() {
    let fleet = Fleet::start().await;
    fleet.define("hot", rule(&threshold(80.0))).await;
    fleet.define("hot-too", rule(&threshold(80.0))).await;
    let mut device = fleet.device("dev-01").await;
    device.publish(at(0, "t", 81.0)).await;
    fleet.until("state=open", 2).await;
    // Another title changes no alarm.
    let mut renamed = rule(&threshold(80.0));
    renamed["title"] = json!("Hotter");
    fleet.define("hot", renamed).await;
    fleet.evaluated().await;
    assert_eq!(fleet.alarms("state=open").await.len(), 2);
    fleet.define("hot", rule(&threshold(90.0))).await;
    let cleared = fleet.until("rule=hot&state=cleared", 1).await;
    assert_eq!(cleared[0]["cleared_because"], "rule_changed");
    let removed = fleet.api.send_as(Role::Admin, Method::DELETE, "/alarm-rules/hot-too", None).await;
    assert!(removed.status.is_success(), "{}", removed.text);
    let cleared = fleet.until("rule=hot-too&state=cleared", 1).await;
    assert_eq!(cleared[0]["cleared_because"], "rule_removed");
    device.publish(at(1, "t", 95.0)).await;
    let again = fleet.until("rule=hot&state=open", 1).await;
    assert_eq!(again[0]["rule_version"], 3);
    fleet.assert_verified().await;
}

#[tokio::test]
async fn a_rule_about_silence_that_changes_still_knows_when_devices_were_heard() {
    let fleet = Fleet::start().await;
    fleet.define("silent", rule(&json!({"kind": "silent", "for_s": 3600}))).await;
    fleet.device("dev-01").await.publish(json!({"n": 1})).await;
    fleet.evaluated().await;
    fleet.define("silent", rule(&json!({"kind": "silent", "for_s": 1}))).await;
    fleet.until("state=open", 1).await;
    fleet.define("silent", rule(&json!({"kind": "silent", "for_s": 2}))).await;
    // The same silence, under the rule as it is now.
    let cleared = fleet.until("state=cleared", 1).await;
    let open = fleet.until("state=open", 1).await;
    assert_eq!(open[0]["cause"], cleared[0]["cause"]);
    assert_ne!(open[0]["alarm_id"], cleared[0]["alarm_id"]);
}

#[tokio::test]
async fn alarms_of_a_device_end_when_it_goes_or_when_its_labels_no_longer_fit() {
    let fleet = Fleet::start().await;
    for uid in ["dev-01", "dev-02", "dev-03"] {
        let made =
            fleet.api.send(Method::POST, "/devices", json!({"uid": uid, "labels": {"site": "hue"}})).await;
        assert!(made.status.is_success(), "{}", made.text);
    }
    let mut body = rule(&threshold(80.0));
    body["devices"] = json!({"labels": {"site": "hue"}});
    fleet.define("hot", body).await;
    for uid in ["dev-01", "dev-02", "dev-04"] {
        fleet.device(uid).await.publish(at(0, "t", 81.0)).await;
    }
    fleet.until("state=open", 2).await;
    fleet.api.send(Method::PATCH, "/devices/dev-01", json!({"labels": {"site": "hanoi"}})).await;
    fleet.api.send_as(Role::Admin, Method::DELETE, "/devices/dev-02", None).await;
    let cleared = fleet.until("state=cleared", 2).await;
    let mut why: Vec<_> =
        cleared.iter().map(|alarm| json!([alarm["device_uid"], alarm["cleared_because"]])).collect();
    why.sort_by_key(ToString::to_string);
    assert_eq!(why, [json!(["dev-01", "labels_changed"]), json!(["dev-02", "device_decommissioned"])]);
    // One that carries the label from now on counts from its next reading on.
    fleet.api.send(Method::PATCH, "/devices/dev-04", json!({"labels": {"site": "hue"}})).await;
    fleet.evaluated().await;
    fleet.device("dev-04").await.publish(at(1, "t", 82.0)).await;
    let open = fleet.until("state=open", 1).await;
    assert_eq!(open[0]["device_uid"], "dev-04");
}

#[tokio::test]
async fn a_preview_tells_what_a_rule_would_have_raised_and_records_nothing() {
    let api = Api::start().await;
    let minute = |n: i64| format!("2026-03-01T12:{n:02}:00Z");
    let reading = |n: i64, t: f64| json!({"ts": minute(n), "t": t});
    api.publish("dev-01", [reading(0, 70.0), reading(1, 81.0), reading(2, 85.0), reading(3, 60.0)]).await;
    api.publish("dev-02", [reading(0, 70.0), reading(5, 99.0)]).await;
    api.catch_up().await;
    let preview = async |role: Role, rule: Value, from: &str, to: &str| {
        let body = json!({"rule": rule, "from": from, "to": to});
        api.send_as(role, Method::POST, "/alarm-rules/preview", Some(body)).await
    };
    let (from, to) = ("2026-03-01T12:00:00Z", "2026-03-01T13:00:00Z");
    let told = preview(Role::Operator, rule(&threshold(80.0)), from, to).await.json();
    assert_eq!((&told["devices"], &told["events"], &told["complete"]), (&json!(2), &json!(6), &json!(true)));
    let alarms = told["alarms"].as_array().expect("alarms");
    assert_eq!(alarms.len(), 2, "{told}");
    assert_eq!(
        (&alarms[0]["device_uid"], &alarms[0]["value"], &alarms[0]["since"]),
        (&json!("dev-01"), &json!(81.0), &json!(minute(1)))
    );
    assert!(alarms[0]["cleared_at"].is_string() && alarms[1]["cleared_at"].is_null());
    let unknown = json!({"kind": "threshold", "metric": "nobody", "is": "above", "value": 1});
    assert_eq!(preview(Role::Operator, rule(&unknown), from, to).await.json()["alarms"], json!([]));
    for (from, to) in [(to, from), ("2025-01-01T00:00:00Z", to)] {
        assert_eq!(preview(Role::Operator, rule(&threshold(80.0)), from, to).await.refusal(), "422 invalid");
    }
    assert_eq!(preview(Role::Viewer, rule(&threshold(80.0)), from, to).await.refusal(), "403 forbidden");
    let events = "SELECT count(*) FROM control_events WHERE event_type LIKE 'Alarm%'";
    let events: i64 =
        sqlx::query_scalar(events).fetch_one(&mut api.database.owner().await).await.expect("counted");
    assert_eq!(events, 0);
}
