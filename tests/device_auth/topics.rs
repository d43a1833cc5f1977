//! A device that has logged in does what its own topics are for, and nothing else.

use rstest::rstest;

use super::Fleet;
use crate::access::matrix::section;
use crate::support::mqtt::{self, Device, V4, V5};

const OWN: &str = "t0/devices/dev-01/telemetry";

/// What the matrix says of publishing or subscribing.
fn topics(what: &str, answer: &str) -> Vec<&'static str> {
    let lines = section("MQTT").into_iter().map(|line| line.splitn(3, '|').map(str::trim));
    let lines = lines.filter_map(|mut line| {
        (line.next() == Some(what) && line.next() == Some(answer)).then(|| line.next())?
    });
    let topics: Vec<_> = lines.collect();
    assert!(!topics.is_empty(), "{what} {answer}");
    topics
}

#[rstest]
#[case(V4)]
#[case(V5)]
#[tokio::test]
async fn what_is_published_to_its_own_topics_is_stored(#[case] version: u8) {
    let fleet = Fleet::start().await;
    let credential = fleet.device("t0", "dev-01").await;
    let mut device = fleet.connect(version, "any", &credential).await;
    for qos in [0, 1] {
        device.publish(qos, 1, OWN, "{}").await;
    }
    assert_eq!(device.puback().await, 1);
    assert_eq!(fleet.node.recorded("t0/dev-01").await.len(), 2);
}

#[tokio::test]
async fn a_refusal_does_not_overtake_the_acknowledgements_before_it() {
    let fleet = Fleet::start().await;
    let credential = fleet.device("t0", "dev-01").await;
    let mut device = fleet.connect(V5, "any", &credential).await;
    let held = fleet.node.hold_appends().await;
    for (id, topic) in [(1, OWN), (2, OWN), (3, "t0/devices/dev-02/telemetry"), (4, OWN)] {
        device.publish(1, id, topic, "{}").await;
    }
    fleet.node.append_waits().await;
    assert!(device.is_silent(), "refused before the others were acknowledged");
    drop(held);
    for (id, reason) in [(1, None), (2, None), (3, Some(0x87)), (4, None)] {
        let answer = device.packet().await.expect("PUBACK");
        assert_eq!((answer[0], answer[3], answer.get(4).copied()), (0x40, id, reason), "{answer:02x?}");
    }
}

#[rstest]
#[case(1)]
#[case(2)]
#[tokio::test]
async fn what_is_published_elsewhere_is_refused_and_not_stored(#[case] qos: u8) {
    let fleet = Fleet::start().await;
    let credential = fleet.device("t0", "dev-01").await;
    fleet.device("t0", "dev-02").await;
    fleet.device("t1", "dev-01").await;
    let mut told = fleet.connect(V5, "told", &credential).await;
    for topic in topics("publish", "refused") {
        told.publish(qos, 7, topic, "{}").await;
        let answer = told.packet().await.expect("PUBACK or PUBREC");
        assert_eq!(
            (answer[0], answer[4]),
            (if qos == 1 { 0x40 } else { 0x50 }, 0x87),
            "{topic}: {answer:02x?}"
        );
        // Its protocol has no word for it, and an acknowledgement would be a lie.
        let mut hung_up = fleet.connect(V4, "hung-up", &credential).await;
        hung_up.publish(qos, 7, topic, "{}").await;
        assert_eq!(hung_up.last_words().await, Vec::<Vec<u8>>::new(), "{topic}");
    }
    told.report(OWN, "{}").await;
    assert_eq!(fleet.stored().await, (1, 0));
}

#[rstest]
#[case(V4)]
#[case(V5)]
#[tokio::test]
async fn what_is_published_on_topics_of_no_device_is_in_the_quarantine_of_its_tenant(#[case] version: u8) {
    let fleet = Fleet::start().await;
    let credential = fleet.device("t1", "dev-01").await;
    let mut device = fleet.connect(version, "any", &credential).await;
    for topic in topics("publish", "quarantined") {
        device.report(topic, "{}").await;
        let kept = [(Some("t1".to_owned()), "bad_topic".to_owned())];
        assert_eq!(fleet.node.quarantined(topic).await, kept, "{topic}");
    }
}

#[tokio::test]
async fn what_is_published_elsewhere_without_an_acknowledgement_is_dropped() {
    let fleet = Fleet::start().await;
    let credential = fleet.device("t0", "dev-01").await;
    let mut device = fleet.connect(V5, "any", &credential).await;
    for topic in topics("publish", "refused") {
        device.publish(0, 0, topic, "{}").await;
    }
    device.report(OWN, "{}").await;
    let mut hung_up = fleet.connect(V4, "hung-up", &credential).await;
    hung_up.publish(0, 0, topics("publish", "refused")[0], "{}").await;
    assert_eq!(hung_up.packet().await, None);
    assert_eq!(fleet.stored().await, (1, 0));
}

#[rstest]
#[case(V4, 0x80)]
#[case(V5, 0x87)]
#[tokio::test]
async fn it_hears_its_own_commands_and_subscribes_to_nothing_else(#[case] version: u8, #[case] refused: u8) {
    let fleet = Fleet::start().await;
    let credential = fleet.device("t0", "dev-01").await;
    let mut device = fleet.connect(version, "any", &credential).await;
    for filter in topics("subscribe", "refused") {
        assert_eq!(device.ask_for(filter).await, Some(refused), "{filter}");
    }
    for filter in topics("subscribe", "granted") {
        assert_eq!(device.ask_for(filter).await, Some(1), "{filter}");
    }
}

#[rstest]
#[case(V4)]
#[case(V5)]
#[tokio::test]
async fn whatever_its_will_is_it_is_let_in(#[case] version: u8) {
    let fleet = Fleet::start().await;
    let credential = fleet.device("t0", "dev-01").await;
    fleet.device("t0", "dev-02").await;
    for topic in ["t0/devices/dev-02/telemetry", "tele/plug/LWT", OWN] {
        let mut device = Device::dial(fleet.node.address, version).await;
        device.send(&mqtt::connect_as(version, "any", Some(credential.login()), Some((topic, b"{}")))).await;
        assert_eq!(device.packet().await.expect("CONNACK")[3], 0, "{topic}");
        device.report(OWN, "{}").await;
    }
    assert_eq!(fleet.stored().await, (3, 0), "the reports, and no will");
}

#[rstest]
#[case(V4)]
#[case(V5)]
#[tokio::test]
async fn two_devices_that_say_the_same_client_id_are_two_clients(#[case] version: u8) {
    let fleet = Fleet::start().await;
    let (one, other) = (fleet.device("t0", "dev-01").await, fleet.device("t1", "dev-01").await);
    let mut victim = fleet.connect(version, "same", &one).await;
    victim.subscribe("t0/devices/dev-01/commands").await;
    let mut intruder = fleet.connect(version, "same", &other).await;
    intruder.subscribe("t1/devices/dev-01/commands").await;
    victim.report(OWN, "{}").await;
    intruder.report("t1/devices/dev-01/telemetry", "{}").await;
    drop(intruder);
    victim.report(OWN, "{}").await;
    assert_eq!(fleet.stored().await, (3, 0));
}

#[rstest]
#[case(V4, vec![])]
#[case(V5, vec![vec![0xe0, 1, 0x8e]])]
#[tokio::test]
async fn a_device_that_comes_back_takes_its_session_over(#[case] version: u8, #[case] told: Vec<Vec<u8>>) {
    let fleet = Fleet::start().await;
    let credential = fleet.device("t0", "dev-01").await;
    let mut first = fleet.connect(version, "same", &credential).await;
    let mut second = fleet.connect(version, "same", &credential).await;
    assert_eq!(first.last_words().await, told, "MQTT 3.1.1 has no word for it");
    second.report(OWN, "{}").await;
    let mut beside = fleet.connect(version, "other", &credential).await;
    beside.report(OWN, "{}").await;
    second.report(OWN, "{}").await;
}
