//! What happens after a connection to a broker is lost: when to connect again, and what to say of it.

use std::time::Duration;

use fleetlog_event_log::backoff::Backoff;
use rumqttc::v5::mqttbytes::v5::SubscribeReasonCode;
use tokio::time::Instant;

use crate::client::Error;

/// The first pause, and the longest one.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// A connection that lasted this long was no failure. One that ends sooner, again and again, is met with longer and longer
/// pauses: two nodes with one client id would take the session from each other several times a second.
const LASTING: Duration = Duration::from_mins(1);

/// From this many connections on that the broker ends soon and without a word, somebody else may be the cause. Mosquitto says
/// nothing to a client whose session another one has taken over.
const SUSPICIOUS: u32 = 3;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    #[error(transparent)]
    Connection(#[from] Error),
    #[error("the broker refused the subscription: {0:?}")]
    Refused(Vec<SubscribeReasonCode>),
    #[error("the broker sent a message of QoS 2, which was not subscribed")]
    QoS2,
}

/// The connections that were lost one after the other.
pub(crate) struct Losses {
    client_id: String,
    backoff: Backoff,
    connected: Option<Instant>,
    /// How many connections in a row the broker has ended soon and without a word.
    ended: u32,
    /// What was told last.
    told: String,
}

/// A connection that was lost.
pub(crate) struct Loss {
    /// Why, and what to do about it where that is known.
    pub(crate) error: String,
    /// How long to wait before the next connection.
    pub(crate) wait: Duration,
}

impl Losses {
    pub(crate) fn new(client_id: &str) -> Self {
        let backoff = Backoff::new(PAUSES.0, PAUSES.1);
        Self { client_id: client_id.to_owned(), backoff, connected: None, ended: 0, told: String::new() }
    }

    /// Notes that there is a connection.
    pub(crate) fn connected(&mut self) {
        self.connected = Some(Instant::now());
    }

    /// Tells of a loss, unless the same was told before.
    pub(crate) fn lost(&mut self, error: &Lost) -> Loss {
        let lasted = self.connected.take().map(|connected| connected.elapsed());
        let loss = self.after(lasted, error);
        if self.told == loss.error {
            tracing::debug!(client_id = self.client_id, error = loss.error, "lost the broker again");
        } else {
            tracing::warn!(
                client_id = self.client_id,
                error = loss.error,
                "lost the broker; connecting again"
            );
            self.told.clone_from(&loss.error);
        }
        loss
    }

    /// What to make of the loss of a connection that lasted this long. `None`: there was none.
    fn after(&mut self, lasted: Option<Duration>, error: &Lost) -> Loss {
        if lasted.is_some_and(|lasted| lasted >= LASTING) {
            self.backoff.reset();
            self.told.clear();
            self.ended = 0;
        }
        match error {
            Lost::Connection(Error::Closed | Error::Io(_)) if lasted.is_some() => self.ended += 1,
            _ => self.ended = 0,
        }
        let mut error = error.to_string();
        if self.ended >= SUSPICIOUS {
            error += "; it does so again and again: another client may have this client id. Name another one (--mqtt-client-id), or start all nodes with --mqtt-takeover";
        }
        Loss { error, wait: self.backoff.next_wait() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_that_end_soon_are_met_with_longer_and_longer_pauses() {
        let (mut losses, closed) = (Losses::new("node"), Lost::Connection(Error::Closed));
        for _ in 0..10 {
            losses.after(Some(LASTING / 2), &closed);
        }
        assert!(losses.after(Some(LASTING / 2), &closed).wait >= PAUSES.1 / 2);
        assert!(losses.after(Some(LASTING), &closed).wait <= PAUSES.0, "one that lasted was no failure");
    }

    #[test]
    fn another_client_is_suspected_once_the_broker_ends_connections_again_and_again() {
        let (mut losses, closed) = (Losses::new("node"), Lost::Connection(Error::Closed));
        let mut suspected = |lasted, error| losses.after(lasted, error).error.contains("--mqtt-client-id");
        let soon = Some(Duration::from_secs(1));
        assert_eq!([(); 4].map(|()| suspected(soon, &closed)), [false, false, true, true]);
        assert!(!suspected(soon, &Lost::QoS2) && !suspected(soon, &closed), "another cause");
        assert_eq!([(); 4].map(|()| suspected(None, &closed)), [false; 4], "never connected");
        suspected(soon, &closed);
        suspected(soon, &closed);
        assert!(!suspected(Some(LASTING), &closed), "one that lasted");
    }
}
