//! The ids that clients say.

use rstest::rstest;

use super::TOPIC;
use crate::support::Node;
use crate::support::mqtt::{self, Device, V4, V5};

#[rstest]
#[case(V4)]
#[case(V5)]
#[tokio::test]
async fn a_client_id_may_have_65535_bytes_and_each_of_them_counts(#[case] version: u8) {
    let node = Node::start().await;
    let id = |last: &str| format!("{}{last}", "/".repeat(65_534));
    let mut one = Device::connect(node.address, version, &id("1")).await;
    let mut other = Device::connect(node.address, version, &id("2")).await;
    one.report(TOPIC, "{}").await;
    let mut again = Device::connect(node.address, version, &id("1")).await;
    one.last_words().await;
    again.report(TOPIC, "{}").await;
    other.report(TOPIC, "{}").await;
}

#[rstest]
#[case(V4)]
#[case(V5)]
#[tokio::test]
async fn clients_without_an_id_are_two_clients(#[case] version: u8) {
    let node = Node::start().await;
    let mut devices = vec![];
    for _ in 0..2 {
        let mut device = Device::dial(node.address, version).await;
        device.send(&mqtt::connect(version, "", None)).await;
        let connack = device.packet().await.expect("CONNACK");
        assert_eq!((connack[0], connack[3]), (0x20, 0), "{connack:02x?}");
        let is_told = connack.windows(8).any(|bytes| bytes[0] == 0x12 && bytes[3..] == *b"auto-");
        assert_eq!(is_told, version == V5, "{connack:02x?}");
        devices.push(device);
    }
    for device in &mut devices {
        device.report(TOPIC, "{}").await;
    }
}
