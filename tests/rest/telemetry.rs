//! Readings and their windows over REST.

use serde_json::{Value, json};

use crate::support::Api;

fn numbers(page: &Value) -> Vec<i64> {
    let items = page["items"].as_array().expect("items").iter();
    items.map(|item| item["payload"]["n"].as_i64().expect("a number")).collect()
}

fn reading(n: i64) -> Value {
    json!({"msg_id": format!("m{n}"), "ts": format!("2026-03-01T12:{:02}:00Z", n), "n": n})
}

#[tokio::test]
async fn the_newest_hundred_readings_come_first() {
    let api = Api::start().await;
    api.publish("dev-01", (0..150).map(|n| json!({"n": n, "ts": 1_772_366_400_000_i64 + n}))).await;
    let page = api.get("/telemetry/dev-01").await.json();
    assert_eq!(numbers(&page), (50..150).rev().collect::<Vec<_>>());
    assert_eq!(page["has_more"], true);
}

#[tokio::test]
async fn a_reading_is_shown_as_it_was_sent_with_what_was_noticed() {
    let api = Api::start().await;
    api.publish("dev-01", [reading(7)]).await;
    let page = api.get("/telemetry/dev-01").await.json();
    let item = &page["items"][0];
    assert_eq!(item["payload"], reading(7));
    assert_eq!(
        (&item["device_uid"], &item["ts"], &item["msg_id"], &item["position"], &item["flags"]),
        (&json!("dev-01"), &json!("2026-03-01T12:07:00Z"), &json!("m7"), &json!(1), &item["flags"])
    );
    assert!(item["recorded_at"].is_string());
    let mut fields: Vec<_> = item.as_object().expect("an object").keys().collect();
    fields.sort();
    assert_eq!(fields, ["device_uid", "flags", "msg_id", "payload", "position", "recorded_at", "ts"]);
}

#[tokio::test]
async fn a_span_is_read_page_by_page_in_either_order() {
    let api = Api::start().await;
    api.publish("dev-01", (0..10).map(reading)).await;
    for (order, wanted) in [("asc", (2..8).collect::<Vec<_>>()), ("desc", (2..8).rev().collect())] {
        let span = "from=2026-03-01T12:02:00Z&to=2026-03-01T19:08:00%2B07:00";
        let (mut seen, mut cursor) = (vec![], String::new());
        loop {
            let page =
                api.get(&format!("/telemetry/dev-01?{span}&order={order}&limit=4{cursor}")).await.json();
            seen.extend(numbers(&page));
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(seen, wanted, "{order}");
    }
}

#[tokio::test]
async fn a_device_that_has_sent_nothing_has_an_empty_page() {
    let api = Api::start().await;
    api.publish("dev-01", []).await;
    api.catch_up().await;
    let answered = api.get("/telemetry/dev-01").await.json();
    assert_eq!(answered, json!({"items": [], "next_cursor": null, "has_more": false}));
    assert_eq!(api.get("/telemetry/dev-02").await.refusal(), "404 not_found");
}

#[tokio::test]
async fn windows_say_how_they_were_cut_and_how_many_readings_each_has() {
    let api = Api::start().await;
    let last = api.publish("dev-01", (0..10).map(reading)).await;
    let log = api.log_of("t0", fleetlog_event_log::Lane::Telemetry);
    let range = "from=2026-03-01T12:00:00Z&to=2026-03-01T12:10:00Z";
    let path = format!("/telemetry/dev-01/windows?metric=n&{range}&step=5m&min_position={log}:{last}");
    let answer = api.get(&path).await.json();
    assert_eq!((&answer["step"], &answer["tz"]), (&json!("5m"), &json!("UTC")));
    let windows = answer["series"][0]["windows"].as_array().expect("windows");
    let shown = |key: &str| windows.iter().map(|window| window[key].clone()).collect::<Vec<_>>();
    assert_eq!(shown("count"), [json!(5), json!(5)]);
    assert_eq!(shown("avg"), [json!(2.0), json!(7.0)]);
    assert_eq!(shown("start"), [json!("2026-03-01T12:00:00Z"), json!("2026-03-01T12:05:00Z")]);

    let day = api.get("/telemetry/dev-01/windows?to=2026-03-01T13:00:00Z&tz=Asia/Ho_Chi_Minh").await.json();
    assert_eq!((&day["step"], &day["tz"]), (&json!("2m"), &json!("Asia/Ho_Chi_Minh")));
    let few = api.get(&format!("/telemetry/dev-01/windows?{range}&step=1m&points=3")).await.json();
    assert_eq!(few["series"][0]["windows"].as_array().map(Vec::len), Some(3));
}

#[tokio::test]
async fn a_devices_metrics_are_listed_by_name_with_their_first_and_last_readings() {
    let api = Api::start().await;
    let sent = [
        ("2026-03-01T12:00:00Z", json!({"t": 20.5, "door": {"open": false}})),
        ("2026-03-01T11:59:00Z", json!({"t": 19, "humidity": 40})),
        ("2026-03-03T08:00:00.25Z", json!({"t": 21})),
    ];
    let reading = |(n, (ts, mut payload)): (usize, (&str, Value))| {
        payload["msg_id"] = json!(format!("m{n}"));
        payload["ts"] = json!(ts);
        payload
    };
    let last = api.publish("dev-01", sent.into_iter().enumerate().map(reading)).await;
    api.publish("dev-02", []).await;
    let log = api.log_of("t0", fleetlog_event_log::Lane::Telemetry);
    let page = api.get(&format!("/devices/dev-01/metrics?limit=2&min_position={log}:{last}")).await.json();
    let expected = json!([
        {"metric": "door.open", "count": 1, "first_at": "2026-03-01T12:00:00Z", "last_at": "2026-03-01T12:00:00Z", "last": 0.0},
        {"metric": "humidity", "count": 1, "first_at": "2026-03-01T11:59:00Z", "last_at": "2026-03-01T11:59:00Z", "last": 40.0},
    ]);
    assert_eq!((&page["items"], &page["has_more"]), (&expected, &json!(true)));
    let cursor = page["next_cursor"].as_str().expect("a cursor");
    let rest = api.get(&format!("/devices/dev-01/metrics?cursor={cursor}")).await.json();
    let t = json!({"metric": "t", "count": 3, "first_at": "2026-03-01T11:59:00Z", "last_at": "2026-03-03T08:00:00.250Z", "last": 21.0});
    assert_eq!(rest, json!({"items": [t], "next_cursor": null, "has_more": false}));

    api.catch_up().await;
    let nothing = api.get("/devices/dev-02/metrics").await.json();
    assert_eq!(nothing, json!({"items": [], "next_cursor": null, "has_more": false}));
    assert_eq!(api.get("/devices/dev-03/metrics").await.refusal(), "404 not_found");

    let ask = async |arguments: &str| {
        let fields = "nodes { metric count firstAt lastAt last } pageInfo { hasNextPage endCursor }";
        let asked = api
            .ask(&format!(r#"{{ device(uid: "dev-01") {{ metrics({arguments}) {{ {fields} }} }} }}"#))
            .await;
        asked["data"]["device"]["metrics"].clone()
    };
    let first = ask("first: 2").await;
    assert_eq!(first["pageInfo"], json!({"hasNextPage": true, "endCursor": cursor}));
    let then = ask(&format!(r#"first: 2, after: "{cursor}""#)).await;
    let node = json!({"metric": "t", "count": 3, "firstAt": "2026-03-01T11:59:00+00:00", "lastAt": "2026-03-03T08:00:00.250+00:00", "last": 21.0});
    assert_eq!((&then["nodes"], &then["pageInfo"]["hasNextPage"]), (&json!([node]), &json!(false)));
}

#[tokio::test]
async fn windows_of_many_metrics_come_page_by_page() {
    let api = Api::start().await;
    api.publish("dev-01", (0..3).map(|n| json!({"ts": reading(n)["ts"], "a": n, "b": n, "c": n}))).await;
    api.catch_up().await;
    let range = "from=2026-03-01T12:00:00Z&to=2026-03-01T12:10:00Z&step=5m";
    let (mut metrics, mut cursor) = (vec![], String::new());
    loop {
        let page = api.get(&format!("/telemetry/dev-01/windows?{range}&limit=2{cursor}")).await.json();
        let series = page["series"].as_array().expect("series").iter();
        metrics.push(series.map(|series| series["metric"].clone()).collect::<Vec<_>>());
        assert_eq!(page["has_more"], page["next_cursor"].is_string(), "{page}");
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(metrics, [vec!["a", "b"], vec!["c"]]);
    let all = api.get(&format!("/telemetry/dev-01/windows?{range}")).await.json();
    assert_eq!((all["series"].as_array().map(Vec::len), &all["has_more"]), (Some(3), &json!(false)));

    let range = r#"from: "2026-03-01T12:00:00Z", to: "2026-03-01T12:10:00Z", step: "5m""#;
    let ask = async |arguments: &str| {
        let fields = "series { metric } pageInfo { hasPreviousPage hasNextPage endCursor }";
        let question =
            format!(r#"{{ device(uid: "dev-01") {{ windows({range}, {arguments}) {{ {fields} }} }} }}"#);
        api.ask(&question).await["data"]["device"]["windows"].clone()
    };
    let first = ask("first: 2").await;
    assert_eq!(first["series"], json!([{"metric": "a"}, {"metric": "b"}]));
    let after = first["pageInfo"]["endCursor"].as_str().expect("a cursor");
    let rest = ask(&format!(r#"first: 2, after: "{after}""#)).await;
    let info = json!({"hasPreviousPage": true, "hasNextPage": false, "endCursor": null});
    assert_eq!((&rest["series"], &rest["pageInfo"]), (&json!([{"metric": "c"}]), &info));
}

#[tokio::test]
async fn windows_without_readings_appear_if_they_are_asked_for_and_are_marked() {
    let api = Api::start().await;
    api.publish("dev-01", [reading(1), reading(7)]).await;
    api.catch_up().await;
    let range = "metric=n&from=2026-03-01T12:00:00Z&to=2026-03-01T12:09:00Z&step=3m";
    let windows = async |fill: &str| {
        let answer = api.get(&format!("/telemetry/dev-01/windows?{range}{fill}")).await.json();
        answer["series"][0]["windows"].clone()
    };
    let plain = windows("").await;
    assert_eq!(plain.as_array().map(Vec::len), Some(2));
    for (fill, values) in [
        ("null", [Value::Null, Value::Null, Value::Null]),
        ("previous", [json!(1.0), json!(1.0), json!(1.0)]),
        ("linear", [json!(3.0), json!(4.5), json!(6.0)]),
    ] {
        let filled = windows(&format!("&fill={fill}")).await;
        assert_eq!((&filled[0], &filled[2]), (&plain[0], &plain[1]), "{fill}");
        let [first, avg, last] = values;
        let expected = json!({
            "start": "2026-03-01T12:03:00Z", "end": "2026-03-01T12:06:00Z", "count": 0, "sum": 0.0,
            "avg": avg, "min": first, "max": last, "first": first, "first_at": null, "last": last, "last_at": null,
            "position": null, "filled": true,
        });
        assert_eq!(filled[1], expected, "{fill}");

        let range = r#"metric: "n", from: "2026-03-01T12:00:00Z", to: "2026-03-01T12:09:00Z", step: "3m""#;
        let fields = "start end count sum avg min max first firstAt last lastAt position filled";
        for fields in [fields.to_owned(), format!("... on Window {{ {fields} }}")] {
            let question = format!(
                r#"{{ device(uid: "dev-01") {{ windows({range}, fill: {}) {{ series {{ windows {{ {fields} }} }} }} }} }}"#,
                fill.to_uppercase()
            );
            let asked = api.ask(&question).await["data"]["device"]["windows"]["series"][0]["windows"].clone();
            assert_eq!(asked[0]["filled"], false, "{question}");
            let expected = json!({
                "start": "2026-03-01T12:03:00+00:00", "end": "2026-03-01T12:06:00+00:00", "count": 0, "sum": 0.0,
                "avg": avg, "min": first, "max": last, "first": first, "firstAt": null, "last": last, "lastAt": null,
                "position": null, "filled": true,
            });
            assert_eq!(asked[1], expected, "{question}");
        }
    }
}

#[tokio::test]
async fn windows_follow_the_calendar() {
    let api = Api::start().await;
    let at = |n: usize, ts: &str| json!({"msg_id": format!("m{n}"), "ts": ts, "n": n});
    let times =
        ["2025-11-30T23:00:00Z", "2025-12-31T23:59:59Z", "2026-01-01T00:00:00Z", "2026-03-31T12:00:00Z"];
    api.publish("dev-01", times.iter().enumerate().map(|(n, ts)| at(n, ts))).await;
    api.catch_up().await;
    for (step, tz, expected) in [
        ("month", "UTC", vec![("2025-11", 1), ("2025-12", 1), ("2026-01", 1), ("2026-03", 1)]),
        ("quarter", "UTC", vec![("2025-10", 2), ("2026-01", 2)]),
        ("year", "UTC", vec![("2025-01", 2), ("2026-01", 2)]),
        ("month", "Asia/Ho_Chi_Minh", vec![("2025-11", 1), ("2025-12", 2), ("2026-02", 1)]),
    ] {
        let range = "from=2025-11-30T00:00:00Z&to=2026-04-01T00:00:00Z";
        let path = format!("/telemetry/dev-01/windows?metric=n&{range}&step={step}&tz={tz}");
        let answer = api.get(&path).await.json();
        assert_eq!(answer["step"], step);
        let windows = answer["series"][0]["windows"].as_array().expect("windows").iter();
        let shown = windows.map(|window| {
            (
                window["start"].as_str().expect("a time")[..7].to_owned(),
                window["count"].as_i64().expect("a number"),
            )
        });
        let expected = expected.into_iter().map(|(month, count)| (month.to_owned(), count));
        assert_eq!(shown.collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "{step} {tz}");
    }
}
