//! What clients may make this process hold: the one place for the endpoint's limits, but for those that the protocol has
//! a word for, which are in [`protocol`](crate::protocol).
//!
//! A packet that has begun to arrive is held until it is whole. A small one is the connection's own affair; a larger one
//! takes a share of a [`Budget`] first, of all its bytes: one budget for clients that have not logged in, one for those
//! that have, and one for TLS handshakes. Of each, the clients of one address may have a part, and the devices of one tenant.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use fleetlog_aggregates::identity::Tenant;
use parking_lot::Mutex;

/// The largest first packet, in bytes: a client id of 65,535 bytes, and as much again twice.
pub(super) const MAX_CONNECT: usize = 192 << 10;
/// How long a client has for its first packet.
pub(super) const LOGIN: Duration = Duration::from_secs(10);
/// How many clients begin to be served in one turn of the scheduler, of those that connect and of those whose first packet is
/// there. When thousands of them come at once, the publishes of open connections wait for so many, and not for all.
pub(super) const AT_A_TURN: usize = 16;
/// The largest packet that is held without a share of a budget, in bytes, and the most that is read ahead.
pub(super) const SMALL: usize = 4 << 10;
/// How many bytes of unfinished packets are held for clients that have not logged in.
pub(super) const BEFORE_LOGIN: usize = 8 << 20;
/// How many bytes of unfinished packets are held for clients that have logged in.
pub(super) const AFTER_LOGIN: usize = 64 << 20;
/// How many bytes of TLS handshakes are under way.
pub(super) const HANDSHAKES: usize = 32 << 20;
/// What one of them may take, in bytes: a client may send as much before its first message is whole.
pub(super) const HANDSHAKE: usize = 64 << 10;
/// The part of a budget that the clients of one address, or IPv6 /64, may have: one in so many.
pub(super) const ADDRESSES: usize = 2;
/// The part of a budget that the devices of one tenant may have who have logged in: of so many parts, so many.
pub(super) const TENANTS: (usize, usize) = (3, 4);
/// How long a packet may take to arrive, whatever its size.
pub(super) const ARRIVAL: Duration = Duration::from_secs(30);
/// For every so many bytes of it that have arrived, a packet may take a second more than [`ARRIVAL`].
pub(super) const ARRIVAL_BYTES_PER_S: usize = 8 << 10;
/// How many bytes wait for a client that does not read, besides one packet.
pub(super) const UNSENT: usize = 4 << 10;
/// How many bytes are there for the ids of publishes of `QoS` 2 that clients do not release, beyond the first of each connection.
pub(super) const UNRELEASED: usize = 16 << 20;
/// For how many of them a connection takes a share at once, and how many it has without one.
pub(super) const UNRELEASED_AT_ONCE: usize = 1024;
/// What each takes, in bytes: its place in three sets of ids.
pub(super) const UNRELEASED_BYTES: usize = 32;
/// The most topics that a connection subscribes to; a gateway's, one more for each device behind it.
pub(super) const SUBSCRIPTIONS: usize = 8;
/// The most commands that wait to be sent to a connection; as many as a gateway's may have subscriptions, if these are more.
pub(super) const COMMANDS: usize = 64;
/// How many bytes of commands are kept for devices that left without a receipt.
pub(super) const LEFT_BEHIND: usize = 16 << 20;
/// The largest frame of a WebSocket, in bytes. None is held, so it is only what no client has a reason to exceed: 16 packets of
/// the largest size, where libraries put all that waits into one frame.
pub(super) const FRAME: u64 = 16 << 20;
/// How long a client whose connection ends has to take its leave.
pub(super) const FAREWELL: Duration = Duration::from_secs(1);

/// Whose share something is: an address, or an IPv6 /64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Network(IpAddr);

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) => Self(Ipv6Addr::from(u128::from(address) & !u128::from(u64::MAX)).into()),
            address @ IpAddr::V4(_) => Self(address),
        }
    }
}

/// How many bytes of unfinished packets are held.
pub(super) struct Budget {
    most: usize,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    all: usize,
    networks: HashMap<Network, usize>,
    tenants: HashMap<Tenant, usize>,
    /// Those that wait, by the number of their connection.
    waiting: HashMap<u64, Waker>,
}

/// A part of a budget, until it is dropped.
pub(super) struct Share {
    budget: Arc<Budget>,
    network: Network,
    tenant: Option<Tenant>,
    bytes: usize,
}

impl Budget {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, held: Mutex::default() })
    }

    /// Takes a share, if there is room.
    pub(super) fn take(self: &Arc<Self>, network: Network, bytes: usize) -> Option<Share> {
        self.take_from(&mut self.held.lock(), network, None, bytes)
    }

    /// Takes a share, or has the task woken when there may be room for it.
    pub(super) fn poll_take(
        self: &Arc<Self>,
        network: Network,
        bytes: usize,
        number: u64,
        context: &mut Context<'_>,
    ) -> Poll<Share> {
        self.poll_take_of(network, None, bytes, number, context)
    }

    /// The same, for a device of a tenant.
    pub(super) fn poll_take_of(
        self: &Arc<Self>,
        network: Network,
        tenant: Option<&Tenant>,
        bytes: usize,
        number: u64,
        context: &mut Context<'_>,
    ) -> Poll<Share> {
        let mut held = self.held.lock();
        if let Some(share) = self.take_from(&mut held, network, tenant, bytes) {
            held.waiting.remove(&number);
            return Poll::Ready(share);
        }
        held.waiting.insert(number, context.waker().clone());
        Poll::Pending
    }

    /// Forgets that a connection waits.
    pub(super) fn give_up(&self, number: u64) {
        self.held.lock().waiting.remove(&number);
    }

    fn take_from(
        self: &Arc<Self>,
        held: &mut Held,
        network: Network,
        tenant: Option<&Tenant>,
        bytes: usize,
    ) -> Option<Share> {
        let own = held.networks.get(&network).copied().unwrap_or_default();
        let tenants = tenant.and_then(|tenant| held.tenants.get(tenant)).copied().unwrap_or_default();
        if held.all + bytes > self.most
            || own + bytes > self.most / ADDRESSES
            || tenant.is_some() && tenants + bytes > self.most / TENANTS.1 * TENANTS.0
        {
            return None;
        }
        held.all += bytes;
        held.networks.insert(network, own + bytes);
        if let Some(tenant) = tenant {
            held.tenants.insert(tenant.clone(), tenants + bytes);
        }
        Some(Share { budget: Arc::clone(self), network, tenant: tenant.cloned(), bytes })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.budget.held.lock();
        held.all -= self.bytes;
        give_back(&mut held.networks, &self.network, self.bytes);
        if let Some(tenant) = &self.tenant {
            give_back(&mut held.tenants, tenant, self.bytes);
        }
        let waiting = std::mem::take(&mut held.waiting);
        drop(held);
        waiting.into_values().for_each(Waker::wake);
    }
}

/// Takes bytes off what somebody holds.
fn give_back<K: Eq + Hash>(held: &mut HashMap<K, usize>, whose: &K, bytes: usize) {
    if let Some(own) = held.get_mut(whose) {
        *own -= bytes;
        if *own == 0 {
            held.remove(whose);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn an_address_may_have_half_a_tenant_three_quarters_and_what_is_given_back_is_there_again() {
        let budget = Budget::new(400);
        let network = |last| Network::from(IpAddr::from(Ipv4Addr::new(127, 0, 0, last)));
        let take = |last, tenant: Option<&str>, bytes| {
            let tenant = tenant.map(|tenant| tenant.parse().expect("a tenant"));
            budget.take_from(&mut budget.held.lock(), network(last), tenant.as_ref(), bytes)
        };
        let first = take(1, Some("t0"), 200).expect("half");
        assert!(take(1, None, 1).is_none(), "the address has its half");
        let second = take(2, Some("t0"), 100).expect("three quarters");
        assert!(take(3, Some("t0"), 1).is_none(), "the tenant has its part");
        let other = take(3, Some("t1"), 100).expect("the rest");
        assert!(take(4, None, 1).is_none(), "it is all taken");
        drop((first, second, other));
        assert!(take(1, Some("t0"), 200).is_some());
        let held = budget.held.lock();
        assert_eq!(
            (held.all, held.networks.len(), held.tenants.len()),
            (0, 0, 0),
            "and nothing is left of it"
        );
    }
}
