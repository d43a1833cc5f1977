//! Which events a batch of messages becomes.

use std::sync::Arc;

use fleetlog_aggregates::identity::Tenant;
use fleetlog_aggregates::telemetry::{self, Reason, Recorded, Rejected};
use fleetlog_event_log::sources::Sources;

use super::Fate;
use super::handle::Message;
use super::lane::{Refusal, refuse};
use super::sourced::{self, Fault};

/// The most bytes that the messages of one append become. What is beyond is decided on after it.
const EVENT_BYTES: usize = 16 << 20;

/// What has been decided on a batch.
#[derive(Default)]
pub(super) struct Decided {
    /// The messages with events, and how each of them stands.
    pub(super) messages: Vec<Pending>,
    /// The events, and the index of each one's message: a message of a source may have several.
    pub(super) events: Vec<(usize, Recorded)>,
    /// Messages that are refused as a whole.
    pub(super) refusals: Vec<Refusal>,
    /// Messages that are not decided on yet.
    pub(super) rest: Vec<Message>,
}

/// A message that is not answered yet.
pub(super) struct Pending {
    /// `None` once somebody else has taken it over.
    pub(super) message: Option<Message>,
    fate: Option<Fate>,
    faults: Vec<Fault>,
}

impl Pending {
    fn new(message: Message) -> Self {
        Self { message: Some(message), fate: None, faults: Vec::new() }
    }

    /// One of its readings is refused.
    pub(super) fn refuse(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// One of its readings is stored, now or before. That of the last one that was stored now is the message's fate.
    pub(super) fn is_stored(&mut self, fate: Fate) {
        if self.fate.is_none() || fate != Fate::Duplicate {
            self.fate = Some(fate);
        }
    }

    /// Answers the message, or returns it to be put into quarantine, where it stays whole even if some of its readings are stored.
    pub(super) fn settle(self, tenant: &Tenant) -> Option<Refusal> {
        let message = self.message?;
        let mut faults = self.faults.into_iter();
        if let Some((reason, mut detail)) = faults.next() {
            for (_, another) in faults {
                detail = format!("{detail}; {another}");
            }
            if self.fate.is_some() {
                detail.push_str("; its other readings are stored");
            }
            return Some(refuse(message, Some(tenant.clone()), reason, detail));
        }
        message.answer(self.fate.unwrap_or(Fate::Duplicate));
        None
    }
}

impl Decided {
    /// Decides on messages of a tenant, in their order.
    fn on(tenant: &Tenant, sources: &Arc<Sources>, batch: Vec<Message>) -> Self {
        let mut decided = Self::default();
        let mut batch = batch.into_iter();
        let mut bytes = 0;
        while bytes < EVENT_BYTES
            && let Some(message) = batch.next()
        {
            let before = decided.events.len();
            if message.sender.is_some() {
                decided.take_sourced(tenant, sources, message);
            } else {
                decided.take(message);
            }
            bytes += decided.events[before..].iter().map(|(_, event)| event.payload.len()).sum::<usize>();
        }
        decided.rest = batch.collect();
        decided
    }

    fn take(&mut self, message: Message) {
        let decided_on = if message.is_will {
            telemetry::decide_will(message.received(), || message.msg_id())
        } else {
            telemetry::decide(message.received(), || message.msg_id())
        };
        match decided_on {
            Ok(event) => {
                self.events.push((self.messages.len(), event));
                self.messages.push(Pending::new(message));
            }
            Err(Rejected { tenant, reason, detail }) => {
                self.refusals.push(refuse(message, tenant, reason, detail));
            }
        }
    }

    fn take_sourced(&mut self, tenant: &Tenant, sources: &Arc<Sources>, message: Message) {
        match sourced::readings(tenant, sources, &message) {
            Ok(readings) => {
                let mut pending = Pending::new(message);
                for reading in readings {
                    match reading {
                        Ok(event) => self.events.push((self.messages.len(), event)),
                        Err(fault) => pending.refuse(fault),
                    }
                }
                self.messages.push(pending);
            }
            Err((reason, detail)) => {
                self.refusals.push(refuse(message, Some(tenant.clone()), reason, detail));
            }
        }
    }

    /// Refuses all messages.
    pub(super) fn refuse_all(&mut self, tenant: &Tenant, reason: Reason, detail: &str) {
        self.events.clear();
        let messages = self.messages.drain(..).filter_map(|pending| pending.message);
        let refused =
            messages.map(|message| refuse(message, Some(tenant.clone()), reason, detail.to_owned()));
        self.refusals.extend(refused);
    }
}

/// Decides on each message, on a blocking thread: large payloads take a while, and connections must be kept alive.
pub(super) async fn decide(tenant: &Tenant, sources: Arc<Sources>, batch: Vec<Message>) -> Decided {
    let tenant = tenant.clone();
    match tokio::task::spawn_blocking(move || Decided::on(&tenant, &sources, batch)).await {
        Ok(decided) => decided,
        // A panic continues here, where the lane's owner sees it. A runtime that shuts down drops the messages.
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Decided::default(),
        },
    }
}
