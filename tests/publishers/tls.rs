//! The same devices over TLS, by the real binary.

use fleetlog_tls::Files;
use serde_json::Value;

use crate::support::server::free_port;
use crate::support::{Authority, Server, tool};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn this_machine_and_simulated_devices_connect_over_tls_with_a_certificate_or_a_password() {
    let (data, folder) = [(); 2].map(|()| tempfile::tempdir().expect("a directory")).into();
    let path = |name: &str| folder.path().join(name);
    let files =
        |name: &str| Files { certificate: path(&format!("{name}.crt")), key: path(&format!("{name}.key")) };
    let (ca, passwords, port) = (path("ca.crt"), path("passwords"), free_port());
    let (server, own) = (files("server"), files("own"));
    let operator = Authority::new(&ca);
    operator.issue("localhost", &server);
    operator.issue("agent", &own);
    let address = format!("127.0.0.1:{port}");
    let [certificate, key] = [&server.certificate, &server.key].map(|file| file.display().to_string());
    let arguments =
        ["--mqtts", &address, "--device-auth", "required", "--tls-cert", &certificate, "--tls-key", &key];
    let mut running = Server::up_with(data.path(), "127.0.0.1", &arguments).await;
    let device = async |arguments: &[&str]| {
        let mut command = tool("device");
        command.args(arguments).arg("--data-dir").arg(data.path());
        let output = command.output().await.expect("the binary");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    device(&["credentials", "--count", "2", "--out", &passwords.display().to_string()]).await;
    device(&["certificate", "--uid", "here", "--cert", &own.certificate.display().to_string()]).await;

    let mut simulate = tool("simulate");
    simulate.args(["--mqtt-url", &format!("mqtts://localhost:{port}"), "--duration", "2", "--rate", "10"]);
    simulate.arg("--mqtt-ca").arg(&ca).arg("--credentials").arg(&passwords);
    let output = simulate.output().await.expect("the binary");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let mut agent = tool("agent");
    agent.args(["--mqtt-url", &format!("mqtts://t0%2Fhere@localhost:{port}"), "--uid", "here"]);
    agent.arg("--mqtt-ca").arg(&ca).arg("--mqtt-cert").arg(&own.certificate).arg("--mqtt-key").arg(&own.key);
    let agent = agent.kill_on_drop(true).spawn().expect("the binary");
    for uid in ["here", "sim-00001", "sim-00002"] {
        let has_some = |answer: &Value| answer["items"].as_array().is_some_and(|items| !items.is_empty());
        running.until(&format!("/telemetry/{uid}"), has_some).await;
    }
    drop(agent);
    running.stop().await;
}
