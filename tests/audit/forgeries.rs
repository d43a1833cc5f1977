//! Forgeries by the owner of the database, each in a transaction that is rolled back.

use std::process::{Command, Output};

use fleetlog_event_log::Lane;
use fleetlog_proof::bundle::Bundle;
use fleetlog_proof::{Custody, custody, read};
use sqlx::{Connection, Executor, PgConnection};

use super::{Signed, append, log_row, report, sign, words};

const READINGS: i64 = 700;
const DEVICES: i64 = 20;
/// How many forgeries are tried, and how many of them are shown to the independent verifier as well.
const FORGERIES: usize = 200;
const BOTH: usize = 50;

/// What is done to a log, and what must be found: the words, and the first position that is concerned.
struct Forgery {
    lane: Lane,
    sql: String,
    found: String,
    position: i64,
}

fn missing(first: i64, last: i64) -> String {
    if first == last {
        format!("position {first} is missing")
    } else {
        format!("positions {first} to {last} are missing")
    }
}

/// A forgery at random.
fn forge(random: &mut fastrand::Rng) -> Forgery {
    let lane = if random.bool() { Lane::Telemetry } else { Lane::Control };
    let (table, last, columns): (_, _, &[&str]) = match lane {
        Lane::Telemetry => (
            "telemetry_events",
            READINGS,
            &[
                "payload = replace(payload::text, '.5', '.6')::json",
                "payload = (payload::text || ' ')::json",
                "msg_id = msg_id || 'x'",
                "aggregate_id = 't0/dev-99'",
                "flags = flags # 2",
                "occurred_at = occurred_at - interval '1 microsecond'",
                "recorded_at = recorded_at + interval '1 microsecond'",
                "occurred_at = 'infinity'",
            ],
        ),
        Lane::Control => (
            "control_events",
            DEVICES,
            &[
                "payload = replace(payload::text, 'pump', 'lamp')::json",
                "metadata = replace(metadata::text, 'ingest', 'user:1')::json",
                "metadata = (' ' || metadata::text)::json",
                "aggregate_type = 'Command'",
                "aggregate_id = aggregate_id || 'x'",
                "event_type = 'DeviceDecommissioned'",
                "event_version = '1.1'",
                "sequence = sequence + 7",
                "occurred_at = occurred_at - interval '1 microsecond'",
                "recorded_at = recorded_at + interval '1 microsecond'",
            ],
        ),
    };
    let (position, log) =
        (random.i64(1..=last), format!("(SELECT log_id FROM logs WHERE tenant = 't0' AND lane = '{lane}')"));
    let at = format!("log_id = {log} AND position");
    let (sql, found, first) = match random.u8(0..8) {
        0..3 => {
            let change = random.choice(columns.iter()).expect("some");
            let sql = format!("UPDATE {table} SET {change} WHERE {at} = {position}");
            (sql, format!("position {position} differs"), position)
        }
        3 => (
            format!("DELETE FROM {table} WHERE {at} = {position}"),
            format!("position {position} is missing"),
            position,
        ),
        4 => {
            let last = (position + random.i64(1..300)).min(last);
            let words = missing(position, last);
            (format!("DELETE FROM {table} WHERE {at} BETWEEN {position} AND {last}"), words, position)
        }
        5 => {
            // Cut the log off, and its head with it, as a restored backup would.
            let words = missing(position, last);
            let sql = format!(
                "DELETE FROM {table} WHERE {at} >= {position};
                 UPDATE logs SET head = {position} - 1 WHERE log_id = {log}"
            );
            (sql, words, position)
        }
        6 => {
            let other = (position + random.i64(1..last) - 1) % last + 1;
            let other = if other == position { position % last + 1 } else { other };
            let sql = format!(
                "UPDATE {table} SET position = -1 WHERE {at} = {position};
                 UPDATE {table} SET position = {position} WHERE {at} = {other};
                 UPDATE {table} SET position = {other} WHERE {at} = -1"
            );
            (sql, format!("position {position} holds the event of position {other}"), position.min(other))
        }
        _ => {
            // The indexes would refuse a second event at a position, if they were there.
            let (drop, others) = match lane {
                Lane::Telemetry => (
                    "DO $$ DECLARE name text; BEGIN
                         FOR name IN SELECT indexrelid::regclass FROM pg_index
                             WHERE indrelid IN (SELECT inhrelid FROM pg_inherits) AND indisunique LOOP
                             EXECUTE 'DROP INDEX ' || name;
                         END LOOP;
                     END $$",
                    "log_id, position, occurred_at, recorded_at, flags, aggregate_id, msg_id || 'again', payload",
                ),
                Lane::Control => (
                    "ALTER TABLE control_events DROP CONSTRAINT control_events_position",
                    "log_id, position, aggregate_type, aggregate_id, sequence + 100, event_type, event_version,
                     payload, metadata, occurred_at, recorded_at",
                ),
            };
            let sql =
                format!("{drop}; INSERT INTO {table} SELECT {others} FROM {table} WHERE {at} = {position}");
            (sql, format!("position {position} is extra"), position)
        }
    };
    Forgery { lane, sql, found, position: first }
}

/// Whether this machine has what `tools/verify.py` needs.
pub(crate) fn has_python() -> bool {
    let imports = Command::new("python3").args(["-c", "import cryptography"]).output();
    let has = imports.is_ok_and(|output| output.status.success());
    if !has {
        eprintln!("tools/verify.py is left out: it needs python3 with `cryptography`");
    }
    has
}

fn python(bundle: &std::path::Path, key: &str, kept: &std::path::Path, (from, to): (i64, i64)) -> Output {
    Command::new("python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tools/verify.py"))
        .arg(bundle)
        .args(["--key", key, "--from", &from.to_string(), "--to", &to.to_string(), "--checkpoint"])
        .arg(kept)
        .output()
        .expect("python3")
}

/// Writes the bundle of a whole log.
async fn bundle(connection: &mut PgConnection, signed: &Signed, lane: Lane, folder: &std::path::Path) {
    let custody = Custody::open(signed.folder.path()).expect("a key");
    let log = log_row(connection, signed.lane(lane), lane).await;
    let note = custody.last(log.log_id).expect("signed");
    let key = read::key_of(&custody.verifier(), log.log_id);
    let to = note.checkpoint.size as i64;
    let bundle = Bundle { log: &log, note, key: &key, from: 1, to, kept: &[], removed: None };
    bundle.write(connection, folder, |_| ()).await.expect("written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_owner_of_the_database_forges_is_found_with_its_position_by_both_verifiers() {
    let signed = Signed::with(READINGS as u64, DEVICES as u32).await;
    let key = Custody::open(signed.folder.path()).expect("a key").verifier().to_string();
    let kept_file = signed.folder.path().join(custody::CHECKPOINTS);
    let (seed, python_too) = (fastrand::u64(..), has_python());
    eprintln!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut owner = signed.database.owner().await;
    for lane in [Lane::Control, Lane::Telemetry] {
        let (place, kept) = ((signed.lane(lane), lane), signed.kept(lane));
        let honest = report(&mut owner, place, std::slice::from_ref(&kept)).await;
        assert!(honest.is_good() && honest.verified == kept.size, "{honest:?}");
    }
    for nth in 0..FORGERIES {
        let forgery = forge(&mut random);
        let (lane, log_id) = (forgery.lane, signed.lane(forgery.lane));
        let mut forged = owner.begin().await.expect("begun");
        // As its owner may: no trigger fires.
        forged.execute("SET LOCAL session_replication_role = replica").await.expect("set");
        forged.execute(sqlx::raw_sql(&forgery.sql)).await.expect("forged");
        let found = report(&mut forged, (log_id, lane), &[signed.kept(lane)]).await;
        assert!(words(&found).contains(&forgery.found), "{}: {:?}", forgery.sql, found);
        assert_eq!(found.findings[0].position(), forgery.position, "{}: {found:?}", forgery.sql);
        if python_too && nth % (FORGERIES / BOTH) == 0 {
            let folder = tempfile::tempdir().expect("a directory");
            bundle(&mut forged, &signed, lane, folder.path()).await;
            let last = signed.kept(lane).size as i64;
            let told = python(folder.path(), &key, &kept_file, (1, last));
            let told = (told.status.code(), String::from_utf8_lossy(&told.stdout).into_owned());
            assert_eq!(told.0, Some(1), "{}: {}", forgery.sql, told.1);
            let named = format!("log {log_id}: position {} ", forgery.position);
            assert!(told.1.contains(&named), "{}: {}", forgery.sql, told.1);
        }
        forged.rollback().await.expect("rolled back");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_honest_bundle_is_proved_by_the_independent_verifier() {
    let signed = Signed::with(READINGS as u64, DEVICES as u32).await;
    let early = Custody::open(signed.folder.path()).expect("a key");
    let kept = early.last(signed.lane(Lane::Telemetry)).expect("signed").text();
    let kept_file = signed.folder.path().join("kept");
    std::fs::write(&kept_file, kept).expect("written");
    append(&signed.log, READINGS as u64, 900).await;
    sign(&signed.log, signed.folder.path()).await;
    if !has_python() {
        return;
    }
    let mut owner = signed.database.owner().await;
    let custody = Custody::open(signed.folder.path()).expect("a key");
    let folder = tempfile::tempdir().expect("a directory");
    let (log_id, lane) = (signed.lane(Lane::Telemetry), Lane::Telemetry);
    let log = log_row(&mut owner, log_id, lane).await;
    let (note, key) = (custody.last(log_id).expect("signed"), read::key_of(&custody.verifier(), log_id));
    let bundle =
        Bundle { log: &log, note, key: &key, from: 300, to: 310, kept: &[READINGS as u64], removed: None };
    assert_eq!(bundle.write(&mut owner, folder.path(), |_| ()).await.expect("written"), 11);
    let told = python(folder.path(), &custody.verifier().to_string(), &kept_file, (300, 310));
    let said = String::from_utf8_lossy(&told.stdout);
    assert!(told.status.success(), "{said} {}", String::from_utf8_lossy(&told.stderr));
    assert!(said.contains(&format!("log {log_id}: 11 events, 300 to 310, are as recorded")), "{said}");
}

#[tokio::test]
async fn changed_tiles_hide_no_change_and_are_found_themselves() {
    let signed = Signed::with(READINGS as u64, 1).await;
    let (place, kept) = ((signed.lane(Lane::Telemetry), Lane::Telemetry), signed.kept(Lane::Telemetry));
    let mut owner = signed.database.owner().await;
    let mut forged = owner.begin().await.expect("begun");
    forged.execute("SET LOCAL session_replication_role = replica").await.expect("set");
    let tile = "UPDATE audit_tiles SET hashes = set_byte(hashes, 40, 1 + get_byte(hashes, 40) % 255)
        WHERE log_id = (SELECT log_id FROM logs WHERE tenant = 't0' AND lane = 'telemetry') AND level = 0 AND index = 1";
    forged.execute(tile).await.expect("forged");
    let found = report(&mut forged, place, std::slice::from_ref(&kept)).await;
    assert_eq!(words(&found), ["the events are as recorded, but tile/0/001 was changed: proofs are wrong"]);

    // The tile says nothing of its own events any more, but the rest of the log does.
    let change = "UPDATE telemetry_events SET msg_id = 'forged' WHERE position = ";
    forged.execute(&*format!("{change} 300")).await.expect("forged");
    let found = report(&mut forged, place, std::slice::from_ref(&kept)).await;
    assert_eq!(
        words(&found),
        ["a position from 257 to 512 differs; the tiles were changed as well, so nobody can say which"]
    );
    forged.execute(&*format!("{change} 600")).await.expect("forged");
    let found = report(&mut forged, place, std::slice::from_ref(&kept)).await;
    assert!(words(&found).contains(&"position 600 differs".to_owned()), "{found:?}");
    forged.rollback().await.expect("rolled back");
}

#[tokio::test]
async fn the_events_before_a_change_are_verified_up_to_the_last_right_checkpoint() {
    let signed = Signed::with(100, 1).await;
    let early = signed.kept(Lane::Telemetry);
    append(&signed.log, 100, 250).await;
    sign(&signed.log, signed.folder.path()).await;
    let kept = [early, signed.kept(Lane::Telemetry)];
    let place = (signed.lane(Lane::Telemetry), Lane::Telemetry);
    let mut owner = signed.database.owner().await;
    let mut forged = owner.begin().await.expect("begun");
    forged.execute("SET LOCAL session_replication_role = replica").await.expect("set");
    forged.execute("UPDATE telemetry_events SET flags = 1 WHERE position = 200").await.expect("forged");
    let found = report(&mut forged, place, &kept).await;
    assert_eq!((words(&found), found.verified), (vec!["position 200 differs".to_owned()], 100));
    forged.rollback().await.expect("rolled back");

    // A checkpoint of another history, though it was signed, is a fork.
    let other = fleetlog_proof::note::Checkpoint { root: kept[1].root, ..kept[0].clone() };
    let found = report(&mut owner, place, &[other, kept[1].clone()]).await;
    assert_eq!(words(&found), ["a fork: the signed checkpoint of 100 events belongs to another history"]);
}
