//! What a browser gets at each of the page's addresses.
//!
//! - `/` leads to `/app`.
//! - `/app` and everything below it are the dashboard: one page, which looks at its own address. Without a session it leads to
//!   `/login.html`, apart from the pages that the links of mails lead to.
//! - `/public/<hash of the build>/…` are the files that it is made of. Their addresses change with them, so browsers keep them for
//!   ever. Without the hash the same files are asked for again each time.
//! - `/favicon.ico` is the page's icon, which some programs ask for without having read the page.

use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    IF_NONE_MATCH, LOCATION, VARY,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::files::{BUILD, File, SHELL};

/// Where people log in.
const LOGIN: &str = "/login.html";
/// Where the files are.
const PUBLIC: &str = "/public/";
/// Where the icon is looked for, and which file it is.
const ICON: (&str, &str) = ("/favicon.ico", "icons/fleetlog.svg");
/// The pages of people who have no session: the links of mails lead there.
pub const OPEN: [&str; 4] = ["/app/invitation", "/app/verify", "/app/reset", "/app/forgot"];

/// Nothing but the page's own files, and no code or style within its text. Lit makes its templates by the one policy that is
/// trusted with it, and no other text becomes part of the page as HTML.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src 'self' data:; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types lit-html";
/// What the page has no use for.
const PERMISSIONS: &str = "camera=(), microphone=(), geolocation=(), payment=(), usb=()";
/// Browsers keep what is served by its hash.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// Browsers keep everything else, and ask each time whether it still holds.
const ASK: &str = "no-cache";

/// Answers a GET or HEAD request. `in_session`: it comes with a session's cookie, whether that is good or not. The page itself
/// asks for nothing but the public API, which decides.
#[must_use]
pub fn answer(request: &Parts, in_session: bool) -> Response<&'static [u8]> {
    let path = request.uri.path();
    if path == "/" {
        return redirect("/app");
    }
    if let Some(file) = path.strip_prefix(PUBLIC) {
        return public(file, &request.headers);
    }
    if path == ICON.0 {
        return public(ICON.1, &request.headers);
    }
    if path == LOGIN || in_session || OPEN.contains(&path) {
        return sent(&SHELL, (ASK, "accept-encoding, cookie"), &request.headers);
    }
    let wanted = request.uri.path_and_query().map_or(path, http::uri::PathAndQuery::as_str);
    redirect(&format!("{LOGIN}?next={}", utf8_percent_encode(wanted, NON_ALPHANUMERIC)))
}

fn public(file: &str, headers: &HeaderMap) -> Response<&'static [u8]> {
    let of_this_build = file.strip_prefix(BUILD).and_then(|rest| rest.strip_prefix('/'));
    match (of_this_build.and_then(File::at), File::at(file)) {
        (Some(found), _) => sent(found, (FOR_EVER, "accept-encoding"), headers),
        (None, Some(found)) => sent(found, (ASK, "accept-encoding"), headers),
        (None, None) => with_status(StatusCode::NOT_FOUND),
    }
}

fn sent(
    file: &'static File,
    (cache, vary): (&'static str, &'static str),
    headers: &HeaderMap,
) -> Response<&'static [u8]> {
    let tag = format!("\"{BUILD}\"");
    let mut response = with_status(StatusCode::OK);
    let set = |response: &mut Response<_>, name: HeaderName, value: &'static str| {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    };
    set(&mut response, CACHE_CONTROL, cache);
    set(&mut response, VARY, vary);
    // Weak: a file's forms have different bytes.
    if let Ok(tag) = HeaderValue::try_from(format!("W/{tag}")) {
        response.headers_mut().insert(ETAG, tag);
    }
    set(&mut response, CONTENT_SECURITY_POLICY, POLICY);
    for (name, value) in [
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("permissions-policy", PERMISSIONS),
    ] {
        set(&mut response, HeaderName::from_static(name), value);
    }
    // With the headers of the whole answer: a browser takes them in place of those that it has.
    if has(headers, &IF_NONE_MATCH, |known, _| known.trim_start_matches("W/") == tag || known == "*") {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    set(&mut response, CONTENT_TYPE, file.media);
    let takes = |coding: &str| {
        has(headers, &ACCEPT_ENCODING, |taken, wanted| taken.eq_ignore_ascii_case(coding) && wanted)
    };
    for (coding, compressed) in [("br", file.brotli), ("gzip", file.gzip)] {
        if let Some(compressed) = compressed.filter(|_| takes(coding)) {
            set(&mut response, CONTENT_ENCODING, coding);
            *response.body_mut() = compressed;
            return response;
        }
    }
    *response.body_mut() = file.plain;
    response
}

/// Whether a header lists something that fits. What `q=0` is behind is listed as not wanted.
fn has(headers: &HeaderMap, name: &HeaderName, fits: impl Fn(&str, bool) -> bool) -> bool {
    let texts = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).any(|listed| {
        let (word, weight) = listed.split_once(';').unwrap_or((listed, ""));
        let weight = weight.trim().strip_prefix("q=").and_then(|weight| weight.trim().parse::<f32>().ok());
        fits(word.trim(), weight.is_none_or(|weight| weight > 0.0))
    })
}

fn redirect(to: &str) -> Response<&'static [u8]> {
    let mut response = with_status(StatusCode::SEE_OTHER);
    if let Ok(to) = HeaderValue::try_from(to) {
        response.headers_mut().insert(LOCATION, to);
    }
    response.headers_mut().insert(VARY, HeaderValue::from_static("cookie"));
    response
}

fn with_status(status: StatusCode) -> Response<&'static [u8]> {
    let mut response = Response::new(&[][..]);
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn get(path: &str, headers: &[(&str, &str)], in_session: bool) -> Response<&'static [u8]> {
        let mut request = Request::get(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(&request.body(()).expect("a request").into_parts().0, in_session)
    }

    fn header<'r>(response: &'r Response<&'static [u8]>, name: &str) -> &'r str {
        response.headers().get(name).map_or("", |value| value.to_str().expect("text"))
    }

    #[test]
    fn without_a_session_the_dashboard_leads_to_the_login_and_back() {
        let answer = get("/app/devices?q=a&status=online", &[], false);
        assert_eq!(answer.status(), StatusCode::SEE_OTHER);
        assert_eq!(
            header(&answer, "location"),
            "/login.html?next=%2Fapp%2Fdevices%3Fq%3Da%26status%3Donline"
        );
        assert_eq!(get("/app/devices", &[], true).status(), StatusCode::OK);
        for open in OPEN.into_iter().chain([LOGIN]) {
            assert_eq!(get(open, &[], false).status(), StatusCode::OK, "{open}");
        }
        assert_eq!(header(&get("/", &[], false), "location"), "/app");
    }

    #[test]
    fn a_browser_gets_the_best_form_that_it_takes() {
        for (taken, coding) in [
            ("gzip, deflate, br, zstd", "br"),
            ("gzip;q=0.5, br;q=0", "gzip"),
            ("GZIP", "gzip"),
            ("br;q=0, gzip; q=0.0", ""),
            ("identity", ""),
            ("", ""),
        ] {
            let answer = get(LOGIN, &[("accept-encoding", taken)], false);
            assert_eq!(header(&answer, "content-encoding"), coding, "{taken}");
            assert!(!answer.body().is_empty());
        }
    }

    #[test]
    fn files_of_this_build_are_kept_for_ever_and_others_asked_for_again() {
        let path = "js/main.js";
        let of_this_build = get(&format!("/public/{BUILD}/{path}"), &[], false);
        assert_eq!(header(&of_this_build, "cache-control"), FOR_EVER);
        let by_name = get(&format!("/public/{path}"), &[], false);
        assert_eq!(header(&by_name, "cache-control"), ASK);
        assert_eq!(of_this_build.body(), by_name.body());
        assert_eq!(header(&of_this_build, "vary"), "accept-encoding");
        assert_eq!(header(&get("/favicon.ico", &[], false), "content-type"), "image/svg+xml");
        for missing in ["/public/0123456789abcdef/js/main.js", "/public/", "/public/../Cargo.toml"] {
            assert_eq!(get(missing, &[], true).status(), StatusCode::NOT_FOUND, "{missing}");
        }
    }

    #[test]
    fn what_a_browser_has_is_not_sent_again() {
        let tag = header(&get(LOGIN, &[], false), "etag").to_owned();
        let strong = tag.trim_start_matches("W/").to_owned();
        for known in [tag.clone(), strong, format!("\"other\", {tag}"), "*".to_owned()] {
            let answer = get(LOGIN, &[("if-none-match", &known)], false);
            assert_eq!((answer.status(), answer.body().len()), (StatusCode::NOT_MODIFIED, 0), "{known}");
            assert_eq!(header(&answer, "content-security-policy"), POLICY);
        }
        assert_eq!(get(LOGIN, &[("if-none-match", "W/\"other\"")], false).status(), StatusCode::OK);
    }
}
