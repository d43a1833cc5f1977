//! Connections that have become WebSockets. HTTP is done with such a connection once it has answered the request that changed the
//! protocol; here it keeps its place among all connections, and the server waits for it at its end.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connections::{Busy, Place};
use crate::app::App;
use crate::rest::Error;

/// The connections of a server that have become WebSockets. Cheap to clone.
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
    all: Upgrades,
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
        Upgraded { all: self.all.clone(), _busy: self.place.begin(), _place: Arc::clone(&self.place) }
    }
}

impl Upgraded {
    /// Serves the WebSocket until it ends, or is cut off because the server stops.
    pub(crate) async fn serve(self, serving: impl Future<Output = ()>) {
        let running = self.all.running.track_future(serving);
        self.all.cut.run_until_cancelled(running).await;
    }
}

impl FromRequestParts<App> for Upgrade {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Error> {
        parts.extensions.get().cloned().ok_or_else(|| Error::internal("a request without a connection"))
    }
}
