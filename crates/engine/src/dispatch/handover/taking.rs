//! The side of the node at which a device listens: it tells the others so, and takes what they hand over.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fleetlog_event_log::{Error, crash};
use sqlx::Row;
use sqlx::postgres::PgRow;
use tokio::sync::broadcast::error::RecvError;
use uuid::Uuid;

use super::notices::{self, Notice};
use super::{Inner, KEPT, SENT_WITHIN, TAKEN_WITHIN, device};
use crate::devices::credentials::Device;
use crate::dispatch::outlet::{Delivery, Message};
use crate::ingest::retry::patience;

/// The least time between two notices. One notice has all devices that have come in that time.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// A message that another node has handed over.
struct Handover {
    id: Uuid,
    asked_by: Uuid,
    message: Message,
}

/// What a stored word says of a delivery.
pub(super) fn delivery(word: &str) -> Option<Delivery> {
    [Delivery::Taken, Delivery::NobodyThere, Delivery::TooLarge]
        .into_iter()
        .find(|known| text(*known) == word)
}

fn text(delivery: Delivery) -> &'static str {
    match delivery {
        Delivery::Taken => "taken",
        Delivery::NobodyThere => "nobody_there",
        Delivery::TooLarge => "too_large",
    }
}

impl Inner {
    /// Reports the devices that begin to listen here. Never returns.
    pub(super) async fn pass_arrivals_on(&self) {
        let Some(mut arrivals) = self.local.arrivals() else { return std::future::pending().await };
        loop {
            let arrived = match arrivals.recv().await {
                Ok(topic) => vec![topic],
                Err(RecvError::Lagged(_)) => self.local.listening(),
                Err(RecvError::Closed) => return std::future::pending().await,
            };
            for topic in arrived {
                self.kept.lock().remove(&topic);
                self.has_arrived(Arc::clone(&topic));
                self.untold.lock().insert(topic);
            }
            self.some_untold.notify_one();
        }
    }

    /// Fails where nobody dispatches.
    fn has_arrived(&self, topic: Arc<str>) {
        let _ = self.arrivals.send(topic);
    }

    /// Tells the other nodes of the devices that begin to listen here, once a look would find them. Never returns.
    pub(super) async fn tell_arrivals(&self) {
        loop {
            self.some_untold.notified().await;
            tokio::time::sleep(TELL_EVERY).await;
            let untold = std::mem::take(&mut *self.untold.lock());
            let devices: Vec<Device> = untold.iter().filter_map(|topic| device(topic)).collect();
            if devices.is_empty() {
                continue;
            }
            let (mut backoff, mut is_told) = (patience(), false);
            while let Err(error) = self.listeners.note(&devices).await {
                if !std::mem::replace(&mut is_told, true) {
                    tracing::warn!(%error, "failed to note which devices listen here; trying again");
                }
                backoff.wait().await;
            }
            let is_kept = |device: &Device| self.local.is_kept(&notices::topic(device));
            for notice in notices::listening(self.listeners.node(), &devices, is_kept) {
                if let Err(error) = self.listeners.log().tell_nodes(&notice).await {
                    tracing::debug!(%error, "failed to tell the other nodes who listens here");
                }
            }
        }
    }

    /// Hears what the other nodes say. Never returns.
    pub(super) async fn hear(&self) {
        let mut heard = self.listeners.log().hear_nodes();
        loop {
            match heard.recv().await {
                Ok(notice) => notices::read(self.listeners.node(), &notice, |notice| self.heard(notice)),
                Err(RecvError::Lagged(_)) => self.asked.notify_one(),
                Err(RecvError::Closed) => return std::future::pending().await,
            }
        }
    }

    fn heard(&self, notice: Notice) {
        match notice {
            Notice::Listens { node, topic, is_kept } => {
                let mut kept = self.kept.lock();
                if !is_kept {
                    kept.remove(&topic);
                } else if kept.len() < KEPT {
                    kept.insert(Arc::clone(&topic), node);
                }
                drop(kept);
                self.has_arrived(topic);
            }
            Notice::Asked => self.asked.notify_one(),
            Notice::Answered(handover) => {
                // The node that asked may have given up.
                let _ = self.asking.lock().remove(&handover).map(|answered| answered.send(()));
            }
            Notice::Again(topic) => self.local.publish_kept(&topic),
        }
    }

    /// Takes what the other nodes hand over. Never returns.
    pub(super) async fn take_handovers(&self) {
        loop {
            self.asked.notified().await;
            if let Err(error) = self.take_all().await {
                tracing::warn!(%error, "failed to take the commands that another node hands over; it asks again");
            }
        }
    }

    async fn take_all(&self) -> Result<(), Error> {
        let (log, begun) = (self.listeners.log(), Instant::now());
        let taken = sqlx::query(TAKE).bind(self.listeners.node()).bind(TAKEN_WITHIN.as_secs_f64());
        let taken = taken.fetch_all(log.pool()).await?;
        let (mut answers, mut askers) = (Vec::new(), HashMap::<Uuid, Vec<Uuid>>::new());
        for Handover { id, asked_by, message } in taken.iter().filter_map(|row| handover(row).ok()) {
            crash::point("handover.taken");
            let topic = message.topic.clone();
            // The node that asked may have given up by then, and asked another.
            if begun.elapsed() >= SENT_WITHIN {
                continue;
            }
            let Ok(delivery) = self.local.publish(message).await else { continue };
            crash::point("handover.published");
            if delivery == Delivery::NobodyThere {
                self.forget(&topic).await?;
            }
            answers.push((id, text(delivery)));
            askers.entry(asked_by).or_default().push(id);
        }
        let (ids, deliveries): (Vec<_>, Vec<_>) = answers.into_iter().unzip();
        sqlx::query(ANSWER).bind(ids).bind(deliveries).execute(log.pool()).await?;
        for (asker, answered) in askers {
            for notice in notices::answered(asker, &answered) {
                log.tell_nodes(&notice).await?;
            }
        }
        Ok(())
    }

    /// A device was not there. It may be back before the row is gone.
    async fn forget(&self, topic: &str) -> Result<(), Error> {
        let Some(device) = device(topic) else { return Ok(()) };
        self.listeners.forget(&device).await?;
        if self.local.listens(topic) {
            self.untold.lock().insert(topic.into());
            self.some_untold.notify_one();
        }
        Ok(())
    }
}

fn handover(row: &PgRow) -> sqlx::Result<Handover> {
    let seconds =
        |column| Ok::<_, sqlx::Error>(u32::try_from(row.try_get::<i64, _>(column)?).unwrap_or(u32::MAX));
    Ok(Handover {
        id: row.try_get("handover")?,
        asked_by: row.try_get("asked_by")?,
        message: Message {
            topic: row.try_get("topic")?,
            payload: row.try_get("payload")?,
            expires_in_s: seconds("expires_in_s")?,
            answer_within_s: seconds("answer_within_s")?,
        },
    })
}

/// Also deletes handovers whose node ended before it could.
const TAKE: &str = "
    WITH left_over AS (
        DELETE FROM command_handovers WHERE made_at < clock_timestamp() - interval '1 minute'
    )
    UPDATE command_handovers SET taken_at = clock_timestamp()
    WHERE node = $1 AND taken_at IS NULL AND made_at + make_interval(secs => $2) > clock_timestamp()
    RETURNING handover, asked_by, topic, payload, expires_in_s, answer_within_s";

const ANSWER: &str = "
    UPDATE command_handovers AS given SET delivery = answer.delivery
    FROM unnest($1::uuid[], $2::text[]) AS answer (handover, delivery) WHERE given.handover = answer.handover";
