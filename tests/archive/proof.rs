//! A file has the proof of its events: whoever has the file and the log's key needs nothing else, and what is not the record's
//! is neither removed, verified nor restored.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use aws_lc_rs::digest::{SHA256, digest};
use fleetlog_archive::file::{self, Facts, Part, Reader};
use fleetlog_archive::{Archiver, Place};
use fleetlog_event_log::Event;
use fleetlog_event_log::event::Json;
use sqlx::Executor;
use tokio_util::sync::CancellationToken;

use super::{Past, rows};
use crate::support::{tool, url};

async fn run(past: &Past, command: &str, arguments: &[&str]) -> (bool, String) {
    let mut tool = tool(command);
    tool.args(arguments).env("DATABASE_URL", url(&past.database.options()));
    let Output { status, stdout, stderr } = tool.output().await.expect("the binary");
    (status.success(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}

/// Three weeks of 300 readings, of which two were removed.
async fn removed() -> Past {
    let past = Past::of([9, 8, 0], 300).await;
    past.keep(Some(30)).await;
    assert_eq!(past.remove().await, 2);
    past
}

/// The file of a range.
async fn file_of(past: &Past, nth: usize) -> PathBuf {
    let range = past.log.all_archived().await.expect("read").swap_remove(nth);
    range.copy.expect("a copy").location.into()
}

fn events(path: &Path, positions: (i64, i64)) -> Vec<Event> {
    let (mut reader, mut events) = (Reader::open(path, positions, 0).expect("opened"), vec![]);
    loop {
        let batch = reader.batch().expect("read");
        if batch.is_empty() {
            return events;
        }
        events.extend(batch);
    }
}

/// Writes a file anew with one of its events changed, and tells the database its new length and hash, as its owner can.
async fn forge(past: &Past, path: &Path, position: i64) {
    let facts = Facts::of(path).expect("facts");
    let mut events = events(path, facts.positions);
    events[(position - facts.positions.0) as usize].payload = Json(r#"{"forged":true}"#.into());
    let elsewhere = tempfile::tempdir().expect("a directory");
    let of = (facts.log_id, facts.week, facts.positions.0);
    let mut parts = [Part::End(facts.proof), Part::Page(events)].into_iter().collect::<Vec<_>>();
    let written =
        file::write(elsewhere.path(), of, || Ok(parts.pop().expect("a part"))).expect("written").path;
    std::fs::copy(written, path).expect("copied");
    let bytes = std::fs::read(path).expect("read");
    let update = "UPDATE archived_ranges SET bytes = $2, sha256 = $3 WHERE first_position = $1";
    sqlx::query(update)
        .bind(facts.positions.0)
        .bind(bytes.len() as i64)
        .bind(digest(&SHA256, &bytes).as_ref())
        .execute(&mut past.database.owner().await)
        .await
        .expect("noted");
}

async fn key(past: &Past) -> String {
    past.keys().await[0].to_string()
}

#[tokio::test]
async fn a_file_alone_proves_its_events_with_the_logs_key_and_a_forged_one_does_not() {
    let past = removed().await;
    let (path, key) = (file_of(&past, 1).await, key(&past).await);
    let file = path.to_str().expect("a path").to_owned();
    // A database that is not there is not asked.
    let alone = async |key: &str| {
        let mut verify = tool("archive");
        verify
            .args(["verify", "--file", &file, "--key", key])
            .env("DATABASE_URL", "postgres://127.0.0.1:1/x");
        let Output { status, stdout, .. } = verify.output().await.expect("the binary");
        (status.success(), String::from_utf8_lossy(&stdout).into_owned())
    };
    let (good, text) = alone(&key).await;
    let said = format!(
        "log {}  301 to 600  verified up to {}:600 (checkpoint of 20",
        past.telemetry, past.telemetry
    );
    assert!(good && text.contains(&said), "{text}");
    let other = fleetlog_proof::note::SigningKey::generate("other", fleetlog_proof::note::Kind::Note);
    let (good, text) = alone(&other.expect("a key").verifier().to_string()).await;
    assert!(!good && text.contains("not signed by this key"), "{text}");
    forge(&past, &path, 444).await;
    let (good, text) = alone(&key).await;
    assert!(!good && text.contains("do not lead to the root that was signed"), "{text}");
}

#[tokio::test]
async fn a_forged_file_is_neither_verified_nor_restored_and_its_first_wrong_position_is_named() {
    let past = removed().await;
    let before = rows(&past.database).await;
    let path = file_of(&past, 0).await;
    let whole = std::fs::read(&path).expect("read");
    let log = past.telemetry.to_string();
    for position in [1, 257, 300] {
        forge(&past, &path, position).await;
        for arguments in [&["verify"][..], &["restore", "--log-id", &log]] {
            let (good, text) = run(&past, "archive", arguments).await;
            assert!(!good && text.contains(&format!("position {position} differs")), "{position}: {text}");
        }
        assert_eq!(rows(&past.database).await, before, "not a row");
        std::fs::write(&path, &whole).expect("written");
    }
    // The tiles were changed as well: then nobody can say which event it is, and it is still refused.
    forge(&past, &path, 17).await;
    let leaf = "UPDATE audit_tiles SET hashes = overlay(hashes PLACING $2 FROM 16 * 32 + 1)
                WHERE log_id = $1 AND level = 0 AND index = 0";
    let forged = &events(&path, (1, 300))[16];
    let forged = fleetlog_proof::record::Reading::of(forged).expect("a reading").record().leaf();
    let mut owner = past.database.owner().await;
    owner.execute("ALTER TABLE audit_tiles DISABLE TRIGGER USER").await.expect("as its owner");
    sqlx::query(leaf)
        .bind(past.telemetry)
        .bind(forged.0.as_slice())
        .execute(&mut owner)
        .await
        .expect("changed");
    let (good, text) = run(&past, "archive", &["verify", "--to", "1", "--log-id", &log]).await;
    assert!(!good && text.contains("do not lead to the root that was signed"), "{text}");
}

#[tokio::test]
async fn a_week_whose_events_are_not_the_proofs_is_not_removed() {
    let past = Past::of([9, 8], 300).await;
    past.keep(Some(30)).await;
    let forge = "ALTER TABLE telemetry_events DISABLE TRIGGER USER;
         DO $$ DECLARE part regclass; BEGIN
             FOR part IN SELECT inhrelid FROM pg_inherits WHERE inhparent = 'telemetry_events'::regclass LOOP
                 EXECUTE format('ALTER TABLE %s DISABLE TRIGGER USER', part);
             END LOOP;
         END $$;
         UPDATE telemetry_events SET payload = '{\"forged\":1}' WHERE position = 321;";
    past.database.owner().await.execute(forge).await.expect("forged");
    let before = rows(&past.database).await;
    let refused =
        past.archiver().remove_due(&CancellationToken::new()).await.expect_err("refused").to_string();
    assert!(refused.contains("position 321 differs"), "{refused}");
    assert_eq!(rows(&past.database).await[..], before[300..], "the week that is as it was recorded has left");
    let removed = past.log.all_archived().await.expect("read");
    assert!(matches!(&removed[..], [range] if range.last == 300 && range.proved_size == Some(600)));
}

#[tokio::test]
async fn nothing_is_removed_on_the_word_of_a_checkpoint_by_another_key() {
    let past = Past::of([9], 20).await;
    past.keep(Some(30)).await;
    let other = fleetlog_proof::note::SigningKey::generate("other", fleetlog_proof::note::Kind::Note);
    let place = Place::Directory(past.directory.path().to_owned());
    let archiver = Archiver::new(past.log.clone(), place).trusting(Some(other.expect("a key").verifier()));
    let refused = archiver.remove_due(&CancellationToken::new()).await.expect_err("refused").to_string();
    assert!(refused.contains("not signed by this key"), "{refused}");
    assert_eq!(rows(&past.database).await.len(), 20);
}

#[tokio::test]
async fn without_a_key_files_have_no_proof_and_every_answer_about_them_says_so() {
    let past = Past::unsigned([9], 300).await;
    past.keep(Some(30)).await;
    let before = rows(&past.database).await;
    assert_eq!(past.remove().await, 1);
    let (_, text) = run(&past, "archive", &["list"]).await;
    assert!(text.contains("without a proof"), "{text}");
    let (good, text) = run(&past, "archive", &["verify"]).await;
    assert!(good && text.contains("as the database's own proof says; nothing is signed"), "{text}");
    let path = file_of(&past, 0).await;
    let whole = std::fs::read(&path).expect("read");
    forge(&past, &path, 100).await;
    let (good, text) = run(&past, "archive", &["restore", "--log-id", &past.telemetry.to_string()]).await;
    assert!(!good && text.contains("position 100 differs"), "{text}");
    std::fs::write(&path, &whole).expect("written");
    let noted = "UPDATE archived_ranges SET bytes = $1, sha256 = $2";
    let noted = sqlx::query(noted).bind(whole.len() as i64).bind(digest(&SHA256, &whole).as_ref().to_vec());
    noted.execute(&mut past.database.owner().await).await.expect("noted");
    let (good, text) = run(&past, "archive", &["restore", "--log-id", &past.telemetry.to_string()]).await;
    assert!(good, "{text}");
    assert_eq!(rows(&past.database).await, before);
}

#[tokio::test]
async fn a_bundle_of_removed_and_stored_events_is_verified_without_fleetlog() {
    if !crate::audit::forgeries::has_python() {
        return;
    }
    let past = removed().await;
    let (key, log) = (key(&past).await, past.telemetry.to_string());
    let folder = tempfile::tempdir().expect("a directory");
    let bundle = folder.path().join("bundle");
    let bundle = bundle.to_str().expect("a path");
    let (from, to) = ("250", "650");
    let (good, text) =
        run(&past, "audit", &["bundle", bundle, "--log-id", &log, "--from", from, "--to", to]).await;
    assert!(good && text.contains("401 events"), "{text}");
    let verifier = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/verify.py");
    let verify = || {
        let mut python = Command::new("python3");
        python.arg(&verifier).arg(bundle).args(["--key", &key, "--from", from, "--to", to]);
        let Output { status, stdout, stderr } = python.output().expect("python3");
        (status.success(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
    };
    let (good, text) = verify();
    assert!(good, "{text}");
    let lines = format!("{bundle}/log-{log}/events.ndjson");
    let text = std::fs::read_to_string(&lines).expect("read");
    std::fs::write(&lines, text.replacen("\"flags\":1", "\"flags\":2", 1)).expect("written");
    assert!(!verify().0, "a changed bundle");
    let path = file_of(&past, 1).await;
    std::fs::remove_file(&path).expect("removed");
    let again = folder.path().join("again");
    let (good, text) =
        run(&past, "audit", &["bundle", again.to_str().expect("a path"), "--log-id", &log]).await;
    assert!(!good && text.contains("No such file"), "{text}");
}
