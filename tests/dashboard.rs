//! The web page for people: as browsers get it, and in a real one, against a service with devices over MQTT.

mod charts;
mod commands;
mod console;
mod cost;
mod devices;
mod keyboard;
mod live;
mod mails;
mod pages;
mod pictures;
mod projections;
mod proof;
mod quarantine;
mod served;
mod sessions;
mod sources;

use std::path::Path;

use fleetlog_access::Role;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::browser::{Browser, Page};
use crate::support::mqtt::{Device, V5};
use crate::support::server::{EMAIL, PASSWORD, free_port};
use crate::support::{Database, Server, eventually};

/// The password of every user but the administrator.
const STRONG: &str = "violet turbine ladder";
/// The most messages of a device that wait for their acknowledgements.
const WINDOW: usize = 20;

/// A service and a browser.
struct Site {
    browser: Browser,
    server: Server,
    database: Database,
    /// The addresses that the service keeps when it is started again.
    ports: (u16, u16),
    files: tempfile::TempDir,
}

impl Site {
    /// Starts both. `None` where there is no browser.
    async fn open() -> Option<Self> {
        let browser = Browser::start().await?;
        let (database, ports) = (Database::fresh().await, (free_port(), free_port()));
        let files = tempfile::tempdir().expect("a directory");
        let server = serve(&database, ports, files.path()).await;
        Some(Self { browser, server, database, ports, files })
    }

    /// Kills the service. What it returns starts it again where it was.
    async fn kill(self) -> (Browser, impl AsyncFnOnce(Browser) -> Self) {
        let Self { browser, server, database, ports, files } = self;
        server.kill().await;
        let again = async move |browser| {
            let server = serve(&database, ports, files.path()).await;
            Self { browser, server, database, ports, files }
        };
        (browser, again)
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server.url())
    }

    /// A page of the administrator.
    async fn admin(&self, path: &str) -> Page {
        let page = self.browser.open(&self.url("/login.html")).await;
        log_in(&page, EMAIL, PASSWORD).await;
        page.go(&self.url(path)).await;
        page
    }

    /// A page of a new user, in a browser of that user's own.
    async fn user(&self, email: &str, role: Role, path: &str) -> Page {
        self.send(Method::POST, "/users", json!({"email": email, "role": role, "password": STRONG})).await;
        let page = self.browser.another().await.open(&self.url("/login.html")).await;
        log_in(&page, email, STRONG).await;
        page.go(&self.url(path)).await;
        page
    }

    /// Sends a request as the administrator, and expects success.
    async fn send(&self, method: Method, path: &str, body: Value) -> Value {
        let request = self.server.request(method, &format!("/api/v1{path}"));
        let request = if body.is_null() { request } else { request.json(&body) };
        let answer = request.send().await.expect("an answer");
        let (status, text) = (answer.status(), answer.text().await.expect("a text"));
        assert!(status.is_success(), "{path}: {status}: {text}");
        if status == StatusCode::NO_CONTENT {
            Value::Null
        } else {
            serde_json::from_str(&text).expect("JSON")
        }
    }

    /// Asks for a path as the administrator until the answer is as expected.
    async fn until(&self, path: &str, expected: impl Fn(&Value) -> bool) -> Value {
        eventually(path, async || {
            let answer = self.send(Method::GET, path, Value::Null).await;
            if expected(&answer) { Ok(answer) } else { Err(answer) }
        })
        .await
    }

    async fn device(&self, uid: &str) -> Device {
        Device::connect(([127, 0, 0, 1], self.server.mqtt()).into(), V5, uid).await
    }

    /// Publishes what a device says, and returns when all of it is acknowledged.
    async fn publish(&self, uid: &str, payloads: impl IntoIterator<Item = Value>) {
        let mut device = self.device(uid).await;
        let (topic, payloads) = (format!("t0/devices/{uid}/telemetry"), Vec::from_iter(payloads));
        for some in payloads.chunks(WINDOW) {
            for (id, payload) in (1..).zip(some) {
                device.publish(1, id, &topic, payload.to_string()).await;
            }
            for _ in some {
                device.puback().await;
            }
        }
    }

    /// The link in the last mail to an address.
    async fn mailed(&self, recipient: &str) -> String {
        let outbox = self.files.path().join("outbox");
        eventually("a mail", async || {
            let mut found = mails(&outbox, recipient);
            found.sort();
            let (_, last) = found.pop().ok_or("none")?;
            let link = last.lines().find(|line| line.contains("#token=")).ok_or("no link")?;
            Ok::<_, &str>(link.trim().to_owned())
        })
        .await
    }
}

/// Mails to an address, with the times at which they were written.
fn mails(outbox: &Path, recipient: &str) -> Vec<(std::time::SystemTime, String)> {
    let files = std::fs::read_dir(outbox).into_iter().flatten().map_while(Result::ok);
    let read = files.filter_map(|file| {
        let written = file.metadata().ok()?.modified().ok()?;
        Some((written, std::fs::read_to_string(file.path()).ok()?))
    });
    read.filter(|(_, mail)| mail.contains(recipient)).collect()
}

async fn serve(database: &Database, ports: (u16, u16), files: &Path) -> Server {
    let folder = |name: &str| files.join(name).display().to_string();
    let (outbox, audit, url) = (folder("outbox"), folder("audit"), format!("http://127.0.0.1:{}", ports.0));
    let arguments = ["--outbox-dir", &outbox, "--audit-dir", &audit, "--public-url", &url];
    let more = ["--webhooks-allow-private"];
    Server::serve_endpoint_at(&database.options(), ports, &[&arguments[..], &more].concat()).await
}

/// Logs in as the login page does, without its form.
async fn log_in(page: &Page, email: &str, password: &str) {
    let body = json!({"email": email, "password": password}).to_string();
    let request = json!({"method": "POST", "headers": {"content-type": "application/json"}, "body": body});
    let status = page.run(&format!("fetch('/api/login', {request}).then((answer) => answer.status)")).await;
    assert_eq!(status, 200, "{email} logs in");
}

/// Waits until a page is whole: its heading is there, and nothing in it is still on its way.
async fn whole(page: &Page) {
    page.until("Boolean(document.querySelector('main h1')) && !document.querySelector('main .waiting')")
        .await;
}

/// What the page has under a selector, as a person reads it; empty where it has nothing.
async fn text(page: &Page, css: &str) -> String {
    let script =
        format!("(document.querySelector({})?.innerText ?? '').replace(/\\s+/g, ' ').trim()", json!(css));
    page.run(&script).await.as_str().expect("a text").to_owned()
}

/// Waits until the text under a selector has another in it.
async fn reads(page: &Page, css: &str, part: &str) {
    let (css, part) = (json!(css), json!(part));
    page.until(&format!(
        "(document.querySelector({css})?.innerText ?? '').replace(/\\s+/g, ' ').includes({part})"
    ))
    .await;
}
