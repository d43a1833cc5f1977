//! Who is connected here, so that a client that comes back releases the connection it left, and a connection ends with
//! what it was made with.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use fleetlog_engine::devices::credentials::Credentials;
use fleetlog_engine::devices::credentials::watch::Ended;
use fleetlog_engine::devices::sessions::{Arrival, Client};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::auth::Access;
use super::line::{End, Line};

/// How often it is asked whose access has ended, while a device is connected whose access may end.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The connections that have been accepted.
#[derive(Default)]
pub(super) struct Roster {
    seats: Mutex<HashMap<Client, Seat>>,
    next: AtomicU64,
}

/// One connection's place.
struct Seat {
    number: u64,
    /// Since when, by Postgres's clock.
    since: DateTime<Utc>,
    access: Access,
    line: Arc<Line>,
}

impl Roster {
    /// A number of its own for each connection.
    pub(super) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes a place. Whoever had it is told to go.
    pub(super) fn enter(&self, arrival: Arrival, number: u64, access: Access, line: Arc<Line>) {
        let seat = Seat { number, since: arrival.at, access, line };
        if let Some(left_behind) = self.seats().insert(arrival.client, seat) {
            left_behind.line.end(End::TakenOver);
        }
    }

    /// A client has connected to another node: whoever has its place here from before is told to go.
    pub(super) fn arrived_elsewhere(&self, arrival: Arrival) {
        if let Some(seat) = self.seats().get(&arrival.client).filter(|seat| seat.since < arrival.at) {
            seat.line.end(End::TakenOver);
        }
    }

    /// Whether the client is connected.
    pub(super) fn has(&self, client: Client) -> bool {
        self.seats().contains_key(&client)
    }

    /// Gives a place up, if it is still this connection's.
    pub(super) fn leave(&self, client: Client, number: u64) {
        let mut seats = self.seats();
        if seats.get(&client).is_some_and(|seat| seat.number == number) {
            seats.remove(&client);
        }
    }

    /// Tells those to go whose access has ended, until `shutdown`. One query for all of them.
    pub(super) async fn keep(&self, credentials: &Credentials, shutdown: &CancellationToken) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The last look that has succeeded: while the database is away, what ends meanwhile is not missed.
        let mut since = None;
        while shutdown.run_until_cancelled(looks.tick()).await.is_some() {
            if !self.seats().values().any(|seat| seat.access.can_end()) {
                // The next look goes back far enough to meet what ended since the first of them logged in.
                since = None;
                continue;
            }
            match credentials.ended_since(since).await {
                Ok(ended) => {
                    since = Some(ended.as_of);
                    self.dismiss(&ended);
                }
                Err(error) => tracing::warn!(%error, "failed to ask whose access has ended"),
            }
        }
    }

    fn dismiss(&self, ended: &Ended) {
        if ended.credentials.is_empty() && ended.tenants.is_empty() {
            return;
        }
        for seat in self.seats().values().filter(|seat| seat.access.is_among(ended)) {
            seat.line.end(End::Dismissed);
        }
    }

    fn seats(&self) -> MutexGuard<'_, HashMap<Client, Seat>> {
        self.seats.lock()
    }
}
