//! Whom fleetlog asks over HTTP: a service by its URL, over TLS, or without it on this machine.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::Uri;
use http::uri::PathAndQuery;

/// The base of a service's URLs, without a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url(String);

/// Why a text is no such URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    /// The text has another form.
    #[error("a service is given as https://host[:port][/path], without a user, a query and a fragment")]
    Form,
    /// Everybody in between could read the key and change the answer.
    #[error("http:// is for this machine only (localhost, 127.0.0.1, [::1]); use https://")]
    Plain,
}

impl FromStr for Url {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let uri: Uri = text.parse().map_err(|_| InvalidUrl::Form)?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(InvalidUrl::Form);
        };
        if authority.as_str().contains('@') || text.contains('#') || uri.query().is_some() {
            return Err(InvalidUrl::Form);
        }
        match scheme {
            "https" => {}
            "http" if is_this_machine(authority.host()) => {}
            "http" => return Err(InvalidUrl::Plain),
            _ => return Err(InvalidUrl::Form),
        }
        Ok(Self(format!("{scheme}://{authority}{}", uri.path().trim_end_matches('/'))))
    }
}

/// Whether a host is this machine, or an address that no router passes on (`169.254.0.0/16`, `fe80::/10`), from which a machine in
/// a cloud has its own keys.
#[must_use]
pub fn is_near(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    is_this_machine(host)
        || address.is_ok_and(|address| match address {
            IpAddr::V4(address) => address.is_link_local(),
            IpAddr::V6(address) => address.is_unicast_link_local(),
        })
}

fn is_this_machine(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

impl Url {
    /// The URL of a path below this one, which begins with a slash and may have a query.
    ///
    /// # Errors
    ///
    /// [`InvalidUrl::Form`] if it is no path.
    pub fn join(&self, path: &str) -> Result<Uri, InvalidUrl> {
        path.parse::<PathAndQuery>().map_err(|_| InvalidUrl::Form)?;
        format!("{}{path}", self.0).parse().map_err(|_| InvalidUrl::Form)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_asked_over_tls_or_on_this_machine() {
        for (text, joined) in [
            ("https://fleet.example", "https://fleet.example/a?b=1"),
            ("https://fleet.example:8443/prefix/", "https://fleet.example:8443/prefix/a?b=1"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/a?b=1"),
            ("http://[::1]:8080/", "http://[::1]:8080/a?b=1"),
            ("http://localhost", "http://localhost/a?b=1"),
        ] {
            let url: Url = text.parse().expect(text);
            assert_eq!(url.join("/a?b=1").map(|uri| uri.to_string()), Ok(joined.to_owned()));
            assert!(url.join("a").is_err() || !joined.contains("//a"), "{text}");
        }
        for text in ["http://fleet.example", "http://10.0.0.1:80", "http://localhost.example", "http://[::2]"]
        {
            assert_eq!(text.parse::<Url>(), Err(InvalidUrl::Plain), "{text}");
        }
        assert!(["localhost", "127.0.0.1", "[::1]", "169.254.169.254", "[fe80::1]"].into_iter().all(is_near));
        assert!(!["fleet.example", "10.0.0.1", "169.253.0.1", "[fd00::1]"].into_iter().any(is_near));
        for text in [
            "",
            "fleet.example",
            "/a",
            "ftp://fleet.example",
            "https://user:secret@fleet.example",
            "https://fleet.example?x",
            "https://fleet.example/#x",
            "https://",
        ] {
            assert_eq!(text.parse::<Url>(), Err(InvalidUrl::Form), "{text}");
        }
    }
}
