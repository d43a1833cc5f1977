//! What ends a device's access ends its connection, within seconds, on every node.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Fleet, ends_soon};
use crate::support::Node;
use crate::support::mqtt::{Device, V4, V5};

const OWN: &str = "t0/devices/dev-01/telemetry";

async fn refused(fleet: &Fleet, login: Option<(&str, &str)>) -> Option<u8> {
    Device::log_in(fleet.node.address, V5, "again", login).await.err()
}

#[tokio::test]
async fn revoking_a_credential_ends_its_connections_on_every_node_and_no_others() {
    let fleet = Fleet::start().await;
    let (mut there, mut stays) = {
        let other = Node::start_on(fleet.api.database.options(), |_, _| ()).await;
        (other, fleet.device("t0", "dev-02").await)
    };
    let revoked = fleet.device("t0", "dev-01").await;
    let kept = fleet.issue("t0", "dev-01", json!({})).await;
    let mut connections = vec![];
    for version in [V4, V5] {
        connections.push(fleet.connect(version, &format!("v{version}"), &revoked).await);
        let elsewhere = Device::log_in(there.address, version, "elsewhere", Some(revoked.login())).await;
        connections.push(elsewhere.expect("let in"));
    }
    let mut beside = fleet.connect(V5, "beside", &kept).await;
    let mut bystander = fleet.connect(V5, "bystander", &stays).await;
    let path = format!("/devices/dev-01/credentials/{}", revoked.id);
    assert_eq!(fleet.send("t0", Method::DELETE, &path, Value::Null).await.status, StatusCode::OK);
    assert_eq!(refused(&fleet, Some(revoked.login())).await, Some(0x86), "at once");
    for connection in &mut connections {
        ends_soon(connection).await;
    }
    beside.report(OWN, "{}").await;
    bystander.report("t0/devices/dev-02/telemetry", "{}").await;
    assert_eq!(fleet.send("t0", Method::DELETE, &path, Value::Null).await.refusal(), "404 not_found");
    (there, stays) = (fleet.node, kept);
    drop((there, stays));
}

#[tokio::test]
async fn a_rotation_without_an_overlap_ends_the_others_at_once() {
    let fleet = Fleet::start().await;
    let old = fleet.device("t0", "dev-01").await;
    let mut device = fleet.connect(V5, "any", &old).await;
    let new = fleet.issue("t0", "dev-01", json!({ "revoke_others_in_s": 0 })).await;
    assert_eq!(refused(&fleet, Some(old.login())).await, Some(0x86));
    fleet.connect(V5, "new", &new).await.report(OWN, "{}").await;
    ends_soon(&mut device).await;
}

#[tokio::test]
async fn after_a_rotation_both_are_good_until_the_overlap_ends() {
    let fleet = Fleet::start().await;
    let old = fleet.device("t0", "dev-01").await;
    let new = fleet.issue("t0", "dev-01", json!({ "revoke_others_in_s": 2 })).await;
    let mut device = fleet.connect(V5, "old", &old).await;
    let mut beside = fleet.connect(V5, "new", &new).await;
    device.report(OWN, "{}").await;
    let words = device.last_words().await;
    assert!(words.iter().all(|word| word[0] == 0xe0), "{words:02x?}");
    assert_eq!(refused(&fleet, Some(old.login())).await, Some(0x86));
    beside.report(OWN, "{}").await;
}

#[tokio::test]
async fn a_credential_ends_when_it_expires() {
    let fleet = Fleet::start().await;
    fleet.device("t0", "dev-01").await;
    let soon = chrono::Utc::now() + chrono::TimeDelta::seconds(2);
    let brief = fleet.issue("t0", "dev-01", json!({ "expires_at": soon })).await;
    let mut device = fleet.connect(V5, "any", &brief).await;
    device.report(OWN, "{}").await;
    let words = device.last_words().await;
    assert!(words.iter().all(|word| word[0] == 0xe0), "{words:02x?}");
    assert!(chrono::Utc::now() >= soon, "not before");
    assert_eq!(refused(&fleet, Some(brief.login())).await, Some(0x86));
}

#[tokio::test]
async fn decommissioning_a_device_ends_all_of_its_credentials_for_good() {
    let fleet = Fleet::start().await;
    let old = fleet.device("t0", "dev-01").await;
    let mut device = fleet.connect(V5, "any", &old).await;
    assert_eq!(fleet.send("t0", Method::DELETE, "/devices/dev-01", Value::Null).await.status, StatusCode::OK);
    assert_eq!(refused(&fleet, Some(old.login())).await, Some(0x86), "at once");
    ends_soon(&mut device).await;
    let none = fleet.send("t0", Method::POST, "/devices/dev-01/credentials", json!({})).await;
    assert_eq!(none.refusal(), "409 decommissioned");
    let new = fleet.device("t0", "dev-01").await;
    assert_eq!(
        refused(&fleet, Some(old.login())).await,
        Some(0x86),
        "the device is back, its credential is not"
    );
    let mut device = fleet.connect(V5, "new", &new).await;
    device.report(OWN, "{}").await;
    let listed = fleet.api.get("/devices/dev-01/credentials").await.json();
    let active: Vec<_> =
        listed["items"].as_array().expect("items").iter().map(|item| &item["active"]).collect();
    assert_eq!(active, [true, false]);
}

#[tokio::test]
async fn a_suspended_tenants_devices_are_out_until_it_is_resumed() {
    let fleet = Fleet::start().await;
    let (ours, theirs) = (fleet.device("t0", "dev-01").await, fleet.device("t1", "dev-01").await);
    let mut stays = fleet.connect(V5, "any", &ours).await;
    let mut device = fleet.connect(V5, "any", &theirs).await;
    fleet.sql("UPDATE tenants SET suspended_at = clock_timestamp() WHERE tenant = 't1'").await;
    assert_eq!(refused(&fleet, Some(theirs.login())).await, Some(0x86), "at once");
    ends_soon(&mut device).await;
    stays.report(OWN, "{}").await;
    fleet.sql("UPDATE tenants SET suspended_at = NULL WHERE tenant = 't1'").await;
    fleet.connect(V5, "any", &theirs).await.report("t1/devices/dev-01/telemetry", "{}").await;
}

#[tokio::test]
async fn a_revocation_that_takes_a_minute_to_commit_is_not_missed() {
    let fleet = Fleet::start().await;
    let revoked = fleet.device("t0", "dev-01").await;
    let mut device = fleet.connect(V5, "any", &revoked).await;
    fleet.sql("UPDATE device_credentials SET revoked_at = now() - interval '1 minute'").await;
    ends_soon(&mut device).await;
}

#[tokio::test]
async fn a_dismissed_device_has_no_last_will() {
    let fleet = Fleet::start().await;
    let revoked = fleet.device("t0", "dev-01").await;
    let mut device = Device::dial(fleet.node.address, V5).await;
    let will = Some((OWN, &b"{}"[..]));
    device.send(&crate::support::mqtt::connect_as(V5, "any", Some(revoked.login()), will)).await;
    device.packet().await.expect("CONNACK");
    fleet.sql("UPDATE device_credentials SET revoked_at = now()").await;
    ends_soon(&mut device).await;
    let other = fleet.device("t0", "dev-02").await;
    fleet.connect(V5, "other", &other).await.report("t0/devices/dev-02/telemetry", "{}").await;
    assert_eq!(fleet.stored().await, (1, 0));
}
