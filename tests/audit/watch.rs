//! `fleetlog audit watch`, the real binary, against a service over HTTP.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Output, Stdio};

use fleetlog_event_log::{Lane, LogId};
use fleetlog_proof::custody::read_checkpoints;
use fleetlog_proof::note::{SignedCheckpoint, VerifierKey};
use fleetlog_proof::{custody, read};
use reqwest::Method;
use serde_json::json;
use sqlx::Executor;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::watch;

use super::{append, register, sign, take_back};
use crate::support::{Api, tool, until};

const WITNESS: &str = "auditor.example/w1";

/// A service with a signed log of each lane, and an auditor who watches it.
struct Watched {
    api: Api,
    /// The auditor's: the folder, and beside it the key to cosign with.
    desk: tempfile::TempDir,
    witness: VerifierKey,
    key: String,
    api_key: String,
}

impl Watched {
    async fn with(readings: u64) -> Self {
        let api = Api::start().await;
        register(&api.log, 0..1).await;
        append(&api.log, 0, readings).await;
        sign(&api.log, api.custody.path()).await;
        let desk = tempfile::tempdir().expect("a directory");
        let witness = custody::new_witness_key(WITNESS, &desk.path().join("witness")).expect("a key");
        let key = json!({"name": "witness", "actions": ["events.read", "audit.cosign"]});
        let api_key = api.send(Method::POST, "/api-keys", key).await.json();
        let api_key = api_key["key"].as_str().expect("a key").to_owned();
        let key = api.get("/audit/key").await.text.trim().to_owned();
        Self { api, desk, witness, key, api_key }
    }

    /// Appends readings and signs them.
    async fn grow(&self, from: u64, to: u64) {
        append(&self.api.log, from, to).await;
        sign(&self.api.log, self.api.custody.path()).await;
    }

    fn state(&self) -> PathBuf {
        self.desk.path().join("state")
    }

    fn command(&self, url: &str) -> Command {
        let mut watch = tool("audit");
        watch.args(["watch", "--url", url, "--key", &self.key, "--api-key", &self.api_key]);
        watch.arg("--state").arg(self.state()).arg("--witness-key").arg(self.desk.path().join("witness"));
        watch
    }

    fn often(&self, url: &str) -> Command {
        let mut watch = self.command(url);
        watch.args(["--every", "1s"]);
        watch
    }

    async fn once(&self, arguments: &[&str]) -> Output {
        self.command(self.api.url()).arg("--once").args(arguments).output().await.expect("the binary")
    }

    fn telemetry(&self) -> LogId {
        self.api.log_of("t0", Lane::Telemetry)
    }

    /// The telemetry log's newest checkpoint, as the service shows it.
    async fn shown(&self) -> SignedCheckpoint {
        read::checkpoint(&self.api.log, self.telemetry()).await.expect("read").expect("signed").note
    }

    async fn is_cosigned(&self) -> bool {
        self.shown().await.verify(std::slice::from_ref(&self.witness)).is_ok()
    }

    /// What the watcher has accepted of the telemetry log.
    fn accepted(&self) -> SignedCheckpoint {
        let installation = self.key.split('+').next().expect("a name");
        let file = self.state().join(format!("{installation}_{}.checkpoint", self.telemetry()));
        std::fs::read_to_string(file).expect("kept").parse().expect("a checkpoint")
    }

    /// The evidence against the telemetry log: the only one.
    fn evidence(&self) -> (String, Vec<SignedCheckpoint>) {
        let mut files = self.evidence_files();
        assert_eq!(files.len(), 1, "{files:?}");
        let text = std::fs::read_to_string(files.remove(0)).expect("read");
        let notes = read_checkpoints(&text).expect("checkpoints");
        (text, notes)
    }

    fn evidence_files(&self) -> Vec<PathBuf> {
        let files =
            std::fs::read_dir(self.state()).expect("a folder").map(|entry| entry.expect("a file").path());
        files.filter(|file| file.to_string_lossy().contains("/evidence-")).collect()
    }

    /// Takes the telemetry log back to its first events and signs what follows anew, with the same key: whoever has the
    /// database and the folder of the key can.
    async fn take_back(&self, to: u64, then: u64) {
        take_back(&self.api.database, self.api.custody.path(), to, then).await;
    }

    /// Watches a service that is not what it was: nothing is cosigned, and the evidence has both checkpoints.
    async fn assert_refused(&self, why: &str) -> String {
        let (accepted, shown) = (self.accepted(), self.shown().await);
        for _ in 0..2 {
            let refused = self.once(&[]).await;
            assert_eq!(refused.status.code(), Some(1), "{}", errors(&refused));
            let said = format!("log {} is not what it was: {why}", self.telemetry());
            let lines: Vec<String> = errors(&refused).lines().map(ToOwned::to_owned).collect();
            let told = lines.iter().filter(|line| line.contains("ERROR")).collect::<Vec<_>>();
            assert!(told.len() == 1 && told[0].contains(&said), "{lines:?}");
            assert!(lines.last().is_some_and(|line| line.contains("1 log is not as before")), "{lines:?}");
        }
        assert!(!self.is_cosigned().await, "cosigned");
        assert_eq!(self.accepted(), accepted, "still the one that was accepted");
        let (text, notes) = self.evidence();
        assert_eq!(
            notes.iter().map(SignedCheckpoint::text).collect::<Vec<_>>(),
            [accepted.text(), shown.text()]
        );
        assert!(text.contains(why) && text.contains(&self.key), "{text}");
        text
    }
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn words(output: &Output) -> String {
    assert!(output.status.success(), "{}", errors(output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn honest_growth_is_cosigned_and_a_log_that_stands_still_is_not_cosigned_again() {
    let watched = Watched::with(300).await;
    let log = watched.telemetry();
    assert!(
        words(&watched.once(&[]).await)
            .contains(&format!("log {log}: 300 events are signed; seen for the first time; cosigned\n"))
    );
    let signed = watched.shown().await;
    signed.verify(std::slice::from_ref(&watched.witness)).expect("the watcher's signature");
    signed.verify(&[watched.key.parse().expect("a key")]).expect("the log's own");
    watched.grow(300, 700).await;
    assert!(words(&watched.once(&[]).await).contains(&format!(
        "log {log}: 700 events are signed, and the first 300 are those from before; cosigned\n"
    )));
    assert!(watched.is_cosigned().await);
    let before = watched.shown().await;
    assert!(
        words(&watched.once(&[]).await)
            .contains(&format!("log {log}: 700 events are signed, as before; cosigned\n"))
    );
    assert_eq!(watched.shown().await, before);
    assert_eq!(watched.accepted().checkpoint, before.checkpoint);
    assert!(watched.evidence_files().is_empty());
    // Whoever keeps the folder can verify the database with it.
    let only = words(&watched.once(&["--log-id", &log.to_string()]).await);
    assert_eq!(only.lines().count(), 1, "{only}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_rolled_back_is_refused_with_both_checkpoints() {
    let watched = Watched::with(300).await;
    words(&watched.once(&[]).await);
    watched.take_back(200, 0).await;
    watched.assert_refused("it had 300 events and has 200 now: 100 were taken back").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_histories_of_one_size_are_a_fork() {
    let watched = Watched::with(300).await;
    words(&watched.once(&[]).await);
    watched.take_back(200, 100).await;
    watched.assert_refused("there are two signed checkpoints of 300 events, with different roots").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_has_grown_on_another_beginning_is_refused_with_the_proof_that_it_gave() {
    let watched = Watched::with(300).await;
    words(&watched.once(&[]).await);
    watched.take_back(200, 300).await;
    let why = "it has 500 events now, and the first 300 are not those that it had before";
    let evidence = watched.assert_refused(why).await;
    assert!(evidence.contains("# given as consistency proof: "), "{evidence}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_without_a_checkpoint_that_had_one_is_refused() {
    let watched = Watched::with(30).await;
    words(&watched.once(&[]).await);
    let mut owner = watched.api.database.owner().await;
    owner.execute("SET session_replication_role = replica").await.expect("set");
    owner.execute("DELETE FROM audit_checkpoints").await.expect("deleted");
    let refused = watched.once(&["--log-id", &watched.telemetry().to_string()]).await;
    assert_eq!(refused.status.code(), Some(1));
    let why = "it had 30 signed events, and the service says that it has none";
    assert!(errors(&refused).contains(why), "{}", errors(&refused));
    let (text, notes) = watched.evidence();
    assert_eq!(notes, [watched.accepted()]);
    assert!(text.contains(why), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_by_another_key_or_of_another_log_is_refused() {
    let mut watched = Watched::with(30).await;
    let (right, other) = (watched.key.clone(), tempfile::tempdir().expect("a directory"));
    custody::Custody::create(other.path()).expect("a key");
    let other = custody::Custody::open(other.path()).expect("a key").verifier();
    watched.key = other.to_string();
    let telemetry = watched.telemetry().to_string();
    let refused = watched.once(&["--log-id", &telemetry]).await;
    assert_eq!(refused.status.code(), Some(1));
    let why = "its checkpoint of 30 events is not by the key that was given: it is not signed by this key";
    assert!(errors(&refused).contains(why), "{}", errors(&refused));
    let (text, notes) = watched.evidence();
    assert!(text.contains(why) && text.contains(&watched.key), "{text}");
    assert_eq!(notes, [watched.shown().await]);
    assert!(!watched.is_cosigned().await);

    // The service shows the control log's checkpoint in the place of the telemetry log's, which the same key has signed.
    watched.key = right;
    let mut owner = watched.api.database.owner().await;
    let swap = "SET session_replication_role = replica;
        UPDATE audit_checkpoints SET note = (SELECT note FROM audit_checkpoints WHERE log_id <> $1 LIMIT 1) WHERE log_id = $1";
    owner.execute(sqlx::raw_sql(&swap.replace("$1", &telemetry))).await.expect("swapped");
    let refused = watched.once(&["--log-id", &telemetry]).await;
    assert_eq!(refused.status.code(), Some(1));
    let control = watched.api.log_of("t0", Lane::Control);
    assert!(errors(&refused).contains("the service shows a checkpoint of"), "{}", errors(&refused));
    assert!(errors(&refused).contains(&format!("/{control} in its place")), "{}", errors(&refused));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_that_dies_before_it_cosigns_does_so_when_it_is_back() {
    let watched = Watched::with(30).await;
    let telemetry = watched.telemetry().to_string();
    let mut watch = watched.command(watched.api.url());
    watch.args(["--once", "--log-id", &telemetry]).env("CRASH_AT", "watch: kept");
    assert_eq!(watch.status().await.expect("the binary").signal(), Some(9));
    assert_eq!(watched.accepted().checkpoint, watched.shown().await.checkpoint, "kept");
    assert!(!watched.is_cosigned().await, "and not cosigned");
    words(&watched.once(&[]).await);
    assert!(watched.is_cosigned().await);
}

/// A process that runs, and what it says.
pub(crate) struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
    said: Vec<String>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the binary");
        let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        Self { child, lines, said: vec![] }
    }

    /// Reads what it says until it has said this.
    pub(crate) async fn says(&mut self, what: &str) {
        let reading = async {
            while let Some(line) = self.lines.next_line().await.expect("a line") {
                self.said.push(line);
                if self.said.last().is_some_and(|line| line.contains(what)) {
                    return;
                }
            }
            panic!("{what}: not said, but {:?}", self.said);
        };
        tokio::time::timeout(crate::support::LIMIT, reading).await.expect("said in time");
    }

    pub(crate) async fn terminate(mut self) -> Vec<String> {
        let pid = self.child.id().expect("running").to_string();
        Command::new("kill").args(["-TERM", &pid]).status().await.expect("kill");
        while let Some(line) = self.lines.next_line().await.expect("a line") {
            self.said.push(line);
        }
        assert!(self.child.wait().await.expect("ended").success());
        self.said
    }
}

/// Passes connections on to an address while it is told to, and closes them otherwise.
async fn line_to(address: String) -> (String, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let (open, is_open) = watch::channel(false);
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let (mut is_open, address) = (is_open.clone(), address.clone());
            if !*is_open.borrow_and_update() {
                continue;
            }
            tokio::spawn(async move {
                let mut far = TcpStream::connect(address).await.expect("the service");
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    _ = is_open.changed() => {}
                }
            });
        }
    });
    (url, open)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_told_once_and_is_no_forgery() {
    let watched = Watched::with(30).await;
    let service = watched.api.url().trim_start_matches("http://").to_owned();
    let (url, open) = line_to(service).await;
    let once = watched.command(&url).arg("--once").output().await.expect("the binary");
    assert_eq!(once.status.code(), Some(1));
    assert!(errors(&once).contains("failed to watch the logs: http://127.0.0.1"), "{}", errors(&once));

    let mut running = Running::start(watched.often(&url));
    running.says("failed to ask the service for its logs").await;
    open.send_replace(true);
    running.says("the service answers again").await;
    until("the log is cosigned", async || watched.is_cosigned().await).await;
    open.send_replace(false);
    running.says("failed to ask the service for its logs").await;
    watched.grow(30, 60).await;
    open.send_replace(true);
    until("what came meanwhile is cosigned", async || watched.is_cosigned().await).await;
    let said = running.terminate().await;
    let outages = said.iter().filter(|line| line.contains("WARN")).count();
    assert_eq!(outages, 2, "{said:#?}");
    assert!(watched.evidence_files().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_watcher_ends_with_the_forgery_and_shares_its_folder_with_no_other() {
    let watched = Watched::with(30).await;
    let mut running = Running::start(watched.often(watched.api.url()));
    until("the log is cosigned", async || watched.is_cosigned().await).await;
    let second = watched.once(&[]).await;
    assert_eq!(second.status.code(), Some(1));
    assert!(errors(&second).contains("is in use by another watcher"), "{}", errors(&second));
    watched.take_back(20, 0).await;
    running.says("it had 30 events and has 20 now: 10 were taken back").await;
    let status = tokio::time::timeout(crate::support::LIMIT, running.child.wait()).await.expect("ended");
    assert_eq!(status.expect("a status").code(), Some(1));
    assert!(!watched.is_cosigned().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_watcher_cannot_work_with_is_refused_with_the_reason() {
    let watched = Watched::with(30).await;
    words(&watched.once(&[]).await);
    let state = watched.state().display().to_string();
    let telemetry = watched.telemetry();
    let elsewhere = tempfile::tempdir().expect("a directory");
    let elsewhere = elsewhere.path().display().to_string();
    let installation: VerifierKey = watched.key.parse().expect("a key");
    let of_control = read::key_of(&installation, watched.api.log_of("t0", Lane::Control)).to_string();
    let key = custody::Custody::open(watched.api.custody.path()).expect("a key").key().to_secret();
    let log_key = watched.desk.path().join("log-key");
    std::fs::write(&log_key, key).expect("written");
    let log_key = log_key.display().to_string();
    let (witness, id) = (watched.witness.to_string(), telemetry.to_string());
    let url = watched.api.url();
    for (arguments, why) in [
        (&["--url", "http://fleet.example", "--key", &watched.key][..], "http:// is for this machine only"),
        (&["--url", url, "--key", "nonsense"], "this is no verifier key"),
        (&["--url", url, "--key", &witness], "the key to check with is a witness's"),
        (&["--url", url, "--key", &of_control, "--log-id", &id], "the key to check with is only for log"),
        (
            &["--url", url, "--key", &watched.key, "--witness-key", &log_key],
            "the key to cosign with is a log's",
        ),
        (&["--url", url, "--key", &watched.key, "--witness-key", "/nowhere"], "/nowhere"),
        (&["--url", url, "--key", &watched.key], "give an API key that is valid with --api-key"),
        (&["--url", url, "--key", &watched.key, "--every", "soon"], "expected a number from 1 to 10000"),
    ] {
        let refused = tool("audit").args(["watch", "--once", "--state", &elsewhere]).args(arguments).output();
        let refused = refused.await.expect("the binary");
        assert!(!refused.status.success() && errors(&refused).contains(why), "{why}: {}", errors(&refused));
    }
    // A log that the service does not have, and a proxy's answer, are no forgery.
    let unknown = watched.once(&["--log-id", "99999"]).await;
    assert!(errors(&unknown).contains("failed to watch log 99999"), "{}", errors(&unknown));
    let mut elsewhere = watched.command(&format!("{}/elsewhere", watched.api.url()));
    let elsewhere = elsewhere.args(["--once", "--log-id", &id]).output().await.expect("the binary");
    assert!(errors(&elsewhere).contains("failed to watch log"), "{}", errors(&elsewhere));
    assert!(watched.evidence_files().is_empty());

    // A state that another key has signed, or that is damaged, is not passed over.
    let file = PathBuf::from(&state)
        .join(format!("{}.checkpoint", installation.origin_of(telemetry).replace('/', "_")));
    std::fs::write(&file, "half a note\n").expect("written");
    let damaged = watched.once(&[]).await;
    assert!(errors(&damaged).contains("is damaged"), "{}", errors(&damaged));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_without_a_new_checkpoint_for_too_long_is_worth_a_warning() {
    let watched = Watched::with(30).await;
    words(&watched.once(&[]).await);
    let installation: VerifierKey = watched.key.parse().expect("a key");
    let name = installation.origin_of(watched.telemetry()).replace('/', "_") + ".checkpoint";
    let file = std::fs::File::options().append(true).open(watched.state().join(name)).expect("kept");
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_hours(3);
    file.set_modified(long_ago).expect("set back");
    let warned = watched.once(&["--stale-after", "2h"]).await;
    let said = format!(
        "log {} has had no new checkpoint that could be accepted for 180 minutes",
        watched.telemetry()
    );
    assert!(errors(&warned).matches(&said).count() == 1, "{}", errors(&warned));
    assert_eq!(errors(&warned).matches("WARN").count(), 1, "the other log is younger: {}", errors(&warned));
    watched.grow(30, 31).await;
    let grown = watched.once(&["--stale-after", "2h"]).await;
    assert!(!errors(&grown).contains("WARN"), "{}", errors(&grown));
}
