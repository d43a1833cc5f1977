//! Runners: one a projection over all nodes, and anyone can wait for it.

use std::time::Duration;

use fleetlog_event_log::Lane;
use fleetlog_projections::WaitError;
use fleetlog_projections::status::State;

use super::windows::untidy;
use super::{PATIENCE, Running, append, assert_equal_to_the_fold_of_the_log, register, status_of};
use crate::support::{Database, log_of};

#[tokio::test]
async fn two_nodes_apply_every_event_once_and_one_takes_over_from_the_other() {
    let database = Database::fresh().await;
    let (here, there) = (database.event_log().await, database.event_log().await);
    let (first, second) = (Running::start(&here), Running::start(&there));
    for n in 0..10 {
        append(if n % 2 == 0 { &here } else { &there }, untidy(n * 100, (n + 1) * 100)).await;
    }
    first.catch_up().await;
    second.catch_up().await;
    assert_equal_to_the_fold_of_the_log(&here).await;
    assert_eq!(status_of(&here, "telemetry_windows").await.state, State::Following);
    first.stop().await;
    append(&here, untidy(1_000, 1_200)).await;
    second.catch_up().await;
    assert_equal_to_the_fold_of_the_log(&here).await;
    second.stop().await;
    assert_eq!(status_of(&here, "telemetry_windows").await.state, State::Stopped);
}

#[tokio::test]
async fn a_wait_ends_when_the_projection_is_there_or_time_is_up() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let (control, telemetry) = (log_of(&log, Lane::Control), log_of(&log, Lane::Telemetry));
    let running = Running::start(&log);
    let handle = &running.handle;
    register(&log, "dev-01", None).await;
    handle.wait_for("devices", control, 1, PATIENCE).await.expect("applied");
    let too_far = handle.wait_for("devices", control, 2, Duration::from_millis(20)).await;
    assert!(matches!(too_far, Err(WaitError::TimedOut)), "{too_far:?}");
    let unknown = handle.wait_for("nonsense", control, 1, PATIENCE).await;
    assert!(matches!(unknown, Err(WaitError::UnknownProjection)), "{unknown:?}");
    // It does not read that log.
    handle.wait_for("telemetry_windows", control, 100, PATIENCE).await.expect("nothing to wait for");
    let waiting = handle.wait_for("telemetry_windows", telemetry, 100, PATIENCE);
    let (waited, ()) = tokio::join!(waiting, append(&log, untidy(0, 100)));
    waited.expect("applied");
}

#[tokio::test]
async fn the_status_tells_position_head_and_lag_of_each_log() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    append(&log, untidy(0, 30)).await;
    let running = Running::start(&log);
    running.catch_up().await;
    running.stop().await;
    append(&log, untidy(30, 100)).await;
    let status = status_of(&log, "devices").await;
    assert_eq!((status.version, status.live, status.state), (1, true, State::Stopped));
    assert_eq!((status.total.position, status.total.head, status.total.lag), (30, 100, 70));
    let lanes: Vec<_> = status.logs.iter().map(|log| (log.lane.as_str(), log.progress.lag)).collect();
    assert_eq!(lanes, [("control", 0), ("telemetry", 70)]);
    assert_eq!(status_of(&log, "telemetry_windows").await.logs.len(), 1);
}
