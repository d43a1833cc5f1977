//! The batches of one log, one at a time: decide, admit the devices, append, quarantine, answer.
//!
//! While a batch is being appended the next one gathers, so batches grow with the load. Most of a batch's cost does not
//! depend on its size, so the lane pauses for some milliseconds after a small batch; a lone message never waits for
//! company. While the database fails, the lane tries again without end and answers nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fleetlog_aggregates::identity::Tenant;
use fleetlog_aggregates::telemetry::{self, Flags, Reason, Recorded};
use fleetlog_event_log::health::Wait;
use fleetlog_event_log::instrument::Counter;
use fleetlog_event_log::quarantine::Refused;
use fleetlog_event_log::sources::Sources;
use fleetlog_event_log::telemetry::Outcome;
use fleetlog_event_log::{EventLog, LogId};
use tokio::sync::{Semaphore, mpsc};

use super::decide::{Decided, Pending, decide};
use super::handle::{Excess, Handle, Message};
use super::retry::{unstored, until_done};
use super::{Fate, TAKE};
use crate::devices::admission::{Devices, Judged};
use crate::instruments;

/// The most payload in one batch, in bytes. It keeps a transaction with the largest messages to about a second.
const BATCH_BYTES: usize = 8 << 20;

/// From this size on the next batch starts at once: the fixed cost is amortised.
const LARGE: usize = 256;
/// Up to this size the lane never pauses: the senders probably wait for their PUBACK before they send more.
const FEW: usize = 8;
/// The pause after a small batch, as a multiple of the time that the batch took, and its maximum. At 10,000 messages/s
/// the pause saves a third of Postgres's work, and adds some milliseconds to an acknowledgement.
const REST: (u32, Duration) = (2, Duration::from_millis(10));

/// The most bytes of a message's payload that quarantine keeps. Whole messages that a later version, or another setting,
/// would take are at most that long.
pub const QUARANTINED_PAYLOAD: usize = telemetry::MAX_PAYLOAD;

/// The most bytes of messages that wait in one lane because their devices are new, with [`Handle::OVERHEAD`] for each. It
/// is an eighth of the budget that all tenants share.
pub const POSTPONED: usize = 8 << 20;
/// How long messages of new devices wait before registration is tried again.
const POSTPONED_FOR: Duration = Duration::from_secs(1);

/// The reason in quarantine for all messages of a suspended tenant.
pub(super) const SUSPENDED: &str = "the tenant is suspended";

/// Stores the telemetry of one tenant.
pub(super) struct Lane {
    log: EventLog,
    log_id: LogId,
    devices: Devices,
    appends: Arc<Semaphore>,
    batch: usize,
    postponed: Postponed,
}

/// Messages of new devices that wait until more devices may be registered, in the order of their arrival.
#[derive(Default)]
struct Postponed {
    messages: Vec<Message>,
    bytes: usize,
    due: Option<Instant>,
}

/// A message, its row for quarantine, and the reason.
pub(super) type Refusal = (Message, Refused, Reason);

impl Lane {
    pub(super) fn new(
        log: EventLog,
        log_id: LogId,
        devices: Devices,
        appends: Arc<Semaphore>,
        batch: usize,
    ) -> Self {
        Self { log, log_id, devices, appends, batch: batch.clamp(1, TAKE), postponed: Postponed::default() }
    }

    pub(super) async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Message>) {
        loop {
            let due = tokio::time::sleep_until(self.postponed.due.unwrap_or_else(Instant::now).into());
            let (batch, again) = tokio::select! {
                biased;
                () = due, if self.postponed.due.is_some() => (Some(self.postponed.take()), true),
                batch = gather(&mut inbox, self.batch) => (batch, false),
            };
            // The postponed messages are not answered, so their senders send them again.
            let Some(batch) = batch else { break };
            let size = batch.len();
            instruments::BATCHES.increment(1);
            instruments::BATCH_SIZE.record(size as f64);
            let began = Instant::now();
            // Messages that a quota has held back have waited for it, and not for the log.
            let oldest = batch.first().filter(|_| !again).map_or(began, |oldest| oldest.submitted);
            let wait = unstored(self.log.health(), oldest);
            let postponed = self.store(batch, again, &wait).await;
            drop(wait);
            instruments::IN_FLIGHT.decrement((size - postponed) as f64);
            if (FEW + 1..LARGE).contains(&size) && inbox.len() < LARGE {
                tokio::time::sleep((began.elapsed() * REST.0).min(REST.1)).await;
            }
        }
    }

    /// Stores a batch, but for messages of new devices that have to wait. `again` says that the batch has waited already.
    /// Returns how many messages wait.
    async fn store(&mut self, mut batch: Vec<Message>, again: bool, wait: &Wait) -> usize {
        let sources = self.sources(&batch, wait).await;
        let before = self.postponed.messages.len();
        while !batch.is_empty() {
            let mut decided = decide(self.devices.tenant(), Arc::clone(&sources), batch).await;
            batch = std::mem::take(&mut decided.rest);
            self.store_decided(decided, again, wait).await;
        }
        self.postponed.messages.len() - before
    }

    /// The tenant's sources, if messages need them. Before a topic counts as nobody's, the database is asked: another node may have
    /// defined its source a moment ago.
    async fn sources(&self, batch: &[Message], wait: &Wait) -> Arc<Sources> {
        let foreign = || batch.iter().filter(|message| message.sender.is_some());
        if foreign().next().is_none() {
            return Arc::default();
        }
        let tenant = self.devices.tenant();
        let known = until_done("read the sources", wait, || self.log.sources_of(tenant)).await;
        if foreign().all(|message| known.taking(&message.topic).is_some()) {
            return known;
        }
        until_done("read the sources", wait, || self.log.sources_now(tenant)).await
    }

    async fn store_decided(&mut self, mut decided: Decided, again: bool, wait: &Wait) {
        let tenant = self.devices.tenant().clone();
        if self.devices.are_suspended() {
            decided.refuse_all(&tenant, Reason::TenantSuspended, SUSPENDED);
        }
        let Decided { mut messages, events, mut refusals, .. } = decided;
        let devices: BTreeSet<&str> = events.iter().map(|(_, event)| event.aggregate_id.as_str()).collect();
        // A device that waits must not be overtaken by its own later messages.
        let register_later = !again && self.postponed.due.is_some();
        let Judged { refused, later } = self.devices.judge(&devices, register_later, wait).await;
        for (of, _) in events.iter().filter(|(_, event)| later.contains(&event.aggregate_id)) {
            if let Some(message) = messages[*of].message.take() {
                self.postponed.add(message);
            }
        }
        let admit = |(of, event): (usize, Recorded)| {
            let pending = &mut messages[of];
            pending.message.as_ref()?;
            if let Some(&(reason, detail)) = refused.get(&event.aggregate_id) {
                pending.refuse((reason, detail.to_owned()));
                return None;
            }
            Some((of, event))
        };
        let (of, events): (Vec<usize>, Vec<Recorded>) = events.into_iter().filter_map(admit).unzip();
        self.append(&mut messages, &of, events, wait).await;
        refusals.extend(messages.into_iter().filter_map(|pending| pending.settle(&tenant)));
        quarantine(&self.log, wait, refusals).await;
    }

    /// Appends events, and notes what became of each with its message, whose index is in `of`.
    async fn append(&self, messages: &mut [Pending], of: &[usize], events: Vec<Recorded>, wait: &Wait) {
        if events.is_empty() {
            return;
        }
        let events: Arc<[Recorded]> = events.into();
        let started = Instant::now();
        // The semaphore is never closed; without a permit the append would merely wait in the pool instead.
        let permit = Arc::clone(&self.appends).acquire_owned().await;
        let append = || self.log.append_telemetry(self.log_id, Arc::clone(&events));
        let outcomes = until_done("append telemetry", wait, append).await;
        drop(permit);
        instruments::APPEND_SECONDS.record(started.elapsed().as_secs_f64());
        let mut counts = Counts::default();
        for ((&of, event), outcome) in of.iter().zip(events.iter()).zip(outcomes) {
            let message = &mut messages[of];
            match outcome {
                Outcome::Recorded(position) => {
                    counts.recorded(event.flags);
                    message.is_stored(Fate::Recorded(position));
                }
                Outcome::RecordedApart(position) => {
                    counts.recorded(event.flags);
                    counts.id_reused += u64::from(event.has_own_msg_id());
                    message.is_stored(Fate::Recorded(position));
                }
                Outcome::Duplicate => {
                    counts.duplicates += 1;
                    message.is_stored(Fate::Duplicate);
                }
                Outcome::Refused(detail) => message.refuse((Reason::Unstorable, detail)),
            }
        }
        counts.publish();
    }
}

impl Postponed {
    /// Postpones a message, or refuses it, as its sender has asked. Beyond [`POSTPONED`] a message is dropped unanswered if
    /// that harms its sender only.
    fn add(&mut self, message: Message) {
        let cost = message.payload.len() + Handle::OVERHEAD;
        let outcome = if message.excess == Excess::IsRefused {
            message.answer(Fate::OverQuota);
            "refused"
        } else if message.is_droppable && self.bytes + cost > POSTPONED {
            "dropped"
        } else {
            self.bytes += cost;
            self.messages.push(message);
            self.due.get_or_insert_with(|| Instant::now() + POSTPONED_FOR);
            "waited"
        };
        instruments::OVER_QUOTA.with(["new_devices".into(), outcome.into()]).increment(1);
    }

    fn take(&mut self) -> Vec<Message> {
        std::mem::take(self).messages
    }
}

/// The next batch: all messages that have arrived, at least one. `None` when the queue is closed.
pub(super) async fn gather(
    inbox: &mut mpsc::UnboundedReceiver<Message>,
    most: usize,
) -> Option<Vec<Message>> {
    let first = inbox.recv().await?;
    let mut bytes = first.payload.len();
    let mut batch = vec![first];
    while batch.len() < most && bytes < BATCH_BYTES {
        let Ok(message) = inbox.try_recv() else { break };
        bytes += message.payload.len();
        batch.push(message);
    }
    Some(batch)
}

/// A message as a row for quarantine.
pub(super) fn refuse(message: Message, tenant: Option<Tenant>, reason: Reason, detail: String) -> Refusal {
    let refused = message.refused(tenant.map(String::from), reason, detail, QUARANTINED_PAYLOAD);
    (message, refused, reason)
}

/// Puts messages into quarantine, tries until the database takes them, and answers them.
pub(super) async fn quarantine(log: &EventLog, wait: &Wait, refusals: Vec<Refusal>) {
    if refusals.is_empty() {
        return;
    }
    let mut rows = Vec::with_capacity(refusals.len());
    let mut answers = Vec::with_capacity(refusals.len());
    for (message, row, reason) in refusals {
        if !message.is_quarantined {
            rows.push(row);
        }
        answers.push((message, reason));
    }
    if !rows.is_empty() {
        let dropped = until_done("quarantine messages", wait, || log.quarantine(&rows)).await;
        instruments::QUARANTINE_DROPPED.increment(dropped);
    }
    for (message, reason) in answers {
        if !message.is_quarantined {
            instruments::QUARANTINED.with([reason.as_str().into()]).increment(1);
        }
        message.answer(Fate::Quarantined(reason));
    }
}

/// Counts of one batch's outcomes.
#[derive(Default)]
struct Counts {
    recorded: u64,
    duplicates: u64,
    id_reused: u64,
    flags: [u64; FLAGS.len()],
}

const FLAGS: [(Flags, Counter<0>); 8] = [
    (Flags::RAW, instruments::RAW),
    (Flags::LATE, instruments::LATE),
    (Flags::CLOCK_AHEAD, instruments::CLOCK_AHEAD),
    (Flags::NO_MSG_ID, instruments::NO_MSG_ID),
    (Flags::BAD_TS, instruments::BAD_TS),
    (Flags::BAD_MSG_ID, instruments::BAD_MSG_ID),
    (Flags::REPEATED_KEY, instruments::REPEATED_KEY),
    (Flags::NO_METRICS, instruments::NO_METRICS),
];

impl Counts {
    fn recorded(&mut self, flags: Flags) {
        self.recorded += 1;
        for (count, (flag, _)) in self.flags.iter_mut().zip(FLAGS) {
            *count += u64::from(flags.contains(flag));
        }
    }

    fn publish(self) {
        instruments::RECORDED.increment(self.recorded);
        instruments::DUPLICATES.increment(self.duplicates);
        instruments::ID_REUSED.increment(self.id_reused);
        for (count, (_, counter)) in self.flags.into_iter().zip(FLAGS) {
            counter.increment(count);
        }
    }
}
