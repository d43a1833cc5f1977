//! Messages whose topic names no tenant that this process knows: looks the tenant up once more, or else quarantines
//! them.

use std::time::{Duration, Instant};

use fleetlog_aggregates::telemetry::Reason;
use fleetlog_aggregates::topic::Topic;
use fleetlog_event_log::{EventLog, Lane};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};

use super::handle::Message;
use super::lane::{gather, quarantine, refuse};
use super::retry::{unstored, until_done};
use crate::instruments;

/// The least time between two reads of the list of tenants, so that made-up names cannot overload the database.
const LOOK_EVERY: Duration = Duration::from_millis(250);
const BATCH: usize = 1000;

pub(super) struct Unroutable {
    log: EventLog,
    /// Back to where lanes are chosen. Weak, so that ingest ends when all handles are dropped.
    again: mpsc::WeakUnboundedSender<Message>,
}

impl Unroutable {
    pub(super) fn new(log: EventLog, again: mpsc::WeakUnboundedSender<Message>) -> Self {
        Self { log, again }
    }

    pub(super) async fn run(self, mut inbox: mpsc::UnboundedReceiver<Message>) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while let Some(batch) = gather(&mut inbox, BATCH).await {
            self.judge(batch, &mut looks).await;
        }
    }

    async fn judge(&self, batch: Vec<Message>, looks: &mut Interval) {
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
                None => (Reason::BadTopic, "the topic is not {tenant}/devices/{uid}/telemetry".to_owned()),
                Some(topic) if self.log.heads().of(topic.tenant.as_str(), Lane::Telemetry).is_some() => {
                    if let Some(again) = self.again.upgrade() {
                        // If ingest is closing, the message is dropped unanswered.
                        let _ = again.send(message);
                    }
                    continue;
                }
                Some(topic) => (Reason::UnknownTenant, format!("there is no tenant {}", topic.tenant)),
            };
            refusals.push(refuse(message, None, reason, detail));
        }
        quarantine(&self.log, wait, refusals).await;
        instruments::IN_FLIGHT.decrement(size as f64);
    }
}
