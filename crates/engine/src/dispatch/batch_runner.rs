//! Requests the commands of batches, at their rate, in the order of their devices. Ends a batch when all of its
//! commands have ended, or too many have failed.
//!
//! A command's id is derived from its batch and its device, so a batch that starts again after a crash requests nothing
//! twice. The runner reads a batch's counts from the read model, which is a moment behind: a batch may go a few
//! commands past its threshold, but never stops before it.
//!
//! One task runs the batches of all tenants. Each tenant's worker, which follows the control log, notifies it of every
//! requested batch. The runner also asks the read model at the start, when a worker begins, and every [`LOOK_EVERY`], in
//! case a notice was lost.

use std::collections::HashSet;
use std::time::Duration;

use cqrs_es::Aggregate;
use fleetlog_aggregates::command::{self, Command};
use fleetlog_aggregates::command_batch::{CommandBatch, Input, Status};
use fleetlog_aggregates::identity::{StreamId, Tenant, Uid};
use fleetlog_event_log::control::{Actor, ExecuteError, Metadata};
use fleetlog_event_log::{Corrupt, Event, EventLog};
use fleetlog_projections::commands;
use futures::{StreamExt, TryStreamExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::commands::batch::cmd_id;

/// How often the runner looks for batches of which no worker has notified it. There should be none: this is the
/// guarantee.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// The least time between two looks for batches, and the time between two looks at a running batch.
const PACE: Duration = Duration::from_millis(250);
/// The time between two looks at a paused batch.
const PAUSED_PACE: Duration = Duration::from_secs(2);
/// How long a shutdown waits for running batches.
const DRAIN: Duration = Duration::from_secs(10);
/// The most commands of a batch that are requested, or cancelled, at the same time.
const AT_ONCE: usize = 8;
/// The most commands that are cancelled between two looks.
const PAGE: i64 = 500;

/// Why a batch cannot proceed now.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Read(#[from] commands::Error),
    #[error(transparent)]
    Batch(#[from] ExecuteError<fleetlog_aggregates::command_batch::Error>),
    #[error(transparent)]
    Command(#[from] ExecuteError<command::Error>),
    #[error(transparent)]
    Log(#[from] fleetlog_event_log::Error),
    #[error("read the batch's events: {0}")]
    Corrupt(#[from] Corrupt),
}

/// A worker's notice to the runner.
#[derive(Debug)]
pub(super) enum Notice {
    /// A worker starts to follow its log. Batches that were requested before are known from the read model only.
    Begun,
    /// A batch was requested.
    Requested(BatchId),
}

/// A batch, by tenant and id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct BatchId {
    pub(super) tenant: Tenant,
    pub(super) id: Uuid,
}

/// Runs all tenants' batches until `stop`.
pub(super) async fn run(
    log: EventLog,
    mut notices: mpsc::UnboundedReceiver<Notice>,
    stop: CancellationToken,
) {
    let mut running = Running { log, stop: stop.clone(), tasks: JoinSet::new(), known: HashSet::new() };
    // A node that ended a batch may have stopped before it cancelled all of the batch's other commands.
    let mut is_first = true;
    let (mut looked, mut next_look) = (Instant::now(), Instant::now());
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = running.tasks.join_next() => {
                if let Ok(batch) = ended {
                    running.known.remove(&batch);
                }
            }
            Some(notice) = notices.recv() => match notice {
                Notice::Begun => next_look = next_look.min(looked + PACE),
                Notice::Requested(batch) => running.start(batch),
            },
            () = sleep_until(next_look) => {
                let found = look(&running.log, is_first).await;
                looked = Instant::now();
                next_look = looked + if found.is_ok() { LOOK_EVERY } else { PACE };
                match found {
                    Ok(batches) => {
                        is_first = false;
                        for batch in batches {
                            running.start(batch);
                        }
                    }
                    Err(error) => tracing::warn!(%error, "failed to look for batches; trying again"),
                }
            }
        }
    }
    // Each batch ends at its next look. One that a failing database holds up continues at the next start.
    let finished = async { while running.tasks.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(DRAIN, finished).await;
}

/// The batches with something left to do, according to the read model.
async fn look(log: &EventLog, is_first: bool) -> Result<Vec<BatchId>, commands::Error> {
    let mut batches = commands::open_batches(log.pool()).await?;
    if is_first {
        batches.extend(commands::ended_with_unsent(log.pool()).await?);
    }
    Ok(batches.into_iter().map(|(tenant, id)| BatchId { tenant, id }).collect())
}

/// The running batches, each in its own task.
struct Running {
    log: EventLog,
    stop: CancellationToken,
    tasks: JoinSet<BatchId>,
    known: HashSet<BatchId>,
}

impl Running {
    /// Starts a batch, unless it is running.
    fn start(&mut self, batch: BatchId) {
        if self.known.insert(batch.clone()) {
            let BatchId { tenant, id } = batch.clone();
            let (task, stop) = (Batch { log: self.log.clone(), tenant, id }, self.stop.clone());
            self.tasks.spawn(async move {
                task.run(stop).await;
                batch
            });
        }
    }
}

/// A batch with something left to do.
struct Batch {
    log: EventLog,
    tenant: Tenant,
    id: Uuid,
}

impl Batch {
    async fn run(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            match self.try_run(&stop).await {
                Ok(()) => break,
                Err(error) => {
                    tracing::warn!(%error, batch_id = %self.id, "failed to go on with a batch; trying again");
                }
            }
            let _ = stop.run_until_cancelled(tokio::time::sleep(Duration::from_secs(1))).await;
        }
    }

    async fn try_run(&self, stop: &CancellationToken) -> Result<(), Error> {
        let stream = StreamId::new(&self.tenant, self.id);
        let events = self.log.streams::<CommandBatch>(std::slice::from_ref(&stream)).await?;
        let Some(first) = events.first() else { return Ok(()) };
        let metadata = metadata(first);
        let (mut batch, mut known) = (CommandBatch::default(), 0);
        take(&mut batch, &mut known, &events)?;
        let Some(request) = batch.request().cloned() else { return Ok(()) };
        // Commands are requested in the order of the devices, so the ones that exist belong to the first devices.
        let counts = commands::counts(self.log.pool(), &self.tenant, self.id).await?;
        let mut next = (counts.ended() + counts.requested + counts.sent) as usize;
        let mut ticks = interval(PACE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut allowance = 0.0;
        while let Some(status) = batch.status().filter(|status| status.is_open()) {
            let is_paused = status == Status::Paused;
            let look = async {
                if is_paused {
                    tokio::time::sleep(PAUSED_PACE).await;
                }
                ticks.tick().await;
            };
            if stop.run_until_cancelled(look).await.is_none() {
                return Ok(());
            }
            let counts = commands::counts(self.log.pool(), &self.tenant, self.id).await?;
            let devices = batch.devices();
            if request.abort_after_failures.is_some_and(|most| counts.failures() >= i64::from(most)) {
                self.end(&stream, Input::Abort { failures: counts.failures() as u32 }, &metadata).await?;
            } else if counts.ended() >= devices.len() as i64 {
                self.end(&stream, Input::Complete, &metadata).await?;
            } else if next < devices.len() && request.expires_at <= self.log.now() {
                let reason = "it expired before each of its devices had its turn".to_owned();
                let cancel = Input::Cancel { by: "dispatcher".to_owned(), reason: Some(reason) };
                self.end(&stream, cancel, &metadata).await?;
            } else if next < devices.len() && !is_paused {
                // At least 1, so that a rate below one command a look adds up to one, too.
                allowance = (allowance + f64::from(request.rate_per_s) * PACE.as_secs_f64())
                    .min(f64::from(request.rate_per_s).max(1.0));
                let until = devices.len().min(next + allowance as usize);
                allowance -= (until - next) as f64;
                self.request(&request, &devices[next..until], &metadata).await?;
                next = until;
            }
            // The batch may have been ended here or cancelled by a caller. Reading only the new events spares reading
            // its many devices again.
            let events = self.log.stream_after::<CommandBatch>(&stream, known).await?;
            take(&mut batch, &mut known, &events)?;
        }
        if batch.status() != Some(Status::Completed) {
            self.cancel_unsent(&metadata).await?;
        }
        Ok(())
    }

    async fn request(
        &self,
        request: &fleetlog_aggregates::command_batch::Request,
        devices: &[Uid],
        metadata: &Metadata,
    ) -> Result<(), Error> {
        let command = |uid: &Uid| command::Request {
            device_uid: uid.clone(),
            cmd: request.cmd.clone(),
            params: request.params.clone(),
            requested_by: request.requested_by.clone(),
            timeout_s: request.timeout_s,
            max_attempts: request.max_attempts,
            expires_at: request.expires_at,
            batch_id: Some(self.id.to_string()),
            request_digest: None,
        };
        let input = |uid: &Uid| command::Input::Request(command(uid), self.log.now());
        let requests = devices.iter().map(|uid| (cmd_id(self.id, uid), input(uid)));
        self.append_all(requests.collect(), metadata).await
    }

    /// Cancels the commands that no broker has taken. Those that were sent run to their end.
    async fn cancel_unsent(&self, metadata: &Metadata) -> Result<(), Error> {
        // The read model is a moment behind, so only two empty looks in a row mean that none are left.
        let mut looks_without = 0;
        while looks_without < 2 {
            let unsent = commands::unsent(self.log.pool(), &self.tenant, self.id, PAGE).await?;
            looks_without = if unsent.is_empty() { looks_without + 1 } else { 0 };
            let cancel = command::Input::Cancel {
                by: "dispatcher".to_owned(),
                reason: Some("its batch has ended".to_owned()),
            };
            let cancels = unsent.into_iter().map(|cmd_id| (cmd_id, cancel.clone())).collect();
            self.append_all(cancels, metadata).await?;
            tokio::time::sleep(PACE).await;
        }
        Ok(())
    }

    async fn append_all(
        &self,
        inputs: Vec<(Uuid, command::Input)>,
        metadata: &Metadata,
    ) -> Result<(), Error> {
        let appends = inputs.into_iter().map(|(cmd_id, input)| self.append(cmd_id, input, metadata));
        futures::stream::iter(appends).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Appends a step. A refusal means that the step was taken before, or that the command has ended.
    async fn append(&self, cmd_id: Uuid, input: command::Input, metadata: &Metadata) -> Result<(), Error> {
        let stream = StreamId::new(&self.tenant, cmd_id);
        match self.log.execute::<Command>(&stream, input, metadata.clone()).await {
            Ok(_) | Err(ExecuteError::Refused(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn end(&self, stream: &StreamId, input: Input, metadata: &Metadata) -> Result<(), Error> {
        let metadata = Metadata { actor: Actor::Dispatcher, ..metadata.clone() };
        match self.log.execute::<CommandBatch>(stream, input, metadata).await {
            Ok(_) | Err(ExecuteError::Refused(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Metadata for all events that follow from the batch's first: its requester and correlation id.
fn metadata(first: &Event) -> Metadata {
    Metadata {
        correlation_id: first.metadata.correlation_id(),
        causation: Some((first.log_id, first.position)),
        ..Metadata::by(first.metadata.actor().unwrap_or(Actor::Dispatcher))
    }
}

/// Applies events to a batch, and notes the last sequence number.
fn take(batch: &mut CommandBatch, known: &mut i64, events: &[Event]) -> Result<(), Error> {
    for event in events {
        batch.apply(event.decode()?);
        *known = event.sequence;
    }
    Ok(())
}
