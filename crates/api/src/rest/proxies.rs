//! Finds the client's address of a request that came through proxies.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use http::header::{FORWARDED, VIA};
use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

use super::headers::X_FORWARDED_FOR;

/// The addresses of trusted proxies: a network such as `10.0.0.0/8`, or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proxies(IpNet);

impl Proxies {
    /// Whether the address is one of these proxies'.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for Proxies {
    type Err = BadProxies;

    fn from_str(text: &str) -> Result<Self, BadProxies> {
        let single = || text.parse().map(|address: IpAddr| IpNet::from(address));
        text.parse().or_else(|_| single()).map(Self).map_err(|_| BadProxies)
    }
}

/// Headers that a proxy adds to what it passes on, besides those whose names begin with `x-forwarded-`.
const OF_PROXIES: [HeaderName; 8] = [
    FORWARDED,
    VIA,
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("x-client-ip"),
    HeaderName::from_static("x-cluster-client-ip"),
    HeaderName::from_static("true-client-ip"),
    HeaderName::from_static("cf-connecting-ip"),
    HeaderName::from_static("x-envoy-external-address"),
];

/// Whether a proxy has passed a request on, as far as it says so.
pub(super) fn is_passed_on(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with("x-forwarded-") || OF_PROXIES.contains(name))
}

/// The text is neither a network nor an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected an address, or a network such as 10.0.0.0/8")]
pub struct BadProxies;

/// Returns the nearest address that is not a trusted proxy's. Entries before an untrusted address are ignored, because
/// that sender may have made them up.
pub(super) fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[Proxies]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|proxies| proxies.contains(address));
    let mut client = peer.to_canonical();
    if !is_trusted(client) {
        return client;
    }
    let named = headers.get_all(X_FORWARDED_FOR).iter().collect::<Vec<_>>();
    let named = named.into_iter().rev().flat_map(|value| value.to_str().unwrap_or("?").rsplit(','));
    for text in named {
        let Some(address) = address(text.trim()) else { break };
        client = address;
        if !is_trusted(client) {
            break;
        }
    }
    client
}

/// Parses an address with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let with_port = || text.parse().ok().map(|address: SocketAddr| address.ip());
    text.parse().ok().or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client_of(peer: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(X_FORWARDED_FOR, value.parse().expect("a value"));
        }
        let trusted: Vec<Proxies> = trusted.iter().map(|proxies| proxies.parse().expect("proxies")).collect();
        client(peer.parse().expect("an address"), &headers, &trusted).to_string()
    }

    #[test]
    fn whatever_a_proxy_says_of_itself_shows_that_it_passes_a_request_on() {
        let passed_on = |name: &'static str| {
            let value = http::HeaderValue::from_static("1");
            is_passed_on(&HeaderMap::from_iter([(HeaderName::from_static(name), value)]))
        };
        for name in
            ["via", "forwarded", "x-real-ip", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"]
        {
            assert!(passed_on(name), "{name}");
        }
        assert!(!passed_on("host") && !passed_on("origin") && !passed_on("user-agent"));
    }

    #[test]
    fn an_untrusted_peer_is_the_client_whatever_it_says() {
        assert_eq!(client_of("192.0.2.1", &["198.51.100.7"], &[]), "192.0.2.1");
        assert_eq!(client_of("192.0.2.1", &["198.51.100.7"], &["10.0.0.0/8"]), "192.0.2.1");
    }

    #[test]
    fn behind_trusted_proxies_the_rightmost_untrusted_address_is_the_client() {
        let trusted = ["10.0.0.0/8", "203.0.113.9"];
        let client = |forwarded: &[&str]| client_of("10.0.0.1", forwarded, &trusted);
        assert_eq!(client(&["198.51.100.7"]), "198.51.100.7");
        assert_eq!(client(&["1.1.1.1, 198.51.100.7, 203.0.113.9"]), "198.51.100.7", "the first was forged");
        assert_eq!(client(&["1.1.1.1", "198.51.100.7,10.2.3.4"]), "198.51.100.7");
        assert_eq!(client(&["[2001:db8::1]:443"]), "2001:db8::1");
        assert_eq!(client(&["::ffff:198.51.100.7"]), "198.51.100.7");
    }

    #[test]
    fn what_is_no_address_ends_the_chain() {
        let client = |forwarded: &[&str]| client_of("::ffff:10.0.0.1", forwarded, &["10.0.0.0/8"]);
        assert_eq!(client(&[]), "10.0.0.1");
        assert_eq!(client(&["198.51.100.7, unknown, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(client(&["10.0.0.3"]), "10.0.0.3");
    }
}
