//! The example of a read model that somebody writes outside fleetlog, `examples/daily_peaks.rs`.

#[expect(dead_code, unreachable_pub, reason = "its main function is not called here")]
#[path = "../../examples/daily_peaks.rs"]
mod daily_peaks;

use chrono::{TimeDelta, Utc};
use fleetlog_event_log::{EventLog, database};
use fleetlog_projections::{Options, Projections};
use sqlx::Executor;
use tokio_util::sync::CancellationToken;

use super::{PATIENCE, append, reading};
use crate::support::Database;
use daily_peaks::{DailyPeaks, TABLE, peaks};

#[tokio::test]
async fn a_read_model_from_outside_folds_a_log_that_it_may_only_read_and_keeps_a_table() {
    let database = Database::fresh().await;
    let log = database.event_log().await;
    let at = Utc::now() - TimeDelta::minutes(1);
    let hot = |id, degrees: f64| reading("dev-01", id, at, &format!(r#""temperature":{degrees}"#));
    append(&log, vec![hot(1, 20.0), hot(2, 31.5), hot(3, 18.0)]).await;
    let read_only = EventLog::open_to_read(database::Options::new(database.options())).await.expect("open");
    let found: Vec<f64> = peaks(&read_only).await.expect("folded").into_values().collect();
    assert_eq!(found, [31.5]);

    database.owner().await.execute(TABLE).await.expect("made");
    let projections = Projections::none(log.clone(), Options::default()).with::<DailyPeaks>();
    let (handle, stop) = (projections.handle(), CancellationToken::new());
    let running = tokio::spawn(projections.run(stop.clone()));
    handle.catch_up(PATIENCE).await.expect("caught up");
    let kept: Vec<f64> =
        sqlx::query_scalar("SELECT peak FROM daily_peaks").fetch_all(log.pool()).await.expect("read");
    assert_eq!(kept, [31.5]);
    stop.cancel();
    running.await.expect("joined").expect("ran");
}
