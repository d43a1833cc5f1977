//! What a stream's client is told next of the events that it follows.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use fleetlog_access::action::ActionType;
use fleetlog_access::callers::Credential;
use fleetlog_access::watches;
use fleetlog_access::{Action, Principal};
use fleetlog_aggregates::device::Labels;
use fleetlog_aggregates::identity::Uid;
use fleetlog_event_log::TenantLog;
use fleetlog_event_log::backoff::Backoff;
use fleetlog_live::entry::About;
use fleetlog_live::{Entry, Follower, Live, Places, Step};
use tokio::time::{Instant, sleep};

use super::follow::Follow;
use super::minutes::Changed;
use super::rights::{Lost, Rights};
use super::seats::{Holder, Seat};
use crate::door::May;
use crate::rest::Error;
use crate::rest::archived::ArchivedRange;

/// After how long without a message a client is told that the stream goes on, and how far it has come.
pub const HEARTBEAT: Duration = Duration::from_secs(15);
/// How many devices' last readings are remembered, for `max_rate`.
const SAMPLED: usize = 10_000;

/// What a client is told.
#[derive(Debug)]
pub enum Message {
    /// An event, and how far the stream has come with it.
    Event(Arc<Entry>, Places),
    /// These minutes have changed, and have counted all readings up to here.
    Windows(Vec<Changed>, Places),
    /// Readings that the client may follow were removed. The stream goes on after them.
    Resync(Vec<ArchivedRange>, Places),
    /// So many readings were left out since this was last told, because of `max_rate`.
    LeftOut(u64, Places),
    /// Nothing has happened that the client follows; the stream has come so far.
    Still(Places),
    /// The stream ends, and why.
    End(Ending, Places),
}

/// Why a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The service stops. The client comes back, to this node or another.
    Shutdown,
    /// The token, the session or the key is good no more.
    Unauthenticated,
    /// The caller may not follow streams any more.
    Forbidden,
    /// The log cannot be read.
    Internal,
}

impl Ending {
    /// The code of a problem.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Shutdown => "shutdown",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::Internal => "internal",
        }
    }

    /// What to do, for people.
    #[must_use]
    pub fn detail(self) -> &'static str {
        match self {
            Self::Shutdown => "the service stops: connect again, and go on after the last id",
            Self::Unauthenticated => {
                "the token, the session or the key is good no more: log in, and go on after the last id"
            }
            Self::Forbidden => {
                "the caller may not follow streams any more: ask an administrator for streams.follow"
            }
            Self::Internal => "the log could not be read: connect again, and go on after the last id",
        }
    }
}

/// Events that were read after some places.
struct Read {
    after: Places,
    entries: Vec<Arc<Entry>>,
}

/// The events that a stream tells.
pub struct Feed {
    live: Live,
    log: TenantLog,
    follower: Follower,
    /// Events that were read, until it is known which of them the caller may see.
    read: Option<Read>,
    rights: Rights,
    labels: Option<Labels>,
    sampling: Option<Sampling>,
    /// How far the client was told.
    told: Places,
    told_at: Instant,
    backoff: Backoff,
    is_over: bool,
    _seat: Seat,
}

impl Feed {
    /// Follows for a caller who may.
    pub(super) async fn open<A: ActionType>(
        door: &May<A>,
        credential: Credential,
        follow: &Follow,
        last: Option<&str>,
    ) -> Result<Self, Error> {
        // A handle of its own: a WebSocket may open any number of streams.
        let (app, log) = (&door.app, &door.log().anew());
        let logs = follow.logs(log)?;
        let (selection, labels) = (follow.selection()?, follow.labels()?);
        let watch = app.access.watches.watch(credential, door.caller.clone());
        let rights = Rights::new(watch).ok_or_else(Error::unauthenticated)?;
        let may_see = [
            Action::TelemetryRead,
            Action::DevicesRead,
            Action::CommandsRead,
            Action::CommandTypesRead,
            Action::AlarmsRead,
            Action::AlarmRulesRead,
            Action::EventsRead,
        ];
        if !may_see.into_iter().any(|action| rights.may(action)) {
            door.also(Action::EventsRead)?;
        }
        let places = follow.places(log, &logs, last).await?;
        let [tenant, caller] = Holder::of(&door.caller);
        let seat = app.shares.streams.take(vec![Holder::Node, tenant, caller]);
        let seat = seat.map_err(|full| Error::too_many_streams(&full))?;
        let live = app.live.clone();
        let follower = live.follow(log, places.clone(), selection);
        Ok(Self {
            live,
            log: log.clone(),
            follower,
            read: None,
            rights,
            labels,
            sampling: follow.max_rate.map(|rate| Sampling::new(rate.apart())),
            told: places,
            told_at: Instant::now(),
            backoff: Backoff::new(Duration::from_millis(200), Duration::from_secs(5)),
            is_over: false,
            _seat: seat,
        })
    }

    /// The log of the caller's tenant.
    pub(super) fn log(&self) -> &TenantLog {
        &self.log
    }

    /// How far the client was told.
    #[must_use]
    pub fn told(&self) -> &Places {
        &self.told
    }

    /// Who follows, as of the last time that the database was asked.
    #[must_use]
    pub fn caller(&self) -> &Principal {
        self.rights.caller()
    }

    /// What the client is told next: at least one message, or none after the end. A call that is dropped loses nothing.
    pub async fn next(&mut self) -> Vec<Message> {
        let stop = self.live.stop().clone();
        while !self.is_over {
            let messages = match stop.run_until_cancelled(self.step()).await {
                Some(messages) => messages,
                None => vec![self.end(Ending::Shutdown)],
            };
            if !messages.is_empty() {
                self.told_at = Instant::now();
                self.told = self.at().clone();
                return messages;
            }
        }
        vec![]
    }

    async fn step(&mut self) -> Vec<Message> {
        match self.rights.renew() {
            Ok(()) => {}
            Err(Lost::Credential) => return vec![self.end(Ending::Unauthenticated)],
            Err(Lost::Forbidden) => return vec![self.end(Ending::Forbidden)],
        }
        if self.read.is_none() {
            let after = self.follower.places().clone();
            let rest = HEARTBEAT.saturating_sub(self.told_at.elapsed());
            match self.follower.next(rest.min(watches::EVERY)).await {
                Ok(Step::Events(entries)) => self.read = Some(Read { after, entries }),
                Ok(Step::Removed(ranges)) => {
                    self.backoff.reset();
                    let ranges = ArchivedRange::shown_to(self.rights.caller(), ranges);
                    return vec![Message::Resync(ranges, self.at().clone())];
                }
                Ok(Step::Nothing) => return self.still(),
                Err(error) => return self.failed(error).await,
            }
        }
        let Some(read) = &mut self.read else { return vec![] };
        // What was read stays there meanwhile, in case that this call is dropped or fails.
        let shown = self.rights.shown(&self.log, self.labels.as_ref(), &read.entries).await;
        match shown {
            Ok(shown) => self.events(shown),
            Err(error) => self.failed(error).await,
        }
    }

    fn events(&mut self, mut entries: Vec<Arc<Entry>>) -> Vec<Message> {
        let Some(Read { after: mut at, .. }) = self.read.take() else { return vec![] };
        self.backoff.reset();
        if let Some(sampling) = &mut self.sampling {
            entries.retain(|entry| sampling.takes(entry));
        }
        let mut messages: Vec<_> = entries
            .into_iter()
            .map(|entry| {
                at.advance(entry.event.log_id, entry.event.position);
                Message::Event(entry, at.clone())
            })
            .collect();
        if !messages.is_empty() {
            messages.extend(self.left_out());
        }
        messages
    }

    /// How far all that is followed was told, or is about to be.
    fn at(&self) -> &Places {
        self.read.as_ref().map_or(self.follower.places(), |read| &read.after)
    }

    fn still(&mut self) -> Vec<Message> {
        if self.told_at.elapsed() < HEARTBEAT {
            return vec![];
        }
        let left_out = self.left_out();
        vec![left_out.unwrap_or_else(|| Message::Still(self.at().clone()))]
    }

    fn left_out(&mut self) -> Option<Message> {
        let sampling = self.sampling.as_mut()?;
        let count = std::mem::take(&mut sampling.left_out);
        (count > 0).then(|| Message::LeftOut(count, self.at().clone()))
    }

    async fn failed(&mut self, error: fleetlog_event_log::Error) -> Vec<Message> {
        if error.is_transient() {
            tracing::debug!(%error, "a stream waits for the database");
            sleep(self.backoff.next_wait()).await;
            return self.still();
        }
        tracing::warn!(%error, "a stream ends because the log could not be read");
        vec![self.end(Ending::Internal)]
    }

    fn end(&mut self, why: Ending) -> Message {
        self.is_over = true;
        Message::End(why, self.told.clone())
    }
}

/// Leaves out readings of a device that come too soon after another one of it, by the times at which they were recorded: what
/// is left out is the same whenever a stream reads them.
struct Sampling {
    apart: TimeDelta,
    last: HashMap<Uid, DateTime<Utc>>,
    left_out: u64,
}

impl Sampling {
    fn new(apart: TimeDelta) -> Self {
        Self { apart, last: HashMap::new(), left_out: 0 }
    }

    fn takes(&mut self, entry: &Entry) -> bool {
        let About::Reading(uid) = &entry.about else { return true };
        let at = entry.event.recorded_at;
        if self.last.get(uid).is_some_and(|last| at - *last < self.apart) {
            self.left_out += 1;
            return false;
        }
        if self.last.len() >= SAMPLED {
            self.last.retain(|_, last| at - *last < self.apart);
        }
        if self.last.len() < SAMPLED {
            self.last.insert(uid.clone(), at);
        }
        true
    }
}
