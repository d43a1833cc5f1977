//! Where a webhook may be.

use std::net::Ipv4Addr;

use fleetlog_http_client::{NotPublic, Reach};
use http::Uri;

/// The most bytes of a webhook's URL.
pub const MAX_URL: usize = 2000;

/// Why no webhook may be there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    /// The text has another form.
    #[error("a webhook is at https://host[:port]/path, without a user and a fragment, in {MAX_URL} bytes")]
    Form,
    /// Whoever is on the way could read the events.
    #[error(
        "http:// lets the network read the events: use https://, or have the operator allow it with --webhooks-allow-private"
    )]
    Plain,
    /// The host is an address in a form that not everybody reads the same way.
    #[error(
        "write the host as a name, or as an address of four numbers or in brackets: 203.0.113.7, [2001:db8::7]"
    )]
    OddHost,
    /// The host is on this machine or in a private network.
    #[error(
        "{0}, and webhooks are sent to no other: the operator can allow it with --webhooks-allow-private"
    )]
    NotPublic(#[from] NotPublic),
}

/// The URL of a webhook, checked. A name's addresses are checked now, and again whenever it is connected to.
pub async fn check(text: &str, reach: &Reach) -> Result<Uri, BadUrl> {
    let uri = parse(text, !reach.is_public_only())?;
    reach.check_host(uri.host().unwrap_or_default()).await?;
    Ok(uri)
}

fn parse(text: &str, allow_plain: bool) -> Result<Uri, BadUrl> {
    let uri: Uri = text.parse().map_err(|_| BadUrl::Form)?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(BadUrl::Form);
    };
    let is_plain_form = text.len() <= MAX_URL && !text.contains('#') && !authority.as_str().contains('@');
    // The library takes a port that is out of range for none, and would connect to the scheme's own.
    let has_bad_port = match authority.as_str().strip_prefix(authority.host()) {
        Some("") => false,
        Some(port) => {
            !port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
        }
        None => true,
    };
    if !is_plain_form || has_bad_port || authority.host().is_empty() || authority.host().contains('*') {
        return Err(BadUrl::Form);
    }
    match scheme {
        "https" => {}
        "http" if allow_plain => {}
        "http" => return Err(BadUrl::Plain),
        _ => return Err(BadUrl::Form),
    }
    if is_odd(authority.host()) { Err(BadUrl::OddHost) } else { Ok(uri) }
}

/// Whether a host is an IPv4 address in another form than four decimal numbers, as `0x7f.1` and `2130706433` are.
fn is_odd(host: &str) -> bool {
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    let hexadecimal = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    let is_number = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
    (is_number || hexadecimal.is_some()) && host.parse::<Ipv4Addr>().is_err()
}

/// Scheme, host and port of a URL: what of it is on the record. Receivers often have a secret in the path.
#[must_use]
pub fn origin(uri: &Uri) -> String {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    format!("{}://{authority}", uri.scheme_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_is_reached_over_tls_at_a_host_in_its_plain_form() {
        for good in ["https://erp.example/hook?key=1", "https://203.0.113.7:8443", "https://[2001:db8::7]/x"]
        {
            assert!(parse(good, false).is_ok(), "{good}");
        }
        assert!(parse("http://10.0.0.1/x", true).is_ok());
        assert_eq!(parse("http://erp.example", false), Err(BadUrl::Plain));
        for odd in ["2130706433", "0x7f.1", "127.1", "0177.0.0.1", "127.0.0.1.", "1.2.3.0x4", "1.2.3.4.5"] {
            assert_eq!(parse(&format!("https://{odd}/"), true), Err(BadUrl::OddHost), "{odd}");
        }
        let long = format!("https://erp.example/{}", "x".repeat(MAX_URL));
        for bad in [
            "",
            "/x",
            "erp.example",
            "ftp://erp.example",
            "https://",
            "https://a:b@c",
            "https://a/#b",
            "https://a:99999/",
            "https://a:0/",
            "https://a:/",
            "https://[2001:db8::7]:94635/",
            "https://*.example/",
            &*long,
        ] {
            assert_eq!(parse(bad, true), Err(BadUrl::Form), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_host_that_is_not_public_is_refused_unless_it_is_allowed() {
        for private in ["127.0.0.1", "169.254.169.254", "10.1.2.3", "[::1]", "[::ffff:10.0.0.1]", "localhost"]
        {
            let refused = check(&format!("https://{private}/"), &Reach::public()).await;
            assert!(matches!(refused, Err(BadUrl::NotPublic(_))), "{private}: {refused:?}");
            assert!(check(&format!("http://{private}/"), &Reach::anybody()).await.is_ok(), "{private}");
        }
    }

    #[test]
    fn what_is_on_the_record_of_a_url_holds_no_path() {
        let uri: Uri = "https://erp.example:8443/hooks/s3cret?key=1".parse().expect("a URL");
        assert_eq!(origin(&uri), "https://erp.example:8443");
    }
}
