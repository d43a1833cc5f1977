//! Alarms over GraphQL, and to those who follow.

use fleetlog_access::Role;
use serde_json::{Value, json};

use super::{Fleet, at, rule, threshold};
use crate::support::Stream;
use crate::support::graphql_ws::Socket;

#[tokio::test]
async fn a_stream_of_a_device_or_of_a_type_has_its_alarms() {
    let fleet = Fleet::start().await;
    fleet.define("hot", rule(&threshold(80.0))).await;
    let mut of_device =
        Stream::of(&fleet.api, Role::Viewer, "device=dev-01&log=control&aggregate_type=Alarm").await;
    let mut of_type = Stream::of(&fleet.api, Role::Viewer, "type=AlarmRaised").await;
    for uid in ["dev-02", "dev-01"] {
        let mut device = fleet.device(uid).await;
        device.publish(at(0, "t", 81.0)).await;
        fleet.until(&format!("device={uid}&state=open"), 1).await;
        device.publish(at(1, "t", 20.0)).await;
    }
    let told: Vec<Value> =
        of_device.events(2).await.iter().map(|event| event["event_type"].clone()).collect();
    assert_eq!(told, ["AlarmRaised", "AlarmCleared"]);
    let devices: Vec<Value> = of_type
        .events(2)
        .await
        .iter()
        .map(|event| event["payload"]["AlarmRaised"]["device_uid"].clone())
        .collect();
    assert_eq!(devices, ["dev-02", "dev-01"]);
}

#[tokio::test]
async fn graphql_lists_alarms_and_rules_changes_alarms_and_follows_them() {
    let fleet = Fleet::start().await;
    fleet.define("hot", rule(&threshold(80.0))).await;
    let mut socket = Socket::of(&fleet.api, Role::Operator).await;
    let query = "subscription { alarmChanged(deviceUid: \"dev-01\") {
        event { eventType } alarm { id status history { eventType } } } }";
    socket.follow("1", query, json!({})).await;
    fleet.device("dev-01").await.publish(at(0, "t", 81.0)).await;
    let raised = socket.data("1").await;
    assert_eq!(raised["alarm"]["status"], "RAISED");
    let id = raised["alarm"]["id"].as_str().expect("an id").to_owned();
    let mutation = format!(
        "mutation {{ acknowledgeAlarm(id: \"{id}\", note: \"Seen.\") {{ alarm {{ status acknowledgeNote }} position }} }}"
    );
    let answer = fleet.api.ask(&mutation).await;
    assert_eq!(
        answer["data"]["acknowledgeAlarm"]["alarm"],
        json!({"status": "ACKNOWLEDGED", "acknowledgeNote": "Seen."}),
        "{answer}"
    );
    let acknowledged = socket.data("1").await;
    assert_eq!(
        acknowledged["alarm"]["history"],
        json!([{"eventType": "AlarmRaised"}, {"eventType": "AlarmAcknowledged"}])
    );
    let again = fleet.api.ask(&mutation).await;
    assert_eq!(again["errors"][0]["extensions"]["code"], "already_acknowledged", "{again}");
    fleet.api.ask(&format!("mutation {{ clearAlarm(id: \"{id}\") {{ position }} }}")).await;
    assert_eq!(socket.data("1").await["event"]["eventType"], "AlarmCleared");
    fleet.api.catch_up().await;
    let question = format!(
        "{{ alarms(filter: {{ state: CLEARED, severity: MAJOR }}, sort: OPEN_FIRST) {{ totalCount nodes {{ id rule value }} }}
           alarm(id: \"{id}\") {{ clearedBecause history {{ status }} }}
           alarmRules {{ name version condition devices }}
           device(uid: \"dev-01\") {{ alarms(first: 5) {{ nodes {{ id }} }} open: alarms(state: OPEN) {{ nodes {{ id }} }} }} }}"
    );
    let answer = fleet.api.ask(&question).await;
    let data = &answer["data"];
    assert_eq!(
        data["alarms"],
        json!({"totalCount": 1, "nodes": [{"id": id, "rule": "hot", "value": 81.0}]}),
        "{answer}"
    );
    assert_eq!(data["alarm"]["clearedBecause"], "person");
    assert_eq!(data["alarmRules"][0]["condition"]["kind"], "threshold");
    assert_eq!(data["alarmRules"][0]["devices"], "all");
    assert_eq!(data["device"], json!({"alarms": {"nodes": [{"id": id}]}, "open": {"nodes": []}}));
}
