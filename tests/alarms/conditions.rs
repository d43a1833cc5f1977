//! Each condition, from a message of a device to the alarm and its end.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Fleet, at, evaluate, rule, threshold};
use crate::support::eventually;
use fleetlog_event_log::{EventLog, database};

#[tokio::test]
async fn a_value_beyond_the_threshold_raises_an_alarm_and_one_behind_the_clear_value_ends_it() {
    let fleet = Fleet::start().await;
    let condition =
        json!({"kind": "threshold", "metric": "t", "is": "above", "value": 80, "clear_value": 75});
    fleet.define("hot", rule(&condition)).await;
    let mut device = fleet.device("dev-01").await;
    for (second, value) in [(0, 70.0), (1, 81.5), (2, 90.0), (3, 77.0)] {
        device.publish(at(second, "t", value)).await;
    }
    let alarms = fleet.until("state=open", 1).await;
    let alarm = &alarms[0];
    assert_eq!(
        (&alarm["rule"], &alarm["device_uid"], &alarm["metric"], &alarm["value"], &alarm["status"]),
        (&json!("hot"), &json!("dev-01"), &json!("t"), &json!(81.5), &json!("raised"))
    );
    device.publish(at(4, "t", 74.5)).await;
    let alarms = fleet.until("state=cleared", 1).await;
    assert_eq!(
        (&alarms[0]["cleared_because"], &alarms[0]["clear_value"]),
        (&json!("condition"), &json!(74.5))
    );
    let id = alarms[0]["alarm_id"].as_str().expect("an id");
    let history = fleet.api.get(&format!("/alarms/{id}/history")).await.json();
    let steps: Vec<_> = history["steps"].as_array().expect("steps").iter().collect();
    assert_eq!(
        steps.iter().map(|step| &step["event_type"]).collect::<Vec<_>>(),
        ["AlarmRaised", "AlarmCleared"]
    );
    assert_eq!((&steps[0]["actor"], &steps[0]["causation_id"]), (&json!("alarms"), &alarms[0]["cause"]));
    assert_eq!(fleet.count("AlarmRaised").await, 1);
    fleet.assert_verified().await;
}

#[tokio::test]
async fn a_reading_that_is_late_by_the_devices_time_is_not_evaluated() {
    let fleet = Fleet::start().await;
    fleet.define("hot", rule(&threshold(80.0))).await;
    let mut device = fleet.device("dev-01").await;
    device.publish(at(10, "t", 70.0)).await;
    fleet.evaluated().await;
    device.publish(at(5, "t", 99.0)).await;
    device.publish(at(10, "t", 99.0)).await;
    fleet.evaluated().await;
    assert_eq!(fleet.count("AlarmRaised").await, 0);
    device.publish(at(11, "t", 99.0)).await;
    fleet.until("", 1).await;
}

#[tokio::test]
async fn a_reading_whose_clock_was_ahead_makes_none_after_it_late() {
    let fleet = Fleet::start().await;
    fleet.define("hot", rule(&threshold(80.0))).await;
    let mut device = fleet.device("dev-01").await;
    device.publish(json!({"ts": "2100-01-01T00:00:00Z", "t": 70.0})).await;
    fleet.evaluated().await;
    device.publish(json!({"t": 99.0})).await;
    fleet.until("state=open", 1).await;
}

#[tokio::test]
async fn a_value_that_holds_for_its_time_raises_an_alarm_also_if_nothing_more_is_heard() {
    let fleet = Fleet::start().await;
    let held = |for_s| json!({"kind": "threshold", "metric": "t", "is": "below", "value": 3, "for_s": for_s});
    fleet.define("by-readings", rule(&held(600))).await;
    fleet.define("by-clock", rule(&held(1))).await;
    let mut device = fleet.device("dev-01").await;
    device.publish(json!({"t": 2.5})).await;
    let alarms = fleet.until("rule=by-clock", 1).await;
    assert_eq!(alarms[0]["value"], json!(2.5));
    assert_eq!(fleet.alarms("rule=by-readings").await, [Value::Null; 0]);
    // By its own clock, the device has been below for ten minutes.
    let mut other = fleet.device("dev-02").await;
    for second in [0, 300, 600] {
        other.publish(at(second, "t", 2.0)).await;
    }
    let alarms = fleet.until("rule=by-readings", 1).await;
    assert_eq!(alarms[0]["device_uid"], "dev-02");
}

#[tokio::test]
async fn a_change_that_is_too_fast_raises_an_alarm() {
    let fleet = Fleet::start().await;
    fleet.define("jump", rule(&json!({"kind": "rate", "metric": "p.in", "by": 5, "within_s": 60}))).await;
    let mut device = fleet.device("dev-01").await;
    for (second, value) in [(0, 10.0), (30, 14.0), (59, 15.5), (200, 15.5)] {
        device.publish(at(second, "p.in", value)).await;
        // Also over what is stored between two pages.
        fleet.evaluated().await;
    }
    let alarms = fleet.until("state=cleared", 1).await;
    assert_eq!((&alarms[0]["value"], &alarms[0]["metric"]), (&json!(5.5), &json!("p.in")));
}

#[tokio::test]
async fn a_silent_device_raises_one_alarm_which_its_next_message_ends() {
    let fleet = Fleet::start().await;
    fleet.define("silent", rule(&json!({"kind": "silent", "for_s": 1}))).await;
    let answer = fleet.api.send(Method::POST, "/devices", json!({"uid": "never-heard"})).await;
    assert!(answer.status.is_success(), "{}", answer.text);
    let mut device = fleet.device("dev-01").await;
    device.publish(json!({"n": 1})).await;
    let alarms = fleet.until("", 1).await;
    assert_eq!((&alarms[0]["device_uid"], &alarms[0]["status"]), (&json!("dev-01"), &json!("raised")));
    let time = |field: &str| -> chrono::DateTime<chrono::Utc> {
        alarms[0][field].as_str().expect("a time").parse().expect("a time")
    };
    assert!(time("raised_at") - time("since") >= chrono::TimeDelta::seconds(1));
    device.publish(json!({"n": 2})).await;
    fleet.until("state=cleared", 1).await;
    fleet.assert_verified().await;
}

#[tokio::test]
async fn a_command_that_fails_raises_an_alarm_which_the_next_that_succeeds_ends() {
    let fleet = Fleet::start().await;
    let _dispatching = fleet.dispatch().await;
    fleet.define("refused", rule(&json!({"kind": "command_failed", "cmds": ["ping"]}))).await;
    let mut device = fleet.device("dev-01").await;
    device.publish(json!({"n": 1})).await;
    device.device.subscribe("t0/devices/dev-01/commands").await;
    for (cmd, status) in [("reboot", "failed"), ("ping", "failed"), ("ping", "failed"), ("ping", "ack")] {
        let sent = fleet.api.send(Method::POST, "/devices/dev-01/commands", json!({"cmd": cmd})).await;
        assert_eq!(sent.status, 202, "{}", sent.text);
        let command: Value = serde_json::from_slice(&device.device.message().await).expect("JSON");
        let answer = json!({"cmd_id": command["cmd_id"], "status": status});
        device.device.report("t0/devices/dev-01/command_ack", answer.to_string()).await;
    }
    let alarms = fleet.until("state=cleared", 1).await;
    assert_eq!((&alarms[0]["cmd"], &alarms[0]["condition"]), (&json!("ping"), &json!("command_failed")));
    assert_eq!(fleet.count("AlarmRaised").await, 1);
}

#[tokio::test]
async fn an_evaluator_that_lags_takes_no_device_for_silent_that_the_log_has_heard() {
    let fleet = Fleet::without_evaluator().await;
    let answer = fleet
        .api
        .send(Method::PUT, "/alarm-rules/silent", rule(&json!({"kind": "silent", "for_s": 2})))
        .await;
    assert!(answer.status.is_success(), "{}", answer.text);
    let first = super::evaluate(&fleet.node.log);
    fleet.evaluated().await;
    let mut device = fleet.device("dev-01").await;
    device.publish(json!({"n": 1})).await;
    fleet.evaluated().await;
    drop(first);
    // It knows the heads as they are now, and hears of no later one: nothing keeps it informed.
    let deaf = EventLog::open(database::Options::new(fleet.api.database.options())).await.expect("open");
    device.publish(json!({"n": 2})).await;
    let last: i64 = sqlx::query_scalar("SELECT max(position) FROM telemetry_events")
        .fetch_one(&mut fleet.api.database.owner().await)
        .await
        .expect("a position");
    let _evaluating = evaluate(&deaf);
    let alarms = fleet.until("", 1).await;
    let cause = alarms[0]["cause"].as_str().expect("a place");
    assert!(cause.ends_with(&format!(":{last}")), "{cause} is not the last message, {last}");
}

#[tokio::test]
async fn readings_of_a_tenant_without_rules_are_not_read_and_a_rule_counts_from_its_definition_on() {
    let fleet = Fleet::start().await;
    let mut device = fleet.device("dev-01").await;
    device.publish(at(0, "t", 99.0)).await;
    fleet.define("hot", rule(&threshold(80.0))).await;
    let removed =
        fleet.api.send_as(fleetlog_access::Role::Admin, Method::DELETE, "/alarm-rules/hot", None).await;
    assert!(removed.status.is_success(), "{}", removed.text);
    let mut owner = fleet.api.database.owner().await;
    let progress = "SELECT telemetry_position FROM alarm_progress WHERE tenant = 't0'";
    let before: i64 = sqlx::query_scalar(progress).fetch_one(&mut owner).await.expect("a position");
    for second in 1..5 {
        device.publish(at(second, "t", 99.0)).await;
    }
    fleet.api.send(Method::PUT, "/command-types/beep", json!({"params": {}})).await;
    let unread: i64 = sqlx::query_scalar(progress).fetch_one(&mut owner).await.expect("a position");
    assert_eq!(unread, before);
    fleet.define("hot", rule(&threshold(80.0))).await;
    eventually("the head", async || {
        let now: i64 = sqlx::query_scalar(progress).fetch_one(&mut owner).await.expect("a position");
        if now >= before + 4 { Ok(()) } else { Err(now) }
    })
    .await;
    assert_eq!(fleet.count("AlarmRaised").await, 0);
    device.publish(at(6, "t", 99.0)).await;
    fleet.until("", 1).await;
}
