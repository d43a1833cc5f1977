//! What is sent again, in both directions.

use rstest::rstest;

use super::TOPIC;
use crate::support::Node;
use crate::support::mqtt::{self, Device, V4, V5};

/// A PUBLISH of `QoS` 2 with the id 6, for the first time or again.
fn publish(version: u8, is_again: bool) -> Vec<u8> {
    let mut packet = mqtt::publish(version, 2, 6, TOPIC.as_bytes(), br#"{"t":1}"#);
    packet[0] |= u8::from(is_again) << 3;
    packet
}

async fn answered(device: &mut Device, first: u8) {
    assert_eq!(device.packet().await.expect("an answer")[..4], [first, 2, 0, 6]);
}

#[rstest]
#[case(V4)]
#[case(V5)]
#[tokio::test]
async fn a_publish_of_qos_2_that_is_sent_again_is_stored_once(#[case] version: u8) {
    let node = Node::start().await;
    let mut device = Device::connect(node.address, version, "dev-01").await;
    for is_again in [false, true, true] {
        device.send(&publish(version, is_again)).await;
        answered(&mut device, 0x50).await;
    }
    device.send(&[0x62, 2, 0, 6]).await;
    answered(&mut device, 0x70).await;
    assert_eq!(node.recorded("t0/dev-01").await.len(), 1);
    // From there on the id stands for another message.
    device.send(&publish(version, false)).await;
    answered(&mut device, 0x50).await;
    assert_eq!(node.recorded("t0/dev-01").await.len(), 2);
}

#[rstest]
#[case(V4)]
#[case(V5)]
#[tokio::test]
async fn a_publish_of_qos_2_that_is_sent_again_is_not_acknowledged_before_it_is_stored(#[case] version: u8) {
    let node = Node::start().await;
    let mut device = Device::connect(node.address, version, "dev-01").await;
    let held = node.hold_appends().await;
    device.send(&publish(version, false)).await;
    node.append_waits().await;
    device.send(&publish(version, true)).await;
    device.send(&[0xc0, 0]).await;
    assert_eq!(device.packet().await.expect("PINGRESP"), [0xd0, 0], "acknowledged before it was committed");
    drop(held);
    answered(&mut device, 0x50).await;
    device.send(&[0x62, 2, 0, 6]).await;
    answered(&mut device, 0x70).await;
    assert_eq!(node.recorded("t0/dev-01").await.len(), 1);
}
