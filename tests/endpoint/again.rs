//! What is sent again, in both directions.

use rstest::rstest;

use super::{answered, qos_2};
use crate::support::Node;
use crate::support::mqtt::{self, Device, V4, V5};

#[rstest]
#[case(V4)]
#[case(V5)]
#[tokio::test]
async fn a_publish_of_qos_2_that_is_sent_again_is_stored_once(#[case] version: u8) {
    let node = Node::start().await;
    let mut device = Device::connect(node.address, version, "dev-01").await;
    for is_again in [false, true, true] {
        device.send(&qos_2(version, is_again)).await;
        answered(&mut device, 0x50).await;
    }
    device.send(&[0x62, 2, 0, 6]).await;
    answered(&mut device, 0x70).await;
    assert_eq!(node.recorded("t0/dev-01").await.len(), 1);
    // From there on the id stands for another message.
    device.send(&qos_2(version, false)).await;
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
    device.send(&qos_2(version, false)).await;
    node.append_waits().await;
    device.send(&qos_2(version, true)).await;
    device.send(&[0xc0, 0]).await;
    assert_eq!(device.packet().await.expect("PINGRESP"), [0xd0, 0], "acknowledged before it was committed");
    drop(held);
    answered(&mut device, 0x50).await;
    device.send(&[0x62, 2, 0, 6]).await;
    answered(&mut device, 0x70).await;
    assert_eq!(node.recorded("t0/dev-01").await.len(), 1);
}

/// Publishes at `QoS` 2 with the ids up to this one, and listens to nothing meanwhile.
async fn publish_many(device: &mut Device, version: u8, last: u16) {
    for id in 1..=last {
        device.send(&mqtt::publish(version, 2, id, super::TOPIC.as_bytes(), b"{}")).await;
    }
}

#[rstest]
#[case(V4)]
#[case(V5)]
#[tokio::test]
async fn a_client_that_publishes_all_it_has_before_it_releases_any_of_it_is_served(#[case] version: u8) {
    let node = Node::start().await;
    let mut device = Device::connect(node.address, version, "dev-01").await;
    publish_many(&mut device, version, 3000).await;
    for id in 1..=3000_u16 {
        assert_eq!(device.packet().await.expect("PUBREC")[..4], [&[0x50, 2], &id.to_be_bytes()[..]].concat());
    }
    for id in 1..=3000_u16 {
        device.send(&[&[0x62, 2], &id.to_be_bytes()[..]].concat()).await;
    }
    for id in 1..=3000_u16 {
        assert_eq!(
            device.packet().await.expect("PUBCOMP")[..4],
            [&[0x70, 2], &id.to_be_bytes()[..]].concat()
        );
    }
    assert_eq!(node.recorded("t0/dev-01").await.len(), 3000);
}

#[rstest]
#[case(V4)]
#[case(V5)]
#[tokio::test]
async fn a_client_that_never_releases_is_ended_when_there_is_no_room_and_others_go_on(#[case] version: u8) {
    // Half of it is for the clients of one address: 1,024 ids, beyond the 1,024 that every connection has.
    let node = Node::start_with(|_, endpoint| endpoint.unreleased = 64 << 10).await;
    let mut device = Device::connect(node.address, version, "dev-01").await;
    let mut other = Device::connect(node.address, version, "dev-02").await;
    publish_many(&mut device, version, 2049).await;
    let mut words = device.last_words().await;
    if version == V5 {
        assert_eq!(words.pop(), Some(vec![0xe0, 1, 0x93]));
    }
    assert!(words.iter().all(|word| word[0] == 0x50), "nothing but PUBREC");
    publish_many(&mut other, version, 1024).await;
    for _ in 1..=1024 {
        assert_eq!(other.packet().await.expect("PUBREC")[0], 0x50);
    }
    // What the first one had is given back.
    let mut device = Device::connect(node.address, version, "dev-01").await;
    publish_many(&mut device, version, 2048).await;
    for _ in 1..=2048 {
        assert_eq!(device.packet().await.expect("PUBREC")[0], 0x50);
    }
}
