//! Which minutes of which metrics readings have changed, each as it is once the read model has counted them.
//!
//! Readings are gathered while the read model comes up with those gathered before. So a message speaks of many readings when
//! there are many, and a minute that they all fall into is sent once.
//!
//! - [`mod@read`]: reads the minutes that have changed

mod read;

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::DateTime;
use fleetlog_access::Principal;
use fleetlog_aggregates::identity::Uid;
use fleetlog_event_log::{Lane, LogId, Position, TenantLog};
use fleetlog_live::{Entry, Places};
use fleetlog_projections::WaitError;
use fleetlog_projections::read_model::ReadModel;
use fleetlog_projections::telemetry_windows::{self, Error as WindowsError, Window};
use futures::FutureExt;
use futures::future::{BoxFuture, OptionFuture};
use tokio::time::{Instant, sleep, sleep_until};

use self::read::{Starts, read};
use super::feed::{Ending, Feed, Message};
use crate::app::App;
use crate::rest::Error;
use crate::rest::archived::ArchivedRange;
use crate::rest::logs::in_lane;

/// A stream of minutes has a message at most this often.
const APART: Duration = Duration::from_secs(1);
/// How many changed minutes are gathered at most before they are sent, over all devices and metrics.
const GATHERED: usize = 1_000;
/// How long the read model is waited for at a time.
const WAIT: Duration = Duration::from_secs(2);
/// The pause after a failure of the database.
const PAUSE: Duration = Duration::from_secs(1);

/// A metric's statistics in a minute that has changed.
#[derive(Debug)]
pub struct Changed {
    /// The device.
    pub uid: Uid,
    /// The name of the metric.
    pub metric: String,
    /// What the minute is now.
    pub window: Window,
}

/// What readings have changed.
struct Gathered {
    /// How far these readings go.
    at: Places,
    starts: Starts,
    /// How many there are.
    count: usize,
    removed: Vec<ArchivedRange>,
}

impl Gathered {
    fn nothing(at: Places) -> Self {
        Self { at, starts: Starts::new(), count: 0, removed: vec![] }
    }

    fn add(&mut self, entry: &Entry, only: Option<&BTreeSet<String>>) {
        let (Some(uid), at) = (entry.device(), entry.event.occurred_at.timestamp()) else { return };
        let Some(start) = DateTime::from_timestamp(at - at.rem_euclid(60), 0) else { return };
        for metric in entry.metrics().filter(|metric| only.is_none_or(|only| only.contains(*metric))) {
            let is_new = self.starts.entry(uid.clone()).or_default().insert((metric.to_owned(), start));
            self.count += usize::from(is_new);
        }
    }
}

/// What came from the feed.
enum Came {
    /// Something that was gathered, or is passed over.
    Readings,
    /// Nothing, up to a position that is worth a message of its own.
    Nothing(Places),
    /// The end.
    End(Ending),
}

struct Due {
    gathered: Gathered,
    ready: BoxFuture<'static, Result<(), Ending>>,
}

/// A stream of minutes.
pub struct Minutes {
    feed: Feed,
    app: App,
    log: TenantLog,
    log_id: LogId,
    /// Only these metrics.
    metrics: Option<BTreeSet<String>>,
    /// How far the client was told.
    told: Places,
    /// What is sent next, once a message may be sent and the read model has these readings.
    due: Option<Due>,
    /// What came after that.
    gathered: Option<Gathered>,
    next_at: Instant,
    is_over: bool,
}

impl Minutes {
    /// The minutes of the readings of a feed.
    pub(super) fn of(feed: Feed, app: App, metrics: Option<BTreeSet<String>>) -> Result<Self, Error> {
        let log = feed.log().clone();
        let log_id = in_lane(&log, Lane::Telemetry)?;
        let told = feed.told().clone();
        let next_at = Instant::now();
        let (due, gathered) = (None, None);
        Ok(Self { feed, app, log, log_id, metrics, told, due, gathered, next_at, is_over: false })
    }

    /// How far the client was told.
    pub(super) fn told(&self) -> &Places {
        &self.told
    }

    /// Who follows.
    pub(super) fn caller(&self) -> &Principal {
        self.feed.caller()
    }

    /// What the client is told next: at least one message, or none after the end. A stream whose call is dropped is
    /// of no more use.
    pub(super) async fn next(&mut self) -> Vec<Message> {
        if self.is_over {
            return vec![];
        }
        loop {
            if self.due.is_none() {
                self.due = self.gathered.take().map(|gathered| {
                    let position = gathered.at.of(self.log_id).unwrap_or(0);
                    // It is the same one until it ends: readings that come meanwhile do not begin it again.
                    let ready = is_ready(self.app.clone(), self.log_id, position, self.next_at).boxed();
                    Due { gathered, ready }
                });
            }
            let gathers = self.gathered.as_ref().is_none_or(|gathered| gathered.count < GATHERED);
            let ready = OptionFuture::from(self.due.as_mut().map(|due| &mut due.ready));
            tokio::select! {
                messages = self.feed.next(), if gathers => {
                    match self.gather(messages) {
                        Came::Readings => {}
                        Came::Nothing(at) => {
                            self.told = at.clone();
                            return vec![Message::Still(at)];
                        }
                        Came::End(why) => return self.end(why),
                    }
                }
                Some(ready) = ready => {
                    let Some(Due { gathered, .. }) = self.due.take() else { continue };
                    match ready {
                        Ok(()) => return self.send(gathered).await,
                        Err(why) => return self.end(why),
                    }
                }
            }
        }
    }

    /// Takes in what the feed says.
    fn gather(&mut self, messages: Vec<Message>) -> Came {
        for message in messages {
            let (entry, at, removed) = match message {
                Message::Event(entry, at) => (Some(entry), at, vec![]),
                Message::Resync(removed, at) => (None, at, removed),
                Message::Still(at) if self.due.is_none() && self.gathered.is_none() => {
                    return Came::Nothing(at);
                }
                // What is due has a position, and soon. There is no `max_rate` here.
                Message::Still(_) | Message::LeftOut(..) | Message::Windows(..) => continue,
                Message::End(why, _) => return Came::End(why),
            };
            let gathered = self.gathered.get_or_insert_with(|| Gathered::nothing(at.clone()));
            gathered.at = at;
            gathered.removed.extend(removed);
            if let Some(entry) = entry {
                gathered.add(&entry, self.metrics.as_ref());
            }
        }
        Came::Readings
    }

    /// Reads the minutes that readings have changed.
    async fn send(&mut self, due: Gathered) -> Vec<Message> {
        let changed = loop {
            let _turn = self.app.shares.turn(self.log.tenant()).await;
            match read(&self.log, self.log_id, self.metrics.as_ref(), &due.starts).await {
                Ok(changed) => break changed,
                Err(WindowsError::Database(error)) if error.is_transient() => {
                    tracing::debug!(%error, "a stream waits for the database");
                    let stop = self.app.live.stop().clone();
                    if stop.run_until_cancelled(sleep(PAUSE)).await.is_none() {
                        return self.end(Ending::Shutdown);
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a stream ends because windows could not be read");
                    return self.end(Ending::Internal);
                }
            }
        };
        self.next_at = Instant::now() + APART;
        let mut messages = vec![];
        if !due.removed.is_empty() {
            // With the position from before: whoever is cut off after it is told of what was removed again.
            messages.push(Message::Resync(due.removed, self.told.clone()));
        }
        self.told = due.at.clone();
        messages.push(Message::Windows(changed, due.at));
        messages
    }

    fn end(&mut self, why: Ending) -> Vec<Message> {
        self.is_over = true;
        vec![Message::End(why, self.told.clone())]
    }
}

/// Waits until it is time for a message, and the read model has the readings up to a position.
async fn is_ready(app: App, log_id: LogId, position: Position, time: Instant) -> Result<(), Ending> {
    sleep_until(time).await;
    loop {
        match app.projections.wait_for(telemetry_windows::Model::NAME, log_id, position, WAIT).await {
            // A projection that does not run stands still, so waiting for it is useless.
            Ok(()) | Err(WaitError::UnknownProjection) => return Ok(()),
            Err(WaitError::TimedOut) => {}
            Err(WaitError::Database(error)) if error.is_transient() => sleep(PAUSE).await,
            Err(WaitError::Database(error)) => {
                tracing::warn!(%error, "a stream ends because a projection cannot be waited for");
                return Err(Ending::Internal);
            }
        }
    }
}
