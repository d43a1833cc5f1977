//! Packets that begin and do not end.

use std::net::Ipv4Addr;

use fleetlog_mqtt::descriptors;
use rstest::rstest;

use super::{TOPIC, memory};
use crate::support::mqtt::{self, Device, V4, V5};
use crate::support::{Node, Server};

/// All of a packet but its end.
fn begun(mut packet: Vec<u8>) -> Vec<u8> {
    packet.pop();
    packet
}

#[rstest]
#[case(V4)]
#[case(V5)]
#[tokio::test]
async fn a_thousand_unfinished_publishes_take_the_memory_of_a_few_and_hold_nobody_up(#[case] version: u8) {
    descriptors::allow(8192).expect("enough descriptors");
    let node = Node::start().await;
    let mut bystander = node.device("bystander").await;
    let mut elsewhere = Device::dial_from(Ipv4Addr::new(127, 0, 0, 2), node.address, V5).await;
    elsewhere.send(&mqtt::connect(V5, "elsewhere", None)).await;
    elsewhere.packet().await.expect("CONNACK");
    let publish = begun(mqtt::publish(version, 1, 1, TOPIC.as_bytes(), &vec![b'x'; 1_000_000]));
    let before = memory(std::process::id());
    let mut attackers = vec![];
    for nth in 0..1000 {
        let mut attacker = Device::connect(node.address, version, &format!("attacker-{nth}")).await;
        attacker.send_what_is_taken(&publish);
        attackers.push(attacker);
        if nth % 100 == 0 {
            bystander.report("t0/devices/bystander/telemetry", "{}").await;
        }
    }
    bystander.report("t0/devices/bystander/telemetry", "{}").await;
    // There is room for what comes from elsewhere.
    elsewhere.report("t0/devices/elsewhere/telemetry", vec![b'x'; 200_000]).await;
    let grown = memory(std::process::id()).saturating_sub(before);
    assert!(grown < 150 << 20, "{grown} bytes more");
    // And for their own, once they have left.
    drop(attackers);
    bystander.report("t0/devices/bystander/telemetry", vec![b'x'; 200_000]).await;
}

#[rstest]
#[case(V4)]
#[case(V5)]
#[tokio::test]
async fn of_unfinished_connects_only_a_few_are_waited_for(#[case] version: u8) {
    descriptors::allow(8192).expect("enough descriptors");
    let node = Node::start().await;
    let login = ("t0/dev-01", &*"x".repeat(60_000));
    let connect = begun(mqtt::connect_as(version, &"x".repeat(60_000), Some(login), None));
    let mut waited_for = vec![];
    for _ in 0..500 {
        let mut attacker = Device::dial(node.address, version).await;
        attacker.send(&connect).await;
        waited_for.push(attacker);
    }
    let mut bystander = node.device("bystander").await;
    bystander.report("t0/devices/bystander/telemetry", "{}").await;
    let mut elsewhere = Device::dial_from(Ipv4Addr::new(127, 0, 0, 2), node.address, version).await;
    elsewhere.send(&mqtt::connect(version, &"y".repeat(60_000), None)).await;
    elsewhere.packet().await.expect("CONNACK");
    let mut closed = 0;
    for attacker in &mut waited_for {
        closed += usize::from(!attacker.is_silent());
    }
    assert!(closed > 400, "{closed} of 500 were closed");
}

/// A CONNECT that announces so many bytes, without its end.
fn long_connect(version: u8, length: usize) -> Vec<u8> {
    let head = [&b"\0\x04MQTT"[..], &[version, 0b1100_0010, 0, 60]].concat();
    begun(mqtt::packet(0x10, &[head, vec![0; length]].concat()))
}

/// The most memory that the service may take, in bytes.
const SMALL: u64 = 200 << 20;

#[rstest]
#[case::one_address(1)]
#[case::many_addresses(50)]
#[tokio::test]
async fn the_service_stays_small_and_serves_others_while_a_thousand_packets_of_a_megabyte_are_unfinished(
    #[case] addresses: u8,
) {
    descriptors::allow(8192).expect("enough descriptors");
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::up(dir.path()).await;
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], server.mqtt()));
    let mut bystander = Device::connect(address, V5, "bystander").await;
    let dial = async |nth: u16, version: u8| {
        let from = Ipv4Addr::new(127, 0, 1, 1 + (nth % u16::from(addresses)) as u8);
        Device::dial_from(from, address, version).await
    };
    let mut hanging = vec![];
    // Before the login: one that is too long is refused, however it goes on; of the others some find room.
    for nth in 0..1000 {
        for length in [1_000_000, 190_000] {
            let mut attacker = dial(nth, V4).await;
            attacker.send_what_is_taken(&long_connect(V4, length));
            hanging.push(attacker);
        }
        if nth % 100 == 0 {
            bystander.report("t0/devices/bystander/telemetry", "{}").await;
        }
    }
    let taken = memory(server.id());
    assert!(taken < SMALL, "before the login: {taken} bytes");
    // After it, beside those.
    let publish = begun(mqtt::publish(V5, 1, 1, TOPIC.as_bytes(), &vec![b'x'; 1_000_000]));
    for nth in 0..1000 {
        let mut attacker = dial(nth, V5).await;
        attacker.send(&mqtt::connect(V5, &format!("attacker-{nth}"), None)).await;
        attacker.packet().await.expect("CONNACK");
        attacker.send_what_is_taken(&publish);
        hanging.push(attacker);
        if nth % 100 == 0 {
            bystander.report("t0/devices/bystander/telemetry", "{}").await;
        }
    }
    bystander.report("t0/devices/bystander/telemetry", "{}").await;
    let taken = memory(server.id());
    assert!(taken < SMALL, "after the login: {taken} bytes");
    drop(hanging);
    server.stop().await;
}
