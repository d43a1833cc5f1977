//! Faults: rows and checkpoint are committed together or not at all, and what breaks off is taken up again.

use fleetlog_event_log::Lane;
use fleetlog_projections::status::{self, ProjectionStatus, State};
use sqlx::Executor;

use super::windows::untidy;
use super::{PATIENCE, Running, append, assert_equal_to_the_fold_of_the_log};
use crate::support::{Database, log_of};

#[tokio::test]
async fn a_page_is_not_applied_where_another_runner_has_moved_the_checkpoint() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let running = Running::start(&log);
    append(&log, untidy(0, 10)).await;
    running.catch_up().await;
    // As if another runner had applied five events that are still to come.
    let moved = sqlx::query("UPDATE projection_checkpoints SET position = 15 WHERE position = 10");
    assert_eq!(moved.execute(log.pool()).await.expect("moved").rows_affected(), 2);
    append(&log, untidy(10, 15)).await;
    append(&log, untidy(15, 20)).await;
    for projection in ["devices", "telemetry_windows"] {
        let telemetry = log_of(&log, Lane::Telemetry);
        running.handle.wait_for(projection, telemetry, 20, PATIENCE).await.expect("applied");
    }
    let messages: i64 = sqlx::query_scalar("SELECT sum(messages)::bigint FROM devices")
        .fetch_one(log.pool())
        .await
        .expect("summed");
    assert_eq!(messages, 15);
    let readings = "SELECT sum(count)::bigint FROM telemetry_windows WHERE step = 60 AND metric = 't'";
    let readings: i64 = sqlx::query_scalar(readings).fetch_one(log.pool()).await.expect("summed");
    assert_eq!(readings, 15);
}

#[tokio::test]
async fn a_commit_that_fails_leaves_neither_rows_nor_checkpoint() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    // The first commits of each projection fail: the counter is a sequence, which no rollback takes back.
    let fails_at_first = "
        CREATE SEQUENCE commits;
        GRANT USAGE ON commits TO fleetlog_service;
        CREATE FUNCTION fail_at_first() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF nextval('commits') < 5 THEN RAISE 'no luck' USING ERRCODE = 'serialization_failure'; END IF;
            RETURN NULL;
        END $$;
        CREATE CONSTRAINT TRIGGER fail_at_first AFTER UPDATE ON projection_checkpoints
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fail_at_first();";
    database.owner().await.execute(fails_at_first).await.expect("set up");
    append(&log, untidy(0, 300)).await;
    let running = Running::start(&log);
    running.catch_up().await;
    assert_equal_to_the_fold_of_the_log(&log).await;
    let tried: i64 =
        sqlx::query_scalar("SELECT nextval('commits')").fetch_one(log.pool()).await.expect("counted");
    assert!(tried > 5, "the fault did not fire");
}

#[tokio::test]
async fn a_projection_outlives_the_loss_of_its_connections() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let mut owner = database.owner().await;
    let running = Running::start(&log);
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
               WHERE datname = current_database() AND application_name = 'fleetlog' AND pid <> pg_backend_pid()";
    for n in 0..3 {
        append(&log, untidy(n * 200, (n + 1) * 200)).await;
        let gone: i64 = sqlx::query_scalar(cut).fetch_one(&mut owner).await.expect("cut");
        assert!(gone > 0, "the fault did not fire");
        running.catch_up().await;
    }
    assert_equal_to_the_fold_of_the_log(&log).await;
}

#[tokio::test]
async fn a_projection_that_cannot_go_on_says_why_and_goes_on_when_it_can() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let mut owner = database.owner().await;
    owner.execute("ALTER TABLE telemetry_windows_v2 RENAME TO hidden").await.expect("renamed");
    let running = Running::start(&log);
    append(&log, untidy(0, 100)).await;
    let telemetry = log_of(&log, Lane::Telemetry);
    running.handle.wait_for("devices", telemetry, 100, PATIENCE).await.expect("applied");
    let status = tokio::time::timeout(PATIENCE, async {
        loop {
            // Each projection enters itself in the list when it begins.
            let mut listed = status::list_all(&log).await.expect("listed").into_iter();
            let failed = |status: &ProjectionStatus| {
                status.projection == "telemetry_windows" && status.state == State::Failed
            };
            if let Some(status) = listed.find(failed) {
                return status;
            }
            tokio::task::yield_now().await;
        }
    });
    let status = status.await.expect("it fails");
    assert!(
        status
            .error
            .is_some_and(|error| error.ends_with("the database lacks a table or a column (SQLSTATE 42P01)"))
    );
    assert_eq!(status.total.position, 0);
    owner.execute("ALTER TABLE hidden RENAME TO telemetry_windows_v2").await.expect("renamed");
    running.catch_up().await;
    assert_equal_to_the_fold_of_the_log(&log).await;
}
