//! The next batch of a log's events, as a webhook follows them, and what is missing in it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use fleetlog_aggregates::device::{Device, Labels};
use fleetlog_aggregates::identity::Uid;
use fleetlog_event_log::place::LogPosition;
use fleetlog_event_log::{LogId, Position, TenantLog};
use fleetlog_live::{Entry, Follower, Live, Places, Step};
use fleetlog_projections::devices;
use uuid::Uuid;

use crate::deliverer::Hook;
use crate::error::Error;
use crate::message::Missing;
use crate::webhook::Filter;

/// The most bytes of a batch's events. One event alone may have more.
pub(crate) const MAX_BYTES: usize = 1 << 20;
/// The most ranges of readings that a batch says are missing.
pub(crate) const MAX_MISSING: usize = 100;

/// What a batch is made of.
#[derive(Debug, Clone)]
pub(crate) enum Item {
    /// An event.
    Event(Arc<Entry>),
    /// Readings that are not there any more.
    Missing(Missing),
}

impl Item {
    fn first(&self) -> Position {
        match self {
            Self::Event(entry) => entry.event.position,
            Self::Missing(range) => range.first_position,
        }
    }
}

/// Some of a log's events: those after a position and up to another that the webhook follows.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) after: Position,
    pub(crate) last: Position,
    pub(crate) items: Vec<Item>,
    /// How many bytes its events have.
    pub(crate) bytes: usize,
}

impl Batch {
    /// How many events it has.
    pub(crate) fn events(&self) -> usize {
        self.items.iter().filter(|item| matches!(item, Item::Event(_))).count()
    }
}

/// How far a batch may go.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reach {
    /// As far as there are events, and up to this position and this many events at most.
    Most(Position, usize),
    /// Up to this very position, whatever is there.
    Exactly(Position),
}

impl Reach {
    fn limit(self) -> Position {
        match self {
            Self::Most(limit, _) | Self::Exactly(limit) => limit,
        }
    }
}

/// Reads a log, from a place on.
pub(crate) struct Reader {
    live: Live,
    log: TenantLog,
    log_id: LogId,
    webhook_id: Uuid,
    filter: Filter,
    follower: Follower,
    /// What was read and is in no batch yet.
    read: VecDeque<Item>,
}

impl Reader {
    pub(crate) fn new(
        live: &Live,
        log: &TenantLog,
        (hook, log_id): (&Hook, LogId),
        after: Position,
    ) -> Option<Self> {
        let (filter, webhook_id) = (hook.filter.clone(), hook.webhook_id);
        let follower = follow(live, log, log_id, &filter, after)?;
        let (live, log) = (live.clone(), log.clone());
        Some(Self { live, log, log_id, webhook_id, filter, follower, read: VecDeque::new() })
    }

    /// Waits until the log has grown, for a while.
    pub(crate) async fn grown(&mut self, patience: Duration) -> bool {
        !self.read.is_empty() || self.follower.grown(patience).await
    }

    /// Lets go of what was read ahead, if there is any: it is read again after `position`.
    pub(crate) fn let_go(&mut self, position: Position) {
        if self.read.is_empty() {
            return;
        }
        self.read.clear();
        // The new follower is there before the old one goes, so the log's latest events stay in memory.
        if let Some(follower) = follow(&self.live, &self.log, self.log_id, &self.filter, position) {
            self.follower = follower;
        }
    }

    fn passed(&self) -> Position {
        self.follower.places().of(self.log_id).unwrap_or(0)
    }

    /// The next batch after a position, after which nothing was put into a batch yet. Without items: nothing that is followed is
    /// there up to its last position.
    pub(crate) async fn batch(&mut self, after: Position, reach: Reach) -> Result<Batch, Error> {
        let mut batch = Batch { after, last: after, ..Batch::default() };
        loop {
            self.take(&mut batch, reach);
            // Something is left, so the batch is full or ends here.
            if let Some(item) = self.read.front() {
                batch.last = reach.limit().min(item.first() - 1).max(after);
                return Ok(batch);
            }
            batch.last = reach.limit().min(self.passed()).max(after);
            if batch.last == reach.limit() || !self.fill(reach).await? {
                return Ok(batch);
            }
        }
    }

    /// Moves into the batch what fits.
    fn take(&mut self, batch: &mut Batch, reach: Reach) {
        while let Some(item) = self.read.pop_front() {
            let fits = match (&item, reach) {
                _ if item.first() > reach.limit() => false,
                (_, Reach::Exactly(_)) => true,
                (Item::Event(entry), Reach::Most(_, most)) => {
                    let is_small = batch.bytes + entry.text().len() <= MAX_BYTES || batch.events() == 0;
                    is_small && batch.events() < most
                }
                (Item::Missing(_), Reach::Most(..)) => batch.items.len() - batch.events() < MAX_MISSING,
            };
            if !fits {
                return self.read.push_front(item);
            }
            match item {
                Item::Event(ref entry) => batch.bytes += entry.text().len() + 1,
                Item::Missing(ref range) if range.last_position > reach.limit() => {
                    let rest = Missing { first_position: reach.limit() + 1, ..range.clone() };
                    let here = Missing { last_position: reach.limit(), ..range.clone() };
                    batch.items.push(Item::Missing(here));
                    self.insert(Item::Missing(rest));
                    continue;
                }
                Item::Missing(_) => {}
            }
            batch.items.push(item);
        }
    }

    /// Reads on. `false`: there is nothing more for now.
    async fn fill(&mut self, reach: Reach) -> Result<bool, Error> {
        let before = self.passed();
        // What is asked for exactly is there, though this process may not have heard of it yet.
        let patience = if matches!(reach, Reach::Exactly(_)) { PATIENCE } else { Duration::ZERO };
        let step = self.follower.next(patience).await?;
        match step {
            Step::Events(entries) => {
                let entries = self.labelled(entries).await?;
                self.read.extend(entries.into_iter().map(Item::Event));
            }
            Step::Removed(ranges) => {
                let ranges = ranges.into_iter().map(|range| {
                    let range = Missing::from(range);
                    Item::Missing(Missing { first_position: range.first_position.max(before + 1), ..range })
                });
                self.read.extend(ranges);
            }
            Step::Nothing => {}
        }
        if let Some((first_position, last_position)) = self.follower.take_over_age() {
            let (state, removed_at, file) = ("over_age", None, None);
            self.insert(Item::Missing(Missing { first_position, last_position, state, removed_at, file }));
        }
        Ok(matches!(reach, Reach::Exactly(_)) || self.passed() > before)
    }

    /// Puts in what was read, at its place.
    fn insert(&mut self, item: Item) {
        let at = self.read.partition_point(|read| read.first() < item.first());
        self.read.insert(at, item);
    }

    /// Those of these events whose device carries the labels that are followed.
    async fn labelled(&self, mut entries: Vec<Arc<Entry>>) -> Result<Vec<Arc<Entry>>, Error> {
        let Some(wanted) = &self.filter.label else { return Ok(entries) };
        let mut uids: Vec<Uid> = entries.iter().filter_map(|entry| entry.device().cloned()).collect();
        uids.sort_unstable();
        uids.dedup();
        let log = self.log.anew();
        let mut labels: HashMap<Uid, Labels> = devices::labels(&log, &uids).await?;
        // The read model may not know a device yet that the log has events of.
        for uid in uids.into_iter().filter(|uid| !labels.contains_key(uid)).collect::<Vec<_>>() {
            let device = log.load::<Device>(&log.stream(&uid)).await;
            let device = device.map_err(|error| Error::Unreadable(self.webhook_id, error.to_string()))?;
            labels.insert(uid, device.labels().clone());
        }
        entries.retain(|entry| {
            let labels = entry.device().and_then(|uid| labels.get(uid));
            labels.is_some_and(|labels| wanted.iter().all(|(key, value)| labels.get(key) == Some(value)))
        });
        Ok(entries)
    }
}

/// How long is waited at a time for events that are there, and that this process has not heard of.
const PATIENCE: Duration = Duration::from_millis(500);

fn follow(
    live: &Live,
    log: &TenantLog,
    log_id: LogId,
    filter: &Filter,
    position: Position,
) -> Option<Follower> {
    let places = Places::new(vec![LogPosition { log_id, position }])?;
    Some(live.follow(log, places, filter.selection()).noting_over_age())
}
