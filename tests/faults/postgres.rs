//! A private Postgres that does not start again: the service stays, says why, and goes on once it can.

use std::fs;
use std::process::Stdio;

use serde_json::Value;
use tokio::net::TcpStream;

use crate::support::Server;
use crate::support::mqtt::{Device, V5};

fn postgres(answer: &Value) -> Value {
    let parts = answer["parts"].as_array().cloned().unwrap_or_default();
    parts.into_iter().find(|part| part["name"] == "postgres").unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_that_cannot_start_again_is_tried_until_it_can_and_readyz_says_why() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = directory.path().join("log");
    let written = Stdio::from(fs::File::create(&log).expect("a log"));
    let mut server = Server::up_writing_to(&directory.path().join("data"), Stdio::null(), written).await;
    let cluster = directory.path().join("data/postgres/postgres");
    let (control, away) = (cluster.join("global/pg_control"), cluster.join("global/away"));
    fs::rename(&control, &away).expect("moved");
    let lock = fs::read_to_string(cluster.join("postmaster.pid")).expect("running");
    let postmaster = lock.lines().next().expect("its id");
    let killed = tokio::process::Command::new("kill").args(["-9", postmaster]).status().await.expect("kill");
    assert!(killed.success());

    let says_why = |answer: &Value| {
        let words = "PostgreSQL ended by itself (exit status: 2); the log of fleetlog says why";
        postgres(answer)["reason"] == words
    };
    server.until("/readyz", |answer| says_why(answer) && answer["status"] == "not_ready").await;
    let attempts = async || {
        let said = fs::read_to_string(directory.path().join("data/postgres/postgres.log")).expect("a log");
        said.matches("could not open file").count()
    };
    while attempts().await < 3 {
        server.until("/readyz", says_why).await;
    }
    let told = fs::read_to_string(&log).expect("a log").matches("failed to start Postgres again").count();
    assert_eq!(told, 1, "one line for each reason, not for each attempt");
    assert!(fs::read_to_string(&log).expect("a log").contains("global/pg_control"), "the whole cause");
    TcpStream::connect(("127.0.0.1", server.mqtt())).await.expect("the endpoint is there");

    fs::rename(&away, &control).expect("moved back");
    server.until("/readyz", |answer| answer["status"] == "ready" && postgres(answer)["state"] == "up").await;
    let mut device = Device::connect(([127, 0, 0, 1], server.mqtt()).into(), V5, "dev-01").await;
    device.publish(1, 7, "t0/devices/dev-01/telemetry", r#"{"msg_id":"a1","t":1}"#).await;
    assert_eq!(device.packet().await.expect("PUBACK")[0], 0x40);
    server.stop().await;
}
