//! Witnesses that the service sends checkpoints to: a C2SP witness over HTTP and TLS, a file, Mosquitto, and a mail.

use std::process::Output;
use std::time::Duration;

use fleetlog::witnesses::Address;
use fleetlog_access::mail::{Delivery, Transport};
use fleetlog_embedded::mosquitto;
use fleetlog_event_log::leadership::LEASE;
use fleetlog_event_log::{EventLog, Lane};
use fleetlog_proof::custody::read_checkpoints;
use fleetlog_proof::note::{SignedCheckpoint, VerifierKey};
use fleetlog_proof::witness::Witness;
use fleetlog_proof::witness::store::{self, Standing};
use fleetlog_proof::{Custody, Sequencer, read};
use sqlx::Executor;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::forgeries::has_python;
use super::sequencer::{all_signed, serve};
use super::watch::Running;
use super::{Signed, append, register, sign, take_back};
use crate::support::mqtt::{Device, V5};
use crate::support::witness::{Cosigner, Manner};
use crate::support::{Api, LIMIT, eventually, tool, until, url};

/// The pause between two rounds: a busy witness's in a test.
const OFTEN: Duration = Duration::from_millis(50);

fn witness(log: &EventLog, address: &str) -> Witness {
    let address: Address = address.parse().expect("a witness");
    address.witness(log).expect("a client").every(OFTEN)
}

/// A node that sends to a witness until it goes out of scope.
struct Sending {
    task: JoinHandle<()>,
    _stop: DropGuard,
}

fn send(log: &EventLog, address: &str) -> Sending {
    let stop = CancellationToken::new();
    Sending { task: tokio::spawn(witness(log, address).run(stop.clone())), _stop: stop.drop_guard() }
}

impl Signed {
    fn verifier(&self) -> VerifierKey {
        Custody::open(self.folder.path()).expect("a key").verifier()
    }

    async fn cosigner(&self) -> Cosigner {
        Cosigner::start(vec![self.verifier()]).await
    }

    fn origin(&self) -> String {
        self.verifier().origin_of(self.lane(Lane::Telemetry))
    }

    /// Appends readings and signs them.
    async fn grow(&self, from: u64, to: u64) {
        append(&self.log, from, to).await;
        sign(&self.log, self.folder.path()).await;
    }

    /// What the only witness took of the telemetry log.
    async fn standing(&self) -> Standing {
        let all = store::all(&mut self.log.connection().await.expect("connect")).await.expect("read");
        let of = |standing: &Standing| standing.log_id == self.lane(Lane::Telemetry);
        all.into_iter().find(of).expect("a standing")
    }

    /// Why the only witness lacks something of the telemetry log.
    async fn problem(&self) -> String {
        self.standing().await.problem.map(|(why, _)| why).unwrap_or_default()
    }

    async fn newest(&self) -> SignedCheckpoint {
        let newest = read::checkpoint(&self.log, self.lane(Lane::Telemetry)).await.expect("read");
        newest.expect("signed").note
    }

    async fn is_cosigned(&self, witness: &Cosigner) -> bool {
        self.newest().await.verify(&[witness.key()]).is_ok()
    }

    async fn tool(&self, arguments: &[&str]) -> Output {
        let mut audit = tool("audit");
        audit.args(arguments).args(["--database-url", &url(&self.database.options())]);
        audit.output().await.expect("the binary")
    }
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_witness_that_signs_is_given_what_has_grown_and_its_line_is_served_with_the_checkpoint() {
    let api = Api::start().await;
    append(&api.log, 0, 300).await;
    sign(&api.log, api.custody.path()).await;
    let key = Custody::open(api.custody.path()).expect("a key").verifier();
    let cosigner = Cosigner::start(vec![key.clone()]).await;
    let _sending = send(&api.log, &cosigner.address());
    let path = format!("/audit/{}/checkpoint", api.log_of("t0", Lane::Telemetry));
    for (from, to) in [(0, 300), (300, 700), (700, 701)] {
        if from > 0 {
            append(&api.log, from, to).await;
            sign(&api.log, api.custody.path()).await;
        }
        let served = eventually("the witness's line", async || {
            let served = api.get(&path).await.text;
            if served.contains("witness.example/w1") { Ok(served) } else { Err(served) }
        })
        .await;
        let note: SignedCheckpoint = served.parse().expect("a checkpoint");
        assert_eq!((note.checkpoint.size, note.signatures()), (to, 2), "{served}");
        note.verify(&[cosigner.key()]).expect("the witness's signature");
        note.verify(std::slice::from_ref(&key)).expect("the log's own");
    }
    let mut asked = cosigner.asked();
    asked.retain(|(_, size, _)| *size != 1);
    assert_eq!(asked, [(0, 300, 200), (300, 700, 200), (700, 701, 200)], "and nothing else of this log");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_witness_is_taken_up_where_it_stands() {
    let signed = Signed::with(300, 0).await;
    let cosigner = signed.cosigner().await;
    let mut witness = witness(&signed.log, &cosigner.address());
    assert!(witness.round().await.expect("sent"));
    // The service does not know any more what the witness has signed.
    signed.database.owner().await.execute("DELETE FROM audit_witnesses").await.expect("deleted");
    signed.grow(300, 400).await;
    assert!(witness.round().await.expect("sent"));
    assert!(signed.is_cosigned(&cosigner).await);
    // The witness does not know any more what it has signed.
    cosigner.state.lock().latest.clear();
    signed.grow(400, 500).await;
    assert!(witness.round().await.expect("sent"));
    assert!(signed.is_cosigned(&cosigner).await);
    let asked = [(0, 300, 200), (0, 400, 409), (300, 400, 200), (400, 500, 409), (0, 500, 200)];
    assert_eq!(cosigner.asked(), asked);
    assert_eq!(signed.standing().await.size, 500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_under_a_new_key_begins_anew_with_a_witness() {
    let mut signed = Signed::with(300, 0).await;
    let cosigner = signed.cosigner().await;
    let mut witness = witness(&signed.log, &cosigner.address());
    assert!(witness.round().await.expect("sent"));
    let folder = tempfile::tempdir().expect("a directory");
    let key = Custody::create(folder.path()).expect("a key").verifier();
    let mut connection = signed.log.connection().await.expect("connect");
    fleetlog_proof::store::add_key(&mut connection, &key.to_string()).await.expect("added");
    drop(connection);
    signed.folder = folder;
    cosigner.state.lock().known.push(key);
    signed.grow(300, 400).await;
    assert!(witness.round().await.expect("sent"));
    assert_eq!(cosigner.asked(), [(0, 300, 200), (0, 400, 200)]);
    assert!(signed.is_cosigned(&cosigner).await);
}

/// A fork that a witness does not sign, and what is said of it.
async fn assert_disputed(to: u64, then: u64, why: &str) {
    let signed = Signed::with(300, 0).await;
    let cosigner = signed.cosigner().await;
    assert!(witness(&signed.log, &cosigner.address()).round().await.expect("sent"));
    let (folder, kept) = (signed.folder.path(), cosigner.state.lock().latest.clone());
    let log = take_back(&signed.database, folder, to, then).await;
    let signed = Signed { log, ..signed };
    let metrics = fleetlog_api::rest::metrics::recorder(fleetlog::instruments::all()).expect("a recorder");
    let counting = metrics::set_default_local_recorder(&metrics);
    let mut witness = witness(&signed.log, &cosigner.address());
    assert!(witness.round().await.expect("sent"));
    drop(counting);
    let problem = signed.problem().await;
    assert!(problem.contains(why), "{problem}");
    assert!(!signed.is_cosigned(&cosigner).await, "cosigned");
    assert_eq!(cosigner.state.lock().latest, kept, "the witness keeps what it has signed");
    let served = metrics.handle().render();
    let alarm = format!("fleetlog_witness_disputes{{witness=\"{}\"}} 1", cosigner.name());
    assert!(served.lines().any(|line| line == alarm), "{alarm}: {served}");
    assert!(served.contains("fleetlog_witness_behind_seconds{"), "{served}");
    let shown = words(&signed.tool(&["witnesses"]).await);
    assert!(shown.contains("signed 300 events at") && shown.contains(why), "{shown}");
}

#[tokio::test]
async fn a_witness_that_has_signed_more_than_there_is_raises_the_alarm() {
    assert_disputed(200, 0, "it has signed 300 events of log 2, and here are 200: the log was taken back")
        .await;
}

#[tokio::test]
async fn a_log_that_has_grown_on_another_beginning_is_not_signed() {
    assert_disputed(200, 300, "with 500 events does not go on from the 300 that it has signed").await;
}

#[tokio::test]
async fn another_history_of_the_same_size_is_not_signed() {
    assert_disputed(200, 100, "with 300 events does not go on from the 300 that it has signed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_no_signature_by_the_witnesss_key_is_not_kept() {
    let signed = Signed::with(30, 0).await;
    let cosigner = signed.cosigner().await;
    for (manner, why) in [
        (Manner::OtherKey, "its answer has no signature by witness.example/w1+"),
        (Manner::OtherText, "its signature is not right by witness.example/w1+"),
        (Manner::NoTime, "its signature is not right by witness.example/w1+"),
        (Manner::Fickle, "it names another size of log"),
        (Manner::Status(400), "it answered 400 Bad Request: this witness"),
        (Manner::Status(302), "it answered 302 Found: this witness"),
    ] {
        cosigner.behave(manner);
        let before = cosigner.asked().len();
        // Each time as a node that has just started.
        assert!(witness(&signed.log, &cosigner.address()).round().await.expect("sent"));
        let problem = signed.problem().await;
        assert!(problem.contains(why), "{manner:?}: {problem}");
        assert!(cosigner.asked().len() - before <= 3, "{manner:?}: it is asked a few times, not on and on");
        assert_eq!(signed.newest().await.signatures(), 1, "{manner:?}");
        assert_eq!(signed.standing().await.cosignature, None, "{manner:?}");
    }
    for manner in [Manner::Status(500), Manner::Status(429)] {
        cosigner.behave(manner);
        let reached = witness(&signed.log, &cosigner.address()).round().await.expect("asked");
        assert!(!reached, "{manner:?} is for the whole witness to rest");
    }
    cosigner.behave(Manner::Right);
    assert!(witness(&signed.log, &cosigner.address()).round().await.expect("sent"));
    assert!(signed.is_cosigned(&cosigner).await);
    assert_eq!(signed.problem().await, "", "it is over");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_a_witness_does_not_know_holds_up_no_other_one() {
    let signed = Signed::with(30, 1).await;
    let of_telemetry = read::key_of(&signed.verifier(), signed.lane(Lane::Telemetry));
    let cosigner = Cosigner::start(vec![of_telemetry]).await;
    assert!(witness(&signed.log, &cosigner.address()).round().await.expect("sent"));
    assert!(signed.is_cosigned(&cosigner).await);
    let shown = words(&signed.tool(&["witnesses"]).await);
    let control = signed.lane(Lane::Control);
    let key = read::key_of(&signed.verifier(), control);
    let line = shown.lines().find(|line| line.contains(&format!("log {control}: took nothing")));
    assert!(
        line.is_some_and(|line| line.contains(&format!("give its operator the log's verifier key, {key}"))),
        "{shown}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_a_node_dies_that_sends_to_a_witness_another_one_does() {
    let signed = Signed::with(30, 0).await;
    let cosigner = signed.cosigner().await;
    cosigner.behave(Manner::Silent);
    let other = signed.database.event_log().await;
    let first = send(&signed.log, &cosigner.address());
    until("the first node asks", async || cosigner.asked().len() == 1).await;
    let task = format!("fleetlog witness {}", cosigner.name());
    assert!(other.lead(&task).await.expect("asked").is_none(), "one node at a time");
    let _second = send(&other, &cosigner.address());
    cosigner.behave(Manner::Right);
    // It dies in the midst of its request.
    first.task.abort();
    until("the second node has it signed", async || signed.is_cosigned(&cosigner).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_renewed_beside_work_that_takes_longer_than_it_lasts() {
    let signed = Signed::with(1, 0).await;
    let mut leadership = signed.log.lead("a test").await.expect("asked").expect("leads");
    let mut owner = signed.database.owner().await;
    let is_old = format!(
        "SELECT EXISTS (SELECT FROM pg_locks JOIN pg_stat_activity USING (pid)
         WHERE locktype = 'advisory' AND ((classid::bigint << 32) | objid::bigint) = hashtextextended('a test', 0)
           AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
           AND clock_timestamp() - backend_start > interval '{} s')",
        LEASE.as_secs() + 1
    );
    let work = until("the lease is older than it lasts by itself", async || {
        sqlx::query_scalar(&is_old).fetch_one(&mut owner).await.expect("asked")
    });
    assert_eq!(leadership.during(work).await, Some(()));
    // Work is dropped once another node may lead.
    let mut owner = signed.database.owner().await;
    let end = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'
        AND ((classid::bigint << 32) | objid::bigint) = hashtextextended('a test', 0)
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    owner.execute(end).await.expect("ended");
    assert_eq!(leadership.during(std::future::pending::<()>()).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_witness_delays_no_signature_and_no_other_witness() {
    let signed = Signed::with(30, 0).await;
    let (dead, alive) = (signed.cosigner().await, signed.cosigner().await);
    dead.behave(Manner::Silent);
    let _sending = [send(&signed.log, &dead.address()), send(&signed.log, &alive.address())];
    until("the dead one is asked", async || dead.asked().len() == 1).await;
    let stop = CancellationToken::new();
    let custody = Custody::open(signed.folder.path()).expect("a key");
    let signing = tokio::spawn(Sequencer::new(signed.log.clone(), Some(custody)).run(stop.clone()));
    append(&signed.log, 30, 60).await;
    assert_eq!(all_signed(&signed.log, Lane::Telemetry).await, 60);
    until("the other one signs", async || signed.is_cosigned(&alive).await).await;
    assert_eq!(dead.asked().len(), 1, "the dead one still thinks about its first request");
    stop.cancel();
    signing.await.expect("ended");
}

/// The checkpoints of a file, as they were read.
fn notes(path: &std::path::Path) -> Vec<SignedCheckpoint> {
    read_checkpoints(&std::fs::read_to_string(path).expect("a file")).expect("checkpoints")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_has_each_checkpoint_and_both_verifiers_read_it() {
    let signed = Signed::with(300, 2).await;
    let folder = tempfile::tempdir().expect("a directory");
    let (days, file) = (folder.path().join("days"), folder.path().join("file"));
    std::fs::create_dir(&days).expect("made");
    let address = |path: &std::path::Path| format!("file://{}", path.display());
    let mut witnesses = [witness(&signed.log, &address(&days)), witness(&signed.log, &address(&file))];
    for (from, to) in [(0, 300), (300, 301), (301, 700)] {
        if from > 0 {
            signed.grow(from, to).await;
        }
        for witness in &mut witnesses {
            assert!(witness.round().await.expect("written"));
            assert!(witness.round().await.expect("nothing to write"));
        }
    }
    let days: Vec<_> =
        std::fs::read_dir(&days).expect("a folder").map(|day| day.expect("a day").path()).collect();
    let day = |path: &std::path::PathBuf| path.to_string_lossy().ends_with(".checkpoints");
    assert!((1..=2).contains(&days.len()) && days.iter().all(day), "one a day: {days:?}");
    let sizes = |notes: &[SignedCheckpoint]| {
        let of_telemetry = notes.iter().filter(|note| note.checkpoint.origin == signed.origin());
        of_telemetry.map(|note| note.checkpoint.size).collect::<Vec<_>>()
    };
    assert_eq!(sizes(&days.iter().flat_map(|day| notes(day)).collect::<Vec<_>>()), [300, 301, 700]);
    assert_eq!(sizes(&notes(&file)), [300, 301, 700]);
    assert_eq!(notes(&file).len(), 4, "the control log has not grown");

    let key = signed.verifier().to_string();
    let file = file.display().to_string();
    let verify = ["verify", "--key", &key, "--checkpoint", &file];
    let verified = signed.tool(&verify).await;
    assert!(verified.status.success(), "{}", words(&verified));
    let bundle = folder.path().join("bundle");
    let bundle = bundle.to_str().expect("a path");
    let bundled = signed.tool(&["bundle", bundle, "--kept", &file]).await;
    assert!(bundled.status.success(), "{}", words(&bundled));
    if has_python() {
        let python = |bundle: &str| {
            let mut python = std::process::Command::new("python3");
            python.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tools/verify.py"));
            python.args([bundle, "--key", &key, "--checkpoint", &file]).output().expect("python3")
        };
        let verified = python(bundle);
        assert!(verified.status.success(), "{}", words(&verified));
    }
    // What was taken back is found by the file alone.
    take_back(&signed.database, signed.folder.path(), 299, 500).await;
    let verified = signed.tool(&verify).await;
    assert_eq!(verified.status.code(), Some(1), "{}", words(&verified));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_whose_folder_is_gone_is_a_problem_until_it_is_back() {
    let signed = Signed::with(30, 0).await;
    let folder = tempfile::tempdir().expect("a directory");
    let (disk, away) = (folder.path().join("disk"), folder.path().join("away"));
    std::fs::create_dir(&disk).expect("made");
    let mut witness = witness(&signed.log, &format!("file://{}", disk.join("file").display()));
    std::fs::rename(&disk, &away).expect("moved");
    assert!(!witness.round().await.expect("tried"));
    assert!(signed.problem().await.contains("No such file or directory"), "{}", signed.problem().await);
    assert!(!disk.exists(), "nothing is written where the disk should be");
    std::fs::rename(&away, &disk).expect("moved");
    assert!(witness.round().await.expect("written"));
    assert_eq!(notes(&disk.join("file")).len(), 1);
    assert_eq!(signed.problem().await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_keeps_the_newest_checkpoint_of_each_log() {
    let signed = Signed::with(300, 1).await;
    let directory = tempfile::tempdir().expect("a directory");
    let options = mosquitto::Options { dir: directory.path().to_owned(), port: None };
    let broker = mosquitto::Broker::start(options).await.expect("mosquitto");
    let address = broker.address();
    let url = format!("mqtt://user:secret@{address}/auditor/checkpoints");
    let mut witness = witness(&signed.log, &url);
    assert!(witness.round().await.expect("published"));
    signed.grow(300, 400).await;
    assert!(witness.round().await.expect("published"));
    // Whoever subscribes only now gets the last one of each log.
    let mut auditor = Device::connect(address, V5, "auditor").await;
    auditor.subscribe("auditor/checkpoints/#").await;
    let mut sizes = vec![];
    for _ in 0..2 {
        let kept = tokio::time::timeout(LIMIT, auditor.topic_and_message_or_wait()).await;
        let (topic, message) = kept.expect("a retained message");
        let note: SignedCheckpoint = String::from_utf8(message).expect("text").parse().expect("a checkpoint");
        note.verify(&[signed.verifier()]).expect("signed");
        assert_eq!(topic, format!("auditor/checkpoints/{}", note.checkpoint.origin));
        sizes.push(note.checkpoint.size);
    }
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 400]);
    broker.stop().await.expect("stop");
    signed.grow(400, 401).await;
    assert!(!witness.round().await.expect("tried"));
    let shown = words(&signed.tool(&["witnesses"]).await);
    assert!(shown.contains(&format!("mqtt://{address}/auditor/checkpoints: log")), "{shown}");
    assert!(shown.contains("took 400 events at") && shown.contains("401 are signed here; since"), "{shown}");
    assert!(!shown.contains("secret"), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_a_day_has_the_newest_checkpoint_of_each_log() {
    let signed = Signed::with(300, 1).await;
    let outbox = tempfile::tempdir().expect("a directory");
    let transport = Transport::Files(outbox.path().join("outbox"));
    let stop = CancellationToken::new();
    tokio::spawn(Delivery::new(signed.log.clone(), transport).run(stop.clone()));
    let _stop = stop.drop_guard();
    let mails = || -> Vec<std::path::PathBuf> {
        let files = std::fs::read_dir(outbox.path().join("outbox"));
        files.map(|files| files.map(|file| file.expect("a file").path()).collect()).unwrap_or_default()
    };
    let mut witness = witness(&signed.log, "mailto:auditor@example.org");
    assert!(witness.round().await.expect("posted"));
    until("the mail is sent", async || mails().len() == 1).await;
    let first = mails().remove(0);
    let mail = std::fs::read_to_string(&first).expect("read");
    let (head, text) = mail.split_once("\n\n").expect("a head");
    assert!(head.starts_with("To: auditor@example.org\nSubject: Checkpoints of fleetlog-"), "{head}");
    // The text as a whole can be given to whoever verifies.
    let file = outbox.path().join("saved");
    std::fs::write(&file, text.replace('\n', "\r\n")).expect("written");
    assert_eq!(notes(&file).len(), 2);
    let (file, key) = (file.display().to_string(), signed.verifier().to_string());
    let verified = signed.tool(&["verify", "--key", &key, "--checkpoint", &file]).await;
    assert!(verified.status.success(), "{}", words(&verified));

    // A day's growth is one mail, of all logs, and a day without growth is none.
    signed.grow(300, 400).await;
    assert!(witness.round().await.expect("not yet"));
    let mut owner = signed.database.owner().await;
    let posted =
        "SELECT count(*) FROM mail_outbox WHERE tenant IS NULL AND recipient = 'auditor@example.org'";
    let mut posted =
        async || -> i64 { sqlx::query_scalar(posted).fetch_one(&mut owner).await.expect("counted") };
    assert_eq!(posted().await, 1);
    let mut other = signed.database.owner().await;
    let yesterday = "UPDATE audit_witnesses SET taken_at = taken_at - interval '24 hours'";
    other.execute(yesterday).await.expect("a day later");
    assert!(witness.round().await.expect("posted"));
    assert_eq!(posted().await, 2);
    until("the mail is sent", async || mails().len() == 2).await;
    let second = mails().into_iter().find(|mail| *mail != first).expect("the second");
    let second = std::fs::read_to_string(second).expect("read");
    let sizes: Vec<_> = read_checkpoints(second.split_once("\n\n").expect("a head").1).expect("notes");
    assert_eq!(sizes.iter().map(|note| note.checkpoint.size).collect::<Vec<_>>(), [1, 400], "all of them");
    other.execute(yesterday).await.expect("a day later");
    assert!(witness.round().await.expect("nothing new"));
    assert_eq!(posted().await, 2);
    // No tenant's requests see it.
    let mut requests = signed.database.requests("t0").await;
    let seen = requests.execute("SELECT recipient FROM mail_outbox").await;
    assert!(seen.is_err(), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_gives_its_checkpoints_to_a_witness_over_tls_and_says_once_what_stands_in_the_way() {
    let signed = Signed::with(300, 0).await;
    let folder = tempfile::tempdir().expect("a directory");
    let cosigner = Cosigner::start_tls(vec![], folder.path()).await;
    let start = |certificate: &str| {
        let mut serve = serve(&signed.database, signed.folder.path());
        serve.args(["--witness", &cosigner.address()]).env("SSL_CERT_FILE", folder.path().join(certificate));
        Running::start(serve)
    };
    // A certificate that this machine does not trust is no witness's.
    let mut running = start("another");
    running.says("a witness does not take the logs' checkpoints: it cannot be reached").await;
    running.terminate().await;
    assert!(cosigner.asked().is_empty());

    let mut running = start("certificate");
    let key = read::key_of(&signed.verifier(), signed.lane(Lane::Telemetry)).to_string();
    running.says(&key).await;
    until("it is asked again", async || {
        let refused = |asked: &&(u64, u64, u16)| asked.1 == 300 && asked.2 == 404;
        cosigner.asked().iter().filter(refused).count() > 1
    })
    .await;
    cosigner.state.lock().known.push(signed.verifier());
    running.says("a witness takes checkpoints again").await;
    until("the log is cosigned", async || signed.is_cosigned(&cosigner).await).await;
    append(&signed.log, 300, 310).await;
    until("what has grown is signed", async || cosigner.size_of(&signed.origin()) == 310).await;
    let said = running.terminate().await;
    let told = said.iter().filter(|line| line.contains("WARN") && line.contains(&key)).count();
    assert_eq!(told, 1, "{said:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_witness_that_is_ahead_is_an_error_in_the_services_log() {
    let signed = Signed::with(30, 0).await;
    let cosigner = signed.cosigner().await;
    let root = signed.kept(Lane::Telemetry).root;
    cosigner.state.lock().latest.insert(signed.origin(), (1000, root));
    let mut serve = serve(&signed.database, signed.folder.path());
    serve.env("FLEETLOG_WITNESSES", format!("mailto:auditor@example.org, {}", cosigner.address()));
    let mut running = Running::start(serve);
    running.says("a witness knows another history: it has signed 1000 events of log").await;
    let said = running.terminate().await;
    assert_eq!(said.iter().filter(|line| line.contains("ERROR")).count(), 1, "{said:#?}");
}

#[tokio::test]
async fn a_witness_that_is_none_is_refused_before_anything_is_made() {
    let folder = tempfile::tempdir().expect("a directory");
    let data = folder.path().join("data");
    for (given, why) in [
        ("https://witness.example/x", "needs its verifier key behind a #"),
        ("mqtts://user:secret@h", "needs a topic behind its host"),
        ("mailto:jo@a.example mailto:jo@a.example", "is named twice"),
        ("ftp://user:secret@h/x", "a witness is file:///path"),
        ("file:///no/such/folder/x", "there is no folder /no/such/folder"),
    ] {
        for by in ["--witness", "FLEETLOG_WITNESSES"] {
            let mut up = tool("up");
            up.arg("--data-dir").arg(&data);
            if by == "--witness" {
                up.args([by, given])
            } else {
                up.env(by, given)
            };
            let refused = up.output().await.expect("the binary");
            let said = words(&refused);
            assert!(
                !refused.status.success() && said.contains(why) && !said.contains("secret"),
                "{given}: {said}"
            );
            assert!(!data.exists(), "{given}");
        }
    }
    // Without a key there is nothing to give.
    let mut serve = tool("serve");
    serve.args([
        "--database-url",
        "postgres://localhost/x",
        "--mqtt",
        "127.0.0.1:0",
        "--http",
        "127.0.0.1:0",
    ]);
    let refused = serve.args(["--witness", "mailto:jo@a.example"]).output().await.expect("the binary");
    assert!(!refused.status.success() && words(&refused).contains("--audit-dir"), "{}", words(&refused));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_witness_took_is_forgotten_once_no_node_has_sent_to_it_for_90_days() {
    let signed = Signed::with(30, 0).await;
    let (cosigner, mut owner) = (signed.cosigner().await, signed.database.owner().await);
    assert!(witness(&signed.log, &cosigner.address()).round().await.expect("sent"));
    let others = "INSERT INTO audit_witnesses (witness, log_id, seen_at)
        SELECT 'mailto:' || days || '@a.example', min(log_id), now() - days * interval '1 day'
        FROM logs, unnest(ARRAY[89, 91]) AS days GROUP BY days;
        UPDATE audit_witnesses SET seen_at = now() - interval '91 days' WHERE size > 0";
    owner.execute(sqlx::raw_sql(others)).await.expect("inserted");
    let _sending = send(&signed.log, &cosigner.address());
    let mut connection = signed.log.connection().await.expect("connect");
    let left = eventually("the old ones are forgotten", async || {
        let all = store::all(&mut connection).await.expect("read");
        if all.len() == 2 { Ok(all) } else { Err(all) }
    })
    .await;
    let left: Vec<_> = left.into_iter().map(|standing| standing.witness).collect();
    assert_eq!(left, [cosigner.name(), "mailto:89@a.example".to_owned()]);
    // It is not believed to have taken nothing, or it would be given all again.
    register(&signed.log, 0..1).await;
    sign(&signed.log, signed.folder.path()).await;
    until("what has grown is signed", async || cosigner.asked().len() == 2).await;
}
