//! The web page for people, as browsers get it: its addresses, headers and files. What it does in a browser is not tested here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use fleetlog_access::Role;
use fleetlog_dashboard::{OPEN, Served, build, served};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::Api;
use crate::support::api::{Answer, answer};

/// The most bytes that a browser fetches before it shows the first page.
const FIRST_PAGE: usize = 200_000;

async fn get(api: &Api, path: &str, headers: &[(&str, &str)]) -> Answer {
    let request = headers
        .iter()
        .fold(api.request(Method::GET, path), |request, (name, value)| request.header(*name, *value));
    answer(request).await
}

/// The texts of all files that are served, by their places.
fn texts() -> BTreeMap<&'static str, &'static str> {
    let text = |file: Served| (file.path, std::str::from_utf8(file.plain).expect("UTF-8"));
    served().map(text).collect()
}

/// What stands between two marks, each time.
fn between<'t>(text: &'t str, begin: &str, end: &str) -> Vec<&'t str> {
    text.split(begin).skip(1).filter_map(|rest| rest.split(end).next()).collect()
}

/// The place that a file names by a path of its own.
fn resolved(from: &str, path: &str) -> String {
    let mut place: Vec<&str> = from.split('/').collect();
    place.pop();
    for part in path.split('/') {
        match part {
            "." => {}
            ".." => assert!(place.pop().is_some(), "{from} leads out of the page: {path}"),
            part => place.push(part),
        }
    }
    place.join("/")
}

/// Whether a file's name has this extension.
fn is_a(path: &str, extension: &str) -> bool {
    Path::new(path).extension().is_some_and(|found| found == extension)
}

/// Which files a module or a style sheet loads, those that it may load later included or not.
fn loaded_by(path: &str, text: &str, later: bool) -> BTreeSet<String> {
    // Comments may hold the words of an import.
    let lines = text.lines().filter(|line| !line.trim_start().starts_with(['*', '/']));
    let code = lines.collect::<Vec<_>>().join("\n");
    let marks: &[&str] = match (is_a(path, "css"), is_a(path, "js"), later) {
        (true, ..) => &["url('"],
        (_, true, false) => &["from '", "from\"", "import '", "import\""],
        (_, true, true) => &["from '", "from\"", "import '", "import\"", "import('"],
        _ => &[],
    };
    let named = marks.iter().flat_map(|mark| between(&code, mark, &mark[mark.len() - 1..]));
    named.filter(|name| name.starts_with('.')).map(|name| resolved(path, name)).collect()
}

#[tokio::test]
async fn the_root_leads_to_the_dashboard_and_that_to_the_login_until_there_is_a_session() {
    let api = Api::start().await;
    let root = get(&api, "/", &[]).await;
    assert_eq!((root.status, root.header("location")), (StatusCode::SEE_OTHER, "/app"));
    let stranger = get(&api, "/app/devices?status=online", &[]).await;
    let login = "/login.html?next=%2Fapp%2Fdevices%3Fstatus%3Donline";
    assert_eq!((stranger.status, stranger.header("location")), (StatusCode::SEE_OTHER, login));
    let credentials = json!({"email": "admin@localhost", "password": "violet turbine ladder"});
    let added = json!({"email": "jo@example.com", "role": "viewer", "password": credentials["password"]});
    assert_eq!(api.send(Method::POST, "/users", added).await.status, StatusCode::CREATED);
    let credentials = json!({"email": "jo@example.com", "password": credentials["password"]});
    let logged_in = answer(api.request(Method::POST, "/api/login").json(&credentials)).await;
    let cookie = logged_in.header("set-cookie").split(';').next().expect("a cookie").to_owned();
    for path in ["/app", "/app/", "/app/devices", "/app/devices/dev-01", "/app/nowhere"] {
        let page = get(&api, path, &[("cookie", &cookie)]).await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        assert!(page.text.contains("<fl-app>"), "{path}: {}", page.text);
    }
}

#[tokio::test]
async fn whoever_follows_a_mails_link_gets_the_page_without_a_session() {
    let api = Api::start().await;
    let invited = json!({"email": "jo@example.com", "role": "viewer"});
    assert_eq!(api.send(Method::POST, "/users", invited).await.status, StatusCode::CREATED);
    let body: String = sqlx::query_scalar("SELECT body FROM mail_outbox WHERE recipient = 'jo@example.com'")
        .fetch_one(&mut api.database.owner().await)
        .await
        .expect("a mail");
    let link = body.lines().find_map(|line| line.trim().split_once("#token=")).expect("a link").0;
    let path = &link[link.find("/app").expect("a page")..];
    let router = texts()["js/router.js"];
    for page in OPEN.into_iter().chain([path]) {
        assert_eq!(get(&api, page, &[]).await.status, StatusCode::OK, "{page}");
        assert!(OPEN.contains(&page), "{page} needs no session");
        let route = format!("/^{}$/", page.replace('/', "\\/"));
        assert!(router.contains(&route), "the page's router does not know {page}");
    }
}

#[tokio::test]
async fn a_page_runs_nothing_but_its_own_files_and_is_shown_in_no_frame() {
    let api = Api::start().await;
    let page = get(&api, "/login.html", &[]).await;
    insta::assert_snapshot!(page.header("content-security-policy"), @"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types lit-html");
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cache-control", "no-cache"),
    ] {
        assert_eq!(page.header(name), value, "{name}");
    }
    for (path, text) in texts() {
        for inline in [" style=", " onclick=", "<style", "javascript:"] {
            assert!(!text.contains(inline) || path.starts_with("vendor/"), "{path} has {inline}");
        }
    }
    assert_eq!(between(&page.text, "<script", ">").len(), page.text.matches("<script").count());
    assert!(
        between(&page.text, "<script", ">").iter().all(|script| script.contains(" src=")),
        "{}",
        page.text
    );
}

#[tokio::test]
async fn a_browser_fetches_each_file_once_for_a_build_and_compressed() {
    let api = Api::start().await;
    for file in served().skip(1) {
        let path = format!("/public/{}/{}", build(), file.path);
        let plain = get(&api, &path, &[]).await;
        assert_eq!((plain.status, plain.text.as_bytes()), (StatusCode::OK, file.plain), "{path}");
        assert_eq!(plain.header("cache-control"), "public, max-age=31536000, immutable", "{path}");
        assert_eq!(plain.header("vary").split(',').next(), Some("accept-encoding"), "{path}");
        for (taken, coding) in [("gzip, deflate, br", "br"), ("gzip", "gzip")] {
            let small = get(&api, &path, &[("accept-encoding", taken)]).await;
            // What is hardly shorter than the file is sent as it is.
            let expected = if file.compressed < file.plain.len() { coding } else { "" };
            assert_eq!(small.header("content-encoding"), expected, "{path}");
        }
    }
    let other_build = get(&api, "/public/0123456789abcdef/js/main.js", &[]).await;
    assert_eq!(other_build.refusal(), "404 not_found");
}

#[tokio::test]
async fn a_browser_that_has_the_page_is_told_so() {
    let api = Api::start().await;
    let page = get(&api, "/login.html", &[]).await;
    let again = get(&api, "/login.html", &[("if-none-match", page.header("etag"))]).await;
    assert_eq!((again.status, &*again.text), (StatusCode::NOT_MODIFIED, ""));
    // They take the place of those that the browser has.
    for header in ["content-security-policy", "cross-origin-opener-policy", "cache-control", "vary"] {
        assert_eq!(again.header(header), page.header(header), "{header}");
    }
    let other = get(&api, "/login.html", &[("if-none-match", "W/\"of another build\"")]).await;
    assert_eq!(other.status, StatusCode::OK);
    assert_eq!(answer(api.request(Method::POST, "/login.html")).await.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[test]
fn every_file_that_the_page_names_is_there_and_none_lies_elsewhere() {
    let files = texts();
    let shell = files["index.html"];
    let base = format!("/public/{}/", build());
    let named = between(shell, "href=\"", "\"").into_iter().chain(between(shell, "src=\"", "\""));
    let mut named: Vec<(String, String)> = named
        .map(|address| ("index.html".to_owned(), address.strip_prefix(&base).unwrap_or(address).to_owned()))
        .collect();
    for (path, text) in &files {
        named.extend(loaded_by(path, text, true).into_iter().map(|to| ((*path).to_owned(), to)));
        let is_ours = !path.starts_with("vendor/");
        assert!(
            !is_ours || !text.replace("http://www.w3.org/", "").contains("http://"),
            "{path} names another host"
        );
        assert!(!is_ours || !text.contains("https://"), "{path} names another host");
    }
    assert!(named.len() > 100, "{}", named.len());
    for (from, to) in named {
        assert!(files.contains_key(&*to), "{from} names {to}, which is not served");
    }
}

#[test]
fn the_first_page_is_small() {
    let sizes: BTreeMap<&str, usize> = served().map(|file| (file.path, file.compressed)).collect();
    let files = texts();
    let base = format!("/public/{}/", build());
    let shell = files["index.html"];
    let named = between(shell, "href=\"", "\"").into_iter().chain(between(shell, "src=\"", "\""));
    let mut open: Vec<String> =
        named.filter_map(|address| address.strip_prefix(&base)).map(str::to_owned).collect();
    open.extend(["index.html", "js/pages/fleet.js", "js/i18n/vi.js"].map(str::to_owned));
    let mut fetched = BTreeSet::new();
    while let Some(path) = open.pop() {
        if fetched.insert(path.clone()) {
            open.extend(loaded_by(&path, files[&*path], false));
        }
    }
    let total: usize = fetched.iter().map(|path| sizes[&**path]).sum();
    assert!(total < FIRST_PAGE, "{total} bytes in {} files", fetched.len());
}

#[test]
fn every_language_has_the_same_texts_with_the_same_places_for_values() {
    let files = texts();
    let catalogue = |language: &str| -> BTreeMap<&str, BTreeSet<&str>> {
        let lines =
            files[&*format!("js/i18n/{language}.js")].lines().filter_map(|line| line.strip_prefix("  '"));
        lines
            .map(|line| {
                let (key, text) = line.split_once("': '").expect("a key and a text");
                assert_ne!(text, "',", "{language} has no text for {key}");
                (key, between(text, "{", "}").into_iter().collect())
            })
            .collect()
    };
    let english = catalogue("en");
    assert!(english.len() > 300, "{}", english.len());
    assert_eq!(english, catalogue("vi"));
}

#[test]
fn every_event_of_the_log_has_a_name_for_people() {
    let english = texts()["js/i18n/en.js"];
    let events = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/EVENTS.md"));
    let events = events.expect("the list of events");
    let of_log: BTreeSet<&str> = between(&events, "{\"", "\"").into_iter().collect();
    let of_log = of_log.into_iter().filter(|name| name.starts_with(char::is_uppercase));
    let nameless: Vec<&str> = of_log.filter(|name| !english.contains(&format!("'event.{name}':"))).collect();
    assert_eq!(nameless, [""; 0]);
}

#[test]
fn every_action_and_every_role_has_a_name_for_people() {
    let english = texts()["js/i18n/en.js"];
    let actions = fleetlog_access::Action::ALL.iter().map(|action| action.as_str());
    let areas =
        actions.clone().filter_map(|action| action.rsplit_once('.')).map(|(area, _)| format!("area.{area}"));
    let actions = actions.map(|action| format!("action.{action}"));
    let roles = Role::ALL.iter().flat_map(|role| [format!("role.{role}"), format!("role.says.{role}")]);
    let nameless: Vec<String> =
        actions.chain(areas).chain(roles).filter(|key| !english.contains(&format!("'{key}':"))).collect();
    assert_eq!(nameless, [""; 0]);
}

#[test]
fn the_dark_theme_is_the_same_by_choice_and_by_system() {
    let tokens = texts()["css/tokens.css"];
    let values = |begin: &str| -> BTreeSet<&str> {
        between(tokens, begin, "}")[0].lines().map(str::trim).filter(|line| line.contains(':')).collect()
    };
    let chosen = values(":root[data-theme='dark'] {");
    assert!(chosen.len() > 20);
    assert_eq!(chosen, values(":root:not([data-theme='light']) {"));
}

/// Checks what others wrote against its checksums. Returns what is listed there.
fn as_published(folder: &str) -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let sums = std::fs::read_to_string(folder.join("CHECKSUMS")).expect("checksums");
    let mut listed = BTreeSet::new();
    for line in sums.lines() {
        let (sum, path) = line.split_once("  ").expect("a checksum and a path");
        let bytes = std::fs::read(folder.join(path)).expect("a file");
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes);
        let found = digest.as_ref().iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        assert_eq!(found, sum, "{path}: `node dashboard/vendor.mjs` fetches it anew");
        listed.insert(path.to_owned());
    }
    listed
}

#[test]
fn what_others_wrote_is_as_they_published_it() {
    assert!(as_published("tests/vendor").contains("axe-core/axe.min.js"));
    let listed = as_published("dashboard/vendor");
    for file in served().filter_map(|file| file.path.strip_prefix("vendor/")) {
        assert!(listed.contains(file), "{file} is served and not listed");
    }
    for package in listed.iter().filter_map(|path| path.strip_suffix("/LICENSE.txt")) {
        assert!(listed.iter().any(|path| path.starts_with(package) && is_a(path, "js")), "{package}");
    }
}

#[tokio::test]
async fn whoever_asks_who_they_are_learns_what_they_may_do() {
    let api = Api::start().await;
    let may = async |role: Role, path: &str| -> Vec<String> {
        let answered = answer(api.request(Method::GET, path).bearer_auth(api.token("t0", role))).await;
        let listed = answered.json()["may"].as_array().expect("actions").clone();
        listed.iter().map(|action| action.as_str().expect("text").to_owned()).collect()
    };
    for role in Role::ALL {
        let expected: Vec<&str> = fleetlog_access::Action::ALL
            .iter()
            .filter(|action| role.may(**action))
            .map(|action| action.as_str())
            .collect();
        for path in ["/auth/me", "/users/me", "/api/me"] {
            assert_eq!(may(role, path).await, expected, "{role:?} at {path}");
        }
    }
    let forbid = "forbid (principal in Role::\"operator\", action == Action::\"commands.write\", resource);";
    let policy = api.send(Method::PUT, "/policies/no-commands", json!({ "source": forbid })).await;
    assert_eq!(policy.status, StatusCode::OK, "{}", policy.text);
    assert!(!may(Role::Operator, "/auth/me").await.contains(&"commands.write".to_owned()));
    // Of another tenant, nobody has a say in the platform.
    api.add_tenant("t1").await;
    let stranger =
        answer(api.request(Method::GET, "/auth/me").bearer_auth(api.token("t1", Role::Admin))).await;
    let listed: Value = stranger.json()["may"].clone();
    assert!(
        !listed.to_string().contains("tenants.read") && listed.to_string().contains("users.write"),
        "{listed}"
    );
}
