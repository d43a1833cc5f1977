//! Watches a service's logs from elsewhere: whether each checkpoint goes on from the one before. With a key of its own the
//! watcher cosigns what it has accepted, as C2SP tlog-cosignature has it.
//!
//! - [`service`]: asks the service, over HTTP
//! - [`state`]: the folder of what was accepted last, and of evidence
//!
//! What is accepted is on disk before it is cosigned. So whatever the watcher dies of, it never cosigns two histories, and
//! what it has accepted and not cosigned it cosigns later. The service is believed nothing: its key was given to
//! the watcher by somebody else.

pub mod service;
pub mod state;

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use fleetlog_event_log::backoff::Backoff;
use fleetlog_event_log::{LogId, crash};
use fleetlog_http_client::{Client, Url};
use tokio_util::sync::CancellationToken;

use self::service::{Failure, Service};
use self::state::State;
use crate::hash::Hash;
use crate::note::{self, SignedCheckpoint, SigningKey, VerifierKey};
use crate::tree;

/// The shortest and the longest pause after a failure.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// What to watch, and how.
pub struct Options {
    /// The service.
    pub url: Url,
    /// A key of the service's, for the requests.
    pub api_key: Option<String>,
    /// The installation's verifier key, or that of one of its logs.
    pub key: VerifierKey,
    /// The folder that belongs to this watcher.
    pub state: PathBuf,
    /// The key to cosign with.
    pub witness: Option<SigningKey>,
    /// Only these logs. Without any: all that the service lists, and all that it has listed before.
    pub only: Vec<LogId>,
    /// The pause between two rounds.
    pub every: Duration,
    /// How long a log may go without a new checkpoint before that is worth a warning.
    pub stale_after: Duration,
}

/// Why a watcher does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder is of no use.
    #[error(transparent)]
    State(#[from] state::Error),
    /// There is no client.
    #[error(transparent)]
    Client(#[from] fleetlog_http_client::Error),
    /// The key is a witness's.
    #[error(
        "the key to check with is a witness's; give the installation's, as `fleetlog audit key` prints it"
    )]
    NotALogsKey,
    /// The key to cosign with is a log's.
    #[error("the key to cosign with is a log's; make a witness's with `fleetlog audit new-witness-key`")]
    NotAWitnesssKey,
    /// The key is one log's, and another one is to be watched.
    #[error("the key to check with is only for log {0}; give the installation's key to watch others")]
    OneLogsKey(LogId),
}

/// What a service has done that an honest one does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forgery {
    /// A checkpoint is not signed by the key.
    Key {
        /// The size that the checkpoint claims.
        size: u64,
        /// What is wrong with the signature.
        error: note::Error,
    },
    /// The checkpoint is another log's.
    Name {
        /// Whose it is.
        origin: String,
    },
    /// There are fewer events than before.
    Rollback {
        /// How many there were.
        old: u64,
        /// How many there are.
        size: u64,
    },
    /// There are two checkpoints of one size.
    Fork {
        /// The size.
        size: u64,
    },
    /// The log has grown, and its beginning is not what it was.
    Changed {
        /// How many events there were.
        old: u64,
        /// How many there are.
        size: u64,
        /// What the service gave as the proof.
        proof: Vec<Hash>,
    },
    /// There was a checkpoint, and there is none any more.
    Gone {
        /// How many events there were.
        old: u64,
    },
}

impl fmt::Display for Forgery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key { size, error } => {
                write!(f, "its checkpoint of {size} events is not by the key that was given: {error}")
            }
            Self::Name { origin } => write!(f, "the service shows a checkpoint of {origin} in its place"),
            Self::Rollback { old, size } => {
                write!(f, "it had {old} events and has {size} now: {} were taken back", old - size)
            }
            Self::Fork { size } => {
                write!(
                    f,
                    "there are two signed checkpoints of {size} events, with different roots: two histories"
                )
            }
            Self::Changed { old, size, .. } => {
                write!(f, "it has {size} events now, and the first {old} are not those that it had before")
            }
            Self::Gone { old } => {
                write!(f, "it had {old} signed events, and the service says that it has none")
            }
        }
    }
}

/// A log with an accepted checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The log.
    pub log_id: LogId,
    /// How many events it had before. `None` if it was not known.
    pub old: Option<u64>,
    /// How many it has.
    pub size: u64,
    /// Whether the checkpoint has this watcher's signature.
    pub cosigned: bool,
}

/// What a look at all logs has found.
#[derive(Debug, Default)]
pub struct Round {
    /// The logs whose checkpoints go on from those before.
    pub accepted: Vec<Accepted>,
    /// The logs whose checkpoints do not.
    pub forgeries: Vec<(LogId, Forgery)>,
    /// What could not be asked or done. `None` is the service as a whole.
    pub failures: Vec<(Option<LogId>, Failure)>,
}

/// Watches. One at a time for a folder.
pub struct Watch {
    service: Service,
    key: VerifierKey,
    witness: Option<SigningKey>,
    state: State,
    only: Vec<LogId>,
    every: Duration,
    stale_after: Duration,
    outages: Outages,
    stale: BTreeSet<LogId>,
}

/// What fails at present. Each is told once, and once when it is over.
#[derive(Default)]
struct Outages(BTreeSet<Option<LogId>>);

/// The answer to a checkpoint.
enum Judgement {
    Accepted(Accepted),
    Forged(Forgery),
}

impl Watch {
    /// Opens the folder. Nothing is asked yet.
    pub fn new(options: Options) -> Result<Self, Error> {
        let Options { url, api_key, key, state, witness, mut only, every, stale_after } = options;
        if key.kind() != note::Kind::Note {
            return Err(Error::NotALogsKey);
        }
        if witness.as_ref().is_some_and(|witness| witness.verifier().kind() != note::Kind::Cosignature) {
            return Err(Error::NotAWitnesssKey);
        }
        // The key of one log says which.
        if let Some(of) = note::log_of(key.name()) {
            if only.iter().any(|other| *other != of) {
                return Err(Error::OneLogsKey(of));
            }
            only = vec![of];
        }
        let state = State::open(state, &key)?;
        let service = Service::new(Client::new()?, url, api_key);
        let outages = Outages::default();
        Ok(Self { service, key, witness, state, only, every, stale_after, outages, stale: BTreeSet::new() })
    }

    /// Watches until `shutdown`, or until a log is not what it was.
    ///
    /// # Errors
    ///
    /// The logs that are not what they were. The evidence is in the folder, and everything is told.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), Vec<(LogId, Forgery)>> {
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        loop {
            let Some(round) = shutdown.run_until_cancelled(self.round()).await else { return Ok(()) };
            if !round.forgeries.is_empty() {
                return Err(round.forgeries);
            }
            let pause = if round.failures.is_empty() {
                backoff.reset();
                self.every
            } else {
                backoff.next_wait()
            };
            if shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return Ok(());
            }
        }
    }

    /// Looks at each log once, and tells what there is to tell.
    pub async fn round(&mut self) -> Round {
        let mut round = Round::default();
        let logs = match self.logs().await {
            Ok(logs) => {
                self.outages.end(None);
                logs
            }
            Err(failure) => {
                self.outages.begin(None, &failure);
                round.failures.push((None, failure));
                return round;
            }
        };
        for log_id in logs {
            match self.look(log_id).await {
                Ok(None) => self.outages.end(Some(log_id)),
                Ok(Some(Judgement::Accepted(accepted))) => {
                    if accepted.old != Some(accepted.size) {
                        self.stale.remove(&log_id);
                    }
                    self.outages.end(Some(log_id));
                    round.accepted.push(accepted);
                }
                Ok(Some(Judgement::Forged(forgery))) => {
                    tracing::error!(log = log_id.0, "log {log_id} is not what it was: {forgery}");
                    round.forgeries.push((log_id, forgery));
                }
                Err(failure) => {
                    self.outages.begin(Some(log_id), &failure);
                    round.failures.push((Some(log_id), failure));
                }
            }
            self.warn_of_standstill(log_id);
        }
        round
    }

    /// The logs to look at: what the service lists, and what it has listed before.
    async fn logs(&self) -> Result<BTreeSet<LogId>, Failure> {
        if !self.only.is_empty() {
            return Ok(self.only.iter().copied().collect());
        }
        let mut logs: BTreeSet<LogId> = self.service.logs().await?.into_iter().collect();
        logs.extend(self.state.logs());
        Ok(logs)
    }

    /// Looks at one log. `None` if it has no checkpoint, and never had one.
    async fn look(&mut self, log_id: LogId) -> Result<Option<Judgement>, Failure> {
        let kept = self.state.kept(log_id).map(|kept| kept.checkpoint.clone());
        let Some(offered) = self.service.checkpoint(log_id).await? else {
            let Some(kept) = kept else { return Ok(None) };
            return Ok(Some(self.forged(log_id, Forgery::Gone { old: kept.size }, None)));
        };
        let new = offered.checkpoint.clone();
        let forgery = match (&kept, offered.verify(std::slice::from_ref(&self.key))) {
            (_, Err(error)) => Some(Forgery::Key { size: new.size, error }),
            (_, Ok(_)) if new.origin != self.key.origin_of(log_id) => {
                Some(Forgery::Name { origin: new.origin.clone() })
            }
            (Some(kept), _) if new.size < kept.size => {
                Some(Forgery::Rollback { old: kept.size, size: new.size })
            }
            (Some(kept), _) if new.size == kept.size && new.root != kept.root => {
                Some(Forgery::Fork { size: new.size })
            }
            (Some(kept), _) if new.size > kept.size => {
                let proof = self.service.consistency(log_id, kept.size, new.size).await?;
                let follows = tree::is_consistent(kept.size, new.size, (kept.root, new.root), &proof);
                (!follows).then_some(Forgery::Changed { old: kept.size, size: new.size, proof })
            }
            _ => None,
        };
        if let Some(forgery) = forgery {
            return Ok(Some(self.forged(log_id, forgery, Some(&offered))));
        }
        let old = kept.map(|kept| kept.size);
        if old != Some(new.size) {
            self.state.keep(log_id, offered.clone()).map_err(|error| Failure(error.to_string()))?;
        }
        crash::point("watch: kept");
        let cosigned = self.cosign(log_id, &offered).await?;
        Ok(Some(Judgement::Accepted(Accepted { log_id, old, size: new.size, cosigned })))
    }

    /// Adds this watcher's signature to an accepted checkpoint, unless it is there. Whether it is there then.
    async fn cosign(&self, log_id: LogId, offered: &SignedCheckpoint) -> Result<bool, Failure> {
        let Some(witness) = &self.witness else { return Ok(false) };
        match offered.verify(&[witness.verifier()]) {
            Ok(_) => return Ok(true),
            Err(note::Error::Unsigned) => {}
            Err(_) => {
                let name = witness.name();
                return Err(Failure(format!(
                    "somebody has put a wrong signature under it in the name of {name}"
                )));
            }
        }
        let seconds = u64::try_from(state::now().timestamp()).unwrap_or_default();
        let line = witness.cosign(&offered.checkpoint, seconds);
        self.service.add_cosignature(log_id, offered.checkpoint.size, &line).await?;
        Ok(true)
    }

    /// Writes the evidence.
    fn forged(&self, log_id: LogId, forgery: Forgery, offered: Option<&SignedCheckpoint>) -> Judgement {
        match self.state.keep_evidence(log_id, &forgery, offered, &self.service) {
            Ok(file) => tracing::info!(file = %file.display(), "the evidence was written"),
            Err(error) => tracing::error!(%error, "failed to write the evidence"),
        }
        Judgement::Forged(forgery)
    }

    /// Warns once of a log that has had no new checkpoint for too long: what is not signed can still be changed.
    fn warn_of_standstill(&mut self, log_id: LogId) {
        let Some((size, age)) = self.state.age(log_id) else { return };
        if age >= self.stale_after && self.stale.insert(log_id) {
            let minutes = age.as_secs() / 60;
            tracing::warn!(
                log = log_id.0,
                "log {log_id} has had no new checkpoint that could be accepted for {minutes} minutes: {size} events \
                 are signed, and newer ones, if there are any, can still be changed"
            );
        }
    }
}

impl Outages {
    fn begin(&mut self, log_id: Option<LogId>, failure: &Failure) {
        if self.0.insert(log_id) {
            match log_id {
                None => tracing::warn!("failed to ask the service for its logs: {failure}; trying again"),
                Some(log_id) => {
                    tracing::warn!(log = log_id.0, "failed to watch log {log_id}: {failure}; trying again");
                }
            }
        }
    }

    fn end(&mut self, log_id: Option<LogId>) {
        if self.0.remove(&log_id) {
            match log_id {
                None => tracing::info!("the service answers again"),
                Some(log_id) => tracing::info!(log = log_id.0, "log {log_id} is watched again"),
            }
        }
    }
}
