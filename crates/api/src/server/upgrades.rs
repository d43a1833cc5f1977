//! Connections that have each become a WebSocket. HTTP is done with such a connection once it has answered the request that changed the
//! protocol; here it keeps its place among all connections, and the server waits for it at its end.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::connections::{Busy, Place};
use super::socket::is_unread;
use crate::app::App;
use crate::instruments;
use crate::rest::Error;

/// The connections of a server that have each become a WebSocket. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Upgrades {
    running: TaskTracker,
    cut: CancellationToken,
}

/// What the request of a connection takes along if it makes a WebSocket of it.
#[derive(Clone)]
pub(crate) struct Upgrade {
    all: Upgrades,
    place: Arc<Place>,
}

/// A connection's place, from before the answer that makes a WebSocket of it.
pub(crate) struct Upgraded {
    cut: CancellationToken,
    _running: TaskTrackerToken,
    _busy: Busy,
    _place: Arc<Place>,
}

impl Upgrades {
    /// What the requests of the connection at a place take along.
    pub(super) fn of(&self, place: &Arc<Place>) -> Upgrade {
        Upgrade { all: self.clone(), place: Arc::clone(place) }
    }

    /// Returns once all have ended. None begins any more: the connections of requests have ended as well by then.
    pub(super) async fn ended(&self) {
        self.running.close();
        self.running.wait().await;
    }

    /// Ends all of them.
    pub(super) async fn cut_off(&self) {
        self.cut.cancel();
        self.ended().await;
    }
}

impl Upgrade {
    /// Keeps the connection's place, as one with a request under way: no other connection takes it.
    pub(crate) fn keep(&self) -> Upgraded {
        let Self { all, place } = self;
        Upgraded {
            cut: all.cut.clone(),
            _running: all.running.token(),
            _busy: place.begin(),
            _place: Arc::clone(place),
        }
    }
}

impl Upgraded {
    /// Serves the WebSocket until it ends, or is cut off because the server stops.
    pub(crate) async fn serve(self, serving: impl Future<Output = ()>) {
        self.cut.run_until_cancelled(serving).await;
    }
}

/// Counts a WebSocket that ended because its peer did not read.
pub(crate) fn note(error: &(dyn std::error::Error + 'static)) {
    if is_unread(error) {
        instruments::UNREAD.increment(1);
    }
}

impl FromRequestParts<App> for Upgrade {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Error> {
        parts.extensions.get().cloned().ok_or_else(|| Error::internal("a request without a connection"))
    }
}
