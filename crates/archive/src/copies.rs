//! Reads events that were removed from their copies, for whoever follows or folds a log from before the first event that is
//! kept.

use std::sync::{Arc, Weak};

use fleetlog_event_log::archived::{Archived, Archives};
use fleetlog_event_log::{Event, LogId, Position};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::task::spawn_blocking;

use crate::check::{sized, unchanged};
use crate::file::{Error, Reader};
use crate::place::{Local, Place};

/// How many files are kept open between two pages: twice as many as a rebuild has slices at most.
pub const OPEN_FILES: usize = 16;

/// The copies, wherever they lie. Who reads on where the last page ended goes on in the same open file.
pub struct Copies(Arc<Shared>);

struct Shared {
    /// Where files are looked for that are no longer where they were written.
    place: Option<Place>,
    /// The one that was used last is the last.
    open: Mutex<Vec<Cursor>>,
    /// What was fetched, for as long as somebody reads it.
    fetched: tokio::sync::Mutex<Vec<(First, Weak<Local>)>>,
}

/// What tells a range from others: its log and its first position.
type First = (LogId, Position);

/// What an event is read from.
enum Open {
    /// A file that was read before.
    Cursor(Box<Cursor>),
    /// One that is opened.
    Local(Arc<Local>),
}

/// A file that is open, and the events that were read from it last.
struct Cursor {
    range: First,
    reader: Reader,
    events: Vec<Event>,
    _local: Arc<Local>,
}

impl Copies {
    /// The copies in a place, and those in others as the database says.
    #[must_use]
    pub fn new(place: Option<Place>) -> Self {
        Self(Arc::new(Shared { place, open: Mutex::default(), fetched: tokio::sync::Mutex::default() }))
    }
}

impl Archives for Copies {
    fn events<'a>(
        &'a self,
        range: &'a Archived,
        after: Position,
        limit: i64,
        bytes: usize,
    ) -> BoxFuture<'a, Result<Vec<Event>, String>> {
        let (shared, range) = (Arc::clone(&self.0), range.clone());
        Box::pin(async move {
            let failed = |error: Error| error.to_string();
            let open = match shared.take(&range, after) {
                Some(cursor) => Open::Cursor(Box::new(cursor)),
                None => Open::Local(shared.local(&range).await.map_err(failed)?),
            };
            let read = spawn_blocking(move || shared.read(open, &range, after, (limit, bytes))).await;
            read.map_err(|error| error.to_string())?.map_err(failed)
        })
    }

    fn check<'a>(&'a self, range: &'a Archived) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            sized(self.0.place.as_ref(), range).await.map(drop).map_err(|error| error.to_string())
        })
    }
}

impl Shared {
    /// The file of a range on this machine. One that was fetched is fetched once for all who read it.
    async fn local(&self, range: &Archived) -> Result<Arc<Local>, Error> {
        let of = (range.log_id, range.first);
        let mut fetched = self.fetched.lock().await;
        fetched.retain(|(_, local)| local.strong_count() > 0);
        if let Some(local) =
            fetched.iter().find(|(known, _)| *known == of).and_then(|(_, local)| local.upgrade())
        {
            return Ok(local);
        }
        let local = Arc::new(unchanged(self.place.as_ref(), range).await?);
        if local.is_own() {
            fetched.push((of, Arc::downgrade(&local)));
        }
        Ok(local)
    }

    fn read(
        &self,
        open: Open,
        range: &Archived,
        after: Position,
        (limit, bytes): (i64, usize),
    ) -> Result<Vec<Event>, Error> {
        let mut cursor = match open {
            Open::Cursor(cursor) => *cursor,
            Open::Local(local) => Cursor {
                range: (range.log_id, range.first),
                reader: Reader::open(local.path(), (range.first, range.last), after)?,
                events: vec![],
                _local: local,
            },
        };
        if cursor.events.last().is_none_or(|last| last.position <= after) {
            cursor.events = cursor.reader.batch()?;
        }
        let mut read = 0;
        let events = cursor.events.iter().filter(|event| event.position > after);
        let events: Vec<Event> = events
            .take(limit.max(1) as usize)
            .take_while(|event| {
                let fits = read < bytes;
                read += event.payload.0.len();
                fits
            })
            .cloned()
            .collect();
        let mut open = self.open.lock();
        if open.len() == OPEN_FILES {
            open.remove(0);
        }
        open.push(cursor);
        Ok(events)
    }

    /// An open file in which the event after `after` comes next, or is among those that were read last.
    fn take(&self, range: &Archived, after: Position) -> Option<Cursor> {
        let mut open = self.open.lock();
        let at = open.iter().position(|cursor| {
            let (first, last) = (cursor.events.first(), cursor.events.last());
            let reaches =
                |(first, last): (&Event, &Event)| (first.position..=last.position + 1).contains(&(after + 1));
            cursor.range == (range.log_id, range.first) && first.zip(last).is_some_and(reaches)
        });
        at.map(|at| open.remove(at))
    }
}
