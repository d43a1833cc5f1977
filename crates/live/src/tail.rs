//! The reader of one log, and its latest events, for all who follow the log on this node.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use fleetlog_aggregates::command::Command;
use fleetlog_aggregates::identity::StreamId;
use fleetlog_event_log::backoff::Backoff;
use fleetlog_event_log::{self as event_log, Event, EventLog, LogId, Position};
use lru::LruCache;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use crate::entry::{Entry, Ordered, command_of};
use crate::instruments;

/// How many of a log's latest events are kept in memory at most, and how many bytes of them.
pub(crate) const KEPT: (usize, usize) = (8192, 4 << 20);
/// How many commands are remembered, so that what an event of a command is about need not be looked up.
const COMMANDS: NonZeroUsize = NonZeroUsize::new(8192).expect("not zero");
/// How many events the reader reads at once.
const PAGE: i64 = 1024;
/// How often followers are woken: the more there are, the more rarely. Together, they are woken about 20,000 times a second.
const PER_FOLLOWER: Duration = Duration::from_micros(50);
/// Followers are woken at least this often while the log grows.
const SLOWEST: Duration = Duration::from_millis(100);

/// The reader of a log. It runs until nobody follows the log.
pub(crate) struct Tail {
    log: EventLog,
    pub(crate) log_id: LogId,
    ring: RwLock<Ring>,
    commands: Mutex<LruCache<Uuid, Arc<Ordered>>>,
    /// The last position that followers can have from memory.
    reached: watch::Sender<Position>,
    _running: DropGuard,
}

/// The latest events of a log: all events after a position.
struct Ring {
    after: Position,
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
}

impl Ring {
    fn push(&mut self, entry: Arc<Entry>) {
        self.bytes += entry.size();
        self.entries.push_back(entry);
        while self.entries.len() > KEPT.0 || self.bytes > KEPT.1 {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.bytes -= oldest.size();
            self.after = oldest.event.position;
        }
    }
}

impl Tail {
    /// Begins to read a log from where it ends now.
    pub(crate) fn start(log: &EventLog, log_id: LogId) -> Arc<Self> {
        let after = log.heads().log(log_id).map_or(0, |log| log.head);
        let stop = CancellationToken::new();
        let tail = Arc::new(Self {
            log: log.clone(),
            log_id,
            ring: RwLock::new(Ring { after, entries: VecDeque::new(), bytes: 0 }),
            commands: Mutex::new(LruCache::new(COMMANDS)),
            reached: watch::Sender::new(after),
            _running: stop.clone().drop_guard(),
        });
        let reading = read(log.clone(), Arc::downgrade(&tail), log_id, after);
        tokio::spawn(async move {
            instruments::TAILS.increment(1.0);
            stop.run_until_cancelled(reading).await;
            instruments::TAILS.decrement(1.0);
        });
        tail
    }

    /// A receiver that is woken when the log has grown.
    pub(crate) fn watch(&self) -> watch::Receiver<Position> {
        self.reached.subscribe()
    }

    /// The events after a position, at most `limit`. `None`: some of them are not in memory.
    pub(crate) fn after(&self, position: Position, limit: usize) -> Option<Vec<Arc<Entry>>> {
        let ring = self.ring.read();
        if position < ring.after {
            return None;
        }
        let first = ring.entries.partition_point(|entry| entry.event.position <= position);
        Some(ring.entries.range(first..).take(limit).cloned().collect())
    }

    /// Finds out what events are about.
    pub(crate) async fn entries(&self, events: Vec<Event>) -> event_log::Result<Vec<Arc<Entry>>> {
        self.learn_commands(&events).await?;
        let sources = self.log.sources_of_readings(self.log_id, &events).await?;
        let mut commands = self.commands.lock();
        let entry = |event: Event| {
            let command = command_of(&event).and_then(|cmd_id| commands.get(&cmd_id).cloned());
            Arc::new(Entry::new(event, command, Arc::clone(&sources)))
        };
        Ok(events.into_iter().map(entry).collect())
    }

    /// Reads the requests of the commands that events are of, where they are not known.
    async fn learn_commands(&self, events: &[Event]) -> event_log::Result<()> {
        let unknown = {
            let mut commands = self.commands.lock();
            let mut unknown: Vec<StreamId> = vec![];
            for event in events {
                let Some(cmd_id) = command_of(event) else { continue };
                if let Some(command) = Ordered::read(event) {
                    commands.put(cmd_id, Arc::new(command));
                } else if !commands.contains(&cmd_id)
                    && let Ok(stream) = event.aggregate_id.parse()
                {
                    unknown.push(stream);
                }
            }
            unknown.sort_unstable();
            unknown.dedup();
            unknown
        };
        if unknown.is_empty() {
            return Ok(());
        }
        let found = self.log.streams::<Command>(&unknown).await?;
        let mut commands = self.commands.lock();
        for command in found.iter().filter_map(Ordered::read) {
            commands.put(command.cmd_id, Arc::new(command));
        }
        Ok(())
    }

    fn push(&self, entries: Vec<Arc<Entry>>) {
        let Some(last) = entries.last().map(|entry| entry.event.position) else { return };
        let mut ring = self.ring.write();
        for entry in entries {
            ring.push(entry);
        }
        drop(ring);
        self.reached.send_replace(last);
    }

    /// The pause until followers are woken again.
    fn pause(&self) -> Duration {
        let followers = u32::try_from(self.reached.receiver_count()).unwrap_or(u32::MAX);
        PER_FOLLOWER.saturating_mul(followers).min(SLOWEST)
    }
}

/// Reads a log for as long as somebody follows it.
async fn read(log: EventLog, tail: std::sync::Weak<Tail>, log_id: LogId, after: Position) {
    let mut follower = log.follow(log_id, after);
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    let mut unknown: Option<Vec<Event>> = None;
    loop {
        let events = match unknown.take() {
            Some(events) => Ok(events),
            None => follower.next(PAGE).await,
        };
        let Some(tail) = tail.upgrade() else { return };
        let entries = match events {
            Ok(events) => {
                let entries = tail.entries(events.clone()).await;
                if entries.is_err() {
                    unknown = Some(events);
                }
                entries
            }
            Err(error) => Err(error),
        };
        match entries {
            Ok(entries) => {
                backoff.reset();
                tail.push(entries);
                let pause = tail.pause();
                drop(tail);
                sleep(pause).await;
            }
            Err(error) => {
                drop(tail);
                tracing::warn!(log_id = log_id.0, %error, "failed to read a log that is followed; trying again");
                backoff.wait().await;
            }
        }
    }
}
