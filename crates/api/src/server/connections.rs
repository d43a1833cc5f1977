//! The open connections. When there is no room for another, the one that has been silent for longest makes room: a
//! client that sends a request is served, however many others are connected and say nothing.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use fleetlog_access::quota::key::network;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::Limits;
use crate::instruments;

/// All connections of a listener.
pub(super) struct Connections(Arc<Inner>);

struct Inner {
    limits: Limits,
    started: Instant,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    connections: HashMap<u64, Arc<Connection>>,
    next: u64,
}

struct Connection {
    /// The address, or for IPv6 the /64. `None`: a trusted proxy.
    network: Option<IpAddr>,
    /// Since when it waits for a request, in milliseconds since the start. Without a meaning while one is under way.
    silent_since: AtomicU64,
    /// How many requests are under way. HTTP/1.1 has one at most.
    requests: AtomicUsize,
    /// Ends the connection.
    closed: CancellationToken,
}

impl Connection {
    fn silent_since(&self) -> Option<u64> {
        (self.requests.load(Ordering::Acquire) == 0).then(|| self.silent_since.load(Ordering::Relaxed))
    }
}

/// Which limit leaves no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// There are too many connections.
    All,
    /// There are too many from this address.
    Address,
}

impl Connections {
    pub(super) fn new(limits: Limits) -> Self {
        Self(Arc::new(Inner { limits, started: Instant::now(), open: Mutex::default() }))
    }

    /// A place for a connection from `address`: a free one, or that of a silent connection.
    pub(super) fn admit(&self, address: IpAddr) -> Result<Place, Full> {
        let inner = &self.0;
        let trusted = inner.limits.proxies.iter().any(|proxies| proxies.contains(address));
        let network = (!trusted).then(|| network(address));
        let mut open = inner.open.lock();
        let of_network = || open.connections.values().filter(|other| other.network == network).count();
        let full = if network.is_some() && of_network() >= inner.limits.per_address {
            Some(Full::Address)
        } else {
            (open.connections.len() >= inner.limits.connections).then_some(Full::All)
        };
        if let Some(full) = full
            && !open.close_silent(|other| full == Full::All || other.network == network)
        {
            instruments::CONNECTIONS_REFUSED.increment(1);
            return Err(full);
        }
        let connection = Arc::new(Connection {
            network,
            silent_since: AtomicU64::new(inner.now()),
            requests: AtomicUsize::new(0),
            closed: CancellationToken::new(),
        });
        let id = open.next;
        open.next += 1;
        open.connections.insert(id, Arc::clone(&connection));
        instruments::CONNECTIONS.with([]).set(open.connections.len() as f64);
        Ok(Place { id, connection, all: Arc::clone(inner) })
    }

    /// Closes the connection that has been silent for longest, if any is.
    pub(super) fn make_room(&self) {
        self.0.open.lock().close_silent(|_| true);
    }
}

impl Inner {
    fn now(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }
}

impl Open {
    /// Closes the connection that has been silent for longest among these. `false`: none is silent.
    fn close_silent(&mut self, among: impl Fn(&Connection) -> bool) -> bool {
        let silent = self.connections.iter().filter(|(_, connection)| among(connection));
        let silent = silent.filter_map(|(id, connection)| Some((connection.silent_since()?, *id)));
        let Some(connection) = silent.min().and_then(|(_, id)| self.connections.remove(&id)) else {
            return false;
        };
        connection.closed.cancel();
        instruments::CONNECTIONS_DISPLACED.increment(1);
        true
    }
}

/// A connection's place among all. Dropping it makes room.
pub(super) struct Place {
    id: u64,
    connection: Arc<Connection>,
    all: Arc<Inner>,
}

impl Place {
    /// Marks the connection as busy, until the value is dropped.
    pub(super) fn begin(&self) -> Busy {
        self.connection.requests.fetch_add(1, Ordering::Relaxed);
        Busy { connection: Arc::clone(&self.connection), all: Arc::clone(&self.all) }
    }

    /// The limits of its listener.
    pub(super) fn limits(&self) -> &Limits {
        &self.all.limits
    }

    /// Is cancelled when the connection must make room.
    pub(super) fn closed(&self) -> &CancellationToken {
        &self.connection.closed
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.all.open.lock();
        open.connections.remove(&self.id);
        instruments::CONNECTIONS.with([]).set(open.connections.len() as f64);
    }
}

/// A request that is under way.
pub(super) struct Busy {
    connection: Arc<Connection>,
    all: Arc<Inner>,
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.connection.silent_since.store(self.all.now(), Ordering::Relaxed);
        self.connection.requests.fetch_sub(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "192.0.2.1";
    const B: &str = "198.51.100.7";

    fn connections(connections: usize, per_address: usize, proxies: &[&str]) -> Connections {
        let proxies = proxies.iter().map(|proxies| proxies.parse().expect("proxies")).collect();
        Connections::new(Limits { per_address, ..Limits::new(connections, proxies) })
    }

    fn admit(connections: &Connections, address: &str) -> Result<Place, Full> {
        connections.admit(address.parse().expect("an address"))
    }

    #[test]
    fn the_connection_that_is_silent_for_longest_makes_room() {
        let all = connections(2, 2, &[]);
        let (first, second) = (admit(&all, A).expect("room"), admit(&all, A).expect("room"));
        let busy = first.begin();
        let third = admit(&all, B).expect("the second one's place");
        assert!(second.closed().is_cancelled() && !first.closed().is_cancelled());
        let _third = third.begin();
        assert_eq!(admit(&all, B).err(), Some(Full::All), "both are busy");
        drop(busy);
        assert!(admit(&all, B).is_ok() && first.closed().is_cancelled());
    }

    #[test]
    fn a_connection_with_one_of_two_requests_under_way_is_not_silent() {
        let all = connections(1, 9, &[]);
        let place = admit(&all, A).expect("room");
        let (first, second) = (place.begin(), place.begin());
        drop(first);
        assert_eq!(admit(&all, A).err(), Some(Full::All));
        drop(second);
        assert!(admit(&all, A).is_ok() && place.closed().is_cancelled());
    }

    #[test]
    fn an_address_with_all_its_connections_takes_no_place_of_others() {
        let all = connections(9, 2, &[]);
        let others = admit(&all, B).expect("room");
        let places = [admit(&all, A).expect("room"), admit(&all, A).expect("room")];
        let _busy = places.each_ref().map(Place::begin);
        assert_eq!(admit(&all, A).err(), Some(Full::Address));
        assert!(!others.closed().is_cancelled() && admit(&all, B).is_ok());
    }

    #[test]
    fn a_trusted_proxy_may_have_all_connections() {
        let all = connections(3, 1, &[A]);
        let places = [0; 3].map(|_| admit(&all, A).expect("room"));
        assert!(places.iter().all(|place| !place.closed().is_cancelled()));
    }

    #[test]
    fn a_dropped_place_is_free() {
        let all = connections(1, 1, &[]);
        let place = admit(&all, A).expect("room");
        let busy = place.begin();
        assert!(admit(&all, A).is_err());
        drop((place, busy));
        assert!(admit(&all, A).is_ok());
    }
}
