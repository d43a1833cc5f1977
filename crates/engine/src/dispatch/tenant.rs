//! The open commands of one log: follows the log, does what is due, and notifies the runner of requested batches.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use fleetlog_aggregates::command::Command;
use fleetlog_aggregates::command_batch::CommandBatch;
use fleetlog_aggregates::identity::{StreamId, Tenant, Uid};
use fleetlog_aggregates::topic::Topic;
use fleetlog_event_log::backoff::Backoff;
use fleetlog_event_log::follow::Follower;
use fleetlog_event_log::health::{Part, Wait};
use fleetlog_event_log::leadership::Lease;
use fleetlog_event_log::{Event, EventLog, LogId};
use fleetlog_projections::{commands, devices};
use tokio::sync::{Semaphore, broadcast, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::attempt::{self, Sender, Task};
use super::batch_runner::{BatchId, Notice};
use super::outlet::CommandOutlet;
use super::schedule::{CommandEvent, Done, Schedule};
use crate::instruments;

/// The most tasks that run at a time. Their appends take turns on the log's row, but the steps before that overlap.
const AT_ONCE: usize = 24;
/// The most events that are read at once.
const PAGE: i64 = 500;
/// How long a shutdown waits for tasks that are under way.
const DRAIN: Duration = Duration::from_secs(10);
/// How often absent devices are looked for among the devices that have published.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often the worker's loop turns at least, which shows that it moves.
const TURN_EVERY: Duration = Duration::from_secs(3);
/// The type of the event that begins a batch.
const BATCH_REQUESTED: &str = "CommandBatchRequested";

pub(super) struct TenantWorker {
    log: EventLog,
    log_id: LogId,
    tenant: Tenant,
    outlet: Arc<dyn CommandOutlet>,
    batches: mpsc::UnboundedSender<Notice>,
    schedule: Schedule,
    /// What the dispatcher would stand still with, if the next turn of the worker's loop did not come.
    turn: Wait,
    lease: Lease,
}

impl TenantWorker {
    pub(super) fn new(
        log: EventLog,
        (log_id, tenant): (LogId, Tenant),
        outlet: Arc<dyn CommandOutlet>,
        batches: mpsc::UnboundedSender<Notice>,
        (health, lease): (Part, Lease),
    ) -> Self {
        let schedule = Schedule::default();
        let turn = health.wait(Instant::now(), format!("dispatching for tenant {tenant} stands still"));
        Self { log, log_id, tenant, outlet, batches, schedule, turn, lease }
    }

    /// Works until `stop`, and then finishes what is under way.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let Some(follower) = stop.run_until_cancelled(self.begin()).await else { return };
        self.notify(Notice::Begun);
        let mut work = JoinSet::new();
        stop.run_until_cancelled(self.follow(follower, &mut work)).await;
        let finished = async { while work.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN, finished).await.is_err() {
            tracing::warn!("stopped before the running commands were done; they continue at the next start");
        }
    }

    /// Reads the open commands, and tries until the database answers.
    async fn begin(&mut self) -> Follower {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        loop {
            match self.try_begin().await {
                Ok(follower) => {
                    tracing::debug!(tenant = %self.tenant, open = self.schedule.len(), "dispatching");
                    self.turn.moved();
                    return follower;
                }
                Err(error) => {
                    tracing::warn!(%error, "failed to read the open commands; trying again");
                    self.turn.failed(error.outline());
                }
            }
            backoff.wait().await;
        }
    }

    /// The read model knows which commands were open at its checkpoint; the log has their events, and all that happened
    /// since. A log without events is not asked for: there may be thousands.
    async fn try_begin(&mut self) -> Result<Follower, commands::Error> {
        if self.log.heads().log(self.log_id).is_none_or(|log| log.head == 0) {
            return Ok(self.log.follow(self.log_id, 0));
        }
        let open = commands::open(self.log.pool(), &self.tenant, self.log_id).await?;
        let streams: Vec<_> = open.commands.iter().map(|id| StreamId::new(&self.tenant, id)).collect();
        self.schedule = Schedule::default();
        for streams in streams.chunks(PAGE as usize) {
            for event in self.log.streams::<Command>(streams).await? {
                self.take(&event);
            }
        }
        Ok(self.log.follow(self.log_id, open.position))
    }

    async fn follow(&mut self, follower: Follower, work: &mut JoinSet<(Uuid, Done)>) {
        // The read goes on across the loop's turns: dropping it halfway would cost the pool its connection.
        let mut reading = Box::pin(read(follower));
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let mut arrivals = self.outlet.arrivals();
        // What was kept for a device that came back before this began.
        for uid in self.schedule.devices() {
            if self.outlet.is_kept(&attempt::topic(&self.tenant, &uid)) {
                self.schedule.arrived(&uid);
            }
        }
        let mut looks = tokio::time::interval(LOOK_EVERY);
        let mut turning = tokio::time::interval(TURN_EVERY);
        let mut looked = self.log.now();
        loop {
            self.turn.moved();
            for (cmd_id, due) in self.schedule.due(self.log.now()) {
                let Some(open) = self.schedule.get(cmd_id) else { continue };
                let task = Task::new(self.log_id, cmd_id, due, open);
                work.spawn(self.sender(&places).work(task));
            }
            for cmd_id in self.schedule.returned() {
                let Some(open) = self.schedule.get(cmd_id) else { continue };
                let topic = attempt::topic(&self.tenant, &open.uid);
                // Most devices have left with a receipt.
                if self.outlet.is_kept(&topic) {
                    work.spawn(self.sender(&places).repeat(cmd_id, topic));
                }
            }
            instruments::COMMANDS_OPEN.with([self.tenant.to_string().into()]).set(self.schedule.len() as f64);
            tokio::select! {
                (follower, events) = &mut reading => {
                    reading = Box::pin(read(follower));
                    match events {
                        Ok(events) => events.iter().for_each(|event| self.take(event)),
                        Err(error) => {
                            tracing::warn!(%error, "failed to follow the control log; trying again");
                            tokio::time::sleep(LOOK_EVERY).await;
                        }
                    }
                }
                Some(done) = work.join_next() => match done {
                    Ok((cmd_id, done)) => self.schedule.done(cmd_id, done, self.log.now()),
                    Err(error) => tracing::error!(%error, "sending a command ended in a panic"),
                },
                () = until(self.schedule.next_wake(), self.log.now()) => {}
                arrived = arrival(arrivals.as_mut()) => self.arrived(arrived.as_deref()),
                _ = turning.tick() => {}
                _ = looks.tick(), if arrivals.is_none() => looked = self.look(looked).await,
            }
        }
    }

    fn sender(&self, places: &Arc<Semaphore>) -> Sender {
        Sender {
            log: self.log.clone(),
            log_id: self.log_id,
            tenant: self.tenant.clone(),
            outlet: Arc::clone(&self.outlet),
            places: Arc::clone(places),
            lease: self.lease.clone(),
        }
    }

    /// The send cannot fail: the runner ends only when the dispatcher does.
    fn notify(&self, notice: Notice) {
        let _ = self.batches.send(notice);
    }

    /// Applies an event of a command, or notifies the runner of a requested batch. Ignores all others.
    fn take(&mut self, event: &Event) {
        let id = event.aggregate_id.parse().ok().and_then(|stream: StreamId| stream.uuid());
        if event.aggregate_type == CommandBatch::TYPE
            && event.event_type == BATCH_REQUESTED
            && let Some(id) = id
        {
            self.notify(Notice::Requested(BatchId { tenant: self.tenant.clone(), id }));
        }
        if event.aggregate_type != Command::TYPE {
            return;
        }
        let (Some(cmd_id), Ok(parsed)) = (id, event.decode()) else {
            tracing::error!(position = event.position, "skipped an unreadable event of a command");
            return;
        };
        self.schedule.apply(CommandEvent {
            cmd_id,
            event: parsed,
            position: event.position,
            occurred_at: event.occurred_at,
            correlation_id: event.metadata.correlation_id(),
        });
    }

    /// A device listens, or, with `None`, any device may.
    fn arrived(&mut self, topic: Option<&str>) {
        match topic.map(Topic::parse) {
            Some(Some(topic)) if topic.tenant == self.tenant => {
                self.schedule.arrived(&topic.uid);
            }
            Some(_) => {}
            None => self.schedule.devices().iter().for_each(|uid| self.schedule.arrived(uid)),
        }
    }

    /// Looks for absent devices among those that have published since the last look: an external broker does not report
    /// who connects, but a device that publishes must be connected.
    async fn look(&mut self, since: DateTime<Utc>) -> DateTime<Utc> {
        let absent: Vec<Uid> = self.schedule.absent().into_iter().collect();
        let now = self.log.now();
        if absent.is_empty() {
            return now;
        }
        match devices::heard_since(self.log.pool(), &self.tenant, &absent, since).await {
            Ok(heard) => {
                for uid in heard {
                    self.schedule.arrived(&uid);
                }
                now
            }
            Err(error) => {
                tracing::warn!(%error, "failed to look for devices that are back; trying again");
                since
            }
        }
    }
}

/// Reads the next events, and returns the follower for the next read.
async fn read(mut follower: Follower) -> (Follower, Result<Vec<Event>, fleetlog_event_log::Error>) {
    let events = follower.next(PAGE).await;
    (follower, events)
}

async fn until(wake: Option<DateTime<Utc>>, now: DateTime<Utc>) {
    match wake.map(|wake| (wake - now).to_std().unwrap_or_default()) {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

/// The topic of a device that begins to listen; `None` if some were missed. Never resolves if the broker does not
/// report them.
async fn arrival(arrivals: Option<&mut broadcast::Receiver<Arc<str>>>) -> Option<Arc<str>> {
    let Some(arrivals) = arrivals else { return std::future::pending().await };
    match arrivals.recv().await {
        Ok(topic) => Some(topic),
        Err(broadcast::error::RecvError::Lagged(_)) => None,
        Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
    }
}
