//! The subscriber to an external broker: against Mosquitto, and against a broker that misbehaves on purpose.

mod sources;
mod tls;

use std::net::SocketAddr;
use std::time::Duration;

use fleetlog_embedded::mosquitto::{self, Broker};
use fleetlog_engine::ingest;
use fleetlog_mqtt::subscriber::{self, Error, Options, Status, Subscriber};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::Node;
use crate::support::mqtt::{self, Device, V4, V5};

const TOPIC: &str = "t0/devices/dev-01/telemetry";

/// A subscriber that runs until it goes out of scope.
struct Running {
    status: watch::Receiver<Status>,
    stop: CancellationToken,
    ended: JoinHandle<()>,
    _stopping: DropGuard,
}

impl Running {
    fn start(node: &Node, address: SocketAddr, change: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options::new(address.into(), "fleetlog");
        change(&mut options);
        let (subscriber, status) = Subscriber::new(options, node.ingest.clone()).expect("options");
        let stop = CancellationToken::new();
        let ended = tokio::spawn({
            let stop = stop.clone();
            async move { subscriber.run(stop).await }
        });
        Self { status, _stopping: stop.clone().drop_guard(), stop, ended }
    }

    async fn subscribed(&mut self) {
        let subscribed = self.status.wait_for(|status| status.subscribed);
        tokio::time::timeout(Duration::from_mins(1), subscribed).await.expect("subscribed").expect("running");
    }

    async fn stop(self) {
        self.stop.cancel();
        self.ended.await.expect("an orderly end");
    }
}

async fn mosquitto() -> (tempfile::TempDir, Broker) {
    let directory = tempfile::tempdir().expect("a directory");
    let options = mosquitto::Options { dir: directory.path().to_owned(), port: None };
    (directory, Broker::start(options).await.expect("mosquitto"))
}

/// Waits until this many of the device's messages are recorded.
async fn recorded(node: &Node, count: usize) -> Vec<String> {
    let waiting = async {
        loop {
            let recorded = node.recorded("t0/dev-01").await;
            if recorded.len() >= count {
                return recorded;
            }
        }
    };
    tokio::time::timeout(Duration::from_mins(1), waiting).await.expect("recorded")
}

/// The test as broker: accepts the connection and the subscription.
async fn serve(listener: &TcpListener, session_present: u8) -> Device {
    let mut client = Device::accept(listener).await;
    let connect = client.packet().await.expect("CONNECT");
    assert_eq!((connect[0], connect[8], connect[9] & 0b10), (0x10, 5, 0), "MQTT 5, the session goes on");
    client.send(&[0x20, 3, session_present, 0, 0]).await;
    let subscribe = client.packet().await.expect("SUBSCRIBE");
    let filters = b"+/devices/+/telemetry\x21\0\x12+/devices/+/status\x21";
    assert!(subscribe.ends_with(filters), "QoS 1, nothing retained: {subscribe:02x?}");
    client.send(&[0x90, 5, subscribe[2], subscribe[3], 0, 1, 1]).await;
    client
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

#[tokio::test]
async fn acknowledgements_wait_for_the_commit_and_leave_in_the_order_of_receipt() {
    let node = Node::start().await;
    let (listener, address) = listen().await;
    let running = Running::start(&node, address, |_| ());
    let mut client = serve(&listener, 0).await;
    let held = node.hold_appends().await;
    // The second one is quarantined, for which it need not wait for the log; its acknowledgement must all the same.
    for (id, payload) in [(11, r#"{"n":1}"#), (7, r#"{"ts":"never"}"#), (9, r#"{"n":2}"#), (3, "raw")] {
        client.publish(1, id, TOPIC, payload).await;
    }
    node.append_waits().await;
    assert!(client.is_silent(), "acknowledged before it was committed");
    drop(held);
    for id in [11, 7, 9, 3] {
        assert_eq!(client.puback().await, id);
    }
    running.stop().await;
}

#[tokio::test]
async fn after_a_reconnect_only_what_came_over_the_new_connection_is_acknowledged() {
    let node = Node::start().await;
    let (listener, address) = listen().await;
    let running = Running::start(&node, address, |_| ());
    let mut client = serve(&listener, 0).await;
    let held = node.hold_appends().await;
    for id in 1..=20 {
        client.publish(1, id, TOPIC, format!(r#"{{"msg_id":"m{id}"}}"#)).await;
    }
    node.append_waits().await;
    drop(client);
    let mut client = serve(&listener, 1).await;
    // Packet ids that meant other messages, in another order.
    for id in [20, 10, 1] {
        client.publish(1, id, TOPIC, format!(r#"{{"msg_id":"again{id}"}}"#)).await;
    }
    assert!(client.is_silent(), "acknowledged what came over another connection");
    drop(held);
    for id in [20, 10, 1] {
        assert_eq!(client.puback().await, id);
    }
    client.publish(1, 4, TOPIC, r#"{"msg_id":"last"}"#).await;
    assert_eq!(client.puback().await, 4, "nothing was acknowledged twice");
    running.stop().await;
}

#[tokio::test]
async fn a_broker_that_sends_more_than_there_is_room_for_is_held_back_and_answered_in_full() {
    let node = Node::start_with(|ingest, _| ingest.budget = 4 * ingest::Handle::OVERHEAD).await;
    let (listener, address) = listen().await;
    let running = Running::start(&node, address, |options| options.receive_maximum = 10);
    let mut client = serve(&listener, 0).await;
    let held = node.hold_appends().await;
    for id in 1..=100 {
        client.publish(1, id, TOPIC, format!(r#"{{"msg_id":"m{id}"}}"#)).await;
    }
    node.append_waits().await;
    assert!(client.is_silent(), "acknowledged before it was committed");
    drop(held);
    for id in 1..=100 {
        assert_eq!(client.puback().await, id);
    }
    running.stop().await;
}

#[tokio::test]
async fn two_nodes_with_one_client_id_are_told_that_they_take_each_others_session() {
    let (node, (_directory, broker)) = (Node::start().await, mosquitto().await);
    let [mut first, mut second] = [(); 2].map(|()| Running::start(&node, broker.address(), |_| ()));
    for running in [&mut first, &mut second] {
        let told =
            |status: &Status| status.error.as_ref().is_some_and(|error| error.contains("--mqtt-client-id"));
        let told = running.status.wait_for(told);
        tokio::time::timeout(Duration::from_mins(1), told).await.expect("told").expect("running");
    }
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn a_refused_subscription_is_an_error_for_readiness_and_is_tried_again() {
    let node = Node::start().await;
    let (listener, address) = listen().await;
    let mut running = Running::start(&node, address, |_| ());
    let mut client = Device::accept(&listener).await;
    client.packet().await.expect("CONNECT");
    client.send(&[0x20, 3, 0, 0, 0]).await;
    let subscribe = client.packet().await.expect("SUBSCRIBE");
    client.send(&[0x90, 4, subscribe[2], subscribe[3], 0, 0x87]).await;
    let status = running.status.wait_for(|status| status.error.is_some()).await.expect("running").clone();
    assert!(
        !status.subscribed && status.error.is_some_and(|error| error.contains("refused the subscription"))
    );
    let _client = serve(&listener, 0).await;
    running.subscribed().await;
    assert_eq!(running.status.borrow().error, None);
}

#[tokio::test]
async fn a_shutdown_acknowledges_what_is_stored_and_leaves_the_session() {
    let node = Node::start().await;
    let (listener, address) = listen().await;
    let running = Running::start(&node, address, |_| ());
    let mut client = serve(&listener, 0).await;
    let held = node.hold_appends().await;
    client.publish(1, 1, TOPIC, "{}").await;
    node.append_waits().await;
    let stopped = tokio::spawn(running.stop());
    drop(held);
    assert_eq!(client.puback().await, 1);
    let farewell = client.last_words().await;
    assert!(farewell.len() == 1 && farewell[0][0] == 0xe0, "DISCONNECT: {farewell:02x?}");
    stopped.await.expect("an orderly end");
}

#[tokio::test]
async fn nothing_is_lost_while_the_broker_or_the_node_restarts() {
    let node = Node::start().await;
    let (_directory, broker) = mosquitto().await;
    let address = broker.address();
    let mut running = Running::start(&node, address, |_| ());
    running.subscribed().await;
    let publish = async |range: std::ops::Range<u16>| {
        let mut device = Device::connect(address, V4, "dev-01").await;
        for n in range.clone() {
            device.publish(1, n + 1, TOPIC, format!(r#"{{"msg_id":"{n}"}}"#)).await;
        }
        for n in range {
            assert_eq!(device.puback().await, n + 1);
        }
    };
    publish(0..200).await;
    // What the broker had not handed over yet it keeps over its restart.
    let held = node.hold_appends().await;
    publish(200..300).await;
    node.append_waits().await;
    let broker = broker.restart().await.expect("mosquitto");
    publish(300..400).await;
    drop(held);
    recorded(&node, 400).await;
    running.stop().await;
    publish(400..500).await;
    let mut running = Running::start(&node, address, |_| ());
    running.subscribed().await;
    assert_eq!(recorded(&node, 500).await.len(), 500);
    running.stop().await;
    broker.stop().await.expect("stop");
}

#[tokio::test]
async fn nodes_of_a_group_share_the_messages_and_store_each_once() {
    let node = Node::start().await;
    let other = node.join().await;
    let (_directory, broker) = mosquitto().await;
    let group = |client_id: &'static str| {
        move |options: &mut Options| {
            options.group = Some("nodes".into());
            options.client_id = client_id.into();
        }
    };
    let mut here = Running::start(&node, broker.address(), group("a"));
    let mut there = Running::start(&other, broker.address(), group("b"));
    here.subscribed().await;
    there.subscribed().await;
    let mut device = Device::connect(broker.address(), V5, "dev-01").await;
    for n in 0..100 {
        device.publish(1, n + 1, TOPIC, format!(r#"{{"n":{n}}}"#)).await;
    }
    let payloads = recorded(&node, 100).await;
    let mut distinct = payloads.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!((payloads.len(), distinct.len()), (100, 100), "each once");
    // Mosquitto goes on giving a stopped node its share, and keeps it for when the node is back.
    here.stop().await;
    for n in 100..110 {
        device.publish(1, n + 1, TOPIC, format!(r#"{{"n":{n}}}"#)).await;
    }
    let mut here = Running::start(&node, broker.address(), group("a"));
    here.subscribed().await;
    assert_eq!(recorded(&node, 110).await.len(), 110);
    here.stop().await;
    there.stop().await;
    broker.stop().await.expect("stop");
}

#[tokio::test]
async fn options_that_cannot_work_are_refused_at_the_start() {
    let node = Node::start().await;
    let options = Options::new("mqtt://localhost".parse().expect("a URL"), "fleetlog");
    for group in ["", "a/b", "+", "#"] {
        let options = Options { group: Some(group.into()), ..options.clone() };
        assert_eq!(Subscriber::new(options, node.ingest.clone()).err(), Some(Error::BadGroup(group.into())));
    }
    let nameless = Options { client_id: String::new(), ..options };
    assert_eq!(Subscriber::new(nameless, node.ingest.clone()).err(), Some(subscriber::Error::NoClientId));
}

/// The flags of the device's messages that it says about itself.
async fn statuses(node: &Node) -> Vec<Vec<String>> {
    let select = "SELECT ARRAY(SELECT json_array_elements_text(metadata -> 'flags')) FROM events
                  WHERE aggregate_id = 't0/dev-01' AND payload ->> 'status' IS NOT NULL ORDER BY position";
    sqlx::query_scalar(select).fetch_all(&mut node.owner().await).await.expect("read")
}

#[tokio::test]
async fn a_status_is_taken_when_it_is_said_and_not_because_it_was_retained() {
    const STATUS: &str = "t0/devices/dev-01/status";
    let (node, (_directory, broker)) = (Node::start().await, mosquitto().await);
    let mut device = Device::dial(broker.address(), V4).await;
    device.send(&mqtt::connect(V4, "dev-01", Some((STATUS, b"Offline")))).await;
    assert_eq!(device.packet().await.expect("CONNACK")[0], 0x20);
    let mut retained = mqtt::publish(V4, 1, 7, STATUS.as_bytes(), b"online");
    retained[0] |= 1;
    device.send(&retained).await;
    assert_eq!(device.puback().await, 7);
    let mut running = Running::start(&node, broker.address(), |_| ());
    running.subscribed().await;
    // What was retained would have come with the subscription, before this.
    device.report(TOPIC, "{}").await;
    recorded(&node, 1).await;
    assert_eq!(statuses(&node).await, Vec::<Vec<String>>::new());
    device.send(&retained).await;
    assert_eq!(device.puback().await, 7);
    recorded(&node, 2).await;
    // The broker says it: to fleetlog it is a message like any other.
    drop(device);
    recorded(&node, 3).await;
    let said = |word: &str| ["no_msg_id", "no_ts", word].map(str::to_owned).to_vec();
    assert_eq!(statuses(&node).await, [said("online"), said("offline")]);
}

#[tokio::test]
async fn a_broker_that_refuses_the_status_topics_is_still_read_for_telemetry() {
    let (node, (listener, address)) = (Node::start().await, listen().await);
    let mut running = Running::start(&node, address, |_| ());
    let mut client = Device::accept(&listener).await;
    client.packet().await.expect("CONNECT");
    client.send(&[0x20, 3, 0, 0, 0]).await;
    let subscribe = client.packet().await.expect("SUBSCRIBE");
    client.send(&[0x90, 5, subscribe[2], subscribe[3], 0, 1, 0x87]).await;
    running.subscribed().await;
    client.publish(1, 5, TOPIC, "{}").await;
    assert_eq!(client.puback().await, 5);
}
