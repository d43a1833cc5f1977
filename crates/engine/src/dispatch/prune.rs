//! Removes old messages from quarantine. One node does it for all: the one that dispatches.

use std::time::Duration;

use fleetlog_event_log::EventLog;
use tokio_util::sync::CancellationToken;

use crate::instruments;

/// How often old messages are looked for.
const LOOK_EVERY: Duration = Duration::from_hours(1);
/// The pause between two batches, so that other statements get their turn.
const PAUSE: Duration = Duration::from_millis(100);

/// Removes old messages until `stop`.
pub(super) async fn run(log: EventLog, stop: CancellationToken) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    let prune = async {
        loop {
            looks.tick().await;
            loop {
                match log.remove_old_from_quarantine().await {
                    Ok(0) => break,
                    Ok(removed) => instruments::QUARANTINE_EXPIRED.increment(removed),
                    Err(error) => {
                        tracing::warn!(%error, "failed to remove old messages from quarantine; trying again in an hour");
                        break;
                    }
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    };
    let _ = stop.run_until_cancelled(prune).await;
}
