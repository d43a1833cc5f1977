//! Client certificates: with one a device needs no password.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fleetlog_mqtt::server::{self, Auth};
use fleetlog_tls::clients::{Clients, fingerprint_of};
use fleetlog_tls::{Certificate, Files, client::Identity};
use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio_rustls::TlsConnector;

use super::{Fleet, ends_soon};
use crate::support::mqtt::{self, Device, V4, V5};
use crate::support::server::free_port;
use crate::support::{Authority, Server, tool};

const OWN: &str = "t0/devices/dev-01/telemetry";

/// A fleet whose endpoint speaks TLS, and trusts an authority with devices' subjects.
struct Secure {
    fleet: Fleet,
    files: TempDir,
    operator: Authority,
    clients: Clients,
}

fn files(folder: &Path, name: &str) -> Files {
    Files { certificate: folder.join(format!("{name}.crt")), key: folder.join(format!("{name}.key")) }
}

/// Writes a certificate that nobody else has signed, as `openssl req -x509` makes one.
fn self_signed(files: &Files, change: impl FnOnce(&mut CertificateParams)) {
    let mut params = CertificateParams::new(vec![]).expect("no names");
    params.distinguished_name.push(DnType::CommonName, "dev-01");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    change(&mut params);
    let key = KeyPair::generate().expect("a key");
    std::fs::write(&files.key, key.serialize_pem()).expect("written");
    std::fs::write(&files.certificate, params.self_signed(&key).expect("a certificate").pem())
        .expect("written");
}

impl Secure {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let (ca, server) = (folder.path().join("ca.crt"), files(folder.path(), "server"));
        let operator = Authority::new(&ca);
        std::fs::copy(&ca, folder.path().join("first.crt")).expect("copied");
        operator.issue("localhost", &server);
        let certificate = Certificate::load(server).expect("a certificate");
        let clients = Clients::load(Some(ca)).expect("an authority");
        let tls = server::Tls { listen: ([127, 0, 0, 1], 0).into(), certificate, clients: clients.clone() };
        let fleet = Fleet::start_with(|endpoint| {
            endpoint.auth = Auth::Required;
            endpoint.tls = Some(tls);
        })
        .await;
        Self { fleet, files: folder, operator, clients }
    }

    fn files(&self, name: &str) -> Files {
        files(self.files.path(), name)
    }

    /// A certificate that its device has made, and its fingerprint.
    fn own(&self, name: &str) -> (Files, String) {
        let files = self.files(name);
        self_signed(&files, |_| ());
        let digits = fingerprint_of(&files.certificate).expect("a fingerprint");
        (files, digits)
    }

    /// The address of a bridge to the endpoint, over TLS with this certificate.
    async fn bridge(&self, shown: Option<Files>) -> SocketAddr {
        let authorities = Some(self.files.path().join("ca.crt"));
        bridge(self.fleet.node.tls_address.expect("TLS"), Identity { authorities, certificate: shown }).await
    }

    /// Logs in with a user name and, if given, a password, and this certificate. Returns the code of a refusal.
    async fn log_in(&self, shown: Option<Files>, login: (&str, Option<&str>)) -> Result<Device, Option<u8>> {
        let mut device = Device::dial(self.bridge(shown).await, V5).await;
        device.send(&mqtt::connect_named(V5, "any", login.0, login.1)).await;
        match device.packet().await {
            Some(connack) if connack[3] == 0 => Ok(device),
            Some(connack) => Err(Some(connack[3])),
            None => Err(None),
        }
    }

    async fn issue(&self, certificate: Value) -> Value {
        let wish = json!({ "certificate": certificate });
        let issued = self.fleet.send("t0", Method::POST, "/devices/dev-01/credentials", wish).await;
        assert_eq!(issued.status, StatusCode::CREATED, "{}", issued.text);
        issued.json()
    }
}

/// Passes what it is sent over TCP on over TLS, and back.
async fn bridge(server: SocketAddr, identity: Identity) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let connector = TlsConnector::from(Arc::new(identity.config().expect("TLS")));
    tokio::spawn(async move {
        while let Ok((mut device, _)) = listener.accept().await {
            let connector = connector.clone();
            tokio::spawn(async move {
                let stream = TcpStream::connect(server).await.expect("connect");
                if let Ok(mut stream) =
                    connector.connect("localhost".try_into().expect("a name"), stream).await
                {
                    let _ = tokio::io::copy_bidirectional(&mut device, &mut stream).await;
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn a_device_logs_in_with_a_certificate_that_is_known_by_its_fingerprint() {
    let secure = Secure::start().await;
    secure.fleet.device("t0", "dev-01").await;
    secure.fleet.device("t0", "dev-02").await;
    let ((own, digits), (other, _)) = (secure.own("own"), secure.own("other"));
    let issued = secure.issue(json!({ "sha256": digits })).await;
    assert_eq!((&issued["username"], issued.get("password")), (&json!("t0/dev-01"), None));
    let mut device = secure.log_in(Some(own.clone()), ("t0/dev-01", None)).await.expect("let in");
    device.report(OWN, "{}").await;
    device.publish(1, 1, "t0/devices/dev-02/telemetry", "{}").await;
    assert_eq!(device.packet().await.expect("PUBACK")[4], 0x87, "it has its own topics, and no others");
    for (shown, username) in [
        (Some(&other), "t0/dev-01"),
        (None, "t0/dev-01"),
        (Some(&own), "t0/dev-02"),
        (Some(&own), "t1/dev-01"),
        (Some(&own), "dev-01"),
        (Some(&own), ""),
    ] {
        let refused = secure.log_in(shown.cloned(), (username, None)).await.err();
        assert_eq!(refused, Some(Some(0x86)), "{username:?}");
    }
    let anonymous = Device::log_in(secure.bridge(Some(own)).await, V5, "any", None).await;
    assert_eq!(anonymous.err(), Some(0x87), "the user name says which device it is");
}

#[tokio::test]
async fn a_password_that_is_given_decides() {
    let secure = Secure::start().await;
    let good = secure.fleet.device("t0", "dev-01").await;
    let ((own, digits), (other, _)) = (secure.own("own"), secure.own("other"));
    secure.issue(json!({ "sha256": digits })).await;
    let right = ("t0/dev-01", Some(&*good.password));
    for shown in [Some(other), None] {
        secure.log_in(shown, right).await.expect("let in").report(OWN, "{}").await;
    }
    let wrong = secure.log_in(Some(own), ("t0/dev-01", Some("wrong"))).await;
    assert_eq!(wrong.err(), Some(Some(0x86)));
}

#[tokio::test]
async fn a_certificate_that_is_not_in_force_is_refused_by_tls() {
    let secure = Secure::start().await;
    secure.fleet.device("t0", "dev-01").await;
    for (name, from, until) in [("expired", 2001, 2002), ("early", 2999, 3000)] {
        let files = secure.files(name);
        self_signed(&files, |params| {
            (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
        });
        let digits = fingerprint_of(&files.certificate).expect("a fingerprint");
        secure.issue(json!({ "sha256": digits })).await;
        assert_eq!(secure.log_in(Some(files), ("t0/dev-01", None)).await.err(), Some(None), "{name}");
    }
}

#[tokio::test]
async fn a_subject_is_believed_if_the_operators_authority_has_signed_it() {
    let secure = Secure::start().await;
    secure.fleet.device("t0", "dev-01").await;
    secure.issue(json!({ "subject": "CN=dev-01" })).await;
    let [good, forged, other, own] = ["good", "forged", "other", "own"].map(|name| secure.files(name));
    secure.operator.issue("dev-01", &good);
    secure.operator.issue("dev-02", &other);
    let stranger = Authority::new(&secure.files.path().join("stranger.crt"));
    stranger.issue("dev-01", &forged);
    self_signed(&own, |_| ());
    let log_in = async |shown: &Files| secure.log_in(Some(shown.clone()), ("t0/dev-01", None)).await;
    log_in(&good).await.expect("let in").report(OWN, "{}").await;
    for shown in [&forged, &other, &own] {
        assert_eq!(log_in(shown).await.err(), Some(Some(0x86)), "{shown:?}");
    }
    // Another authority takes the place of the first: at once, and for new connections.
    std::fs::copy(secure.files.path().join("stranger.crt"), secure.files.path().join("ca.crt"))
        .expect("copied");
    assert!(secure.clients.look().expect("an authority"));
    assert!(!secure.clients.look().expect("the same"));
    let swapped = async |shown: &Files| {
        let authorities = Some(secure.files.path().join("first.crt"));
        let address = secure.fleet.node.tls_address.expect("TLS");
        let address = bridge(address, Identity { authorities, certificate: Some(shown.clone()) }).await;
        let mut device = Device::dial(address, V4).await;
        device.send(&mqtt::connect_named(V4, "any", "t0/dev-01", None)).await;
        device.packet().await.expect("CONNACK")[3]
    };
    assert_eq!((swapped(&forged).await, swapped(&good).await), (0, 4));
    std::fs::write(secure.files.path().join("ca.crt"), "no certificate").expect("written");
    assert!(secure.clients.look().is_err(), "the one before is still in use");
    assert_eq!(swapped(&forged).await, 0);
}

#[tokio::test]
async fn revoking_it_ends_its_connections_and_no_others() {
    let secure = Secure::start().await;
    let good = secure.fleet.device("t0", "dev-01").await;
    let (own, digits) = secure.own("own");
    let issued = secure.issue(json!({ "sha256": digits })).await;
    let mut device = secure.log_in(Some(own.clone()), ("t0/dev-01", None)).await.expect("let in");
    let mut beside = secure.fleet.connect(V5, "beside", &good).await;
    let path = format!("/devices/dev-01/credentials/{}", issued["credential_id"].as_str().expect("an id"));
    assert_eq!(secure.fleet.send("t0", Method::DELETE, &path, Value::Null).await.status, StatusCode::OK);
    ends_soon(&mut device).await;
    assert_eq!(secure.log_in(Some(own), ("t0/dev-01", None)).await.err(), Some(Some(0x86)));
    beside.report(OWN, "{}").await;
}

#[tokio::test]
async fn a_connection_ends_when_the_certificate_expires_that_it_was_made_with() {
    let secure = Secure::start().await;
    let good = secure.fleet.device("t0", "dev-01").await;
    let files = secure.files("short");
    self_signed(&files, |params| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that is set");
        params.not_after = date_time_ymd(1970, 1, 1) + now + Duration::from_secs(4);
    });
    let digits = fingerprint_of(&files.certificate).expect("a fingerprint");
    secure.issue(json!({ "sha256": digits })).await;
    let mut device = secure.log_in(Some(files.clone()), ("t0/dev-01", None)).await.expect("let in");
    // A certificate that is shown beside a password ends nothing.
    let login = ("t0/dev-01", Some(&*good.password));
    let mut beside = Device::dial(secure.bridge(Some(files)).await, V5).await;
    beside.send(&mqtt::connect_named(V5, "beside", login.0, login.1)).await;
    assert_eq!(beside.packet().await.expect("CONNACK")[3], 0);
    device.report(OWN, "{}").await;
    assert_eq!(device.last_words().await, [[0xe0, 1, 0x87]]);
    beside.report(OWN, "{}").await;
}

#[tokio::test]
async fn a_list_shows_what_a_credential_stands_for_and_the_record_says_it() {
    let fleet = Fleet::start().await;
    fleet.device("t0", "dev-01").await;
    let path = "/devices/dev-01/credentials";
    let colons = ["AB"; 32].join(":");
    for certificate in [json!({ "sha256": colons }), json!({ "subject": "CN=dev-01,O=Example" })] {
        let wish = json!({ "certificate": certificate });
        assert_eq!(fleet.send("t0", Method::POST, path, wish).await.status, StatusCode::CREATED);
    }
    let listed = fleet.send("t0", Method::GET, path, Value::Null).await.json();
    let shown: Vec<_> =
        listed["items"].as_array().expect("items").iter().map(|one| &one["certificate"]).collect();
    let (digits, subject) =
        (json!({ "sha256": "ab".repeat(32) }), json!({ "subject": "CN=dev-01,O=Example" }));
    assert_eq!(shown, [&subject, &digits, &Value::Null]);
    let events = fleet.send("t0", Method::GET, "/events?type=DeviceCredentialIssued", Value::Null).await;
    assert!(
        events.text.contains(&"ab".repeat(32)) && events.text.contains("CN=dev-01,O=Example"),
        "{}",
        events.text
    );
    for bad in [
        json!({ "sha256": "ab" }),
        json!({ "sha256": "zz".repeat(32) }),
        json!({ "subject": "" }),
        json!({ "subject": "dev-01" }),
        json!({ "subject": "CN=dev-01\n" }),
        json!({ "subject": "/O=Example/CN=dev-01" }),
        json!({ "subject": "O = Example, CN = dev-01" }),
        json!({ "subject": "x=".repeat(600) }),
    ] {
        let answer = fleet.send("t0", Method::POST, path, json!({ "certificate": bad })).await;
        assert_eq!(answer.refusal(), "422 invalid", "{bad}");
        assert_eq!(answer.json()["errors"][0]["field"], "certificate", "{}", answer.text);
    }
    for bad in [json!({}), json!({ "sha256": "ab".repeat(32), "subject": "CN=dev-01" })] {
        let answer = fleet.send("t0", Method::POST, path, json!({ "certificate": bad })).await;
        let said = json!([{ "field": "certificate", "reason": "expected one of sha256 and subject" }]);
        assert_eq!(answer.json()["errors"], said, "{}", answer.text);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mosquitto_pub_and_openssl_log_in_with_what_the_command_line_has_registered() {
    let (data, folder) = [(); 2].map(|()| tempfile::tempdir().expect("a directory")).into();
    let (ca, port) = (folder.path().join("ca.crt"), free_port());
    let [server, own, signed] = ["server", "own", "signed"].map(|name| files(folder.path(), name));
    let operator = Authority::new(&ca);
    operator.issue("localhost", &server);
    operator.issue("dev-02", &signed);
    self_signed(&own, |_| ());
    let text = |path: &Path| path.display().to_string();
    let arguments = [
        "--mqtts",
        &format!("127.0.0.1:{port}"),
        "--device-auth",
        "required",
        "--tls-cert",
        &text(&server.certificate),
        "--tls-key",
        &text(&server.key),
        "--mqtt-client-ca",
        &text(&ca),
    ];
    let mut running = Server::up_with(data.path(), "127.0.0.1", &arguments).await;
    for (uid, what) in
        [("dev-01", ["--cert", &text(&own.certificate)]), ("dev-02", ["--subject", "CN=dev-02"])]
    {
        let mut command = tool("device");
        command.args(["certificate", "--uid", uid]).args(what).arg("--data-dir").arg(data.path());
        let output = command.output().await.expect("the binary");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    for (uid, shown, is_let_in) in
        [("dev-01", &own, true), ("dev-02", &signed, true), ("dev-02", &own, false)]
    {
        let mut command = Command::new("mosquitto_pub");
        command.args(["-h", "localhost", "-p", &port.to_string(), "-q", "1", "-m", r#"{"t":1}"#, "--cafile"]);
        command.arg(&ca).arg("--cert").arg(&shown.certificate).arg("--key").arg(&shown.key);
        command.args(["-u", &format!("t0/{uid}"), "-t", &format!("t0/devices/{uid}/telemetry")]);
        let output = command.output().await.expect("mosquitto_pub");
        assert_eq!(output.status.success(), is_let_in, "{uid}: {}", String::from_utf8_lossy(&output.stderr));
    }
    for uid in ["dev-01", "dev-02"] {
        let is_one = |answer: &Value| answer["items"].as_array().is_some_and(|items| items.len() == 1);
        running.until(&format!("/telemetry/{uid}"), is_one).await;
    }
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &format!("localhost:{port}"), "-verify_return_error", "-CAfile"]);
    command.arg(&ca).arg("-cert").arg(&own.certificate).arg("-key").arg(&own.key);
    let greeted = command.stdin(std::process::Stdio::null()).output().await.expect("openssl");
    assert!(greeted.status.success(), "{}", String::from_utf8_lossy(&greeted.stderr));
    running.stop().await;
}
