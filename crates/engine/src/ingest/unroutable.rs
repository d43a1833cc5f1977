//! Messages whose topic names no tenant that this process knows: looks the tenant up once more, or else quarantines
//! them.
//!
//! Anyone who can reach an endpoint without logins can send such messages. So quarantine keeps the first ones of a
//! minute, and only the beginning of each. The others of that minute are counted in one more row.

use std::time::{Duration, Instant};

use fleetlog_aggregates::telemetry::{self, Reason};
use fleetlog_aggregates::topic::Topic;
use fleetlog_event_log::quarantine::Refused;
use fleetlog_event_log::{EventLog, Lane};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};

use super::Fate;
use super::handle::Message;
use super::lane::{gather, quarantine};
use super::retry::{unstored, until_done};
use crate::instruments;

/// The least time between two reads of the list of tenants, so that made-up names cannot overload the database.
const LOOK_EVERY: Duration = Duration::from_millis(250);
const BATCH: usize = 1000;
/// The most messages on topics of no tenant that a node puts into quarantine in a minute.
pub const STRANGERS_A_MINUTE: usize = 60;
/// The most bytes of payload that are kept of a message on a topic of no tenant.
pub const STRANGERS_PAYLOAD: usize = 4 << 10;
const MINUTE: Duration = Duration::from_mins(1);

pub(super) struct Unroutable {
    log: EventLog,
    minute: Minute,
    /// Back to where lanes are chosen. Weak, so that ingest ends when all handles are dropped.
    again: mpsc::WeakUnboundedSender<Message>,
}

impl Unroutable {
    pub(super) fn new(log: EventLog, again: mpsc::WeakUnboundedSender<Message>) -> Self {
        Self { log, minute: Minute::begin(), again }
    }

    pub(super) async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Message>) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Nobody may come any more who would bring the minute to its end.
            let over = tokio::time::sleep_until(self.minute.ends.into());
            let batch = tokio::select! {
                biased;
                () = over, if self.minute.counted.is_some() => {
                    self.end_minute().await;
                    continue;
                }
                batch = gather(&mut inbox, BATCH) => batch,
            };
            let Some(batch) = batch else { break };
            self.judge(batch, &mut looks).await;
        }
        self.end_minute().await;
    }

    /// Puts the counts of the minute into quarantine, if there are any, and begins the next minute.
    async fn end_minute(&mut self) {
        let minute = std::mem::replace(&mut self.minute, Minute::begin());
        let Some(Counted { mut row, messages, bytes }) = minute.counted else { return };
        row.detail = format!(
            "{messages} more messages on topics of no tenant within a minute, {bytes} bytes in all; this is the topic of the first"
        );
        let wait = &unstored(self.log.health(), Instant::now());
        let dropped =
            until_done("quarantine messages", wait, || self.log.quarantine(std::slice::from_ref(&row))).await;
        instruments::QUARANTINE_DROPPED.increment(dropped);
    }

    async fn judge(&mut self, batch: Vec<Message>, looks: &mut Interval) {
        if self.minute.ends <= Instant::now() {
            self.end_minute().await;
        }
        let size = batch.len();
        let oldest = batch.first().map_or_else(Instant::now, |oldest| oldest.submitted);
        let wait = &unstored(self.log.health(), oldest);
        if batch.iter().any(|message| Topic::parse(&message.topic).is_some()) {
            looks.tick().await;
            until_done("read the tenants", wait, || self.log.heads().refresh(self.log.pool())).await;
        }
        let mut refusals = Vec::with_capacity(size);
        for message in batch {
            let (reason, detail) = match Topic::parse(&message.topic) {
                None => (Reason::BadTopic, telemetry::BAD_TOPIC.to_owned()),
                Some(topic) if self.log.heads().of(topic.tenant.as_str(), Lane::Telemetry).is_some() => {
                    if let Some(again) = self.again.upgrade() {
                        // If ingest is closing, the message is dropped unanswered.
                        let _ = again.send(message);
                    }
                    continue;
                }
                Some(topic) => (Reason::UnknownTenant, format!("there is no tenant {}", topic.tenant)),
            };
            if let Some((message, row)) = self.minute.keep(message, reason, detail) {
                refusals.push((message, row, reason));
            }
        }
        quarantine(&self.log, wait, refusals).await;
        instruments::IN_FLIGHT.decrement(size as f64);
    }
}

/// What there was of messages on topics of no tenant in a minute.
struct Minute {
    ends: Instant,
    kept: usize,
    counted: Option<Counted>,
}

/// The messages that are not kept.
struct Counted {
    /// The first of them, without its payload.
    row: Refused,
    messages: u64,
    bytes: u64,
}

impl Minute {
    fn begin() -> Self {
        Self { ends: Instant::now() + MINUTE, kept: 0, counted: None }
    }

    /// Returns a message that is to be kept, with its row. Counts and answers every other one.
    fn keep(&mut self, message: Message, reason: Reason, detail: String) -> Option<(Message, Refused)> {
        // One that is in quarantine already is not put there once more.
        if message.is_quarantined || self.kept < STRANGERS_A_MINUTE {
            self.kept += usize::from(!message.is_quarantined);
            let row = message.refused(None, reason, detail, STRANGERS_PAYLOAD);
            return Some((message, row));
        }
        let bytes = message.payload.len() as u64;
        let first = || Counted { row: message.refused(None, reason, detail, 0), messages: 0, bytes: 0 };
        let counted = self.counted.get_or_insert_with(first);
        (counted.messages, counted.bytes) = (counted.messages + 1, counted.bytes + bytes);
        instruments::STRANGERS_AGGREGATED.increment(1);
        instruments::QUARANTINED.with([reason.as_str().into()]).increment(1);
        message.answer(Fate::Quarantined(reason));
        None
    }
}
