//! A live stream as a stream of messages. The next message is made when the last one is sent: nobody waits in memory for a client that
//! is slow.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_graphql::Context;
use fleetlog_access::callers::Credential;
use fleetlog_event_log::backoff::Backoff;
use fleetlog_event_log::{self as event_log, TenantLog};
use fleetlog_live::{Entry, Places};
use fleetlog_projections::devices;
use futures::{Stream, stream};
use parking_lot::Mutex;
use tokio::time::sleep;

use crate::graphql::asker::Asker;
use crate::live::feed::{Ending, Message};
use crate::live::follow::Follow;
use crate::live::stream::Stream as Live;
use crate::rest::archived::ArchivedRange;

/// What the transport of a subscription knows of its caller, and learns of its course.
pub(in crate::graphql) struct Opening {
    pub(in crate::graphql) credential: Credential,
    /// The `Last-Event-ID` of a client that comes back, which counts before `after`.
    pub(in crate::graphql) last: Option<String>,
    pub(in crate::graphql) course: Arc<Course>,
}

/// How far a subscription has come, and why it has ended.
#[derive(Default)]
pub(in crate::graphql) struct Course(Mutex<(Option<Places>, Option<Ending>)>);

impl Course {
    /// The position to go on from, after the last message.
    pub(in crate::graphql) fn at(&self) -> Option<String> {
        self.0.lock().0.as_ref().map(ToString::to_string)
    }

    /// Why the subscription has ended; `None` if it goes on, or has not begun.
    pub(in crate::graphql) fn ending(&self) -> Option<Ending> {
        self.0.lock().1
    }

    fn is_at(&self, at: &Places) {
        self.0.lock().0 = Some(at.clone());
    }

    fn ends(&self, why: Ending) {
        self.0.lock().1 = Some(why);
    }
}

/// What every message tells, besides what it is about.
pub(super) struct Told {
    pub(super) at: Places,
    pub(super) removed: Option<Vec<ArchivedRange>>,
    pub(super) left_out: Option<u64>,
}

impl Told {
    /// A position, and nothing else.
    pub(super) fn at(at: Places) -> Self {
        Self { at, removed: None, left_out: None }
    }
}

/// A message of a subscription.
pub(super) trait Tells: Send {
    /// A message that tells of the subscription itself.
    fn telling(told: Told) -> Self;
}

/// What a subscription says about events.
pub(super) trait Kind: Send + Sync {
    /// Its messages.
    type Message: Tells;

    /// A message about each of these events, in order.
    fn of_events(
        &self,
        events: &[(Arc<Entry>, Places)],
    ) -> impl Future<Output = Result<Vec<Self::Message>, Failed>> + Send;
}

/// Why messages about events could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    #[error(transparent)]
    Log(#[from] event_log::Error),
    #[error("{0}")]
    Other(String),
}

impl From<devices::Error> for Failed {
    fn from(error: devices::Error) -> Self {
        match error {
            devices::Error::Database(error) => error.into(),
            other => Self::Other(other.to_string()),
        }
    }
}

/// A live stream, and those who want to know of its course.
pub(super) struct Following<'c> {
    live: Live,
    asker: &'c Asker,
    course: Arc<Course>,
}

impl<'c> Following<'c> {
    /// Opens a live stream for the caller of a subscription.
    pub(super) async fn open(context: &Context<'c>, follow: &Follow) -> async_graphql::Result<Self> {
        let (asker, opening) = (context.data::<Asker>()?, context.data::<Opening>()?);
        let live = Live::open(&asker.door, opening.credential.clone(), follow, opening.last.as_deref()).await;
        let live = live.map_err(|error| error.renamed("device", "device_uid"))?;
        Ok(Self { live, asker, course: Arc::clone(&opening.course) })
    }

    /// The log of the caller's tenant.
    pub(super) fn log(&self) -> &'c TenantLog {
        self.asker.log()
    }

    /// Where the subscription begins, or has come to.
    pub(super) fn told(&self) -> &Places {
        self.live.told()
    }

    /// What comes next: at least one message, or none after the end. A call that is dropped loses nothing.
    pub(super) async fn next(&mut self) -> Vec<Message> {
        let messages = self.live.next().await;
        self.asker.is_now(self.live.caller());
        messages
    }

    /// A message with this position is sent.
    pub(super) fn is_at(&self, at: &Places) {
        self.course.is_at(at);
    }

    /// The subscription ends.
    pub(super) fn ends(&self, why: Ending) {
        self.course.ends(why);
    }

    /// The messages about events.
    pub(super) fn messages<K: Kind + 'c>(self, kind: K) -> impl Stream<Item = K::Message> + use<'c, K> {
        let begin = K::Message::telling(Told::at(self.told().clone()));
        let ready = VecDeque::from([(self.told().clone(), begin)]);
        stream::unfold(Made { following: self, kind, ready }, |mut made| async move {
            let (at, message) = made.next().await?;
            made.following.is_at(&at);
            // The parts of each message that are read for it.
            made.following.log().begin_answer();
            Some((message, made))
        })
    }
}

/// The messages about events, as they are made.
struct Made<'c, K: Kind> {
    following: Following<'c>,
    kind: K,
    ready: VecDeque<(Places, K::Message)>,
}

impl<K: Kind> Made<'_, K> {
    async fn next(&mut self) -> Option<(Places, K::Message)> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Some(message);
            }
            let messages = self.following.next().await;
            if messages.is_empty() {
                return None;
            }
            let mut events = vec![];
            let mut others = vec![];
            for message in messages {
                match message {
                    // Within what a feed says at a time, events come first.
                    Message::Event(entry, at) => events.push((entry, at)),
                    Message::End(why, _) => {
                        self.following.ends(why);
                        return None;
                    }
                    Message::Resync(removed, at) => {
                        others.push(Told { removed: Some(removed), ..Told::at(at) });
                    }
                    Message::LeftOut(count, at) => {
                        others.push(Told { left_out: Some(count), ..Told::at(at) });
                    }
                    Message::Windows(_, at) | Message::Still(at) => others.push(Told::at(at)),
                }
            }
            let made = self.of_events(&events).await?;
            self.ready.extend(events.into_iter().map(|(_, at)| at).zip(made));
            let others = others.into_iter().map(|told| (told.at.clone(), K::Message::telling(told)));
            self.ready.extend(others);
        }
    }

    /// The messages about events; `None` if they cannot be made, or are not wanted any more.
    async fn of_events(&mut self, events: &[(Arc<Entry>, Places)]) -> Option<Vec<K::Message>> {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
        loop {
            self.following.log().begin_answer();
            let failed = match self.kind.of_events(events).await {
                Ok(messages) => return Some(messages),
                Err(failed) => failed,
            };
            let why = match failed {
                Failed::Log(error) if error.is_transient() => {
                    tracing::debug!(%error, "a subscription waits for the database");
                    let stop = self.following.asker.door.app.live.stop().clone();
                    if stop.run_until_cancelled(sleep(backoff.next_wait())).await.is_some() {
                        continue;
                    }
                    Ending::Shutdown
                }
                failed => {
                    tracing::warn!(error = %failed, "a subscription ends because its messages cannot be made");
                    Ending::Internal
                }
            };
            self.following.ends(why);
            return None;
        }
    }
}
