//! `--archive s3://bucket/prefix`, the real binary against an object store that checks each request's signature.

use std::process::Output;

use sqlx::Executor;
use tokio::process::{Child, Command};

use super::{Past, rows};
use crate::support::s3::{BUCKET, ObjectStore};
use crate::support::server::free_port;
use crate::support::{LIMIT, binary, eventually, tool, url};

/// A past that is over, and where it goes.
struct Stored {
    past: Past,
    store: ObjectStore,
    scratch: tempfile::TempDir,
}

impl Stored {
    async fn with(past: Past) -> Self {
        past.fold().await;
        past.keep(Some(30)).await;
        Self { past, store: ObjectStore::start().await, scratch: tempfile::tempdir().expect("a directory") }
    }

    fn reaching(&self, mut command: Command) -> Command {
        command
            .env("DATABASE_URL", url(&self.past.database.options()))
            .env("FLEETLOG_ARCHIVE", format!("s3://{BUCKET}/fleet/archive"))
            .env("TMPDIR", self.scratch.path())
            .envs(self.store.variables());
        command
    }

    /// Starts the service, which looks for weeks that are over at once.
    fn serve(&self) -> Child {
        let mut serve = self.reaching(binary("serve", free_port()));
        serve.args(["--mqtt", &format!("127.0.0.1:{}", free_port())]);
        serve.spawn().expect("the binary")
    }

    async fn archive(&self, arguments: &[&str]) -> (bool, String) {
        let mut archive = self.reaching(tool("archive"));
        let Output { status, stdout, stderr } = archive.args(arguments).output().await.expect("the binary");
        (status.success(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
    }

    /// How many ranges were removed.
    async fn removed(&self) -> usize {
        self.past.log.all_archived().await.expect("read").len()
    }

    async fn until_removed(&self, count: usize) {
        eventually("the weeks are removed", async || {
            let removed = self.removed().await;
            if removed == count { Ok(()) } else { Err(removed) }
        })
        .await;
    }

    fn is_scratch_empty(&self) -> bool {
        std::fs::read_dir(self.scratch.path()).expect("a directory").next().is_none()
    }
}

async fn stop(mut child: Child) {
    let pid = child.id().expect("running").to_string();
    let sent = Command::new("kill").args(["-INT", &pid]).status().await.expect("kill");
    let ended = tokio::time::timeout(LIMIT, child.wait()).await.expect("an end").expect("a child");
    assert!(sent.success() && ended.success(), "{ended}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weeks_go_to_a_bucket_are_verified_and_folded_from_it_and_come_back_equal() {
    let stored = Stored::with(Past::of([9, 8, 0], 300).await).await;
    let before = rows(&stored.past.database).await;
    let serve = stored.serve();
    stored.until_removed(2).await;
    assert_eq!(rows(&stored.past.database).await[..], before[600..]);
    let names = stored.store.names();
    assert_eq!(names.len(), 2, "{names:?}");
    let prefix = format!("fleet/archive/log-{}/2026w", stored.past.telemetry);
    assert!(names.iter().all(|name| name.starts_with(&prefix) && name.ends_with(".parquet")), "{names:?}");
    assert!(stored.store.state.lock().uploads.is_empty(), "nothing is half sent");

    let (good, text) = stored.archive(&["list"]).await;
    assert!(good && names.iter().all(|name| text.contains(&format!("s3://{BUCKET}/{name}"))), "{text}");
    let (good, text) = stored.archive(&["verify"]).await;
    assert!(good && text.matches("verified up to").count() == 2, "{text}");
    // Whoever folds a log from its beginning reads the objects.
    let mut projections = stored.reaching(tool("projections"));
    let rebuilt = projections.args(["rebuild", "devices"]).output().await.expect("the binary");
    let text = String::from_utf8_lossy(&[rebuilt.stdout, rebuilt.stderr].concat()).into_owned();
    assert!(rebuilt.status.success(), "{text}");
    stop(serve).await;

    let (good, text) = stored.archive(&["restore", "--log-id", &stored.past.telemetry.to_string()]).await;
    assert!(good && text.matches("restored, for 30 days").count() == 2, "{text}");
    assert_eq!(rows(&stored.past.database).await, before);
    assert!(stored.is_scratch_empty(), "what was fetched is gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_is_not_what_was_sent_removes_nothing_and_one_that_was_changed_is_not_believed() {
    let stored = Stored::with(Past::of([9, 8], 300).await).await;
    let before = rows(&stored.past.database).await;
    stored.store.state.lock().corrupts = true;
    let serve = stored.serve();
    eventually("it was read back", async || {
        let asked = stored.store.state.lock().asked.clone();
        if asked.iter().any(|asked| asked.starts_with("GET")) { Ok(()) } else { Err(asked) }
    })
    .await;
    stop(serve).await;
    assert_eq!((stored.removed().await, rows(&stored.past.database).await), (0, before.clone()));

    // The next start sends it again, under the same name.
    stored.store.state.lock().corrupts = false;
    let serve = stored.serve();
    stored.until_removed(2).await;
    stop(serve).await;
    assert_eq!(stored.store.names().len(), 2);
    let first = stored.store.names().remove(0);
    let whole = stored.store.state.lock().objects[&first].clone();
    let mut changed = whole.clone();
    let middle = changed.len() / 3;
    changed[middle] ^= 1;
    let log = stored.past.telemetry.to_string();
    for (bytes, why) in [
        (Some(changed), "is not as it was written"),
        (Some(whole[1..].to_vec()), "instead of"),
        (None, "not found"),
    ] {
        match bytes {
            Some(bytes) => stored.store.state.lock().objects.insert(first.clone(), bytes),
            None => stored.store.state.lock().objects.remove(&first),
        };
        for arguments in [&["verify"][..], &["restore", "--log-id", &log]] {
            let (good, text) = stored.archive(arguments).await;
            assert!(!good && text.contains(why), "{why}: {text}");
        }
        assert_eq!(rows(&stored.past.database).await.len(), 0, "not a row");
    }
    stored.store.state.lock().objects.insert(first, whole);
    let (good, text) = stored.archive(&["restore", "--log-id", &log]).await;
    assert!(good, "{text}");
    assert_eq!(rows(&stored.past.database).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_refuses_removes_nothing_and_the_reason_is_told() {
    let stored = Stored::with(Past::of([9], 30).await).await;
    stored.store.state.lock().only = Some(403);
    let mut serve = stored.reaching(binary("serve", free_port()));
    serve.args(["--mqtt", &format!("127.0.0.1:{}", free_port())]);
    let mut running = crate::audit::watch::Running::start(serve);
    running.says("failed to remove a week that is over age").await;
    let said = running.terminate().await;
    assert!(said.iter().any(|line| line.contains(&format!("s3://{BUCKET}/fleet/archive/log-"))), "{said:#?}");
    assert!(!said.iter().any(|line| line.contains("a/secret+key")), "{said:#?}");
    assert_eq!((stored.removed().await, rows(&stored.past.database).await.len()), (0, 30));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_archiver_sends_an_object_again_and_loses_nothing() {
    for point in ["archive.renamed", "archive.sent", "archive.verified"] {
        let stored = Stored::with(Past::of([9], 30).await).await;
        let before = rows(&stored.past.database).await;
        let mut serve = stored.reaching(binary("serve", free_port()));
        serve.args(["--mqtt", &format!("127.0.0.1:{}", free_port())]).env("CRASH_AT", point);
        let killed = tokio::time::timeout(LIMIT, serve.status()).await.expect("an end").expect("a child");
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&killed), Some(9), "{point}: {killed}");
        assert_eq!(
            (stored.removed().await, rows(&stored.past.database).await),
            (0, before.clone()),
            "{point}"
        );
        let again = stored.serve();
        stored.until_removed(1).await;
        stop(again).await;
        assert_eq!(stored.store.names().len(), 1, "{point}");
        let (good, text) = stored.archive(&["restore", "--log-id", &stored.past.telemetry.to_string()]).await;
        assert!(good, "{point}: {text}");
        assert_eq!(rows(&stored.past.database).await, before, "{point}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_larger_than_a_part_is_sent_in_parts() {
    let past = Past::of_unproved([9], 60).await;
    // Hexadecimal digits at random become half as long, which is 10 MiB here: the parts have 8.
    let large = "ALTER TABLE telemetry_events DISABLE TRIGGER USER;
        DO $$ DECLARE part regclass; BEGIN
            FOR part IN SELECT inhrelid FROM pg_inherits WHERE inhparent = 'telemetry_events'::regclass LOOP
                EXECUTE format('ALTER TABLE %s DISABLE TRIGGER USER', part);
            END LOOP;
        END $$;
        UPDATE telemetry_events SET payload = to_json(
            (SELECT string_agg(md5(random()::text || position || n), '') FROM generate_series(1, 11000) AS n))";
    past.database.owner().await.execute(sqlx::raw_sql(large)).await.expect("large");
    past.prove().await;
    let stored = Stored::with(past).await;
    let before = rows(&stored.past.database).await;
    let serve = stored.serve();
    stored.until_removed(1).await;
    stop(serve).await;
    let parts = stored.store.state.lock().asked.iter().filter(|asked| asked.contains("partNumber=")).count();
    assert!(parts > 1, "{parts}");
    let (good, text) = stored.archive(&["restore", "--log-id", &stored.past.telemetry.to_string()]).await;
    assert!(good, "{text}");
    assert!(rows(&stored.past.database).await == before, "the rows are equal");
}

#[tokio::test]
async fn a_place_that_is_no_bucket_is_refused_before_anything_is_made() {
    let folder = tempfile::tempdir().expect("a directory");
    let data = folder.path().join("data");
    for (place, why) in [
        ("s3://", "s3://bucket/prefix"),
        ("s3://A_b/x", "s3://bucket/prefix"),
        ("s3://user@bucket/x", "s3://bucket/prefix"),
        ("https://bucket.example/x", "mount what is elsewhere"),
    ] {
        let mut up = tool("up");
        let refused =
            up.arg("--data-dir").arg(&data).args(["--archive", place]).output().await.expect("the binary");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains(why), "{place}: {said}");
        assert!(!data.exists(), "{place}");
    }
}
