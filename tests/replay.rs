//! `fleetlog replay`, the real binary, on a history that the log has recorded.

mod history;

use chrono::{SecondsFormat, Utc};
use fleetlog_aggregates::device::{self, Device, Labels, Via};
use fleetlog_event_log::control::{Actor, ExecuteError, Metadata};
use fleetlog_event_log::{EventLog, database};
use insta::assert_snapshot;
use serde_json::json;
use sqlx::Executor;

use crate::support::{Server, register_device};
use history::{History, Told, id};

#[tokio::test]
async fn a_command_is_told_step_by_step() {
    let history = History::record().await;
    assert_snapshot!(history.replay(&["--command", &id(1)]).await.words(), @r#"
        command 019a0000-0000-7000-8000-000000000001 for dev-01: set_interval {"seconds":60}, asked for by user:1
               3  user:1  requested: 2 attempts of 10 s at most, until 2026-03-01T12:01:40Z -> requested
               4  dispatcher  sent, attempt 1: an answer is due by 2026-03-01T12:00:11Z -> sent
               6  dispatcher  sent, attempt 2: an answer is due by 2026-03-01T12:00:25Z -> sent
               9  dispatcher  timed out after 2 attempts -> timed_out
              11  dev-01  answered too late, ack: {"ms":3} -> timed_out
        now: timed_out after 2 attempts
        "#);
    assert_snapshot!(history.replay(&["--command", &id(5)]).await.words(), @r#"
        command 019a0000-0000-7000-8000-000000000005 for dev-02: ping {}, asked for by user:1
              14  user:1  requested: 2 attempts of 10 s at most, until 2026-03-01T12:01:40Z -> requested
              15  dev-02  sent, attempt 1: an answer is due by 2026-03-01T12:00:40Z -> sent
              16  dev-02  failed: "hot\u009b31m" -> failed
        now: failed after 1 attempt
        "#);
}

#[tokio::test]
async fn a_command_is_told_as_it_was_at_a_moment() {
    let history = History::record().await;
    let sent = history.moment(6).await;
    assert_snapshot!(history.replay(&["--command", &id(1), "--as-of", &sent]).await.words(), @r#"
        command 019a0000-0000-7000-8000-000000000001 for dev-01: set_interval {"seconds":60}, asked for by user:1
               3  user:1  requested: 2 attempts of 10 s at most, until 2026-03-01T12:01:40Z -> requested
               4  dispatcher  sent, attempt 1: an answer is due by 2026-03-01T12:00:11Z -> sent
               6  dispatcher  sent, attempt 2: an answer is due by 2026-03-01T12:00:25Z -> sent
        as of then: sent after 2 attempts
        "#);
    // Each event of the history has a time of its own.
    let by_position = history.replay(&["--command", &id(1), "--as-of", "1:6"]).await;
    assert_eq!(by_position.words(), history.replay(&["--command", &id(1), "--as-of", &sent]).await.words());
    assert!(by_position.out.contains("as of 1:6: sent after 2 attempts\n"), "{}", by_position.out);
    let told = history.replay(&["--device", "dev-02", "--as-of", "1:1"]).await;
    assert_eq!(told.reason, "fleetlog: there was no device dev-02 of tenant t0 at 1:1\n");
    let before = history.moment(2).await;
    let told = history.replay(&["--command", &id(1), "--as-of", &before]).await;
    assert_eq!((told.code, &*told.out), (1, ""));
    let reason = format!("fleetlog: there was no command {} of tenant t0 at {before}\n", id(1));
    assert_eq!(told.reason, reason);
}

#[tokio::test]
async fn a_device_is_told_with_all_its_commands_in_the_order_of_the_log() {
    let history = History::record().await;
    assert_snapshot!(history.replay(&["--device", "dev-01"]).await.words(), @r#"
        device dev-01
               1  ingest  registered by its first message -> registered
               3  user:1  command 019a0000-0000-7000-8000-000000000001: set_interval {"seconds":60} requested: 2 attempts of 10 s at most, until 2026-03-01T12:01:40Z -> requested
               4  dispatcher  command 019a0000-0000-7000-8000-000000000001: sent, attempt 1: an answer is due by 2026-03-01T12:00:11Z -> sent
               5  user:1  command 019a0000-0000-7000-8000-000000000002: ping {} requested: 2 attempts of 10 s at most, until 2026-03-01T12:01:40Z -> requested
               6  dispatcher  command 019a0000-0000-7000-8000-000000000001: sent, attempt 2: an answer is due by 2026-03-01T12:00:25Z -> sent
               7  dev-01  command 019a0000-0000-7000-8000-000000000002: sent, attempt 1: an answer is due by 2026-03-01T12:00:40Z -> sent
               8  dev-01  command 019a0000-0000-7000-8000-000000000002: acknowledged: {"ms":3} -> acked
               9  dispatcher  command 019a0000-0000-7000-8000-000000000001: timed out after 2 attempts -> timed_out
              10  user:1  command 019a0000-0000-7000-8000-000000000003: reboot {} requested: 2 attempts of 10 s at most, until 2026-03-01T12:01:40Z -> requested
              11  dev-01  command 019a0000-0000-7000-8000-000000000001: answered too late, ack: {"ms":3} -> timed_out
              12  user:2  command 019a0000-0000-7000-8000-000000000003: cancelled by user:2: "wrong device" -> cancelled
              13  user:1  command 019a0000-0000-7000-8000-000000000004: ping {} requested: 2 attempts of 10 s at most, until 2026-03-01T12:01:40Z -> requested
              17  ingest  decommissioned -> decommissioned
        now: decommissioned; commands: 1 requested, 1 acked, 1 timed_out, 1 cancelled
        "#);
    let (from, to) = (history.moment(6).await, history.moment(9).await);
    let some = history.replay(&["--device", "dev-01", "--from", &from, "--to", &to]).await;
    assert_snapshot!(some.words(), @r#"
        device dev-01
               6  dispatcher  command 019a0000-0000-7000-8000-000000000001: sent, attempt 2: an answer is due by 2026-03-01T12:00:25Z -> sent
               7  dev-01  command 019a0000-0000-7000-8000-000000000002: sent, attempt 1: an answer is due by 2026-03-01T12:00:40Z -> sent
               8  dev-01  command 019a0000-0000-7000-8000-000000000002: acknowledged: {"ms":3} -> acked
        now: decommissioned; commands: 1 requested, 1 acked, 1 timed_out, 1 cancelled
        "#);
    let then = history.replay(&["--device", "dev-02", "--as-of", &from]).await;
    assert_snapshot!(then.words(), @r#"
        device dev-02
               2  ingest  registered over the API, labels {"site":"hanoi"} -> registered
        as of then: registered; commands: none
        "#);
}

#[tokio::test]
async fn a_moment_is_told_with_every_command_that_had_not_ended() {
    let history = History::record().await;
    let now = Utc::now().to_rfc3339();
    assert_snapshot!(history.replay(&["--as-of", &now]).await.words(), @r#"
        command 019a0000-0000-7000-8000-000000000004 for dev-01: ping {}, asked for by user:1
              13  user:1  requested: 2 attempts of 10 s at most, until 2026-03-01T12:01:40Z -> requested
        as of then: requested
        as of then: commands: 1 requested, 1 acked, 1 failed, 1 timed_out, 1 cancelled
        "#);
    let sent = history.moment(6).await;
    assert_snapshot!(history.replay(&["--as-of", &sent]).await.words(), @r#"
        command 019a0000-0000-7000-8000-000000000001 for dev-01: set_interval {"seconds":60}, asked for by user:1
               3  user:1  requested: 2 attempts of 10 s at most, until 2026-03-01T12:01:40Z -> requested
               4  dispatcher  sent, attempt 1: an answer is due by 2026-03-01T12:00:11Z -> sent
               6  dispatcher  sent, attempt 2: an answer is due by 2026-03-01T12:00:25Z -> sent
        as of then: sent after 2 attempts
        command 019a0000-0000-7000-8000-000000000002 for dev-01: ping {}, asked for by user:1
               5  user:1  requested: 2 attempts of 10 s at most, until 2026-03-01T12:01:40Z -> requested
        as of then: requested
        as of then: commands: 1 requested, 1 sent
        "#);
}

#[tokio::test]
async fn as_json_each_line_is_an_object_and_each_event_as_it_is_stored() {
    let history = History::record().await;
    let lines = history.replay(&["--command", &id(2), "--format", "json"]).await.json();
    let kinds: Vec<_> = lines.iter().map(|line| line["line"].as_str().expect("a kind")).collect();
    assert_eq!(kinds, ["command", "event", "event", "event", "state"]);
    assert_eq!(lines[0]["requested_by"], "user:1");
    let event = &lines[3];
    assert_eq!(event["payload"], json!({ "CommandAcknowledged": { "result": { "ms": 3 } } }));
    assert_eq!((&event["metadata"]["actor"], &event["state"]), (&json!("dev-01"), &json!("acked")));
    assert_eq!(lines[4], json!({ "line": "state", "cmd_id": id(2), "state": "acked", "attempts": 1 }));

    let now = Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true);
    let lines = history.replay(&["--as-of", &now, "--format", "json"]).await.json();
    let counts =
        json!({ "requested": 1, "sent": 0, "acked": 1, "failed": 1, "timed_out": 1, "cancelled": 1 });
    assert_eq!(lines.last(), Some(&json!({ "line": "counts", "as_of": now, "commands": counts })));
}

#[tokio::test]
async fn a_log_of_many_pages_is_told_whole() {
    const COMMANDS: i64 = 2345;
    let history = History::record().await;
    let insert = format!(
        r#"INSERT INTO control_events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
           SELECT 'Command', 't0/' || gen_random_uuid(), 1, 'CommandRequested', '1.0',
                  '{{"CommandRequested":{{"device_uid":"dev-03","cmd":"ping","params":{{}},"requested_by":"user:1","timeout_s":10,"max_attempts":2,"expires_at":"2026-03-01T12:01:40Z"}}}}', '{{}}'
           FROM generate_series(1, {COMMANDS})"#
    );
    history.database.owner().await.execute(&*insert).await.expect("inserted");
    let told = history.replay(&["--as-of", &Utc::now().to_rfc3339()]).await.words();
    assert_eq!(told.lines().filter(|line| line.starts_with("command ")).count() as i64, COMMANDS + 1);
    assert!(told.contains(&format!("commands: {} requested, ", COMMANDS + 1)));
    let told = history.replay(&["--device", "dev-03"]).await.words();
    assert!(told.ends_with(&format!("now: unknown; commands: {COMMANDS} requested\n")));
}

#[tokio::test]
async fn what_is_not_there_or_makes_no_sense_is_refused_with_a_reason() {
    let history = History::record().await;
    for (arguments, code, reason) in [
        (&["--command", &*id(9)][..], 1, &*format!("fleetlog: there is no command {} of tenant t0", id(9))),
        (&["--device", "dev-09"], 1, "fleetlog: there is no device dev-09 of tenant t0"),
        (&["--tenant", "t9", "--device", "dev-01"], 1, "fleetlog: there is no tenant t9"),
        (
            &["--as-of", "yesterday"],
            2,
            "expected a time such as 2026-03-01T12:00:00Z, or a position such as 1:42",
        ),
        (&["--as-of", "+1:5"], 2, "expected a time such as 2026-03-01T12:00:00Z, or a position such as 1:42"),
        (
            &["--as-of", "2999-01-01T00:00:00Z"],
            1,
            "fleetlog: as of 2999-01-01T00:00:00Z: expected a time that has passed: what comes until then is not known",
        ),
        (
            &["--as-of", "1:18", "--device", "dev-01"],
            1,
            "fleetlog: as of 1:18: expected a position up to 17, where the log ends now",
        ),
        (&["--as-of", "9:1"], 1, "fleetlog: as of 9:1: there is no such log"),
        (&["--command", "7"], 2, "invalid value '7' for '--command <ID>': expected the id of a command"),
        (&["--from", "2026-11-20T13:32:47Z"], 2, "--device <UID>"),
        (&[], 2, "<--command <ID>|--device <UID>|--as-of <TIME|LOG:POSITION>>"),
    ] {
        let told = history.replay(arguments).await;
        assert_eq!((told.code, &*told.out), (code, ""), "{arguments:?}");
        assert!(told.reason.contains(reason), "{}", told.reason);
        assert!(code == 2 || told.reason.lines().count() == 1, "{}", told.reason);
    }
    let nowhere = tempfile::tempdir().expect("a directory");
    let told = Told::in_data_dir(nowhere.path(), &["--device", "dev-01"]).await;
    assert_eq!(told.code, 1);
    assert!(told.reason.starts_with("fleetlog: failed to find a database in "), "{}", told.reason);
    assert_eq!(nowhere.path().read_dir().expect("a directory").count(), 0, "nothing is made");
}

#[tokio::test]
async fn a_log_that_is_opened_to_read_refuses_to_be_written() {
    let history = History::record().await;
    let log = EventLog::open_to_read(database::Options::new(history.database.options())).await.expect("open");
    let written = log
        .execute::<Device>(
            &"t0/dev-01".parse().expect("a stream"),
            device::Command::Decommission,
            Metadata::by(Actor::Fleetlog),
        )
        .await;
    assert!(matches!(written, Err(ExecuteError::Refused(_))), "decided, and refused: {written:?}");
    let register = register_device(Via::Api, None, Labels::new());
    let written = log
        .execute::<Device>(&"t0/dev-01".parse().expect("a stream"), register, Metadata::by(Actor::Fleetlog))
        .await;
    let Err(ExecuteError::Log(error)) = written else { panic!("{written:?}") };
    assert!(error.to_string().contains("read-only transaction"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_of_up_is_told_whether_it_runs_or_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::up(directory.path()).await;
    let now = Utc::now().to_rfc3339();
    // What is signed by then, nobody can say.
    let arguments = ["--as-of", &now, "--unverified"];
    let running = Told::in_data_dir(directory.path(), &arguments).await;
    assert_eq!((running.code, &*running.reason), (0, ""));
    assert!(
        running.out.ends_with(": commands: none\n") && running.out.lines().count() == 1,
        "{}",
        running.out
    );
    server.stop().await;
    let stopped = Told::in_data_dir(directory.path(), &arguments).await;
    assert_eq!((stopped.code, stopped.out), (0, running.out));
    // A start that a busy machine makes slow says more.
    assert!(stopped.reason.lines().all(|line| line.starts_with("fleetlog: ")), "{}", stopped.reason);
    assert!(!directory.path().join("postgres/postgres/postmaster.pid").exists(), "stopped again");
}
