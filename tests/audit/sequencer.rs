//! The sequencer: it signs everything, once, and never two histories.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use fleetlog_event_log::{EventLog, Lane, LogId};
use fleetlog_proof::note::SignedCheckpoint;
use fleetlog_proof::{Custody, Error, Sequencer, read, store, tree};
use sqlx::{Executor, PgConnection};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::{Signed, append, register, report, sign, words};
use crate::support::server::{PASSWORD, free_port};
use crate::support::{Database, eventually, log_of, tool, until, url};

/// Every checkpoint that was signed of a log, smallest first.
async fn checkpoints(connection: &mut PgConnection, log_id: LogId) -> Vec<SignedCheckpoint> {
    let stored = store::above(connection, log_id, 0, 100_000).await.expect("read");
    stored.into_iter().map(|stored| stored.note).collect()
}

/// Checks that each checkpoint of each log follows from the one before, by the tiles.
async fn assert_one_history(log: &EventLog, custodies: &[&Custody]) {
    let mut connection = log.connection().await.expect("connect");
    for lane in [Lane::Control, Lane::Telemetry] {
        let log_id = log_of(log, lane);
        let mut notes = checkpoints(&mut connection, log_id).await;
        assert!(!notes.is_empty());
        notes.extend(custodies.iter().filter_map(|custody| custody.last(log_id).cloned()));
        let mut roots = BTreeMap::new();
        for note in &notes {
            note.verify(&[custodies[0].verifier()]).expect("signed by the key");
            let (size, root) = (note.checkpoint.size, note.checkpoint.root);
            assert_eq!(*roots.entry(size).or_insert(root), root, "two roots of {size} events");
            let tiles =
                store::tiles(&mut connection, log_id, &tree::tiles_of_root(size)).await.expect("tiles");
            assert_eq!(tiles.root(size), Ok(root), "{size}");
        }
    }
}

/// Waits until a log's newest checkpoint has all of its events.
pub(super) async fn all_signed(log: &EventLog, lane: Lane) -> u64 {
    let log_id = log_of(log, lane);
    eventually("all events are signed", async || {
        log.heads().refresh(log.pool()).await.expect("heads");
        let head = log.heads().log(log_id).expect("a log").head as u64;
        let newest =
            read::checkpoint(log, log_id).await.expect("read").map(|stored| stored.note.checkpoint.size);
        if newest == Some(head) { Ok(head) } else { Err((newest, head)) }
    })
    .await
}

#[tokio::test]
async fn every_event_of_both_lanes_is_signed_soon_after_its_append() {
    let (database, folder) = (Database::fresh().await, tempfile::tempdir().expect("a directory"));
    let log = database.event_log().await;
    let stop = CancellationToken::new();
    let custody = Custody::open_or_create(folder.path()).expect("a key");
    let running = tokio::spawn(Sequencer::new(log.clone(), Some(custody)).run(stop.clone()));
    append(&log, 0, 300).await;
    register(&log, 0..3).await;
    assert_eq!(all_signed(&log, Lane::Telemetry).await, 300);
    assert_eq!(all_signed(&log, Lane::Control).await, 3);
    append(&log, 300, 301).await;
    // It signs before it stops.
    stop.cancel();
    running.await.expect("ended");
    assert_eq!(all_signed(&log, Lane::Telemetry).await, 301);
    assert_one_history(&log, &[&Custody::open(folder.path()).expect("a key")]).await;
}

#[tokio::test]
async fn existing_events_are_taken_in_from_the_first_one_on_whichever_week_they_lie_in() {
    let (database, folder) = (Database::fresh().await, tempfile::tempdir().expect("a directory"));
    let log = database.event_log().await;
    let mut owner = database.owner().await;
    let old = "SELECT telemetry_events_make_partitions(now() - interval '60 days', now());
        INSERT INTO telemetry_events
            SELECT (SELECT log_id FROM logs WHERE tenant = 't0' AND lane = 'telemetry'), n, at, at, 0, 't0/dev-01', n::text, '{}'
            FROM generate_series(1, 25000) AS n, LATERAL (SELECT now() - interval '60 days' + n * interval '3 minutes' AS at) AS times;
        UPDATE logs SET head = 25000 WHERE tenant = 't0' AND lane = 'telemetry'";
    owner.execute(sqlx::raw_sql(old)).await.expect("filled");
    append(&log, 0, 10).await;
    sign(&log, folder.path()).await;
    let kept = Custody::open(folder.path()).expect("a key");
    let (log_id, lane) = (log_of(&log, Lane::Telemetry), Lane::Telemetry);
    let kept = kept.last(log_id).expect("signed").checkpoint.clone();
    assert_eq!(kept.size, 25_010);
    let found = report(&mut owner, (log_id, lane), &[kept]).await;
    assert!(found.is_good() && found.events == 25_010, "{found:?}");
}

#[tokio::test]
async fn a_log_that_grows_while_it_is_verified_is_as_it_was_recorded() {
    let signed = Signed::with(500, 1).await;
    let place = (signed.lane(Lane::Telemetry), Lane::Telemetry);
    let stop = CancellationToken::new();
    let (log, stopped) = (signed.log.clone(), stop.clone());
    let growing = tokio::spawn(async move {
        let mut next = 500;
        while !stopped.is_cancelled() {
            append(&log, next, next + 50).await;
            next += 50;
        }
    });
    let mut connection = signed.database.owner().await;
    for _ in 0..20 {
        let found = report(&mut connection, place, &[signed.kept(Lane::Telemetry)]).await;
        assert!(found.is_good() && found.verified == 500, "{found:?}");
    }
    stop.cancel();
    growing.await.expect("ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_sign_one_history_whichever_of_them_leads() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let folders = [tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory")];
    Custody::create(folders[0].path()).expect("a key");
    let key = |n: usize| folders[n].path().join(fleetlog_proof::custody::KEY);
    std::fs::copy(key(0), key(1)).expect("copied");
    let mut next = 0;
    // Each of them leads in turn, and is dropped in the midst of its work.
    for turn in 0..6 {
        let other = database.event_log().await;
        let custody = Custody::open(folders[turn % 2].path()).expect("a key");
        let running = tokio::spawn(Sequencer::new(other, Some(custody)).run(CancellationToken::new()));
        register(&log, turn as u32 * 3..turn as u32 * 3 + 3).await;
        append(&log, next, next + 120).await;
        next += 120;
        if turn % 3 == 2 {
            running.abort();
            let _ = running.await;
            continue;
        }
        all_signed(&log, Lane::Telemetry).await;
        running.abort();
        let _ = running.await;
    }
    // A node that waits takes in what the leader signs.
    let stop = CancellationToken::new();
    let nodes: Vec<_> = folders
        .iter()
        .map(|folder| {
            let custody = Custody::open(folder.path()).expect("a key");
            tokio::spawn(Sequencer::new(log.clone(), Some(custody)).run(stop.clone()))
        })
        .collect();
    let signed = all_signed(&log, Lane::Telemetry).await;
    until("both nodes keep the newest checkpoint", async || {
        folders.iter().all(|folder| {
            let custody = Custody::open(folder.path()).expect("a key");
            custody.last(log_of(&log, Lane::Telemetry)).is_some_and(|note| note.checkpoint.size == signed)
        })
    })
    .await;
    stop.cancel();
    for node in nodes {
        node.await.expect("ended");
    }
    let custodies = folders.each_ref().map(|folder| Custody::open(folder.path()).expect("a key"));
    assert_one_history(&log, &custodies.each_ref()).await;
}

#[tokio::test]
async fn a_node_with_another_key_signs_nothing() {
    let signed = Signed::with(10, 1).await;
    append(&signed.log, 10, 20).await;
    let other = tempfile::tempdir().expect("a directory");
    sign(&signed.log, other.path()).await;
    let newest =
        read::checkpoint(&signed.log, signed.lane(Lane::Telemetry)).await.expect("read").expect("signed");
    assert_eq!(newest.note.checkpoint.size, 10);
    assert!(Custody::open(other.path()).expect("a key").last(signed.lane(Lane::Telemetry)).is_none());
    // With the right key it goes on.
    sign(&signed.log, signed.folder.path()).await;
    assert_eq!(signed.kept(Lane::Telemetry).size, 20);
}

#[tokio::test]
async fn a_restored_backup_is_not_signed_and_is_found() {
    let signed = Signed::with(100, 2).await;
    let place = (signed.lane(Lane::Telemetry), Lane::Telemetry);
    let (mut connection, early) = (signed.database.owner().await, signed.kept(Lane::Telemetry));
    let backup = "CREATE TABLE trees AS TABLE audit_trees; CREATE TABLE tiles AS TABLE audit_tiles;
        CREATE TABLE checkpoints AS TABLE audit_checkpoints";
    connection.execute(sqlx::raw_sql(backup)).await.expect("backed up");
    append(&signed.log, 100, 150).await;
    sign(&signed.log, signed.folder.path()).await;
    // The whole database as it was, with its trees and checkpoints.
    let restore = "SET session_replication_role = replica;
        DELETE FROM telemetry_events WHERE position > 100; UPDATE logs SET head = 100 WHERE head = 150;
        DELETE FROM audit_trees; INSERT INTO audit_trees TABLE trees;
        DELETE FROM audit_tiles; INSERT INTO audit_tiles TABLE tiles;
        DELETE FROM audit_checkpoints; INSERT INTO audit_checkpoints TABLE checkpoints";
    connection.execute(sqlx::raw_sql(restore)).await.expect("restored");
    let restored = signed.database.event_log().await;
    let kept = [early, signed.kept(Lane::Telemetry)];
    assert_eq!(words(&report(&mut connection, place, &kept).await), ["positions 101 to 150 are missing"]);
    // Another history grows on it, beyond the old one.
    append(&restored, 1000, 1100).await;
    sign(&restored, signed.folder.path()).await;
    let newest = read::checkpoint(&restored, place.0).await.expect("read").expect("signed");
    assert_eq!(newest.note.checkpoint.size, 100, "nothing was signed");
    assert_eq!(signed.kept(Lane::Telemetry), kept[1]);
    let found = report(&mut connection, place, &kept).await;
    assert!(!found.is_good() && found.findings[0].position() == 101, "{found:?}");
}

#[tokio::test]
async fn a_hole_stops_the_proof_of_its_log_and_of_no_other() {
    let signed = Signed::with(10, 1).await;
    append(&signed.log, 10, 30).await;
    register(&signed.log, 1..3).await;
    let mut owner = signed.database.owner().await;
    owner.execute("SET session_replication_role = replica").await.expect("set");
    owner.execute("DELETE FROM telemetry_events WHERE position = 15").await.expect("deleted");
    sign(&signed.log, signed.folder.path()).await;
    assert_eq!((signed.kept(Lane::Telemetry).size, signed.kept(Lane::Control).size), (10, 3));
    let found =
        report(&mut owner, (signed.lane(Lane::Telemetry), Lane::Telemetry), &[signed.kept(Lane::Telemetry)])
            .await;
    assert_eq!((words(&found), found.verified), (vec!["position 15 is missing".to_owned()], 10));
}

#[tokio::test]
async fn what_was_said_of_a_log_is_never_said_differently() {
    let signed = Signed::with(300, 1).await;
    let mut service = signed.database.service().await;
    for change in [
        "UPDATE audit_trees SET size = size - 1",
        "UPDATE audit_tiles SET hashes = substr(hashes, 1, 32)",
        "UPDATE audit_tiles SET hashes = set_byte(hashes, 0, 255 - get_byte(hashes, 0))",
        "UPDATE audit_checkpoints SET root = set_byte(root, 0, 255 - get_byte(root, 0))",
        "UPDATE audit_checkpoints SET note = note || ' '",
        "UPDATE audit_checkpoints SET note = NULL",
    ] {
        let refused = service.execute(change).await.expect_err(change);
        let constraint =
            refused.as_database_error().and_then(|error| error.constraint().map(ToOwned::to_owned));
        assert_eq!(constraint.as_deref(), Some("audit_only_grows"), "{change}: {refused}");
    }
    for change in ["DELETE FROM audit_tiles", "DELETE FROM audit_trees", "UPDATE audit_keys SET vkey = ''"] {
        service.execute(change).await.expect_err(change);
    }
}

#[tokio::test]
async fn a_damaged_folder_stops_the_start_and_an_unwritable_one_signs_nothing() {
    let folder = tempfile::tempdir().expect("a directory");
    Custody::create(folder.path()).expect("a key");
    assert!(Custody::create(folder.path()).is_err_and(|error| error.to_string().contains("already")));
    let checkpoints = folder.path().join(fleetlog_proof::custody::CHECKPOINTS);
    std::fs::write(&checkpoints, "half a note\n").expect("written");
    assert!(Custody::open(folder.path()).is_err_and(|error| error.to_string().contains("damaged")));
    // A lost key is not replaced silently where something was signed already.
    std::fs::write(&checkpoints, "").expect("written");
    std::fs::remove_file(folder.path().join(fleetlog_proof::custody::KEY)).expect("removed");
    assert!(Custody::open_or_create(folder.path()).is_err_and(|error| error.to_string().contains("no key")));

    // What cannot be kept outside the database is not published.
    let (database, folder) = (Database::fresh().await, tempfile::tempdir().expect("a directory"));
    let log = database.event_log().await;
    append(&log, 0, 5).await;
    let custody = Custody::create(folder.path()).expect("a key");
    std::fs::remove_dir_all(folder.path()).expect("removed");
    let failed = Sequencer::new(log.clone(), Some(custody)).catch_up().await;
    assert!(matches!(failed, Err(Error::Custody(_))), "{failed:?}");
    assert!(read::checkpoint(&log, log_of(&log, Lane::Telemetry)).await.expect("read").is_none());
}

/// Where a node can die or freeze.
const POINTS: [&str; 6] = ["grown", "stored", "settled", "signed", "kept", "published"];

/// `fleetlog serve` with its key in a folder.
pub(super) fn serve(database: &Database, folder: &Path) -> Command {
    let mut serve = tool("serve");
    serve
        .env("DATABASE_URL", url(&database.options()))
        .env("FLEETLOG_ADMIN_PASSWORD", PASSWORD)
        .env("FLEETLOG_AUDIT_DIR", folder)
        .args(["--http", &format!("127.0.0.1:{}", free_port()), "--mqtt", "127.0.0.1:0"]);
    serve
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_killed_between_any_two_steps_leaves_one_history() {
    let (database, folder) = (Database::fresh().await, tempfile::tempdir().expect("a directory"));
    let log = database.event_log().await;
    let mut next = 0;
    for point in POINTS {
        append(&log, next, next + 100).await;
        next += 100;
        let mut serve = serve(&database, folder.path());
        serve.env("CRASH_AT", format!("proof: {point}"));
        let ended = tokio::time::timeout(Duration::from_mins(1), serve.status()).await.expect("killed");
        assert_eq!(ended.expect("a status").signal(), Some(9), "{point}");
    }
    // What died left its lease to Postgres, which ends it.
    eventually("the last one signs", async || {
        let custody = Custody::open(folder.path()).expect("a key");
        let led = Sequencer::new(log.clone(), Some(custody)).catch_up().await.expect("signed");
        if led { Ok(()) } else { Err("another one leads") }
    })
    .await;
    assert_eq!(all_signed(&log, Lane::Telemetry).await, next);
    assert_one_history(&log, &[&Custody::open(folder.path()).expect("a key")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_frozen_between_any_two_steps_and_wakes_after_another_one_has_signed_leaves_one_history()
 {
    let (database, folders) =
        (Database::fresh().await, [(); 2].map(|()| tempfile::tempdir().expect("a directory")));
    let (log, mut owner) = (database.event_log().await, database.owner().await);
    Custody::create(folders[0].path()).expect("a key");
    let key = |n: usize| folders[n].path().join(fleetlog_proof::custody::KEY);
    std::fs::copy(key(0), key(1)).expect("copied");
    let custody = |n: usize| Custody::open(folders[n].path()).expect("a key");
    let mut next = 0;
    for point in POINTS {
        append(&log, next, next + 100).await;
        let mut serve = serve(&database, folders[0].path());
        let mut frozen = serve
            .env("FREEZE_AT", format!("proof: {point}"))
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary");
        let mut lines = BufReader::new(frozen.stderr.take().expect("piped")).lines();
        while !lines.next_line().await.expect("a line").expect("frozen").contains("frozen by FREEZE_AT") {}
        // Passes the output on to a failing test; a pipe that nobody reads would stop the server.
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                eprintln!("{line}");
            }
        });
        // Postgres ends the lease of a node that is silent for 7 s. It can be asked to do so at once.
        owner.execute(END_LEASE).await.expect("ended");
        append(&log, next + 100, next + 150).await;
        eventually("the other node signs", async || {
            let led = Sequencer::new(log.clone(), Some(custody(1))).catch_up().await.expect("signed");
            if led { Ok(()) } else { Err("another one leads") }
        })
        .await;
        assert_eq!(
            custody(1).last(log_of(&log, Lane::Telemetry)).expect("signed").checkpoint.size,
            next + 150
        );
        next += 160;
        append(&log, next - 10, next).await;
        signal(&frozen, "-CONT").await;
        // It leads again, and goes on from what the other one has signed.
        assert_eq!(all_signed(&log, Lane::Telemetry).await, next, "{point}");
        signal(&frozen, "-INT").await;
        assert!(frozen.wait().await.expect("ended").success(), "{point}");
        assert_one_history(&log, &[&custody(0), &custody(1)]).await;
        assert_eq!(custody(0).last(log_of(&log, Lane::Telemetry)).expect("signed").checkpoint.size, next);
    }
}

/// Ends the connection of the node that keeps the proof, as Postgres does once it has been silent for too long.
const END_LEASE: &str = "
    SELECT pg_terminate_backend(pid) FROM pg_locks
    WHERE locktype = 'advisory' AND ((classid::bigint << 32) | objid::bigint) = hashtextextended('fleetlog proof', 0)
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

async fn signal(child: &Child, signal: &str) {
    let id = child.id().expect("running").to_string();
    assert!(Command::new("kill").args([signal, &id]).status().await.expect("kill").success());
}
