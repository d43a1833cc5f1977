//! Names for what is counted: hashes, so that the tables hold no address and no e-mail address, and so that a key is as
//! long whatever it names.

use std::fmt::Write;
use std::net::{IpAddr, Ipv6Addr};

use aws_lc_rs::digest::{SHA256, digest};

use uuid::Uuid;

use super::rule::Rule;

/// Whose requests are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requester {
    /// A user, over all sessions.
    User(Uuid),
    /// An API key.
    Key(Uuid),
    /// An address; of IPv6, its /64.
    Address(IpAddr),
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key([u8; 16]);

impl Key {
    /// A requester's requests under a limit. A window of another length is counted anew.
    #[must_use]
    pub fn request(requester: &Requester, rule: &Rule) -> Self {
        let mut name = String::with_capacity(96);
        // Writing to a string does not fail.
        let _ = match requester {
            Requester::User(id) => write!(name, "user {id}"),
            Requester::Key(id) => write!(name, "key {id}"),
            Requester::Address(address) => write!(name, "address {address}"),
        };
        let _ = write!(name, " {} {}", rule.window_s, rule.name());
        Self::hash(&name)
    }

    /// What a name is known by.
    #[must_use]
    pub fn hash(name: &str) -> Self {
        let mut key = [0; 16];
        key.copy_from_slice(&digest(&SHA256, name.as_bytes()).as_ref()[..16]);
        Self(key)
    }

    /// As it is stored.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// From the stored form; `None` if it is none.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

/// An IPv4 address, or the /64 of an IPv6 address: a subscriber usually has all 2^64 addresses of it.
#[must_use]
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_network_counts_as_one_address() {
        let network = |address: &str| network(address.parse().expect("an address"));
        assert_eq!(network("2001:db8::1"), network("2001:db8::2:3"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
    }
}
