//! TLS by the real binary: HTTP, MQTT, and the connection to Postgres.

use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::support::mqtt::{self, V4};
use crate::support::server::free_port;
use crate::support::websocket::{Socket, handshake};
use crate::support::{Server, eventually, tool};

/// Writes a new certificate for `localhost` and its key, and returns the certificate.
fn certificate(folder: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    std::fs::write(folder.join("key"), made.signing_key.serialize_pem()).expect("written");
    std::fs::write(folder.join("certificate"), made.cert.pem()).expect("written");
    made.cert.der().clone()
}

/// A connection of a client that trusts this certificate and no other.
async fn connect(port: u16, trusted: &CertificateDer<'static>) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).expect("a root");
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    TlsConnector::from(Arc::new(config)).connect("localhost".try_into().expect("a name"), stream).await
}

async fn is_ready(stream: &mut TlsStream<TcpStream>) -> bool {
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("sent");
    let mut answer = vec![];
    while !answer.ends_with(b"}") && stream.read_buf(&mut answer).await.expect("an answer") > 0 {}
    answer.starts_with(b"HTTP/1.1 200 ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replaced_certificate_is_used_by_new_connections_and_ends_no_open_one() {
    let (data, files) = [(); 2].map(|()| tempfile::tempdir().expect("a directory")).into();
    let (first, port) = (certificate(files.path()), free_port());
    let (address, path) = (format!("127.0.0.1:{port}"), |name| files.path().join(name).display().to_string());
    let arguments = ["--https", &address, "--tls-cert", &path("certificate"), "--tls-key", &path("key")];
    let server = Server::up_with(data.path(), "127.0.0.1", &arguments).await;
    let mut open = connect(port, &first).await.expect("TLS");
    assert!(is_ready(&mut open).await);
    let second = certificate(files.path());
    // The first connection asks all the while, or it would be closed for its silence.
    let mut new = eventually("the new certificate", async || {
        assert!(is_ready(&mut open).await, "the first connection goes on");
        connect(port, &second).await
    })
    .await;
    assert!(is_ready(&mut new).await && is_ready(&mut open).await);
    connect(port, &first).await.expect_err("nobody shows the old one any more");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_publishes_over_websocket_and_tls() {
    let (data, files) = [(); 2].map(|()| tempfile::tempdir().expect("a directory")).into();
    let (trusted, port) = (certificate(files.path()), free_port());
    let (address, path) = (format!("127.0.0.1:{port}"), |name| files.path().join(name).display().to_string());
    let arguments = ["--https", &address, "--tls-cert", &path("certificate"), "--tls-key", &path("key")];
    let server = Server::up_with(data.path(), "127.0.0.1", &arguments).await;
    let stream = connect(port, &trusted).await.expect("TLS");
    let mut socket = Socket::open_over(stream, &handshake()).await;
    socket.send(&mqtt::connect(V4, "dev-01", None)).await;
    assert_eq!(socket.mqtt().await, [0x20, 2, 0, 0]);
    let large = vec![b'x'; 200_000];
    socket.send(&mqtt::publish(V4, 1, 7, b"t0/devices/dev-01/telemetry", &large)).await;
    assert_eq!(socket.mqtt().await, [0x40, 2, 0, 7]);
    socket.send(&[0xe0, 0]).await;
    assert_eq!(socket.farewell().await, Some(1000));
    server.stop().await;
}

/// Publishes over a connection that has logged in, and waits for the acknowledgement.
async fn report(stream: &mut TlsStream<TcpStream>, id: u16) {
    let publish = mqtt::publish(V4, 1, id, b"t0/devices/dev-01/telemetry", br#"{"t":1}"#);
    stream.write_all(&publish).await.expect("sent");
    let mut puback = [0; 4];
    stream.read_exact(&mut puback).await.expect("PUBACK");
    assert_eq!(puback[2..], id.to_be_bytes());
}

/// Logs in over TLS, without credentials.
async fn log_in(port: u16, trusted: &CertificateDer<'static>) -> std::io::Result<TlsStream<TcpStream>> {
    let mut stream = connect(port, trusted).await?;
    stream.write_all(&mqtt::connect(V4, "dev-01", None)).await?;
    let mut connack = [0; 4];
    stream.read_exact(&mut connack).await?;
    assert_eq!(connack, [0x20, 2, 0, 0]);
    Ok(stream)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_publishes_over_tls_and_stays_when_the_certificate_is_replaced() {
    let (data, files) = [(); 2].map(|()| tempfile::tempdir().expect("a directory")).into();
    let (first, port) = (certificate(files.path()), free_port());
    let (address, path) = (format!("127.0.0.1:{port}"), |name| files.path().join(name).display().to_string());
    let arguments = ["--mqtts", &address, "--tls-cert", &path("certificate"), "--tls-key", &path("key")];
    let mut server = Server::up_with(data.path(), "127.0.0.1", &arguments).await;
    let mut open = log_in(port, &first).await.expect("TLS");
    report(&mut open, 1).await;
    // One packet may come in many records, and in one record with others.
    let large = mqtt::publish(V4, 1, 2, b"t0/devices/dev-01/telemetry", &vec![b'x'; 200_000]);
    open.write_all(&[&large[..], &[0xc0, 0]].concat()).await.expect("sent");
    let mut answers = [0; 6];
    open.read_exact(&mut answers).await.expect("PUBACK and PINGRESP");
    let second = certificate(files.path());
    let mut new = eventually("the new certificate", async || log_in(port, &second).await).await;
    report(&mut new, 3).await;
    // The first connection was taken over, since both say the same id.
    let mut rest = vec![];
    assert!(matches!(open.read_to_end(&mut rest).await, Ok(0)), "{rest:02x?}");
    let answer = server
        .until("/telemetry/dev-01", |answer| answer["items"].as_array().is_some_and(|items| items.len() == 3))
        .await;
    assert_eq!(answer["items"].as_array().map(Vec::len), Some(3));
    // The plain listener is there, too, and a client that speaks no TLS gets nowhere with the other.
    let mut plain = mqtt::Device::dial(([127, 0, 0, 1], port).into(), V4).await;
    plain.send(&mqtt::connect(V4, "dev-02", None)).await;
    let words = plain.last_words().await;
    assert!(words.iter().all(|word| word[0] != 0x20), "{words:02x?}");
    mqtt::Device::connect(([127, 0, 0, 1], server.mqtt()).into(), V4, "dev-02").await;
    server.stop().await;
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_told_before_anything_is_made() {
    let files = tempfile::tempdir().expect("a directory");
    certificate(files.path());
    let (certificate, key) = (files.path().join("certificate"), files.path().join("key"));
    for (certificate, key, why) in [
        (&files.path().join("none"), &key, "none: No such file or directory"),
        (&key, &key, "found no certificate in PEM"),
        (&certificate, &certificate, "found no private key in PEM"),
    ] {
        let data = tempfile::tempdir().expect("a directory");
        let mut up = tool("up");
        up.arg("--data-dir").arg(data.path()).args(["--https", "127.0.0.1:0", "--tls-cert"]).arg(certificate);
        let output = up.arg("--tls-key").arg(key).output().await.expect("the binary");
        let reason = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && reason.contains(why), "{reason}");
        assert_eq!(reason.lines().count(), 1, "{reason}");
        assert_eq!(data.path().read_dir().expect("a directory").count(), 0, "nothing is made");
    }
    for half in [&["--https", "127.0.0.1:0"][..], &["--tls-cert", "a", "--tls-key", "b"]] {
        let output = tool("up").args(half).output().await.expect("the binary");
        assert_eq!(output.status.code(), Some(2), "{half:?}");
    }
}

/// A Postgres that speaks TLS at an address of this machine's own network, under a certificate for another one.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn postgres_is_reached_over_tls_only_under_its_name_and_with_a_certificate_that_is_trusted() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

    use fleetlog_embedded::postgres::{self, Cluster};
    use fleetlog_tls::Files;
    use sqlx::{ConnectOptions, Executor};

    use crate::support::Authority;

    let directory = tempfile::tempdir().expect("a directory");
    // Postgres keeps its usual port, which another one may have at 127.0.0.1.
    let [.., high, low] = std::process::id().to_be_bytes();
    let [named, unnamed] = [1, 2].map(|host| format!("127.{high}.{low}.{host}"));
    let mut options = postgres::Options::new(directory.path().join("postgres"));
    options.settings.push(("listen_addresses".to_owned(), format!("{named},{unnamed}")));
    let cluster = Cluster::start(options, |_| ()).await.expect("Postgres");
    let mut admin = cluster.connect_options().connect().await.expect("connect");
    let (folder, access): (String, String) =
        sqlx::query_as("SELECT current_setting('data_directory'), current_setting('hba_file')")
            .fetch_one(&mut admin)
            .await
            .expect("read");
    let (folder, files) = (Path::new(&folder), directory.path());
    let server = Files { certificate: folder.join("server.crt"), key: folder.join("server.key") };
    Authority::new(&files.join("authority")).issue(&named, &server);
    Authority::new(&files.join("stranger"));
    // Postgres wants its key to itself.
    let owner = std::fs::metadata(folder).expect("a folder");
    std::fs::set_permissions(&server.key, PermissionsExt::from_mode(0o600)).expect("set");
    for file in [&server.certificate, &server.key] {
        chown(file, Some(owner.uid()), Some(owner.gid())).expect("given");
    }
    std::fs::write(&access, "local all all trust\nhostssl all all 127.0.0.0/8 trust\n").expect("written");
    for statement in ["ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()"] {
        admin.execute(statement).await.expect("set");
    }
    let url = |address: &str, authority: &str| {
        let authority = files.join(authority).display().to_string();
        format!(
            "postgres://{}@{address}/fleetlog?sslmode=verify-full&sslrootcert={authority}",
            cluster.connect_options().get_username()
        )
    };
    let migrate =
        async |url: &str| tool("migrate").args(["--database-url", url]).output().await.expect("the binary");
    eventually("Postgres speaks TLS", async || {
        let output = migrate(&url(&named, "authority")).await;
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    })
    .await;
    for (address, authority, why) in
        [(&unnamed, "authority", "not valid for name"), (&named, "stranger", "UnknownIssuer")]
    {
        let output = migrate(&url(address, authority)).await;
        let reason = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && reason.contains(why), "{reason}");
    }
    cluster.stop().await.expect("stopped");
}
