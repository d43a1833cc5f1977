//! Tells the messages of a batch that are on the record already from those that are new.
//!
//! A message comes again with the same id and the same content. One with the id of another message and other content is
//! new: it gets an id of its own, which follows from its content.

use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use fleetlog_aggregates::telemetry::Recorded;
use sqlx::{Postgres, Transaction};

use super::statements::{Found, Locked, Suspect, is_recorded_since, look_up};
use super::{REPEAT_WINDOW, Recent, SET_BACK, WEEK};
use crate::{LogId, Result};

/// The first copy of a message in its batch.
pub(super) struct First<'b> {
    /// The message's index in the batch.
    pub(super) at: usize,
    /// The message, as it is stored.
    pub(super) event: Cow<'b, Recorded>,
    /// Whether this process remembers that the message is on the record.
    known: bool,
    /// Whether a message before it in the batch has its id, and other content.
    is_rival: bool,
    /// Whether the message is on the record.
    pub(super) is_repeat: bool,
}

impl First<'_> {
    /// Whether the message's own id is that of another message.
    pub(super) fn is_renamed(&self) -> bool {
        matches!(self.event, Cow::Owned(_))
    }
}

/// The different messages of a batch.
pub(super) fn firsts<'b>(batch: &'b [Recorded], recent: &Recent) -> Vec<First<'b>> {
    let (mut contents, mut rivals) = (HashMap::with_capacity(batch.len()), HashSet::new());
    let mut firsts: Vec<(usize, &Recorded, bool)> = Vec::with_capacity(batch.len());
    for (at, event) in batch.iter().enumerate() {
        let (id, content) = ((&*event.aggregate_id, &*event.msg_id), &*event.payload);
        match contents.entry(id) {
            Entry::Vacant(place) => {
                place.insert(content);
                firsts.push((at, event, false));
            }
            Entry::Occupied(first) if *first.get() == content => {}
            Entry::Occupied(_) if rivals.insert((id, content)) => firsts.push((at, event, true)),
            Entry::Occupied(_) => {}
        }
    }
    let events: Vec<&Recorded> = firsts.iter().map(|(_, event, _)| *event).collect();
    let firsts = firsts.iter().zip(recent.knows(&events));
    let first = |(&(at, event, is_rival), known)| {
        let event = Cow::Borrowed(event);
        First { at, event, known, is_rival, is_repeat: false }
    };
    firsts.map(first).collect()
}

/// Remembers these messages, which are all on the record now.
pub(super) fn remember(batch: &[Recorded], firsts: &[First<'_>], recent: &Recent) {
    let surprised = firsts.iter().any(|first| (first.is_repeat || first.is_renamed()) && !first.known);
    let fresh: Vec<_> = firsts.iter().filter(|first| !first.known).map(|first| &batch[first.at]).collect();
    recent.committed(&fresh, surprised);
}

/// Marks the messages that are on the record already, and gives those an id that have another's. Looks up all of them, or
/// only those that may be repeats.
pub(super) async fn find_repeats(
    transaction: &mut Transaction<'_, Postgres>,
    log_id: LogId,
    locked: Locked,
    firsts: &mut [First<'_>],
    all: bool,
) -> Result<()> {
    let Locked { now, week, .. } = locked;
    let near_the_end = now + SET_BACK >= week + WEEK;
    let all = all
        || firsts.iter().any(|first| first.is_rival)
        || (near_the_end && is_recorded_since(transaction, log_id, week + WEEK).await?);
    let anywhere = places(firsts, |first| all || first.known);
    // A repeat from this week is remembered, or the index refuses it.
    let before = places(firsts, |first| !all && !first.known && since(first, locked) < week);
    // Includes a margin for a clock that was set back.
    let end = now + SET_BACK;
    let mut others = vec![];
    for (until, places) in [(end, anywhere), (week, before)] {
        mark(transaction, log_id, locked, until, firsts, &places, &mut others).await?;
    }
    others.extend(places(firsts, |first| first.is_rival && !first.is_repeat));
    others.sort_unstable();
    others.dedup();
    while !others.is_empty() {
        let renamed = std::mem::take(&mut others);
        for &place in &renamed {
            firsts[place].event = Cow::Owned(firsts[place].event.under_an_id_of_its_own());
        }
        mark(transaction, log_id, locked, end, firsts, &renamed, &mut others).await?;
        others.extend(taken(firsts, &renamed, &others));
    }
    Ok(())
}

/// Marks which of these messages are on the record, and adds those to `others` whose id is another's there.
async fn mark(
    transaction: &mut Transaction<'_, Postgres>,
    log_id: LogId,
    locked: Locked,
    until: DateTime<Utc>,
    firsts: &mut [First<'_>],
    places: &[usize],
    others: &mut Vec<usize>,
) -> Result<()> {
    let suspect = |&place: &usize| {
        let first = &firsts[place];
        Suspect { event: &first.event, since: since(first, locked).min(locked.week) }
    };
    let suspects: Vec<_> = places.iter().map(suspect).collect();
    let found = look_up(transaction, log_id, until, &suspects).await?;
    for (&place, found) in places.iter().zip(found) {
        match found {
            Found::Nothing => {}
            Found::TheSame => firsts[place].is_repeat = true,
            Found::Another => others.push(place),
        }
    }
    Ok(())
}

/// Which of the renamed messages still have the id of another message of their batch.
fn taken(firsts: &[First<'_>], renamed: &[usize], others: &[usize]) -> Vec<usize> {
    let id = |place: usize| (&*firsts[place].event.aggregate_id, &*firsts[place].event.msg_id);
    let is_new = |place: &usize| !firsts[*place].is_repeat && !others.contains(place);
    let mut ids: HashSet<_> =
        (0..firsts.len()).filter(|place| is_new(place) && !renamed.contains(place)).map(id).collect();
    renamed.iter().copied().filter(|place| is_new(place) && !ids.insert(id(*place))).collect()
}

/// The earliest time at which a message may have been recorded.
fn since(first: &First<'_>, locked: Locked) -> DateTime<Utc> {
    first.event.occurred_at.min(locked.now) - REPEAT_WINDOW
}

fn places(firsts: &[First<'_>], of: impl Fn(&First<'_>) -> bool) -> Vec<usize> {
    (0..firsts.len()).filter(|&place| of(&firsts[place])).collect()
}
