//! The log itself, quarantine and projections over REST.

use chrono::{TimeDelta, Utc};
use fleetlog_access::Role;
use fleetlog_event_log::Lane;
use fleetlog_event_log::quarantine::Refused;
use fleetlog_event_log::read::{Filter, SCANNED, Start};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Executor;

use crate::support::api::answer;
use crate::support::{Api, Database};

fn refused(tenant: Option<&str>, n: usize) -> Refused {
    Refused {
        tenant: tenant.map(str::to_owned),
        topic: format!("topic/{n}"),
        payload: b"\xff\x00payload".to_vec(),
        whole: None,
        reason: "bad_topic",
        detail: "the topic is not one of ours".into(),
        received_at: Utc::now() + TimeDelta::seconds(n as i64),
    }
}

#[tokio::test]
async fn an_auditor_reads_every_event_of_a_log_in_order() {
    let api = Api::start().await;
    api.publish("dev-01", (0..5).map(|n| json!({"n": n}))).await;
    api.publish("dev-02", [json!({"n": 5})]).await;
    let (mut positions, mut after) = (vec![], 0);
    loop {
        let path = format!("/events?log=telemetry&after={after}&limit=4");
        let page = api.send_as(Role::Auditor, Method::GET, &path, None).await.json();
        positions
            .extend(page["items"].as_array().expect("items").iter().map(|event| event["position"].clone()));
        let Some(next) = page["next_cursor"].as_str() else { break };
        after = next.parse().expect("a position");
    }
    assert_eq!(positions, (1..=6).map(Value::from).collect::<Vec<_>>());

    let streams = |page: Value| {
        let items = page["items"].as_array().expect("items").iter();
        items.map(|event| event["aggregate_id"].as_str().expect("a stream").to_owned()).collect::<Vec<_>>()
    };
    let control = api.get("/events").await.json();
    // The first event is the first admin's registration.
    assert_eq!(streams(control.clone())[1..], ["t0/dev-01", "t0/dev-02"]);
    let log = control["items"][0]["log_id"].as_i64().expect("a log");
    for path in [
        format!("/events?log={log}&aggregate=dev-02"),
        "/events?aggregate=t0/dev-02&type=DeviceRegistered".to_owned(),
    ] {
        assert_eq!(streams(api.get(&path).await.json()), ["t0/dev-02"], "{path}");
    }
    assert_eq!(streams(api.get("/events?type=DeviceUpdated").await.json()), Vec::<String>::new());
}

/// Every item of a list, page by page, and the total that each page tells.
async fn all(api: &Api, path: &str) -> (Vec<Value>, Value) {
    let (mut items, mut total, mut next) = (vec![], Value::Null, String::new());
    let name = if path.starts_with("/events") { "after" } else { "cursor" };
    loop {
        let page = api.get(&format!("{path}&limit=3&count=true{next}")).await.json();
        items.extend(page["items"].as_array().unwrap_or_else(|| panic!("{path}: {page}")).clone());
        assert!(total.is_null() || total == page["total"], "{path}: {page}");
        assert_eq!(page["total_is_lower_bound"], Value::Null);
        total = page["total"].clone();
        let Some(cursor) = page["next_cursor"].as_str() else { return (items, total) };
        next = format!("&{name}={cursor}");
    }
}

/// Whether an event is among those that are chosen.
type Passes<'p> = Box<dyn Fn(&Value) -> bool + 'p>;

#[tokio::test]
async fn events_are_chosen_by_actor_request_stream_type_and_time_and_counted() {
    let api = Api::start().await;
    api.add_tenant("t1").await;
    api.publish("dev-01", (0..4).map(|n| json!({"n": n}))).await;
    api.publish_of("t1", "dev-01", [json!({"n": 9})]).await;
    for uid in ["a", "b", "c"] {
        let made = api.request(Method::POST, "/devices").bearer_auth(api.token("t0", Role::Admin));
        let made = made.header("x-request-id", "all-three").json(&json!({ "uid": uid }));
        assert_eq!(answer(made).await.status, 201);
    }
    api.send(Method::PATCH, "/devices/a", json!({"name": "one"})).await;
    let (every, total) = all(&api, "/events?log=control").await;
    assert_eq!(total, every.len());
    assert!(every.iter().all(|event| event["aggregate_id"].as_str().is_some_and(|id| id.starts_with("t0/"))));
    let admin =
        every.iter().find(|event| event["aggregate_id"] == "t0/a").expect("made")["metadata"]["actor"]
            .clone();
    let [early, late] =
        [2, every.len() - 2].map(|at| every[at]["recorded_at"].as_str().expect("a time").to_owned());
    let at = |event: &Value| event["recorded_at"].as_str().expect("a time").to_owned();
    let is = |field: &'static str, value: &'static str| -> Passes<'_> {
        Box::new(move |event| event[field] == value)
    };
    let choices: [(String, Passes<'_>); 11] = [
        (
            format!("actor={}", admin.as_str().expect("an id")),
            Box::new(|event| event["metadata"]["actor"] == admin),
        ),
        ("actor=ingest".into(), Box::new(|event| event["metadata"]["actor"] == "ingest")),
        ("actor=nobody".into(), Box::new(|_| false)),
        (
            "correlation_id=all-three".into(),
            Box::new(|event| event["metadata"]["correlation_id"] == "all-three"),
        ),
        ("aggregate=a".into(), is("aggregate_id", "t0/a")),
        ("aggregate=t1/dev-01".into(), Box::new(|_| false)),
        ("aggregate_type=Device".into(), is("aggregate_type", "Device")),
        ("type=DeviceUpdated".into(), is("event_type", "DeviceUpdated")),
        (format!("from={early}&to={late}"), Box::new(|event| at(event) >= early && at(event) < late)),
        (format!("from={late}"), Box::new(|event| at(event) >= late)),
        (
            format!("correlation_id=all-three&aggregate=b&type=DeviceRegistered&to={late}"),
            Box::new(|event| event["aggregate_id"] == "t0/b" && at(event) < late),
        ),
    ];
    for (choice, passes) in &choices {
        let mut expected: Vec<_> = every.iter().filter(|event| passes(event)).cloned().collect();
        let total = Value::from(expected.len());
        assert_eq!(
            all(&api, &format!("/events?{choice}")).await,
            (expected.clone(), total.clone()),
            "{choice}"
        );
        expected.reverse();
        assert_eq!(all(&api, &format!("/events?{choice}&order=desc")).await, (expected, total), "{choice}");
    }
    for (choice, count) in [
        ("", 4),
        ("&aggregate=dev-01&aggregate_type=Telemetry&order=desc", 4),
        ("&actor=ingest", 0),
        ("&type=X", 0),
        ("&from=2999-01-01T00:00:00Z", 0),
    ] {
        let (items, total) = all(&api, &format!("/events?log=telemetry{choice}")).await;
        assert_eq!((items.len(), total), (count, json!(count)), "{choice}");
    }
    for bad in [
        "from=yesterday",
        "to=2026-13-01T00:00:00Z",
        "from=2026-03-02T00:00:00Z&to=2026-03-01T00:00:00Z",
        "order=up",
        "count=2",
    ] {
        for list in ["/events", "/quarantine", "/telemetry/dev-01"] {
            assert_eq!(api.get(&format!("{list}?{bad}")).await.refusal(), "422 invalid", "{list}?{bad}");
        }
    }
}

#[tokio::test]
async fn an_event_is_found_by_its_time_though_the_clock_was_set_back() {
    let database = Database::fresh().await;
    // Every third event is recorded by a clock that is 55 minutes behind.
    let forged =
        "INSERT INTO control_events (log_id, position, aggregate_type, aggregate_id, sequence, event_type,
            event_version, payload, metadata, occurred_at, recorded_at)
        SELECT log_id, n, 'Device', 't0/dev-' || n, 1, 'DeviceRegistered', '1.0', '{}', '{}', at, at
        FROM logs, generate_series(1, 40) AS n,
            LATERAL (SELECT timestamptz '2026-03-01' + n * interval '10 minutes'
                          - CASE WHEN n % 3 = 0 THEN interval '55 minutes' ELSE '0' END AS at) AS clock
        WHERE tenant = 't0' AND lane = 'control'";
    let mut owner = database.owner().await;
    owner.execute(forged).await.expect("inserted");
    owner.execute("UPDATE logs SET head = 40 WHERE tenant = 't0' AND lane = 'control'").await.expect("moved");
    let log = database.event_log().await;
    let control = log.heads().of("t0", Lane::Control).expect("a log");
    let every =
        log.events_page(control, Start::default(), 100, &Filter::default()).await.expect("read").page.items;
    assert_eq!(every.len(), 40);
    for from in 0..40 {
        for to in from..40 {
            let times = (every[from].recorded_at, every[to].recorded_at);
            let filter = Filter { from: Some(times.0), to: Some(times.1), ..Filter::default() };
            let expected = every.iter().filter(|event| (times.0..times.1).contains(&event.recorded_at));
            let expected: Vec<_> = expected.map(|event| event.position).collect();
            let found =
                log.events_page(control, Start::default(), 100, &filter).await.expect("read").page.items;
            assert_eq!(found.iter().map(|event| event.position).collect::<Vec<_>>(), expected, "{times:?}");
        }
    }
}

#[tokio::test]
async fn a_rare_type_has_an_index_and_a_rare_actor_is_looked_for_in_bounded_steps() {
    let database = Database::fresh().await;
    let mut owner = database.owner().await;
    // The actor is rare: in the first event and in the last one.
    let forged =
        "INSERT INTO control_events (log_id, position, aggregate_type, aggregate_id, sequence, event_type,
            event_version, payload, metadata, occurred_at, recorded_at)
        SELECT log_id, n, 'Device', 't0/dev-' || n, 1, 'Event' || n % 500, '1.0', '{}',
            json_build_object('actor', CASE WHEN n IN (1, $1) THEN 'rare' ELSE 'other' END), now(), now()
        FROM logs, generate_series(1, $1) AS n WHERE tenant = 't0' AND lane = 'control'";
    let head = SCANNED + 10;
    sqlx::query(forged).bind(head).execute(&mut owner).await.expect("inserted");
    let moved = "UPDATE logs SET head = $1 WHERE tenant = 't0' AND lane = 'control'";
    sqlx::query(moved).bind(head).execute(&mut owner).await.expect("moved");
    owner.execute("ANALYZE control_events").await.expect("analyzed");

    let explain = "EXPLAIN (COSTS off) SELECT position FROM control_events
         WHERE log_id = (SELECT log_id FROM logs WHERE lane = 'control') AND position > 0 AND event_type = 'Event7'
         ORDER BY position LIMIT 100";
    let mut requests = database.requests("t0").await;
    let plan: Vec<String> = sqlx::query_scalar(explain).fetch_all(&mut requests).await.expect("a plan");
    assert!(plan.iter().any(|line| line.contains("control_events_by_type")), "{}", plan.join("\n"));

    let log = database.event_log().await;
    let control = log.heads().of("t0", Lane::Control).expect("a log");
    let filter = Filter { actor: Some("rare".into()), ..Filter::default() };
    for (descending, expected) in [
        (false, [(vec![1], Some(SCANNED)), (vec![head], None)]),
        (true, [(vec![head], Some(11)), (vec![1], None)]),
    ] {
        let mut after = None;
        for (positions, next) in expected {
            let start = Start { after, descending };
            let page = log.events_page(control, start, 100, &filter).await.expect("read");
            let found: Vec<_> = page.page.items.iter().map(|event| event.position).collect();
            assert_eq!((found, page.page.has_more, page.next), (positions, next.is_some(), next));
            after = next;
        }
    }
    let total = log.events_total(control, &filter).await.expect("counted");
    assert_eq!((total.count, total.is_lower_bound), (1, true));
}

#[tokio::test]
async fn a_total_is_counted_up_to_a_bound_and_is_paid_for() {
    let api = Api::start().await;
    let mut owner = api.database.owner().await;
    let put = async |tier: Value| api.send(Method::PUT, "/tiers/enterprise", tier).await;
    put(json!({"limits": [{"path": "*", "requests": 1000, "window_s": 86_400}]})).await;
    let mut ask = async |add: i64, count: bool| {
        sqlx::query(
            "INSERT INTO quarantine (tenant, topic, payload, reason, detail, received_at)
             SELECT 't0', 'x', '', 'bad_topic', '', now() FROM generate_series(1, $1)",
        )
        .bind(add)
        .execute(&mut owner)
        .await
        .expect("inserted");
        let path = format!("/quarantine?limit=1&count={count}");
        let answered = api.send_as(Role::Admin, Method::GET, &path, None).await;
        let left = answered.header("ratelimit").split("r=").nth(1).and_then(|left| left.split(';').next());
        let left: i64 = left.and_then(|left| left.parse().ok()).expect("what is left");
        let page = answered.json();
        (page["total"].clone(), page["total_is_lower_bound"].clone(), left)
    };
    let (none, _, before) = ask(100_000, false).await;
    assert_eq!(none, Value::Null);
    let (total, more, after) = ask(0, true).await;
    assert_eq!((total, more, before - after), (json!(100_000), Value::Null, 11));
    let (total, more, last) = ask(1, true).await;
    assert_eq!((total, more, after - last), (json!(100_000), json!(true), 11));
}

#[tokio::test]
async fn a_tenant_sees_its_own_logs_only() {
    let api = Api::start().await;
    api.add_tenant("t1").await;
    let foreign = api.log_of("t1", Lane::Control);
    let logs = api.get("/logs").await.json();
    let lanes: Vec<_> =
        logs["items"].as_array().expect("items").iter().map(|log| log["lane"].clone()).collect();
    assert_eq!(lanes, ["control", "telemetry"]);
    assert_eq!(api.get(&format!("/events?log={foreign}")).await.refusal(), "404 not_found");
    assert_eq!(api.get("/events?log=999").await.refusal(), "404 not_found");
    assert_eq!(api.get(&format!("/devices?min_position={foreign}:0")).await.refusal(), "422 invalid");
}

#[tokio::test]
async fn quarantine_is_shown_newest_first_and_the_nameless_only_to_the_platforms_admins() {
    let api = Api::start().await;
    api.add_tenant("t1").await;
    let messages = [refused(Some("t0"), 1), refused(None, 2), refused(Some("t1"), 3), refused(Some("t0"), 4)];
    api.log.quarantine(&messages).await.expect("quarantined");
    let topics = |page: &Value| {
        let items = page["items"].as_array().expect("items").iter();
        items.map(|item| item["topic"].as_str().expect("a topic").to_owned()).collect::<Vec<_>>()
    };
    let (every, total) = all(&api, "/quarantine?order=asc").await;
    assert_eq!(
        (topics(&json!({ "items": every })), total),
        (vec!["topic/1".into(), "topic/2".into(), "topic/4".into()], json!(3))
    );
    let middle = every[1]["received_at"].as_str().expect("a time");
    for (span, expected) in
        [(format!("from={middle}"), vec!["topic/4", "topic/2"]), (format!("to={middle}"), vec!["topic/1"])]
    {
        let (items, total) = all(&api, &format!("/quarantine?{span}")).await;
        assert_eq!(topics(&json!({ "items": items })), expected);
        assert_eq!(total, expected.len());
    }
    let first = api.get("/quarantine?limit=2").await.json();
    assert_eq!(topics(&first), ["topic/4", "topic/2"]);
    let cursor = first["next_cursor"].as_str().expect("more");
    assert_eq!(topics(&api.get(&format!("/quarantine?cursor={cursor}")).await.json()), ["topic/1"]);
    assert_eq!(first["items"][0]["excerpt"], "\u{fffd}\u{0}payload");
    let stranger = api.request(Method::GET, "/quarantine").bearer_auth(api.token("t1", Role::Admin));
    assert_eq!(topics(&answer(stranger).await.json()), ["topic/3"]);
    let stranger =
        api.request(Method::GET, "/quarantine?count=true").bearer_auth(api.token("t1", Role::Admin));
    assert_eq!(answer(stranger).await.json()["total"], 1, "what is hidden is not counted");
}

#[tokio::test]
async fn every_projection_says_how_far_it_has_got() {
    let api = Api::start().await;
    api.publish("dev-01", (0..5).map(|n| json!({"n": n}))).await;
    api.catch_up().await;
    let page = api.get("/projections").await.json();
    let shown: Vec<_> = page["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|one| {
            json!([one["projection"], one["state"], one["position"], one["head"], one["lag"], one["error"]])
        })
        .collect();
    assert_eq!(
        shown,
        [
            json!(["alarms", "following", 2, 2, 0, null]),
            json!(["commands", "following", 2, 2, 0, null]),
            json!(["devices", "following", 7, 7, 0, null]),
            json!(["telemetry_windows", "following", 5, 5, 0, null]),
        ]
    );
}
