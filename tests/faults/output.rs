//! A service whose log and announcement cannot be written goes on; a command whose reader has gone ends quietly.

use std::fs::OpenOptions;
use std::process::Stdio;

use rstest::rstest;

use crate::support::mqtt::{Device, V5};
use crate::support::{Database, Server, tool, url};

/// A disk without space, to a program that writes.
fn full_disk() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").expect("Linux").into()
}

/// A pipe whose reader has gone.
fn closed_pipe() -> Stdio {
    let (_, writer) = std::io::pipe().expect("a pipe");
    writer.into()
}

#[rstest]
#[case::full_disk(full_disk)]
#[case::closed_pipe(closed_pipe)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_whose_output_cannot_be_written_goes_on(#[case] output: fn() -> Stdio) {
    let directory = tempfile::tempdir().expect("a directory");
    let mut server = Server::up_writing_to(directory.path(), output(), output()).await;
    let address = ([127, 0, 0, 1], server.mqtt()).into();
    let mut device = Device::connect(address, V5, "dev-01").await;
    device.publish(1, 7, "t0/devices/dev-01/telemetry", r#"{"msg_id":"a1","t":1}"#).await;
    let puback = device.packet().await.expect("PUBACK");
    assert_eq!(puback[0], 0x40, "PUBACK: {puback:02x?}");
    server.until("/devices/dev-01", |device| device["messages"] == 1).await;
    server.until("/readyz", |answer| answer["status"] == "ready").await;
    server.stop().await;
}

#[tokio::test]
async fn a_command_whose_reader_has_gone_ends_quietly_and_one_that_cannot_write_says_so() {
    let database = Database::fresh().await;
    let run = async |output: Stdio| {
        let mut migrate = tool("migrate");
        migrate.env("DATABASE_URL", url(&database.options())).stdout(output).stderr(Stdio::piped());
        let ended = migrate.spawn().expect("the binary").wait_with_output().await.expect("its end");
        (ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned())
    };
    assert_eq!(run(closed_pipe()).await, (Some(0), String::new()));
    let (code, said) = run(full_disk()).await;
    assert!(code == Some(1) && said.contains("No space left on device"), "{code:?}: {said}");
}
