//! Charts show what the API has: windows from afar, readings from near.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::{Site, whole};
use crate::support::browser::Page;

/// A point of a chart: a time in seconds and a value, none where a line is broken.
pub(super) type Point = (f64, Option<f64>);

/// The points of a chart.
pub(super) async fn drawn(page: &Page, metric: &str) -> Vec<Point> {
    let script = format!(
        "(() => {{ const {{ at, value }} = [...document.querySelectorAll('fl-chart')].find((one) => one.metric ===
           {}).data; return at.map((time, index) => [time, value[index]]) }})()",
        json!(metric)
    );
    let points = page.run(&script).await;
    let point = |point: &Value| (point[0].as_f64().expect("a time"), point[1].as_f64());
    points.as_array().expect("points").iter().map(point).collect()
}

/// Points without those at which a line is broken.
pub(super) fn known(points: &[Point]) -> Vec<Point> {
    points.iter().filter(|(_, value)| value.is_some()).copied().collect()
}

/// Waits until a chart has so many points with a value.
pub(super) async fn until_drawn(page: &Page, count: usize) {
    page.until(&format!(
        "document.querySelector('fl-chart')?.data.value.filter((one) => one !== null).length === {count}"
    ))
    .await;
}

/// All readings of a device in their times' order, as points.
pub(super) async fn of_api(site: &Site, uid: &str, metric: &str) -> Vec<Point> {
    let nodes = "telemetry(order: ASC, first: 1000) { nodes { ts payload } }";
    let answer = site.server.graphql(&format!("{{ device(uid: \"{uid}\") {{ {nodes} }} }}")).await;
    let nodes = answer["data"]["device"]["telemetry"]["nodes"].as_array().expect("readings");
    nodes.iter().map(|node| (seconds(&node["ts"]), node["payload"][metric].as_f64())).collect()
}

fn seconds(time: &Value) -> f64 {
    let time = DateTime::parse_from_rfc3339(time.as_str().expect("a time")).expect("a time");
    time.timestamp_millis() as f64 / 1000.0
}

/// The windows of a metric that overlap a range, as points: the middle and the mean.
async fn windows_of_api(
    site: &Site,
    uid: &str,
    metric: &str,
    (from, to): (f64, f64),
    step: &str,
) -> Vec<Point> {
    let [from, to] = [from, to]
        .map(|time| DateTime::from_timestamp_millis((time * 1000.0) as i64).expect("a time").to_rfc3339());
    let windows = format!(
        "windows(metric: \"{metric}\", from: \"{from}\", to: \"{to}\", step: \"{step}\") {{ series {{ windows {{ start end avg }} }} }}"
    );
    let answer = site.server.graphql(&format!("{{ device(uid: \"{uid}\") {{ {windows} }} }}")).await;
    let windows = &answer["data"]["device"]["windows"]["series"][0]["windows"];
    let windows = windows.as_array().unwrap_or_else(|| panic!("{answer}"));
    let point =
        |one: &Value| (f64::midpoint(seconds(&one["start"]), seconds(&one["end"])), one["avg"].as_f64());
    windows.iter().map(point).collect()
}

/// Whether charts draw single readings, and the range that they show.
async fn shows(page: &Page) -> (bool, (f64, f64)) {
    let state = page
        .run("(() => { const charts = document.querySelector('fl-device-charts'); return [charts.readings !== null, ...charts.range] })()")
        .await;
    let number = |at: usize| state[at].as_f64().expect("a number");
    (state[0] == true, (number(1), number(2)))
}

#[tokio::test]
async fn a_chart_has_windows_from_afar_and_readings_from_near_and_each_is_what_the_api_has() {
    let Some(site) = Site::open().await else { return };
    // Six hours, a reading every minute, without those of twenty minutes in the fourth hour.
    let begin = (Utc::now() - TimeDelta::hours(6)).timestamp_millis();
    let minutes = (0..358).filter(|minute| !(200..220).contains(minute));
    let reading = |minute: i64| json!({"ts": begin + 60_000 * minute, "temperature": 20.0 + (minute % 40) as f64 / 4.0});
    site.publish("dev-01", minutes.map(reading)).await;
    let page = site.admin("/app/devices/dev-01?span=6h").await;
    whole(&page).await;
    page.until("document.querySelectorAll('fl-chart .u-over').length > 0").await;
    let (is_raw, range) = shows(&page).await;
    assert!(!is_raw, "six hours are drawn by windows");
    let windows = known(&drawn(&page, "temperature").await);
    let all = windows_of_api(&site, "dev-01", "temperature", range, "1m").await;
    assert!(windows.len() > 300, "{}", windows.len());
    // The chart was asked for a moment ago: its range began a little earlier.
    let common: Vec<_> = windows.iter().filter(|point| all.contains(point)).collect();
    assert!(common.len() >= windows.len() - 2, "{windows:?}\n{all:?}");

    page.drag(".u-over", 0.5, 0.62).await;
    page.until("document.querySelector('fl-device-charts').readings !== null").await;
    let (_, (from, to)) = shows(&page).await;
    assert!((2400.0..2800.0).contains(&(to - from)), "an eighth of six hours: {}", to - from);
    let points = drawn(&page, "temperature").await;
    let readings = of_api(&site, "dev-01", "temperature").await;
    let within = |(at, _): &&Point| (from..=to).contains(at);
    assert_eq!(known(&points), readings.iter().filter(within).copied().collect::<Vec<_>>());
    assert_eq!(points.len() - known(&points).len(), 1, "the line is broken once: {points:?}");

    // A colleague who gets the address sees the same.
    let address = page.run("location.href").await;
    let other = site.browser.open(address.as_str().expect("an address")).await;
    other.until("document.querySelectorAll('fl-chart .u-over').length > 0").await;
    assert_eq!(shows(&other).await, (true, (from, to)));
    assert_eq!(drawn(&other, "temperature").await, points);
    page.click("button[aria-label='Back to live']").await;
    page.until("!location.search.includes('from')").await;
    assert_eq!((page.refused().await, page.complaints().await), (vec![], vec![]));
}

#[tokio::test]
async fn the_value_beside_a_metrics_name_is_the_last_one_that_is_drawn() {
    let Some(site) = Site::open().await else { return };
    site.publish("dev-01", [json!({"temperature": 21.5})]).await;
    let page = site.admin("/app/devices/dev-01").await;
    until_drawn(&page, 1).await;
    let shown = page
        .run(
            "(async () => {
                const chart = document.querySelector('fl-chart');
                chart.data = { at: [1, 2], value: [3, 4.5], gaps: [] };
                await chart.updateComplete;
                return chart.querySelector('.value').innerText;
            })()",
        )
        .await;
    assert_eq!(shown, "4.5");
}
