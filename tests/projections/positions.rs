//! The position of the event that made a row last: what is compared, what an older program leaves, and how it comes back.

use std::ops::Range;

use chrono::TimeDelta;
use fleetlog_aggregates::device;
use fleetlog_aggregates::telemetry::Recorded;
use fleetlog_event_log::EventLog;
use fleetlog_projections::rebuild::Step;
use fleetlog_projections::{Options, Projections};
use sqlx::{Connection, Executor};

use super::rebuild::{begin, ended, live_version, verified};
use super::{Running, append, assert_equal_to_the_fold_of_the_log, at, execute, reading, register, smuggle};
use crate::support::Database;

const PROJECTIONS: [&str; 3] = ["devices", "commands", "telemetry_windows"];
const CMD_ID: &str = "019a0000-0000-7000-8000-000000000001";
const MIGRATION: &str = include_str!("../../migrations/0044_last_positions.sql");

/// A row of each kind, each made by several events.
async fn recorded(log: &EventLog) {
    register(log, "dev-01", Some("boiler")).await;
    let rename = device::Command::Update(device::Change { name: Some("pump".into()), ..Default::default() });
    execute(log, "t0/dev-01", rename).await;
    let request = r#"{"CommandRequested":{"device_uid":"dev-01","cmd":"ping","params":{},"requested_by":"user:1","timeout_s":10,"max_attempts":2,"expires_at":"2026-03-02T12:00:00Z"}}"#;
    let sent = r#"{"CommandSent":{"attempt":1,"deadline":"2026-03-01T12:00:11Z"}}"#;
    let stream = format!("t0/{CMD_ID}");
    smuggle(log, "Command", &stream, 1, request).await;
    smuggle(log, "Command", &stream, 2, sent).await;
    let batch = r#"{"CommandBatchRequested":{"selector":{"devices":["dev-01"]},"cmd":"ping","params":{},"requested_by":"user:1","timeout_s":10,"max_attempts":2,"expires_at":"2026-03-02T12:00:00Z","rate_per_s":1}}"#;
    smuggle(log, "CommandBatch", &stream, 1, batch).await;
    smuggle(log, "CommandBatch", &stream, 2, r#"{"CommandBatchCompleted":{}}"#).await;
    smuggle(log, "CommandType", "t0/beep", 1, r#"{"CommandTypeDefined":{"params":{}}}"#).await;
    smuggle(log, "CommandType", "t0/beep", 2, r#"{"CommandTypeDefined":{"params":{"type":"object"}}}"#).await;
    append(log, minutes(0..25)).await;
}

/// A reading a minute, and each tenth one of the hour before.
fn minutes(range: Range<usize>) -> Vec<Recorded> {
    let at = |n: usize| {
        at("2026-03-01T10:00:00Z") + TimeDelta::minutes(n as i64 - if n % 10 == 5 { 60 } else { 0 })
    };
    range.map(|n| reading("dev-01", n, at(n), r#""t":1"#)).collect()
}

/// The positions in each kind of row, in this order: the device's two, the command's, the batch's, the type's, and those of
/// the windows by step and time.
const POSITIONS: &str = "SELECT ARRAY(SELECT unnest(ARRAY[control_position, telemetry_position]) FROM devices)
                   || ARRAY(SELECT last_position FROM commands) || ARRAY(SELECT last_position FROM command_batches)
                   || ARRAY(SELECT last_position FROM command_types WHERE name = 'beep')
                   || ARRAY(SELECT position FROM telemetry_windows ORDER BY step, start)";

async fn positions(log: &EventLog) -> Vec<Option<i64>> {
    sqlx::query_scalar(POSITIONS).fetch_one(log.pool()).await.expect("read")
}

async fn rebuild_all(log: &EventLog, running: &Running) {
    for projection in PROJECTIONS {
        begin(&running.handle, projection).await.expect("begun");
        let rebuilt = ended(&running.handle, projection).await;
        assert_eq!((rebuilt.step, rebuilt.differences), (Step::Swapped, Some(0)), "{projection}");
    }
    assert_equal_to_the_fold_of_the_log(log).await;
}

async fn assert_verified(log: &EventLog, expected: i64) {
    let idle = Projections::new(log.clone(), Options::default()).handle();
    let mut differ = 0;
    for projection in PROJECTIONS {
        differ += verified(log, &idle, projection).await.1;
    }
    assert_eq!(differ, expected);
}

/// Makes the schema what it was before the migration, with the versions that are live.
async fn take_the_columns_away(log: &EventLog, database: &Database) {
    let mut owner = database.owner().await;
    let tables = "
        DROP FUNCTION forget_position CASCADE;
        DO $$
        DECLARE made regclass;
        BEGIN
            FOR made IN SELECT DISTINCT attrelid FROM pg_attribute WHERE attrelid::regclass::text ~ '_v[0-9]+$'
                AND attname IN ('control_position', 'last_position', 'positions') LOOP
                EXECUTE format('ALTER TABLE %s DROP COLUMN IF EXISTS control_position CASCADE,
                    DROP COLUMN IF EXISTS telemetry_position CASCADE, DROP COLUMN IF EXISTS last_position CASCADE,
                    DROP COLUMN IF EXISTS positions CASCADE', made);
            END LOOP;
        END $$;";
    owner.execute(tables).await.expect("dropped");
    for (view, projection) in [
        ("devices", "devices"),
        ("commands", "commands"),
        ("command_batches", "commands"),
        ("command_types", "commands"),
    ] {
        let version = live_version(log, projection).await;
        let made =
            format!("CREATE VIEW {view} WITH (security_invoker = true) AS SELECT * FROM {view}_v{version}");
        owner.execute(&*made).await.expect("a view");
    }
    let windows = include_str!("../../migrations/0030_telemetry_window_runs.sql");
    let views = &windows
        [windows.find("CREATE VIEW").expect("views")..windows.find("SELECT secure_rows").expect("grants")];
    let version = live_version(log, "telemetry_windows").await;
    owner.execute(&*views.replace("_v2", &format!("_v{version}"))).await.expect("views");
    let grants = "GRANT SELECT ON devices, commands, command_batches, command_types, telemetry_window_runs,
                  telemetry_windows TO fleetlog_service, fleetlog_requests";
    owner.execute(grants).await.expect("granted");
}

#[tokio::test]
async fn a_row_from_before_the_column_names_no_event_until_it_changes_or_is_rebuilt() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    recorded(&log).await;
    let running = Running::start(&log);
    running.catch_up().await;
    // Further versions are live, and others kept.
    rebuild_all(&log, &running).await;
    running.stop().await;
    take_the_columns_away(&log, &database).await;
    database.owner().await.execute(MIGRATION).await.expect("migrated");
    let before = positions(&log).await;
    assert!(before.len() > 30 && before.iter().all(Option::is_none), "{before:?}");
    assert_verified(&log, 0).await;

    let running = Running::start(&log);
    append(&log, minutes(25..38)).await;
    execute(
        &log,
        "t0/dev-01",
        device::Command::Update(device::Change { name: Some("again".into()), ..Default::default() }),
    )
    .await;
    running.catch_up().await;
    let control = "SELECT max(position) FROM control_events WHERE aggregate_id = 't0/dev-01'";
    let control: i64 = sqlx::query_scalar(control).fetch_one(log.pool()).await.expect("read");
    let now = positions(&log).await;
    assert_eq!(now[..5], [Some(control), Some(38), None, None, None]);
    // Of a run that is written again, the windows from before stay without.
    let minutes = "SELECT array_agg(position ORDER BY start) FROM telemetry_windows
                   WHERE step = 60 AND start BETWEEN '2026-03-01T10:20:00Z' AND '2026-03-01T10:30:00Z'";
    let minutes: Vec<Option<i64>> = sqlx::query_scalar(minutes).fetch_one(log.pool()).await.expect("read");
    let (unknown, known) = ([None; 5], [27, 28, 29, 30, 31].map(Some));
    assert_eq!(minutes, [unknown, known].concat());
    let longer = "SELECT count(*), count(position) FROM telemetry_windows WHERE step > 60";
    let longer: (i64, i64) = sqlx::query_as(longer).fetch_one(log.pool()).await.expect("read");
    assert_eq!(longer, (3, 0), "each holds some reading from before");
    assert_verified(&log, 0).await;

    rebuild_all(&log, &running).await;
    let rebuilt = positions(&log).await;
    assert!(rebuilt.len() >= now.len() && rebuilt.iter().all(Option::is_some), "{rebuilt:?}");
    assert_verified(&log, 0).await;
    running.stop().await;
}

#[tokio::test]
async fn what_a_program_changes_that_knows_no_positions_names_no_event() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    recorded(&log).await;
    let running = Running::start(&log);
    running.catch_up().await;
    for rebuilt in [false, true] {
        if rebuilt {
            rebuild_all(&log, &running).await;
        }
        let known = positions(&log).await;
        assert!(known.iter().all(Option::is_some), "{known:?}");
        let [devices, commands, windows] = [
            live_version(&log, "devices").await,
            live_version(&log, "commands").await,
            live_version(&log, "telemetry_windows").await,
        ];
        // What such a program writes, and which of the positions are unknown then.
        for (nth, statement) in [
            (0..1, format!(
                "INSERT INTO devices_v{devices} AS known (tenant, uid, name) VALUES ('t0', 'dev-01', 'older')
                 ON CONFLICT (tenant, uid) DO UPDATE SET
                     name = coalesce(excluded.name, known.name), labels = coalesce(excluded.labels, known.labels),
                     registered_at = coalesce(excluded.registered_at, known.registered_at)"
            )),
            (1..2, format!(
                "INSERT INTO devices_v{devices} AS known (tenant, uid, messages) VALUES ('t0', 'dev-01', 1)
                 ON CONFLICT (tenant, uid) DO UPDATE SET messages = known.messages + excluded.messages"
            )),
            (2..3, format!("UPDATE commands_v{commands} SET status = 'acked', attempts = 1, late_ack_at = late_ack_at")),
            (3..4, format!("UPDATE command_batches_v{commands} SET devices = devices + 1, status = 'running'")),
            (4..5, format!("UPDATE command_types_v{commands} SET removed_at = now() WHERE name = 'beep'")),
            (5..known.len(), format!(
                "INSERT INTO telemetry_windows_v{windows} AS known SELECT * FROM telemetry_windows_v{windows}
                 ON CONFLICT (log_id, series_id, step, run) DO UPDATE SET
                     counts = ARRAY(SELECT count + 1 FROM unnest(known.counts) AS count), last_ats = excluded.last_ats"
            )),
            // Nothing changes: as with the event of a credential.
            (0..0, format!("UPDATE devices_v{devices} SET name = name, labels = labels, messages = messages")),
        ] {
            let mut owner = database.owner().await;
            let mut older = owner.begin().await.expect("begun");
            older.execute(&*statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
            let left: Vec<Option<i64>> = sqlx::query_scalar(POSITIONS).fetch_one(&mut *older).await.expect("read");
            let expected = known.iter().enumerate().map(|(n, known)| known.filter(|_| !nth.contains(&n)));
            assert_eq!(left, expected.collect::<Vec<_>>(), "{statement}");
            older.rollback().await.expect("undone");
        }
    }
    running.stop().await;
}

#[tokio::test]
async fn a_position_that_is_not_what_the_log_says_is_found() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    recorded(&log).await;
    let running = Running::start(&log);
    running.catch_up().await;
    running.stop().await;
    let mut owner = database.owner().await;
    // Each is one less than it was, and then what it was.
    for (table, column) in [
        ("devices_v1", "control_position"),
        ("devices_v1", "telemetry_position"),
        ("commands_v1", "last_position"),
        ("command_batches_v1", "last_position"),
        ("command_types_v1", "last_position"),
        ("telemetry_windows_v2", "positions[1]"),
    ] {
        for (by, expected) in [(-1, 1), (1, 0)] {
            let change = format!(
                "UPDATE {table} AS known SET {column} = {column} + {by}
                 WHERE to_json(known) ->> 'run' IS NULL OR to_json(known) ->> 'run' = '2026-03-01T10:10:00+00:00'"
            );
            owner.execute(&*change).await.expect("changed");
            assert_verified(&log, expected).await;
        }
    }
}
