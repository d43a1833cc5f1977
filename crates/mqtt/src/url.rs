//! A broker's address, as every MQTT client in this workspace takes it: `mqtt://user:password@host:port`, or `mqtts://` for
//! TLS.

use std::net::SocketAddr;
use std::str::FromStr;

use fleetlog_engine::devices::credentials::secret::ServiceLogin;
use fleetlog_tls::client::Identity;
use percent_encoding::percent_decode_str;
use rumqttc::v5::mqttbytes::v5::Login;

/// The port of MQTT, and that of MQTT over TLS.
const DEFAULT_PORTS: [u16; 2] = [1883, 8883];

/// A broker's host and port, and a login.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    /// Whom to trust, and what to show. `None`: without TLS.
    tls: Option<Identity>,
    host: String,
    pub(crate) port: u16,
    login: Option<(String, String)>,
}

/// Why a text is not a broker's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    /// The text has another form.
    #[error("a broker is given as mqtt://[user:password@]host[:port], or as mqtts:// for TLS")]
    Form,
}

impl FromStr for Url {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let (scheme, rest) = text.split_once("://").ok_or(InvalidUrl::Form)?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "mqtt" | "tcp" => None,
            "mqtts" | "ssl" | "tls" => Some(Identity::default()),
            _ => return Err(InvalidUrl::Form),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (login, place) = match rest.rsplit_once('@') {
            Some((login, place)) => (Some(login), place),
            None => (None, rest),
        };
        let authority: http::uri::Authority = place.parse().map_err(|_| InvalidUrl::Form)?;
        let port = match place.strip_prefix(authority.host()) {
            Some("") => DEFAULT_PORTS[usize::from(tls.is_some())],
            _ => authority.port_u16().ok_or(InvalidUrl::Form)?,
        };
        let login = login.map(|login| {
            let (user, password) = login.split_once(':').unwrap_or((login, ""));
            Ok((decode(user)?, decode(password)?))
        });
        Ok(Self { tls, host: authority.host().to_owned(), port, login: login.transpose()? })
    }
}

/// Decodes percent-encoding (`%2F`), with which a password can hold any character.
fn decode(text: &str) -> Result<String, InvalidUrl> {
    percent_decode_str(text).decode_utf8().map(String::from).map_err(|_| InvalidUrl::Form)
}

impl Url {
    /// The host as the resolver takes it: without the brackets of an IPv6 address.
    pub(crate) fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// Whom to trust and what to show, if the broker is reached over TLS.
    #[must_use]
    pub fn tls(&self) -> Option<&Identity> {
        self.tls.as_ref()
    }

    /// The same address, with this in the place of what [`Url::tls`] says.
    #[must_use]
    pub fn with_tls(self, tls: Option<Identity>) -> Self {
        Self { tls, ..self }
    }

    pub(crate) fn login(&self) -> Option<Login> {
        self.login.as_ref().map(|(user, password)| Login::new(user, password))
    }

    /// The login of fleetlog itself, if the address has one.
    #[must_use]
    pub fn service_login(&self) -> Option<ServiceLogin> {
        self.login.as_ref().map(|(user, password)| ServiceLogin::new(user, password))
    }

    /// The same host and port, with another login.
    #[must_use]
    pub fn with_login(&self, user: impl Into<String>, password: impl Into<String>) -> Self {
        Self { login: Some((user.into(), password.into())), ..self.clone() }
    }
}

impl From<SocketAddr> for Url {
    fn from(address: SocketAddr) -> Self {
        let host = match address {
            SocketAddr::V4(address) => address.ip().to_string(),
            SocketAddr::V6(address) => format!("[{}]", address.ip()),
        };
        Self { tls: None, host, port: address.port(), login: None }
    }
}

/// Omits the password.
impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.tls.is_some() { "mqtts" } else { "mqtt" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

/// Omits the password.
impl std::fmt::Debug for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(host: &str, port: u16, login: Option<(&str, &str)>) -> Url {
        let login = login.map(|(user, password)| (user.to_owned(), password.to_owned()));
        Url { tls: None, host: host.to_owned(), port, login }
    }

    fn over_tls(host: &str, port: u16) -> Url {
        Url { tls: Some(Identity::default()), ..url(host, port, None) }
    }

    #[test]
    fn a_broker_is_given_by_host_and_perhaps_port_and_login() {
        for (text, expected) in [
            ("mqtt://localhost", url("localhost", 1883, None)),
            ("tcp://broker.example:2883/", url("broker.example", 2883, None)),
            ("mqtt://[::1]:1883", url("[::1]", 1883, None)),
            ("mqtt://[::1]", url("[::1]", 1883, None)),
            ("mqtt://u:p%40ss%3a@h:1", url("h", 1, Some(("u", "p@ss:")))),
            ("mqtt://u@h", url("h", 1883, Some(("u", "")))),
            ("mqtt://t0%2Fdev-01:p@h", url("h", 1883, Some(("t0/dev-01", "p")))),
            ("mqtts://h", over_tls("h", 8883)),
            ("SSL://h:443", over_tls("h", 443)),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "localhost:1883",
            "mqtt://",
            "mqtt://h:",
            "mqtt://h:x",
            "mqtt://h:99999",
            "mqtt://u:%ff@h",
            "ws://h",
            "mqtt://h/x",
        ] {
            assert_eq!(text.parse::<Url>(), Err(InvalidUrl::Form), "{text}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        let url: Url = "mqtt://user:secret@h".parse().expect("a URL");
        assert_eq!(format!("{url} {url:?}"), "mqtt://h:1883 mqtt://h:1883");
    }
}
