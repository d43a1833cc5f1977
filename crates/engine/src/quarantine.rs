//! Takes messages in again that are in quarantine: after a source was defined, a device registered, or a tenant resumed.

use fleetlog_aggregates::acts;
use fleetlog_aggregates::identity::Tenant;
use fleetlog_aggregates::telemetry::Reason;
use fleetlog_event_log::Error as LogError;
use fleetlog_event_log::control::{Committed, Metadata};
use fleetlog_event_log::quarantine::{self, Wanted, Whole};
use futures::future::{BoxFuture, join_all};

use crate::ingest::{Closed, Fate, Handle, Sender};

/// The most messages that one request takes in again.
pub const MAX_AT_ONCE: usize = 1000;
/// The most bytes of their payloads, about.
const BYTES: i64 = 16 << 20;

/// Why messages were not taken in again. Some of them may be on the record: they are duplicates when they are sent again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The service stops.
    #[error("the service stops")]
    Closed,
    /// The database failed.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl From<Closed> for Error {
    fn from(_: Closed) -> Self {
        Self::Closed
    }
}

/// What became of the messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reprocessed {
    /// How many became events.
    pub recorded: u64,
    /// How many were on the record already.
    pub duplicates: u64,
    /// Those that are refused again, with the reason of today; they stay in quarantine.
    pub refused: Vec<(i64, Reason)>,
    /// Those of which only the beginning was kept; they stay in quarantine.
    pub cut: Vec<i64>,
    /// The number to go on behind. `None`: there are no more.
    pub next: Option<i64>,
    /// The place of the act on the record; `None` if nothing was taken in.
    pub at: Option<Committed>,
}

/// Takes a tenant's messages in again, in the order of their arrival and with its time. Each that becomes an event, or was one,
/// leaves quarantine.
pub async fn reprocess(
    ingest: &Handle,
    tenant: &Tenant,
    wanted: Wanted,
    metadata: Metadata,
) -> Result<Reprocessed, Error> {
    let log = ingest.log();
    let found = log.quarantined_whole(tenant, &wanted, BYTES).await?;
    let bytes: usize = found.iter().map(|message| message.payload.len()).sum();
    let is_all = (found.len() as i64) < wanted.limit && (bytes as i64) < BYTES;
    let next = found.last().map(|message| message.quarantine_id).filter(|_| !is_all);
    let mut done = Reprocessed { next, ..Reprocessed::default() };
    let sending = ingest.of_sender(Sender { tenant: tenant.clone(), speaker: None });
    let mut receipts = Vec::with_capacity(found.len());
    for Whole { quarantine_id, topic, payload, is_whole, received_at } in found {
        if is_whole {
            receipts.push((quarantine_id, sending.submit_again(topic, payload.into(), received_at).await?));
        } else {
            done.cut.push(quarantine_id);
        }
    }
    let (ids, receipts): (Vec<i64>, Vec<_>) = receipts.into_iter().unzip();
    let mut gone = vec![];
    for (&quarantine_id, fate) in ids.iter().zip(join_all(receipts).await) {
        match fate? {
            Fate::Recorded(_) => done.recorded += 1,
            Fate::Duplicate => done.duplicates += 1,
            Fate::Quarantined(reason) => {
                done.refused.push((quarantine_id, reason));
                continue;
            }
            // Only senders that asked for it get this answer.
            Fate::OverQuota => continue,
        }
        gone.push(quarantine_id);
    }
    let (Some(&first), Some(&last)) = (ids.first(), ids.last()) else { return Ok(done) };
    if gone.is_empty() {
        return Ok(done);
    }
    let act = acts::Tenant::QuarantineReprocessed {
        recorded: done.recorded,
        duplicates: done.duplicates,
        refused: done.refused.len() as u64,
        first,
        last,
    };
    let tenant = tenant.clone();
    let told = log.record(move |recorder| -> BoxFuture<'_, Result<Committed, LogError>> {
        Box::pin(async move {
            quarantine::release(recorder.connection(), &tenant, &gone).await?;
            recorder.tell(&tenant, tenant.as_str(), &act, &metadata).await
        })
    });
    done.at = Some(told.await?);
    Ok(done)
}
