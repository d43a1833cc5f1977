//! Wills: said when a connection ends without a goodbye, unless the device is back in time; over restarts, and no other ones.

use std::net::SocketAddr;
use std::time::Duration;

use rstest::rstest;

use super::{Fleet, STATUS, TELEMETRY};
use crate::support::mqtt::{self, Device, V4, V5, string};
use crate::support::{Node, eventually};

const FOREVER: Duration = Duration::from_hours(1);
const WILL: &[&str] = &["no_msg_id", "no_ts", "offline", "will"];

/// A CONNECT with a will. With MQTT 5 its session is kept for an hour, and the will waits for so long.
fn connect(version: u8, topic: &str, payload: &str, delay_s: u32) -> Vec<u8> {
    let v5 = |id: u8, value: u32| {
        let property = [&[5, id][..], &value.to_be_bytes()].concat();
        if version == V5 { property } else { Vec::new() }
    };
    let (session, will) = (v5(0x11, 3600), v5(0x18, delay_s));
    let names =
        [&string(b"dev-01")[..], &will, &string(topic.as_bytes()), &string(payload.as_bytes())].concat();
    mqtt::packet(0x10, &[&string(b"MQTT")[..], &[version, 0b1100, 0, 60], &session, &names].concat())
}

async fn device(address: SocketAddr, connect: &[u8]) -> Device {
    let mut device = Device::dial(address, connect[8]).await;
    device.send(connect).await;
    let connack = device.packet().await.expect("CONNACK");
    assert_eq!((connack[0], connack[3]), (0x20, 0), "accepted");
    device
}

/// The device reports something, so that it is online, and its network goes away.
async fn is_lost(fleet: &Fleet, connect: &[u8]) {
    let mut device = device(fleet.node.address, connect).await;
    device.report(TELEMETRY, "{}").await;
    fleet.is("online").await;
}

/// How many wills were said.
async fn said(fleet: &Fleet) -> usize {
    fleet.flags().await.iter().filter(|flags| flags.contains(&"will".to_owned())).count()
}

#[rstest]
#[case(V4)]
#[case(V5)]
#[tokio::test]
async fn a_will_says_that_its_device_is_offline_when_its_connection_is_lost(#[case] version: u8) {
    let fleet = Fleet::start(FOREVER).await;
    is_lost(&fleet, &connect(version, STATUS, "Offline", 0)).await;
    fleet.is("offline").await;
    assert_eq!(fleet.flags().await.last().expect("a message"), WILL);
    let (seen, shown) = (fleet.device().await["last_seen_at"].clone(), fleet.device().await);
    assert!(seen.is_string() && shown["messages"] == 2, "{shown}");
    // Each death is one.
    is_lost(&fleet, &connect(version, STATUS, r#"{"status":"offline","msg_id":"will"}"#, 0)).await;
    fleet.is("offline").await;
    is_lost(&fleet, &connect(version, STATUS, r#"{"status":"offline","msg_id":"will"}"#, 0)).await;
    fleet.is("offline").await;
    assert_eq!(said(&fleet).await, 3);
}

#[rstest]
#[case(V4)]
#[case(V5)]
#[tokio::test]
async fn whoever_says_goodbye_or_is_back_has_no_will(#[case] version: u8) {
    let fleet = Fleet::start(FOREVER).await;
    let connect = connect(version, STATUS, "offline", 0);
    let mut polite = device(fleet.node.address, &connect).await;
    polite.report(TELEMETRY, "{}").await;
    polite.send(&[0xe0, 0]).await;
    assert_eq!(polite.packet().await, None, "closed");
    let mut first = device(fleet.node.address, &connect).await;
    let mut second = device(fleet.node.address, &connect).await;
    first.last_words().await;
    second.report(TELEMETRY, "{}").await;
    second.send(&[0xe0, 0]).await;
    assert_eq!(second.packet().await, None, "closed");
    // One that is said, after which the others would have been.
    is_lost(&fleet, &connect).await;
    fleet.is("offline").await;
    assert_eq!(said(&fleet).await, 1);
}

#[tokio::test]
async fn a_client_of_mqtt_5_may_say_goodbye_and_have_its_will_said() {
    let fleet = Fleet::start(FOREVER).await;
    let mut device = device(fleet.node.address, &connect(V5, STATUS, "offline", 0)).await;
    device.report(TELEMETRY, "{}").await;
    device.send(&[0xe0, 1, 4]).await;
    assert_eq!(device.packet().await, None, "closed");
    fleet.is("offline").await;
}

#[tokio::test]
async fn a_will_waits_as_long_as_its_client_says_and_is_forgotten_when_that_is_back_anywhere() {
    let fleet = Fleet::start(FOREVER).await;
    is_lost(&fleet, &connect(V5, STATUS, "offline", 1000)).await;
    let waits = async |waiting: i64| {
        eventually("wills that wait", async || {
            let count = "SELECT count(will_at) FROM device_sessions";
            let found: i64 =
                sqlx::query_scalar(count).fetch_one(&mut fleet.node.owner().await).await.expect("read");
            if found == waiting { Ok(()) } else { Err(found) }
        })
        .await;
    };
    waits(1).await;
    let other = fleet.node.join().await;
    let mut back = device(other.address, &connect(V5, STATUS, "offline", 0)).await;
    waits(0).await;
    back.report(TELEMETRY, "{}").await;
    fleet.is("online").await;
    assert_eq!(said(&fleet).await, 0);
    drop(back);
    fleet.is("offline").await;
    assert_eq!(said(&fleet).await, 1);
}

#[tokio::test]
async fn a_will_that_waits_outlives_the_node() {
    let mut fleet = Fleet::start(FOREVER).await;
    is_lost(&fleet, &connect(V5, STATUS, "offline", 1000)).await;
    eventually("the will waits", async || {
        // Its time comes while nobody is there.
        let due = "UPDATE device_sessions SET will_at = clock_timestamp() WHERE will_at IS NOT NULL";
        let due = sqlx::query(due).execute(&mut fleet.node.owner().await).await.expect("written");
        if due.rows_affected() == 1 { Ok(()) } else { Err(due) }
    })
    .await;
    fleet.node = Node::start_on(fleet.api.database.options(), |_, _| ()).await;
    fleet.is("offline").await;
    assert_eq!(said(&fleet).await, 1);
}

#[tokio::test]
async fn a_session_that_is_over_waits_for_nobody() {
    let fleet = Fleet::start(FOREVER).await;
    let mut device = device(fleet.node.address, &connect(V5, STATUS, "offline", 1000)).await;
    device.report(TELEMETRY, "{}").await;
    // With the will, and an expiry of 0.
    device.send(&[0xe0, 7, 4, 5, 0x11, 0, 0, 0, 0]).await;
    assert_eq!(device.packet().await, None, "closed");
    fleet.is("offline").await;
}

#[rstest]
#[case(V4)]
#[case(V5)]
#[tokio::test]
async fn any_other_will_is_dropped_and_is_no_sign_of_life(#[case] version: u8) {
    let fleet = Fleet::start(FOREVER).await;
    for (topic, payload) in [
        (TELEMETRY, "{}"),
        ("tele/plug/LWT", "Offline"),
        (STATUS, "online"),
        (STATUS, "bye"),
        ("t0/devices/dev-01/command_ack", "offline"),
    ] {
        drop(device(fleet.node.address, &connect(version, topic, payload, 0)).await);
    }
    // One that is said, after which the others would have been.
    drop(device(fleet.node.address, &connect(version, STATUS, "offline", 0)).await);
    eventually("the will", async || {
        let said = said(&fleet).await;
        if said == 1 { Ok(()) } else { Err(said) }
    })
    .await;
    fleet.is("offline").await;
    assert_eq!(fleet.flags().await, [WILL]);
    assert!(fleet.device().await["last_seen_at"].is_null());
    let quarantined: i64 = sqlx::query_scalar("SELECT count(*) FROM quarantine")
        .fetch_one(&mut fleet.node.owner().await)
        .await
        .expect("read");
    assert_eq!(quarantined, 0);
}
