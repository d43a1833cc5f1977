//! Sessions that outlive their connections: the subscriptions are there, and nothing that is sent again is stored twice, over
//! another connection, on another node, and after a node has ended without a word.

use std::net::SocketAddr;
use std::time::Duration;

use fleetlog_engine::devices::sessions::{Client, Sessions};
use fleetlog_engine::dispatch::outlet::{CommandOutlet, Delivery, Message};
use rstest::rstest;
use sqlx::Executor;

use super::{answered, qos_2};
use crate::support::mqtt::{self, Device, V4, V5};
use crate::support::{Node, eventually, until};

const COMMANDS: &str = "t0/devices/dev-01/commands";
const HOUR: u32 = 3600;

/// Connects with a session that is kept for an hour, and says whether it was there.
async fn resume(address: SocketAddr, version: u8, client_id: &str) -> (Device, bool) {
    let (device, connack) = open(address, version, client_id, 0, HOUR).await;
    (device, connack[2] == 1)
}

/// Connects with these flags, and, with MQTT 5, this expiry. Returns the answer, too.
async fn open(
    address: SocketAddr,
    version: u8,
    client_id: &str,
    flags: u8,
    expiry_s: u32,
) -> (Device, Vec<u8>) {
    let mut device = Device::dial(address, version).await;
    device.send(&mqtt::connect_kept(version, client_id, flags, expiry_s)).await;
    let connack = device.packet().await.expect("CONNACK");
    assert_eq!((connack[0], connack[3]), (0x20, 0), "accepted: {connack:02x?}");
    (device, connack)
}

fn command(number: u32) -> Message {
    Message { topic: COMMANDS.into(), payload: number.to_string(), expires_in_s: 60, answer_within_s: 0 }
}

#[rstest]
#[case(V4)]
#[case(V5)]
#[tokio::test]
async fn a_client_that_comes_back_to_any_node_hears_its_commands_without_a_new_subscription(
    #[case] version: u8,
) {
    let (node, mut number) = (Node::start().await, 0);
    let (mut device, present) = resume(node.address, version, "dev-01").await;
    assert!(!present, "a new one");
    device.subscribe(COMMANDS).await;
    drop(device);
    let other = node.join().await;
    for node in [&node, &other, &node] {
        let (mut device, present) = resume(node.address, version, "dev-01").await;
        assert!(present, "it goes on");
        number += 1;
        assert_eq!(node.outlet.publish(command(number)).await, Ok(Delivery::Taken));
        assert_eq!(device.message().await, number.to_string().as_bytes());
    }
}

#[rstest]
#[case(V4)]
#[case(V5)]
#[tokio::test]
async fn what_a_client_does_not_want_to_hear_any_more_it_does_not_hear_when_it_is_back(#[case] version: u8) {
    let node = Node::start().await;
    let (mut device, _) = resume(node.address, version, "dev-01").await;
    device.subscribe(COMMANDS).await;
    let properties: &[u8] = if version == V5 { &[0] } else { &[] };
    let filter = [&(COMMANDS.len() as u16).to_be_bytes()[..], COMMANDS.as_bytes()].concat();
    device.send(&mqtt::packet(0xa2, &[&[0, 9][..], properties, &filter].concat())).await;
    assert_eq!(device.packet().await.expect("UNSUBACK")[0], 0xb0);
    drop(device);
    let (_device, present) = resume(node.address, version, "dev-01").await;
    assert!(present);
    assert_eq!(node.outlet.publish(command(1)).await, Ok(Delivery::NobodyThere));
}

#[rstest]
#[case(V4)]
#[case(V5)]
#[tokio::test]
async fn a_publish_of_qos_2_that_is_sent_again_over_another_connection_is_stored_once(#[case] version: u8) {
    let node = Node::start().await;
    let (mut device, _) = resume(node.address, version, "dev-01").await;
    device.send(&qos_2(version, false)).await;
    answered(&mut device, 0x50).await;
    let other = node.join().await;
    for node in [&node, &other] {
        let (mut device, present) = resume(node.address, version, "dev-01").await;
        assert!(present);
        device.send(&qos_2(version, true)).await;
        answered(&mut device, 0x50).await;
    }
    assert_eq!(node.recorded("t0/dev-01").await.len(), 1);
    // Released, over a further connection, the id stands for another message.
    let (mut device, _) = resume(node.address, version, "dev-01").await;
    device.send(&[0x62, 2, 0, 6]).await;
    answered(&mut device, 0x70).await;
    device.send(&qos_2(version, false)).await;
    answered(&mut device, 0x50).await;
    assert_eq!(node.recorded("t0/dev-01").await.len(), 2);
}

#[rstest]
#[case(V4)]
#[case(V5)]
#[tokio::test]
async fn a_publish_of_qos_2_whose_connection_is_lost_while_it_is_stored_is_stored_once(#[case] version: u8) {
    let node = Node::start().await;
    let (mut device, _) = resume(node.address, version, "dev-01").await;
    let held = node.hold_appends().await;
    device.send(&qos_2(version, false)).await;
    node.append_waits().await;
    drop(device);
    let (mut device, _) = resume(node.address, version, "dev-01").await;
    device.send(&qos_2(version, true)).await;
    drop(held);
    answered(&mut device, 0x50).await;
    assert_eq!(node.recorded("t0/dev-01").await.len(), 1);
}

#[tokio::test]
async fn a_session_lasts_as_long_as_its_client_has_asked_for() {
    let node = Node::start().await;
    let there = async |client_id: &str| resume(node.address, V5, client_id).await.1;
    // Without an expiry, or with a clean start, there is nothing to come back to.
    drop(open(node.address, V5, "none", 0, 0).await);
    assert!(!there("none").await);
    drop(resume(node.address, V5, "clean").await);
    drop(open(node.address, V5, "clean", 0b10, HOUR).await);
    assert!(there("clean").await, "of the clean one");
    drop(open(node.address, V4, "clean-4", 0b10, 0).await);
    assert!(!resume(node.address, V4, "clean-4").await.1);
    // It may end earlier than was said at first, and is over at once then.
    let (mut device, _) = resume(node.address, V5, "over").await;
    device.send(&[0xe0, 7, 0, 5, 0x11, 0, 0, 0, 0]).await;
    assert_eq!(device.packet().await, None, "closed");
    assert!(!there("over").await);
    // Nobody is promised more than a week.
    let (_, connack) = open(node.address, V5, "ever", 0, u32::MAX).await;
    let week = [&[0x11][..], &(7 * 24 * HOUR).to_be_bytes()].concat();
    assert!(connack.windows(5).any(|property| property == week), "{connack:02x?}");
    // When its time is over it is not there any more, swept away or not.
    drop(resume(node.address, V5, "late").await);
    let mut owner = node.owner().await;
    let age = "UPDATE device_sessions SET left_at = left_at - interval '2 hours'
               WHERE left_at IS NOT NULL AND client = sha256(decode('00', 'hex') || 'late')";
    eventually("it was left", async || {
        let aged = owner.execute(age).await.expect("aged").rows_affected();
        if aged > 0 { Ok(()) } else { Err(aged) }
    })
    .await;
    assert!(!there("late").await);
}

#[tokio::test]
async fn a_client_that_asks_for_no_session_and_no_clean_start_goes_on_with_the_one_it_has_to_the_end_of_its_connection()
 {
    let node = Node::start().await;
    let (mut device, _) = resume(node.address, V5, "dev-01").await;
    device.subscribe(COMMANDS).await;
    device.send(&qos_2(V5, false)).await;
    answered(&mut device, 0x50).await;
    drop(device);
    let other = node.join().await;
    let mut device = Device::dial(other.address, V5).await;
    device.send(&mqtt::packet(0x10, b"\0\x04MQTT\x05\0\0\x3c\0\0\x06dev-01")).await;
    // Session present, and no expiry but the client's own.
    let connack = device.packet().await.expect("CONNACK");
    assert_eq!(
        (&connack[..5], connack[5..].contains(&0x11)),
        (&[0x20, 20, 1, 0, 17][..], false),
        "{connack:02x?}"
    );
    device.send(&qos_2(V5, true)).await;
    answered(&mut device, 0x50).await;
    assert_eq!(node.recorded("t0/dev-01").await.len(), 1);
    assert_eq!(other.outlet.publish(command(1)).await, Ok(Delivery::Taken));
    assert_eq!(device.message().await, b"1");
    device.send(&[0xe0, 0]).await;
    assert_eq!(device.packet().await, None, "closed");
    assert!(!resume(node.address, V5, "dev-01").await.1, "it was over with the connection");
}

#[tokio::test]
async fn a_client_id_belongs_to_the_user_who_says_it() {
    let node = Node::start_with(|_, endpoint| endpoint.auth = fleetlog_mqtt::server::Auth::Open).await;
    let long = "x/".repeat(30_000);
    let (mut device, present) = resume(node.address, V5, &long).await;
    assert!(!present);
    device.subscribe(COMMANDS).await;
    assert!(!resume(node.address, V5, &long[..long.len() - 1]).await.1, "another id");
    assert!(resume(node.address, V5, &long).await.1);
}

#[tokio::test]
async fn the_clients_of_a_node_that_ended_without_a_word_count_as_away_and_their_sessions_go_when_their_time_is_over()
 {
    let node = Node::start().await;
    let [ended, other] = [(); 2].map(|()| Sessions::new(node.log.clone()));
    let (client, hour) = (Client::new(None, "dev-01"), Duration::from_hours(1));
    let begun = ended.begin(client, None, hour, false).await.expect("begun");
    assert_eq!(begun.earlier, None);
    let held = ended.hold(&begun.session, 6).await;
    let mut owner = node.owner().await;
    let mut rows = async |sql: &str| -> (i64, i64, i64) {
        owner.execute(sql).await.expect("written");
        other.sweep().await.expect("swept");
        let rows =
            "SELECT count(*), count(left_at), (SELECT count(*) FROM device_messages) FROM device_sessions";
        sqlx::query_as(rows).fetch_one(&mut owner).await.expect("read")
    };
    let ago = |minutes: u32| {
        format!("UPDATE device_nodes SET seen_at = clock_timestamp() - interval '{minutes} minutes'")
    };
    assert_eq!(rows("SELECT").await, (1, 0, 1), "its node was seen");
    assert_eq!(rows(&ago(59)).await, (1, 1, 1), "away since then");
    let begun = other.begin(client, None, hour, false).await.expect("begun");
    assert_eq!(begun.earlier, Some(vec![]), "for as long as it has asked for");
    assert_eq!(other.hold(&begun.session, 6).await, held, "the same message");
    assert_eq!(rows(&ago(61)).await, (0, 0, 0));
}

#[tokio::test]
async fn a_user_has_ten_sessions_and_those_that_were_left_first_go() {
    let node = Node::start().await;
    let sessions = Sessions::new(node.log.clone());
    let fill = "INSERT INTO device_sessions (client, username, session_id, connection, left_at, kept_s)
                SELECT sha256(n::text::bytea), 't0/dev-01', gen_random_uuid(), gen_random_uuid(),
                       clock_timestamp() - make_interval(secs => n), 3600 FROM generate_series(1, 15) AS n";
    let mut owner = node.owner().await;
    owner.execute(fill).await.expect("filled");
    sessions.sweep().await.expect("swept");
    let left =
        "SELECT array_agg(extract(epoch FROM clock_timestamp() - left_at)::int / 11) FROM device_sessions";
    let left: Vec<i32> = sqlx::query_scalar(left).fetch_one(&mut owner).await.expect("read");
    assert_eq!(left, [0; 10], "the last ten");
}

#[tokio::test]
async fn users_who_have_begun_new_sessions_are_held_to_their_bound_without_a_look_at_the_others() {
    let node = Node::start().await;
    let sessions = Sessions::new(node.log.clone());
    let fill = "INSERT INTO device_sessions (client, username, session_id, connection, left_at, kept_s)
                SELECT sha256(n::text::bytea), 't0/dev-02', gen_random_uuid(), gen_random_uuid(), clock_timestamp(), 3600
                FROM generate_series(1, 15) AS n";
    let mut owner = node.owner().await;
    owner.execute(fill).await.expect("filled");
    for nth in 0..12 {
        let client = Client::new(Some("t0/dev-01"), &nth.to_string());
        let begun = sessions.begin(client, Some("t0/dev-01"), Duration::from_hours(1), false).await;
        sessions.leave(&begun.expect("begun").session, None, None).await.expect("left");
    }
    let mut left = async || -> Vec<(String, i64)> {
        let left = "SELECT username, count(*) FROM device_sessions GROUP BY username ORDER BY username";
        sqlx::query_as(left).fetch_all(&mut owner).await.expect("read")
    };
    sessions.crowd_out().await.expect("done");
    assert_eq!(left().await, [("t0/dev-01".to_owned(), 10), ("t0/dev-02".to_owned(), 15)]);
    sessions.sweep().await.expect("swept");
    assert_eq!(left().await, [("t0/dev-01".to_owned(), 10), ("t0/dev-02".to_owned(), 10)]);
}

#[rstest]
#[case(V4)]
#[case(V5)]
#[tokio::test]
async fn a_client_that_goes_over_to_another_node_leaves_no_connection_behind(#[case] version: u8) {
    let node = Node::start().await;
    let other = node.join().await;
    // With a session that is kept, and with none.
    for (flags, expiry_s) in [(0, HOUR), (0b10, 0)] {
        let (mut left, _) = open(node.address, version, "dev-01", flags, expiry_s).await;
        left.subscribe(COMMANDS).await;
        let leaving = tokio::spawn(async move { left.last_words().await });
        // A node that has just begun to listen may miss the first notice.
        let mut here = None;
        until("the connection ends that was left", async || {
            let (mut device, _) = open(other.address, version, "dev-01", flags, expiry_s).await;
            device.subscribe(COMMANDS).await;
            here = Some(device);
            leaving.is_finished()
        })
        .await;
        let words = leaving.await.expect("ended");
        assert_eq!(words, if version == V5 { vec![vec![0xe0, 1, 0x8e]] } else { vec![] });
        assert_eq!(node.outlet.publish(command(1)).await, Ok(Delivery::NobodyThere));
        assert_eq!(other.outlet.publish(command(2)).await, Ok(Delivery::Taken));
        assert_eq!(here.expect("connected").message().await, b"2");
    }
}
