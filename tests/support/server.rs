//! The real binary as a process: start it, talk to it over HTTP, kill it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::eventually;

pub(crate) const EMAIL: &str = "auditor@example.com";
pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// A server process that dies with its test.
pub(crate) struct Server {
    child: Child,
    http: String,
    mqtt: u16,
    client: reqwest::Client,
    token: String,
}

impl Server {
    /// Starts `fleetlog up` on a data directory: with the private Postgres and the built-in endpoint.
    pub(crate) async fn up(data_dir: &Path) -> Self {
        Self::up_on(data_dir, free_port()).await
    }

    /// Starts `fleetlog up` with the endpoint on a given port.
    pub(crate) async fn up_on(data_dir: &Path, mqtt: u16) -> Self {
        Self::up_at(data_dir, free_port(), mqtt, &[]).await
    }

    /// Starts `fleetlog up` with the endpoint on a given address, and with more arguments.
    pub(crate) async fn up_with(data_dir: &Path, host: &str, arguments: &[&str]) -> Self {
        let (http, mqtt) = (free_port(), free_port());
        Self::start(up(data_dir, http, (host, mqtt), arguments), http, mqtt).await
    }

    /// Starts `fleetlog up` again where it was, with more arguments.
    pub(crate) async fn up_at(data_dir: &Path, http: u16, mqtt: u16, arguments: &[&str]) -> Self {
        Self::start(up(data_dir, http, ("127.0.0.1", mqtt), arguments), http, mqtt).await
    }

    /// Starts `fleetlog up` so that it kills itself with `kill -9` when the code passes a crash point.
    pub(crate) async fn up_until_killed(data_dir: &Path, point: &str, arguments: &[&str]) -> Self {
        let (http, mqtt) = (free_port(), free_port());
        let mut command = up(data_dir, http, ("127.0.0.1", mqtt), arguments);
        command.env("CRASH_AT", point);
        Self::start(command, http, mqtt).await
    }

    /// Starts `fleetlog up` with its announcement and its log going somewhere else.
    pub(crate) async fn up_writing_to(data_dir: &Path, out: Stdio, log: Stdio) -> Self {
        let (http, mqtt) = (free_port(), free_port());
        let mut command = binary("up", http);
        command.arg("--data-dir").arg(data_dir).args(["--mqtt", &format!("127.0.0.1:{mqtt}")]);
        let child = command.stdout(out).stderr(log).spawn().expect("the binary");
        Self::reach(child, http, mqtt).await
    }

    /// Starts `fleetlog serve` with a database and a broker on a port.
    pub(crate) async fn serve(database: &PgConnectOptions, broker: u16, arguments: &[&str]) -> Self {
        let http = free_port();
        let mut command = binary("serve", http);
        command
            .env("DATABASE_URL", url(database))
            .env("FLEETLOG_MQTT_URL", format!("mqtt://127.0.0.1:{broker}"))
            .args(arguments);
        Self::start(command, http, broker).await
    }

    /// Starts `fleetlog serve` so that it kills itself with `kill -9` when the code passes a crash point.
    pub(crate) async fn serve_until_killed(database: &PgConnectOptions, broker: u16, point: &str) -> Self {
        let http = free_port();
        let mut command = binary("serve", http);
        command
            .env("DATABASE_URL", url(database))
            .env("FLEETLOG_MQTT_URL", format!("mqtt://127.0.0.1:{broker}"))
            .env("CRASH_AT", point);
        Self::start(command, http, broker).await
    }

    /// Starts `fleetlog serve` with a database and the built-in endpoint, so that it kills itself at this crash point, or freezes,
    /// as the variable says.
    pub(crate) async fn serve_endpoint(database: &PgConnectOptions, fault: Option<(&str, &str)>) -> Self {
        let (http, mqtt) = (free_port(), free_port());
        let mut command = endpoint(database, http, mqtt);
        if let Some((variable, point)) = fault {
            command.env(variable, point);
        }
        Self::start(command, http, mqtt).await
    }

    /// Starts `fleetlog serve` with a database and the built-in endpoint on given ports, and with more arguments.
    pub(crate) async fn serve_endpoint_at(
        database: &PgConnectOptions,
        (http, mqtt): (u16, u16),
        arguments: &[&str],
    ) -> Self {
        let mut command = endpoint(database, http, mqtt);
        command.args(arguments);
        Self::start(command, http, mqtt).await
    }

    /// Waits until the server has killed itself.
    pub(crate) async fn wait_killed(mut self) {
        use std::os::unix::process::ExitStatusExt;
        let status = tokio::time::timeout(Duration::from_secs(30), self.child.wait()).await.expect("killed");
        assert_eq!(status.expect("a child").signal(), Some(9));
    }

    async fn start(mut command: Command, http: u16, mqtt: u16) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the binary");
        let mut log = BufReader::new(child.stderr.take().expect("piped")).lines();
        // Passes the output on to a failing test; a pipe that nobody reads would stop the server.
        tokio::spawn(async move {
            while let Ok(Some(line)) = log.next_line().await {
                eprintln!("{line}");
            }
        });
        Self::reach(child, http, mqtt).await
    }

    async fn reach(child: Child, http: u16, mqtt: u16) -> Self {
        let client = reqwest::Client::new();
        let mut server =
            Self { child, http: format!("http://127.0.0.1:{http}"), mqtt, client, token: String::new() };
        server.until("/readyz", |answer| answer["status"] == "ready").await;
        server.token = server.log_in().await;
        server
    }

    pub(crate) fn mqtt(&self) -> u16 {
        self.mqtt
    }

    /// The address of HTTP.
    pub(crate) fn address(&self) -> SocketAddr {
        self.http.trim_start_matches("http://").parse().expect("an address")
    }

    /// The address of HTTP, as pages know it.
    pub(crate) fn url(&self) -> &str {
        &self.http
    }

    /// The administrator's access token.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id().expect("running")
    }

    /// Asks for a path until the answer is as expected.
    pub(crate) async fn until(&mut self, path: &str, expected: impl Fn(&Value) -> bool) -> Value {
        eventually(path, async || {
            if let Some(status) = self.child.try_wait().expect("a child") {
                panic!("the server ended: {status}");
            }
            let answer = self.request(Method::GET, path).send().await.map_err(|_| Value::Null)?;
            let answer: Value = answer.json().await.unwrap_or_default();
            if expected(&answer) { Ok(answer) } else { Err(answer) }
        })
        .await
    }

    async fn log_in(&self) -> String {
        let body = json!({ "email": EMAIL, "password": PASSWORD });
        let answer = self.request(Method::POST, "/auth/login").json(&body).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK);
        let answer: Value = answer.json().await.expect("JSON");
        answer["access_token"].as_str().expect("a token").to_owned()
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request =
            self.client.request(method, format!("{}{path}", self.http)).timeout(Duration::from_secs(30));
        // Whoever asks whether the service is ready has no token, and needs no database.
        let anonymous = self.token.is_empty() || path == "/readyz";
        if anonymous { request } else { request.bearer_auth(&self.token) }
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let answer = self.request(Method::GET, path).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        answer.json().await.expect("JSON")
    }

    /// The text at a path.
    pub(crate) async fn text(&self, path: &str) -> String {
        let answer = self.request(Method::GET, path).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        answer.text().await.expect("text")
    }

    pub(crate) async fn graphql(&self, query: &str) -> Value {
        let request = self.request(Method::POST, "/graphql").json(&json!({ "query": query }));
        request.send().await.expect("an answer").json().await.expect("JSON")
    }

    /// Freezes the server, or lets it go on, with a signal such as `STOP` or `CONT`.
    pub(crate) async fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.id().to_string()]).status().await;
        assert!(sent.expect("kill").success());
    }

    /// Kills the server with `kill -9`.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.expect("killed");
    }

    /// Sends Ctrl-C, and waits for the end.
    pub(crate) async fn stop(mut self) {
        let pid = self.id().to_string();
        let sent = Command::new("kill").args(["-INT", &pid]).status().await.expect("kill");
        assert!(sent.success());
        let status = self.child.wait().await.expect("ended");
        assert!(status.success(), "{status}");
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// The binary, without settings from this machine's environment.
pub(crate) fn tool(command: &str) -> Command {
    let mut tool = Command::new(env!("CARGO_BIN_EXE_fleetlog"));
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("FLEETLOG_") || name == "DATABASE_URL") {
            tool.env_remove(name);
        }
    }
    tool.current_dir(env!("CARGO_TARGET_TMPDIR")).arg(command).stdin(Stdio::null()).kill_on_drop(true);
    tool
}

/// `fleetlog up` on a data directory, with its addresses.
fn up(data_dir: &Path, http: u16, (host, mqtt): (&str, u16), arguments: &[&str]) -> Command {
    let mut command = binary("up", http);
    command.arg("--data-dir").arg(data_dir).args(["--mqtt", &format!("{host}:{mqtt}")]).args(arguments);
    command
}

/// `fleetlog serve` with the built-in endpoint.
fn endpoint(database: &PgConnectOptions, http: u16, mqtt: u16) -> Command {
    let mut command = binary("serve", http);
    command.env("DATABASE_URL", url(database)).args(["--mqtt", &format!("127.0.0.1:{mqtt}")]);
    command
}

/// The binary as a server.
pub(crate) fn binary(command: &str, http: u16) -> Command {
    let mut binary = tool(command);
    binary
        .args(["--http", &format!("127.0.0.1:{http}")])
        .env("FLEETLOG_ADMIN_EMAIL", EMAIL)
        .env("FLEETLOG_ADMIN_PASSWORD", PASSWORD)
        .stdout(Stdio::null());
    binary
}

/// The `DATABASE_URL` of a database.
pub(crate) fn url(options: &PgConnectOptions) -> String {
    let socket = options.get_socket().expect("a socket").display();
    let (user, name) = (options.get_username(), options.get_database().expect("a name"));
    format!("postgres://{user}@localhost/{name}?host={socket}")
}
