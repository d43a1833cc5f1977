//! What the page costs the machine on which it is open all day. A measurement, and no test: it takes ten minutes.
//!
//! `cargo test --test main dashboard::cost -- --ignored --nocapture` prints it; `SECONDS_OPEN` sets another time.

use std::env;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, interval};

use super::{Site, log_in, reads, whole};
use crate::support::browser::{Browser, Page};
use crate::support::server::{EMAIL, PASSWORD};
use crate::support::tool;

const DEVICES: &str = "1000";
const RATE: &str = "1000";
const MEGABYTE: f64 = 1_000_000.0;

/// A page that is measured: alone in its renderer's process.
struct Open {
    name: &'static str,
    page: Page,
    _browser: Browser,
    process: u64,
    /// The processor time of the process when the measurement began, in seconds.
    before: f64,
    /// What was left of the heap after garbage was collected when the measurement began, in megabytes.
    kept: f64,
    /// The most that was seen, in megabytes.
    heap: f64,
    own: f64,
    resident: f64,
}

/// The browser's processes that show pages: their ids with the processor time of each, in seconds.
async fn renderers(browser: &Browser) -> Vec<(u64, f64)> {
    let processes = browser.processes().await;
    let renderers = processes.as_array().expect("processes").iter().filter(|one| one["type"] == "renderer");
    renderers
        .map(|one| (one["id"].as_u64().expect("an id"), one["cpuTime"].as_f64().expect("a time")))
        .collect()
}

/// What Chromium measures of a page by this name: bytes, or seconds.
async fn metric(page: &Page, name: &str) -> f64 {
    let metrics = page.call("Performance.getMetrics", json!({})).await;
    let found = metrics["metrics"].as_array().and_then(|all| all.iter().find(|one| one["name"] == name));
    found.and_then(|one| one["value"].as_f64()).expect("a metric")
}

/// The processor time of a page's process, in seconds.
async fn cpu(page: &Page) -> f64 {
    metric(page, "ProcessTime").await
}

/// A figure of a process's memory, in megabytes.
fn memory(process: u64, names: &[&str]) -> f64 {
    let rollup = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup")).expect("figures");
    let of = |name: &str| -> f64 {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).expect("a number")
    };
    names.iter().map(|name| of(name)).sum::<f64>() * 1024.0 / MEGABYTE
}

impl Open {
    async fn new(site: &Site, name: &'static str, path: &str) -> Self {
        let browser = site.browser.another().await;
        let known: Vec<u64> = renderers(&browser).await.into_iter().map(|(id, _)| id).collect();
        let page = browser.open(&site.url("/login.html")).await;
        // What is told of the network would fill the page's memory with itself.
        page.call("Network.disable", json!({})).await;
        page.call("Performance.enable", json!({})).await;
        log_in(&page, EMAIL, PASSWORD).await;
        page.size(1440, 900).await;
        page.go(&site.url(path)).await;
        whole(&page).await;
        // A process that is kept ready for the next page has hardly worked.
        let spent = cpu(&page).await;
        let new = renderers(&browser).await.into_iter().filter(|(id, _)| !known.contains(id));
        let nearest =
            new.min_by(|(_, one), (_, other)| (one - spent).abs().total_cmp(&(other - spent).abs()));
        let (process, _) = nearest.expect("a process of its own");
        Self {
            name,
            page,
            _browser: browser,
            process,
            before: 0.0,
            kept: 0.0,
            heap: 0.0,
            own: 0.0,
            resident: 0.0,
        }
    }

    /// What is left of the heap after garbage is collected, in megabytes: it grows with what leaks.
    async fn kept(&self) -> f64 {
        self.page.call("HeapProfiler.collectGarbage", json!({})).await;
        metric(&self.page, "JSHeapUsedSize").await / MEGABYTE
    }

    async fn look(&mut self) {
        self.heap = self.heap.max(metric(&self.page, "JSHeapUsedSize").await / MEGABYTE);
        self.own = self.own.max(memory(self.process, &["Private_Clean", "Private_Dirty"]));
        self.resident = self.resident.max(memory(self.process, &["Rss"]));
    }
}

#[tokio::test]
#[ignore = "is a measurement of ten minutes"]
async fn the_fleet_and_a_device_are_cheap_to_keep_open_with_a_thousand_devices() {
    let site = Site::open().await.expect("a browser");
    let seconds = env::var("SECONDS_OPEN").map_or(600, |text| text.parse().expect("seconds"));
    let broker = format!("mqtt://127.0.0.1:{}", site.server.mqtt());
    let load = ["--mqtt-url", &broker, "--devices", DEVICES, "--rate", RATE];
    let mut simulating = tool("simulate").args(load).spawn().expect("the binary");
    let uid = "sim-00001";
    site.until("/devices?count=true&limit=1", |answer| answer["total"].as_u64() >= DEVICES.parse().ok())
        .await;
    let mut open = [
        Open::new(&site, "fleet", "/app").await,
        Open::new(&site, "devices", "/app/devices").await,
        Open::new(&site, "device", &format!("/app/devices/{uid}")).await,
    ];
    reads(&open[0].page, ".tile .big", "1").await;
    for one in &mut open {
        one.kept = one.kept().await;
        one.before = cpu(&one.page).await;
    }
    let (head, begun) = (site.send(reqwest::Method::GET, "/logs", Value::Null).await, Instant::now());
    let mut ticks = interval(Duration::from_secs(5));
    while begun.elapsed() < Duration::from_secs(seconds) {
        ticks.tick().await;
        for one in &mut open {
            one.look().await;
        }
    }
    let (took, after) =
        (begun.elapsed().as_secs_f64(), site.send(reqwest::Method::GET, "/logs", Value::Null).await);
    let stored = |logs: &Value| -> f64 {
        let of_readings =
            logs["items"].as_array().expect("logs").iter().filter(|log| log["lane"] == "telemetry");
        of_readings.map(|log| log["head"].as_f64().expect("a position")).sum()
    };
    eprintln!("{took:.0} s at {:.0} messages a second", (stored(&after) - stored(&head)) / took);
    for one in &open {
        let share = 100.0 * (cpu(&one.page).await - one.before) / took;
        let after = one.kept().await;
        let Open { name, kept, heap, own, resident, .. } = one;
        eprintln!(
            "{name}: {share:.1} % of a core, {heap:.1} MB of JavaScript's heap ({kept:.1} then {after:.1} MB without garbage), {own:.0} MB of its process's own, {resident:.0} MB resident"
        );
        assert!(share < 50.0 && *own < 150.0, "{name} is too dear");
        assert_eq!(one.page.complaints().await, [""; 0]);
    }
    simulating.kill().await.expect("ended");
}
