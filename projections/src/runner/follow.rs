//! The runner of one projection: applies batch after batch of each log that the projection reads, in rounds, for as
//! long as it leads.
//!
//! Each log gets one turn in a round: however far a telemetry log is behind, every control log gets its turn. No
//! batch runs under a future that may be dropped: the runner checks for shutdown between turns.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use fleetlog_event_log::heads::Logs;
use fleetlog_event_log::health::{Part, Wait, parts};
use fleetlog_event_log::leadership::Leadership;
use fleetlog_event_log::{Error, EventLog, Log, LogId, Position, Result};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::Options;
use super::apply::{Applied, Applier, Unapplied};
use super::checkpoints::{Checkpoints, ParkedStreams};
use super::handle::Progress;
use super::pace::{Pace, Slots};
use crate::instruments;
use crate::read_model::ReadModel;
use crate::status::State;

/// How often a node that does not lead tries to lead.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// How often a runner that waits for events renews its lease. It does so before every turn, too, and writes over the
/// connection that holds the lease.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// How often a node that does not lead looks whether the leader's checkpoints move.
const WATCH_EVERY: Duration = Duration::from_secs(2);
/// How long a log rests from which nothing could be read although its head is ahead.
const EMPTY_REST: Duration = Duration::from_secs(1);
/// How long a log rests whose next event cannot be read because what stores it is damaged. The other logs go on.
const DAMAGED_REST: Duration = Duration::from_secs(3);
/// The pause after the first failure, which doubles with each further one, and the longest pause.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// Runs one projection on this node, whenever this node leads it.
pub(super) struct Runner<M> {
    log: EventLog,
    options: Options,
    slots: Slots,
    checkpoints: Checkpoints,
    model: M,
    progress: watch::Sender<Progress>,
    parked: HashMap<LogId, ParkedStreams>,
    pace: Pace,
    /// Reports whether the projection moves, here or on another node.
    health: Part,
    /// The logs whose next event cannot be read, with the reason. A projection leaves none out.
    waiting: BTreeMap<LogId, String>,
    /// What the projection stands still with now.
    trouble: Option<Wait>,
    /// When the leader's checkpoints were looked at, and where those were that were behind.
    watched: Option<(Instant, BTreeMap<LogId, Position>)>,
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
        slots: Slots,
        progress: watch::Sender<Progress>,
    ) -> Self {
        let health = log.health().part(parts::PROJECTIONS, options.stands);
        Self {
            log,
            options,
            slots,
            checkpoints: Checkpoints { projection: M::NAME, version: M::FORMAT, slice: None },
            model: M::new(M::FORMAT),
            progress,
            parked: HashMap::new(),
            pace: Pace::default(),
            health,
            waiting: BTreeMap::new(),
            trouble: None,
            watched: None,
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
            // No fault: another version is live, or another node leads. What failed, if anything, was logged when it did.
            tracing::info!(projection = M::NAME, "no longer runs here; asks to lead again");
        }
    }

    /// Waits until this node leads the projection, and reads the checkpoints. `None` at shutdown.
    async fn lead(&mut self, shutdown: &CancellationToken) -> Option<Leadership> {
        while !shutdown.is_cancelled() {
            match self.try_lead().await {
                Ok(Some(leadership)) => {
                    self.trouble = None;
                    return Some(leadership);
                }
                Ok(None) => {
                    self.failures = 0;
                    if let Err(error) = self.watch().await {
                        tracing::warn!(projection = M::NAME, %error, "failed to read the leader's checkpoints; trying again");
                    }
                }
                Err(error) => {
                    self.failures += 1;
                    self.stands().failed(error.outline());
                    tracing::warn!(projection = M::NAME, %error, "failed to start; trying again");
                }
            }
            let pause = jittered(ASK_EVERY).max(pause(self.failures));
            shutdown.run_until_cancelled(tokio::time::sleep(pause)).await?;
        }
        None
    }

    async fn try_lead(&mut self) -> Result<Option<Leadership>> {
        let leadership = loop {
            let followed = self.checkpoints.version;
            // The name that `projection_lock` in the database also makes, for queries that check whether the lock is
            // held.
            let name = format!("fleetlog projection {} v{followed}", M::NAME);
            let Some(leadership) = self.log.lead(&name).await? else { return Ok(None) };
            let pool = self.log.pool();
            self.checkpoints.version = Checkpoints::register(pool, M::NAME, M::FORMAT, M::LANES).await?;
            if self.checkpoints.version == followed {
                break leadership;
            }
            // Another version is live.
            leadership.release().await;
        };
        let (pool, version) = (self.log.pool(), self.checkpoints.version);
        let positions = self.checkpoints.positions(pool).await?;
        self.parked = self.checkpoints.parked(pool).await?;
        self.model = M::new(version);
        self.shown = None;
        self.waiting.clear();
        self.progress.send_replace(Progress { leading: true, positions });
        tracing::info!(projection = M::NAME, version, "runs here");
        Ok(Some(leadership))
    }

    /// What this projection stands still with, from the first call on until [`Runner::trouble`] is cleared.
    fn stands(&mut self) -> &Wait {
        let health = &self.health;
        let stands =
            || health.wait(std::time::Instant::now(), format!("the projection {} stands still", M::NAME));
        self.trouble.get_or_insert_with(stands)
    }

    /// Looks whether the node that leads moves its checkpoints. This node knows the heads anyway.
    async fn watch(&mut self) -> Result<()> {
        if self.watched.as_ref().is_some_and(|(at, _)| at.elapsed() < WATCH_EVERY) {
            return Ok(());
        }
        let positions = self.checkpoints.positions(self.log.pool()).await?;
        let logs = self.log.heads().logs();
        let read = logs.iter().filter(|log| M::LANES.contains(&log.lane));
        let at = read.map(|log| (log, positions.get(&log.log_id).copied().unwrap_or(0)));
        let behind: BTreeMap<_, _> =
            at.filter(|(log, at)| log.head > *at).map(|(log, at)| (log.log_id, at)).collect();
        let before = self.watched.replace((Instant::now(), behind.clone()));
        let stands =
            |(log_id, before): (&LogId, &Position)| behind.get(log_id).is_some_and(|at| at == before);
        if before.is_some_and(|(_, before)| before.iter().any(stands)) {
            self.stands().failed("another node leads it, and its checkpoint does not move");
        } else {
            self.trouble = None;
        }
        Ok(())
    }

    async fn follow(&mut self, leadership: &mut Leadership, shutdown: &CancellationToken) -> Ended {
        let mut heads = self.log.heads().watch();
        loop {
            let round = self.round(leadership, &mut heads, shutdown).await;
            let failed = round.failed.clone().or_else(|| self.waiting.values().next().cloned());
            self.show(leadership, failed.as_deref()).await;
            if shutdown.is_cancelled() {
                return Ended::Shutdown;
            }
            // The lease may be what failed.
            let may_be_lost = round.failed.is_some() || !leadership.is_fresh();
            if round.lost || (may_be_lost && !self.renew(leadership).await) {
                return Ended::Lost;
            }
            if round.failed.is_some() {
                shutdown.run_until_cancelled(tokio::time::sleep(pause(self.failures))).await;
            } else if !round.behind {
                shutdown.run_until_cancelled(self.wait(&mut heads)).await;
            }
        }
    }

    /// Renews the lease. `false` if this node no longer leads, or another version is live: without events, nothing else would tell.
    async fn renew(&self, leadership: &mut Leadership) -> bool {
        let followed = leadership
            .renew_by(async |connection| Checkpoints::followed(connection, M::NAME, M::FORMAT).await)
            .await;
        followed.flatten().is_some_and(|(version, _)| version == self.checkpoints.version)
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
    async fn round(
        &mut self,
        leadership: &mut Leadership,
        heads: &mut watch::Receiver<Logs>,
        shutdown: &CancellationToken,
    ) -> Round {
        let mut round = Round { behind: false, failed: None, lost: false };
        let grown = self.grown(&heads.borrow_and_update());
        for log in grown {
            if shutdown.is_cancelled() || round.lost {
                break;
            }
            let before = self.position(log.log_id);
            self.stands();
            let advanced = if leadership.is_held().await {
                self.advance(leadership, &log).await
            } else {
                Err(Unapplied::Moved)
            };
            match advanced {
                Ok(position) => {
                    round.behind |= position < log.head;
                    if self.position(log.log_id) == before {
                        let (log_id, head) = (log.log_id, log.head);
                        let reason =
                            format!("log {log_id} has no event after {before}, though its head is {head}");
                        self.waiting.insert(log_id, reason);
                    } else {
                        self.waiting.remove(&log.log_id);
                        if round.failed.is_none() && self.failures == 0 && self.waiting.is_empty() {
                            self.stands().moved();
                        }
                    }
                }
                Err(Unapplied::Moved) => round.lost = true,
                Err(Unapplied::Database(Error::Damaged(damage))) => {
                    let reason = format!(
                        "{}; it waits at {before} until they are restored from a backup, because it leaves none out",
                        damage.outline()
                    );
                    tracing::error!(projection = M::NAME, error = %damage, reason, "waits for a damaged log");
                    self.waiting.insert(log.log_id, reason);
                    self.pace.rest(log.log_id, Instant::now() + DAMAGED_REST);
                }
                Err(Unapplied::Database(error)) => {
                    tracing::warn!(projection = M::NAME, log = log.log_id.0, %error, "failed to apply a batch; trying again");
                    instruments::FAILURES.with([M::NAME.into()]).increment(1);
                    let reason = format!("log {}: {}", log.log_id, error.outline());
                    self.stands().failed(&reason);
                    round.failed = Some(reason);
                }
            }
        }
        match (&round.failed, self.waiting.values().next().cloned()) {
            (None, None) => self.trouble = None,
            (None, Some(reason)) => self.stands().failed(reason),
            (Some(_), _) => {}
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
    async fn advance(&mut self, leadership: &mut Leadership, of: &Log) -> Result<Position, Unapplied> {
        let Log { log_id, head, .. } = *of;
        let after = self.position(log_id);
        // A log that is far behind takes no permit: the other logs would wait for as long as its turns last.
        let is_close = head - after <= self.options.batch;
        let _slot = if is_close { self.slots.take(of).await } else { None };
        let started = Instant::now();
        let parked = self.parked.entry(log_id).or_default();
        let Self { log, options, checkpoints, model, .. } = self;
        let leader = leadership.connection();
        let applied =
            Applier { log, leader, options, checkpoints: *checkpoints, model, log_id, parked, slice: None }
                .apply(after, head)
                .await?;
        if applied.to == after {
            self.pace.rest(log_id, Instant::now() + EMPTY_REST);
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
    async fn show(&mut self, leadership: &mut Leadership, failed: Option<&str>) {
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
            let told = self.checkpoints.set_state(leadership.connection(), state, failed).await;
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
