//! Which clients have just connected to which node. A client that goes over to another node may have left a connection behind
//! that nobody will ever end: without its network it could not say so. The node that has it hears of the new one here.
//!
//! A notice that is lost leaves the old connection to its keep-alive.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use chrono::{DateTime, Utc};
use fleetlog_event_log::notices::LONGEST;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::broadcast::error::RecvError;
use uuid::Uuid;

use super::{Client, Sessions};

/// What notices of arrivals begin with.
const KIND: &str = "arrived";
/// The least time between two notices. One notice has all clients that have come in that time.
const TELL_EVERY: Duration = Duration::from_millis(100);
/// How many clients one notice has: of each, 43 bytes of its name, 16 of the time, and what is between them.
const IN_A_NOTICE: usize = (LONGEST - 50) / 64;
/// How many clients are kept to be told of. While the database is away nobody is told anyway.
const WAITING: usize = 10_000;

/// The clients that have come and that the other nodes have not been told of.
#[derive(Default)]
pub(super) struct Arrivals {
    waiting: Mutex<Vec<Arrival>>,
    some: Notify,
}

/// A client has connected to a node, at this time by Postgres's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// The client.
    pub client: Client,
    /// When it came.
    pub at: DateTime<Utc>,
}

impl Sessions {
    /// A client has connected to this node. The others are told.
    #[must_use]
    pub fn arrived(&self, client: Client) -> Arrival {
        let arrival = Arrival { client, at: self.0.log.now() };
        let mut waiting = self.0.arrivals.waiting.lock();
        if waiting.len() < WAITING {
            waiting.push(arrival);
        }
        drop(waiting);
        self.0.arrivals.some.notify_one();
        arrival
    }

    /// Tells the other nodes of the clients that connect to this one. Never returns.
    pub async fn tell_arrivals(&self) {
        loop {
            self.0.arrivals.some.notified().await;
            tokio::time::sleep(TELL_EVERY).await;
            let arrivals = std::mem::take(&mut *self.0.arrivals.waiting.lock());
            for some in arrivals.chunks(IN_A_NOTICE) {
                if let Err(error) = self.0.log.tell_nodes(&written(self.0.node.id(), some)).await {
                    tracing::debug!(%error, "failed to tell the other nodes who has connected");
                }
            }
        }
    }

    /// Calls this with each client that connects to another node. Never returns.
    pub async fn hear_arrivals(&self, arrived: impl Fn(Arrival)) {
        let mut notices = self.0.log.hear_nodes();
        loop {
            match notices.recv().await {
                Ok(notice) => read(self.0.node.id(), &notice).for_each(&arrived),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return std::future::pending().await,
            }
        }
    }
}

/// A notice of some arrivals at a node.
fn written(node: Uuid, arrivals: &[Arrival]) -> String {
    let arrived = arrivals.iter().map(|Arrival { client, at }| {
        format!("{}@{:x}", BASE64_STANDARD_NO_PAD.encode(client.0), at.timestamp_micros())
    });
    [KIND.to_owned(), node.to_string()].into_iter().chain(arrived).collect::<Vec<_>>().join(" ")
}

/// The arrivals at other nodes than this one, in a notice. What another version of this program may have written is skipped.
fn read(node: Uuid, notice: &str) -> impl Iterator<Item = Arrival> {
    let mut words = notice.split(' ');
    let is_ours = words.next() == Some(KIND) && words.next().is_some_and(|of| of != node.to_string());
    words.filter(move |_| is_ours).filter_map(|word| {
        let (client, at) = word.split_once('@')?;
        let client = BASE64_STANDARD_NO_PAD.decode(client).ok()?.try_into().ok()?;
        let at = DateTime::from_timestamp_micros(i64::from_str_radix(at, 16).ok()?)?;
        Some(Arrival { client: Client(client), at })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_tells_every_node_but_its_own_and_is_never_too_long() {
        let at = DateTime::from_timestamp_micros(i64::from(u32::MAX) * 1_000_000).expect("a time");
        let arrivals: Vec<_> = (0..IN_A_NOTICE)
            .map(|nth| Arrival { client: Client::new(Some("t0/dev-01"), &nth.to_string()), at })
            .collect();
        let (here, there) = (Uuid::now_v7(), Uuid::now_v7());
        let notice = written(here, &arrivals);
        assert!(notice.len() <= LONGEST, "{}", notice.len());
        assert_eq!(read(there, &notice).collect::<Vec<_>>(), arrivals);
        assert_eq!(read(here, &notice).count(), 0);
        for other in ["", "arrived", "moved x y@1", "arrived x y z@ @1 YQ@1 @"] {
            assert_eq!(read(here, other).count(), 0, "{other}");
        }
    }
}
