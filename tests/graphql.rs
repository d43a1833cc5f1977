//! `GraphQL`, as its clients see it. [`commands`] and [`as_of`] have their own tests.

mod as_of;
mod commands;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fleetlog_access::Role;
use fleetlog_api::Settings;
use fleetlog_api::graphql::Schemas;
use insta::assert_snapshot;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use crate::rest::assert_committed;
use crate::support::api::answer;
use crate::support::{Api, LIMIT};

fn code(answer: &Value) -> &str {
    answer["errors"][0]["extensions"]["code"].as_str().unwrap_or_default()
}

#[test]
fn the_committed_schema_is_what_the_code_builds() {
    assert_committed("schema.graphql", &Schemas::new(false).sdl());
}

#[test]
fn every_description_has_three_words_or_more() {
    let sdl = Schemas::new(false).sdl();
    let texts: Vec<_> = sdl.split("\"\"\"").skip(1).step_by(2).collect();
    assert!(texts.len() > 100, "{}", texts.len());
    let short = texts.iter().filter(|text| text.split_whitespace().count() < 3);
    assert_eq!(short.collect::<Vec<_>>(), Vec::<&&str>::new());
}

#[test]
fn every_field_and_every_value_is_described() {
    let sdl = Schemas::new(false).sdl();
    let (types, _roots) = sdl.split_once("\nschema {").expect("roots");
    // What follows a description up to the next one: the thing described, and nothing else of a type.
    let between = types.split("\"\"\"").step_by(2).skip(1);
    let others = between.flat_map(|text| text.trim_start().lines().skip(1));
    let bare =
        others.filter(|line| line.trim_start().starts_with(char::is_alphanumeric) && line.starts_with('\t'));
    assert_eq!(bare.collect::<Vec<_>>(), Vec::<&str>::new());
}

#[tokio::test]
async fn devices_come_with_their_telemetry_and_windows() {
    let api = Api::start().await;
    let at = |minute: i64| format!("2026-03-01T12:{minute:02}:00Z");
    let readings = (0..4).map(|n| json!({"msg_id": format!("m{n}"), "ts": at(n), "n": n, "tag": "a"}));
    api.publish("dev-01", readings).await;
    api.publish("dev-02", []).await;
    api.catch_up().await;
    let answer = api
        .ask(
            r#"{ devices(first: 5, sort: UID) { totalCount pageInfo { hasNextPage } edges { node {
                uid status messages labels lastReading { ts payload }
                telemetry(first: 2) { pageInfo { hasNextPage } nodes { ts msgId position payload flags } }
                windows(metric: "n", from: "2026-03-01T12:00:00Z", to: "2026-03-01T12:04:00Z", step: "2m", points: 10) {
                    step tz series { metric windows { start count avg } } }
            } } } }"#,
        )
        .await;
    assert_eq!(answer["errors"], Value::Null, "{answer}");
    let devices = &answer["data"]["devices"];
    assert_eq!((&devices["totalCount"], &devices["pageInfo"]["hasNextPage"]), (&json!(2), &json!(false)));
    let device = &devices["edges"][0]["node"];
    assert_eq!(
        (&device["uid"], &device["status"], &device["messages"]),
        (&json!("dev-01"), &json!("ONLINE"), &json!(4))
    );
    assert_eq!(device["lastReading"]["payload"], json!({"msg_id": "m3", "ts": at(3), "n": 3, "tag": "a"}));
    let telemetry = &device["telemetry"];
    assert_eq!(telemetry["pageInfo"]["hasNextPage"], true);
    let shown = telemetry["nodes"].as_array().expect("nodes").iter().map(|node| node["msgId"].clone());
    assert_eq!(shown.collect::<Vec<_>>(), ["m3", "m2"]);
    assert_eq!(
        device["windows"],
        json!({"step": "2m", "tz": "UTC", "series": [{"metric": "n", "windows": [
            {"start": "2026-03-01T12:00:00+00:00", "count": 2, "avg": 0.5},
            {"start": "2026-03-01T12:02:00+00:00", "count": 2, "avg": 2.5},
        ]}]})
    );
    assert_eq!(devices["edges"][1]["node"]["telemetry"]["nodes"], json!([]));
}

#[tokio::test]
async fn windows_say_the_same_however_their_fields_are_asked_for() {
    let api = Api::start().await;
    let readings =
        (0..7).map(|n| json!({"msg_id": format!("m{n}"), "ts": 1_772_366_400_123_i64 + n * 20_000, "n": n}));
    api.publish("dev-01", readings).await;
    api.catch_up().await;
    let windows = async |asked: &str| {
        let arguments =
            r#"metric: "n", from: "2026-03-01T12:00:00Z", to: "2026-03-01T12:05:00Z", step: "1m""#;
        let question = format!(
            r#"{{ device(uid: "dev-01") {{ windows({arguments}) {{ series {{ windows {{ {asked} }} }} }} }} }}"#
        );
        let answer = api.ask(&question).await;
        assert_eq!(answer["errors"], Value::Null, "{answer}");
        answer["data"]["device"]["windows"]["series"][0]["windows"].clone()
    };
    let fields = "start end count sum avg min max first firstAt last lastAt";
    let plain = windows(fields).await;
    assert_eq!(
        plain[0],
        json!({"start": "2026-03-01T12:00:00+00:00", "end": "2026-03-01T12:01:00+00:00", "count": 3, "sum": 3.0,
            "avg": 1.0, "min": 0.0, "max": 2.0, "first": 0.0, "firstAt": "2026-03-01T12:00:00.123+00:00",
            "last": 2.0, "lastAt": "2026-03-01T12:00:40.123+00:00"})
    );
    assert_eq!(plain.as_array().map(Vec::len), Some(3));
    assert_eq!(windows(&format!("{fields} {fields}")).await, plain);
    assert_eq!(windows(&format!("... on Window {{ {fields} }}")).await, plain);
    assert_eq!(windows(&format!("{fields} sum @include(if: true)")).await, plain);
    assert_eq!(windows("much: sum count").await[1], json!({"much": 12.0, "count": 3}));
    assert_eq!(windows("__typename count").await[2], json!({"__typename": "Window", "count": 1}));
}

#[tokio::test]
async fn connections_are_followed_by_their_cursors() {
    let api = Api::start().await;
    for n in 0..5 {
        api.publish(&format!("dev-{n}"), []).await;
    }
    api.publish("dev-0", (0..5).map(|n| json!({"n": n, "ts": 1_772_366_400_000_i64 + n}))).await;
    api.catch_up().await;
    let (mut seen, mut after) = (vec![], "null".to_owned());
    loop {
        let page = api
            .ask(&format!("{{ devices(first: 2, after: {after}) {{ pageInfo {{ hasNextPage endCursor }} nodes {{ uid }} }} }}"))
            .await;
        let devices = &page["data"]["devices"];
        seen.extend(devices["nodes"].as_array().expect("nodes").iter().map(|node| node["uid"].clone()));
        if devices["pageInfo"]["hasNextPage"] == false {
            break;
        }
        after = devices["pageInfo"]["endCursor"].to_string();
    }
    assert_eq!(seen, ["dev-0", "dev-1", "dev-2", "dev-3", "dev-4"]);

    let first = r#"{ device(uid: "dev-0") { telemetry(first: 3, order: ASC) { pageInfo { endCursor } } } }"#;
    let cursor = api.ask(first).await["data"]["device"]["telemetry"]["pageInfo"]["endCursor"].clone();
    let next = format!(
        r#"{{ device(uid: "dev-0") {{ telemetry(first: 9, order: ASC, after: {cursor}) {{ nodes {{ payload }} }} }} }}"#
    );
    let nodes = api.ask(&next).await["data"]["device"]["telemetry"]["nodes"].clone();
    let numbers: Vec<_> =
        nodes.as_array().expect("nodes").iter().map(|node| node["payload"]["n"].clone()).collect();
    assert_eq!(numbers, [3, 4]);
}

#[tokio::test]
async fn logs_projections_and_single_devices_are_the_tenants_own() {
    let api = Api::start().await;
    api.add_tenant("t1").await;
    api.publish_of("t1", "secret", [json!({"n": 1})]).await;
    api.catch_up().await;
    let answer = api
        .ask(r#"{ device(uid: "secret") { uid } logs { lane head } projections { name state lag } unknown: device(uid: "\u0000") { uid } }"#)
        .await;
    assert_eq!(
        answer["data"],
        json!({
            "device": null, "unknown": null,
            "logs": [{"lane": "control", "head": 1}, {"lane": "telemetry", "head": 0}],
            "projections": [
                {"name": "alarms", "state": "FOLLOWING", "lag": 0},
                {"name": "commands", "state": "FOLLOWING", "lag": 0},
                {"name": "devices", "state": "FOLLOWING", "lag": 0},
                {"name": "telemetry_windows", "state": "FOLLOWING", "lag": 0},
            ],
        })
    );
}

#[tokio::test]
async fn a_field_asks_for_its_own_permission() {
    let api = Api::start().await;
    let query = json!({"query": "{ devices { nodes { uid } } logs { head } }"});
    let answer = api.send_as(Role::Viewer, Method::POST, "/api/v1/graphql", Some(query)).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(code(&answer.json()), "forbidden");
}

#[tokio::test]
async fn variables_and_named_operations_are_taken() {
    let api = Api::start().await;
    api.publish("dev-01", []).await;
    api.catch_up().await;
    let body = json!({
        "query": "query One($uid: String!) { device(uid: $uid) { uid } } query Other { logs { head } }",
        "operationName": "One", "variables": {"uid": "dev-01"}, "extensions": {},
    });
    let answer = api.send(Method::POST, "/graphql", body).await.json();
    assert_eq!(answer["data"], json!({"device": {"uid": "dev-01"}}));
}

/// Counts the statements of this thread's tests that read a table.
struct Statements(&'static str, Arc<AtomicUsize>);

impl<S: tracing::Subscriber> Layer<S> for Statements {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        struct Mentions<'t>(&'t str, bool);
        impl tracing::field::Visit for Mentions<'_> {
            fn record_debug(&mut self, _: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.1 |= format!("{value:?}").contains(self.0);
            }
        }
        if event.metadata().target() == "sqlx::query" {
            let mut mentions = Mentions(self.0, false);
            event.record(&mut mentions);
            self.1.fetch_add(usize::from(mentions.1), Ordering::Relaxed);
        }
    }
}

#[tokio::test]
async fn twenty_devices_cost_as_many_statements_as_one() {
    let api = Api::start().await;
    for n in 0..20 {
        api.publish(&format!("dev-{n:02}"), [json!({"n": n})]).await;
    }
    api.catch_up().await;
    let count = Arc::new(AtomicUsize::new(0));
    let subscriber =
        tracing_subscriber::registry().with(Statements("AS device (id, ordinal)", Arc::clone(&count)));
    // With a single subscriber, tracing decides by the thread that comes to a statement first: another test's.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let _counting = tracing::subscriber::set_default(subscriber);
    let asked = "{ devices(first: 20) { nodes { telemetry(first: 5) { nodes { ts } } windows(points: 2) { step } } } }";
    let answer = api.ask(asked).await;
    let nodes = answer["data"]["devices"]["nodes"].as_array().expect("nodes");
    assert!(
        nodes.len() == 20
            && nodes.iter().all(|node| node["telemetry"]["nodes"].as_array().map(Vec::len) == Some(1))
    );
    assert_eq!(count.load(Ordering::Relaxed), 1);

    let each = "telemetry(first: 1) { nodes { ts } }";
    let named: String =
        ["00", "07", "19"].map(|n| format!("a{n}: device(uid: \"dev-{n}\") {{ {each} }} ")).concat();
    let answer = api.ask(&format!("{{ {named} }}")).await;
    assert_eq!(answer["data"]["a19"]["telemetry"]["nodes"].as_array().map(Vec::len), Some(1), "{answer}");
    assert_eq!(count.load(Ordering::Relaxed), 2);
}

fn bad_questions() -> Vec<(&'static str, String, &'static str)> {
    let repeat = |n: usize, text: &str| (0..n).map(|n| text.replace('#', &n.to_string())).collect::<String>();
    let fragments =
        |body: &str| format!("{{ ...F0 }} {}", repeat(30, &format!("fragment F# on Query {{ {body} }} ")));
    let windows =
        |arguments: &str| format!(r#"{{ device(uid: "dev-01") {{ windows({arguments}) {{ step }} }} }}"#);
    let telemetry = |arguments: &str| {
        format!(r#"{{ device(uid: "dev-01") {{ telemetry({arguments}) {{ nodes {{ ts }} }} }} }}"#)
    };
    let doubled = |n| format!("fragment G{n} on Query {{ ...G{0} ...G{0} }} ", n + 1);
    let doubling = (0..30).map(doubled).collect::<Vec<_>>().concat();
    vec![
        ("nothing", String::new(), "invalid"),
        ("no language", "SELECT * FROM users".into(), "invalid"),
        ("an open bracket", "{".into(), "invalid"),
        ("a NUL", "{ \0 }".into(), "invalid"),
        ("an unknown field", "{ passwords }".into(), "invalid"),
        ("an unknown argument", "{ devices(tenant: \"t1\") { nodes { uid } } }".into(), "invalid"),
        ("a wrong type", "{ devices(first: \"x\") { nodes { uid } } }".into(), "invalid"),
        ("an unknown word", "{ devices(filter: {status: ASLEEP}) { nodes { uid } } }".into(), "invalid"),
        ("a mutation", "mutation { drop }".into(), "invalid"),
        ("a subscription", "subscription { telemetry }".into(), "invalid"),
        ("first 0", "{ devices(first: 0) { nodes { uid } } }".into(), "invalid"),
        ("first -1", "{ devices(first: -1) { nodes { uid } } }".into(), "invalid"),
        ("huge first", "{ devices(first: 2147483647) { nodes { uid } } }".into(), "invalid"),
        ("first over 32 bits", "{ devices(first: 9999999999) { nodes { uid } } }".into(), "invalid"),
        (
            "too many items",
            "{ devices(first: 100) { nodes { telemetry(first: 100) { nodes { ts } } } } }".into(),
            "invalid",
        ),
        ("many windows", "{ devices(first: 100) { nodes { windows { step } } } }".into(), "invalid"),
        ("ten thousand aliases", format!("{{ {} }}", repeat(10_000, "a#: logs { head } ")), "invalid"),
        ("a thousand aliases", format!("{{ {} }}", repeat(1_000, "a#: logs { head } ")), "invalid"),
        (
            "a hundred counts",
            format!("{{ devices(first: 1) {{ {} }} }}", repeat(100, "a#: totalCount ")),
            "invalid",
        ),
        (
            "a hundred lists",
            format!("{{ {} }}", repeat(100, "a#: devices(first: 1) { nodes { uid } } ")),
            "invalid",
        ),
        ("ten thousand type names", format!("{{ {} }}", repeat(10_000, "a#: __typename ")), "invalid"),
        (
            "ten thousand directives",
            format!("{{ logs {} {{ head }} }}", repeat(10_000, "@skip(if: false) ")),
            "invalid",
        ),
        ("depth 50", format!("{}head{}", "{ logs ".repeat(50), " }".repeat(50)), "invalid"),
        ("depth 100000", "{ a ".repeat(100_000), "invalid"),
        ("lists in lists", format!("{{ device(uid: {}", "[".repeat(100_000)), "invalid"),
        (
            "a circular fragment",
            "{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }".into(),
            "invalid",
        ),
        ("an unknown fragment", fragments("...F99"), "invalid"),
        (
            "doubling fragments",
            format!("{{ ...G0 }} {doubling} fragment G30 on Query {{ __typename }}"),
            "invalid",
        ),
        ("a bad cursor", "{ devices(after: \"forged\") { nodes { uid } } }".into(), "invalid"),
        ("a bad reading's cursor", telemetry("after: \"1bnVsbA\""), "invalid"),
        (
            "a reversed span",
            telemetry("from: \"2026-01-02T00:00:00Z\", to: \"2026-01-01T00:00:00Z\""),
            "invalid",
        ),
        ("a year beyond", telemetry("from: \"+262000-01-01T00:00:00Z\""), "invalid"),
        ("a time that is none", telemetry("from: \"yesterday\""), "invalid"),
        ("a bad step", windows("step: \"7\""), "invalid"),
        ("a bad time zone", windows("tz: \"Mars/Olympus\""), "invalid"),
        ("one point", windows("points: 1"), "invalid"),
        ("points and fill", windows("points: 5, fill: NULL"), "invalid"),
        ("a bad cursor of windows", windows("after: \"forged\""), "invalid"),
        ("first 0 of windows", windows("first: 0"), "invalid"),
        ("minus one point", windows("points: -1"), "invalid"),
        (
            "a range of years by the minute",
            windows("step: \"1m\", from: \"2001-01-01T00:00:00Z\""),
            "invalid",
        ),
        ("a NUL in a metric", windows("metric: \"\\u0000\""), ""),
        ("a NUL in a search", "{ devices(filter: {q: \"\\u0000\"}) { nodes { uid } } }".into(), ""),
    ]
}

#[tokio::test]
async fn whatever_makes_no_sense_or_costs_too_much_is_refused() {
    let api = Api::start().await;
    api.publish("dev-01", []).await;
    api.catch_up().await;
    for (what, question, wanted) in bad_questions() {
        let answer = tokio::time::timeout(LIMIT, api.ask(&question)).await.expect(what);
        assert_eq!(code(&answer), wanted, "{what}: {answer}");
        let text = answer.to_string().to_lowercase();
        for word in ["sqlx", "postgres", "panicked", ".rs:", "unwrap"] {
            assert!(!text.contains(word), "{what}: {text}");
        }
    }
}

#[tokio::test]
async fn the_schema_is_shown_only_where_that_is_allowed() {
    let whole = "query { __schema { queryType { name } types { name fields(includeDeprecated: true) { name args { name
        type { ...T } } type { ...T } } inputFields { name type { ...T } } enumValues { name } } directives { name } } }
        fragment T on __Type { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name
        ofType { kind name ofType { kind name ofType { kind name } } } } } } } }";
    let open = Api::start().await;
    let answer = open.ask(whole).await;
    assert_eq!(
        (&answer["errors"], &answer["data"]["__schema"]["queryType"]["name"]),
        (&Value::Null, &json!("Query"))
    );
    let closed = Api::start_with(Settings { introspection: false, ..Settings::default() }).await;
    for question in [whole, "{ __type(name: \"Query\") { name } }"] {
        assert_eq!(code(&closed.ask(question).await), "invalid");
    }
    for api in [&open, &closed] {
        let mixed = api.ask("{ logs { head } __schema { types { name } } }").await;
        assert_eq!(mixed["data"]["__schema"], Value::Null, "{mixed}");
    }
}

/// Asks over HTTP with these headers. Returns status, content type and body.
async fn over_http(request: reqwest::RequestBuilder, api: &Api) -> (u16, String, String) {
    let answered = answer(request.bearer_auth(api.token("t0", Role::Viewer))).await;
    (answered.status.as_u16(), answered.header("content-type").to_owned(), answered.text)
}

#[tokio::test]
async fn fields_come_in_the_order_in_which_they_are_asked_for() {
    let api = Api::start().await;
    api.publish("dev-01", [json!({"t": 1})]).await;
    api.catch_up().await;
    let question = r#"{ z: devices { nodes { status uid } totalCount pageInfo { hasNextPage } }
        m: device(uid: "dev-01") { name windows(step: "1h") { step } uid } b: __typename }"#;
    let request = || api.request(Method::POST, "/graphql").json(&json!({ "query": question }));
    for _ in 0..5 {
        let (_, _, text) = over_http(request(), &api).await;
        let places =
            ["\"z\"", "status", "uid", "totalCount", "pageInfo", "\"m\"", "name", "windows", "\"b\""];
        let found: Vec<usize> = places.iter().map(|place| text.find(place).unwrap_or(usize::MAX)).collect();
        assert!(found.is_sorted() && found.iter().all(|place| *place < text.len()), "{found:?} {text}");
    }
}

#[tokio::test]
async fn a_dashboards_first_question_is_affordable_and_a_refusal_says_cost_and_limit() {
    let api = Api::start().await;
    api.publish("dev-01", [json!({"t": 1})]).await;
    api.catch_up().await;
    for good in [
        "{ devices { totalCount } }",
        "{ devices { totalCount nodes { uid } pageInfo { endCursor hasNextPage } } }",
        "{ devices(first: 1000) { totalCount nodes { uid name status lastSeenAt } } }",
    ] {
        let answered = api.ask(good).await;
        assert_eq!(answered["data"]["devices"]["totalCount"], 1, "{good}: {answered}");
    }
    let dear = "{ devices(first: 100) { nodes { telemetry(first: 100) { nodes { ts } } } } }";
    let refused = api.ask(dear).await;
    assert_snapshot!(refused["errors"][0]["message"].as_str().unwrap_or_default(), @"the question costs 25502, and the most is 10000: ask for fewer items (`first`), or for fewer fields of each");
}

#[tokio::test]
async fn a_query_may_come_by_get_and_a_mutation_may_not() {
    let api = Api::start().await;
    let get = |pairs: &[(&str, &str)]| {
        let text = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        api.request(Method::GET, &format!("/graphql?{text}"))
    };
    let query = "query Q($first: Int) { devices(first: $first) { nodes { uid } } }";
    let pairs = [("query", query), ("operationName", "Q"), ("variables", r#"{"first": 5}"#)];
    let asked = over_http(get(&pairs), &api).await;
    assert_eq!(asked, (200, "application/json".into(), r#"{"data":{"devices":{"nodes":[]}}}"#.into()));
    let mutation = r#"query A { __typename } mutation B { cancelCommand(id: "x") { replayed } }"#;
    for (operation, status) in [("A", 200), ("B", 405)] {
        let (answered, _, text) =
            over_http(get(&[("query", mutation), ("operationName", operation)]), &api).await;
        assert_eq!(answered, status, "{text}");
    }
    let (status, _, text) =
        over_http(get(&[("query", "{ logs { head } }"), ("variables", "[1]")]), &api).await;
    assert_eq!(status, 422, "{text}");
}

#[tokio::test]
async fn a_client_that_asks_for_the_own_content_type_gets_its_statuses() {
    let api = Api::start().await;
    let ask = |accept: &str, body: Value| {
        over_http(api.request(Method::POST, "/graphql").header("accept", accept).json(&body), &api)
    };
    let own = "application/graphql-response+json";
    for (body, status) in [
        (json!({ "query": "{ __typename }" }), 200),
        (json!({ "query": "{ device(uid: \"none\") { uid } }" }), 200),
        (json!({ "query": "{" }), 400),
        (json!({ "query": "{ nothing }" }), 400),
        (json!({ "query": "query ($n: Int!) { devices(first: $n) { totalCount } }" }), 400),
        (json!({ "query": "query A { __typename } query B { __typename }" }), 400),
        (json!({ "query": "{ __typename }", "operationName": "none" }), 400),
    ] {
        let (answered, kind, text) = ask(own, body.clone()).await;
        assert_eq!((answered, kind.as_str()), (status, own), "{body}: {text}");
        assert_eq!(text.contains("\"data\""), status == 200, "{body}: {text}");
        let (answered, kind, text) = ask("application/json", body.clone()).await;
        assert_eq!((answered, kind.as_str()), (200, "application/json"), "{body}: {text}");
    }
    let forbidden = json!({ "query": "{ logs { head } }" });
    let (status, _, text) = ask(own, forbidden).await;
    assert_eq!(status, 200, "it was carried out, and a field was refused: {text}");
}
