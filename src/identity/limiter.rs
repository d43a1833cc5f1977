//! How often one may try to log in: per account and per peer address, counted before anything is computed.
//!
//! In memory and per node, in a table of fixed size: whoever tries most recently is remembered.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use lru::LruCache;

use super::users::Email;

/// How many accounts and peers are remembered. About 100 bytes each.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(20_000).expect("not zero");
/// Failed attempts on one account before it has to wait, and how soon it gets one more.
const ACCOUNT: Allowance = Allowance { burst: 10, every: Duration::from_secs(30) };
/// Failed attempts from one address, which may be an office's. Larger, so that a colleague can still log in.
const PEER: Allowance = Allowance { burst: 30, every: Duration::from_secs(10) };

struct Allowance {
    burst: u32,
    every: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Account(Email),
    Peer(IpAddr),
}

/// Too many attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many attempts to log in; try again in {} s", retry_after.as_secs())]
pub struct TooMany {
    /// When the next one is allowed.
    pub retry_after: Duration,
}

/// Counts attempts.
pub struct Limiter {
    /// For each key, when its allowance will be whole again.
    whole_at: Mutex<LruCache<Key, Instant>>,
}

impl Default for Limiter {
    fn default() -> Self {
        Self { whole_at: Mutex::new(LruCache::new(REMEMBERED)) }
    }
}

impl Limiter {
    /// Takes an attempt on an account from a peer, or refuses it.
    pub fn take(&self, account: &Email, peer: Option<IpAddr>, now: Instant) -> Result<(), TooMany> {
        // The peer first: an address that tries too much must not use up the accounts of others.
        if let Some(peer) = peer {
            self.take_one(Key::Peer(network(peer)), &PEER, now)?;
        }
        self.take_one(Key::Account(account.clone()), &ACCOUNT, now)
    }

    /// Gives an attempt back that succeeded.
    pub fn give_back(&self, account: &Email, peer: Option<IpAddr>) {
        let mut whole_at = self.whole_at.lock().unwrap_or_else(PoisonError::into_inner);
        whole_at.pop(&Key::Account(account.clone()));
        if let Some(at) = peer.and_then(|peer| whole_at.get_mut(&Key::Peer(network(peer))))
            && let Some(earlier) = at.checked_sub(PEER.every)
        {
            *at = earlier;
        }
    }

    /// The generic cell rate algorithm: one instant a key is all there is to remember.
    fn take_one(&self, key: Key, allowance: &Allowance, now: Instant) -> Result<(), TooMany> {
        let mut whole_at = self.whole_at.lock().unwrap_or_else(PoisonError::into_inner);
        let at = whole_at.get_or_insert_mut(key, || now);
        let next = (*at).max(now) + allowance.every;
        let over = next.saturating_duration_since(now + allowance.every * allowance.burst);
        if over.is_zero() {
            *at = next;
            Ok(())
        } else {
            Err(TooMany { retry_after: Duration::from_secs(over.as_secs() + 1) })
        }
    }
}

/// Whoever has one IPv6 address has 2^64 of them.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
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

    fn email(text: &str) -> Email {
        Email::parse(text).expect("an address")
    }

    #[test]
    fn an_account_gets_ten_attempts_and_then_one_every_half_minute() {
        let (limiter, now) = (Limiter::default(), Instant::now());
        let admin = email("admin@localhost");
        let attempt = |seconds| limiter.take(&admin, None, now + Duration::from_secs(seconds));
        assert!((0..10).all(|_| attempt(0).is_ok()));
        assert_eq!(attempt(0).map_err(|refused| refused.retry_after.as_secs()), Err(31));
        assert!(attempt(29).is_err());
        assert!(attempt(31).is_ok());
        assert!(attempt(31).is_err());
        assert!(limiter.take(&email("another@localhost"), None, now).is_ok());
    }

    #[test]
    fn a_peer_cannot_go_on_by_trying_other_accounts() {
        let (limiter, now) = (Limiter::default(), Instant::now());
        let attempt = |n: u32, peer: &str| {
            limiter.take(&email(&format!("user{n}@localhost")), Some(peer.parse().expect("an address")), now)
        };
        assert!((0..30).all(|n| attempt(n, "2001:db8::1").is_ok()));
        assert!(attempt(30, "2001:db8::2").is_err(), "the same network");
        assert!(attempt(30, "2001:db8:0:1::1").is_ok(), "another network");
        assert!(attempt(30, "192.0.2.1").is_ok());
    }

    #[test]
    fn logging_in_uses_nothing_up() {
        let (limiter, now) = (Limiter::default(), Instant::now());
        let (admin, peer) = (email("admin@localhost"), "192.0.2.1".parse().ok());
        for _ in 0..100 {
            assert!(limiter.take(&admin, peer, now).is_ok());
            limiter.give_back(&admin, peer);
        }
    }
}
