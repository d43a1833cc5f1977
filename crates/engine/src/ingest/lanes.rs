//! Sorts messages by log. Never waits for the database: a slow tenant holds up no other.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fleetlog_aggregates::topic::Topic;
use fleetlog_event_log::{EventLog, Lane as LogLane};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::Options;
use super::acks::Acks;
use super::handle::Message;
use super::lane::Lane;
use super::unroutable::Unroutable;
use crate::devices::admission::Devices;
use crate::instruments;

type Inbox = mpsc::UnboundedSender<Message>;

/// One task for each log that has had messages, and one for messages that belong to none.
pub(super) struct Lanes {
    log: EventLog,
    options: Options,
    appends: Arc<Semaphore>,
    inboxes: HashMap<String, Inbox>,
    acks: Inbox,
    unroutable: Inbox,
    tasks: JoinSet<()>,
    /// Ends the tasks, even if they are not finished.
    stop: CancellationToken,
}

impl Lanes {
    pub(super) fn new(log: EventLog, options: Options, again: mpsc::WeakUnboundedSender<Message>) -> Self {
        let appends = Arc::new(Semaphore::new(options.appends.max(1)));
        let stop = CancellationToken::new();
        let (unroutable, inbox) = mpsc::unbounded_channel();
        let (acks, answers) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(until(stop.clone(), Acks::new(log.clone()).run(answers)));
        let task = Unroutable::new(log.clone(), again).run(inbox);
        tasks.spawn(until(stop.clone(), task));
        Self { log, options, appends, inboxes: HashMap::new(), acks, unroutable, tasks, stop }
    }

    /// Hands messages to their lanes.
    pub(super) fn take(&mut self, messages: impl ExactSizeIterator<Item = Message>) {
        instruments::RECEIVED.increment(messages.len() as u64);
        instruments::IN_FLIGHT.increment(messages.len() as f64);
        for message in messages {
            // A lane that has ended drops its messages, which answers them with `Closed`.
            let _ = if self.is_ack(&message) {
                self.acks.send(message)
            } else {
                self.inbox(message.tenant()).send(message)
            };
        }
    }

    /// Whether a message is an ack from a device of a known tenant.
    fn is_ack(&self, message: &Message) -> bool {
        message.is_ack()
            && Topic::parse(&message.topic)
                .is_some_and(|topic| self.log.heads().of(topic.tenant.as_str(), LogLane::Control).is_some())
    }

    fn inbox(&mut self, tenant: &str) -> &Inbox {
        if !self.inboxes.contains_key(tenant)
            && let Some(inbox) = self.open(tenant)
        {
            self.inboxes.insert(tenant.to_owned(), inbox);
        }
        self.inboxes.get(tenant).unwrap_or(&self.unroutable)
    }

    /// Opens a tenant's lane. `None` if this process knows no such tenant.
    fn open(&mut self, tenant: &str) -> Option<Inbox> {
        let heads = self.log.heads();
        let (telemetry, control) =
            (heads.of(tenant, LogLane::Telemetry)?, heads.of(tenant, LogLane::Control)?);
        let devices = Devices::new(self.log.clone(), tenant.parse().ok()?, control);
        let lane =
            Lane::new(self.log.clone(), telemetry, devices, Arc::clone(&self.appends), self.options.batch);
        let (sender, inbox) = mpsc::unbounded_channel();
        self.tasks.spawn(until(self.stop.clone(), lane.run(inbox)));
        Some(sender)
    }

    /// Resolves when a lane has ended. No lane ends while this value exists, except by a panic.
    pub(super) async fn ended(&mut self) -> JoinError {
        loop {
            match self.tasks.join_next().await {
                Some(Err(error)) => return error,
                Some(Ok(())) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// Lets the lanes store what they have, for up to `limit`.
    pub(super) async fn finish(self, limit: Duration) {
        let Self { inboxes, acks, unroutable, mut tasks, stop, .. } = self;
        drop((inboxes, acks, unroutable));
        let finished = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(limit, finished).await.is_err() {
            tracing::warn!(
                "ingest closes before all messages are stored; the rest is not acknowledged, so senders send it again"
            );
        }
        stop.cancel();
    }
}

async fn until(stop: CancellationToken, task: impl Future<Output = ()>) {
    let _ = stop.run_until_cancelled(task).await;
}
