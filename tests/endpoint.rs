//! The built-in MQTT endpoint, spoken to byte by byte.

mod again;
mod any_bytes;
mod bad_input;
mod clients;
mod packets;
mod sessions;
mod unfinished;
mod websocket;

use fleetlog_engine::devices::credentials::Credentials;
use fleetlog_engine::devices::sessions::Sessions;
use fleetlog_mqtt::server::{self, Endpoint};

use crate::support::Node;
use crate::support::mqtt::{self, Device, V4, V5};

const TOPIC: &str = "t0/devices/dev-01/telemetry";

/// The memory of a process, in bytes.
fn memory(process: u32) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{process}/statm")).expect("statm");
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.expect("pages") * 4096
}

/// A PUBLISH of `QoS` 2 with the id 6, for the first time or again.
fn qos_2(version: u8, is_again: bool) -> Vec<u8> {
    let mut packet = mqtt::publish(version, 2, 6, TOPIC.as_bytes(), br#"{"t":1}"#);
    packet[0] |= u8::from(is_again) << 3;
    packet
}

async fn answered(device: &mut Device, first: u8) {
    assert_eq!(device.packet().await.expect("an answer")[..4], [first, 2, 0, 6]);
}

#[tokio::test]
async fn a_puback_waits_for_the_commit() {
    let node = Node::start().await;
    for version in [V4, V5] {
        let mut device = Device::connect(node.address, version, "dev-01").await;
        let held = node.hold_appends().await;
        device.publish(1, 7, TOPIC, format!(r#"{{"msg_id":"m{version}"}}"#)).await;
        node.append_waits().await;
        assert!(device.is_silent(), "acknowledged before it was committed");
        drop(held);
        assert_eq!(device.puback().await, 7);
    }
    assert_eq!(node.recorded("t0/dev-01").await.len(), 2);
}

#[tokio::test]
async fn a_publish_that_is_being_stored_holds_up_nothing_that_comes_after_it() {
    let node = Node::start().await;
    for version in [V4, V5] {
        let mut device = Device::connect(node.address, version, "dev-01").await;
        let held = node.hold_appends().await;
        for id in 1..=300 {
            device.publish(1, id, TOPIC, format!(r#"{{"msg_id":"{version}-{id}"}}"#)).await;
            if id == 200 {
                device.send(&[0xc0, 0]).await;
                assert_eq!(device.packet().await.expect("PINGRESP"), [0xd0, 0]);
            }
        }
        drop(held);
        for id in 1..=300 {
            assert_eq!(device.puback().await, id);
        }
    }
    assert_eq!(node.recorded("t0/dev-01").await.len(), 600);
}

#[tokio::test]
async fn acknowledgements_leave_in_the_order_of_the_messages() {
    let node = Node::start().await;
    let mut device = node.device("dev-01").await;
    for id in 1..=50 {
        // Every other one is quarantined, which is another transaction than the append.
        let payload = if id % 2 == 0 { r#"{"ts":"never"}"# } else { r#"{"t":1}"# };
        device.publish(1, id, TOPIC, payload).await;
    }
    for id in 1..=50 {
        assert_eq!(device.puback().await, id);
    }
}

#[tokio::test]
async fn a_message_sent_again_is_acknowledged_again_and_stored_once() {
    let node = Node::start().await;
    for version in [V4, V5, V5] {
        Device::connect(node.address, version, "dev-01")
            .await
            .report(TOPIC, r#"{"msg_id":"m1","t":1}"#)
            .await;
    }
    assert_eq!(node.recorded("t0/dev-01").await, [r#"{"msg_id":"m1","t":1}"#]);
}

#[tokio::test]
async fn every_quality_of_service_is_stored_before_it_is_acknowledged() {
    let node = Node::start().await;
    for version in [V4, V5] {
        let mut device = Device::connect(node.address, version, "dev-01").await;
        device.publish(0, 0, TOPIC, "{}").await;
        device.publish(2, 9, TOPIC, "{}").await;
        let pubrec = device.packet().await.expect("PUBREC");
        assert_eq!(pubrec[..4], [0x50, pubrec[1], 0, 9]);
        device.send(&mqtt::packet(0x62, &[0, 9])).await;
        let pubcomp = device.packet().await.expect("PUBCOMP");
        assert_eq!(pubcomp[..4], [0x70, pubcomp[1], 0, 9]);
    }
    assert_eq!(node.recorded("t0/dev-01").await.len(), 4);
}

#[tokio::test]
async fn a_client_that_comes_back_while_the_database_stalls_releases_its_old_connection() {
    let node = Node::start().await;
    let held = node.hold_appends().await;
    let mut first = node.device("dev-01").await;
    first.publish(1, 1, TOPIC, r#"{"msg_id":"m1"}"#).await;
    node.append_waits().await;
    let mut second = node.device("dev-01").await;
    let farewell = first.last_words().await;
    assert!(farewell.iter().all(|packet| packet[0] == 0xe0), "nothing but DISCONNECT: {farewell:02x?}");
    second.publish(1, 2, TOPIC, r#"{"msg_id":"m1"}"#).await;
    drop(held);
    assert_eq!(second.puback().await, 2);
    assert_eq!(node.recorded("t0/dev-01").await.len(), 1);
}

#[tokio::test]
async fn patience_with_the_database_ends_in_a_closed_connection_not_in_an_acknowledgement() {
    let node =
        Node::start_with(|_, endpoint| endpoint.patience = std::time::Duration::from_millis(100)).await;
    let held = node.hold_appends().await;
    for version in [V4, V5] {
        for qos in [1, 2] {
            let mut device = Device::connect(node.address, version, "dev-01").await;
            device.publish(qos, 1, TOPIC, r#"{"msg_id":"m1"}"#).await;
            let farewell = device.last_words().await;
            assert!(
                farewell.iter().all(|packet| packet[0] == 0xe0),
                "nothing but DISCONNECT: {farewell:02x?}"
            );
        }
    }
    drop(held);
    // As a device does: a busy machine takes longer than the patience of this node, and perhaps more than once.
    loop {
        let mut device = node.device("dev-01").await;
        device.publish(1, 1, TOPIC, r#"{"msg_id":"m1"}"#).await;
        if device.packet().await.is_some_and(|packet| packet[0] == 0x40) {
            break;
        }
    }
    assert_eq!(node.recorded("t0/dev-01").await.len(), 1);
}

#[tokio::test]
async fn a_shutdown_acknowledges_what_is_stored_and_nothing_else() {
    let node = Node::start().await;
    let mut device = node.device("dev-01").await;
    let held = node.hold_appends().await;
    device.publish(1, 1, TOPIC, r#"{"msg_id":"m1"}"#).await;
    node.append_waits().await;
    node.stop.cancel();
    device.publish(1, 2, TOPIC, r#"{"msg_id":"m2"}"#).await;
    drop(held);
    let words = device.last_words().await;
    let acknowledged: Vec<u8> = words.iter().filter(|word| word[0] == 0x40).map(|word| word[3]).collect();
    assert!(acknowledged.starts_with(&[1]), "{words:02x?}");
    assert_eq!(node.recorded("t0/dev-01").await.len(), acknowledged.len());
    node.running.await.expect("an orderly end");
}

#[tokio::test]
async fn a_device_hears_its_own_commands_and_nothing_of_other_clients() {
    let node = Node::start().await;
    let mut device = node.device("dev-01").await;
    for (filter, granted) in [
        ("t0/devices/dev-01/commands", true),
        ("t0/devices/dev-01/telemetry", false),
        ("t0/devices/+/commands", false),
        ("$share/g/t0/devices/dev-01/commands", false),
        ("$SYS/#", false),
        ("#", false),
    ] {
        device.send(&mqtt::subscribe(V5, 3, filter)).await;
        let suback = device.packet().await.expect("SUBACK");
        assert_eq!(suback.last().copied().map(|code| code < 0x80), Some(granted), "{filter}: {suback:02x?}");
    }
    node.device("other").await.report("t0/devices/dev-01/commands", r#"{"cmd":"reboot"}"#).await;
    assert_eq!(node.quarantined("t0/devices/dev-01/commands").await.len(), 1);
    device.send(&[0xc0, 0]).await;
    assert_eq!(device.packet().await.expect("PINGRESP"), [0xd0, 0], "nothing was forwarded");
}

#[tokio::test]
async fn a_will_keeps_nobody_out_and_is_not_published() {
    let node = Node::start_with(|_, endpoint| endpoint.connections = 1).await;
    for version in [V4, V5] {
        for topic in [TOPIC, "t0/devices/dev-02/commands", "tele/plug/LWT"] {
            // There is no room for another connection before the end of the one before.
            let connack = loop {
                let mut device = Device::dial(node.address, version).await;
                device.send(&mqtt::connect(version, "dev-01", Some((topic, br#"{"online":false}"#)))).await;
                if let Some(connack) = device.packet().await {
                    break connack;
                }
            };
            assert_eq!((connack[0], connack[3]), (0x20, 0), "{topic}: {connack:02x?}");
        }
    }
    while Device::dial(node.address, V5).await.refused().await {}
    assert_eq!(node.recorded("t0/dev-01").await.len(), 0);
    assert_eq!(node.quarantined("t0/devices/dev-02/commands").await.len(), 0);
    assert_eq!(node.quarantined("tele/plug/LWT").await.len(), 0);
}

#[tokio::test]
async fn more_connections_than_allowed_are_closed_at_once_and_silent_ones_count() {
    let node = Node::start_with(|_, endpoint| endpoint.connections = 2).await;
    let silent = Device::dial(node.address, V5).await;
    let mut device = node.device("dev-01").await;
    let mut refused = Device::dial(node.address, V5).await;
    assert_eq!(refused.packet().await, None);
    drop(silent);
    device.report(TOPIC, "{}").await;
    // The place is free again once the server has noticed.
    let mut later = Device::dial(node.address, V5).await;
    later.send(&mqtt::connect(V5, "later", None)).await;
    while later.packet().await.is_none() {
        later = Device::dial(node.address, V5).await;
        later.send(&mqtt::connect(V5, "later", None)).await;
    }
}

#[tokio::test]
async fn an_address_that_is_taken_is_refused_at_the_start() {
    let node = Node::start().await;
    let taken = server::Options::new(node.address);
    let (credentials, sessions) = (Credentials::new(node.log.clone()), Sessions::new(node.log.clone()));
    let refused = Endpoint::bind(taken, node.ingest.clone(), credentials, sessions).await.err();
    assert!(matches!(refused, Some(server::Error::Bind { .. })));
}
