//! Devices as they were: what the read model showed once it had folded the log up to a moment.
//!
//! The control log's changes and the readings are folded once more, by the read model's own fold. A list folds every change
//! to a device, and the readings of the devices on its page. How many messages came again is not on the record, so nobody
//! knows it of an earlier moment. What was known of connections then is what `device_connections` says of that moment.

mod answers;

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;
use std::time::Duration;

use chrono::{DateTime, Utc};
use fleetlog_aggregates::alarm_rule::carries;
use fleetlog_aggregates::device::{Device as Aggregate, EventType};
use fleetlog_aggregates::identity::{Uid, aggregate_id, split_aggregate_id};
use fleetlog_event_log::as_of::Prefix;
use fleetlog_event_log::event::Json;
use fleetlog_event_log::{Event, Position, TenantLog};
use sqlx::{QueryBuilder, Row};

use super::fold::{Life, Readings};
use super::online::{self, Connected, Rule, Signs};
use super::queries::{can_match, push_search, status};
use super::{Cursor, Device, Error, LastReading, Model, Query, Sort, SortBy, Status};
use crate::paging::{BadCursor, Page};
use crate::refold::{Refold, Refolded};

/// How many changes to devices a list folds at most: about half a second's work.
pub const CHANGES: usize = 100_000;
/// How many bytes of changes to devices a list folds at most. What they add up to is held in memory.
pub const CHANGES_BYTES: usize = 16 << 20;
/// How many readings one answer folds at most: about a second's work.
pub const READINGS: usize = 500_000;

/// A page of a list as of a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// The devices of the page, as they were.
    pub page: Page<Device>,
    /// How many devices there are on all pages together.
    pub total: i64,
}

/// The devices with these uids that were on the record, in service or not, in the order of their uids. A device counts as
/// online for as long as `within` after its last sign of life, unless it had a threshold of its own. The read model of commands
/// must have reached that moment: it finds the devices' answers.
pub async fn get(
    log: &TenantLog,
    uids: &[Uid],
    prefix: &Prefix,
    within: Duration,
) -> Result<Refolded<Vec<Device>>, Error> {
    let mut past = Past::begin(log, prefix, within).await?;
    let streams: Vec<_> = uids.iter().map(|uid| log.stream(uid)).collect();
    for event in log.streams_until::<Aggregate>(&streams, prefix.control).await? {
        past.refold.add(&event);
    }
    let known: Vec<Uid> = past.lives().map(|(uid, _)| uid).collect();
    if past.add_readings_of(&known).await? < known.len() {
        return Err(Error::DeviceSentTooMuch);
    }
    let mut found = vec![];
    while found.len() < known.len() {
        found.extend(past.devices(&known[found.len()..]).await?);
    }
    Ok(Refolded { found, events: past.refold.events })
}

/// A tenant's devices as of a moment, in the order of the query, as [`get`] finds them. A page ends early once its devices have
/// sent [`READINGS`] readings.
pub async fn list(
    log: &TenantLog,
    query: &Query,
    prefix: &Prefix,
    within: Duration,
) -> Result<Refolded<Listed>, Error> {
    if query.after.as_ref().is_some_and(|after| after.sort != query.sort) {
        return Err(BadCursor::OtherSort.into());
    }
    let mut past = Past::begin(log, prefix, within).await?;
    if !can_match(query) {
        let listed = Listed { page: Page::cut(vec![], query.limit), total: 0 };
        return Ok(Refolded { found: listed, events: 0 });
    }
    past.add_changes().await?;
    let mut matching = past.matching(query).await?;
    let sorted_by_readings = query.sort.by == SortBy::LastSeenAt;
    if sorted_by_readings {
        past.add_all_readings().await?;
        past.add_all_answers(0).await?;
    }
    if let Some(wanted @ (Status::Online | Status::Offline)) = query.status {
        let online = past.online(&matching, sorted_by_readings).await?;
        matching.retain(|uid| online.contains(uid) == (wanted == Status::Online));
    }
    let total = matching.len() as i64;
    let mut page = past.page(matching, query);
    if !sorted_by_readings {
        let complete = past.add_readings_of(&page.items).await?;
        if complete == 0 && !page.items.is_empty() {
            return Err(Error::DeviceSentTooMuch);
        }
        page.has_more |= complete < page.items.len();
        page.items.truncate(complete);
    }
    let items = past.devices(&page.items).await?;
    let page = Page { has_more: page.has_more || items.len() < page.items.len(), items };
    Ok(Refolded { found: Listed { page, total }, events: past.refold.events })
}

/// What the logs say up to a moment, as far as it has been folded.
struct Past<'l> {
    log: &'l TenantLog,
    prefix: &'l Prefix,
    online: Rule,
    refold: Refold<Model>,
}

impl<'l> Past<'l> {
    async fn begin(log: &'l TenantLog, prefix: &'l Prefix, within: Duration) -> Result<Self, Error> {
        // Without the first readings nobody can say how many there were, nor which was the last of a silent device.
        if prefix.telemetry_begins > 1 && prefix.telemetry > 0 {
            return Err(Error::Removed { begins: prefix.telemetry_begins });
        }
        let online = Rule { at: prefix.at, within };
        Ok(Self { log, prefix, online, refold: Refold::of(log).await? })
    }

    /// Adds what the control log says of all devices.
    async fn add_changes(&mut self) -> Result<(), Error> {
        let (log, prefix, refold) = (self.log, self.prefix, &mut self.refold);
        let (mut changes, mut bytes) = (0, 0);
        let each = |event: Event| {
            changes += 1;
            bytes += event.payload.0.len();
            if changes > CHANGES || bytes > CHANGES_BYTES {
                return ControlFlow::Break(());
            }
            refold.add(&event);
            ControlFlow::Continue(())
        };
        let types = EventType::that_are_shown();
        log.each_of_types(prefix.control_log, &types, (0, prefix.control), CHANGES + 1, each).await?;
        if changes > CHANGES || bytes > CHANGES_BYTES { Err(Error::TooManyChanges) } else { Ok(()) }
    }

    /// Adds the readings of all devices.
    async fn add_all_readings(&mut self) -> Result<(), Error> {
        let until = self.prefix.telemetry;
        if usize::try_from(until).is_ok_and(|until| until > READINGS) {
            return Err(Error::TooManyToSort);
        }
        let refold = &mut self.refold;
        Ok(self.log.each_reading(self.prefix.telemetry_log, (0, until), |event| refold.add(event)).await?)
    }

    /// Adds the readings of some devices. Returns of how many, from the first on, all readings were added.
    async fn add_readings_of(&mut self, uids: &[Uid]) -> Result<usize, Error> {
        let (log_id, until, refold) = (self.prefix.telemetry_log, self.prefix.telemetry, &mut self.refold);
        let each = |event: &Event| refold.add(event);
        Ok(self.log.each_reading_of(log_id, uids, until, READINGS, each).await?)
    }

    /// Those of these devices that were online, if they were in service.
    async fn online(&mut self, uids: &[Uid], has_all: bool) -> Result<HashSet<Uid>, Error> {
        let connected = self.connected(uids).await?;
        if !has_all {
            let since = self.online.since(None);
            let until = self.prefix.telemetry;
            let before = self.log.telemetry_before(since).await?.min(until);
            if usize::try_from(until - before).is_ok_and(|readings| readings > READINGS) {
                return Err(Error::TooManyLately);
            }
            let mut lately = self.refold.another();
            let log_id = self.prefix.telemetry_log;
            self.log.each_reading(log_id, (before, until), |event| lately.add(event)).await?;
            // Of those that may be silent for longer, all readings.
            let slow: Vec<Uid> = self.slow(uids).cloned().collect();
            let streams: HashSet<_> = slow.iter().map(|uid| aggregate_id(self.log.tenant(), uid)).collect();
            lately.fold.readings.retain(|stream, _| !streams.contains(stream));
            let each = |event: &Event| lately.add(event);
            if self.log.each_reading_of(log_id, &slow, until, READINGS, each).await? < slow.len() {
                return Err(Error::TooManyLately);
            }
            self.refold.events += lately.events;
            let longest = uids.iter().filter_map(|uid| self.threshold(uid)).max();
            let answers_since = self.online.since(longest).min(since);
            self.add_all_answers(self.log.control_before(answers_since).await?.min(self.prefix.control))
                .await?;
            return Ok(self.online_of(uids, &lately.fold.readings, &connected));
        }
        Ok(self.online_of(uids, &self.refold.fold.readings, &connected))
    }

    fn online_of(
        &self,
        uids: &[Uid],
        readings: &BTreeMap<String, Readings>,
        connected: &HashMap<Uid, Connected>,
    ) -> HashSet<Uid> {
        let is_online = |uid: &&Uid| {
            let readings = readings.get(&aggregate_id(self.log.tenant(), uid));
            self.online.is_online(&self.signs(uid, readings, connected))
        };
        uids.iter().filter(is_online).cloned().collect()
    }

    fn signs(&self, uid: &Uid, readings: Option<&Readings>, connected: &HashMap<Uid, Connected>) -> Signs {
        Signs {
            last_seen_at: self.last_seen_at(uid, readings),
            offline_at: readings.and_then(Readings::offline_at),
            connected: connected.get(uid).copied().unwrap_or_default(),
            online_within_s: self.threshold(uid),
        }
    }

    fn last_seen_at(&self, uid: &Uid, readings: Option<&Readings>) -> Option<DateTime<Utc>> {
        let answered_at = self.life(uid).and_then(|life| life.answered_at);
        readings.and_then(|readings| readings.last_seen_at).max(answered_at)
    }

    /// A threshold of the device's own, in seconds.
    fn threshold(&self, uid: &Uid) -> Option<u32> {
        self.life(uid)?.online_within?.into()
    }

    /// Those of these devices that count as online for longer than is usual.
    fn slow<'u>(&self, uids: &'u [Uid]) -> impl Iterator<Item = &'u Uid> {
        let usual = self.online.within;
        let is_slow = move |seconds: u32| Duration::from_secs(seconds.into()) > usual;
        uids.iter().filter(move |uid| self.threshold(uid).is_some_and(is_slow))
    }

    /// When these devices were connected.
    async fn connected(&self, uids: &[Uid]) -> Result<HashMap<Uid, Connected>, Error> {
        Ok(online::connected(self.log, uids, self.online).await?)
    }

    /// The devices that were registered by then, in the order of their uids.
    fn lives(&self) -> impl Iterator<Item = (Uid, &Life)> {
        let known = self.refold.fold.lives.iter().filter(|(_, life)| life.registered.is_some());
        known.filter_map(|(stream, life)| Some((uid(stream)?, life)))
    }

    /// The devices that the query is about, as far as the control log says.
    async fn matching(&self, query: &Query) -> Result<Vec<Uid>, Error> {
        let wants_decommissioned = query.status == Some(Status::Decommissioned);
        let lives = self.lives().filter(|(_, life)| life.decommissioned_at.is_some() == wants_decommissioned);
        let has_labels = |life: &Life| match &query.labels {
            None => true,
            Some(wanted) => life.labels.as_ref().is_some_and(|labels| carries(labels, wanted)),
        };
        let lives: Vec<_> = lives.filter(|(_, life)| has_labels(life)).collect();
        let Some(q) = &query.q else { return Ok(lives.into_iter().map(|(uid, _)| uid).collect()) };
        // The database knows upper case from lower case, and its rules differ from ours.
        let mut sql = QueryBuilder::new("SELECT ordinal FROM unnest(");
        sql.push_bind(lives.iter().map(|(uid, _)| uid.as_str()).collect::<Vec<_>>()).push("::text[], ");
        sql.push_bind(lives.iter().map(|(_, life)| life.name.as_deref()).collect::<Vec<_>>());
        sql.push("::text[]) WITH ORDINALITY AS device (uid, name, ordinal) WHERE ");
        push_search(&mut sql, "uid COLLATE \"C\"", q);
        sql.push(" ORDER BY ordinal");
        let found = self.log.fetch(sql.build()).await?;
        let ordinals = found.iter().map(|row| row.try_get::<i64, _>(0)).collect::<Result<Vec<_>, _>>()?;
        let nth = |ordinal| usize::try_from(ordinal - 1).ok().and_then(|nth: usize| lives.get(nth));
        Ok(ordinals.into_iter().filter_map(nth).map(|(uid, _)| uid.clone()).collect())
    }

    /// The uids of a page, in the order of the query.
    fn page(&self, uids: Vec<Uid>, query: &Query) -> Page<Uid> {
        let place = |uid: Uid| (self.time(&uid, query.sort), uid);
        let mut places: Vec<_> = uids.into_iter().map(place).collect();
        let Sort { by, descending } = query.sort;
        if let Some(Cursor { time, uid, .. }) = &query.after {
            let time = time.filter(|_| by != SortBy::Uid);
            let beyond = if descending { Ordering::Less } else { Ordering::Greater };
            places.retain(|(at, known)| (at, known).cmp(&(&time, uid)) == beyond);
        }
        places.sort_unstable();
        if descending {
            places.reverse();
        }
        places.truncate(query.limit.saturating_add(1));
        Page::cut(places.into_iter().map(|(_, uid)| uid).collect(), query.limit)
    }

    /// The time that a device is sorted by. `None` comes before all times.
    fn time(&self, uid: &Uid, sort: Sort) -> Option<DateTime<Utc>> {
        match sort.by {
            SortBy::Uid => None,
            SortBy::LastSeenAt => self.last_seen_at(uid, self.readings(uid)),
            SortBy::RegisteredAt => self.life(uid)?.registered.map(|(at, _)| at),
        }
    }

    fn life(&self, uid: &Uid) -> Option<&Life> {
        self.refold.fold.lives.get(&aggregate_id(self.log.tenant(), uid))
    }

    fn readings(&self, uid: &Uid) -> Option<&Readings> {
        self.refold.fold.readings.get(&aggregate_id(self.log.tenant(), uid))
    }

    /// These devices, with the payloads of their last readings, as many as a page holds: at least one if there is one.
    async fn devices(&mut self, uids: &[Uid]) -> Result<Vec<Device>, Error> {
        self.add_answers_of(uids).await?;
        let connected = self.connected(uids).await?;
        let last = uids.iter().filter_map(|uid| Some(self.readings(uid)?.last.as_ref()?.position));
        let last: Vec<Position> = last.collect();
        let payloads = self.log.payloads(self.prefix.telemetry_log, &last).await?;
        let mut payloads: HashMap<_, _> = payloads.items.into_iter().collect();
        let device = |uid: &Uid| self.device(uid, &connected, &mut payloads);
        let devices: Vec<_> = uids.iter().map_while(device).collect();
        match last.first() {
            // The reading was removed since it was folded.
            Some(last) if devices.is_empty() => Err(Error::Removed { begins: last + 1 }),
            _ => Ok(devices),
        }
    }

    /// A device. `None` if it has a last reading whose payload is not there.
    fn device(
        &self,
        uid: &Uid,
        connected: &HashMap<Uid, Connected>,
        payloads: &mut HashMap<Position, Json>,
    ) -> Option<Device> {
        let (life, readings) = (self.life(uid)?, self.readings(uid));
        let (registered_at, registered_via) = life.registered?;
        let last_reading = match readings.and_then(|readings| readings.last.as_ref()) {
            None => None,
            Some(last) => {
                let payload = payloads.remove(&last.position)?;
                Some(LastReading { occurred_at: last.at, position: last.position, payload })
            }
        };
        let signs = self.signs(uid, readings, connected);
        Some(Device {
            uid: uid.clone(),
            name: life.name.clone(),
            labels: life.labels.clone().unwrap_or_default(),
            status: status(life.decommissioned_at, self.online.is_online(&signs)),
            registered_at,
            registered_via,
            decommissioned_at: life.decommissioned_at,
            last_seen_at: signs.last_seen_at,
            connected_at: signs.connected.since,
            online_within_s: signs.online_within_s,
            last_reading,
            messages: readings.map_or(0, |readings| readings.messages),
            duplicates: None,
            control_position: life.position,
            telemetry_position: readings.map(|readings| readings.position),
        })
    }
}

/// The uid in a stream's id. The fold lets no other ids through.
fn uid(stream: &str) -> Option<Uid> {
    split_aggregate_id(stream)?.1.parse().ok()
}
