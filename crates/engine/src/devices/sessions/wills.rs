//! Wills: what a device has left to be said if its connection ends without a goodbye. One is taken if it says on the device's
//! own status topic that the device is offline, or if it is on a foreign topic, where a source says what it means. It becomes a
//! message of the device like any other.
//!
//! A will may have to wait, in case the device is back soon. It waits in the row of the session, so it outlives the node, and
//! whichever node the device comes back to forgets it. A will of a connection that a node had when it ended without a word is
//! not said: that the node is gone says nothing about its devices.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use fleetlog_aggregates::telemetry::{Message, decide_will};
use fleetlog_aggregates::topic::{Topic, is_foreign};
use fleetlog_event_log::Error;
use sqlx::Row;
use sqlx::postgres::PgRow;
use tokio_util::sync::CancellationToken;

use super::{Client, Sessions};
use crate::devices::credentials::{Device, Speaker};
use crate::ingest::{self, Closed, Fate, Sender};

/// How long a node waits before it looks again, if it knows of no will: another node may have ended that did.
const LOOK_EVERY: Duration = Duration::from_mins(10);
/// How long it waits after a failure.
const AGAIN: Duration = Duration::from_secs(5);
/// The most wills that are said at once.
const AT_ONCE: i64 = 1000;

/// A will that says that its device is offline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    pub(super) topic: String,
    pub(super) payload: Bytes,
    device: Device,
    is_foreign: bool,
}

/// A will whose connection has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// The will.
    pub will: Will,
    /// The message id that it is said under, at most once.
    pub id: String,
    /// How long the client has to come back.
    pub delay: Duration,
    /// When the client was last heard of.
    pub heard_at: DateTime<Utc>,
}

impl Will {
    /// The will, if it is one that is said.
    #[must_use]
    pub fn new(topic: &str, payload: &[u8]) -> Option<Self> {
        let message = Message { topic, payload, received_at: DateTime::UNIX_EPOCH };
        decide_will(message, String::new).ok()?;
        let Topic { tenant, uid, .. } = Topic::parse(topic)?;
        let payload = Bytes::copy_from_slice(payload);
        let device = Device { tenant, uid };
        Some(Self { topic: topic.to_owned(), payload, device, is_foreign: false })
    }

    /// The will of a device on a foreign topic. It is said as soon as the connection has ended.
    #[must_use]
    pub fn on_foreign(topic: &str, payload: &[u8], device: &Device) -> Option<Self> {
        let payload = Bytes::copy_from_slice(payload);
        let will = || Self { topic: topic.to_owned(), payload, device: device.clone(), is_foreign: true };
        is_foreign(topic).then(will)
    }

    /// Whether it is on a foreign topic.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.is_foreign
    }

    /// The device that it is about.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// What is left of it when the connection has ended.
    #[must_use]
    pub fn left(self, delay: Duration, heard_at: DateTime<Utc>) -> Left {
        Left { will: self, id: ingest::new_msg_id(), delay, heard_at }
    }
}

impl Left {
    /// Says it now. The receipt resolves when it is on the record.
    pub async fn say(self, ingest: &ingest::Handle) -> Result<ingest::Receipt, Closed> {
        let Will { topic, payload, device, is_foreign } = self.will;
        if !is_foreign {
            return ingest.submit_will(topic, payload, self.heard_at, self.id).await;
        }
        let speaker = Speaker { device, behind: None };
        let ingest =
            ingest.of_sender(Sender { tenant: speaker.device.tenant.clone(), speaker: Some(speaker) });
        ingest.submit_will(topic, payload, self.heard_at, self.id).await
    }
}

/// A will that is due.
struct Due {
    client: Client,
    left: Left,
}

impl Sessions {
    /// Says wills when they are due, until `shutdown`.
    pub async fn say_wills(&self, ingest: &ingest::Handle, shutdown: &CancellationToken) {
        loop {
            let wait = match self.say_due(ingest).await {
                Ok(wait) => wait,
                Err(error) => {
                    tracing::warn!(%error, "failed to look for wills of devices that are due; trying again");
                    AGAIN
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
                () = self.0.wills.notified() => {}
            }
        }
    }

    /// Says the wills that are due, and returns how long it is until the next one is.
    async fn say_due(&self, ingest: &ingest::Handle) -> Result<Duration, Error> {
        let pool = self.0.log.pool();
        let rows = self.0.turn(sqlx::query(DUE).bind(AT_ONCE).fetch_all(pool)).await?;
        let mut said = vec![];
        for Due { client, left } in rows.iter().filter_map(due) {
            let id = left.id.clone();
            // If ingest is closing, they are due at the next start.
            if let Ok(receipt) = left.say(ingest).await {
                said.push((client, id, receipt));
            }
        }
        for (client, id, receipt) in said {
            if let Ok(Fate::Recorded(_) | Fate::Duplicate | Fate::Quarantined(_)) = receipt.await {
                let done = sqlx::query(DONE).bind(client.0).bind(id);
                self.0.turn(done.execute(pool)).await?;
            }
        }
        let next: Option<f64> = sqlx::query_scalar(NEXT).fetch_one(pool).await?;
        let next = next.map(|seconds| Duration::from_secs_f64(seconds.clamp(0.0, 1e6)));
        // One that ingest has not taken is still due.
        Ok(next.map_or(LOOK_EVERY, |next| next.clamp(Duration::from_millis(100), LOOK_EVERY)))
    }
}

fn due(row: &PgRow) -> Option<Due> {
    let client: Vec<u8> = row.try_get("client").ok()?;
    let (topic, payload): (String, Vec<u8>) =
        (row.try_get("will_topic").ok()?, row.try_get("will_payload").ok()?);
    let left = Left {
        will: Will::new(&topic, &payload)?,
        id: row.try_get("will_id").ok()?,
        delay: Duration::ZERO,
        heard_at: row.try_get("will_heard_at").ok()?,
    };
    Some(Due { client: Client(client.try_into().ok()?), left })
}

const DUE: &str = "
    SELECT client, will_topic, will_payload, will_id, will_heard_at FROM device_sessions
    WHERE will_at <= clock_timestamp() ORDER BY will_at LIMIT $1";

const DONE: &str = "
    UPDATE device_sessions
    SET will_topic = NULL, will_payload = NULL, will_id = NULL, will_at = NULL, will_heard_at = NULL
    WHERE client = $1 AND will_id = $2";

const NEXT: &str = "SELECT extract(epoch FROM min(will_at) - clock_timestamp())::float8 FROM device_sessions";
