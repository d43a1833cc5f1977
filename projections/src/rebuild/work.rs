//! Works on rebuilds: finds those that are under way, leads them one node at a time, and takes each from step to step.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fleetlog_event_log::leadership::Leadership;
use fleetlog_event_log::{Error, EventLog};
use futures::future::BoxFuture;
use sqlx::Row;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Kind, Step, build, compare, swap};
use crate::instruments;
use crate::read_model::ReadModel;
use crate::runner::Options;

/// How often a node looks whether a rebuild is under way, once there may be one: each request for one is on a control log.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often a node looks although no control log has grown: a version that was kept for a while may be due.
const AT_LEAST_EVERY: Duration = Duration::from_secs(5);
/// How often a rebuild that waits follows the live version.
const FOLLOW_EVERY: Duration = Duration::from_millis(500);
/// How often a rebuild that works renews its lease, and notes its rate.
const RENEW_EVERY: Duration = Duration::from_secs(1);
/// The rebuild is tried again after this long when a try has failed.
const TRY_AGAIN: Duration = Duration::from_secs(2);

/// What works on the rebuilds of one projection until there is nothing to do.
pub(crate) type Work = fn(EventLog, Options, CancellationToken) -> BoxFuture<'static, ()>;
/// The works, by projection.
pub(crate) type Works = BTreeMap<&'static str, Work>;

/// The work on a read model's rebuilds.
pub(crate) fn of<M: ReadModel>() -> Work {
    |log, options, shutdown| Box::pin(work::<M>(log, options, shutdown))
}

/// Works on all rebuilds until `shutdown`.
pub(crate) async fn run(log: EventLog, options: Options, works: Works, shutdown: CancellationToken) {
    let mut working: BTreeMap<&'static str, JoinHandle<()>> = BTreeMap::new();
    let mut looks = log.looks(AT_LEAST_EVERY);
    while shutdown.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
        if !looks.is_due() {
            continue;
        }
        let due = match due(&log).await {
            Ok(due) => due,
            Err(error) => {
                tracing::warn!(%error, "failed to look for rebuilds; trying again");
                looks.again();
                continue;
            }
        };
        if !due.is_empty() {
            looks.again();
        }
        for (&name, work) in works.iter().filter(|(name, _)| due.iter().any(|due| due == *name)) {
            // One that panicked has finished, too, and is taken up again.
            if working.get(name).is_none_or(JoinHandle::is_finished) {
                working.insert(name, tokio::spawn(work(log.clone(), options.clone(), shutdown.clone())));
            }
        }
    }
    for ended in working.into_values() {
        if let Err(error) = ended.await {
            tracing::error!(%error, "a rebuild ended by itself");
        }
    }
}

/// The projections with something to do.
async fn due(log: &EventLog) -> Result<Vec<String>, Error> {
    let due = sqlx::query_scalar(
        "SELECT DISTINCT projection FROM projection_rebuilds
         WHERE (ended_at IS NULL AND NOT paused) OR kept_until < clock_timestamp()",
    );
    Ok(due.fetch_all(log.pool()).await?)
}

async fn work<M: ReadModel>(log: EventLog, options: Options, shutdown: CancellationToken) {
    let leadership = match log.lead(&format!("fleetlog rebuild {}", M::NAME)).await {
        Ok(Some(leadership)) => leadership,
        Ok(None) => return,
        Err(error) => {
            tracing::warn!(projection = M::NAME, %error, "failed to begin with a rebuild; trying again");
            return;
        }
    };
    let (leadership, ended) = lead::<M>(&log, options, leadership, &shutdown).await;
    if let Err(error) = ended {
        let then = if error.is_disk_full() { "it pauses" } else { "trying again" };
        tracing::warn!(projection = M::NAME, %error, "a rebuild failed; {then}");
        let noted = note_failure(&log, M::NAME, &error).await;
        if let Err(error) = &noted {
            tracing::warn!(projection = M::NAME, %error, "failed to note that a rebuild failed");
        }
        // One that has paused is gone on with as soon as it is resumed.
        if noted.is_err() || !error.is_disk_full() {
            shutdown.run_until_cancelled(tokio::time::sleep(TRY_AGAIN)).await;
        }
    }
    leadership.release().await;
}

/// Takes the steps while the lease is held. The lease is renewed from here, because the steps write over other
/// connections: what they write is right whoever leads.
async fn lead<M: ReadModel>(
    log: &EventLog,
    options: Options,
    mut leadership: Leadership,
    shutdown: &CancellationToken,
) -> (Leadership, Result<(), Stopped>) {
    let stop = shutdown.child_token();
    let folded = Arc::new(AtomicU64::new(0));
    let context = Context { log: log.clone(), options, stop: stop.clone(), folded: Arc::clone(&folded) };
    let mut steps = std::pin::pin!(steps::<M>(&context));
    let mut before = 0;
    loop {
        tokio::select! {
            ended = &mut steps => return (leadership, ended),
            () = tokio::time::sleep(RENEW_EVERY) => {}
        }
        if !leadership.renew().await {
            // The step ends at its next pause. Another node may have begun with it already, which does no harm.
            stop.cancel();
        }
        let now = folded.load(Ordering::Relaxed);
        let rate = (now - before) as f64 / RENEW_EVERY.as_secs_f64();
        before = now;
        if let Err(error) = note_rate(log, M::NAME, rate).await {
            tracing::warn!(projection = M::NAME, %error, "failed to note the rate of a rebuild");
        }
    }
}

/// What every step needs.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) log: EventLog,
    pub(super) options: Options,
    /// Cancelled at shutdown and when the lease is lost.
    pub(super) stop: CancellationToken,
    /// How many events were folded.
    pub(super) folded: Arc<AtomicU64>,
}

impl Context {
    /// Whether the rebuild is to go on with this step: it was neither paused nor cancelled, and this node leads.
    pub(super) async fn goes_on(&self, task: &Task) -> Result<bool, Error> {
        if self.stop.is_cancelled() {
            return Ok(false);
        }
        let row =
            sqlx::query("SELECT FROM projection_rebuilds WHERE rebuild_id = $1 AND step = $2 AND NOT paused");
        let row = row.bind(task.rebuild_id).bind(task.step.as_str()).fetch_optional(self.log.pool()).await?;
        Ok(row.is_some())
    }

    /// Goes from one step to the next, unless the rebuild was paused or cancelled meanwhile.
    pub(super) async fn step(&self, task: &Task, next: Step) -> Result<(), Error> {
        let moved = sqlx::query(
            "UPDATE projection_rebuilds SET step = $3, step_since = clock_timestamp(), error = NULL
             WHERE rebuild_id = $1 AND step = $2 AND NOT paused",
        );
        moved
            .bind(task.rebuild_id)
            .bind(task.step.as_str())
            .bind(next.as_str())
            .execute(self.log.pool())
            .await?;
        Ok(())
    }

    /// Notes that events were folded.
    pub(super) fn folded(&self, projection: &'static str, events: u64) {
        self.folded.fetch_add(events, Ordering::Relaxed);
        instruments::REBUILD_EVENTS.with([projection.into()]).increment(events);
    }
}

/// A rebuild as its row says it is.
#[derive(Debug, Clone)]
pub(super) struct Task {
    pub(super) rebuild_id: Uuid,
    pub(super) kind: Kind,
    pub(super) version: i32,
    pub(super) step: Step,
    pub(super) accepted: bool,
    pub(super) differences: Option<i64>,
}

/// Why the work stopped.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stopped {
    /// Another node works on it, too.
    #[error("another node has moved the checkpoint")]
    Moved,
    /// The database failed.
    #[error(transparent)]
    Database(#[from] Error),
    /// A task panicked.
    #[error("a part of the rebuild ended by itself: {0}")]
    Panicked(#[from] tokio::task::JoinError),
}

impl Stopped {
    fn is_disk_full(&self) -> bool {
        matches!(self, Self::Database(error) if error.is_disk_full())
    }
}

impl From<sqlx::Error> for Stopped {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

impl From<crate::runner::Unapplied> for Stopped {
    fn from(unapplied: crate::runner::Unapplied) -> Self {
        match unapplied {
            crate::runner::Unapplied::Moved => Self::Moved,
            crate::runner::Unapplied::Database(error) => Self::Database(error),
        }
    }
}

async fn steps<M: ReadModel>(context: &Context) -> Result<(), Stopped> {
    swap::remove_overdue::<M>(&context.log).await?;
    while !context.stop.is_cancelled() {
        let Some(task) = under_way(&context.log, M::NAME).await? else { return Ok(()) };
        match task.step {
            Step::Building => build::build::<M>(context, &task).await?,
            Step::CatchingUp => build::catch_up::<M>(context, &task).await?,
            Step::Comparing => compare::compare::<M>(context, &task).await?,
            Step::Waiting => {
                build::follow::<M>(context, &task).await?;
                context.stop.run_until_cancelled(tokio::time::sleep(FOLLOW_EVERY)).await;
            }
            Step::Swapping => swap::swap::<M>(context, &task).await?,
            Step::Cancelled => swap::undo::<M>(context, &task).await?,
            Step::Swapped => return Ok(()),
        }
    }
    Ok(())
}

/// The rebuild that is under way and not paused.
async fn under_way(log: &EventLog, projection: &str) -> Result<Option<Task>, Error> {
    let row = sqlx::query(
        "SELECT rebuild_id, kind, version, step, accepted, differences FROM projection_rebuilds
         WHERE projection = $1 AND ended_at IS NULL AND NOT paused",
    );
    let Some(row) = row.bind(projection).fetch_optional(log.pool()).await? else { return Ok(None) };
    Ok(Some(Task {
        rebuild_id: row.try_get("rebuild_id")?,
        kind: fleetlog_event_log::database::parsed(&row, "kind")?,
        version: row.try_get("version")?,
        step: fleetlog_event_log::database::parsed(&row, "step")?,
        accepted: row.try_get("accepted")?,
        differences: row.try_get("differences")?,
    }))
}

async fn note_rate(log: &EventLog, projection: &str, rate: f64) -> Result<(), Error> {
    // Smoothed over some five seconds.
    let noted = sqlx::query(
        "UPDATE projection_rebuilds SET rate = coalesce(rate * 0.8 + $2 * 0.2, $2)
         WHERE projection = $1 AND ended_at IS NULL AND step IN ('building', 'catching_up')",
    );
    noted.bind(projection).bind(rate).execute(log.pool()).await?;
    Ok(())
}

/// Notes why a rebuild failed. With a full disk it pauses: to go on could stop the live versions, too.
async fn note_failure(log: &EventLog, projection: &str, error: &Stopped) -> Result<(), Error> {
    let full = error.is_disk_full();
    let text = if full {
        "the database's disk is full; free some space and resume, or cancel".to_owned()
    } else {
        error.to_string().replace('\0', "\u{fffd}")
    };
    let noted = sqlx::query(
        "UPDATE projection_rebuilds SET error = $2, paused = paused OR $3
         WHERE projection = $1 AND ended_at IS NULL",
    );
    noted.bind(projection).bind(text).bind(full).execute(log.pool()).await?;
    Ok(())
}
