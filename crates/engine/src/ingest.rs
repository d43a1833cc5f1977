//! Ingest: the only path from a received message to the log, whichever broker it came through.
//!
//! The built-in endpoint and the subscriber to an external broker submit messages, and acknowledge each when its
//! [`Receipt`] says that its fate is committed: an event, a duplicate of one, or a row in quarantine. Nothing here
//! knows MQTT. The modules, in the order in which data flows through them:
//!
//! - [`handle`]: accepts messages, within a budget of memory
//! - `quota`: how many messages and bytes a second each tenant and each connection may send
//! - [`lanes`]: sorts them by log
//! - [`lane`]: the batches of one log, one at a time: decide, admit the devices, append, quarantine, answer
//! - [`decide`]: which events a batch becomes; `sourced`: and those of messages on foreign topics
//! - [`acks`]: devices' acks of commands, each decided by its command's record
//! - [`retry`]: repeats a database call until it succeeds
//! - [`unroutable`]: messages that belong to no log

mod acks;
mod decide;
mod handle;
mod lane;
mod lanes;
pub(crate) mod quota;
pub(crate) mod retry;
mod sourced;
mod unroutable;

use std::time::Duration;

use fleetlog_aggregates::telemetry::Reason;
use fleetlog_event_log::{EventLog, Position};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub(crate) use handle::new_msg_id;
pub use handle::{Excess, Handle, Receipt, Sender};
pub use lane::{POSTPONED, QUARANTINED_PAYLOAD};
pub use quota::{BURST_S, STRANGERS_BYTES_PER_S, STRANGERS_PER_S};
pub use unroutable::{STRANGERS_A_MINUTE, STRANGERS_PAYLOAD};

use handle::{Message, Room};
use lanes::Lanes;
use quota::Quotas;

/// The most messages that are taken from the queue at once.
const TAKE: usize = 4096;

/// The budget of acks of commands, in bytes.
const ACKS: usize = 8 << 20;

/// Limits of what ingest holds and does at once.
#[derive(Debug, Clone)]
pub struct Options {
    /// The most messages in one batch.
    pub batch: usize,
    /// The budget of messages that wait or are being stored, in bytes: payload, topic, and [`Handle::OVERHEAD`] for
    /// each message. Beyond it, [`Handle::submit`] waits. Decoding and encoding hold each batch's payloads about three
    /// times.
    pub budget: usize,
    /// The most batches that are appended at the same time, each to another log. Equals the number of the log's append
    /// connections.
    pub appends: usize,
    /// How long a shutdown waits for submitted messages.
    pub drain: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { batch: 2000, budget: 64 << 20, appends: 2, drain: Duration::from_secs(10) }
    }
}

/// The committed outcome of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The message is the event at this position of its tenant's telemetry log.
    Recorded(Position),
    /// An earlier message with the same `msg_id` is in the log.
    Duplicate,
    /// The message is in quarantine, for this reason.
    Quarantined(Reason),
    /// The message is not stored, because its sender is over its quota. Only senders that asked for it get this answer.
    OverQuota,
}

/// Ingest is closing: the message's fate is unknown, and it must never be acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("ingest is closing")]
pub struct Closed;

/// Why ingest ended before the shutdown.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The task that stores one log's messages ended.
    #[error("keep storing messages: {0}")]
    LaneEnded(#[source] tokio::task::JoinError),
}

/// The ingest component. [`Ingest::run`] it, and give [`Handle`]s to the code that receives messages.
pub struct Ingest {
    log: EventLog,
    options: Options,
    queue: mpsc::UnboundedReceiver<Message>,
    /// Back to the queue, for messages whose tenant was found late.
    again: mpsc::WeakUnboundedSender<Message>,
    rooms: [Room; 2],
}

impl Ingest {
    /// Prepares ingest into a log.
    #[must_use]
    pub fn new(log: EventLog, options: Options) -> (Self, Handle) {
        // The queue's length is bounded by the permits that its messages hold.
        let (submit, queue) = mpsc::unbounded_channel();
        let rooms = [Room::new(options.budget), Room::new(ACKS)];
        let again = submit.downgrade();
        let quotas = Quotas::new(log.clone());
        let handle = Handle::new(log.clock().clone(), submit, rooms.clone(), quotas);
        (Self { log, options, queue, again, rooms }, handle)
    }

    /// Stores submitted messages until `shutdown`, then accepts no more, finishes those that it has, and returns.
    /// Messages that are not stored within [`Options::drain`] are answered with [`Closed`].
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), Error> {
        let drain = self.options.drain;
        let mut lanes = Lanes::new(self.log, self.options, self.again);
        let mut taken = Vec::new();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                ended = lanes.ended() => return Err(Error::LaneEnded(ended)),
                count = self.queue.recv_many(&mut taken, TAKE) => {
                    if count == 0 {
                        break;
                    }
                    lanes.take(taken.drain(..));
                }
            }
        }
        self.rooms.iter().for_each(Room::close);
        self.queue.close();
        while self.queue.recv_many(&mut taken, TAKE).await > 0 {
            lanes.take(taken.drain(..));
        }
        lanes.finish(drain).await;
        Ok(())
    }
}
