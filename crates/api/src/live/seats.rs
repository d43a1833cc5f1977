//! How many streams there may be, and how many connections they may hold: on this node, of one tenant, of one caller, from one
//! address. Each has a share, so nobody's streams keep others out; and a part of the connections is never a stream's, so a node
//! full of streams still answers requests.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use fleetlog_access::{Principal, Who};
use fleetlog_aggregates::identity::Tenant;
use parking_lot::Mutex;
use uuid::Uuid;

/// The most streams on a node.
pub const MOST: usize = 10_000;
/// The most streams of one tenant on a node.
pub const OF_A_TENANT: usize = 5000;
/// The most streams of one user or key on a node.
pub const OF_A_CALLER: usize = 1000;

/// The parts of all connections that streams hold at most: of this many connections, so many.
const HELD: (usize, usize) = (4, 3);
/// One in so many connections may be held by the streams of one tenant.
const HELD_BY_A_TENANT: usize = 2;
/// One in so many connections may be held by streams from one address.
const HELD_BY_AN_ADDRESS: usize = 4;
/// One in so many connections may be held by the streams of one user or key.
const HELD_BY_A_CALLER: usize = 8;
/// One in so many connections may be a WebSocket whose client has not said yet who it is.
const HELD_BY_STRANGERS: usize = 8;

/// Whose seats are counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Holder {
    /// All of the node.
    Node,
    /// A tenant.
    Tenant(Tenant),
    /// A user, over all sessions, or an API key.
    Caller(Uuid),
    /// An address; of IPv6, its /64.
    Address(IpAddr),
    /// All who have not said yet who they are.
    Strangers,
}

impl Holder {
    /// A caller and its tenant.
    #[must_use]
    pub fn of(caller: &Principal) -> [Self; 2] {
        let id = match caller.who {
            Who::User { user_id, .. } => user_id,
            Who::Key { key_id, .. } => key_id,
        };
        [Self::Tenant(caller.tenant.clone()), Self::Caller(id)]
    }
}

/// What takes a seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A stream.
    Stream,
    /// A connection that one stream holds, or several.
    Connection,
}

/// The most seats of each kind of holder.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    node: usize,
    tenant: usize,
    caller: usize,
    address: usize,
    strangers: usize,
}

impl Bounds {
    fn of(&self, holder: &Holder) -> usize {
        match holder {
            Holder::Node => self.node,
            Holder::Tenant(_) => self.tenant,
            Holder::Caller(_) => self.caller,
            Holder::Address(_) => self.address,
            Holder::Strangers => self.strangers,
        }
    }
}

/// The seats that are taken. Cheap to clone.
#[derive(Clone)]
pub struct Seats(Arc<Inner>);

struct Inner {
    kind: Kind,
    bounds: Bounds,
    taken: Mutex<HashMap<Holder, usize>>,
}

/// A seat, which several holders share. Dropping it makes room for another.
pub struct Seat {
    seats: Seats,
    holders: Vec<Holder>,
}

/// A holder has as many seats as it may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Full {
    /// Whose seats are used up.
    pub holder: Holder,
    kind: Kind,
    most: usize,
}

impl Seats {
    /// Seats for streams.
    #[must_use]
    pub fn of_streams() -> Self {
        let [address, strangers] = [MOST; 2];
        Self::new(
            Kind::Stream,
            Bounds { node: MOST, tenant: OF_A_TENANT, caller: OF_A_CALLER, address, strangers },
        )
    }

    /// Seats for connections that streams hold, of so many connections.
    #[must_use]
    pub fn of_connections(connections: usize) -> Self {
        let one_in = |part: usize| (connections / part).max(1);
        let bounds = Bounds {
            node: (connections * HELD.1 / HELD.0).max(1),
            tenant: one_in(HELD_BY_A_TENANT),
            caller: one_in(HELD_BY_A_CALLER),
            address: one_in(HELD_BY_AN_ADDRESS),
            strangers: one_in(HELD_BY_STRANGERS),
        };
        Self::new(Kind::Connection, bounds)
    }

    fn new(kind: Kind, bounds: Bounds) -> Self {
        Self(Arc::new(Inner { kind, bounds, taken: Mutex::default() }))
    }

    /// A seat that these holders share.
    ///
    /// # Errors
    ///
    /// [`Full`], if one of them has as many as it may have.
    pub fn take(&self, holders: Vec<Holder>) -> Result<Seat, Full> {
        let Inner { kind, bounds, taken } = &*self.0;
        let mut taken = taken.lock();
        let is_full = |holder: &&Holder| taken.get(*holder).is_some_and(|own| *own >= bounds.of(holder));
        if let Some(holder) = holders.iter().find(is_full) {
            return Err(Full { holder: holder.clone(), kind: *kind, most: bounds.of(holder) });
        }
        for holder in &holders {
            *taken.entry(holder.clone()).or_default() += 1;
        }
        Ok(Seat { seats: self.clone(), holders })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.0.taken.lock();
        for holder in &self.holders {
            if let Some(own) = taken.get_mut(holder) {
                *own -= 1;
                if *own == 0 {
                    taken.remove(holder);
                }
            }
        }
    }
}

impl Full {
    /// Whose bound it is, as a label of a metric.
    #[must_use]
    pub fn whose(&self) -> &'static str {
        match self.holder {
            Holder::Node => "node",
            Holder::Tenant(_) => "tenant",
            Holder::Caller(_) => "caller",
            Holder::Address(_) => "address",
            Holder::Strangers => "strangers",
        }
    }
}

/// The bound, and what to do. It fits into the close of a WebSocket.
impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHARE: &str = "close one, or follow several things over /ws or /graphql/ws";
        let most = self.most;
        match (&self.holder, self.kind) {
            (Holder::Caller(_), Kind::Connection) => {
                write!(f, "a user or key has {most} connections with streams at most: {SHARE}")
            }
            (Holder::Address(_), Kind::Connection) => {
                write!(f, "an address has {most} connections with streams at most: {SHARE}")
            }
            (Holder::Tenant(_), Kind::Connection) => {
                write!(f, "a tenant has {most} connections with streams at most: {SHARE}")
            }
            (Holder::Node, Kind::Connection) => {
                write!(
                    f,
                    "this node has {most} connections with streams at most: try again soon, or another node"
                )
            }
            (Holder::Strangers, _) => {
                write!(f, "{most} clients at most have yet to say who they are: try again soon")
            }
            (Holder::Caller(_), Kind::Stream) => {
                write!(f, "a user or key has {most} streams at most: end one")
            }
            (Holder::Address(_), Kind::Stream) => write!(f, "an address has {most} streams at most: end one"),
            (Holder::Tenant(_), Kind::Stream) => write!(f, "a tenant has {most} streams at most: end one"),
            (Holder::Node, Kind::Stream) => {
                write!(f, "this node has {most} streams at most: try again soon, or another node")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(tenant: &str, id: u128, address: [u8; 4]) -> Vec<Holder> {
        let tenant = Holder::Tenant(tenant.parse().expect("a tenant"));
        vec![Holder::Node, tenant, Holder::Caller(Uuid::from_u128(id)), Holder::Address(address.into())]
    }

    /// Takes seats until there is no more.
    fn fill(seats: &Seats, holders: &[Holder]) -> (Vec<Seat>, Full) {
        let mut taken = vec![];
        loop {
            match seats.take(holders.to_vec()) {
                Ok(seat) => taken.push(seat),
                Err(full) => return (taken, full),
            }
        }
    }

    const A: [u8; 4] = [192, 0, 2, 1];
    const B: [u8; 4] = [198, 51, 100, 7];

    #[test]
    fn whoever_has_all_its_seats_takes_none_of_others() {
        let seats = Seats::of_connections(80);
        let (mut own, full) = fill(&seats, &caller("a", 1, A));
        assert_eq!((own.len(), full.whose(), full.most), (10, "caller", 10));
        let (neighbour, full) = fill(&seats, &caller("a", 2, A));
        assert_eq!((neighbour.len(), full.whose()), (10, "caller"));
        let (none, full) = fill(&seats, &caller("a", 3, A));
        assert_eq!((none.len(), full.whose(), full.most), (0, "address", 20));
        let (others, full) = fill(&seats, &caller("a", 3, B));
        assert_eq!((others.len(), full.whose()), (10, "caller"));
        let (last, full) = fill(&seats, &caller("a", 4, B));
        assert_eq!((last.len(), full.whose(), full.most), (10, "tenant", 40));
        let (strangers, full) = fill(&seats, &[Holder::Node, Holder::Strangers]);
        assert_eq!((strangers.len(), full.whose()), (10, "strangers"));
        let (foreign, _) = fill(&seats, &caller("b", 5, [203, 0, 113, 9]));
        assert_eq!(foreign.len(), 10);
        assert_eq!(seats.take(caller("b", 6, [203, 0, 113, 8])).err().map(|full| full.whose()), Some("node"));
        own.pop();
        assert!(seats.take(caller("b", 6, [203, 0, 113, 8])).is_ok(), "the one that was given back");
    }

    #[test]
    fn a_refused_seat_counts_for_nobody() {
        let seats = Seats::of_connections(8);
        let (own, _) = fill(&seats, &caller("a", 1, A));
        for _ in 0..100 {
            assert!(seats.take(caller("a", 1, A)).is_err());
        }
        drop(own);
        assert!(seats.0.taken.lock().is_empty());
    }

    #[test]
    fn every_refusal_fits_into_a_close_frame_and_says_the_bound() {
        let holders = || caller("a", 1, A).into_iter().chain([Holder::Strangers]);
        for kind in [Kind::Stream, Kind::Connection] {
            for holder in holders() {
                let text = Full { holder, kind, most: 12_345 }.to_string();
                assert!(text.len() <= 123 && text.contains("12345"), "{}: {text}", text.len());
            }
        }
    }
}
