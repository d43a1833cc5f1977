//! The messages about the minutes that readings change.

use async_graphql::Object;
use fleetlog_live::Places;
use futures::{Stream, stream};

use super::following::Following;
use super::messages::WindowMessage;
use crate::graphql::windows::Window;
use crate::live::feed::Message;
use crate::live::minutes::Changed;
use crate::rest::archived::ArchivedRange;

/// A metric's statistics in a minute that has changed.
pub(super) struct ChangedWindow(Changed);

#[Object]
impl ChangedWindow {
    /// The name of the metric, such as `temperature`.
    async fn metric(&self) -> &str {
        &self.0.metric
    }

    /// The metric's statistics in the minute.
    async fn window(&self) -> Window<'_> {
        Window(&self.0.window)
    }
}

/// The messages of a stream of minutes.
pub(super) fn follow(following: Following<'_>) -> impl Stream<Item = WindowMessage> {
    stream::unfold((following, false), |(mut following, has_begun)| async move {
        let message = if has_begun { next(&mut following).await? } else { begin(&following) };
        Some((message, (following, true)))
    })
}

fn begin(following: &Following<'_>) -> WindowMessage {
    tell(following, &following.told().clone(), vec![], vec![])
}

/// What comes next; `None` after the end. What the stream says at a time is one message.
async fn next(following: &mut Following<'_>) -> Option<WindowMessage> {
    let (mut at, mut changed, mut removed) = (None, vec![], vec![]);
    for message in following.next().await {
        let now = match message {
            Message::Windows(windows, now) => {
                changed.extend(windows.into_iter().map(ChangedWindow));
                now
            }
            Message::Resync(ranges, now) => {
                removed.extend(ranges);
                now
            }
            Message::End(why, _) => {
                following.ends(why);
                return None;
            }
            Message::Event(_, now) | Message::LeftOut(_, now) | Message::Still(now) => now,
        };
        at = Some(now);
    }
    at.map(|at| tell(following, &at, changed, removed))
}

fn tell(
    following: &Following<'_>,
    at: &Places,
    changed: Vec<ChangedWindow>,
    removed: Vec<ArchivedRange>,
) -> WindowMessage {
    following.is_at(at);
    WindowMessage::new(at, changed, removed)
}
