//! The whole way, as a newcomer goes it: the real binary, `mosquitto_pub`, REST, GraphQL, the log; and what the binary
//! says to settings that make no sense.

use std::net::TcpListener;

use reqwest::{Method, StatusCode};
use rstest::rstest;
use serde_json::json;
use tokio::process::Command;

use crate::support::mqtt::{Device, V5};
use crate::support::{Database, Server, binary, tool, url};

async fn mosquitto_pub(version: &str, port: u16, message: &str) {
    let port = port.to_string();
    let status = Command::new("mosquitto_pub")
        .args([
            "-V",
            version,
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-q",
            "1",
            "-t",
            "t0/devices/dev-01/telemetry",
            "-m",
            message,
        ])
        .status()
        .await;
    assert!(status.expect("mosquitto_pub is installed").success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reading_is_seen_in_rest_in_graphql_and_on_the_record_and_its_repeat_is_counted() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut server = Server::up(directory.path()).await;
    let payload = json!({ "msg_id": "a1", "temperature": 21.5 });
    for version in ["mqttv311", "mqttv5"] {
        mosquitto_pub(version, server.mqtt(), &payload.to_string()).await;
    }
    let device =
        server.until("/devices/dev-01", |device| device["duplicates"] == 1 && device["messages"] == 1).await;
    assert_eq!((&device["status"], &device["registered_via"]), (&json!("online"), &json!("telemetry")));

    let telemetry = server.get("/telemetry/dev-01").await;
    assert_eq!(telemetry["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(telemetry["items"][0]["payload"], payload);
    let windows = server.until("/telemetry/dev-01/windows?step=1h", |windows| {
        windows["series"][0]["metric"] == "temperature"
    });
    assert_eq!(windows.await["series"][0]["windows"][0]["avg"], 21.5);
    let events = server.get("/events?log=telemetry").await;
    assert_eq!((&events["items"][0]["position"], &events["items"][0]["msg_id"]), (&json!(1), &json!("a1")));
    let events = server.get("/events?log=control&type=DeviceRegistered").await;
    assert_eq!(events["items"][0]["aggregate_id"], "t0/dev-01");

    let answer = server
        .graphql("{ device(uid: \"dev-01\") { messages duplicates telemetry(first: 1) { edges { node { payload } } } } }")
        .await;
    let node = json!({ "node": { "payload": payload } });
    let expected = json!({ "messages": 1, "duplicates": 1, "telemetry": { "edges": [node] } });
    assert_eq!(answer, json!({ "data": { "device": expected } }));
    server.stop().await;
}

#[rstest]
#[case::misspelt("serve", &[("FLEETLOG_HTPP_ADDR", "127.0.0.1:1")], &[], "did you mean FLEETLOG_HTTP_ADDR?")]
#[case::empty("serve", &[("FLEETLOG_MQTT_URL", "")], &[], "FLEETLOG_MQTT_URL is set but empty")]
#[case::no_database("serve", &[("FLEETLOG_MQTT_URL", "mqtt://127.0.0.1:1")], &[], "--database-url")]
#[case::no_url("serve", &[("DATABASE_URL", "nonsense"), ("FLEETLOG_MQTT_URL", "mqtt://127.0.0.1:1")], &[], "DATABASE_URL")]
#[case::unreachable(
    "serve",
    &[("DATABASE_URL", "postgres://u:secret@127.0.0.1:1/d"), ("FLEETLOG_MQTT_URL", "mqtt://127.0.0.1:1")],
    &[],
    "failed to reach the database"
)]
#[case::scheme(
    "serve",
    &[("DATABASE_URL", "postgres://u@127.0.0.1:1/d"), ("FLEETLOG_MQTT_URL", "http://127.0.0.1")],
    &[],
    "mqtt://[user:password@]host[:port]"
)]
#[case::flag("up", &[], &["--mqqt", "1"], "unexpected argument")]
#[case::address("up", &[], &["--mqtt", "nowhere"], "invalid value")]
#[case::range("up", &[], &["--online-within", "0"], "0 is not in 1..=86400")]
#[case::log("up", &[], &["--log", "fleetlog=loud"], "--log cannot be read")]
#[tokio::test]
async fn a_setting_that_makes_no_sense_ends_the_start_with_one_line(
    #[case] command: &str,
    #[case] variables: &[(&str, &str)],
    #[case] arguments: &[&str],
    #[case] reason: &str,
) {
    let mut binary = binary(command, 0);
    binary.env_remove("FLEETLOG_ADMIN_EMAIL").envs(variables.iter().copied()).args(arguments);
    let output = binary.stderr(std::process::Stdio::piped()).output().await.expect("the binary");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code().is_some_and(|code| (1..=2).contains(&code)), "{:?}", output.status);
    assert!(said.contains(reason), "{said}");
    assert!(!said.contains("panicked") && !said.contains("secret"), "{said}");
}

#[tokio::test]
async fn an_error_says_its_cause_once() {
    let (database, taken) = (Database::fresh().await, TcpListener::bind("127.0.0.1:0").expect("a port"));
    let mut binary = binary("serve", taken.local_addr().expect("an address").port());
    binary.env("DATABASE_URL", url(&database.options())).args(["--mqtt", "127.0.0.1:0"]);
    let output = binary.stderr(std::process::Stdio::piped()).output().await.expect("the binary");
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().last().unwrap_or_default();
    assert!(last.starts_with("fleetlog: failed to serve HTTP on 127.0.0.1:"), "{said}");
    assert_eq!(last.matches("Address already in use").count(), 1, "{last}");
}

#[tokio::test]
async fn a_listener_that_others_reach_without_tls_needs_somebody_to_mean_it() {
    let (directory, database) = (tempfile::tempdir().expect("a directory"), Database::fresh().await);
    let data = directory.path().join("data");
    for (option, address, over_tls) in [
        ("--http", "0.0.0.0:0", "--https"),
        ("--http", "[::]:0", "--https"),
        ("--mqtt", "0.0.0.0:0", "--mqtts"),
        ("--mqtt", "192.0.2.1:1883", "--mqtts"),
    ] {
        for command in ["up", "serve"] {
            let other = if option == "--http" { "--mqtt" } else { "--http" };
            let mut command = tool(command);
            command.env("DATABASE_URL", url(&database.options())).env("FLEETLOG_DATA_DIR", &data);
            let output =
                command.args([option, address, other, "127.0.0.1:0"]).output().await.expect("the binary");
            let said = String::from_utf8_lossy(&output.stderr);
            let names = [option, address, over_tls, "--allow-plain"].iter().all(|part| said.contains(part));
            assert!(output.status.code() == Some(1) && names && !data.exists(), "{said}");
            assert_eq!(said.lines().count(), 1, "{said}");
        }
    }
}

#[tokio::test]
async fn on_an_address_beyond_this_machine_devices_need_credentials() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::up_with(directory.path(), "0.0.0.0", &["--allow-plain"]).await;
    let address = ([127, 0, 0, 1], server.mqtt()).into();
    assert_eq!(Device::log_in(address, V5, "any", None).await.err(), Some(0x87));
    // The endpoint asks nobody, so nobody is told which logins are valid.
    for path in ["/mqtt/emqx/auth", "/mqtt/mosquitto/user"] {
        let login = json!({"username": "t0/dev-01", "password": "guess"});
        let asked = server.request(Method::POST, path).json(&login).send().await.expect("an answer");
        assert_eq!(asked.status(), StatusCode::NOT_FOUND, "{path}");
    }
    server.stop().await;
}
