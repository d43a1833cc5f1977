//! A broker that is reached over TLS and asks its clients for certificates.

use std::path::Path;

use bytes::Bytes;
use fleetlog_embedded::mosquitto::{self, Broker};
use fleetlog_mqtt::url::Url;
use fleetlog_mqtt::{client, retained};
use fleetlog_tls::Files;
use fleetlog_tls::client::Identity;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Connect, Filter, Packet, Publish, Subscribe};

use super::{Running, TOPIC, recorded};
use crate::support::{Authority, LIMIT, Node, eventually, tool};

/// A broker with TLS, and the directory of its files and of those of its clients.
async fn mosquitto(name: &str) -> (tempfile::TempDir, Broker, Authority) {
    let directory = tempfile::tempdir().expect("a directory");
    let dir = directory.path().to_owned();
    let authority = Authority::new(&dir.join("authority"));
    authority.issue(name, &Files { certificate: dir.join("certificate"), key: dir.join("key") });
    let broker = Broker::start(mosquitto::Options { dir, port: None }).await.expect("mosquitto");
    (directory, broker, authority)
}

/// A client of the broker, which trusts its authority, with the certificate in these files.
fn identity(dir: &Path) -> Identity {
    let files = Files { certificate: dir.join("client"), key: dir.join("client.key") };
    Identity { authorities: Some(dir.join("authority")), certificate: Some(files) }
}

fn url(broker: &Broker, identity: Identity) -> Url {
    Url::from(broker.address()).with_tls(Some(identity))
}

async fn publish(url: &Url, payload: &str) {
    let connect = Connect { keep_alive: 0, client_id: "device".into(), clean_start: true, properties: None };
    let (mut reader, mut writer, _) = client::open(url, connect).await.expect("a connection");
    let payload = Bytes::copy_from_slice(payload.as_bytes());
    let mut publish = Publish::new(TOPIC, QoS::AtLeastOnce, payload, None);
    publish.pkid = 1;
    writer.put(&Packet::Publish(publish)).expect("a packet");
    writer.flush().await.expect("sent");
    assert!(matches!(reader.next().await.expect("an answer"), Packet::PubAck(_)));
    writer.disconnect().await.expect("an orderly end");
}

#[tokio::test]
async fn messages_arrive_over_tls_from_a_broker_that_asks_for_a_certificate() {
    let node = Node::start().await;
    let (directory, broker, authority) = mosquitto("127.0.0.1").await;
    let identity = identity(directory.path());
    authority.issue("node", identity.certificate.as_ref().expect("files"));
    let url = url(&broker, identity);
    let mut running = Running::start(&node, broker.address(), |options| options.url = url.clone());
    running.subscribed().await;
    publish(&url, r#"{"n":1}"#).await;
    assert_eq!(recorded(&node, 1).await.len(), 1);
    running.stop().await;
}

#[tokio::test]
async fn messages_that_a_broker_keeps_are_published_over_tls() {
    let (directory, broker, authority) = mosquitto("127.0.0.1").await;
    let identity = identity(directory.path());
    authority.issue("node", identity.certificate.as_ref().expect("files"));
    let url = url(&broker, identity);
    let message = ("checkpoints/1".to_owned(), Bytes::from_static(b"kept"));
    retained::publish(&url, &[message]).await.expect("published");
    // Whoever subscribes only now gets it.
    let connect = Connect { keep_alive: 0, client_id: "auditor".into(), clean_start: true, properties: None };
    let (mut reader, mut writer, _) = client::open(&url, connect).await.expect("a connection");
    let mut subscribe = Subscribe::new(Filter::new("checkpoints/#", QoS::AtLeastOnce), None);
    subscribe.pkid = 1;
    writer.put(&Packet::Subscribe(subscribe)).expect("a packet");
    writer.flush().await.expect("sent");
    let kept = async {
        loop {
            if let Packet::Publish(message) = reader.next().await.expect("an answer") {
                return (message.payload, message.retain);
            }
        }
    };
    let kept = tokio::time::timeout(LIMIT, kept).await.expect("a retained message");
    assert_eq!(kept, (Bytes::from_static(b"kept"), true));
}

#[tokio::test]
async fn a_certificate_that_the_broker_refuses_can_be_replaced_while_the_node_runs() {
    let node = Node::start().await;
    let (directory, broker, authority) = mosquitto("127.0.0.1").await;
    let identity = identity(directory.path());
    let files = identity.certificate.clone().expect("files");
    Authority::new(&directory.path().join("stranger")).issue("node", &files);
    let url = url(&broker, identity);
    let mut running = Running::start(&node, broker.address(), |options| options.url = url);
    eventually("the broker refuses", async || {
        let status = running.status.borrow().clone();
        if status.error.is_some() && !status.connected { Ok(()) } else { Err(status) }
    })
    .await;
    authority.issue("node", &files);
    running.subscribed().await;
    running.stop().await;
}

#[tokio::test]
async fn a_broker_that_is_not_trusted_or_has_another_name_gets_no_login() {
    let (directory, broker, authority) = mosquitto("broker.example").await;
    let named = identity(directory.path());
    authority.issue("node", named.certificate.as_ref().expect("files"));
    Authority::new(&directory.path().join("stranger"));
    let stranger = Identity { authorities: Some(directory.path().join("stranger")), ..named.clone() };
    for (identity, why) in [(named, "not valid for name"), (stranger, "UnknownIssuer")] {
        let connect =
            Connect { keep_alive: 0, client_id: "node".into(), clean_start: true, properties: None };
        let refused =
            client::open(&url(&broker, identity), connect).await.err().expect("refused").to_string();
        assert!(refused.starts_with("TLS with the broker failed: ") && refused.contains(why), "{refused}");
    }
}

#[tokio::test]
async fn a_mistake_in_the_settings_of_tls_is_told_before_anything_is_made() {
    let directory = tempfile::tempdir().expect("a directory");
    let (none, key) = (directory.path().join("none"), directory.path().join("key"));
    let certificate = directory.path().join("certificate");
    Authority::new(&directory.path().join("authority"))
        .issue("node", &Files { certificate, key: key.clone() });
    for (url, option, file, why) in [
        ("mqtts://broker.example", "--mqtt-ca", &none, "none: No such file or directory"),
        ("mqtts://broker.example", "--mqtt-ca", &key, "found no certificate in PEM"),
        ("mqtt://broker.example", "--mqtt-ca", &key, "give the broker as mqtts://"),
    ] {
        let mut serve = tool("serve");
        serve.args(["--database-url", "postgres://nobody@127.0.0.1:1/none", "--mqtt-url", url]);
        let output = serve.arg(option).arg(file).output().await.expect("the binary");
        let reason = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && reason.contains(why), "{reason}");
        assert_eq!(reason.lines().count(), 1, "{reason}");
    }
}
