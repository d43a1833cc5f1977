//! The topics of a tenant's sources at an external broker.

use fleetlog_engine::sources::{Definition, define, retire, tell_filters};
use fleetlog_event_log::control::{Actor, Metadata};
use fleetlog_mqtt::subscriber::Foreign;
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Running, listen, mosquitto};
use crate::support::mqtt::{Device, V4};
use crate::support::{Node, eventually};

#[tokio::test]
async fn what_a_source_takes_arrives_from_the_broker_as_soon_as_the_source_is_defined() {
    let node = Node::start().await;
    let (_directory, broker) = mosquitto().await;
    let (tell, filters) = watch::channel(vec![]);
    let stop = CancellationToken::new();
    let _stopping = stop.clone().drop_guard();
    let tenant = "t0".parse().expect("a tenant");
    let telling = tell_filters(node.log.clone(), "t0".parse().expect("a tenant"), tell, stop);
    tokio::spawn(telling);
    let foreign = Foreign { tenant, filters };
    let mut running = Running::start(&node, broker.address(), |options| options.foreign = Some(foreign));
    running.subscribed().await;
    let log = node.log.for_tenant(&"t0".parse().expect("a tenant"));
    let definition = json!({"topics": [{"topic": "sensors/{uid}/data", "id": "$.n"}]});
    let definition = definition.as_object().expect("an object").clone();
    let definition = Definition { definition, preset: None, replaces: None };
    let name = "sensors".parse().expect("a name");
    let by = || Metadata::by(Actor::Fleetlog);
    define(&log, &name, definition, by()).await.expect("defined");
    let mut device = Device::connect(broker.address(), V4, "sensor").await;
    let recorded = eventually("the message arrives", async || {
        device.publish(1, 1, "sensors/cellar/data", r#"{"n":7,"t":21.5}"#).await;
        device.puback().await;
        let recorded = node.recorded("t0/cellar").await;
        if recorded.is_empty() { Err("nothing yet") } else { Ok(recorded) }
    })
    .await;
    assert_eq!(recorded, [r#"{"source":"sensors","topic":"sensors/cellar/data","json":{"n":7,"t":21.5}}"#]);
    retire(&log, &name, by()).await.expect("retired");
    running.stop().await;
}

#[tokio::test]
async fn the_subscription_follows_the_sources() {
    let node = Node::start().await;
    let (listener, address) = listen().await;
    let (tell, filters) = watch::channel(vec!["a/+".to_owned()]);
    let tenant = "t0".parse().expect("a tenant");
    let running =
        Running::start(&node, address, |options| options.foreign = Some(Foreign { tenant, filters }));
    let mut client = Device::accept(&listener).await;
    client.packet().await.expect("CONNECT");
    client.send(&[0x20, 3, 0, 0, 0]).await;
    let subscribe = client.packet().await.expect("SUBSCRIBE");
    assert!(subscribe.ends_with(b"+/devices/+/status\x21\0\x03a/+\x21"), "{subscribe:02x?}");
    client.send(&[0x90, 6, subscribe[2], subscribe[3], 0, 1, 1, 1]).await;
    tell.send_replace(vec!["b/+".to_owned()]);
    let unsubscribe = client.packet().await.expect("UNSUBSCRIBE");
    assert_eq!(unsubscribe[0], 0xa2);
    assert!(unsubscribe.ends_with(b"\0\x03a/+"), "{unsubscribe:02x?}");
    let subscribe = client.packet().await.expect("SUBSCRIBE");
    assert!(subscribe.ends_with(b"\0\x03b/+\x21"), "{subscribe:02x?}");
    client.send(&[0x90, 6, subscribe[2], subscribe[3], 0, 1, 1, 1]).await;
    running.stop().await;
}
