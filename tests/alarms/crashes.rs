//! `kill -9` in the middle: an event raises an alarm once, and a silence is noticed once.

use fleetlog_embedded::mosquitto;
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use super::{rule, threshold};
use crate::support::mqtt::{Device, V5};
use crate::support::{Database, Server, eventually};

async fn put(server: &Server, name: &str, body: &Value) {
    let request = server.request(Method::PUT, &format!("/alarm-rules/{name}")).json(body);
    let answer = request.send().await.expect("an answer");
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap_or_default());
}

async fn count(database: &Database, event_type: &str) -> i64 {
    let count = sqlx::query_scalar("SELECT count(*) FROM control_events WHERE event_type = $1");
    count.bind(event_type).fetch_one(&mut database.owner().await).await.expect("counted")
}

#[rstest]
#[case("alarms.decided")]
#[case("alarms.appended")]
#[case("alarms.committed")]
#[tokio::test]
async fn an_event_raises_an_alarm_once_though_the_server_is_killed(#[case] point: &str) {
    let directory = tempfile::tempdir().expect("a directory");
    let broker = mosquitto::Options { dir: directory.path().to_owned(), port: None };
    let broker = mosquitto::Broker::start(broker).await.expect("Mosquitto");
    let database = Database::fresh().await;
    let port = broker.address().port();
    let doomed = Server::serve_until_killed(&database.options(), port, point).await;
    put(&doomed, "hot", &rule(&threshold(80.0))).await;
    let begun = "SELECT count(*) FROM alarm_progress JOIN control_events
        ON event_type = 'AlarmRuleDefined' AND position <= control_position";
    let mut owner = database.owner().await;
    eventually("the rule", async || {
        let begun: i64 = sqlx::query_scalar(begun).fetch_one(&mut owner).await.expect("counted");
        if begun == 1 { Ok(()) } else { Err(()) }
    })
    .await;
    let mut device = Device::connect(broker.address(), V5, "dev-01").await;
    let topic = "t0/devices/dev-01/telemetry";
    device.report(topic, r#"{"msg_id":"1","t":90}"#).await;
    doomed.wait_killed().await;

    let mut server = Server::serve(&database.options(), port, &[]).await;
    // The broker gives what was not acknowledged again; the log knows it.
    device.report(topic, r#"{"msg_id":"1","t":90}"#).await;
    device.report(topic, r#"{"msg_id":"2","t":91}"#).await;
    server
        .until("/alarms?state=open", |answer| answer["items"].as_array().is_some_and(|it| it.len() == 1))
        .await;
    device.report(topic, r#"{"msg_id":"3","t":20}"#).await;
    server
        .until("/alarms?state=cleared", |answer| answer["items"].as_array().is_some_and(|it| it.len() == 1))
        .await;
    assert_eq!((count(&database, "AlarmRaised").await, count(&database, "AlarmCleared").await), (1, 1));
    server.stop().await;
    broker.stop().await.expect("stopped");
}

#[tokio::test]
async fn a_silence_is_noticed_once_though_the_server_is_killed_in_the_middle() {
    let directory = tempfile::tempdir().expect("a directory");
    let broker = mosquitto::Options { dir: directory.path().to_owned(), port: None };
    let broker = mosquitto::Broker::start(broker).await.expect("Mosquitto");
    let database = Database::fresh().await;
    let port = broker.address().port();
    let first = Server::serve(&database.options(), port, &[]).await;
    put(&first, "silent", &rule(&json!({"kind": "silent", "for_s": 4}))).await;
    let mut device = Device::connect(broker.address(), V5, "dev-01").await;
    let mut owner = database.owner().await;
    eventually("the device is heard", async || {
        device.report("t0/devices/dev-01/telemetry", r#"{"n":1}"#).await;
        let heard = "SELECT count(*) FROM alarm_standings WHERE since_position IS NOT NULL";
        let heard: i64 = sqlx::query_scalar(heard).fetch_one(&mut owner).await.expect("counted");
        if heard == 1 { Ok(()) } else { Err(()) }
    })
    .await;
    first.kill().await;

    let mut second = Server::serve(&database.options(), port, &[]).await;
    let one = |answer: &Value| answer["items"].as_array().is_some_and(|items| items.len() == 1);
    let raised = second.until("/alarms?state=open", one).await;
    let time = |field: &str| -> chrono::DateTime<chrono::Utc> {
        raised["items"][0][field].as_str().expect("a time").parse().expect("a time")
    };
    assert!(time("raised_at") - time("since") >= chrono::TimeDelta::seconds(4), "{raised}");
    second.kill().await;

    let mut third = Server::serve(&database.options(), port, &[]).await;
    third.until("/alarms?state=open", one).await;
    device.report("t0/devices/dev-01/telemetry", r#"{"n":2}"#).await;
    third.until("/alarms?state=cleared", one).await;
    assert_eq!(count(&database, "AlarmCleared").await, 1);
    let raised = "SELECT count(*) FROM control_events WHERE event_type = 'AlarmRaised' AND payload->'AlarmRaised'->>'cause' = $1";
    let cause = third.get("/alarms?state=cleared").await["items"][0]["cause"].clone();
    let raised: i64 =
        sqlx::query_scalar(raised).bind(cause.as_str()).fetch_one(&mut owner).await.expect("counted");
    assert_eq!(raised, 1);
    third.stop().await;
    broker.stop().await.expect("stopped");
}
