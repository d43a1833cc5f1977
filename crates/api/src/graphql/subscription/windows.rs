//! Which minutes readings have changed, once the read model has them.
//!
//! Readings are gathered while the read model comes up with those gathered before. So a message speaks of many readings when
//! there are many, and a minute that they all fall into is sent once.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use fleetlog_aggregates::identity::Uid;
use fleetlog_aggregates::metrics;
use fleetlog_event_log::{Lane, LogId, Position, TenantLog};
use fleetlog_live::{Entry, Places};
use fleetlog_projections::WaitError;
use fleetlog_projections::read_model::ReadModel;
use fleetlog_projections::telemetry_windows::{
    self, DEVICE_METRICS, Error as WindowsError, MAX_WINDOWS, WindowsQuery,
};
use futures::future::{BoxFuture, OptionFuture};
use futures::{FutureExt, Stream, stream};
use tokio::time::{Instant, sleep, sleep_until};

use super::following::Following;
use super::messages::{ChangedWindow, WindowMessage};
use crate::app::App;
use crate::live::feed::{Ending, Message};
use crate::rest::Error;
use crate::rest::archived::ArchivedRange;
use crate::rest::logs::in_lane;
use crate::rest::telemetry::shown_since;

/// A subscription has a message at most this often.
const APART: Duration = Duration::from_secs(1);
/// How many changed minutes are gathered at most before they are sent, over all metrics.
const GATHERED: usize = 1_000;
/// How many minutes one query reads at most. With every metric that a device may have, it finds no more than a query may.
const SPAN: i64 = (MAX_WINDOWS / DEVICE_METRICS) as i64;
/// How long the read model is waited for at a time.
const WAIT: Duration = Duration::from_secs(2);
/// The pause after a failure of the database.
const PAUSE: Duration = Duration::from_secs(1);

/// What readings have changed.
struct Gathered {
    /// How far these readings go.
    at: Places,
    /// The metric and the start of each minute.
    changed: BTreeSet<(String, DateTime<Utc>)>,
    removed: Vec<ArchivedRange>,
}

impl Gathered {
    fn nothing(at: Places) -> Self {
        Self { at, changed: BTreeSet::new(), removed: vec![] }
    }

    fn add(&mut self, entry: &Entry, only: Option<&str>) {
        let at = entry.event.occurred_at;
        let start = at.timestamp() - at.timestamp().rem_euclid(60);
        let Some(start) = DateTime::from_timestamp(start, 0) else { return };
        let _ = metrics::for_each(&entry.event.payload.0, |metric, _| {
            if only.is_none_or(|only| only == metric) {
                self.changed.insert((metric.to_owned(), start));
            }
        });
    }
}

/// What came from the feed.
enum Came {
    /// Something that was gathered.
    Readings,
    /// Nothing, up to a position that is worth a message of its own.
    Nothing(Places),
    /// The end.
    End,
}

struct Due {
    gathered: Gathered,
    ready: BoxFuture<'static, Result<(), Ending>>,
}

struct Minutes<'c> {
    following: Following<'c>,
    app: App,
    log_id: LogId,
    uid: Uid,
    metric: Option<String>,
    begun: bool,
    /// What is sent next, once a message may be sent and the read model has these readings.
    due: Option<Due>,
    /// What came after that.
    gathered: Option<Gathered>,
    next_at: Instant,
}

/// The messages about the minutes of a device.
pub(super) fn follow(
    following: Following<'_>,
    app: App,
    uid: Uid,
    metric: Option<String>,
) -> Result<impl Stream<Item = WindowMessage>, Error> {
    let log_id = in_lane(following.log(), Lane::Telemetry)?;
    let minutes = Minutes {
        following,
        app,
        log_id,
        uid,
        metric,
        begun: false,
        due: None,
        gathered: None,
        next_at: Instant::now(),
    };
    Ok(stream::unfold(minutes, |mut minutes| async move { Some((minutes.next().await?, minutes)) }))
}

impl Minutes<'_> {
    async fn next(&mut self) -> Option<WindowMessage> {
        if !self.begun {
            self.begun = true;
            let at = self.following.told().clone();
            return Some(self.message(&at, vec![], vec![]));
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
            let has_room = |gathered: &Gathered| gathered.changed.len() < GATHERED;
            let gathers = self.gathered.as_ref().is_none_or(has_room);
            let ready = OptionFuture::from(self.due.as_mut().map(|due| &mut due.ready));
            tokio::select! {
                messages = self.following.next(), if gathers => {
                    match self.gather(messages) {
                        Came::Readings => {}
                        Came::Nothing(at) => return Some(self.message(&at, vec![], vec![])),
                        Came::End => return None,
                    }
                }
                Some(ready) = ready => {
                    let Some(Due { gathered, .. }) = self.due.take() else { continue };
                    match ready {
                        Ok(()) => return self.send(gathered).await,
                        Err(why) => {
                            self.following.ends(why);
                            return None;
                        }
                    }
                }
            }
        }
    }

    /// Takes in what the feed says.
    fn gather(&mut self, messages: Vec<Message>) -> Came {
        if messages.is_empty() {
            return Came::End;
        }
        for message in messages {
            let (entry, at, removed) = match message {
                Message::Event(entry, at) => (Some(entry), at, vec![]),
                Message::Resync(removed, at) => (None, at, removed),
                Message::Still(at) if self.due.is_none() && self.gathered.is_none() => {
                    return Came::Nothing(at);
                }
                // What is due has a position, and soon. There is no `maxRate` here.
                Message::Still(_) | Message::LeftOut(..) => continue,
                Message::End(why, _) => {
                    self.following.ends(why);
                    return Came::End;
                }
            };
            let gathered = self.gathered.get_or_insert_with(|| Gathered::nothing(at.clone()));
            gathered.at = at;
            gathered.removed.extend(removed);
            if let Some(entry) = entry {
                gathered.add(&entry, self.metric.as_deref());
            }
        }
        Came::Readings
    }

    /// Reads the minutes that readings have changed.
    async fn send(&mut self, due: Gathered) -> Option<WindowMessage> {
        let changed = loop {
            let _turn = self.app.shares.turn(self.following.log().tenant()).await;
            let of = (self.log_id, &self.uid, self.metric.as_deref());
            match read(self.following.log(), of, &due.changed).await {
                Ok(changed) => break changed,
                Err(WindowsError::Database(error)) if error.is_transient() => {
                    tracing::debug!(%error, "a subscription waits for the database");
                    let stop = self.app.live.stop().clone();
                    if stop.run_until_cancelled(sleep(PAUSE)).await.is_none() {
                        self.following.ends(Ending::Shutdown);
                        return None;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a subscription ends because windows could not be read");
                    self.following.ends(Ending::Internal);
                    return None;
                }
            }
        };
        self.next_at = Instant::now() + APART;
        Some(self.message(&due.at, changed, due.removed))
    }

    fn message(
        &self,
        at: &Places,
        changed: Vec<ChangedWindow>,
        removed: Vec<ArchivedRange>,
    ) -> WindowMessage {
        self.following.is_at(at);
        WindowMessage::new(at, changed, removed)
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
                tracing::warn!(%error, "a subscription ends because a projection cannot be waited for");
                return Err(Ending::Internal);
            }
        }
    }
}

/// Reads the minutes of a device's metrics, or of one, that have changed.
async fn read(
    log: &TenantLog,
    (log_id, uid, metric): (LogId, &Uid, Option<&str>),
    changed: &BTreeSet<(String, DateTime<Utc>)>,
) -> Result<Vec<ChangedWindow>, WindowsError> {
    log.begin_answer();
    let mut starts: BTreeSet<_> = changed.iter().map(|(_, start)| *start).collect();
    let mut found = vec![];
    while let Some(from) = starts.pop_first() {
        let to = from + TimeDelta::minutes(SPAN);
        starts = starts.split_off(&to);
        let query = WindowsQuery {
            metric: metric.map(str::to_owned),
            from,
            to,
            since: shown_since(log),
            step: TimeDelta::minutes(1),
            tz: Tz::UTC,
            points: None,
        };
        let uids = std::slice::from_ref(uid);
        for series in telemetry_windows::windows(log, log_id, uids, &query).await? {
            let rows = series.windows.into_iter().map(|row| (series.metric.clone(), row));
            let rows = rows.filter(|(metric, row)| changed.contains(&(metric.clone(), row.start)));
            found.extend(rows.map(|(metric, row)| ChangedWindow { metric, row }));
        }
    }
    found.sort_by(|one, other| (&one.metric, one.row.start).cmp(&(&other.metric, other.row.start)));
    Ok(found)
}
