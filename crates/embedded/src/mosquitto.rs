//! A private Mosquitto, for tests and benchmarks: a persistent broker, on loopback only.
//!
//! It dies with its owner, and can be stopped and started again on the same port with the same sessions.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::process::{Process, RunAs, effective_user};

/// Where packages install it besides PATH, which often lacks `sbin`.
const SBIN: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin"];
/// How long the broker may take to listen, or to write its sessions to disk and end.
const PATIENCE: Duration = Duration::from_secs(15);
/// How many free ports are tried, because another program may take one before the broker does.
const ATTEMPTS: usize = 5;

/// Where to run the broker.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory for the configuration, the sessions and the log; created if missing. Its files `passwords` and
    /// `acl`, if there are any, say who may connect; without them anyone may. With the files `certificate`, `key` and
    /// `authority` the broker speaks TLS only, and every client shows a certificate of that authority.
    pub dir: PathBuf,
    /// The port on 127.0.0.1; `None` takes a free one.
    pub port: Option<u16>,
}

/// Why a private Mosquitto does not start or stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Mosquitto is not installed.
    #[error("find mosquitto: apt-get install mosquitto, or run scripts/install-tools test")]
    NotInstalled,
    /// Mosquitto ended by itself.
    #[error("keep mosquitto running: it ended by itself ({status}):\n{log}")]
    Ended {
        /// The exit status.
        status: ExitStatus,
        /// The broker's log.
        log: String,
    },
    /// Mosquitto runs, but does not listen.
    #[error("reach mosquitto on {0}: no answer")]
    Silent(SocketAddr),
    /// A file or process operation failed.
    #[error("start mosquitto in {}", dir.display())]
    Io {
        /// The directory.
        dir: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// A running broker. Dropping it signals the broker to stop, and does not wait.
#[derive(Debug)]
pub struct Broker {
    process: Process,
    address: SocketAddr,
    dir: PathBuf,
}

impl Broker {
    /// Starts the broker and returns when it listens.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let program = find().ok_or(Error::NotInstalled)?;
        let Some(port) = options.port else {
            for _ in 1..ATTEMPTS {
                if let Ok(broker) = Self::start_on(&program, &options.dir, free_port(&options.dir)?).await {
                    return Ok(broker);
                }
            }
            return Self::start_on(&program, &options.dir, free_port(&options.dir)?).await;
        };
        Self::start_on(&program, &options.dir, port).await
    }

    /// The address it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The broker's process id; `None` once it has ended.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.process.id()
    }

    /// Stops the broker, which writes its sessions to disk. A start with the same options resumes them.
    pub async fn stop(self) -> Result<(), Error> {
        let status = self.process.stop(&[(libc::SIGTERM, PATIENCE)]).await;
        if status.success() { Ok(()) } else { Err(ended(status, &self.dir)) }
    }

    /// Stops and starts the broker, on the same port with the same sessions.
    pub async fn restart(self) -> Result<Self, Error> {
        let options = Options { dir: self.dir.clone(), port: Some(self.address.port()) };
        self.stop().await?;
        Self::start(options).await
    }

    /// Kills the broker as a crash would: it keeps what it wrote at its last `autosave`.
    pub async fn kill(self) {
        self.process.stop(&[(libc::SIGKILL, PATIENCE)]).await;
    }

    async fn start_on(program: &Path, dir: &Path, port: u16) -> Result<Self, Error> {
        let failed = |source| Error::Io { dir: dir.to_owned(), source };
        let command = prepare(program, dir, port).map_err(failed)?;
        let process =
            Process::spawn(command, RunAs::Caller, libc::SIGTERM, libc::SIGTERM).await.map_err(failed)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        tokio::select! {
            status = process.exited() => return Err(ended(status, dir)),
            result = timeout(PATIENCE, listening(dir)) => result.map_err(|_| Error::Silent(address))?,
        }
        Ok(Self { process, address, dir: dir.to_owned() })
    }
}

/// Writes the configuration.
fn prepare(program: &Path, dir: &Path, port: u16) -> io::Result<Command> {
    fs::create_dir_all(dir)?;
    let dir = fs::canonicalize(dir)?;
    let path = dir.join("mosquitto.conf");
    fs::write(&path, configuration(&dir, port, effective_user() == 0))?;
    let log = File::create(dir.join("mosquitto.log"))?;
    let mut command = Command::new(program);
    command.arg("-c").arg(path).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    Ok(command)
}

fn configuration(dir: &Path, port: u16, root: bool) -> String {
    // Without this line root's broker becomes the user mosquitto, who cannot write to root's directories.
    let user = if root { "user root\n" } else { "" };
    let (passwords, acl) = (dir.join("passwords"), dir.join("acl"));
    let access = if passwords.exists() && acl.exists() {
        let (passwords, acl) = (passwords.display(), acl.display());
        format!("allow_anonymous false\npassword_file {passwords}\nacl_file {acl}\n")
    } else {
        "allow_anonymous true\n".to_owned()
    };
    let [certificate, key, authority] = ["certificate", "key", "authority"].map(|name| dir.join(name));
    let tls = if certificate.exists() {
        let (certificate, key, authority) = (certificate.display(), key.display(), authority.display());
        format!("certfile {certificate}\nkeyfile {key}\ncafile {authority}\nrequire_certificate true\n")
    } else {
        String::new()
    };
    format!(
        "listener {port} 127.0.0.1\n\
         {tls}\
         {access}\
         {user}\
         persistence true\n\
         persistence_location {}/\n\
         # What a crash may lose, in seconds; the default is half an hour.\n\
         autosave_interval 10\n\
         # The default of 20 leaves a subscriber waiting most of the time; without a limit packet ids wrap. As many\n\
         # as the server is ready to take: while one batch is stored the next one comes in.\n\
         max_inflight_messages 4000\n\
         # Without a limit: the default drops what exceeds 1000 while the subscriber is away.\n\
         max_queued_messages 0\n\
         log_dest stderr\n",
        dir.display()
    )
}

fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(SBIN.map(PathBuf::from))
        .map(|dir| dir.join("mosquitto"))
        .find(|program| program.is_absolute() && program.is_file())
}

fn free_port(dir: &Path) -> Result<u16, Error> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|source| Error::Io { dir: dir.to_owned(), source })
}

/// Reads the broker's log, because a connection would not prove that this broker listens on the port.
async fn listening(dir: &Path) {
    while !log(dir).contains(" running") {
        sleep(Duration::from_millis(5)).await;
    }
}

fn log(dir: &Path) -> String {
    fs::read_to_string(dir.join("mosquitto.log")).unwrap_or_default()
}

fn ended(status: ExitStatus, dir: &Path) -> Error {
    Error::Ended { status, log: log(dir) }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;
    use tokio::process::Command;

    use super::*;

    async fn run(client: &str, broker: &Broker, arguments: &[&str]) -> String {
        let port = broker.address().port().to_string();
        let output = Command::new(client).args(["-p", &port]).args(arguments).output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    #[tokio::test]
    async fn a_session_and_its_messages_outlive_a_restart_on_the_same_port() {
        let dir = TempDir::new().unwrap();
        let broker = Broker::start(Options { dir: dir.path().join("broker"), port: None }).await.unwrap();
        let address = broker.address();
        let session = ["-i", "reader", "-c", "-q", "1", "-t", "readings"];
        // The client ends as soon as it has subscribed, and the broker keeps the session.
        run("mosquitto_sub", &broker, &[&session[..], &["-E"]].concat()).await;
        run("mosquitto_pub", &broker, &["-q", "1", "-t", "readings", "-m", "21.5"]).await;
        let broker = broker.restart().await.unwrap();
        assert_eq!(broker.address(), address);
        assert_eq!(run("mosquitto_sub", &broker, &[&session[..], &["-C", "1"]].concat()).await, "21.5\n");
        broker.stop().await.unwrap();
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_an_error_with_the_log() {
        let dir = TempDir::new().unwrap();
        let broker = Broker::start(Options { dir: dir.path().join("a"), port: None }).await.unwrap();
        let options = Options { dir: dir.path().join("b"), port: Some(broker.address().port()) };
        let error = Broker::start(options).await.unwrap_err();
        assert!(error.to_string().contains("Address already in use"), "{error}");
    }
}
