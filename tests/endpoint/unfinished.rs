//! Packets that begin and do not end.

use std::net::Ipv4Addr;

use fleetlog_mqtt::descriptors;
use rstest::rstest;

use super::TOPIC;
use crate::support::Node;
use crate::support::mqtt::{self, Device, V4, V5};

/// The memory of this process, with the server in it, in bytes.
fn memory() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("statm");
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.expect("pages") * 4096
}

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
    let before = memory();
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
    let grown = memory().saturating_sub(before);
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
