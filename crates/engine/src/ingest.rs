//! Ingest: the one path from a received message to the record, whichever broker it came through.
//!
//! The built-in endpoint and the subscriber to an external broker submit messages and acknowledge each once its
//! [`Receipt`] says that its fate is committed: an event, a repeat of one, or a row in quarantine. Nothing here knows
//! MQTT. The modules, in the order in which data flows through them:
//!
//! - [`handle`]: takes messages in, within a budget of memory
//! - [`lanes`]: sorts them by the log that they belong to
//! - [`lane`]: one log's batches, one at a time: decide, admit the devices, append, quarantine, answer
//! - [`acks`]: devices' answers to commands, each decided by its command's record
//! - [`retry`]: does it again until the database takes it
//! - [`unroutable`]: messages that belong to no log

mod acks;
mod handle;
mod lane;
mod lanes;
pub(crate) mod retry;
mod unroutable;

use std::time::Duration;

use fleetlog_aggregates::telemetry::Reason;
use fleetlog_event_log::{EventLog, Position};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use handle::{Handle, Receipt};

use handle::{Message, Room};
use lanes::Lanes;

/// How many messages are taken over at once.
const TAKE: usize = 4096;

/// What acknowledgements of commands may hold, in bytes.
const ACKS: usize = 8 << 20;

/// How much ingest may hold and do at once.
#[derive(Debug, Clone)]
pub struct Options {
    /// The most messages in one batch.
    pub batch: usize,
    /// What waits or is being stored, in bytes: payload, topic, and [`Handle::OVERHEAD`] for each message. Whoever
    /// submits more waits. Decoding and encoding hold each batch's payloads about three times.
    pub budget: usize,
    /// Batches that are appended at the same time, each to another log. As many as the log has append connections.
    pub appends: usize,
    /// How long a shutdown waits for what was submitted.
    pub drain: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { batch: 2000, budget: 64 << 20, appends: 2, drain: Duration::from_secs(10) }
    }
}

/// What became of a message. It is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is an event of its tenant's telemetry log.
    Recorded(Position),
    /// It was on the record already.
    Duplicate,
    /// It is in quarantine.
    Quarantined(Reason),
}

/// Ingest is closing: the message's fate is unknown, and it must never be acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("ingest is closing")]
pub struct Closed;

/// Why ingest ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The task that stores messages of one log ended.
    #[error("keep storing messages: {0}")]
    LaneEnded(#[source] tokio::task::JoinError),
}

/// The component. [`Ingest::run`] it, and give [`Handle`]s to those who receive messages.
pub struct Ingest {
    log: EventLog,
    options: Options,
    queue: mpsc::UnboundedReceiver<Message>,
    /// For messages whose log turned up later.
    again: mpsc::WeakUnboundedSender<Message>,
    rooms: [Room; 2],
}

impl Ingest {
    /// Prepares ingest into a log.
    #[must_use]
    pub fn new(log: EventLog, options: Options) -> (Self, Handle) {
        // Its length is bounded by the permits that its messages hold.
        let (submit, queue) = mpsc::unbounded_channel();
        let rooms = [Room::new(options.budget), Room::new(ACKS)];
        let again = submit.downgrade();
        let [telemetry, acks] = rooms.clone();
        (Self { log, options, queue, again, rooms }, Handle::new(submit, telemetry, acks))
    }

    /// Stores what is submitted until `shutdown`, then takes no more, finishes what it has, and returns. What is not
    /// stored within [`Options::drain`] is answered with [`Closed`].
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
