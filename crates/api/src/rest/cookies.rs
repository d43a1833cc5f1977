//! The session's cookie, and the browser's. The first holds the refresh token; no script can read it and no other site can send it.
//!
//! The cookie puts a browser's page in the session; `POST /auth/refresh` uses it up and sets the next one. A request
//! that changes anything is accepted by cookie only from a page of the service's own origin: see [`is_own_page`].

use std::net::IpAddr;

use axum::response::{IntoResponseParts, ResponseParts};
use chrono::TimeDelta;
use cookie::time::Duration;
use cookie::{Cookie, SameSite};
use fleetlog_access::Settings;
use fleetlog_access::known_origins::{self, Origin};
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};

use super::headers::SEC_FETCH_SITE;

/// The cookie's name without TLS.
pub(super) const NAME: &str = "fleetlog_session";
/// The cookie's name over TLS. The `__Host-` prefix makes a browser accept it from this host only.
pub(super) const SECURE_NAME: &str = "__Host-fleetlog_session";

/// The cookie by which a browser is known that was logged in with before. It lets nobody in.
const DEVICE: &str = "fleetlog_device";
/// The same over TLS.
const SECURE_DEVICE: &str = "__Host-fleetlog_device";

/// A cookie to set, or to remove.
pub(super) struct SetCookie(Cookie<'static>);

impl SetCookie {
    /// Makes the cookie of a session that lasts for `left`.
    pub(super) fn session(token: String, left: TimeDelta, settings: &Settings) -> Self {
        let left = left.num_seconds().max(0);
        Self(cookie((name(settings), token), Duration::seconds(left), settings))
    }

    /// Makes a cookie that removes the session's cookie from the browser.
    pub(super) fn removed(settings: &Settings) -> Self {
        Self(cookie((name(settings), String::new()), Duration::ZERO, settings))
    }

    /// Makes the cookie by which the browser will be known at its next login.
    pub(super) fn device(token: String, settings: &Settings) -> Self {
        let age = Duration::seconds(known_origins::REMEMBERED.as_secs().cast_signed());
        Self(cookie((device_name(settings), token), age, settings))
    }
}

impl IntoResponseParts for SetCookie {
    type Error = std::convert::Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Self::Error> {
        // A token and the other parts are plain ASCII, so this is always a valid header value.
        if let Ok(value) = HeaderValue::from_str(&self.0.to_string()) {
            parts.headers_mut().append(header::SET_COOKIE, value);
        }
        Ok(parts)
    }
}

fn cookie(named: (&'static str, String), age: Duration, settings: &Settings) -> Cookie<'static> {
    Cookie::build(named)
        .path("/")
        .http_only(true)
        .same_site(SameSite::Lax)
        .secure(is_secure(settings))
        .max_age(age)
        .build()
}

/// Returns the token in the session's cookie that a browser has sent.
pub(super) fn token(headers: &HeaderMap, settings: &Settings) -> Option<String> {
    sent(headers, name(settings))
}

/// Returns where a login comes from: the address, and the browser's cookie, if it has one.
pub(super) fn origin(address: Option<IpAddr>, headers: &HeaderMap, settings: &Settings) -> Origin {
    Origin { address, device: sent(headers, device_name(settings)) }
}

fn sent(headers: &HeaderMap, name: &str) -> Option<String> {
    let texts = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut cookies = texts.flat_map(|text| Cookie::split_parse(text.to_owned()).flatten());
    cookies.find(|cookie| cookie.name() == name).map(|cookie| cookie.value().to_owned())
}

fn is_secure(settings: &Settings) -> bool {
    settings.public_url.as_ref().is_some_and(|url| url.scheme_str() == Some("https"))
}

fn name(settings: &Settings) -> &'static str {
    if is_secure(settings) { SECURE_NAME } else { NAME }
}

fn device_name(settings: &Settings) -> &'static str {
    if is_secure(settings) { SECURE_DEVICE } else { DEVICE }
}

/// Tells whether a request comes from a page of the service's own origin, or from no page at all. Browsers name the
/// page's origin in each request that could change something; a request that names none does not come from a browser,
/// so no other site can have forged it.
pub(super) fn is_own_page(headers: &HeaderMap, settings: &Settings) -> bool {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    if let Some(site) = text(SEC_FETCH_SITE) {
        return matches!(site, "same-origin" | "none");
    }
    let Some(origin) = text(header::ORIGIN) else { return true };
    let of = |url: &Uri| url.authority().map(ToString::to_string);
    let origin = origin.parse::<Uri>().ok().as_ref().and_then(of);
    let own = [text(header::HOST).map(str::to_owned), settings.public_url.as_ref().and_then(of)];
    origin.is_some() && own.contains(&origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(HeaderName, &str)]) -> HeaderMap {
        list.iter().map(|(name, value)| (name.clone(), value.parse().expect("a value"))).collect()
    }

    fn over_tls() -> Settings {
        Settings { public_url: Some("https://fleet.example".parse().expect("a URL")) }
    }

    #[test]
    fn no_script_reads_the_cookie_and_no_other_site_sends_it() {
        let left = TimeDelta::hours(1);
        let plain = SetCookie::session("flr_x".into(), left, &Settings::default()).0.to_string();
        assert!(
            plain.starts_with("fleetlog_session=flr_x; HttpOnly; SameSite=Lax; Path=/; Max-Age=3600"),
            "{plain}"
        );
        let secure = SetCookie::session("flr_x".into(), left, &over_tls()).0.to_string();
        assert!(
            secure.starts_with("__Host-fleetlog_session=flr_x; HttpOnly; SameSite=Lax; Secure; Path=/;"),
            "{secure}"
        );
        let removed = SetCookie::removed(&Settings::default()).0.to_string();
        assert!(removed.ends_with("Max-Age=0"), "{removed}");
    }

    #[test]
    fn the_token_is_found_among_other_cookies() {
        let sent = headers(&[(header::COOKIE, "a=1; fleetlog_session=flr_x; b=2")]);
        assert_eq!(token(&sent, &Settings::default()).as_deref(), Some("flr_x"));
        assert_eq!(token(&sent, &over_tls()), None, "anyone on the network may have set that one");
        assert_eq!(token(&HeaderMap::new(), &Settings::default()), None);
    }

    #[test]
    fn only_a_page_of_our_own_acts_by_cookie() {
        let (host, site, origin) = (header::HOST, SEC_FETCH_SITE, header::ORIGIN);
        for (sent, own) in [
            (vec![(site.clone(), "same-origin")], true),
            (vec![(site.clone(), "none")], true),
            (vec![(site.clone(), "cross-site")], false),
            (vec![(site.clone(), "same-site")], false),
            (vec![(site, "cross-site"), (origin.clone(), "https://fleet.example")], false),
            (vec![(origin.clone(), "https://fleet.example")], true),
            (vec![(origin.clone(), "http://localhost:8080"), (host.clone(), "localhost:8080")], true),
            (vec![(origin.clone(), "https://evil.example"), (host.clone(), "localhost:8080")], false),
            (vec![(origin.clone(), "https://fleet.example.evil"), (host.clone(), "localhost:8080")], false),
            (vec![(origin, "null"), (host, "localhost:8080")], false),
            (vec![], true),
        ] {
            assert_eq!(is_own_page(&headers(&sent), &over_tls()), own, "{sent:?}");
        }
    }
}
