//! One follower: its places in the logs, and the next step from there.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use fleetlog_aggregates::identity::{Tenant, aggregate_id};
use fleetlog_event_log::archived::Archived;
use fleetlog_event_log::archived::holes::Sought;
use fleetlog_event_log::read::{Filter, Start};
use fleetlog_event_log::{self as event_log, Lane, LogId, Position};
use futures::future::select_all;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::entry::{About, Entry};
use crate::tail::Tail;
use crate::{Live, Places, Selection, instruments};

/// How many events a step looks at.
pub const STEP: usize = 256;

/// What comes next.
#[derive(Debug)]
pub enum Step {
    /// These events of one log, in order, at least one.
    Events(Vec<Arc<Entry>>),
    /// Readings after the follower's place were removed, and may have held some that it follows: what comes next comes after
    /// them.
    Removed(Vec<Archived>),
    /// Nothing that the follower follows, for now.
    Nothing,
}

/// A follower of some logs of a tenant.
pub struct Follower {
    live: Live,
    tenant: Tenant,
    places: Places,
    logs: Vec<Followed>,
    selection: Selection,
    /// Which log's turn it is.
    turn: usize,
    /// Readings that were followed and left out because they are over age, if they are asked for: the first and the last.
    over_age: Option<(Position, Position)>,
    tells_over_age: bool,
}

struct Followed {
    tail: Arc<Tail>,
    reached: watch::Receiver<Position>,
}

impl Follower {
    pub(crate) fn new(
        live: Live,
        tenant: Tenant,
        places: Places,
        tails: Vec<Arc<Tail>>,
        selection: Selection,
    ) -> Self {
        instruments::FOLLOWERS.increment(1.0);
        let logs = tails.into_iter().map(|tail| Followed { reached: tail.watch(), tail }).collect();
        let (over_age, tells_over_age) = (None, false);
        Self { live, tenant, places, logs, selection, turn: 0, over_age, tells_over_age }
    }

    /// Notes which readings are left out because they are over age, for [`Follower::take_over_age`]. They are read for it.
    #[must_use]
    pub fn noting_over_age(mut self) -> Self {
        self.tells_over_age = true;
        self
    }

    /// The first and the last of the readings that were left out since this was last called, because their tenant keeps them no
    /// longer.
    pub fn take_over_age(&mut self) -> Option<(Position, Position)> {
        self.over_age.take()
    }

    /// Waits until a log has grown beyond the follower's place, for at most `patience`. Reads nothing. `true`: it has.
    ///
    /// A call that is dropped loses nothing.
    pub async fn grown(&mut self, patience: Duration) -> bool {
        let is_ahead = |log: &Followed| {
            let place = self.places.of(log.tail.log_id).unwrap_or(0);
            self.live.0.log.heads().log(log.tail.log_id).is_some_and(|log| log.head > place)
        };
        self.logs.iter().any(is_ahead) || timeout(patience, self.wait()).await.is_ok()
    }

    async fn wait(&mut self) {
        let grown = self.logs.iter_mut().map(|log| {
            let place = self.places.of(log.tail.log_id).unwrap_or(0);
            Box::pin(log.reached.wait_for(move |reached| *reached > place))
        });
        // The tails live as long as the follower, so this ends because a log has grown.
        let _ = select_all(grown).await;
    }

    /// How far the follower has come: after the last step, all that it follows up to here has been returned.
    #[must_use]
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// What comes next; [`Step::Nothing`] if that takes longer than `patience`, or if a page held nothing to follow.
    ///
    /// A call that is dropped loses nothing.
    pub async fn next(&mut self, patience: Duration) -> event_log::Result<Step> {
        for _ in 0..self.logs.len() {
            let n = self.turn % self.logs.len();
            self.turn = n + 1;
            let log_id = self.logs[n].tail.log_id;
            let place = self.places.of(log_id).unwrap_or(0);
            if let Some(entries) = self.logs[n].tail.after(place, STEP) {
                let Some(last) = entries.last().map(|entry| entry.event.position) else { continue };
                instruments::EVENTS.with(["memory".into()]).increment(entries.len() as u64);
                return Ok(self.step(log_id, last, entries));
            }
            if self.live.0.log.heads().log(log_id).is_some_and(|log| log.head > place) {
                return self.read(n, log_id, place).await;
            }
        }
        let _ = timeout(patience, self.wait()).await;
        Ok(Step::Nothing)
    }

    /// Reads the next page from the database.
    async fn read(&mut self, n: usize, log_id: LogId, place: Position) -> event_log::Result<Step> {
        let _turn = self.live.0.reads.take(self.tenant.as_str(), 1).await;
        // A handle for each page: what one of them may read has a bound.
        let log = self.live.0.log.for_tenant(&self.tenant);
        let stream = self.stream_of_readings(log_id);
        let since = self.shown_since().filter(|_| !self.tells_over_age);
        let filter = Filter { aggregate_id: stream.clone(), since, ..Filter::default() };
        let start = Start { after: Some(place), descending: false };
        let page = log.events_page(log_id, start, STEP, &filter).await?;
        let last = page.page.items.last().map_or(0, |event| event.position).max(page.covered.1);
        let sought = Sought { positions: (place, last), stream: stream.as_deref(), ..Sought::default() };
        let holes = log.holes(log_id, &sought).await?.ranges;
        if let Some(first) = holes.first() {
            // First what comes before them, then that they are missing, then what comes after.
            if first.first > place + 1 {
                let before = page.page.items.into_iter().filter(|event| event.position < first.first);
                let entries = self.logs[n].tail.entries(before.collect()).await?;
                return Ok(self.step(log_id, first.first - 1, entries));
            }
            let mut until = place;
            let next = holes.into_iter().take_while(|range| {
                let is_next = range.first <= until + 1;
                until = until.max(range.last);
                is_next
            });
            let removed: Vec<_> = next.collect();
            let last = removed.last().map_or(place, |range| range.last);
            self.places.advance(log_id, last);
            return Ok(Step::Removed(removed));
        }
        let entries = self.logs[n].tail.entries(page.page.items).await?;
        instruments::EVENTS.with(["log".into()]).increment(entries.len() as u64);
        Ok(self.step(log_id, last, entries))
    }

    /// When a reading must have occurred to be shown: the tenant may keep readings for a time.
    fn shown_since(&self) -> Option<DateTime<Utc>> {
        let log = &self.live.0.log;
        log.terms().of(self.tenant.as_str()).shown_since(log.now())
    }

    /// The stream of the one device that is followed, in a log of readings: an index finds its events.
    fn stream_of_readings(&self, log_id: LogId) -> Option<String> {
        let log = self.live.0.log.heads().log(log_id)?;
        let uid = self.selection.only_device().filter(|_| log.lane == Lane::Telemetry)?;
        Some(aggregate_id(&self.tenant, uid))
    }

    fn step(&mut self, log_id: LogId, last: Position, mut entries: Vec<Arc<Entry>>) -> Step {
        self.places.advance(log_id, last);
        let since = self.shown_since();
        let is_over_age = |entry: &Entry| {
            matches!(entry.about, About::Reading(_))
                && since.is_some_and(|since| entry.event.occurred_at < since)
        };
        let mut left_out = self.over_age;
        entries.retain(|entry| {
            let takes = self.selection.takes(entry);
            let is_shown = takes && !is_over_age(entry);
            if takes && !is_shown {
                let position = entry.event.position;
                left_out = Some((left_out.map_or(position, |(first, _)| first), position));
            }
            is_shown
        });
        self.over_age = left_out.filter(|_| self.tells_over_age);
        if entries.is_empty() { Step::Nothing } else { Step::Events(entries) }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        instruments::FOLLOWERS.decrement(1.0);
    }
}
