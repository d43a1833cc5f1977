//! The pictures at the beginning of README.md, of a fleet that does what fleets do. `cargo test --test main dashboard::pictures --
//! --ignored` takes them anew.

use std::f64::consts::TAU;
use std::path::Path;

use chrono::Utc;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Site, whole};
use crate::support::browser::{Page, Scheme};
use crate::support::mqtt::Device;

/// The sites of the fleet, with how many pumps each has.
const SITES: [(&str, usize); 4] = [("hanoi", 18), ("hue", 11), ("da-nang", 14), ("can-tho", 9)];
/// The pump of the second picture.
const PUMP: &str = "pump-hue-04";
/// How many of the fleet page's rates its picture shows.
const RATES: i64 = 52;

fn pumps() -> Vec<(String, &'static str, usize)> {
    let of_site = |(site, count)| (1..=count).map(move |n| (format!("pump-{site}-{n:02}"), site, n));
    SITES.into_iter().flat_map(of_site).collect()
}

/// What a pump measures at a moment, in seconds: it works harder by day, and with the tide of demand.
fn reading(at: f64, chance: &mut fastrand::Rng) -> Value {
    let mut noise = |width: f64| (chance.f64() - 0.5) * width;
    let (day, hour) = ((TAU * (at / 86_400.0 - 0.3)).sin(), (TAU * at / 2700.0).sin());
    let flow = 42.0 + 9.0 * day + 3.5 * hour + noise(1.6);
    let round = |value: f64, by: f64| (value * by).round() / by;
    json!({
        "ts": (at * 1000.0) as i64,
        "flow": round(flow, 10.0),
        "pressure": round(5.2 - 0.03 * flow + 0.12 * (TAU * at / 1300.0).sin() + noise(0.09), 100.0),
        "temperature": round(31.0 + 0.35 * flow + 2.0 * (TAU * (at - 900.0) / 2700.0).sin() + noise(0.5), 10.0),
        "vibration": round(1.6 + 0.02 * flow + 0.5 * (TAU * at / 8100.0).sin().max(0.0) + noise(0.3), 100.0),
    })
}

/// Writes a picture of what is seen.
async fn keep(page: &Page, name: &str) {
    let picture = page.picture().await;
    assert!(picture.len() < 150_000, "{name}: {}", picture.len());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/pictures");
    std::fs::write(folder.join(format!("{name}.webp")), picture).expect("written");
}

/// A device that listens for its commands.
async fn listener(site: &Site, uid: &str) -> Device {
    let mut device = site.device(uid).await;
    device.subscribe(&format!("t0/devices/{uid}/commands")).await;
    device
}

async fn command(site: &Site, device: &mut Device, uid: &str, cmd: &str, params: Value, status: &str) {
    site.send(Method::POST, &format!("/devices/{uid}/commands"), json!({"cmd": cmd, "params": params})).await;
    let command: Value = serde_json::from_slice(&device.message().await).expect("JSON");
    let mut answer = json!({"cmd_id": command["cmd_id"], "status": status});
    if status == "failed" {
        answer["error"] = json!({"reason": "valve closed"});
    }
    if !status.is_empty() {
        device.report(&format!("t0/devices/{uid}/command_ack"), answer.to_string()).await;
    }
}

/// Registers the pumps, gives them a past, and takes some of them offline.
async fn found(site: &Site, chance: &mut fastrand::Rng) {
    let rule = json!({"title": "Bearing shakes", "severity": "major",
        "condition": {"kind": "threshold", "metric": "vibration", "is": "above", "value": 3.4}});
    site.send(Method::PUT, "/alarm-rules/shaking", rule).await;
    for (uid, place, n) in pumps() {
        let device = json!({"uid": uid, "name": format!("Pump {n}"), "labels": {"site": place}});
        site.send(Method::POST, "/devices", device).await;
    }
    let now = Utc::now().timestamp() as f64;
    // Nobody could reach the pump for a quarter of an hour.
    let past = (0..2000).map(|n| now - 21_600.0 + 10.8 * f64::from(n));
    let past = past.filter(|at| !(9600.0..10_500.0).contains(&(now - at)));
    site.publish(PUMP, past.map(|at| reading(at, chance)).collect::<Vec<_>>()).await;
}

#[tokio::test]
#[ignore = "takes the pictures of README.md"]
async fn the_pictures_of_the_readme() {
    let site = Site::open().await.expect("a browser");
    let mut chance = fastrand::Rng::with_seed(7);
    found(&site, &mut chance).await;
    let page = site.admin("/app").await;
    page.call("Emulation.setTimezoneOverride", json!({"timezoneId": "Asia/Ho_Chi_Minh"})).await;
    page.size_at(1440, 900, 1.5).await;
    page.go(&site.url("/app")).await;
    whole(&page).await;

    // The fleet page asks for the rate every two seconds: the pumps publish in step with it.
    let mut devices = vec![];
    for (uid, ..) in pumps() {
        devices.push((listener(&site, &uid).await, uid));
    }
    for step in 1..=RATES {
        page.until(&format!("document.querySelector('fl-fleet').rates.length >= {step}")).await;
        let load = 0.75 + 0.2 * (TAU * step as f64 / 37.0).sin() + 0.05 * chance.f64();
        for (device, uid) in &mut devices {
            for _ in 0..2 {
                if chance.f64() < load {
                    let at = Utc::now().timestamp_millis() as f64 / 1000.0;
                    let topic = format!("t0/devices/{uid}/telemetry");
                    device.report(&topic, reading(at, &mut chance).to_string()).await;
                }
            }
        }
    }
    for (at, cmd, params, status) in [
        (3, "ping", json!({}), "ack"),
        (20, "set_interval", json!({"seconds": 10}), "ack"),
        (31, "set_interval", json!({"seconds": 5}), "failed"),
        (8, "ping", json!({}), "ack"),
        (44, "ping", json!({}), ""),
    ] {
        let (device, uid) = &mut devices[at];
        command(&site, device, uid, cmd, params, status).await;
    }
    let (device, uid) = &mut devices[12];
    let topic = format!("t0/devices/{uid}/telemetry");
    device.report(&topic, [0xff, 0xfe]).await;
    for (_, uid) in devices.drain(48..) {
        let mut device = site.device(&uid).await;
        device.report(&format!("t0/devices/{uid}/status"), "offline").await;
    }
    // Silent since some time.
    let silent = "UPDATE devices_v1 SET last_seen_at = last_seen_at - (interval '37 minutes' * ascii(right(uid, 1)) / 40)
        WHERE uid > 'pump-hue-07' AND uid <= 'pump-hue-11'";
    sqlx::raw_sql(silent).execute(&mut site.database.owner().await).await.expect("silent");
    page.until("document.querySelectorAll('.silent li').length >= 4").await;
    page.until("document.querySelector('.tiles').innerText.includes('Quarantine\\n1')").await;
    keep(&page, "fleet").await;

    page.scheme(Scheme::Dark).await;
    page.size_at(1440, 900, 1.5).await;
    page.go(&site.url(&format!("/app/devices/{PUMP}?span=6h"))).await;
    whole(&page).await;
    page.until("document.querySelectorAll('fl-chart .u-over').length === 4").await;
    page.until("document.querySelectorAll('fl-chart .value strong').length === 4").await;
    keep(&page, "device").await;
}
