//! What is sent again, in both directions.

use rstest::rstest;

use super::{answered, qos_2};
use crate::support::Node;
use crate::support::mqtt::{Device, V4, V5};

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
