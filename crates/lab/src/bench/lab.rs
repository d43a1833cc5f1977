//! The processes that a benchmark runs on: a Postgres, a broker and a server, each apart from the load.
//!
//! The server is this binary's own `serve`, started as an operator starts it, so that its memory and processor time are
//! measured apart from the generator's. Everything is durable as in production, and is deleted with the benchmark.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use fleetlog_embedded::TOOLS;
use fleetlog_embedded::process::{Process, RunAs};
use fleetlog_embedded::{mosquitto, postgres};
use fleetlog_event_log::{EventLog, database};
use fleetlog_mqtt::url::Url;
use fleetlog_tls::Files;
use fleetlog_tls::client::Identity;
use serde_json::Value;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Executor, PgConnection};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::client::Client;

/// The administrator's password on every server of the lab.
pub(super) const PASSWORD: &str = "a password for one benchmark";
/// The servers' database.
const DATABASE: &str = "fleetlog";
/// How long a server may take to start or to stop.
const PATIENCE: Duration = Duration::from_mins(1);

/// A Postgres, and a folder for the files of the other processes.
pub(super) struct Lab {
    folder: TempDir,
    cluster: postgres::Cluster,
}

/// Where a server's messages come from.
pub(super) enum Mqtt<'a> {
    /// Devices connect to the server itself.
    Endpoint,
    /// So many devices connect to the server itself.
    EndpointOf(u32),
    /// Devices connect to the server itself, over TLS.
    EndpointOverTls,
    /// Devices connect to a broker.
    Broker(&'a mosquitto::Broker),
}

/// A running `fleetlog serve`.
pub(super) struct Server {
    process: Process,
    http: SocketAddr,
    mqtt: Url,
    log: PathBuf,
}

/// A running ceiling: a process of little else than libraries, which a server is compared with.
pub(super) struct Bare {
    process: Process,
    address: SocketAddr,
}

impl Lab {
    /// Starts a Postgres in an empty folder.
    pub(super) async fn open() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("fleetlog-bench-").tempdir()?;
        let options = postgres::Options {
            tools: Some(PathBuf::from(TOOLS)),
            ..postgres::Options::new(folder.path().join("postgres"))
        };
        let cluster = postgres::Cluster::start(options, |_| ()).await?;
        Ok(Self { folder, cluster })
    }

    /// The id of Postgres's main process, the parent of all its others.
    pub(super) fn postgres(&self) -> Option<u32> {
        self.cluster.id()
    }

    /// Connect options for the servers' database, as its owner.
    pub(super) fn database(&self) -> PgConnectOptions {
        self.cluster.connect_options_for(DATABASE)
    }

    /// A connection to the servers' database, as its owner.
    pub(super) async fn owner(&self) -> anyhow::Result<PgConnection> {
        owner(&self.database()).await
    }

    /// Calls a function with a new database, and drops that database with all its pages afterwards.
    pub(super) async fn apart<T>(
        &self,
        work: impl AsyncFnOnce(PgConnectOptions) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let mut admin = self.owner().await?;
        admin.execute("CREATE DATABASE apart").await?;
        let done = work(self.cluster.connect_options_for("apart")).await?;
        admin.execute("DROP DATABASE apart WITH (FORCE)").await?;
        admin.execute("CHECKPOINT").await?;
        Ok(done)
    }

    /// Starts a Mosquitto.
    pub(super) async fn mosquitto(&self) -> anyhow::Result<mosquitto::Broker> {
        let dir = self.folder.path().join("mosquitto");
        Ok(mosquitto::Broker::start(mosquitto::Options { dir, port: None }).await?)
    }

    /// Recreates the servers' database empty. No server may be running.
    pub(super) async fn empty(&self) -> anyhow::Result<()> {
        let mut admin = owner(&self.cluster.connect_options_for("template1")).await?;
        admin.execute(format!("DROP DATABASE {DATABASE} WITH (FORCE)").as_str()).await?;
        admin.execute(format!("CREATE DATABASE {DATABASE}").as_str()).await?;
        admin.execute("CHECKPOINT").await?;
        Ok(())
    }

    /// Starts a server, and returns when it is ready for messages.
    pub(super) async fn serve(&self, mqtt: Mqtt<'_>) -> anyhow::Result<Server> {
        self.serve_with(mqtt, &[]).await
    }

    /// Starts a server with further arguments, and returns when it is ready for messages.
    pub(super) async fn serve_with(&self, mqtt: Mqtt<'_>, arguments: &[&str]) -> anyhow::Result<Server> {
        let log = self.folder.path().join("server.log");
        let said = std::fs::File::create(&log)?;
        let http = free_address()?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["serve", "--log", "warn", "--http", &http.to_string()])
            .args(arguments)
            .env("DATABASE_URL", self.url())
            .env("FLEETLOG_ADMIN_PASSWORD", PASSWORD)
            .env("FLEETLOG_OUTBOX_DIR", self.folder.path().join("outbox"))
            .stdin(Stdio::null())
            .stdout(said.try_clone()?)
            .stderr(said);
        let mqtt = match mqtt {
            Mqtt::Endpoint => {
                let mqtt = free_address()?;
                command.args(["--mqtt", &mqtt.to_string()]);
                mqtt.into()
            }
            Mqtt::EndpointOf(connections) => {
                let mqtt = free_address()?;
                // Some may connect again before their old connection is known to be dead.
                let most = connections + 1000;
                command.args(["--mqtt", &mqtt.to_string(), "--mqtt-connections", &most.to_string()]);
                mqtt.into()
            }
            Mqtt::EndpointOverTls => {
                let (mqtt, mqtts, files) = (free_address()?, free_address()?, self.certificate()?);
                command.args(["--mqtt", &mqtt.to_string(), "--mqtts", &mqtts.to_string()]);
                command.arg("--tls-cert").arg(&files.certificate).arg("--tls-key").arg(&files.key);
                let identity = Identity { authorities: Some(files.certificate), certificate: None };
                Url::from(mqtts).with_tls(Some(identity))
            }
            Mqtt::Broker(broker) => {
                command.args(["--mqtt-url", &format!("mqtt://{}", broker.address())]);
                broker.address().into()
            }
        };
        let process = Process::spawn(command, RunAs::Caller, libc::SIGTERM, libc::SIGTERM).await?;
        let server = Server { process, http, mqtt, log };
        server.ready().await?;
        Ok(server)
    }

    /// Makes a certificate for this machine, which is its own authority.
    fn certificate(&self) -> anyhow::Result<Files> {
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed([Ipv4Addr::LOCALHOST.to_string()])?;
        let (certificate, key) = (self.folder.path().join("tls.pem"), self.folder.path().join("tls.key"));
        std::fs::write(&certificate, cert.pem())?;
        std::fs::write(&key, signing_key.serialize_pem())?;
        Ok(Files { certificate, key })
    }

    /// Starts a bare process by the name of its hidden command, and returns when it listens.
    pub(super) async fn bare(&self, name: &str, arguments: &[&str]) -> anyhow::Result<Bare> {
        let address = free_address()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bench", name, &address.to_string()]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let process = Process::spawn(command, RunAs::Caller, libc::SIGTERM, libc::SIGTERM).await?;
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).await.is_err() {
            ensure!(process.id().is_some() && Instant::now() < deadline, "the bare {name} does not start");
            sleep(Duration::from_millis(10)).await;
        }
        Ok(Bare { process, address })
    }

    /// The servers' database as a `DATABASE_URL`.
    pub(super) fn url(&self) -> String {
        let options = self.database();
        let socket = options.get_socket().map(|socket| socket.display().to_string()).unwrap_or_default();
        let socket = percent_encoding::utf8_percent_encode(&socket, percent_encoding::NON_ALPHANUMERIC);
        format!("postgres://{}@localhost/{DATABASE}?host={socket}", options.get_username())
    }

    /// Stops Postgres, and deletes the folder.
    pub(super) async fn close(self) -> anyhow::Result<()> {
        // The data is deleted next, so a last checkpoint would be wasted.
        self.cluster.stop_immediately().await.ok();
        Ok(self.folder.close()?)
    }
}

impl Bare {
    /// The process id.
    pub(super) fn id(&self) -> Option<u32> {
        self.process.id()
    }

    /// The address it listens on.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends the process. One that ended by itself before is an error.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        let status = self.process.stop(&[(libc::SIGTERM, PATIENCE)]).await;
        ensure!(status.code().is_none(), "a bare process ended with {status}");
        Ok(())
    }
}

impl Server {
    /// The process id.
    pub(super) fn id(&self) -> Option<u32> {
        self.process.id()
    }

    /// The address that devices connect to: the server's endpoint, or its broker.
    pub(super) fn mqtt(&self) -> Url {
        self.mqtt.clone()
    }

    /// A connection to the server's API, as the administrator.
    pub(super) async fn client(&self) -> anyhow::Result<Client> {
        Client::log_in(self.http, PASSWORD).await
    }

    /// Stops the server as an operator does. An exit with an error fails the benchmark.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        let status = self.process.stop(&[(libc::SIGTERM, PATIENCE)]).await;
        ensure!(status.success(), "the server ended with {status}:\n{}", self.said());
        Ok(())
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    async fn ready(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            ensure!(self.id().is_some(), "the server ended:\n{}", self.said());
            if let Ok(mut client) = Client::connect(self.http).await
                && let Ok((http::StatusCode::OK, Value::Object(answer))) = client.get("/readyz").await
                && answer.get("status").is_some_and(|status| status == "ready")
            {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "the server does not get ready:\n{}", self.said());
            sleep(Duration::from_millis(10)).await;
        }
    }
}

/// A connection as a database's owner.
pub(super) async fn owner(connect: &PgConnectOptions) -> anyhow::Result<PgConnection> {
    // These statements read whole tables, so slow ones need no log line.
    Ok(connect.clone().disable_statement_logging().connect().await?)
}

/// The log of a database, with all migrations run. Nothing keeps its heads up to date.
pub(super) async fn event_log(connect: PgConnectOptions) -> anyhow::Result<EventLog> {
    let options = database::Options::new(connect);
    options.migrate().await?;
    EventLog::open(options).await.context("failed to open the log")
}

/// An address on loopback that was free a moment ago.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
