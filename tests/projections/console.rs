//! `fleetlog projections`, the real binary: it rebuilds without a service, outlives `kill -9` in each step, and tells by
//! its exit code whether a read model is what the log says.

use fleetlog_event_log::EventLog;
use rstest::rstest;
use sqlx::Executor;

use super::windows::untidy;
use super::{Running, append, assert_equal_to_the_fold_of_the_log};
use crate::support::{Database, tool, url};

/// What a command wrote, and its exit code. `None`: it was killed.
struct Told {
    code: Option<i32>,
    out: String,
    error: String,
}

/// A database with some events, projected, and no service.
async fn recorded() -> (Database, EventLog) {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    append(&log, untidy(0, 300)).await;
    let running = Running::start(&log);
    running.catch_up().await;
    running.stop().await;
    (database, log)
}

async fn run(database: &Database, arguments: &[&str], crash_at: &str) -> Told {
    let mut tool = tool("projections");
    tool.args(arguments).env("DATABASE_URL", url(&database.options())).env("CRASH_AT", crash_at);
    let output = tool.output().await.expect("run");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Told { code: output.status.code(), out: text(output.stdout), error: text(output.stderr) }
}

#[rstest]
#[case("rebuild.part")]
#[case("rebuild.built")]
#[case("rebuild.caught_up")]
#[case("rebuild.compared")]
#[case("rebuild.swapping")]
#[case("rebuild.swapped")]
#[tokio::test]
async fn a_rebuild_that_is_killed_in_any_step_goes_on_by_itself(#[case] point: &str) {
    let (database, _log) = recorded().await;
    let killed = run(&database, &["rebuild", "telemetry_windows"], point).await;
    assert_eq!(killed.code, None, "{} {}", killed.out, killed.error);
    let watched = run(&database, &["watch", "telemetry_windows"], "").await;
    assert_eq!(watched.code, Some(0), "{} {}", watched.out, watched.error);
    assert!(
        watched.out.starts_with("telemetry_windows: version 3 is live; version 2 is kept until "),
        "{}",
        watched.out
    );
    let verified = run(&database, &["verify", "telemetry_windows"], "").await;
    assert_eq!(verified.code, Some(0), "{} {}", verified.out, verified.error);
    let begins = "telemetry_windows verifying [..............................] 0 %  0 of 1 ranges of keys\n";
    assert!(verified.error.starts_with(begins), "{}", verified.error);
    let listed = run(&database, &["list"], "").await;
    let windows: Vec<&str> =
        listed.out.lines().filter(|line| line.starts_with("telemetry_windows")).collect();
    assert!(windows[0].contains("kept") && windows[1].contains("live"), "{}", listed.out);
}

#[tokio::test]
async fn a_live_version_that_is_behind_the_log_is_compared_at_its_own_position() {
    let (database, log) = recorded().await;
    append(&log, untidy(300, 400)).await;
    let rebuilt = run(&database, &["rebuild", "telemetry_windows"], "").await;
    assert_eq!(rebuilt.code, Some(0), "{} {}", rebuilt.out, rebuilt.error);
    let running = Running::start(&log);
    running.catch_up().await;
    assert_equal_to_the_fold_of_the_log(&log).await;
    running.stop().await;
}

#[tokio::test]
async fn a_read_model_that_is_not_what_the_log_says_is_told_row_by_row_and_mended_by_a_rebuild() {
    let (database, _log) = recorded().await;
    let mut owner = database.owner().await;
    owner
        .execute("UPDATE devices_v1 SET messages = messages + 1 WHERE uid = 'dev-03'")
        .await
        .expect("broken");
    let verified = run(&database, &["verify", "devices"], "").await;
    assert_eq!(verified.code, Some(1), "{}", verified.error);
    assert!(verified.out.contains(r#"devices {"tenant" : "t0", "uid" : "dev-03"}"#), "{}", verified.out);
    assert!(
        verified.error.ends_with("devices is not what the log says: 1 rows differ\n"),
        "{}",
        verified.error
    );

    let rebuilt = run(&database, &["rebuild", "devices"], "").await;
    assert_eq!(rebuilt.code, Some(1), "{}", rebuilt.error);
    assert!(rebuilt.out.contains(r#"devices {"tenant" : "t0", "uid" : "dev-03"}"#), "{}", rebuilt.out);
    assert!(rebuilt.error.contains("`fleetlog projections accept devices`"), "{}", rebuilt.error);
    let accepted = run(&database, &["accept", "devices"], "").await;
    assert_eq!(accepted.code, Some(0), "{}", accepted.error);
    assert_eq!(run(&database, &["verify", "devices"], "").await.code, Some(0));

    let unknown = run(&database, &["rebuild", "tomatoes"], "").await;
    assert_eq!((unknown.code, &*unknown.error), (Some(1), "fleetlog: there is no projection tomatoes\n"));
}
