//! Whom a client may connect to: anybody, or only what is reachable from everywhere.
//!
//! A name is looked up once, and the very addresses that were checked are connected to: a name that changes its address between
//! the check and the connection changes nothing. One address that is not public refuses the name as a whole.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use hyper_util::client::legacy::connect::dns::Name;
use tower_service::Service;

use crate::CONNECT;

/// Looks up the addresses of a name.
pub type LookUp = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

/// Whom a client may connect to. Cheap to clone.
#[derive(Clone)]
pub struct Reach {
    public_only: bool,
    look_up: LookUp,
}

impl fmt::Debug for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reach").field("public_only", &self.public_only).finish_non_exhaustive()
    }
}

/// An address that is not public, and is therefore not connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a public address")]
pub struct NotPublic(pub IpAddr);

impl Reach {
    /// Any address.
    #[must_use]
    pub fn anybody() -> Self {
        Self { public_only: false, look_up: Arc::new(|name| Box::pin(system(name))) }
    }

    /// Public addresses only.
    #[must_use]
    pub fn public() -> Self {
        Self { public_only: true, ..Self::anybody() }
    }

    /// The same, with names looked up by something else than the system.
    #[must_use]
    pub fn with_names(self, look_up: LookUp) -> Self {
        Self { look_up, ..self }
    }

    /// Whether only public addresses may be connected to.
    #[must_use]
    pub fn is_public_only(&self) -> bool {
        self.public_only
    }

    /// Checks a host as a URL writes it, if it is an address. A name is checked when it is looked up.
    pub(crate) fn check_literal(&self, host: &str) -> Result<(), NotPublic> {
        literal(host).map_or(Ok(()), |address| self.check(address))
    }

    /// Looks up a host as a URL writes it, and checks its addresses. A name that has none now is no error: it may get one.
    pub async fn check_host(&self, host: &str) -> Result<(), NotPublic> {
        self.check_literal(host)?;
        if !self.public_only || literal(host).is_some() {
            return Ok(());
        }
        let found = tokio::time::timeout(CONNECT, (self.look_up)(host.to_owned())).await;
        let found = found.unwrap_or_else(|_| Ok(vec![])).unwrap_or_default();
        found.into_iter().try_for_each(|address| self.check(address))
    }

    fn check(&self, address: IpAddr) -> Result<(), NotPublic> {
        if self.public_only && !is_public(address) { Err(NotPublic(address)) } else { Ok(()) }
    }
}

impl Service<Name> for Reach {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let reach = self.clone();
        Box::pin(async move {
            let found = (reach.look_up)(name.as_str().to_owned()).await?;
            let checked = found.iter().try_for_each(|address| reach.check(*address));
            checked.map_err(|refused| io::Error::new(io::ErrorKind::PermissionDenied, refused))?;
            // The port is the URL's, which the connector adds.
            let found: Vec<_> = found.into_iter().map(|address| SocketAddr::new(address, 0)).collect();
            Ok(found.into_iter())
        })
    }
}

async fn system(name: String) -> io::Result<Vec<IpAddr>> {
    Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
}

fn literal(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Whether an address is one that everybody on the internet reaches as the same machine. What IANA has set aside is not: this
/// machine, private and shared networks, what no router passes on, multicast, documentation, benchmarks, and IPv6 addresses that
/// stand for such an IPv4 address.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    match (a, b, c) {
        // "This" network, private networks, loopback, link-local (with the metadata of clouds), multicast, reserved.
        (0 | 10 | 127 | 224.., ..)
        | (169, 254, _)
        | (172, 16..=31, _)
        | (192, 168, _)
        // Carrier-grade NAT, benchmarks.
        | (100, 64..=127, _)
        | (198, 18 | 19, _)
        // Protocol assignments, documentation, the relay of 6to4.
        | (192, 0, 0 | 2)
        | (198, 51, 100)
        | (203, 0, 113)
        | (192, 88, 99) => false,
        _ => true,
    }
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(mapped) = address.to_ipv4_mapped() {
        return is_public_v4(mapped);
    }
    let segments = address.segments();
    // NAT64: the translator connects to the IPv4 address in the last 32 bits.
    if segments[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
        let [.., a, b, c, d] = address.octets();
        return is_public_v4(Ipv4Addr::new(a, b, c, d));
    }
    // Only 2000::/3 is given out. In it: protocol assignments with Teredo, documentation, 6to4, documentation again.
    match segments {
        [0x2001, ..=0x01ff | 0x0db8, ..] | [0x2002, ..] | [0x3fff, ..=0x0fff, ..] => false,
        [first, ..] => (0x2000..=0x3fff).contains(&first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(address: &str) -> bool {
        is_public(address.parse().expect(address))
    }

    #[test]
    fn an_address_that_is_set_aside_is_not_public_however_it_is_written() {
        for set_aside in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:1ff::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff:1::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "5f00::1",
            "4000::1",
        ] {
            assert!(!is(set_aside), "{set_aside}");
        }
        for public in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "2001:200::1",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "3fff:1000::1",
        ] {
            assert!(is(public), "{public}");
        }
    }

    #[tokio::test]
    async fn a_name_with_one_private_address_is_refused_as_a_whole() {
        let names: LookUp = Arc::new(|name| {
            Box::pin(async move {
                match &*name {
                    "mixed.example" => Ok(vec![[8, 8, 8, 8].into(), [10, 0, 0, 1].into()]),
                    "good.example" => Ok(vec![[8, 8, 8, 8].into()]),
                    _ => Err(io::Error::other("no such name")),
                }
            })
        });
        let reach = Reach::public().with_names(names);
        assert_eq!(reach.check_host("mixed.example").await, Err(NotPublic([10, 0, 0, 1].into())));
        assert_eq!(reach.check_host("[::1]").await, Err(NotPublic(Ipv6Addr::LOCALHOST.into())));
        for fine in ["good.example", "unknown.example", "8.8.8.8"] {
            assert_eq!(reach.check_host(fine).await, Ok(()), "{fine}");
        }
        assert_eq!(Reach::anybody().check_host("127.0.0.1").await, Ok(()));
    }

    #[tokio::test]
    async fn numbers_that_the_system_takes_for_an_address_are_checked_as_that_address() {
        for odd in ["2130706433", "0x7f.1", "127.1", "017700000001", "localhost"] {
            let refused = Reach::public().check_host(odd).await.expect_err(odd);
            assert!(refused.0.is_loopback(), "{odd}");
        }
    }
}
