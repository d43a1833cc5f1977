//! The proof of the log: what was signed cannot be changed unnoticed, by whoever owns the database.

mod console;
pub(crate) mod forgeries;
mod sequencer;
pub(crate) mod watch;
mod witnesses;

use std::path::Path;

use fleetlog_aggregates::device::{Labels, Via};
use fleetlog_aggregates::telemetry::{Message, Recorded, decide};
use fleetlog_event_log::{EventLog, Lane, Log, LogId};
use fleetlog_proof::custody::CHECKPOINTS;
use fleetlog_proof::note::Checkpoint;
use fleetlog_proof::verify::{Report, verify};
use fleetlog_proof::{Custody, Sequencer};
use sqlx::{Executor, PgConnection, Row};

use crate::support::{Database, log_of, register_device, t0};

/// A database with events of both lanes, signed by a key in a folder of the test.
struct Signed {
    database: Database,
    log: EventLog,
    folder: tempfile::TempDir,
}

fn reading(n: u64) -> Recorded {
    let topic = format!("t0/devices/dev-{:02}/telemetry", n % 7);
    let payload = format!(r#"{{"msg_id":"m{n}","temperature":{n}.5,"word":"gr\u00fc\u00df"}}"#);
    let message = Message { topic: &topic, payload: payload.as_bytes(), received_at: chrono::Utc::now() };
    decide(message, String::new).expect("storable")
}

/// Appends readings `from` to before `to`.
async fn append(log: &EventLog, from: u64, to: u64) {
    let batch: Vec<Recorded> = (from..to).map(reading).collect();
    log.append_telemetry(log_of(log, Lane::Telemetry), batch.into()).await.expect("appended");
}

/// Registers devices with these numbers: an event each on the control log.
async fn register(log: &EventLog, numbers: std::ops::Range<u32>) {
    for n in numbers {
        let command = register_device(Via::Telemetry, Some(format!("pump {n}")), Labels::new());
        let stream = t0(log).stream(format!("dev-{n}"));
        let metadata = fleetlog_event_log::control::Metadata::by(fleetlog_event_log::control::Actor::Ingest);
        t0(log)
            .execute::<fleetlog_aggregates::device::Device>(&stream, command, metadata)
            .await
            .expect("registered");
    }
}

/// Signs everything that is there.
async fn sign(log: &EventLog, folder: &Path) {
    let custody = Custody::open_or_create(folder).expect("a key");
    assert!(Sequencer::new(log.clone(), Some(custody)).catch_up().await.expect("signed"));
}

/// Takes the telemetry log back to its first events and signs what follows anew, with the same key: whoever has the
/// database and the folder of the key can. Returns the log as a node sees it that starts now.
async fn take_back(database: &Database, folder: &Path, to: u64, then: u64) -> EventLog {
    let forge = format!(
        "SET session_replication_role = replica;
         DELETE FROM telemetry_events WHERE position > {to};
         UPDATE logs SET head = {to} WHERE lane = 'telemetry' AND tenant = 't0';
         DELETE FROM audit_trees; DELETE FROM audit_tiles; DELETE FROM audit_checkpoints"
    );
    database.owner().await.execute(sqlx::raw_sql(&forge)).await.expect("forged");
    std::fs::remove_file(folder.join(CHECKPOINTS)).expect("removed");
    let log = database.event_log().await;
    if then > 0 {
        append(&log, 10_000, 10_000 + then).await;
    }
    sign(&log, folder).await;
    log
}

impl Signed {
    async fn with(readings: u64, devices: u32) -> Self {
        let (database, folder) = (Database::fresh().await, tempfile::tempdir().expect("a directory"));
        let log = database.event_log().await;
        register(&log, 0..devices).await;
        append(&log, 0, readings).await;
        sign(&log, folder.path()).await;
        Self { database, log, folder }
    }

    fn lane(&self, lane: Lane) -> LogId {
        log_of(&self.log, lane)
    }

    /// The checkpoint of a log that is kept outside the database.
    fn kept(&self, lane: Lane) -> Checkpoint {
        let custody = Custody::open(self.folder.path()).expect("a key");
        custody.last(self.lane(lane)).expect("signed").checkpoint.clone()
    }
}

/// A log as a connection sees it.
async fn log_row(connection: &mut PgConnection, log_id: LogId, lane: Lane) -> Log {
    let row = sqlx::query("SELECT tenant, head FROM logs WHERE log_id = $1").bind(log_id);
    let row = row.fetch_one(connection).await.expect("a log");
    Log { log_id, tenant: row.get("tenant"), lane, shard: 0, head: row.get("head"), archived_until: 0 }
}

async fn report(connection: &mut PgConnection, (log_id, lane): (LogId, Lane), kept: &[Checkpoint]) -> Report {
    let log = log_row(connection, log_id, lane).await;
    verify(connection, &log, kept, &[], |_| ()).await.expect("verified")
}

fn words(report: &Report) -> Vec<String> {
    report.findings.iter().map(ToString::to_string).collect()
}
