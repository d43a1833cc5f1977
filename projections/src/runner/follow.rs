//! The runner of one projection: applies batch after batch of each log that the projection reads, in rounds, for as
//! long as it leads.
//!
//! Each log gets one turn in a round: however far a telemetry log is behind, every control log gets its turn. No
//! batch runs under a future that may be dropped: the runner checks for shutdown between turns.

use std::collections::HashMap;
use std::time::Duration;

use fleetlog_event_log::heads::Logs;
use fleetlog_event_log::leadership::Leadership;
use fleetlog_event_log::{EventLog, Log, LogId, Position, Result};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::Options;
use super::apply::{Applied, Applier, Unapplied};
use super::checkpoints::{Checkpoints, ParkedStreams};
use super::handle::Progress;
use super::pace::{Pace, Turns};
use crate::instruments;
use crate::read_model::ReadModel;
use crate::status::State;

/// How often a node that does not lead tries to lead.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// How often a runner that waits for events checks whether it still leads. It checks after every round, too, and a
/// round writes nothing if another runner has moved the checkpoint, so an idle runner that notices late does no harm.
/// Postgres ends a leader's connection that has been silent for 60 s.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// The pause after the first failure, which doubles with each further one, and the longest pause.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// Runs one projection on this node, whenever this node leads it.
pub(super) struct Runner<M> {
    log: EventLog,
    options: Options,
    turns: Turns,
    checkpoints: Checkpoints,
    model: M,
    progress: watch::Sender<Progress>,
    parked: HashMap<LogId, ParkedStreams>,
    pace: Pace,
    /// What the projection's row says, if that is known.
    shown: Option<(State, Option<String>)>,
    failures: u32,
}

/// Why a runner stopped following.
enum Ended {
    Shutdown,
    /// Another node may be running the projection now.
    Lost,
}

/// The outcome of a round over all logs.
struct Round {
    /// Whether some log has more events.
    behind: bool,
    failed: Option<String>,
    /// Whether another runner has moved a checkpoint.
    lost: bool,
}

impl<M: ReadModel> Runner<M> {
    pub(super) fn new(
        log: EventLog,
        options: Options,
        turns: Turns,
        progress: watch::Sender<Progress>,
    ) -> Self {
        Self {
            log,
            options,
            turns,
            checkpoints: Checkpoints { projection: M::NAME, version: M::VERSION },
            model: M::new(M::VERSION),
            progress,
            parked: HashMap::new(),
            pace: Pace::default(),
            shown: None,
            failures: 0,
        }
    }

    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        while let Some(mut leadership) = self.lead(&shutdown).await {
            let ended = self.follow(&mut leadership, &shutdown).await;
            self.progress.send_modify(|progress| progress.leading = false);
            leadership.release().await;
            if matches!(ended, Ended::Shutdown) {
                return;
            }
            tracing::warn!(projection = M::NAME, "no longer runs here");
        }
    }

    /// Waits until this node leads the projection, and reads the checkpoints. `None` at shutdown.
    async fn lead(&mut self, shutdown: &CancellationToken) -> Option<Leadership> {
        while !shutdown.is_cancelled() {
            match self.try_lead().await {
                Ok(Some(leadership)) => return Some(leadership),
                Ok(None) => self.failures = 0,
                Err(error) => {
                    self.failures += 1;
                    tracing::warn!(projection = M::NAME, %error, "failed to start; trying again");
                }
            }
            let pause = jittered(ASK_EVERY).max(pause(self.failures));
            shutdown.run_until_cancelled(tokio::time::sleep(pause)).await?;
        }
        None
    }

    async fn try_lead(&mut self) -> Result<Option<Leadership>> {
        let pool = self.log.pool();
        // The name that `projection_lock` in the database also makes, for queries that check whether the lock is
        // held.
        let name = format!("fleetlog projection {} v{}", M::NAME, M::VERSION);
        let Some(leadership) = Leadership::acquire(pool, &name).await? else { return Ok(None) };
        self.checkpoints.register(pool, M::LANES).await?;
        let positions = self.checkpoints.positions(pool).await?;
        self.parked = self.checkpoints.parked(pool).await?;
        self.model = M::new(M::VERSION);
        self.shown = None;
        self.progress.send_replace(Progress { leading: true, positions });
        tracing::info!(projection = M::NAME, "runs here");
        Ok(Some(leadership))
    }

    async fn follow(&mut self, leadership: &mut Leadership, shutdown: &CancellationToken) -> Ended {
        let mut heads = self.log.heads().watch();
        loop {
            let round = self.round(&mut heads, shutdown).await;
            self.show(round.failed.as_deref()).await;
            if shutdown.is_cancelled() {
                return Ended::Shutdown;
            }
            if round.lost || !leadership.is_held().await {
                return Ended::Lost;
            }
            if round.failed.is_some() {
                shutdown.run_until_cancelled(tokio::time::sleep(pause(self.failures))).await;
            } else if !round.behind {
                shutdown.run_until_cancelled(self.wait(&mut heads)).await;
            }
        }
    }

    /// Waits until there are events to apply, or until it is time to check whether this node still leads.
    async fn wait(&self, heads: &mut watch::Receiver<Logs>) {
        let look = Instant::now() + LOOK_EVERY;
        while self.grown(&heads.borrow_and_update()).is_empty() && Instant::now() < look {
            let rested = self.pace.next(Instant::now()).unwrap_or(look);
            // This cannot fail: the sender lives as long as `self.log`.
            let _ = timeout_at(rested.min(look), heads.changed()).await;
        }
    }

    /// One turn of each log that has grown.
    async fn round(&mut self, heads: &mut watch::Receiver<Logs>, shutdown: &CancellationToken) -> Round {
        let mut round = Round { behind: false, failed: None, lost: false };
        let grown = self.grown(&heads.borrow_and_update());
        for log in grown {
            if shutdown.is_cancelled() {
                break;
            }
            match self.advance(&log).await {
                Ok(position) => round.behind |= position < log.head,
                Err(Unapplied::Moved) => round.lost = true,
                Err(Unapplied::Database(error)) => {
                    tracing::warn!(projection = M::NAME, log = log.log_id.0, %error, "failed to apply a batch; trying again");
                    instruments::FAILURES.with([M::NAME.into()]).increment(1);
                    round.failed = Some(error.to_string());
                }
            }
        }
        self.failures = if round.failed.is_some() { self.failures + 1 } else { 0 };
        round
    }

    /// The logs that are ahead of the projection and do not rest.
    fn grown(&self, logs: &Logs) -> Vec<Log> {
        let read = logs.values().filter(|log| M::LANES.contains(&log.lane));
        let ahead = read.filter(|log| log.head > self.position(log.log_id));
        let now = Instant::now();
        ahead.filter(|log| !self.pace.rests(log.log_id, now)).cloned().collect()
    }

    fn position(&self, log_id: LogId) -> Position {
        self.progress.borrow().positions.get(&log_id).copied().unwrap_or(0)
    }

    /// Applies one turn of a log, and returns the position that it reached.
    async fn advance(&mut self, of: &Log) -> Result<Position, Unapplied> {
        let Log { log_id, head, .. } = *of;
        let after = self.position(log_id);
        // A log that is far behind takes no permit: the other logs would wait for as long as its turns last.
        let is_close = head - after <= self.options.batch;
        let _turn = if is_close { self.turns.take(of).await } else { None };
        let started = Instant::now();
        let parked = self.parked.entry(log_id).or_default();
        let Self { log, options, checkpoints, model, .. } = self;
        let applied = Applier { log, options, checkpoints: *checkpoints, model, log_id, parked }
            .apply(after, head)
            .await?;
        if applied.to == after {
            return Ok(head);
        }
        measure::<M>(log_id, &applied, head, started.elapsed());
        if applied.to == head {
            self.pace.wrote(of, started.elapsed(), Instant::now());
        }
        for stream in applied.parked {
            let (projection, stream_id, position) = (M::NAME, &stream.aggregate_id, stream.position);
            tracing::error!(projection, stream_id, position, error = stream.error, "parked a stream");
            parked.insert(stream.aggregate_type, stream.aggregate_id);
        }
        self.progress.send_modify(|progress| {
            progress.positions.insert(log_id, applied.to);
        });
        Ok(applied.to)
    }

    /// Writes the projection's state to its row, if the state has changed.
    async fn show(&mut self, failed: Option<&str>) {
        let parked: usize = self.parked.values().map(ParkedStreams::len).sum();
        instruments::PARKED_STREAMS.with([M::NAME.into()]).set(parked as f64);
        let state = match (failed, parked) {
            (Some(_), _) => State::Failed,
            (None, 1..) => State::Degraded,
            (None, 0) => State::Following,
        };
        let now = (state, failed.map(str::to_owned));
        if self.shown.as_ref() != Some(&now) {
            // A failure here cannot be shown anywhere; the next round tries again.
            let told = self.checkpoints.set_state(self.log.pool(), state, failed).await;
            self.shown = told.is_ok().then_some(now);
        }
    }
}

fn measure<M: ReadModel>(log_id: LogId, applied: &Applied, head: Position, took: Duration) {
    let lag = (head - applied.to).max(0) as f64;
    instruments::EVENTS.with([M::NAME.into()]).increment(applied.events);
    instruments::LAG.with([M::NAME.into(), log_id.to_string().into()]).set(lag);
    instruments::BATCH_SECONDS.with([M::NAME.into()]).record(took.as_secs_f64());
}

/// How long to wait after this many failures in a row.
fn pause(failures: u32) -> Duration {
    match failures {
        0 => Duration::ZERO,
        _ => jittered((PAUSES.0 * 2_u32.saturating_pow(failures.min(10) - 1)).min(PAUSES.1)),
    }
}

/// Between half of `duration` and all of it, so that nodes do not ask in step.
fn jittered(duration: Duration) -> Duration {
    duration.mul_f64(0.5 + fastrand::f64() / 2.0)
}
