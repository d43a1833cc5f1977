//! Real clients at the built-in endpoint, and the ACL file at a real Mosquitto.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Output;

use fleetlog_embedded::mosquitto::{self, Broker};
use serde_json::json;
use tokio::process::Command;

use super::{Credential, Fleet};
use crate::support::mqtt::{self, Device, V5};
use crate::support::{tool, url};

/// Runs a client of Mosquitto's. Whether it ended well, and what it said.
async fn client(program: &str, address: SocketAddr, who: &Credential, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(program)
        .args(["-h", "127.0.0.1", "-p", &address.port().to_string()])
        .args(["-u", &who.username, "-P", &who.password])
        .args(arguments)
        .output()
        .await
        .expect("a client of Mosquitto's");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[tokio::test]
async fn mosquitto_pub_and_sub_are_refused_what_is_not_their_devices() {
    let fleet = Fleet::start().await;
    let good = fleet.device("t0", "dev-01").await;
    fleet.device("t0", "dev-02").await;
    fleet.device("t1", "dev-01").await;
    let address = fleet.node.address;
    for version in ["mqttv311", "mqttv5"] {
        for (topic, allowed) in [
            ("t0/devices/dev-01/telemetry", true),
            ("t0/devices/dev-02/telemetry", false),
            ("t1/devices/dev-01/telemetry", false),
        ] {
            let arguments = ["-V", version, "-q", "1", "-t", topic, "-m", "{}"];
            let (_, said) = client("mosquitto_pub", address, &good, &arguments).await;
            // Version 5's client ends well whatever the acknowledgement says; it prints a warning.
            assert_eq!(said.is_empty(), allowed, "{version} {topic}: {said}");
        }
        for filter in ["#", "+/devices/+/commands", "t0/devices/dev-02/commands"] {
            let arguments = ["-V", version, "-W", "5", "-E", "-t", filter];
            let (_, said) = client("mosquitto_sub", address, &good, &arguments).await;
            assert!(said.contains("denied") || said.contains("rejected"), "{version} {filter}: {said}");
        }
        let wrong = Credential { password: "wrong".into(), ..good.clone() };
        let arguments = ["-V", version, "-q", "1", "-t", "t0/devices/dev-01/telemetry", "-m", "{}"];
        let (ended_well, said) = client("mosquitto_pub", address, &wrong, &arguments).await;
        assert!(!ended_well, "{said}");
    }
    assert_eq!(fleet.stored().await, (2, 0));
}

/// Runs `fleetlog device` on the fleet's database, to whatever end.
async fn try_device(fleet: &Fleet, arguments: &[&str]) -> Output {
    tool("device")
        .args(arguments)
        .env("DATABASE_URL", url(&fleet.api.database.options()))
        .output()
        .await
        .expect("the binary")
}

/// Runs `fleetlog device` on the fleet's database.
async fn device(fleet: &Fleet, arguments: &[&str]) -> String {
    let output = try_device(fleet, arguments).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// A Mosquitto with a password file and an ACL file.
async fn guarded(directory: &Path, users: &[(&str, &str)], acl: &str) -> Broker {
    let passwords = directory.join("passwords");
    let lines: Vec<String> = users.iter().map(|(user, password)| format!("{user}:{password}")).collect();
    std::fs::write(&passwords, lines.join("\n") + "\n").expect("written");
    let hashed =
        Command::new("mosquitto_passwd").arg("-U").arg(&passwords).status().await.expect("mosquitto_passwd");
    assert!(hashed.success());
    std::fs::write(directory.join("acl"), acl).expect("written");
    let options = mosquitto::Options { dir: directory.to_owned(), port: None };
    Broker::start(options).await.expect("mosquitto")
}

#[tokio::test]
async fn the_acl_file_holds_each_device_to_its_topics_at_a_mosquitto() {
    let fleet = Fleet::start().await;
    let good = fleet.device("t0", "dev-01").await;
    let gone = fleet.device("t0", "dev-02").await;
    fleet.sql("UPDATE device_credentials SET revoked_at = now() WHERE uid = 'dev-02'").await;
    let acl = device(&fleet, &["acl", "--user", "fleetlog"]).await;
    let example = include_str!("../../deploy/mosquitto.acl").lines().skip_while(|line| line.starts_with('#'));
    assert_eq!(acl.lines().collect::<Vec<_>>(), example.collect::<Vec<_>>(), "of the one that is good");
    let directory = tempfile::tempdir().expect("a directory");
    let users = [("fleetlog", "secret"), (&good.username, &good.password), (&gone.username, &gone.password)];
    let broker = guarded(directory.path(), &users, &acl).await;
    let address = broker.address();
    assert_eq!(Device::log_in(address, V5, "anyone", None).await.err(), Some(0x87));
    let mut fleetlog =
        Device::log_in(address, V5, "fleetlog", Some(("fleetlog", "secret"))).await.expect("let in");
    fleetlog.subscribe("+/devices/+/telemetry").await;
    for (who, topic) in [
        (&good, "t0/devices/dev-02/telemetry"),
        (&gone, "t0/devices/dev-01/telemetry"),
        (&gone, "t0/devices/dev-02/telemetry"),
    ] {
        // Its password is still there.
        let mut client = Device::log_in(address, V5, "client", Some(who.login())).await.expect("let in");
        client.publish(1, 5, topic, "no").await;
        // Versions of Mosquitto differ in whether they say so or hang up.
        let answer = client.packet().await;
        assert!(answer.as_ref().is_none_or(|answer| answer.get(4) == Some(&0x87)), "{topic}: {answer:02x?}");
    }
    let mut device = Device::log_in(address, V5, "device", Some(good.login())).await.expect("let in");
    device.subscribe("t0/devices/dev-01/commands").await;
    device.publish(1, 6, "t0/devices/dev-01/telemetry", "yes").await;
    assert_eq!(fleetlog.message().await, b"yes");
    assert_eq!(device.puback().await, 6);
    let command = mqtt::publish(V5, 1, 7, b"t0/devices/dev-01/commands", b"ping");
    fleetlog.send(&command).await;
    assert_eq!(device.message().await, b"ping");
    broker.stop().await.expect("stopped");
}

#[tokio::test]
async fn a_gateway_gets_its_credential_from_the_command_line_and_the_acl_file_has_its_devices() {
    let fleet = Fleet::start().await;
    let gateway = async |uid: &str, behind: [&str; 2]| {
        let printed = device(&fleet, &[&["gateway", "--uid", uid], &behind[..]].concat()).await;
        let (username, password) = printed.trim_end().split_once(',').expect("a user name and a password");
        Credential { id: String::new(), username: username.to_owned(), password: password.to_owned() }
    };
    let named = gateway("gw-1", ["--devices", "meter-1,meter-2"]).await;
    let alike = gateway("gw-2", ["--prefix", "meter-"]).await;
    for gateway in [&named, &alike] {
        fleet.connect(V5, "any", gateway).await.report("t0/devices/meter-2/telemetry", "{}").await;
    }
    let both = try_device(&fleet, &["gateway", "--uid", "gw-3", "--devices", "a", "--prefix", "a"]).await;
    assert!(!both.status.success());
    assert!(!try_device(&fleet, &["gateway", "--uid", "gw-3"]).await.status.success());
    fleet.api.catch_up().await;
    let acl = device(&fleet, &["acl"]).await;
    let topics = |user: &str| {
        let (_, own) = acl.split_once(&format!("\nuser {user}\n")).expect("the user");
        let own = own.split_once("\n\n").map_or(own, |(own, _)| own);
        own.lines().filter_map(|line| line.strip_suffix("/telemetry").map(str::to_owned)).collect::<Vec<_>>()
    };
    let write =
        |uids: &[&str]| uids.iter().map(|uid| format!("topic write t0/devices/{uid}")).collect::<Vec<_>>();
    assert_eq!(topics("t0/gw-1"), write(&["gw-1", "meter-1", "meter-2"]));
    assert_eq!(topics("t0/gw-2"), write(&["gw-2", "meter-2"]), "those that are registered");
}

#[tokio::test]
async fn a_fleet_gets_its_credentials_from_the_command_line_and_is_simulated_with_them() {
    let fleet = Fleet::start().await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("credentials");
    let path = file.to_str().expect("UTF-8");
    for arguments in [&[][..], &["--replace"]] {
        let _ = std::fs::remove_file(&file);
        device(&fleet, &[&["credentials", "--count", "5", "--out", path], arguments].concat()).await;
    }
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&file).expect("a file"));
    assert_eq!(mode & 0o777, 0o600);
    let simulated = tool("simulate")
        .args(["--credentials", path, "--rate", "20", "--duration", "1"])
        .args(["--mqtt-url", &format!("mqtt://{}", fleet.node.address)])
        .output()
        .await
        .expect("the binary");
    let said = String::from_utf8_lossy(&simulated.stderr);
    assert!(simulated.status.success(), "{said}");
    let recorded = fleet.node.recorded("t0/sim-00005").await;
    assert!(!recorded.is_empty(), "{}{said}", String::from_utf8_lossy(&simulated.stdout));
    assert_eq!(fleet.stored().await.1, 0);
    let listed = fleet.api.get("/devices/sim-00001/credentials").await.json();
    let active: Vec<_> =
        listed["items"].as_array().expect("items").iter().map(|item| &item["active"]).collect();
    assert_eq!(active, [&json!(true), &json!(false)]);
}

#[tokio::test]
async fn credentials_from_the_command_line_are_for_no_more_devices_than_the_tenant_may_have() {
    let fleet = Fleet::start().await;
    fleet.sql("UPDATE tenants SET max_devices = 2 WHERE tenant = 't1'").await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("credentials");
    let path = file.to_str().expect("UTF-8");
    let output = try_device(&fleet, &["credentials", "--tenant", "t1", "--count", "3", "--out", path]).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("as many devices as it may have"), "{said}");
    let registered: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM control_events WHERE aggregate_id LIKE 't1/%' AND event_type = 'DeviceRegistered'",
    )
    .fetch_one(&mut fleet.node.owner().await)
    .await
    .expect("a count");
    assert_eq!(registered, 2);
}
