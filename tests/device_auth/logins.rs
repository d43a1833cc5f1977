//! Who is let in.

use fleetlog_engine::devices::credentials::Secret;
use fleetlog_mqtt::server::{Auth, Options};
use serde_json::json;

use super::Fleet;
use crate::support::Server;
use crate::support::mqtt::{self, Device, V4, V5};

/// The codes for wrong credentials and for none, in both protocols.
const VERSIONS: [(u8, u8, u8); 2] = [(V4, 4, 5), (V5, 0x86, 0x87)];

#[test]
fn off_loopback_devices_need_credentials_unless_somebody_decides_otherwise() {
    for (address, auth) in [
        ("127.0.0.1:1883", Auth::Open),
        ("[::1]:1883", Auth::Open),
        ("0.0.0.0:1883", Auth::Required),
        ("[::]:1883", Auth::Required),
        ("192.0.2.1:1883", Auth::Required),
    ] {
        let address = address.parse().expect("an address");
        assert_eq!(Options::new(address).auth, auth, "{address}");
        // One address that others reach is enough, such as that over TLS.
        assert_eq!(Auth::usual(["127.0.0.1:1883".parse().expect("an address"), address]), auth, "{address}");
    }
}

#[tokio::test]
async fn where_credentials_are_needed_nobody_else_is_let_in() {
    let fleet = Fleet::start().await;
    let good = fleet.device("t0", "dev-01").await;
    let other = fleet.device("t0", "dev-02").await;
    let long = "x".repeat(60_000);
    for (version, wrong, none) in VERSIONS {
        let refused = async |login| Device::log_in(fleet.node.address, version, "any", login).await.err();
        assert_eq!(refused(None).await, Some(none));
        for (username, password) in [
            ("t0/dev-01", "wrong"),
            ("t0/dev-01", ""),
            ("t0/dev-01", &*other.password),
            ("t0/dev-01", &*long),
            ("t0/nobody", &good.password),
            ("t1/dev-01", &good.password),
            ("nobody/dev-01", &good.password),
            ("t0/dev-01/", &good.password),
            ("t0/dev-01' OR true --", &good.password),
            ("", &good.password),
            (&*long, &good.password),
        ] {
            let shown = &username[..username.len().min(30)];
            assert_eq!(refused(Some((username, password))).await, Some(wrong), "{shown}");
        }
        assert_eq!(refused(Some(good.login())).await, None);
    }
}

#[tokio::test]
async fn where_it_is_open_credentials_that_are_shown_must_be_right_and_bind() {
    let fleet = Fleet::start_with(|_| ()).await;
    let good = fleet.device("t0", "dev-01").await;
    fleet.device("t0", "dev-02").await;
    for (version, wrong, _) in VERSIONS {
        let log_in = async |login| Device::log_in(fleet.node.address, version, "any", login).await;
        let mut anyone = log_in(None).await.expect("let in");
        anyone.report("t0/devices/dev-02/telemetry", "{}").await;
        assert_eq!(log_in(Some(("t0/dev-01", "wrong"))).await.err(), Some(wrong));
        let mut device = log_in(Some(good.login())).await.expect("let in");
        device.report("t0/devices/dev-01/telemetry", "{}").await;
        assert_ne!(device.ask_for("t0/devices/dev-02/commands").await, Some(1));
    }
    let mut device = fleet.connect(V4, "any", &good).await;
    device.publish(1, 1, "t0/devices/dev-02/telemetry", "{}").await;
    assert_eq!(device.packet().await, None);
    assert_eq!(fleet.stored().await, (4, 0));
}

#[tokio::test]
async fn the_devices_of_this_very_process_log_in_with_a_secret_that_never_leaves_it() {
    let secret = Secret::random();
    let in_process = Some(secret.clone());
    let fleet = Fleet::start_with(|endpoint| {
        endpoint.auth = Auth::Required;
        endpoint.in_process = in_process;
    })
    .await;
    let log_in = async |username| {
        Device::log_in(fleet.node.address, V5, "any", Some((username, secret.reveal()))).await
    };
    let mut device = log_in("t0/sim-00001").await.expect("let in");
    device.report("t0/devices/sim-00001/telemetry", "{}").await;
    device.publish(1, 2, "t0/devices/sim-00002/telemetry", "{}").await;
    assert_eq!(device.packet().await.expect("PUBACK")[4], 0x87);
    assert_eq!(log_in("nonsense").await.err(), Some(0x86));
}

#[tokio::test]
async fn what_up_brings_along_is_let_in_where_nobody_else_is_without_credentials() {
    let data = tempfile::tempdir().expect("a directory");
    let arguments = ["--device-auth", "required", "--agent", "--devices", "2"];
    let mut server = Server::up_with(data.path(), "127.0.0.1", &arguments).await;
    let heard = |answer: &serde_json::Value| {
        let devices = answer["items"].as_array().expect("items");
        devices.len() == 3 && devices.iter().all(|device| device["last_seen_at"].is_string())
    };
    server.until("/devices", |answer| answer["items"].is_array() && heard(answer)).await;
    let address = ([127, 0, 0, 1], server.mqtt()).into();
    assert_eq!(Device::log_in(address, V5, "any", None).await.err(), Some(0x87));
    server.stop().await;
}

#[tokio::test]
async fn logins_wait_for_a_database_that_is_away_and_are_told_so() {
    let fleet = Fleet::start().await;
    let good = fleet.device("t0", "dev-01").await;
    fleet.sql("ALTER TABLE device_credentials RENAME TO away").await;
    for (version, code) in [(V4, 3), (V5, 0x88)] {
        let refused = Device::log_in(fleet.node.address, version, "any", Some(good.login())).await.err();
        assert_eq!(refused, Some(code));
    }
    fleet.sql("ALTER TABLE away RENAME TO device_credentials").await;
    fleet.connect(V5, "any", &good).await;
}

#[tokio::test]
async fn attempts_leave_nothing_behind() {
    let fleet = Fleet::start().await;
    fleet.device("t0", "dev-01").await;
    let attempts = |range: std::ops::Range<u32>| {
        let fleet = &fleet;
        async move {
            for n in range {
                let login = (&*format!("t0/dev-{n}"), &*format!("{n}"));
                let refused = Device::log_in(fleet.node.address, V5, &format!("c{n}"), Some(login)).await;
                assert_eq!(refused.err(), Some(0x86));
            }
        }
    };
    let memory = || {
        let status = std::fs::read_to_string("/proc/self/statm").expect("statm");
        status.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("pages") * 4096
    };
    attempts(0..200).await;
    let before = memory();
    attempts(200..1200).await;
    // Other tests run in this process; a kilobyte an attempt would show all the same.
    let grown = memory().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes more after 1000 attempts");
    let rows: (i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM device_credentials), (SELECT count(*) FROM control_events WHERE aggregate_type = 'Device')",
    )
    .fetch_one(&mut fleet.node.owner().await)
    .await
    .expect("counts");
    assert_eq!(rows, (1, 2));
}

#[tokio::test]
async fn when_a_credential_was_used_is_shown() {
    let fleet = Fleet::start().await;
    let good = fleet.device("t0", "dev-01").await;
    let stop = tokio_util::sync::CancellationToken::new();
    let credentials = fleet.api.app.devices.clone();
    assert!(
        credentials
            .authenticate(&good.username, good.password.as_bytes())
            .await
            .expect("an answer")
            .is_some()
    );
    stop.cancel();
    credentials.run(stop).await;
    let listed = fleet.api.get("/devices/dev-01/credentials").await.json();
    assert!(listed["items"][0]["last_used_at"].is_string(), "{listed}");
    assert_eq!(listed["items"][0]["active"], json!(true));
}

#[tokio::test]
async fn a_device_that_connects_clean_and_has_no_session_writes_nothing() {
    let fleet = Fleet::start().await;
    let credential = fleet.device("t0", "dev-01").await;
    let mut owner = fleet.node.owner().await;
    // It may be read, and not written.
    let hold = "BEGIN; LOCK TABLE device_sessions IN SHARE MODE";
    sqlx::raw_sql(hold).execute(&mut owner).await.expect("locked");
    for version in [V4, V5] {
        fleet.connect(version, "dev-01", &credential).await.report("t0/devices/dev-01/telemetry", "{}").await;
    }
}

#[tokio::test]
async fn a_device_that_connects_clean_has_no_session_afterwards() {
    let fleet = Fleet::start().await;
    let credential = fleet.device("t0", "dev-01").await;
    let mut present = vec![];
    for flags in [0, 0, 0b10, 0] {
        let mut device = Device::dial(fleet.node.address, V4).await;
        let mut connect = mqtt::connect_as(V4, "dev-01", Some(credential.login()), None);
        connect[9] = connect[9] & !0b10 | flags;
        device.send(&connect).await;
        present.push(device.packet().await.expect("CONNACK"));
    }
    assert_eq!(present, [[0x20, 2, 0, 0], [0x20, 2, 1, 0], [0x20, 2, 0, 0], [0x20, 2, 0, 0]]);
}
