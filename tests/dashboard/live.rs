//! What happens is seen as it happens, also over an end of the service.

use chrono::{TimeDelta, Utc};
use serde_json::json;

use super::{Site, charts, reads, whole};

/// Whether the page says that the service is gone.
const LOST: &str = "document.querySelector('.lost').classList.contains('visible')";

#[tokio::test]
async fn a_reading_that_a_device_publishes_is_on_its_page_without_asking_and_the_device_in_the_fleet() {
    let Some(site) = Site::open().await else { return };
    let mut device = site.device("dev-01").await;
    let topic = "t0/devices/dev-01/telemetry";
    let fleet = site.admin("/app").await;
    whole(&fleet).await;
    reads(&fleet, "main", "No device has spoken yet.").await;
    let port = site.server.mqtt();
    reads(&fleet, "fl-publish-line", &format!("mosquitto_pub -h 127.0.0.1 -p {port} ")).await;
    reads(&fleet, "fl-publish-line", &format!("at port {port}.")).await;
    device.report(topic, json!({"temperature": 21.5}).to_string()).await;
    reads(&fleet, ".feed", "Device registered").await;
    reads(&fleet, ".tile", "1").await;
    let page = site.browser.open(&site.url("/app/devices/dev-01")).await;
    reads(&page, ".chart-head .value", "21.5").await;
    device.report(topic, json!({"temperature": 31.25}).to_string()).await;
    reads(&page, ".chart-head .value", "31.25").await;
    reads(&page, "table tbody tr", "31.25").await;
    for page in [fleet, page] {
        assert_eq!((page.refused().await, page.complaints().await), (vec![], vec![]));
    }
}

#[tokio::test]
async fn a_page_says_that_the_service_is_gone_comes_back_by_itself_and_its_chart_has_what_the_log_has() {
    let Some(site) = Site::open().await else { return };
    // A reading each two seconds, with one pause of half a minute that is real.
    let begin = (Utc::now() - TimeDelta::minutes(5)).timestamp_millis();
    let reading = |n: i64| {
        let pause = if n >= 20 { 30_000 } else { 0 };
        json!({"msg_id": format!("m{n}"), "ts": begin + 2000 * n + pause, "temperature": 20.0 + n as f64 / 4.0})
    };
    site.publish("dev-01", (0..30).map(reading)).await;
    let page = site.admin("/app/devices/dev-01").await;
    charts::until_drawn(&page, 30).await;
    assert_eq!(page.run(LOST).await, false);
    let (browser, again) = site.kill().await;
    reads(&page, ".lost", "Connection lost").await;
    let site = again(browser).await;
    // Devices send what was not acknowledged, and what they have measured meanwhile.
    site.publish("dev-01", (25..60).map(reading)).await;
    page.until(&format!("!{LOST}")).await;
    site.publish("dev-01", (60..70).map(reading)).await;
    charts::until_drawn(&page, 70).await;
    let expected: Vec<_> = (0..70).map(|n| reading(n)["temperature"].as_f64()).collect();
    let drawn = charts::drawn(&page, "temperature").await;
    let known = charts::known(&drawn);
    assert_eq!(known.iter().map(|(_, value)| *value).collect::<Vec<_>>(), expected);
    assert_eq!(charts::of_api(&site, "dev-01", "temperature").await, known);
    let holes = drawn.iter().enumerate().filter(|(_, (_, value))| value.is_none());
    let around: Vec<_> = holes.map(|(at, _)| (drawn[at - 1].1, drawn[at + 1].1)).collect();
    let pause = (expected[19], expected[20]);
    assert_eq!(around, [pause], "a line is broken where there was a pause, and nowhere else");
    assert_eq!(page.complaints().await, [""; 0]);
}
