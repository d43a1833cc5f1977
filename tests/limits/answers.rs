//! How large an answer may be.

use fleetlog_access::Role;
use fleetlog_event_log::Lane;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{DAY, ask, put_tier};
use crate::support::Api;
use crate::support::api::Answer;

/// The size of a large reading, in bytes.
const LARGE: usize = 100 << 10;

/// The largest page: a MiB, and the item that reached it.
const PAGE: usize = (1 << 20) + 2 * LARGE;

async fn with_large_readings(devices: usize, readings: i64) -> Api {
    let api = Api::start().await;
    let reading = |n: i64| json!({"msg_id": format!("m{n}"), "n": n, "text": "x".repeat(LARGE)});
    for device in 0..devices {
        api.publish(&format!("dev-{device:02}"), (0..readings).map(reading)).await;
    }
    api.catch_up().await;
    api
}

/// Reads a list to its end, and counts its pages and items. Checks that no page is too large.
async fn read_all(api: &Api, path: &str, next: impl Fn(&Value) -> String) -> (usize, usize) {
    let (mut pages, mut items, mut cursor) = (0, 0, String::new());
    loop {
        let page = api.get(&format!("{path}{cursor}")).await;
        assert!(page.text.len() < PAGE, "{path}: {}", page.text.len());
        let page = page.json();
        (pages, items) = (pages + 1, items + page["items"].as_array().expect("items").len());
        if page["has_more"] == false {
            return (pages, items);
        }
        cursor = next(&page);
    }
}

#[tokio::test]
async fn a_page_ends_early_when_its_items_are_large_and_the_next_one_goes_on() {
    let api = with_large_readings(25, 1).await;
    let reading = |n: i64| json!({"msg_id": format!("n{n}"), "text": "y".repeat(LARGE)});
    api.publish("dev-00", (0..24).map(reading)).await;
    let cursor = |page: &Value| format!("&cursor={}", page["next_cursor"].as_str().expect("a cursor"));
    let after = |page: &Value| format!("&after={}", page["next_cursor"].as_str().expect("a cursor"));
    assert_eq!(read_all(&api, "/telemetry/dev-00?limit=1000", cursor).await, (3, 25));
    assert_eq!(read_all(&api, "/devices?limit=1000", cursor).await, (3, 25));
    let as_of = format!("{}:49", api.log_of("t0", Lane::Telemetry));
    assert_eq!(read_all(&api, &format!("/devices?limit=1000&as_of={as_of}"), cursor).await, (3, 25));
    assert_eq!(read_all(&api, "/events?log=telemetry&limit=1000", after).await, (5, 49));
}

#[tokio::test]
async fn a_question_is_refused_where_its_answer_would_be_too_large() {
    let api = with_large_readings(10, 10).await;
    let nodes = async |query: String| {
        let answered = api.send(Method::POST, "/graphql", json!({ "query": query })).await.json();
        let code = answered["errors"][0]["extensions"]["code"].as_str().map(str::to_owned);
        code.unwrap_or_else(|| answered["data"].as_object().map_or(0, serde_json::Map::len).to_string())
    };
    let of_devices = |first: u32| {
        format!(
            "{{ devices(first: 10) {{ nodes {{ telemetry(first: {first}) {{ nodes {{ payload }} }} }} }} }}"
        )
    };
    assert_eq!(nodes(of_devices(1)).await, "1");
    assert_eq!(nodes(of_devices(10)).await, "answer_too_large", "many devices at once");
    let lists = |count: u32| {
        let list = |n| format!("d{n}: devices(first: 9) {{ nodes {{ lastReading {{ payload }} }} }}");
        format!("{{ {} }}", (0..count).map(list).collect::<Vec<_>>().join(" "))
    };
    assert_eq!(nodes(lists(4)).await, "4");
    assert_eq!(nodes(lists(5)).await, "answer_too_large", "many lists");
}

/// How many requests a caller has left, as an answer says.
fn left(answered: &Answer) -> usize {
    let left = answered.header("ratelimit").split("r=").nth(1).and_then(|left| left.split(';').next());
    left.and_then(|left| left.parse().ok()).expect("what is left")
}

#[tokio::test]
async fn an_answer_as_of_a_moment_pays_for_the_events_that_it_folds() {
    let api = Api::start().await;
    let readings = |from: i64| (from..from + 5_100).map(|n| json!({"msg_id": format!("m{n}")}));
    for from in [0, 5_100] {
        api.publish("dev-00", readings(from)).await;
    }
    put_tier(&api, "enterprise", json!([{"path": "*", "requests": 1000, "window_s": DAY}])).await;
    let as_of = format!("{}:10200", api.log_of("t0", Lane::Telemetry));
    let price = async |method: Method, path: &str, body: Option<Value>| {
        let before = left(&ask(&api, "t0", Role::Viewer, "/projections").await);
        let answered = api.send_as(Role::Viewer, method, path, body).await;
        assert_eq!(answered.status, StatusCode::OK, "{}", answered.text);
        before - left(&answered)
    };
    let device = format!("/devices/dev-00?as_of={as_of}");
    assert_eq!(price(Method::GET, &device, None).await, 2);
    let question =
        json!({"query": format!(r#"{{ device(uid: "dev-00", asOfPosition: "{as_of}") {{ messages }} }}"#)});
    assert_eq!(price(Method::POST, "/graphql", Some(question)).await, 2);
}

#[tokio::test]
async fn a_large_answer_counts_as_several_requests() {
    let api = with_large_readings(1, 5).await;
    put_tier(&api, "enterprise", json!([{"path": "*", "requests": 1000, "window_s": DAY}])).await;
    let left = async |path: &str| left(&ask(&api, "t0", Role::Viewer, path).await);
    let before = left("/telemetry/dev-00?limit=1").await;
    let small = before - left("/projections").await;
    assert_eq!(small, 1);
    let before = left("/projections").await;
    let large = before - left("/telemetry/dev-00").await;
    assert_eq!(large, 1 + 5 * LARGE / (64 << 10));
}
