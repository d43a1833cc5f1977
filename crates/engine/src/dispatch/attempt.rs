//! One attempt, or the time-out, of one command: publish, then record.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use fleetlog_aggregates::command::{Command, Input, Next, Request, Status};
use fleetlog_aggregates::identity::{StreamId, Tenant, Uid};
use fleetlog_aggregates::topic::{Channel, Topic};
use fleetlog_event_log::backoff::Backoff;
use fleetlog_event_log::control::{Actor, ExecuteError, Metadata, Record};
use fleetlog_event_log::crash;
use fleetlog_event_log::leadership::Lease;
use fleetlog_event_log::{EventLog, LogId};
use futures::FutureExt;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::outlet::{CommandOutlet, Delivery, Message};
use super::schedule::{Done, Due, OpenCommand};
use crate::instruments;

/// How long a broker may take to answer. After that the command is published again.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a command fails that its device does not take.
const TOO_LARGE: &str = "cannot be delivered: it is larger than the device's Maximum Packet Size";

/// The shared parts that a task of one tenant needs.
#[derive(Clone)]
pub(super) struct Sender {
    pub(super) log: EventLog,
    pub(super) log_id: LogId,
    pub(super) tenant: Tenant,
    pub(super) outlet: Arc<dyn CommandOutlet>,
    /// Limits how many tasks run at the same time.
    pub(super) places: Arc<Semaphore>,
    /// Without it another node may be sending the same command.
    pub(super) lease: Lease,
}

/// What is due for a command, with the parts of the command that it needs.
pub(super) struct Task {
    cmd_id: Uuid,
    due: Due,
    request: Option<Request>,
    requested_at: DateTime<Utc>,
    metadata: Metadata,
}

/// The JSON that a device receives.
#[derive(Serialize)]
struct Payload<'a> {
    cmd_id: Uuid,
    cmd: &'a str,
    params: &'a Value,
    attempt: u32,
    issued_at: String,
    expires_at: String,
}

/// The topic of a device's commands.
pub(super) fn topic(tenant: &Tenant, uid: &Uid) -> String {
    Topic { tenant: tenant.clone(), uid: uid.clone(), channel: Channel::Commands }.to_string()
}

impl Task {
    pub(super) fn new(log_id: LogId, cmd_id: Uuid, due: Due, open: &OpenCommand) -> Self {
        let metadata = Metadata {
            correlation_id: open.correlation_id.clone(),
            causation: Some((log_id, open.last)),
            ..Metadata::by(Actor::Dispatcher)
        };
        let request = open.state.request().cloned();
        Self { cmd_id, due, request, requested_at: open.requested_at, metadata }
    }
}

impl Sender {
    /// Does what is due, and returns the outcome.
    pub(super) async fn work(self, task: Task) -> (Uuid, Done) {
        let cmd_id = task.cmd_id;
        // A panic must end as any other failure does: a command whose outcome is never reported is never sent again.
        let done = AssertUnwindSafe(self.attempt(task)).catch_unwind().await.unwrap_or_else(|_| {
            tracing::error!(%cmd_id, "sending a command ended in a panic; trying again");
            Done::Again
        });
        (cmd_id, done)
    }

    /// Publishes an attempt again whose device has come back without a receipt for it, if the command's record says that it is
    /// still under way: one that was cancelled meanwhile is not to be carried out.
    pub(super) async fn repeat(self, cmd_id: Uuid, topic: String) -> (Uuid, Done) {
        let _place = self.places.acquire().await;
        match self.log.load_record::<Command>(&StreamId::new(&self.tenant, cmd_id)).await {
            Ok(record) if record.aggregate.status() == Some(Status::Sent) => {
                if self.lease.is_current() && !self.log.terms().of(self.tenant.as_str()).suspended {
                    instruments::COMMANDS_PUBLISHED.increment(1);
                    self.outlet.publish_kept(&topic);
                }
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "failed to read a command before sending it again; its next attempt is due in time");
            }
        }
        (cmd_id, Done::Repeated)
    }

    async fn attempt(self, task: Task) -> Done {
        let _place = self.places.acquire().await;
        match task.due {
            Due::Send { attempt } => self.send(&task, attempt).await,
            Due::TimeOut => {
                crash::point("timer.fired");
                let done = self.record(&task, None, Input::TimeOut(self.log.now())).await;
                crash::point("timer.recorded");
                done
            }
        }
    }

    async fn send(&self, task: &Task, attempt: u32) -> Done {
        // The followed log is a moment behind the head: the command may already have been cancelled.
        let Some(known) = self.is_next(task.cmd_id, attempt).await else {
            return Done::Again;
        };
        let Some(message) = task.request.as_ref().and_then(|request| self.message(task, request, attempt))
        else {
            return Done::Again;
        };
        crash::point("command.due");
        if !self.lease.is_current() {
            return Done::Again;
        }
        match tokio::time::timeout(PATIENCE, self.outlet.publish(message)).await {
            Ok(Ok(Delivery::Taken)) => {}
            Ok(Ok(Delivery::NobodyThere)) => return Done::Absent,
            Ok(Ok(Delivery::TooLarge)) => {
                return self.record(task, Some(known), Input::GiveUp(TOO_LARGE)).await;
            }
            Ok(Err(_)) | Err(_) => return Done::Again,
        }
        crash::point("command.published");
        instruments::COMMANDS_PUBLISHED.increment(1);
        let done = self.record(task, Some(known), Input::MarkSent { attempt, at: self.log.now() }).await;
        crash::point("command.sent");
        done
    }

    /// Loads the command's record. `None` if this attempt is not next, or the tenant is suspended.
    async fn is_next(&self, cmd_id: Uuid, attempt: u32) -> Option<Record<Command>> {
        if self.log.terms().of(self.tenant.as_str()).suspended {
            return None;
        }
        match self.log.load_record::<Command>(&StreamId::new(&self.tenant, cmd_id)).await {
            Ok(record) => {
                let next = record.aggregate.next();
                matches!(next, Some(Next::Send { attempt: next, .. }) if next == attempt).then_some(record)
            }
            Err(error) => {
                tracing::warn!(%error, "failed to read a command before sending it; trying again");
                None
            }
        }
    }

    /// The message for the device. `None` if the command has expired.
    fn message(&self, task: &Task, request: &Request, attempt: u32) -> Option<Message> {
        let left = (request.expires_at - self.log.now()).num_seconds();
        let expires_in_s = u32::try_from(left).ok().filter(|&seconds| seconds > 0)?;
        let moment = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Millis, true);
        let payload = Payload {
            cmd_id: task.cmd_id,
            cmd: &request.cmd,
            params: &request.params,
            attempt,
            issued_at: moment(task.requested_at),
            expires_at: moment(request.expires_at),
        };
        let topic = topic(&self.tenant, &request.device_uid);
        let payload = serde_json::to_string(&payload).ok()?;
        Some(Message { topic, payload, expires_in_s, answer_within_s: request.timeout_s })
    }

    /// Appends a step, and tries until the database takes it: a published command must not be published again because
    /// its event is missing.
    async fn record(&self, task: &Task, mut known: Option<Record<Command>>, input: Input) -> Done {
        let stream = StreamId::new(&self.tenant, task.cmd_id);
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        loop {
            let (input, metadata) = (input.clone(), task.metadata.clone());
            match self.log.execute_on(&stream, known.take(), input, metadata).await {
                Ok(Some(at)) => return Done::Recorded(at.position),
                // The device or a caller was faster: the event that says so is still to be read.
                Ok(None) | Err(ExecuteError::Refused(_)) => return Done::Again,
                Err(ExecuteError::Conflict) => {}
                Err(ExecuteError::Log(error)) => {
                    tracing::warn!(%error, log_id = %self.log_id, "failed to record a command's step; trying again");
                }
            }
            backoff.wait().await;
        }
    }
}
