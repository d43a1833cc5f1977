//! How far the log and its projections have got, read from the database like an operator does.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context, ensure};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::report::Timings;

/// The time between two looks, which is the resolution of a lag.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A run without progress for this long fails.
const STANDSTILL: Duration = Duration::from_secs(30);

/// Watches a tenant's telemetry log until it is dropped.
pub(super) struct Progress {
    stored: watch::Receiver<u64>,
    folded: watch::Receiver<u64>,
    lag: watch::Receiver<Duration>,
    looking: JoinHandle<()>,
}

impl Progress {
    pub(super) async fn watch(connect: PgConnectOptions) -> anyhow::Result<Self> {
        let mut connection = connect.connect().await?;
        let (store, stored) = watch::channel(0);
        let (fold, folded) = watch::channel(0);
        let (behind, lag) = watch::channel(Duration::ZERO);
        let looking = tokio::spawn(async move {
            let mut looks = interval(LOOK_EVERY);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            // Heads that are not folded yet, each with the time when it was first seen.
            let mut heads: VecDeque<(u64, Instant)> = VecDeque::new();
            loop {
                looks.tick().await;
                let Ok((head, least)) = look(&mut connection).await else { return };
                if heads.back().is_none_or(|(last, _)| head > *last) {
                    heads.push_back((head, Instant::now()));
                }
                while heads.front().is_some_and(|(head, _)| *head <= least) {
                    heads.pop_front();
                }
                behind.send_replace(heads.front().map_or(Duration::ZERO, |(_, seen)| seen.elapsed()));
                store.send_replace(head);
                fold.send_replace(least);
            }
        });
        Ok(Self { stored, folded, lag, looking })
    }

    /// The number of events in the log.
    pub(super) fn stored(&self) -> watch::Receiver<u64> {
        self.stored.clone()
    }

    /// Waits until the log has this many events.
    pub(super) async fn until_stored(&self, events: u64) -> anyhow::Result<()> {
        until(self.stored.clone(), events).await.context("nothing more is stored")
    }

    /// Waits until every projection has folded this many events.
    pub(super) async fn until_folded(&self, events: u64) -> anyhow::Result<()> {
        until(self.folded.clone(), events).await.context("nothing more is folded")
    }

    /// Measures the lag of the projection that is furthest behind, until [`Lag::end`].
    pub(super) fn lag(&self) -> Lag {
        let mut lag = self.lag.clone();
        let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
        let measuring = tokio::spawn(async move {
            let mut timings = Timings::new("the slowest projection behind the log");
            loop {
                tokio::select! {
                    changed = lag.changed() => match changed {
                        Ok(()) => timings.took(*lag.borrow_and_update()),
                        Err(_) => return timings,
                    },
                    _ = &mut stopped => return timings,
                }
            }
        });
        Lag { stop, measuring }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

/// A running measurement of a lag.
pub(super) struct Lag {
    stop: tokio::sync::oneshot::Sender<()>,
    measuring: JoinHandle<Timings>,
}

impl Lag {
    /// The lag at each look.
    pub(super) async fn end(self) -> anyhow::Result<Timings> {
        let _ = self.stop.send(());
        Ok(self.measuring.await?)
    }
}

async fn until(mut watched: watch::Receiver<u64>, events: u64) -> anyhow::Result<()> {
    loop {
        let now = *watched.borrow_and_update();
        if now >= events {
            return Ok(());
        }
        let moved = timeout(STANDSTILL, watched.wait_for(|later| *later > now)).await;
        ensure!(matches!(moved, Ok(Ok(_))), "it stays at {now} of {events}");
    }
}

/// The log's head, and the least checkpoint of its projections.
async fn look(connection: &mut PgConnection) -> sqlx::Result<(u64, u64)> {
    let found: Option<(i64, i64)> = sqlx::query_as(
        "SELECT logs.head, least(logs.head, min(coalesce(checkpoints.position, 0)))
         FROM logs
         JOIN projections ON projections.live AND logs.lane = ANY(projections.lanes)
         LEFT JOIN projection_checkpoints AS checkpoints USING (log_id, projection, version)
         WHERE logs.tenant = 't0' AND logs.lane = 'telemetry'
         GROUP BY logs.log_id",
    )
    .fetch_optional(connection)
    .await?;
    // Zeros while no server has registered its projections.
    let (head, least) = found.unwrap_or_default();
    Ok((head as u64, least as u64))
}
