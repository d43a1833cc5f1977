//! Sends the logs' checkpoints to other parties, so that whoever owns the database and the key cannot take back what they
//! have been given. `docs/PROOF.md` says what each kind protects against.
//!
//! - [`Cosigner`]: over HTTP, to a witness that checks and signs
//! - [`Keeper`]: to one that only keeps what it is given: [`ToFile`], and those that the caller brings
//! - [`store`]: what each took last
//!
//! Each witness has a task of its own, which one node at a time does. It reads what was signed, beside the sequencer and
//! never before it: a witness that is dead, slow or wrong delays nobody else. Two nodes that both believe that they
//! send do no harm: a witness gets a checkpoint twice.

mod cosigner;
mod file;
pub mod store;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use fleetlog_event_log::backoff::Backoff;
use fleetlog_event_log::leadership::Leadership;
use fleetlog_event_log::{EventLog, LogId, crash};
use futures::future::BoxFuture;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::store::Standing;
use crate::note::SignedCheckpoint;
use crate::store::Stored;
use crate::{Error, instruments, read};

pub use cosigner::Cosigner;
pub use file::{ToFile, check as check_file};

/// How often a node that does not send tries to.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// The shortest and the longest pause after a failure of a witness, or of one of its logs.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(10));
/// How often a witness that signs gets what has grown.
const SIGN_EVERY: Duration = Duration::from_secs(10);
/// How often one that keeps does.
const KEEP_EVERY: Duration = Duration::from_mins(1);
/// How long one may take to keep what it is given.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often rows are kept from being forgotten.
const TIDY_EVERY: Duration = Duration::from_hours(1);

/// Keeps what it is given.
pub trait Keeper: Send + Sync {
    /// Gives it checkpoints, each of another log. They are safe with it when this returns.
    fn keep<'a>(&'a self, notes: &'a [SignedCheckpoint]) -> BoxFuture<'a, Result<(), Failure>>;

    /// The least time between two gifts. Then it is given the newest checkpoint of every log.
    fn pause(&self) -> Option<chrono::TimeDelta> {
        None
    }
}

/// Who gets checkpoints.
pub enum Party {
    /// One that checks and signs.
    Cosigner(Box<Cosigner>),
    /// One that keeps.
    Keeper(Box<dyn Keeper>),
}

/// Why a witness did not take something.
#[derive(Debug)]
pub enum Failure {
    /// It cannot be reached, or cannot work at present.
    Unreachable(String),
    /// It does not want this log's checkpoint.
    Refused(String),
    /// It knows another history of this log.
    Disputed(String),
    /// This service cannot say what it has signed.
    Ours(Error),
}

/// Sends to one witness, whenever this node leads.
pub struct Witness {
    log: EventLog,
    /// What tells it from others: its URL without a password.
    name: String,
    party: Party,
    every: Duration,
    rests: HashMap<LogId, Rest>,
    /// What was told of it, or of one of its logs, and is not over.
    told: BTreeMap<Option<LogId>, String>,
    disputes: BTreeSet<LogId>,
}

/// A log that is refused, and when it is tried again.
struct Rest {
    backoff: Backoff,
    until: Instant,
}

/// What there is to give.
struct Due {
    log_id: LogId,
    stored: Stored,
    /// The size that it took last of this very log.
    old: u64,
}

impl Witness {
    /// A witness of a name that tells it from others.
    #[must_use]
    pub fn new(log: EventLog, name: String, party: Party) -> Self {
        let every = match party {
            Party::Cosigner(_) => SIGN_EVERY,
            Party::Keeper(_) => KEEP_EVERY,
        };
        let (rests, told, disputes) = (HashMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { log, name, party, every, rests, told, disputes }
    }

    /// Sends more often, or less.
    #[must_use]
    pub fn every(self, every: Duration) -> Self {
        Self { every, ..self }
    }

    /// Sends until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut candidate = self.log.candidate(format!("fleetlog witness {}", self.name), ASK_EVERY);
        while let Some(mut leadership) = candidate.elected(&shutdown).await {
            self.send(&mut leadership, &shutdown).await;
            // Another node measures from now on.
            self.disputes.clear();
            self.gauge_disputes();
            self.gauge(0.0);
            leadership.release().await;
        }
    }

    /// Sends while this node leads.
    async fn send(&mut self, leadership: &mut Leadership, shutdown: &CancellationToken) {
        let (mut backoff, mut tidy_at) = (Backoff::new(RETRY.0, RETRY.1), Instant::now());
        loop {
            let round = async {
                if Instant::now() >= tidy_at {
                    store::keep(&mut *self.log.connection().await?, &self.name).await?;
                    tidy_at = Instant::now() + TIDY_EVERY;
                }
                self.round().await
            };
            let pause = match leadership.during(shutdown.run_until_cancelled(round)).await {
                None | Some(None) => return,
                Some(Some(Ok(true))) => {
                    backoff.reset();
                    self.every
                }
                Some(Some(Ok(false))) => backoff.next_wait().max(self.every.min(RETRY.1)),
                Some(Some(Err(error))) => {
                    tracing::warn!(witness = self.name, %error, "failed to look for what a witness lacks; trying again");
                    backoff.next_wait()
                }
            };
            let rest = shutdown.run_until_cancelled(tokio::time::sleep(pause));
            if leadership.during(rest).await.flatten().is_none() {
                return;
            }
        }
    }

    /// Gives the witness what it lacks. `false` if it cannot be reached.
    pub async fn round(&mut self) -> Result<bool, Error> {
        let (mut due, last) = self.due().await?;
        self.measure(&due).await?;
        if let Party::Keeper(keeper) = &self.party
            && let (Some(pause), Some(last)) = (keeper.pause(), last)
            && self.log.now() - last < pause
        {
            return Ok(true);
        }
        due.retain(|due| self.rests.get(&due.log_id).is_none_or(|rest| Instant::now() >= rest.until));
        if due.is_empty() {
            return Ok(true);
        }
        let reached = match self.party {
            Party::Cosigner(_) => self.have_signed(due).await?,
            Party::Keeper(_) => self.have_kept(&due).await?,
        };
        let (due, _) = self.due().await?;
        self.measure(&due).await?;
        Ok(reached)
    }

    /// What the witness lacks, and when it took something last.
    async fn due(&self) -> Result<(Vec<Due>, Option<chrono::DateTime<chrono::Utc>>), Error> {
        let mut connection = self.log.connection().await?;
        let taken = store::of(&mut connection, &self.name).await?;
        let newest = crate::store::newest_of_all(&mut connection).await?;
        let due = newest.into_iter().filter_map(|(log_id, stored)| {
            let checkpoint = &stored.note.checkpoint;
            // Under a new key a log has a new name, of which the witness knows nothing.
            let known = |standing: &&Standing| standing.origin.as_ref() == Some(&checkpoint.origin);
            let known = taken.get(&log_id).filter(known);
            let (old, root) = known.map_or((0, None), |known| (known.size, known.root));
            // Of a fork at the very size that it took a witness hears, too.
            let has_it = old == checkpoint.size && root == Some(checkpoint.root);
            (!has_it).then_some(Due { log_id, stored, old })
        });
        let last = taken.values().filter_map(|standing| standing.taken_at).max();
        Ok((due.collect(), last))
    }

    /// Gives all at once. `false` if it was not taken.
    async fn have_kept(&mut self, due: &[Due]) -> Result<bool, Error> {
        let Party::Keeper(keeper) = &self.party else { return Ok(true) };
        let notes: Vec<SignedCheckpoint> = if keeper.pause().is_some() {
            let all = crate::store::newest_of_all(&mut *self.log.connection().await?).await?;
            all.into_iter().map(|(_, stored)| stored.note).collect()
        } else {
            due.iter().map(|due| due.stored.note.clone()).collect()
        };
        let kept = tokio::time::timeout(PATIENCE, keeper.keep(&notes)).await;
        let slow = || Failure::Unreachable(format!("it took more than {} s", PATIENCE.as_secs()));
        match kept.unwrap_or_else(|_| Err(slow())) {
            Ok(()) => {
                crash::point("witness: kept");
                let mut connection = self.log.connection().await?;
                for note in &notes {
                    let Some(log_id) = crate::note::log_of(&note.checkpoint.origin) else { continue };
                    store::took(&mut connection, &self.name, log_id, (&note.checkpoint, None)).await?;
                    self.counted();
                }
                self.over(None);
                Ok(true)
            }
            Err(failure) => {
                let logs: Vec<LogId> = due.iter().map(|due| due.log_id).collect();
                self.failed(&logs, None, failure).await?;
                Ok(false)
            }
        }
    }

    /// Gives one after the other. A log that is refused holds up no other one. `false` if it cannot be reached.
    async fn have_signed(&mut self, due: Vec<Due>) -> Result<bool, Error> {
        let Party::Cosigner(cosigner) = &self.party else { return Ok(true) };
        let mut rest = due.into_iter();
        let mut ended: Vec<(LogId, Result<(), Failure>)> = vec![];
        while let Some(Due { log_id, stored, old }) = rest.next() {
            match cosigner.sign(&self.log, log_id, old, stored.note).await {
                Ok(signed) => {
                    crash::point("witness: signed");
                    let (checkpoint, line) = (&signed.note.checkpoint, &signed.line);
                    read::cosign(&self.log, log_id, checkpoint.size, line.text()).await?;
                    let mut connection = self.log.connection().await?;
                    store::took(&mut connection, &self.name, log_id, (checkpoint, Some(line))).await?;
                    self.counted();
                    ended.push((log_id, Ok(())));
                }
                Err(failure @ Failure::Unreachable(_)) => {
                    // Nobody else is asked there, or a dead witness would take its time for each log.
                    let mut logs = vec![log_id];
                    logs.extend(rest.map(|due| due.log_id));
                    self.settle(ended).await?;
                    self.failed(&logs, None, failure).await?;
                    return Ok(false);
                }
                Err(failure) => ended.push((log_id, Err(failure))),
            }
        }
        self.settle(ended).await?;
        self.over(None);
        Ok(true)
    }

    /// Tells what became of each log, and lets those rest that were refused.
    async fn settle(&mut self, ended: Vec<(LogId, Result<(), Failure>)>) -> Result<(), Error> {
        for (log_id, ended) in ended {
            match ended {
                Ok(()) => {
                    self.rests.remove(&log_id);
                    self.disputes.remove(&log_id);
                    self.over(Some(log_id));
                }
                Err(failure) => {
                    let rest = self.rests.entry(log_id).or_insert_with(|| Rest {
                        backoff: Backoff::new(RETRY.0, RETRY.1),
                        until: Instant::now(),
                    });
                    rest.until = Instant::now() + rest.backoff.next_wait();
                    if matches!(failure, Failure::Disputed(_)) {
                        self.disputes.insert(log_id);
                    } else {
                        self.disputes.remove(&log_id);
                    }
                    self.failed(&[log_id], Some(log_id), failure).await?;
                }
            }
        }
        self.gauge_disputes();
        Ok(())
    }

    /// Tells once what is wrong with a witness, or with one of its logs, and notes it.
    async fn failed(&mut self, logs: &[LogId], of: Option<LogId>, failure: Failure) -> Result<(), Error> {
        instruments::WITNESS_FAILURES.with([self.name.clone().into()]).increment(1);
        let is_dispute = matches!(failure, Failure::Disputed(_));
        let why = match failure {
            Failure::Unreachable(why) | Failure::Refused(why) | Failure::Disputed(why) => why,
            Failure::Ours(error) => error.to_string(),
        };
        store::failed(&mut *self.log.connection().await?, &self.name, logs, &why).await?;
        if self.told.insert(of, why.clone()).is_some_and(|told| kind(&told) == kind(&why)) {
            return Ok(());
        }
        if is_dispute {
            tracing::error!(witness = self.name, "a witness knows another history: {why}");
        } else {
            tracing::warn!(
                witness = self.name,
                "a witness does not take the logs' checkpoints: {why}; trying again. What it has not taken can still be \
                 changed unnoticed by it; `fleetlog audit witnesses` shows who took what"
            );
        }
        Ok(())
    }

    /// Tells once that a witness, or one of its logs, is all right again.
    fn over(&mut self, of: Option<LogId>) {
        if self.told.remove(&of).is_some() {
            let log = of.map(|log_id| log_id.0);
            tracing::info!(witness = self.name, log, "a witness takes checkpoints again");
        }
    }

    fn counted(&self) {
        instruments::WITNESSED.with([self.name.clone().into()]).increment(1);
    }

    /// Measures how far the witness is behind.
    async fn measure(&self, due: &[Due]) -> Result<(), Error> {
        let since = if due.is_empty() {
            None
        } else {
            let mut connection = self.log.connection().await?;
            let sizes = due.iter().map(|due| (due.log_id, due.old));
            crate::store::oldest_above(&mut connection, sizes).await?
        };
        let behind = since.map_or(0.0, |since| (self.log.now() - since).as_seconds_f64());
        self.gauge(behind.max(0.0));
        Ok(())
    }

    fn gauge(&self, behind: f64) {
        instruments::WITNESS_BEHIND.with([self.name.clone().into()]).set(behind);
    }

    fn gauge_disputes(&self) {
        instruments::WITNESS_DISPUTES.with([self.name.clone().into()]).set(self.disputes.len() as f64);
    }
}

/// A reason without its numbers, which differ from one failure to the next.
fn kind(why: &str) -> String {
    why.chars().filter(|char| !char.is_ascii_digit()).collect()
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable(why) | Self::Refused(why) | Self::Disputed(why) => f.write_str(why),
            Self::Ours(error) => error.fmt(f),
        }
    }
}
