//! Every page that the router knows: in both themes, on a phone and on a desk, full and empty, in both languages. Nothing in it stops
//! anybody from using it, it complains of nothing, asks nobody else, and fits.
//!
//! A new page is found by itself. One whose address names something, as `/app/devices/<uid>` does, needs an [`Example`].

mod examples;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Site, whole};
use crate::support::browser::{Page, Scheme};
use examples::Examples;

const AXE: &str = include_str!("../vendor/axe-core/axe.min.js");
/// Makes axe skip the rules whose findings only annoy people. It comes with every document, after [`AXE`] itself.
const RULES: &str = "axe.configure({ rules: axe._audit.rules
    .filter(({ impact }) => !['serious', 'critical'].includes(impact)).map(({ id }) => ({ id, enabled: false })) })";
/// What is found by axe and stops people from using a page, with where it is.
const FOUND: &str =
    "axe.run({ resultTypes: ['violations'], preload: false, selectors: false }).then(({ violations }) =>
    violations.map(({ id, help, nodes }) =>
        `${id}: ${help}: ${nodes.map(({ html, any }) => `${html} ${any[0]?.message ?? ''}`).join(' | ')}`))";
/// What is wider than the window, though nothing around it scrolls.
const WIDE: &str =
    "document.documentElement.scrollWidth <= innerWidth ? [] : [...document.querySelectorAll('body *')]
    .filter((one) => one.getBoundingClientRect().right > innerWidth + 1)
    .map((one) => `${document.documentElement.scrollWidth}: ${one.outerHTML.slice(0, 160)}`).slice(0, 5)";
const FRAMES: &str = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))";
const UUID_LENGTH: usize = 36;
/// A person's screens: names, widths and heights.
const SCREENS: [(&str, u32, u32); 2] = [("desk", 1440, 900), ("phone", 375, 812)];

/// A page as the router has it: the element, the pattern of its address, whether it needs no session.
struct Route {
    tag: String,
    pattern: String,
    is_open: bool,
}

/// The router's own table.
async fn routes(page: &Page) -> Vec<Route> {
    let module = format!("/public/{}/js/router.js", fleetlog_dashboard::build());
    let table = "ROUTES.map(({ tag, path, open }) => [tag, path.source, open === true])";
    let routes = page.run(&format!("import('{module}').then(({{ ROUTES }}) => {table})")).await;
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let route = |one: &Value| Route { tag: text(&one[0]), pattern: text(&one[1]), is_open: one[2] == true };
    routes.as_array().expect("a table").iter().map(route).collect()
}

impl Route {
    /// An address of the page: what its pattern leaves open is an example.
    fn address(&self, examples: &Examples) -> String {
        let plain = self
            .pattern
            .trim_start_matches('^')
            .trim_end_matches('$')
            .replace("\\/?", "")
            .replace("\\/", "/");
        let plain = plain.replace("\\.", ".");
        let mut parts = plain.split("(?<");
        let mut address = parts.next().expect("a first part").to_owned();
        for part in parts {
            let (name, rest) = part.split_once('>').expect("a name");
            let (_, rest) = rest.split_once(')').expect("a closed group");
            let example = examples.of(&address, name);
            address.push_str(example.unwrap_or_else(|| {
                panic!("{}: tests/dashboard/pages/examples.rs has no {name} for {address}", self.tag)
            }));
            address.push_str(rest);
        }
        assert!(
            !address.contains(['\\', '(', '[', '|', '*', '+']),
            "{}: no address from {}",
            self.tag,
            self.pattern
        );
        address
    }
}

/// The addresses of a page's parts that have tabs of their own. A tab may also be another page.
async fn tabs(page: &Page, pattern: &str) -> BTreeSet<String> {
    let own = format!("filter((one) => new RegExp({}).test(one.pathname))", json!(pattern));
    let tabs = "[...document.querySelectorAll('nav.tabs a')]";
    list(page, &format!("{tabs}.{own}.map((one) => one.pathname + one.search)")).await.into_iter().collect()
}

/// The texts that a script of the page answers with.
async fn list(page: &Page, script: &str) -> Vec<String> {
    let texts = page.run(script).await;
    let texts = texts.as_array().expect("a list").iter();
    texts.map(|text| text.as_str().expect("a text").to_owned()).collect()
}

/// A file's name from an address. It is the same in each run: an id is left out.
fn file_name(address: &str) -> String {
    let words = address.split(['/', '?', '=', '#', '.']).filter(|word| !word.is_empty());
    let words = words.map(|word| if word.len() == UUID_LENGTH { "id" } else { word });
    words.collect::<Vec<_>>().join("-").replace("app-", "")
}

/// Looks at a page in both themes on both screens. Axe takes the most time: it looks at each theme and at each screen once.
async fn look_at(page: &Page, kept: &str, wrong: &mut Vec<String>) {
    for (screen, width, height) in SCREENS {
        page.size(width, height).await;
        for scheme in [Scheme::Light, Scheme::Dark] {
            page.scheme(scheme).await;
            // What depends on size and theme is drawn anew with the next frame.
            page.run(FRAMES).await;
            let name = format!("{kept}-{screen}-{}", scheme.as_str());
            page.keep_picture(&name).await;
            let mut found = list(page, WIDE).await;
            if (screen == "phone") == (scheme == Scheme::Dark) {
                found.extend(list(page, FOUND).await);
            }
            wrong.extend(found.into_iter().map(|fault| format!("{name}: {fault}")));
        }
    }
}

/// Goes to every page and each of its tabs, and looks at it.
async fn walk(site: &Site, examples: &Examples, language: &str, kept: &str) {
    let inside = site.admin("/app").await;
    let outside = site.browser.another().await.open(&site.url("/login.html")).await;
    let routes = routes(&inside).await;
    assert!(routes.len() > 10, "the router has pages");
    let mut wrong = vec![];
    for page in [&inside, &outside] {
        let script = json!({"source": format!("{AXE}; {RULES}")});
        page.call("Page.addScriptToEvaluateOnNewDocument", script).await;
        page.run(&format!("localStorage.setItem('fleetlog.language', '{language}')")).await;
    }
    for route in &routes {
        let page = if route.is_open { &outside } else { &inside };
        let address = route.address(examples);
        let mut open = vec![address.clone()];
        if route.is_open && address.starts_with("/app/") {
            // As a mail has it.
            open.push(format!("{address}#token=of-a-mail"));
        }
        let mut seen = BTreeSet::new();
        while let Some(address) = open.pop() {
            if !seen.insert(address.clone()) {
                continue;
            }
            page.go(&site.url(&address)).await;
            whole(page).await;
            if page.run("location.pathname").await != address.split(['?', '#']).next().expect("a path") {
                // It leads to another page, which has a turn of its own.
                continue;
            }
            let tag = json!(route.tag);
            assert_eq!(page.run(&format!("Boolean(document.querySelector({tag}))")).await, true, "{address}");
            open.extend(tabs(page, &route.pattern).await);
            look_at(page, &format!("{kept}-{}", file_name(&address)), &mut wrong).await;
        }
    }
    for page in [inside, outside] {
        wrong.extend(page.complaints().await);
        wrong.extend(page.refused().await.into_iter().filter(|answer| !examples.miss(answer)));
        let own = [site.url("/"), site.url("/").replace("http:", "ws:")];
        let asked = page.asked().await;
        wrong.extend(asked.into_iter().filter(|url| !own.iter().any(|own| url.starts_with(own))));
    }
    assert!(wrong.is_empty(), "{} faults:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn every_page_is_sound_in_both_themes_on_a_phone_and_on_a_desk() {
    let Some(site) = Site::open().await else { return };
    let examples = Examples::make(&site).await;
    walk(&site, &examples, "en", "full").await;
}

#[tokio::test]
async fn every_page_is_sound_in_vietnamese_too_and_before_anything_has_happened() {
    let Some(site) = Site::open().await else { return };
    walk(&site, &Examples::none(), "vi", "empty").await;
}
